"""Flip and zoom around a predictor, against numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.errors import UsageError
from mmms_client.geometry import Region
from mmms_client.predictor import Encoded
from mmms_eval.baselines import DiskPredictor, VoronoiPredictor
from mmms_eval.datasets.sample import Sample
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import evaluate
from mmms_eval.wrappers import FlipPredictor, ZoomPredictor, next_region, object_region, region_iou, with_policies

from .conftest import SIDE, ThermalPredictor, ToyDataset, random_sample

WHOLE = Region(0, 0, 1000, 800)


def disk(y_px: int, x_px: int, radius_px: int, hw: tuple[int, int]) -> NDArray[np.float32]:
    y, x = np.mgrid[: hw[0], : hw[1]]
    return ((y - y_px) ** 2 + (x - x_px) ** 2 <= radius_px**2).astype(np.float32)


class Recording(VoronoiPredictor):
    """Answers a disk of probabilities in the middle of what it sees; keeps what it was asked."""

    def __init__(self, side: int = 64, empty: bool = False) -> None:
        super().__init__(side)
        self.regions: list[Region] = []
        self.asked: list[tuple[Region, list[Click], NDArray[np.float32] | None]] = []
        self.empty = empty

    def encode(self, *arguments: Any, **named: Any) -> Encoded:
        encoded = super().encode(*arguments, **named)
        self.regions.append(encoded.frame.region)
        return encoded

    def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        encoded.frame.clicks_to_network(clicks)  # raises outside the region, as a served model does
        self.asked.append((encoded.frame.region, list(clicks), previous_mask))
        side = encoded.frame.resolution
        return disk(side // 2, side // 2, side // 8, (side, side)) * np.float32(0 if self.empty else 0.9)


# Flip -----------------------------------------------------------------------------------------------------------------
def test_a_predictor_that_knows_no_left_and_right_answers_the_same_with_flip() -> None:
    sample = random_sample(1)
    clicks = [Click(5, 6), Click(20, 9, False), Click(11, 30)]
    for plain in (DiskPredictor(11), ThermalPredictor()):
        flipped = FlipPredictor(plain)
        maps = sample.modalities if plain.contract.modalities else {}
        expected = plain.predict(plain.encode(sample.image, maps), clicks)
        encoded = flipped.encode(sample.image, maps)
        assert np.array_equal(flipped.predict(encoded, clicks), expected)
        assert expected.any()
        assert encoded.present == tuple(maps)


def test_flip_is_the_mean_of_both_ways() -> None:
    class Leaning(VoronoiPredictor):
        """Always 0.8 in the left column that it sees, plus a tenth of the previous mask, and 1 where clicked."""

        def predict(
            self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
        ) -> NDArray[np.float32]:
            answer = np.zeros((2, 4), np.float32) if previous_mask is None else previous_mask / 10
            answer[:, 0] += np.float32(0.8)
            for click in clicks:
                answer[int(click.y_px), int(click.x_px)] = 1
            return answer

    flipped = FlipPredictor(Leaning())
    encoded = flipped.encode(np.zeros((2, 4, 3), np.uint8))
    first = flipped.predict(encoded, [Click(1, 1)])
    assert first == pytest.approx(np.array([[0.4, 0, 0, 0.4], [0.4, 1, 0, 0.4]]))
    second = flipped.predict(encoded, [Click(1, 1)], first)
    assert second == pytest.approx(np.array([[0.44, 0, 0, 0.44], [0.44, 1, 0, 0.44]]))


def test_flip_mirrors_image_maps_and_region() -> None:
    sample = random_sample(2)
    plain = ThermalPredictor()
    encoded = FlipPredictor(plain).encode(sample.image, sample.modalities, Region(0, 0, 8, 16))
    assert encoded.frame.region == Region(0, 0, 8, 16)
    both = encoded.payload
    assert both.mirrored.frame.region == Region(SIDE - 8, 0, 8, 16)
    assert np.array_equal(both.mirrored.payload, both.plain.payload[:, ::-1])


# Zoom: regions --------------------------------------------------------------------------------------------------------
def test_the_region_is_the_expanded_box_of_mask_and_positive_clicks() -> None:
    mask = np.zeros((800, 1000), np.bool_)
    mask[300:500, 400:700] = True  # rows 300 to 499 (centre 399.5, 200 high), columns 400 to 699 (549.5, 300 wide)
    # 1.4 x 200 = 280: rows round(259.5) = 260 to round(539.5) = 540; 1.4 x 300 = 420: columns 340 (339.5) to 760
    assert object_region(mask, []) == Region(340, 260, 421, 281)
    assert object_region(mask, [Click(10, 10, False)]) == Region(340, 260, 421, 281)
    # with (849, 300): columns 400 to 849, centre 624.5, 450 wide, 630: 309.5 -> 310 to 939.5 -> 940
    assert object_region(mask, [Click(849, 300)]) == Region(310, 260, 631, 281)


def test_a_small_object_gets_200_px_and_the_border_cuts() -> None:
    mask = np.zeros((800, 1000), np.bool_)
    mask[10:21, 500:511] = True  # centres 15 and 505
    assert object_region(mask, []) == Region(405, 0, 201, 116)
    assert object_region(np.zeros((800, 1000), np.bool_), [Click(3, 3)]) == WHOLE


def test_the_iou_of_regions_is_a_product_of_two_axes() -> None:
    assert region_iou(Region(0, 0, 10, 10), Region(5, 0, 10, 10)) == pytest.approx(5 / 15)
    assert region_iou(Region(0, 0, 10, 10), Region(5, 5, 10, 10)) == pytest.approx(1 / 9)
    assert region_iou(Region(0, 0, 10, 10), Region(20, 0, 10, 10)) == 0.0


def test_a_region_stays_until_it_fits_badly_or_misses_a_positive_click() -> None:
    mask = np.zeros((800, 1000), np.float32)
    mask[300:500, 400:700] = 0.51
    new = object_region(mask > 0.5, [])
    assert next_region(WHOLE, mask, []) == new  # 421 x 281 of 1000 x 800
    roomy = Region(300, 220, 500, 400)  # 421 / 500 x 281 / 400 = 0.59
    assert next_region(roomy, mask, [Click(310, 230), Click(5, 5, False)]) == roomy
    assert next_region(roomy, mask, [Click(299, 230)]) == object_region(mask > 0.5, [Click(299, 230)])
    assert next_region(roomy, mask, [Click(799, 230)]) != roomy  # its last column
    assert next_region(roomy, mask * 0, [Click(310, 230)]) == WHOLE


# Zoom: the predictor --------------------------------------------------------------------------------------------------
def test_the_second_click_sees_the_region() -> None:
    inner = Recording()
    zoom = ZoomPredictor(inner)
    encoded = zoom.encode(np.zeros((800, 1000, 3), np.uint8))
    first = zoom.predict(encoded, [Click(500, 400)])
    assert inner.regions == [WHOLE]
    assert first.shape == (800, 1000)
    assert inner.asked[0] == (WHOLE, [Click(500, 400)], None)

    clicks = [Click(500, 400), Click(990, 790, False), Click(510, 410, False)]
    second = zoom.predict(encoded, clicks, first)
    region = object_region(np.asarray(first) > 0.5, clicks)
    assert inner.regions == [WHOLE, region]
    asked_region, asked_clicks, previous = inner.asked[1]
    assert asked_region == region
    assert asked_clicks == [clicks[0], clicks[2]]  # the other lies outside
    assert previous is not None
    assert previous.shape == (64, 64)
    r = region
    assert previous.mean() == pytest.approx(first[r.y0 : r.y0 + r.height, r.x0 : r.x0 + r.width].mean(), abs=0.01)
    outside = np.asarray(second).copy()
    outside[r.y0 : r.y0 + r.height, r.x0 : r.x0 + r.width] = 0
    assert not outside.any()

    # The disk is now a quarter of the region of about 372 x 298: it would get 200 x 200, which is 0.36 of that
    third = zoom.predict(encoded, [*clicks, Click(505, 405)], second)
    assert len(inner.regions) == 3
    fourth = zoom.predict(encoded, [*clicks, Click(505, 405)], third)
    assert len(inner.regions) == 3
    assert np.array_equal(inner.asked[3][2], third.seen)  # the previous answer as it was, not resized twice
    assert np.array_equal(fourth, third)


def test_an_empty_answer_goes_back_to_the_whole_image() -> None:
    inner = Recording()
    zoom = ZoomPredictor(inner)
    encoded = zoom.encode(np.zeros((800, 1000, 3), np.uint8))
    clicks = [Click(500, 400), Click(510, 410)]
    second = zoom.predict(encoded, clicks, zoom.predict(encoded, clicks[:1]))
    inner.empty = True
    third = zoom.predict(encoded, clicks, second)
    zoom.predict(encoded, clicks, third)
    assert [region for region, _, _ in inner.asked][-1] == WHOLE
    assert inner.regions.count(WHOLE) == 1  # encoded once


def test_a_revisit_starts_from_a_mask_of_the_image() -> None:
    inner = Recording()
    zoom = ZoomPredictor(inner)
    encoded = zoom.encode(np.zeros((800, 1000, 3), np.uint8))
    previous = encoded.frame.mask_to_network(disk(200, 300, 50, (800, 1000)) > 0)
    zoom.predict(encoded, [Click(300, 200)], previous)
    assert inner.regions[-1] == Region(200, 100, 201, 201)  # 101 px x 1.4 is below 200


def test_the_zoom_takes_no_region() -> None:
    with pytest.raises(UsageError, match=r"whole image for the zoom but got Region\(.*leave out the region"):
        ZoomPredictor(Recording()).encode(np.zeros((8, 8, 3), np.uint8), None, Region(0, 0, 4, 4))


# In an evaluation -----------------------------------------------------------------------------------------------------
def test_both_are_off_by_default_and_zoom_goes_outside() -> None:
    plain = VoronoiPredictor()
    assert with_policies(plain, EvaluationProtocol()) is plain
    both = with_policies(plain, EvaluationProtocol(flip=True, zoom="ritm"))
    assert isinstance(both, ZoomPredictor)
    assert isinstance(both._inner, FlipPredictor)
    assert both.contract is plain.contract


def test_the_protocol_decides_for_an_evaluation(toy: ToyDataset, thermal_predictor: ThermalPredictor) -> None:
    protocol = EvaluationProtocol(flip=True)
    evaluation = evaluate(thermal_predictor, toy, protocol, name="eye")
    assert thermal_predictor.encodes == 2 * len(toy)
    assert evaluation.summary.noc["80"] == 1.0


def test_zoom_sees_a_small_object_better(thermal_predictor: ThermalPredictor) -> None:
    labels = disk(203, 191, 21, (400, 400)).astype(np.int32)  # 3 of 32 network pixels across, 7 with zoom
    sample = Sample("x", np.zeros((400, 400, 3), np.uint8), {"thermal": labels.astype(np.float32)}, labels)

    def best_iou(**choices: Any) -> float:
        protocol = EvaluationProtocol(n_max=2, **choices)
        results = evaluate(thermal_predictor, ToyDataset([sample]), protocol, name="eye").results
        return max(results[0].surfaces[0].ious)

    assert best_iou(zoom="ritm") > best_iou()
