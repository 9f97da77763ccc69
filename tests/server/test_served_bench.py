"""`bench` through the real server: the numbers of the engine in process, and those of a run that nobody killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench_results import comparable
from mmms_client import TritonPredictor
from mmms_eval.datasets import DATASETS, DatasetOptions
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import evaluate
from mmms_export.engines import EnginePredictor
from mmms_server.process import ServerProcess
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.predictor import TorchPredictor

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "nano.safetensors"
REPOSITORY = ROOT / "model_repository"


def test_in_process_and_served_give_the_same_numbers(nano_server: ServerProcess) -> None:
    """The engine in process is the served one, so to the last digit; the eager network within the mask's 1/255."""
    protocol = EvaluationProtocol(n_max=4, mean_iou_after=(1, 4), smallest_area_px=400)
    dataset = DATASETS["synthetic"](DatasetOptions(max_images=2, side_px=192))
    with TritonPredictor.connect(nano_server.url) as served:
        contract = served.contract
        eager = TorchPredictor(load_model(read_checkpoint(CHECKPOINT), contract.resolution), contract.resolution)
        engine = EnginePredictor(REPOSITORY, contract)
        runs = [evaluate(p, dataset, protocol, name="nano", workers=1).results for p in (served, engine, eager)]
    assert runs[0] == runs[1]
    traces = [[surface.ious for image in run for surface in image.surfaces] for run in (runs[0], runs[2])]
    assert len(traces[0]) >= 8
    firsts = [np.array([ious[0] for ious in run]) for run in traces]  # later clicks go where the masks differ
    assert np.abs(firsts[0] - firsts[1]).max() < 0.01
    assert np.mean([a == pytest.approx(b, abs=0.01) for a, b in zip(*traces, strict=True)]) > 0.8


def bench_command(url: str, images: int, json_file: Path) -> list[str]:
    data = ["--dataset", "synthetic", "--images", str(images), "--size", "128", "--min-area", "150"]
    command = [sys.executable, "-m", "mmms_client", "bench", *data]
    return [*command, "--n-max", "5", "--url", url, "--json", str(json_file)]


def kill_when(command: Sequence[str], partial: Path, images: int) -> None:
    """Run until so many images are on disk, then SIGKILL."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline_s = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline_s:
        if partial.exists() and partial.read_bytes().count(b"\n") > images:  # the first line is the header
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("images", "kills"), [(3, (0.34,)), pytest.param(50, (0.2, 0.5, 0.75), marks=pytest.mark.slow)]
)
def test_a_served_run_that_was_killed_equals_the_uninterrupted_one(
    images: int, kills: tuple[float, ...], nano_server: ServerProcess, tmp_path: Path
) -> None:
    killed, whole = tmp_path / "killed.json", tmp_path / "whole.json"
    for share in kills:
        kill_when(bench_command(nano_server.url, images, killed), Path(f"{killed}.partial"), int(images * share))
    done = subprocess.run(bench_command(nano_server.url, images, killed), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "resumed:" in done.stderr
    subprocess.run(bench_command(nano_server.url, images, whole), check=True, capture_output=True, timeout=600)
    assert comparable(killed) == comparable(whole)
    (run,) = comparable(whole)["evaluations"]
    assert len(run["images"]) == images and run["summary"]["surfaces"] > images
