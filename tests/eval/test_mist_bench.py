"""The numbers of MIST, by hand and on the way to table, file, page and comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import mmms_client
from mmms_client.clicks import Click
from mmms_client.errors import DataError, MMMSError, UsageError
from mmms_eval import report
from mmms_eval.baselines import VoronoiPredictor
from mmms_eval.cli import bench, run
from mmms_eval.compare import compare
from mmms_eval.html_report import write_page
from mmms_eval.metrics import iou
from mmms_eval.mist import MistAnnotation, MistClick, MistSurface, check_budget, fuse
from mmms_eval.protocol import MIST_STRATEGIES, EvaluationProtocol, MistProtocol, MistStrategy
from mmms_eval.results import ImageResult
from mmms_eval.runner import Evaluation, evaluate, evaluate_sample
from mmms_eval.stored import read_evaluation
from mmms_eval.summary import summarise
from mmms_eval.surface_simulation import TimedModel

from .conftest import Failing, ThermalPredictor, ToyDataset


# The numbers ----------------------------------------------------------------------------------------------------------
def image(key: str, ious: Sequence[float], clicks: int, per_surface: int = 10, alone: float | None = None) -> Any:
    surfaces = tuple(
        MistSurface(i, value, value if alone is None else alone, value < 0.85) for i, value in enumerate(ious, 1)
    )
    made = tuple(MistClick(k, 0, 1, 1) for k in range(clicks))
    mist = MistAnnotation("worst", surfaces, made, per_surface * len(ious))
    return ImageResult(key, (1, 40), (), 0, (), (), (mist,))


def test_nci_nfo_nfi_and_iou_by_hand() -> None:
    """a: 3 clicks for 2 surfaces. b: one of four fails after 30 clicks, which count as all 40. c: success with the
    last of 10. d: both fail, one of them only by the last argmax. e: nothing to do."""
    results = [
        image("a", [0.9, 0.95], 3),
        image("b", [0.9, 0.9, 0.9, 0.5], 30),
        image("c", [0.85], 10),
        image("d", [0.25, 0.75], 20, alone=0.9),
        ImageResult("e", (1, 40), (), 0, (), ()),
    ]
    summary = summarise(results, EvaluationProtocol(mist=MistProtocol()))
    mist = summary.mist["worst"]
    assert mist.nci == pytest.approx((3 / 2 + 40 / 4 + 10 / 1 + 20 / 2) / 4)
    assert (mist.nfo, mist.nfi, mist.lost_to_fusion, mist.unspent) == (3, 2, 2, 1)
    assert mist.image_iou == pytest.approx((0.925 + 0.8 + 0.85 + 0.5) / 4)  # images, not surfaces, count alike
    assert (mist.surfaces, mist.images, mist.clicks) == (9, 4, 63)
    nothing = summarise(results[4:], EvaluationProtocol(mist=MistProtocol())).to_json()
    assert nothing["mist"]["worst"]["nci"] is None  # JSON has no NaN
    assert summarise(results, EvaluationProtocol()).mist == {}


def evaluated(predictor: Any, dataset: ToyDataset, workers: int = 1, **choices: Any) -> Evaluation:
    mist = MistProtocol(**{"strategies": MIST_STRATEGIES, "clicks_per_surface": 6, **choices})
    protocol = EvaluationProtocol(n_max=3, mean_iou_after=(1, 3), mist=mist)
    return evaluate(predictor, dataset, protocol, name="model", workers=workers)


def test_a_perfect_model_needs_one_click_per_surface(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    summary = evaluated(thermal_predictor, toy).summary
    assert tuple(summary.mist) == MIST_STRATEGIES
    for mist in summary.mist.values():
        assert (mist.nci, mist.nfo, mist.nfi, mist.image_iou, mist.surfaces, mist.images) == (1.0, 0, 0, 1.0, 20, 5)
    assert thermal_predictor.encodes == 5  # once per image, for NoC, NoCMS and all strategies


def test_the_final_iou_is_that_of_the_fused_answers(toy: ToyDataset) -> None:
    """Computed once more, from the stored clicks."""
    predictor, sample = VoronoiPredictor(), toy[0]
    (done,) = evaluate_sample(
        predictor, sample, EvaluationProtocol(n_max=1, mist=MistProtocol(clicks_per_surface=1, iou=0.9))
    )[0].mist
    model = TimedModel(predictor, predictor.encode(sample.image), 0.5)
    planes = {
        surface.surface_id: model.probabilities(
            [Click(c.x_px, c.y_px, c.owner_id == surface.surface_id) for c in done.clicks], None
        )[0]
        for surface in done.surfaces
    }
    joint = fuse(planes, 0.5)
    for surface in done.surfaces:
        assert surface.iou == iou(joint == surface.surface_id, sample.labels == surface.surface_id, sample.valid)


def test_mist_changes_no_other_number_and_workers_change_nothing(toy: ToyDataset) -> None:
    one, many = evaluated(VoronoiPredictor(), toy), evaluated(VoronoiPredictor(), toy, workers=4)
    assert one.results == many.results
    without = evaluate(VoronoiPredictor(), toy, replace(one.protocol, mist=None), name="model")
    assert [replace(result, mist=()) for result in one.results] == list(without.results)


def test_results_and_protocol_survive_json(toy: ToyDataset) -> None:
    done = evaluated(VoronoiPredictor(), toy, fuse="each", seed=3)
    for result in done.results:
        assert len(result.mist) == 6
        assert ImageResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert EvaluationProtocol.from_json(json.loads(json.dumps(done.protocol.to_json()))) == done.protocol


@pytest.mark.parametrize("policies", [{"flip": True}, {"zoom": "ritm"}, {"flip": True, "zoom": "ritm"}])
def test_flip_and_zoom_answer_mist_too(
    toy: ToyDataset, thermal_predictor: ThermalPredictor, policies: dict[str, Any]
) -> None:
    mist = MistProtocol(("worst",), clicks_per_surface=2)
    protocol = EvaluationProtocol(n_max=1, mean_iou_after=(1,), mist=mist, **policies)
    summary = evaluate(thermal_predictor, toy, protocol, name="model").summary
    assert (summary.mist["worst"].nfo, summary.mist["worst"].nci) == (0, 1.0)


def test_a_model_without_its_modality_fails_images_with_their_whole_budget(
    toy: ToyDataset, thermal_predictor: ThermalPredictor
) -> None:
    mist = MistProtocol(clicks_per_surface=3)
    protocol = EvaluationProtocol(n_max=1, mean_iou_after=(1,), modalities=(), mist=mist)
    summary = evaluate(thermal_predictor, toy, protocol, name="model").summary.mist["worst"]
    assert (summary.nci, summary.nfo, summary.nfi) == (3.0, 20, 5)


# What is refused ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"strategies": ("wurst",)}, "Expected MIST strategies of best, worst, random, worst-with-limit, round-robin"),
        ({"strategies": ("worst", "worst")}, "Expected each MIST strategy once but got worst, worst; change --mist."),
        ({"strategies": ()}, "Expected each MIST strategy once but got none; change --mist."),
        ({"clicks_per_surface": 0}, "Expected at least 1 MIST click per surface but got 0; change --mist-clicks."),
        ({"iou": 85.0}, "Expected a MIST IoU above 0 and up to 1 but got 85.0; change --mist-iou."),
        ({"fuse": "never"}, "Expected to fuse final or each but got 'never'; change --mist-fuse."),
        ({"spacing_px": -1}, "Expected a spacing of MIST clicks from 0 px but got -1; change --mist-spacing."),
    ],
)
def test_choices_that_make_no_sense(choices: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as caught:
        MistProtocol(**choices)
    assert str(caught.value).startswith(text)


def test_more_clicks_than_the_model_takes_are_refused(thermal_predictor: ThermalPredictor, toy: ToyDataset) -> None:
    """The model takes 24, an image has 4 surfaces."""
    contract = thermal_predictor.contract
    check_budget(contract, 4, MistProtocol(clicks_per_surface=6), "x")
    with pytest.raises(
        UsageError, match=r"at most 24 clicks per image.* 28 \(7 for each of 4 .*; lower --mist-clicks to"
    ):
        check_budget(contract, 4, MistProtocol(clicks_per_surface=7), "x")
    with pytest.raises(UsageError, match=r"got 25 \(1 for each of 25 surfaces\) for 'x'; raise --min-area\."):
        check_budget(contract, 25, MistProtocol(clicks_per_surface=1), "x")
    with pytest.raises(UsageError, match="got 28"):
        evaluate_sample(thermal_predictor, toy[0], EvaluationProtocol(mist=MistProtocol(clicks_per_surface=7)))
    assert thermal_predictor.encodes == 0


def test_the_image_with_most_surfaces_is_found_before_any_is_done(
    toy: ToyDataset, thermal_predictor: ThermalPredictor, tmp_path: Path
) -> None:
    few = replace(toy.samples[0], key="few", labels=np.clip(toy.samples[0].labels, -1, 2))
    protocol = EvaluationProtocol(mist=MistProtocol())
    with pytest.raises(UsageError) as caught:
        run_bench(thermal_predictor, ToyDataset([few, *toy.samples[:2]]), tmp_path / "out.json", protocol)
    assert str(caught.value) == (
        "Expected a MIST budget of at most 24 clicks per image, the most that the model takes, but got 40 (10 for each "
        "of 4 surfaces) for 'image-0'; lower --mist-clicks to 6."
    )
    assert thermal_predictor.encodes == 0
    assert list(tmp_path.iterdir()) == []
    assert run_bench(thermal_predictor, ToyDataset([few]), None, protocol)[0].summary.mist["worst"].nfo == 0


# The command ----------------------------------------------------------------------------------------------------------
def run_bench(
    predictor: Any, dataset: ToyDataset, file: Path | None, protocol: EvaluationProtocol, **options: Any
) -> list[Evaluation]:
    options = {"baselines": False, "workers": 1, "json_file": file, **options}
    return run(predictor, lambda: "in process", dataset, protocol, options)


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The in-process model in the place of the served one, for up to 64 clicks as that one."""

    class Connector:
        @staticmethod
        def connect(url: str, **options: Any) -> ThermalPredictor:
            predictor = ThermalPredictor()
            predictor.contract = replace(predictor.contract, max_clicks=64)
            return predictor

    monkeypatch.setitem(vars(mmms_client), "TritonPredictor", Connector)


SMALL = ["--images", "2", "--size", "64", "--n-max", "3", "--workers", "1"]


def test_the_command_prints_and_stores_mist(connected: None, tmp_path: Path) -> None:
    file, page = tmp_path / "out.json", tmp_path / "out.html"
    arguments = [
        "--mist",
        "worst",
        "--mist",
        "random",
        "--mist-clicks",
        "4",
        "--mist-iou",
        "0.9",
        "--mist-fuse",
        "each",
    ]
    arguments += ["--mist-seed", "7", "--mist-spacing", "2", "--json", str(file), "--html", str(page)]
    result = CliRunner().invoke(bench, [*SMALL, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    document = json.loads(file.read_text())
    (evaluation,) = document["evaluations"]
    assert document["protocol"]["mist"] == {
        "strategies": ["worst", "random"], "clicks_per_surface": 4, "iou": 0.9, "fuse": "each", "seed": 7,
        "spacing_px": 2,
    }  # fmt: skip
    assert evaluation["protocol"]["mist"] == document["protocol"]["mist"]
    said = "MIST worst/random with 4 clicks per surface to IoU 90, fuse each, seed 7, clicks more than 2 px apart;"
    assert said in next(line for line in result.output.splitlines() if line.startswith("protocol:"))
    lines = result.output.splitlines()
    head = next(number for number, line in enumerate(lines) if line.split()[:2] == ["model", "MIST"])
    assert lines[head].split()[2:] == ["NCI", "NFO", "NFI", "IoU", "%", "surfaces", "images"]
    for line, strategy in zip(lines[head + 2 : head + 4], ("worst", "random"), strict=True):
        mist = evaluation["summary"]["mist"][strategy]
        means = [f"{mist['nci']:.2f}", str(mist["nfo"]), str(mist["nfi"]), f"{100 * mist['image_iou']:.1f}"]
        assert line.split()[2:] == [strategy, *means, str(mist["surfaces"]), "2"]
        assert f"<td>{means[0]}</td>" in page.read_text()
    for stored in evaluation["images"]:
        assert [entry["strategy"] for entry in stored["mist"]] == ["worst", "random"]
        assert stored["mist"][0]["budget"] == 4 * len(stored["surfaces"])
    assert "All surfaces at once (MIST)" in page.read_text()


def test_all_strategies_in_one_run_and_defaults(connected: None, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    arguments = [*SMALL, "--mist", "all", "--mist-clicks", "3", "--json", str(file)]
    assert CliRunner().invoke(bench, arguments, catch_exceptions=False).exit_code == 0
    protocol = read_evaluation(file).protocol
    assert protocol.mist == MistProtocol(MIST_STRATEGIES, clicks_per_surface=3)
    assert protocol.mist == MistProtocol(MIST_STRATEGIES, 3, 0.85, "final", 0, 5)


def test_without_the_option_there_is_no_mist(connected: None, tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    output = CliRunner().invoke(bench, [*SMALL, "--json", str(file)], catch_exceptions=False).output
    assert "MIST" not in output
    assert json.loads(file.read_text())["evaluations"][0]["images"][0]["mist"] == []


def test_baselines_are_measured_alike(
    toy: ToyDataset, thermal_predictor: ThermalPredictor, capsys: pytest.CaptureFixture[str]
) -> None:
    mist = MistProtocol(("best",), clicks_per_surface=2)
    protocol = EvaluationProtocol(n_max=1, mean_iou_after=(1,), mist=mist)
    evaluations = run_bench(thermal_predictor, ToyDataset(toy.samples[:1]), None, protocol, baselines=True)
    rows = report.mist_rows(evaluations)
    assert [row[0].split()[0] for row in rows] == ["model", "thermal", "disk", "Voronoi", "GrabCut"]
    assert rows[1][1:] == ["best", "1.00", "0", "0", "100.0", "4", "1"]
    assert report.align_columns(rows) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ["--mist-clicks", "5"],
            "Expected --mist with --mist-clicks but got none; add --mist worst, or drop --mist-cl",
        ),
        (["--mist-fuse", "each"], "Expected --mist with --mist-fuse but got none"),
        (["--mist", "worst", "--mist-iou", "85"], "Expected a MIST IoU above 0 and up to 1 but got 85.0"),
        (["--mist", "worst", "--mist-clicks", "99"], "Expected a MIST budget of at most 64 clicks per image, the most"),
    ],
)
def test_requests_that_cannot_be_carried_out(connected: None, arguments: list[str], text: str) -> None:
    with pytest.raises(MMMSError) as caught:
        bench.main([*SMALL, *arguments], standalone_mode=False)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_surfaces_lost_in_the_final_label_map_are_remarked(toy: ToyDataset) -> None:
    done = evaluated(VoronoiPredictor(), toy, strategies=("worst",))
    results = (image("a", [0.9, 0.5], 20, alone=0.9),)
    assert report.remarks(replace(done, results=results))[-2] == (
        "MIST worst: 1 of 1 failed surfaces were at the goal on their own and lost it to others in the final label map"
    )


def test_the_page_is_written_without_mist_too(toy: ToyDataset, tmp_path: Path) -> None:
    protocol = EvaluationProtocol(n_max=2, mean_iou_after=(1,))
    done = evaluate(VoronoiPredictor(), toy, protocol, name="model")
    write_page(tmp_path / "page.html", VoronoiPredictor(), [done], toy)
    assert "(MIST)" not in (tmp_path / "page.html").read_text()


# Going on, and comparing ----------------------------------------------------------------------------------------------
def with_mist(strategies: tuple[MistStrategy, ...] = ("worst", "random"), **choices: Any) -> EvaluationProtocol:
    mist = MistProtocol(strategies, **{"clicks_per_surface": 3, **choices})
    return EvaluationProtocol(n_max=2, mean_iou_after=(1,), mist=mist)


def test_a_run_that_goes_on_ends_with_the_same_numbers(toy: ToyDataset, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole.json", tmp_path / "resumed.json"
    run_bench(VoronoiPredictor(), toy, whole, with_mist())
    with pytest.raises(DataError, match="third image"):
        run_bench(Failing(), toy, resumed, with_mist())
    for protocol, said in (
        (with_mist(clicks_per_surface=4), "protocol.mist.clicks_per_surface 4 (was 3); go on with those"),
        (with_mist(("worst",)), 'protocol.mist.strategies ["worst"] (was ["worst", "random"]); go on'),
        (replace(with_mist(), mist=None), 'protocol.mist.strategies null (was ["worst", "random"]), protocol.mist.cl'),
    ):
        with pytest.raises(UsageError) as caught:
            run_bench(VoronoiPredictor(), toy, resumed, protocol)
        assert said in str(caught.value)
    toy.asked.clear()
    run_bench(VoronoiPredictor(), toy, resumed, with_mist())
    assert set(toy.asked) == {2, 3, 4}  # neither evaluated again nor counted again
    for file in (whole, resumed):
        assert read_evaluation(file).images["image-4"].mist
    assert read_evaluation(resumed).images == read_evaluation(whole).images
    summaries = [json.loads(file.read_text())["evaluations"][0]["summary"] for file in (whole, resumed)]
    assert summaries[0] == summaries[1]


def test_files_from_before_mist_are_still_read(toy: ToyDataset, tmp_path: Path) -> None:
    file = tmp_path / "old.json"
    run_bench(VoronoiPredictor(), toy, file, replace(with_mist(), mist=None))
    document = json.loads(file.read_text())
    document["schema_version"] = 3
    del document["protocol"]["mist"]
    for stored in document["evaluations"][0]["images"]:
        del stored["mist"]
    file.write_text(json.dumps(document))
    old = read_evaluation(file)
    assert old.protocol.mist is None
    assert {result.mist for result in old.images.values()} == {()}


def test_runs_are_compared_by_mist_where_both_have_it(toy: ToyDataset, tmp_path: Path) -> None:
    a, b, without, other = (tmp_path / f"{name}.json" for name in ("a", "b", "without", "other"))
    (ours,) = run_bench(VoronoiPredictor(), toy, a, with_mist())
    (theirs,) = run_bench(ThermalPredictor(), toy, b, with_mist(("best", "worst")))
    run_bench(ThermalPredictor(), toy, without, replace(with_mist(), mist=None))
    run_bench(ThermalPredictor(), toy, other, with_mist(iou=0.9))
    result = compare(read_evaluation(a), read_evaluation(b))
    found = {d.name: d for d in result.differences if "MIST" in d.name}
    assert list(found) == [f"{name} (MIST worst)" for name in ("NCI", "NFO", "NFI", "IoU")]
    assert "MIST worst/random in A, best/worst in B" in result.remarks
    for run_, side in ((ours, "a"), (theirs, "b")):
        mist = run_.summary.mist["worst"]
        expected = [mist.nci, 100 * mist.nfo / mist.surfaces, 100 * mist.nfi / mist.images, 100 * mist.image_iou]
        assert [getattr(d, side) for d in found.values()] == pytest.approx(expected)
    assert found["IoU (MIST worst)"].difference > 0
    lacking = compare(read_evaluation(a), read_evaluation(without))
    assert not [d for d in lacking.differences if "MIST" in d.name]
    assert "MIST worst/random in A, not measured in B" in lacking.remarks
    with pytest.raises(UsageError, match=r"but got mist\.iou 0\.85 in .*a\.json and 0\.9 in"):
        compare(read_evaluation(a), read_evaluation(other))
