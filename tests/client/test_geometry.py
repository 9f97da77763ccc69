"""Image pixels to network pixels and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmms_client.clicks import Click, encode_clicks
from mmms_client.contract import ModalitySpec
from mmms_client.errors import AlignmentError, ClickError, UsageError
from mmms_client.geometry import INVALID, Frame, Region, modality_to_network, resize_float, scale_modality


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(8, 900), st.floats(0, 1), st.floats(0, 1))
def test_clicks_go_there_and_back(width, height, side, u, v) -> None:
    frame = Frame.of((height, width), side)
    click = Click(u * width - 0.5, v * height - 0.5)
    there = frame.to_network(click)
    assert -0.5 - 1e-6 <= there.x_px <= side - 0.5 + 1e-6
    assert (there.x_px + 0.5) * width / side - 0.5 == pytest.approx(click.x_px, abs=1e-6)
    assert (there.y_px + 0.5) * height / side - 0.5 == pytest.approx(click.y_px, abs=1e-6)


def test_the_click_that_is_clicked_is_the_pixel_that_is_seen() -> None:
    """A white pixel of the image is brightest, in the network's image, where its click lands."""
    frame = Frame.of((60, 80), 224)
    image = np.zeros((60, 80, 3), np.uint8)
    image[17, 53] = 255
    seen = frame.image_to_network(image)[0]
    y, x = np.unravel_index(int(seen.argmax()), seen.shape)
    click = frame.to_network(Click(53, 17))
    assert abs(click.x_px - x) <= 1.5 and abs(click.y_px - y) <= 2


@pytest.mark.parametrize("size", [(48, 64), (300, 200), (64, 64), (1000, 1300)])
def test_masks_survive_the_way_there_and_back(size) -> None:
    frame = Frame.of(size, 224)
    y, x = np.mgrid[: size[0], : size[1]]
    mask = ((x - size[1] / 2) / size[1]) ** 2 + ((y - size[0] / 2) / size[0]) ** 2 < 0.09
    back = frame.probabilities_to_image(frame.mask_to_network(mask)) > 0.5
    assert (mask & back).sum() / (mask | back).sum() > 0.97
    assert frame.probabilities_to_image(np.ones((224, 224), np.float32)).min() == pytest.approx(1.0)


def test_region_is_cut_out_of_image_and_modality_alike() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[10:30, 30:50] = 200
    frame = Frame.of((40, 60), 32, Region(30, 10, 20, 20))
    inner = (..., slice(2, -2), slice(2, -2))  # at the rim, enlarging looks one pixel beyond the region
    assert (frame.image_to_network(image)[inner] == 200).all()
    spec = ModalitySpec("depth", 1, "linear", 0.0, 1.0, "m")
    half = np.where(image[::2, ::2, 0] > 0, 1.0, 0.0).astype(np.float32)
    assert (modality_to_network(scale_modality(half, spec), spec, frame)[inner] == 1).all()
    back = frame.probabilities_to_image(np.ones((32, 32), np.float32))
    assert back[10:30, 30:50].all() and back.sum() == 400
    with pytest.raises(UsageError, match="Expected a region inside the image of 60x40 px but got 20x20 at"):
        Frame.of((40, 60), 32, Region(50, 10, 20, 20))


def test_missing_values_leave_no_trace_in_their_neighbours() -> None:
    spec = ModalitySpec("depth", 1, "linear", 0.0, 10.0, "m")
    values = np.full((8, 8), 5.0, np.float32)
    values[:, 4:] = np.nan
    tensor = modality_to_network(scale_modality(values, spec), spec, Frame.of((8, 8), 32))
    assert set(np.unique(tensor)) == {np.float16(INVALID), np.float16(0.5)}


def test_nearest_invents_no_values() -> None:
    spec = ModalitySpec("event", 1, "linear", 0.0, 255.0, None, "nearest")
    values = np.where(np.indices((9, 9)).sum(0) % 2, 255.0, 0.0)
    tensor = modality_to_network(scale_modality(values, spec), spec, Frame.of((9, 9), 32))
    assert set(np.unique(tensor).tolist()) == {0.0, 1.0}


def test_scalings() -> None:
    log = ModalitySpec("depth", 1, "log", 1.0, 100.0, "m")
    assert scale_modality(np.array([[1, 10, 100, 0, -1, np.nan]]), log)[0, :, 0].tolist() == pytest.approx(
        [0, 0.5, 1, INVALID, INVALID, INVALID]
    )
    percentile = ModalitySpec("thermal", 1, "percentile", 0.0, 100.0, None)
    values = np.random.default_rng(0).normal(size=(6, 6))
    assert np.allclose(scale_modality(values, percentile), scale_modality(values * 7 - 3, percentile), atol=1e-5)


def test_errors_name_both_sizes_and_the_fix() -> None:
    spec = ModalitySpec("thermal", 1, "percentile", 1.0, 99.0, None)
    with pytest.raises(AlignmentError) as caught:
        modality_to_network(np.zeros((50, 50, 1), np.float32), spec, Frame.of((48, 64), 32))
    assert str(caught.value) == (
        "Expected modality 'thermal' with the aspect ratio of its image (64x48 px) but got 50x50 px; "
        "register it first, or say how it lies over the image: --align thermal=stretch or --align "
        "thermal=homography.json."
    )
    with pytest.raises(AlignmentError, match=r"Expected 1 channel\(s\) for modality 'thermal' but got"):
        scale_modality(np.zeros((4, 4, 3)), spec)


def test_click_coding() -> None:
    coords, labels = encode_clicks([Click(1.5, 2), Click(3, 4, False)], 4)
    assert coords.tolist() == [[1.5, 2], [3, 4], [0, 0], [0, 0]] and labels.tolist() == [1, 0, -1, -1]
    assert coords.dtype == np.float32 and labels.dtype == np.int32
    with pytest.raises(ClickError, match="Expected at most 1 clicks"):
        encode_clicks([Click(0, 0)] * 2, 1)


def test_resize_keeps_a_flat_plane_flat() -> None:
    assert np.allclose(resize_float(np.full((5, 9), 0.25, np.float32), (31, 17)), 0.25)
