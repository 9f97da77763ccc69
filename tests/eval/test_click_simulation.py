"""The click rule, against a slow implementation that shares nothing with the fast one."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.joint_mask import Mask
from mmms_eval.click_simulation import SimulatedAnnotator, next_click


def squared_depths(error: Mask) -> np.ndarray:
    """For each pixel of ``error`` the squared distance to the nearest pixel that is not in it."""
    height, width = error.shape
    outside = [
        (y, x)
        for y in range(-1, height + 1)
        for x in range(-1, width + 1)
        if not (0 <= y < height and 0 <= x < width and error[y, x])
    ]
    away = np.array(outside)
    depths = np.zeros(error.shape, np.int64)
    for y, x in zip(*np.nonzero(error), strict=True):
        depths[y, x] = ((away - (y, x)) ** 2).sum(axis=1).min()
    return depths


def slow_next_click(target: Mask, prediction: Mask, valid: Mask, unclicked: Mask) -> Click | None:
    missed = squared_depths(target & ~prediction & valid) * unclicked
    spilled = squared_depths(~target & prediction & valid) * unclicked
    if missed.max() == 0 and spilled.max() == 0:
        return None
    is_positive = bool(missed.max() > spilled.max())
    depths = missed if is_positive else spilled
    for y in range(depths.shape[0]):
        for x in range(depths.shape[1]):
            if depths[y, x] == depths.max():
                return Click(x, y, is_positive)
    raise AssertionError("there is always a maximum")


def random_mask(rng: np.random.Generator, shape: tuple[int, int]) -> Mask:
    """Speckle, blocks, all or nothing."""
    kind = rng.integers(8)
    if kind == 0:
        return np.zeros(shape, np.bool_)
    if kind == 1:
        return np.ones(shape, np.bool_)
    if kind <= 4:
        return np.asarray(rng.random(shape) < rng.random())
    mask = np.zeros(shape, np.bool_)
    for _ in range(rng.integers(1, 4)):
        y, x = rng.integers(shape[0]), rng.integers(shape[1])
        mask[y : y + rng.integers(1, shape[0] + 1), x : x + rng.integers(1, shape[1] + 1)] = True
    return mask


def test_agrees_with_the_slow_rule_on_thousands_of_masks() -> None:
    rng = np.random.default_rng(7)
    seen = {"none": 0, "positive": 0, "negative": 0}
    for _ in range(4000):
        shape = (int(rng.integers(1, 10)), int(rng.integers(1, 10)))
        target, prediction = random_mask(rng, shape), random_mask(rng, shape)
        valid = np.asarray(rng.random(shape) < rng.choice([0.7, 1.0]))
        unclicked = np.asarray(rng.random(shape) < rng.choice([0.5, 1.0]))
        expected = slow_next_click(target, prediction, valid, unclicked)
        assert next_click(target, prediction, valid, unclicked) == expected
        seen["none" if expected is None else "positive" if expected.is_positive else "negative"] += 1
    assert min(seen.values()) > 300


def test_agrees_with_the_slow_rule_on_larger_masks() -> None:
    rng = np.random.default_rng(8)
    for _ in range(8):
        shape = (int(rng.integers(20, 45)), int(rng.integers(20, 45)))
        target, prediction = random_mask(rng, shape), random_mask(rng, shape)
        everything = np.ones(shape, np.bool_)
        expected = slow_next_click(target, prediction, everything, everything)
        assert next_click(target, prediction) == expected


def test_agrees_with_another_exact_distance_transform_on_an_image_of_real_size() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(9)
    target = np.asarray(ndimage.gaussian_filter(rng.normal(size=(240, 320)), 9) > 0)
    depth = ndimage.distance_transform_edt(np.pad(target, 1))[1:-1, 1:-1]
    y, x = np.unravel_index(np.argmax(depth), depth.shape)
    assert next_click(target, np.zeros_like(target)) == Click(int(x), int(y), True)


def test_the_first_click_is_positive_and_in_the_middle() -> None:
    target = np.zeros((9, 9), np.bool_)
    target[2:7, 3:8] = True
    assert next_click(target, np.zeros_like(target)) == Click(5, 4, True)


def test_a_tie_of_missed_and_spilled_gives_a_negative_click() -> None:
    target = np.array([[1, 1, 0, 0]], np.bool_)
    assert next_click(target, ~target) == Click(2, 0, False)


def test_the_image_border_counts_as_a_boundary() -> None:
    target = np.ones((5, 3), np.bool_)
    assert next_click(target, np.zeros_like(target)) == Click(1, 1, True)


def test_nothing_wrong_means_no_click_instead_of_a_click_in_the_corner() -> None:
    target = np.eye(4, dtype=np.bool_)
    assert next_click(target, target) is None


def test_ignored_pixels_are_never_clicked() -> None:
    target = np.ones((1, 3), np.bool_)
    assert next_click(target, ~target, valid=np.array([[0, 0, 1]], np.bool_)) == Click(2, 0, True)
    assert next_click(target, ~target, valid=np.zeros((1, 3), np.bool_)) is None


def test_a_pixel_is_clicked_once_and_then_there_is_nothing_left() -> None:
    target = np.array([[0, 1, 1, 0]], np.bool_)
    annotator = SimulatedAnnotator(target, np.ones_like(target))
    nothing = np.zeros_like(target)
    clicks = [annotator.next_click(nothing) for _ in range(3)]
    assert clicks == [Click(1, 0, True), Click(2, 0, True), None]


def test_the_last_bit_of_a_distance_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV gives 7 or 7.0000005 for the same pixel, by what other threads do: ties must stay ties."""
    target = np.zeros((40, 60), np.bool_)
    target[3:17, 5:19] = True  # four pixels are deepest: rows 9 and 10, columns 11 and 12
    spilled = np.zeros_like(target)
    spilled[20:34, 30:44] = True  # as deep as the target
    exact = cv2.distanceTransform
    rng = np.random.default_rng(0)

    def unsteady(*arguments: Any) -> NDArray[np.float32]:
        distance = exact(*arguments)
        return np.nextafter(distance, rng.choice([-1e9, 1e9], distance.shape).astype(np.float32), dtype=np.float32)

    monkeypatch.setattr(cv2, "distanceTransform", unsteady)
    for _ in range(20):
        assert next_click(target, np.zeros_like(target)) == Click(11, 9)
        assert next_click(target, spilled) == Click(36, 26, is_positive=False)
