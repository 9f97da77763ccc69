"""`bench` through the real server gives the numbers of the engine in process. What kills do: tests/reliability."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

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
