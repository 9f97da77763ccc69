"""A run that is killed goes on, and ends with the numbers of a run that was not."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench_results import comparable
from mmms_client.errors import DataError, OutputError, UsageError
from mmms_eval import report
from mmms_eval.baselines import VoronoiPredictor
from mmms_eval.cli import run
from mmms_eval.datasets import DATASETS, DatasetOptions
from mmms_eval.progress_file import ProgressFile
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import evaluate_sample

from .conftest import Failing, ThermalPredictor, ToyDataset

IMAGES = 9
# What the killed process runs. If answers take a moment, the last two images take forever: it never ends by itself.
SCRIPT = f"""
import sys, time
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from mmms_eval.baselines import VoronoiPredictor
from mmms_eval.cli import run
from mmms_eval.datasets.sample import Sample
from mmms_eval.protocol import EvaluationProtocol

class Slow(VoronoiPredictor):
    def predict(self, *arguments):
        time.sleep(float(sys.argv[2]))
        return super().predict(*arguments)

@dataclass(frozen=True)
class Blocks:
    name: str = "blocks"
    modality_names: tuple = ()
    def __len__(self):
        return {IMAGES}
    def __getitem__(self, index):
        if float(sys.argv[2]) and index >= {IMAGES - 2}:
            time.sleep(600)
        coarse = np.random.default_rng(index).integers(0, 5, (4, 4))
        labels = np.kron(coarse, np.ones((7, 9), int)).astype(np.int32)
        return Sample(f"image-{{index}}", np.zeros((28, 36, 3), np.uint8), {{}}, labels)
    def describe(self):
        return {{"name": self.name, "images": len(self)}}

options = {{"baselines": False, "workers": 2, "json_file": Path(sys.argv[1])}}
run(Slow(), lambda: "in process", Blocks(), EvaluationProtocol(n_max=3, mean_iou_after=(1, 3)), options)
"""


def start(file: Path, answer_s: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, str(file), str(answer_s)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def test_a_run_killed_three_times_ends_like_one_that_was_not(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed.json", tmp_path / "whole.json"
    partial = tmp_path / "killed.json.partial"
    for stored in (2, 4, 7):  # the header and 1, 3 and 6 images
        process = start(killed, 0.02)
        deadline_s = time.monotonic() + 60
        while lines(partial) < stored and process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert stored <= lines(partial) <= IMAGES - 1
        with partial.open("ab") as stream:
            stream.write(b'{"evaluation": "Voronoi", "index": 0, "res')  # torn, as by a kill while writing
    found = lines(partial) - 1
    process = start(killed, 0)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert f"resumed:  {found} finished images of" in errors
    start(whole, 0).communicate(timeout=60)
    assert comparable(killed) == comparable(whole)
    assert len(comparable(whole)["evaluations"][0]["images"]) == IMAGES
    assert json.loads(killed.read_text())["evaluations"][0]["timing"]["images_taken_over"] == found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.json", "whole.json"]


# In one process -------------------------------------------------------------------------------------------------------
def bench(
    predictor: Any, dataset: ToyDataset, file: Path, protocol: EvaluationProtocol | None = None, **options: Any
) -> None:
    protocol = protocol or EvaluationProtocol(n_max=2, mean_iou_after=(1,))
    run(predictor, lambda: "", dataset, protocol, {"baselines": False, "workers": 1, "json_file": file, **options})


@pytest.fixture
def left(toy: ToyDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The result file of a run that ended after two of five images."""
    file = tmp_path / "out.json"
    with pytest.raises(DataError, match="third image"):
        bench(Failing(), toy, file)
    assert f"kept:     2 finished images in '{file}.partial'; the same command goes on" in capsys.readouterr().err
    toy.asked.clear()
    return file


def test_the_same_settings_go_on(toy: ToyDataset, left: Path) -> None:
    bench(VoronoiPredictor(), toy, left, workers=3, baselines=True)  # neither changes a number
    assert toy.asked[:3] == [2, 3, 4]
    assert not left.with_name("out.json.partial").exists()


def test_results_that_could_not_be_written_are_not_lost(
    toy: ToyDataset, thermal_predictor: ThermalPredictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, file = tmp_path / "whole.json", tmp_path / "out.json"
    bench(thermal_predictor, toy, whole, baselines=True)
    with monkeypatch.context() as patched:
        patched.setattr(report, "write_document", lambda *_: (_ for _ in ()).throw(OutputError("disk full")))
        with pytest.raises(OutputError, match="disk full"):
            bench(thermal_predictor, toy, file, baselines=True)
    toy.asked.clear()
    bench(thermal_predictor, toy, file, baselines=True)
    assert toy.asked == []
    assert comparable(file) == comparable(whole)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"protocol": EvaluationProtocol(n_max=3, mean_iou_after=(1,))}, "protocol.n_max 3 (was 2); go on with those"),
        (
            {"protocol": EvaluationProtocol(n_max=2, mean_iou_after=(1,), flip=True, zoom="ritm")},
            'protocol.flip true (was false), protocol.zoom "ritm" (was "none"); go on',
        ),
        ({"predictor": VoronoiPredictor(64)}, 'model.resolution "64" (was "320"); go on'),
        (
            {"predictor": ThermalPredictor()},
            'model.preset "thermal eye" (was "Voronoi"), model.checkpoint_sha256 "0000',
        ),
    ],
)
def test_other_settings_are_refused(toy: ToyDataset, left: Path, change: dict[str, Any], said: str) -> None:
    before = left.with_name("out.json.partial").read_bytes()
    with pytest.raises(UsageError) as caught:
        bench(**{"predictor": VoronoiPredictor(), "dataset": toy, "file": left, **change})
    message = str(caught.value)
    assert said in message
    assert message.startswith("Expected the settings of the run that ")
    assert message.endswith("choose another --json file, or start anew with --restart.")
    assert "\n" not in message
    assert left.with_name("out.json.partial").read_bytes() == before


def test_other_data_are_refused(toy: ToyDataset, left: Path) -> None:
    with pytest.raises(UsageError, match=r"dataset\.images 4 \(was 5\), dataset\.files_and_units \""):
        bench(VoronoiPredictor(), ToyDataset(toy.samples[:4]), left)
    with pytest.raises(UsageError, match=r"but got dataset\.files_and_units \""):
        bench(VoronoiPredictor(), ToyDataset(toy.samples[::-1]), left)


def test_restart_forgets(toy: ToyDataset, left: Path) -> None:
    bench(VoronoiPredictor(), toy, left, EvaluationProtocol(n_max=3, mean_iou_after=(1,)), restart=True)
    assert toy.asked == [0, 1, 2, 3, 4]
    assert json.loads(left.read_text())["protocol"]["n_max"] == 3


def test_nothing_is_left_by_a_run_without_a_finished_image(toy: ToyDataset, tmp_path: Path) -> None:
    failing = Failing()
    failing.encodes = 2
    with pytest.raises(DataError, match="third image"):
        bench(failing, toy, tmp_path / "out.json")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["no JSON\n", "{}\n", '{"schema": "other", "schema_version": 1}\n', "[]\n"])
def test_a_file_of_others_is_refused(toy: ToyDataset, tmp_path: Path, content: str) -> None:
    (tmp_path / "out.json.partial").write_text(content)
    with pytest.raises(DataError, match=r"(finished images|line 1: expected) .* but got .*; start anew with --restart"):
        bench(VoronoiPredictor(), toy, tmp_path / "out.json")


def test_a_second_run_on_the_same_file_is_refused(toy: ToyDataset, tmp_path: Path) -> None:
    with (
        ProgressFile.open(tmp_path / "out.json", {}),
        pytest.raises(UsageError, match="this run alone but got another"),
    ):
        bench(VoronoiPredictor(), toy, tmp_path / "out.json", restart=True)


def test_a_full_disk_keeps_what_was_whole(toy: ToyDataset, tmp_path: Path) -> None:
    result, timing = evaluate_sample(VoronoiPredictor(), toy[0], EvaluationProtocol(n_max=2))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ProgressFile.open(tmp_path / "out.json", {"a": 1}) as progress:
        progress.append("x", 0, result, timing)
        size = progress.path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
        try:
            with pytest.raises(OutputError, match="Finished images are kept: the same command goes on"):
                progress.append("x", 1, result, timing)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert progress.path.stat().st_size == size
        progress.append("x", 2, result, None)
    with ProgressFile.open(tmp_path / "out.json", {"a": 1}) as progress:
        assert progress.finished("x") == {0: (result, timing), 2: (result, None)}


def test_what_a_dataset_reads_has_the_same_text_in_every_process() -> None:
    """No address and no unordered set, or a run could never go on."""
    dataset = DATASETS["synthetic"](DatasetOptions(max_images=2, side_px=48))
    assert " at 0x" not in repr(dataset)
    code = (
        "from mmms_eval.datasets import DATASETS, DatasetOptions;"
        "print(repr(DATASETS['synthetic'](DatasetOptions(max_images=2, side_px=48))))"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        output = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert output.stdout.strip() == repr(dataset)
