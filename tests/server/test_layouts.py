"""A full run of `bench` on each of the paper's data sets: trees in their true layout, a served network with the sensors
of each, a report. The shipped nano has thermal and depth; for the other sensors one is trained for a moment.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmms_eval.synthetic import write_layout
from mmms_eval.synthetic.layouts import LayoutName
from mmms_export.exporter import export, load_source
from mmms_export.parity import spread_random_head
from mmms_export.repository import Target
from mmms_server.process import ServerProcess
from mmms_training.config import TrainConfig, override, read_recipe
from mmms_training.loop import Trainer
from mmms_training.predictor import model_contract
from mmms_training.run_state import CHECKPOINT_NAME

SEEDS = (5_000_000_001, 5_000_000_002, 5_000_000_003)
SIDE = 192


def bench(layout: LayoutName, url: str, folder: Path) -> dict:  # type: ignore[type-arg]
    """The JSON document of a run on a small tree; the page is written as well."""
    write_layout(layout, folder / layout, SEEDS, size_hw=(192, 192 + 256) if layout == "mcubes" else (192, 256))
    arguments = ["bench", "--dataset", layout, "--root", str(folder / layout), "--partial", "--images", "1"]
    arguments += ["--n-max", "3", "--min-area", "200", "--url", url]
    if layout == "deliver":
        arguments += ["--scale", "depth=1"]  # its unit is not published: these files are in metres
    arguments += ["--json", str(folder / "out.json"), "--html", str(folder / "out.html")]
    command = [sys.executable, "-m", "mmms_client", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert "NoC@80" in done.stdout and (folder / "out.html").stat().st_size > 20_000
    return json.loads((folder / "out.json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("layout", ["fmb", "mfnet"])
def test_thermal_sets_with_the_shipped_network(layout: LayoutName, nano_server: ServerProcess, tmp_path: Path) -> None:
    (run,) = bench(layout, nano_server.url, tmp_path)["evaluations"]
    assert run["modalities"]["used"] == ["thermal"] and run["modalities"]["absent"] == ["depth"]
    assert run["summary"]["surfaces"] > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("layout", "sensors"),
    [
        ("fmb", ["thermal"]),
        ("mfnet", ["thermal"]),
        ("deliver", ["depth", "event", "lidar"]),
        ("mcubes", ["nir", "aolp", "dolp"]),
    ],
)
def test_every_set_with_a_network_of_its_sensors(
    layout: LayoutName, sensors: list[str], server_extra: None, tmp_path: Path
) -> None:
    config = dataclasses.replace(
        override(TrainConfig(), read_recipe("nano")),
        modalities=tuple(sensors), resolution=96, scene_px=96, batch_size=4, steps=30, warmup_steps=5,
        feature_steps=20, min_area_px=16, workers=0, learning_rate=3e-3, crop_scale=(0.6, 1.0),
    )  # fmt: skip
    Trainer(config, tmp_path / "run").run(lambda _: None)
    source = load_source(tmp_path / "run" / CHECKPOINT_NAME, None, SIDE, None, random_weights=False)
    # so few steps do not make masks that span the range, as a parity check asks for: spread them like random ones
    spread_random_head(source.model, model_contract(source.model, SIDE, source.name, source.sha256, "openvino", "fp32"))
    source = dataclasses.replace(source, is_trained=False)
    export(source, Target("cpu", "fp32"), SIDE, tmp_path / "repository", lambda _: None)
    with ServerProcess(tmp_path / "repository", tmp_path / "log") as server:
        (run,) = bench(layout, server.url, tmp_path)["evaluations"]
    assert sorted(run["modalities"]["used"]) == sorted(sensors) and run["modalities"]["absent"] == []
    assert run["summary"]["surfaces"] > 0 and run["model"]["checkpoint_sha256"] == source.sha256
