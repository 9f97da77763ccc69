"""The central claim's runner in small, and the page that is written from its numbers."""

from __future__ import annotations

import copy
import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError
from mmms_eval.datasets import DATASETS, DatasetOptions
from mmms_eval.random_walker import RandomWalkerPredictor
from mmms_eval.stored import read_evaluation
from mmms_training.checkpoint import find_checkpoint, read_checkpoint
from mmms_training.claim import ClaimPlan, choose_variants, run_claim
from mmms_training.cli import claim
from mmms_training.config import TrainConfig, override, read_recipe
from mmms_training.real_images import RealPlan, open_real, run_real
from mmms_training.results import CLAIM_FILE, METRICS, REAL_FILE, collect_claim, collect_real, store
from mmms_training.results_page import NOT_MEASURED, results_page
from mmms_training.run_state import CHECKPOINT_NAME

ROOT = Path(__file__).parents[2]
SMALL = [
    "resolution=64",
    "scene_px=64",
    "min_area_px=8",
    "batch_size=4",
    "workers=0",
    "pictures_every=0",
    "log_every=9",
]
NAMES = ("rgb", "control-grey", "neither")


def silent(_: str) -> None:
    pass


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClaimPlan, TrainConfig]:
    config = override(TrainConfig(), [*read_recipe("claim"), *SMALL])
    plan = ClaimPlan(
        tmp_path_factory.mktemp("claim"), 4, 8, (0,), 2, (25,), choose_variants(NAMES), scene_px=64, n_max=2
    )
    run_claim(plan, config, silent)
    return plan, config


def test_all_networks_have_the_same_budget_scenes_and_start(finished: tuple[ClaimPlan, TrainConfig]) -> None:
    plan, _ = finished
    read = {name: read_checkpoint(plan.run_folder(name, 0) / CHECKPOINT_NAME) for name in NAMES}
    allowed = {"modalities", "control", "has_effca", "has_mlp"}
    first = read["rgb"].training
    for checkpoint in read.values():
        settings = checkpoint.training["settings"]
        assert {k for k in settings if settings[k] != first["settings"][k]} <= allowed
        assert checkpoint.training["steps_done"] == 1 and checkpoint.training["started_from"] == first["started_from"]
    assert read["rgb"].config.modality_names == () and read["neither"].config.modality_names == ("thermal", "depth")
    assert not read["neither"].config.has_effca and not read["neither"].config.has_mlp
    assert read["control-grey"].training["settings"]["control"] == "grey"


def test_all_networks_are_measured_on_the_same_images(finished: tuple[ClaimPlan, TrainConfig]) -> None:
    plan, _ = finished
    runs = [read_evaluation(plan.result_file(name, 0, 25)) for name in NAMES]
    surfaces = [[(s.surface_id, s.area_px) for i in run.images.values() for s in i.surfaces] for run in runs]
    assert all(found == surfaces[0] for found in surfaces) and len(surfaces[0]) > 5
    assert {run.dataset.get("control") for run in runs} == {None, "grey"}
    assert [i.modalities for i in runs[0].images.values()] == [()] * 2


def test_second_run_does_nothing_again(finished: tuple[ClaimPlan, TrainConfig]) -> None:
    plan, config = finished
    before = {file: file.stat().st_mtime_ns for file in plan.out.rglob("*") if file.is_file()}
    run_claim(plan, config, silent)
    assert {file: file.stat().st_mtime_ns for file in plan.out.rglob("*") if file.is_file()} == before
    lost = plan.result_file("rgb", 0, 25)
    content = json.loads(lost.read_text())
    lost.unlink()
    run_claim(plan, config, silent)
    again = json.loads(lost.read_text())
    assert again["evaluations"][0]["images"] == content["evaluations"][0]["images"]
    with pytest.raises(DataError, match="begun with others"):
        run_claim(dataclasses.replace(plan, budget=400), config, silent)


def test_the_command_on_the_page_is_one_that_makes_these_runs(
    finished: tuple[ClaimPlan, TrainConfig], tmp_path: Path
) -> None:
    plan, config = finished
    store(collect_claim(plan.out), tmp_path / CLAIM_FILE)
    page = results_page(tmp_path)
    (line,) = (text for text in page.splitlines() if text.startswith("training/recipes/claim.sh"))
    assert "all from the same RGB network per seed, which began from nothing and was shown 8 images" in page
    _, _, *words = shlex.split(line)
    with claim.make_context("claim", ["--out", str(plan.out), *words]) as context:
        given = context.params
    assert (given["budget"], given["base_budget"], given["images"], given["scene_px"]) == (4, 8, 2, 64)
    assert override(TrainConfig(), [*read_recipe("claim"), *given["settings"]]) == config


def test_gains_are_those_of_the_bench_and_seeds_are_pooled(
    finished: tuple[ClaimPlan, TrainConfig], tmp_path: Path
) -> None:
    """A second seed and better answers are made by hand, so that the numbers can be done in the head."""
    plan, _ = finished
    out = tmp_path / "claim"

    def write(name: str, seed: int, clicks: int) -> None:
        made = plan.result_file("rgb" if name == "rgb" else "neither", 0, 25)
        content = json.loads(made.read_text())
        content["protocol"]["n_max"] = 20
        for image in content["evaluations"][0]["images"]:
            for surface in image["surfaces"]:
                surface["ious"] = [0.0] * (clicks - 1) + [0.99]
                surface["clicks"] = [[0, 0, 1]] * clicks
        file = out / "results" / f"{name}-seed{seed}-invisible25.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))

    for seed in (0, 1):
        write("rgb", seed, 12)
        write("thermal+depth", seed, 10 + 4 * seed)
    numbers = collect_claim(out)
    row = next(row for row in numbers["rows"] if row["network"] == "thermal+depth")
    assert row["mean"]["NoC@90"] == 12 and row["gain"]["NoC@90"] == {"gain": 0, "low": 0, "high": 0}
    assert {s: g["NoC@90"] for s, g in row["gain_by_seed"].items()} == {"0": 2, "1": -2}
    store(numbers, tmp_path / "docs" / CLAIM_FILE)
    page = results_page(tmp_path / "docs")
    assert "+0.00 [+0.00, +0.00] (+2.00, -2.00)" in page and "1.2 were asked for: not reached" in page
    assert "- Not measured yet: + thermal; + depth; control: thermal and depth of another scene; control:" in page
    assert page.count(f"\n{NOT_MEASURED}") == 3, "other shares, the ablation, real images"
    partly = [{**row, "share": 0, "seeds": [0]} for row in numbers["rows"]]
    store({**numbers, "rows": numbers["rows"] + partly}, tmp_path / "docs" / CLAIM_FILE)
    assert results_page(tmp_path / "docs") == page, "a share that not all seeds were measured at is not measured yet"
    for seed in (0, 1):
        write("effca-only", seed, 13 + 4 * seed)
    store(collect_claim(out), tmp_path / "ablation" / CLAIM_FILE)
    ablation = results_page(tmp_path / "ablation").split("### Ablation of the CrossBlock")[1]
    left = "| + thermal + depth, EffCA without MLP | "
    assert f"{left}15.00 | 15.00 |" in ablation and "| + thermal + depth | 12.00 | 12.00 |" in ablation
    assert f"{left}-3.00 [-3.00, -3.00] (-1.00, -5.00) |" in ablation, "over RGB alone, which needs 12"
    assert f"{left}+3.00 [+3.00, +3.00] | +3.00" in ablation and "neither" not in ablation


def test_page_says_what_was_not_measured(tmp_path: Path) -> None:
    assert results_page(tmp_path).count(NOT_MEASURED) == 2
    with pytest.raises(DataError, match="Expected results of the network 'rgb'"):
        collect_claim(tmp_path)


def test_committed_page_is_that_of_the_committed_numbers() -> None:
    assert (ROOT / "docs" / "results.md").read_text("utf-8") == results_page(ROOT / "docs" / "results")


def test_random_walker_follows_edges_and_clicks() -> None:
    image = np.full((60, 80, 3), 40, np.uint8)
    image[15:45, 20:60] = 220
    predictor = RandomWalkerPredictor(500.0, 64)
    sample = DATASETS["synthetic"](DatasetOptions(max_images=1, side_px=48))[0]
    from mmms_client.clicks import Click

    encoded = predictor.encode(image)
    answer = encoded.frame.probabilities_to_image(predictor.predict(encoded, [Click(40, 30, True)])) > 0.5
    truth = image[..., 0] > 100
    assert (answer & truth).sum() / (answer | truth).sum() > 0.85
    assert predictor.predict(predictor.encode(sample.image), [Click(5, 5, True), Click(40, 40, False)]).max() <= 1


def test_real_images_against_classical_methods(tmp_path: Path) -> None:
    """On two tiny folders; the folders' names keep equal file names apart, and nothing is measured twice."""
    scenes = DATASETS["synthetic"](DatasetOptions(max_images=2, side_px=64))
    for name in ("a", "b"):
        for folder in ("rgb", "labels"):
            (tmp_path / "data" / name / folder).mkdir(parents=True)
        sample = scenes[0 if name == "a" else 1]
        Image.fromarray(sample.image).save(tmp_path / "data" / name / "rgb" / "x.png")
        labels = np.where(sample.labels < 0, 255, sample.labels).astype(np.uint8)
        Image.fromarray(labels).save(tmp_path / "data" / name / "labels" / "x.png")
    plan = RealPlan(tmp_path / "data", find_checkpoint("nano"), tmp_path / "out", 64, 1, tuning_px=64, n_max=2)
    assert [open_real(plan, ())[i].key for i in range(2)] == ["a/x", "b/x"]
    lines: list[str] = []
    run_real(plan, lines.append)
    assert len([line for line in lines if "synthetic scenes" in line]) == 6
    numbers = collect_real(tmp_path / "out")
    assert [row["method"] for row in numbers["rows"]] == ["nano, RGB alone", "GrabCut", "random walker"]
    assert all(set(METRICS) == set(row["gain"]) for row in numbers["rows"][1:])
    again: list[str] = []
    run_real(plan, again.append)
    assert again == []
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    del settings["tried"]["GrabCut"]["3 iterations"], settings["tried"]["random walker"]  # as if it had been killed
    (tmp_path / "out/settings.json").write_text(json.dumps(settings))
    run_real(plan, again.append)
    assert [line.partition(":")[0] for line in again] == [
        "GrabCut, 3 iterations",
        *(f"random walker, beta {beta}" for beta in (130, 2000, 500)),
    ]
    better = copy.deepcopy(numbers["rows"][1]) | {"method": "nano, with depth", "is_classical": False}
    better["images_with_sensors"] = 1
    better["mean"]["NoC@80"] = 0.5
    store({**numbers, "rows": [*numbers["rows"], better]}, tmp_path / "docs" / REAL_FILE)
    page = results_page(tmp_path / "docs")
    assert "| against | NoC@80 | NoC@90 |" in page and "2 images (1 of a, 1 of b)" in page
    assert "mean IoU after 1 | mean IoU after 3 | mean IoU after 5 |" in page, "by number, not by letter"
    assert page.count("a sensor beside RGB") == 1 and "`nano, with depth`: 1 of the 2 images have a sensor" in page
    assert "that of nano" not in page and "that of " in page  # the network is compared with the classical methods
