"""Running a predictor over a data set: determinism, protocol choices, what is stored."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from mmms_client.errors import DataError, ModalityError, UsageError
from mmms_eval import report
from mmms_eval.baselines import VoronoiPredictor
from mmms_eval.datasets.sample import Sample
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.results import ImageResult
from mmms_eval.runner import check_modalities, evaluate, evaluate_sample

from .conftest import SIDE, ThermalPredictor, ToyDataset, random_sample


def run(predictor: Any, dataset: ToyDataset, workers: int = 1, **choices: Any) -> Any:
    return evaluate(predictor, dataset, EvaluationProtocol(**choices), name="model", workers=workers)


def test_a_perfect_model_needs_one_click_per_surface(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    summary = run(thermal_predictor, toy).summary
    assert summary.noc == dict.fromkeys(summary.noc, 1.0)
    assert (summary.images, summary.surfaces) == (5, 20)
    assert summary.frms_percent == 0.0
    assert set(summary.failures.values()) == {0}
    assert summary.mean_iou_after["1"] == 1.0


def test_the_number_of_workers_changes_nothing(toy: ToyDataset) -> None:
    one, many = run(VoronoiPredictor(), toy, 1), run(VoronoiPredictor(), toy, 4)
    assert one.results == many.results
    assert [result.key for result in many.results] == [sample.key for sample in toy.samples]
    assert one.summary == many.summary


def test_images_really_run_at_the_same_time(toy: ToyDataset) -> None:
    meeting = threading.Barrier(2, timeout=10)

    class Meeting(ThermalPredictor):
        def encode(self, *arguments: Any, **named: Any) -> Any:
            meeting.wait()
            return super().encode(*arguments, **named)

    assert run(Meeting(), ToyDataset(toy.samples[:2]), 2).summary.images == 2


def test_an_image_is_encoded_once(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    run(thermal_predictor, toy)
    assert thermal_predictor.encodes == len(toy)


def test_without_its_modality_the_model_gets_worse(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    evaluation = run(thermal_predictor, toy, modalities=())
    assert evaluation.summary.noc["80"] == 20.0
    assert evaluation.summary.frms_percent == 100.0
    use = report.modality_use(evaluation, toy)
    assert use == {"used": [], "unused": ["thermal"], "absent": []}


def test_a_probability_equal_to_the_threshold_is_outside(toy: ToyDataset) -> None:
    exactly = ThermalPredictor(inside=0.5)
    assert run(exactly, toy).summary.noc["80"] == 20.0
    assert run(exactly, toy, mask_threshold=0.49).summary.noc["80"] == 1.0


def test_small_surfaces_are_left_out_and_counted(thermal_predictor: ThermalPredictor) -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    labels[:2, :2], labels[10:20, 10:20] = 7, 9
    sample = Sample("x", np.zeros((SIDE, SIDE, 3), np.uint8), {"thermal": labels / np.float32(9)}, labels)
    result, _ = evaluate_sample(thermal_predictor, sample, EvaluationProtocol(smallest_area_px=5))
    assert [surface.surface_id for surface in result.surfaces] == [9]
    assert result.too_small == 1


def test_an_image_without_surfaces_is_not_encoded(thermal_predictor: ThermalPredictor) -> None:
    labels = np.zeros((SIDE, SIDE), np.int32)
    sample = Sample("x", np.zeros((SIDE, SIDE, 3), np.uint8), {}, labels)
    summary = run(thermal_predictor, ToyDataset([sample, random_sample(0)])).summary
    assert (summary.images, summary.images_without_surfaces, summary.surfaces) == (2, 1, 4)
    assert thermal_predictor.encodes == 1


def test_results_survive_json_to_the_last_digit(toy: ToyDataset) -> None:
    for result in run(VoronoiPredictor(), toy).results:
        assert ImageResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_finished_images_are_taken_over_without_reading_them(
    toy: ToyDataset, thermal_predictor: ThermalPredictor
) -> None:
    stored: dict[int, Any] = {}
    bar: list[str] = []

    def on_finished(index: int, *outcome: Any) -> None:
        stored[index] = outcome

    protocol = EvaluationProtocol()
    whole = evaluate(thermal_predictor, toy, protocol, name="model", workers=2, on_finished=on_finished)
    assert sorted(stored) == [0, 1, 2, 3, 4]
    toy.asked.clear()
    resumed = evaluate(
        thermal_predictor,
        toy,
        protocol,
        name="model",
        finished={index: stored[index] for index in (0, 2, 3)},
        on_image=lambda result, _: bar.append(result.key),
    )
    assert toy.asked == [1, 4]
    assert bar == ["image-1", "image-4"]
    assert resumed.results == whole.results
    assert (resumed.taken_over, len(resumed.timings)) == (3, 5)
    assert "without 3 images of an earlier run" in report.speed(resumed)


def test_stopping_early_changes_no_noc(toy: ToyDataset) -> None:
    whole, short = run(VoronoiPredictor(), toy), run(VoronoiPredictor(), toy, stop_iou=0.95)
    assert short.summary.noc == whole.summary.noc
    assert short.summary.nocms == whole.summary.nocms
    assert len(short.timings[0].click_ms) < len(whole.timings[0].click_ms)


def test_a_broken_image_stops_the_run_with_its_error(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    bad = Sample("bad", np.zeros((4, 4, 3), np.uint8), {}, np.ones((5, 4), np.int32))
    with pytest.raises(DataError, match=r"labels of 4x4 px for image 'bad' but got 4 x 5 px"):
        run(thermal_predictor, ToyDataset([toy.samples[0], bad, toy.samples[1]]), 2)


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"n_max": 25}, "Expected at most 24 clicks per surface, the most that the model takes, but got 25"),
        ({"n_max": 0}, "Expected at least 1 click per surface but got 0; change --n-max"),
        ({"mask_threshold": 1.0}, "Expected a mask threshold from 0 up to below 1 but got 1.0"),
        ({"nocms_iou": 0.7}, "Expected a mean IoU below the IoU of NoCMS but got 0.7 and 0.7"),
        ({"stop_iou": 0.9}, "Expected a stop IoU of at least 0.95, the highest threshold but got 0.9"),
    ],
)
def test_requests_that_make_no_sense(
    choices: dict[str, Any], text: str, toy: ToyDataset, thermal_predictor: ThermalPredictor
) -> None:
    with pytest.raises(UsageError, match=text):
        run(thermal_predictor, toy, **choices)


def test_a_modality_that_one_side_lacks_is_named(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    with pytest.raises(ModalityError, match=r"of the model \(thermal\) but got 'depth'"):
        check_modalities(toy, thermal_predictor.contract, ("depth",))
    with pytest.raises(ModalityError, match=r"of the data set \(none\) but got 'thermal'"):
        check_modalities(
            ToyDataset([], modality_names=()),
            thermal_predictor.contract,
            ("thermal",),
        )


def test_the_protocol_survives_json() -> None:
    protocol = EvaluationProtocol(modalities=("depth",), stop_iou=0.97, first_pass="all", flip=True, zoom="ritm")
    assert EvaluationProtocol.from_json(json.loads(json.dumps(protocol.to_json()))) == protocol
