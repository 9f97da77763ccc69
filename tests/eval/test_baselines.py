"""The baselines do what their names say, and never fall over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_eval.baselines import BASELINES, Baseline, DiskPredictor, GrabCutPredictor, VoronoiPredictor

INSIDE, OUTSIDE = Click(40, 30), Click(10, 50, is_positive=False)


@pytest.fixture
def square() -> NDArray[np.uint8]:
    """A reddish noisy square, x 25..59 and y 15..44, on a bluish noisy ground of 80 x 64 px."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 60, (64, 80, 3))
    image[..., 2] += 120
    image[15:45, 25:60] += np.array([150, 40, -100])
    return np.clip(image, 0, 255).astype(np.uint8)


def answer(baseline: Baseline, image: NDArray[np.uint8], *clicks: Click) -> NDArray[np.bool_]:
    encoded = baseline.encode(image)
    probabilities = baseline.predict(encoded, clicks)
    assert probabilities.dtype == np.float32
    return np.asarray(encoded.frame.probabilities_to_image(probabilities) > 0.5)


@pytest.mark.parametrize("make", BASELINES)
def test_a_click_decides_about_its_pixel_and_not_about_the_far_corner(make, square) -> None:  # type: ignore[no-untyped-def]
    first = answer(make(), square, INSIDE)
    assert first[30, 40]
    assert not first[0, 0]
    second = answer(make(), square, INSIDE, OUTSIDE)
    assert second[30, 40]
    assert not second[50, 10]


def test_the_disk_is_round_in_an_image_that_is_not_square(square: NDArray[np.uint8]) -> None:
    mask = answer(DiskPredictor(10), square, INSIDE)
    radius_px = 0.10 * np.sqrt(64 * 80)
    assert mask.sum() == pytest.approx(np.pi * radius_px**2, rel=0.1)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert abs((rows[-1] - rows[0]) - (columns[-1] - columns[0])) <= 1


def test_a_negative_click_cuts_the_disk_in_the_middle_between_the_two(square: NDArray[np.uint8]) -> None:
    mask = answer(DiskPredictor(16), square, Click(40, 30), Click(30, 30, is_positive=False))
    assert mask[30, 36:46].all()
    assert not mask[:, :35].any()


def test_voronoi_takes_the_border_for_background_until_the_first_negative_click(
    square: NDArray[np.uint8],
) -> None:
    assert not answer(VoronoiPredictor(), square, INSIDE)[:, 0].any()
    split = answer(VoronoiPredictor(), square, Click(40, 30), Click(20, 30, is_positive=False))
    assert split[:, 31:].all()
    assert not split[:, :30].any()


def test_grabcut_finds_what_stands_out_by_colour(square: NDArray[np.uint8]) -> None:
    target = np.zeros((64, 80), np.bool_)
    target[15:45, 25:60] = True
    mask = answer(GrabCutPredictor(), square, INSIDE)
    assert (mask & target).sum() / (mask | target).sum() > 0.9


def test_grabcut_does_not_depend_on_what_ran_in_the_thread_before(square: NDArray[np.uint8]) -> None:
    baseline = GrabCutPredictor()
    expected = answer(baseline, square, INSIDE, OUTSIDE)
    with ThreadPoolExecutor(2) as pool:
        for mask in pool.map(lambda _: answer(baseline, square, INSIDE, OUTSIDE), range(4)):
            np.testing.assert_array_equal(mask, expected)


def test_grabcut_survives_images_without_colour_or_room(square: NDArray[np.uint8]) -> None:
    flat = np.full((40, 40, 3), 128, np.uint8)
    assert answer(GrabCutPredictor(), flat, Click(20, 20))[20, 20]
    tiny = np.zeros((6, 6, 3), np.uint8)
    assert not answer(GrabCutPredictor(), tiny, Click(3, 3), Click(2, 2, is_positive=False))[2, 2]
