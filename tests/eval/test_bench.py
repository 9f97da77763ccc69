"""The command as a user meets it, with a model in process instead of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mmms_client
from mmms_client.endpoint import Endpoint
from mmms_client.errors import MMMSError
from mmms_client.transport import ModelStatistics
from mmms_eval import report
from mmms_eval.cli import bench, run
from mmms_eval.datasets.synthetic import FIRST_HELD_OUT_SEED
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import evaluate

from .conftest import ThermalPredictor, ToyDataset

SMALL = ["--images", "2", "--size", "64", "--n-max", "3", "--workers", "1"]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The in-process model in the place of the served one; the list gets the arguments of each connection."""
    calls: list[dict[str, Any]] = []

    class Connector:
        @staticmethod
        def connect(url: str, **options: Any) -> ThermalPredictor:
            calls.append({"url": url, **options})
            return ThermalPredictor()

    monkeypatch.setitem(vars(mmms_client), "TritonPredictor", Connector)  # loads on use: never load it
    monkeypatch.delenv("TRITON_URL", raising=False)
    return calls


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(bench, [*SMALL, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_run_prints_the_table_and_how_it_was_made(connected: list[dict[str, Any]]) -> None:
    output = invoke()
    assert connected == [
        {"url": Endpoint("localhost:8001"), "features": "auto", "deadline_s": 30.0, "patience_s": 300.0}
    ]
    assert f"first_seed {FIRST_HELD_OUT_SEED}" in output
    assert "N_max 3, mask p > 0.5, NoCMS (80,70)" in output
    assert "used: thermal" in output
    header = next(line for line in output.splitlines() if line.startswith("model "))
    for column in ("NoC@80", "NoC@85", "NoC@90", "fail@90", "NoCMS@(80,70)", "FRMS %", "mIoU@1", "surfaces"):
        assert column in header


def test_options_and_environment_reach_the_server(
    connected: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_URL", "gpu:9001")
    invoke("--features", "plain", "--deadline", "5")
    assert connected == [{"url": Endpoint("gpu:9001"), "features": "plain", "deadline_s": 5.0, "patience_s": 300.0}]


def test_the_json_file_holds_everything_and_is_deterministic(connected: list[dict[str, Any]], tmp_path: Path) -> None:
    documents = []
    for workers in ("1", "3"):
        file = tmp_path / f"{workers}.json"
        invoke("--json", str(file), "--workers", workers)
        documents.append(json.loads(file.read_text()))
    document = documents[0]
    assert (document["schema"], document["schema_version"]) == ("mmms-bench", 4)
    assert EvaluationProtocol.from_json(document["protocol"]).n_max == 3
    assert document["dataset"]["first_seed"] == FIRST_HELD_OUT_SEED
    evaluation = document["evaluations"][0]
    assert evaluation["model"]["checkpoint_sha256"] == "0" * 64
    assert evaluation["timing"]["click_ms"]["count"] > 0
    surface = evaluation["images"][0]["surfaces"][0]
    assert len(surface["ious"]) == len(surface["clicks"]) > 0
    for other in documents:
        for changing in ("created_utc",):
            del other[changing]
        del other["evaluations"][0]["timing"]
    assert documents[0] == documents[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.json", "3.json"]


def test_all_that_has_to_be_said_beside_a_number_is_stored_and_printed(
    connected: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Transport:
        def server_version(self) -> str:
            return "2.99.0"

        def is_model_ready(self, model: str) -> bool:
            return True

        def statistics(self, model: str) -> ModelStatistics:
            return ModelStatistics(0, 0, 0, 0, 0)

    monkeypatch.setattr(ThermalPredictor, "transport", Transport(), raising=False)
    file = tmp_path / "out.json"
    output = invoke("--flip", "--zoom", "ritm", "--resolution", "32", "--json", str(file), "--restart")
    line = next(line for line in output.splitlines() if line.startswith("protocol:"))
    for said in (
        "modalities: all, flip on, zoom ritm; modalities used: thermal, unused: depth,",
        f"; synthetic, split -, seed {FIRST_HELD_OUT_SEED}, surfaces are label ids 1-",
        "; checkpoint none (sha256 000000000000) at 32 px, server 2.99.0, unknown unknown, clicks not batched",
    ):
        assert said in line
    document = json.loads(file.read_text())
    stated = document["evaluations"][0]["protocol"]
    ids = {s["surface_id"] for image in document["evaluations"][0]["images"] for s in image["surfaces"]}
    expected = {
        "n_max": 3, "flip": True, "zoom": "ritm", "resolution": 32, "resolution_asked": 32, "surface_ids": sorted(ids),
        "modalities": ["thermal"], "modalities_absent": [], "split": None, "seed": FIRST_HELD_OUT_SEED,
        "checkpoint": "none", "checkpoint_sha256": "0" * 64, "server_version": "2.99.0", "engine": "unknown",
        "precision": "unknown", "clicks_batched": False,
    }  # fmt: skip
    assert {key: stated[key] for key in expected} == expected
    assert EvaluationProtocol.from_json(document["protocol"]).zoom == "ritm"


@pytest.mark.parametrize(("numbers", "text"), [([], "none"), ([4], "4"), ([1, 2, 3, 7, 9, 10], "1-3, 7, 9-10")])
def test_runs_of_label_ids_are_joined(numbers: list[int], text: str) -> None:
    assert report._ranges(numbers) == text


def test_the_page_is_written_beside_the_json_file(connected: list[dict[str, Any]], tmp_path: Path) -> None:
    output = invoke("--json", str(tmp_path / "x.json"), "--html", str(tmp_path / "x.html"))
    assert output.endswith(f"written: {tmp_path / 'x.json'}\nwritten: {tmp_path / 'x.html'}\n")
    noc = json.loads((tmp_path / "x.json").read_text())["evaluations"][0]["summary"]["noc"]["80"]
    page = (tmp_path / "x.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert f"<td>{noc:.2f}</td>" in page
    assert "thermal eye on synthetic" in page


def test_baselines_get_rows_and_the_gain_is_said(
    toy: ToyDataset, thermal_predictor: ThermalPredictor, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = EvaluationProtocol(n_max=2, mean_iou_after=(1,))
    options = {"baselines": True, "workers": 2, "json_file": None}
    evaluations = run(thermal_predictor, lambda: "in process", toy, protocol, options)
    names = [evaluation.name.split()[0] for evaluation in evaluations]
    assert names == ["thermal", "disk", "Voronoi", "GrabCut"]
    output = capsys.readouterr().out
    best = min(evaluation.summary.noc["80"] for evaluation in evaluations[1:])
    assert f"{100 * (1 - 1 / best):.1f} % lower than that of the best baseline" in output
    assert f"1.00 against {best:.2f}" in output


def test_a_nocms_below_noc_is_explained(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    protocol = EvaluationProtocol(nocms_iou=0.8, nocms_mean_iou=0.2)
    evaluation = evaluate(thermal_predictor, toy, protocol, name="eye")
    (line,) = report.remarks(evaluation)
    assert line.startswith("NoCMS 0.25 is below NoC@80 1.00: an image ends at mean IoU 20, which left 75.0 %")


@pytest.mark.parametrize(
    ("arguments", "text", "exit_code"),
    [
        (["--n-max", "65"], "Expected at most 24 clicks per surface, the most that the model takes, but", 2),
        (["--nocms", "80"], "Expected --nocms as two percents such as 80,70 but got '80'", 2),
        (["--modalities", "sonar"], "Expected a modality of the model (thermal) but got 'sonar'", 2),
        (["--size", "8"], "Expected scenes of at least 32 px but got 8; give a larger --size", 2),
        (["--seed", "-1"], "but got -1; change --seed (held-out scenes begin at 2000000000)", 2),
        (["--dataset", "folder"], "Expected --root with", 2),
        (["--scale", "depth"], "Expected --scale NAME=FACTOR", 2),
        (["--min-area", "99999"], "Expected surfaces of at least 99999 px in 'synthetic' but got none", 1),
        (["--resolution", "448"], "Expected a model of 448 px but got one of 32 px; drop --resolution, or export", 2),
        (["--json", "/nowhere/x.json"], "Expected --json with a file in a folder that can be written", 1),
        (["--html", "/nowhere/x.html"], "Expected --html with a file in a folder that can be written", 1),
    ],
)
def test_requests_that_cannot_be_carried_out(
    connected: list[dict[str, Any]], arguments: list[str], text: str, exit_code: int
) -> None:
    with pytest.raises(MMMSError) as caught:
        bench.main([*SMALL, *arguments], standalone_mode=False)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == exit_code
