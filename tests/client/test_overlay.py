"""The overlay picture: what is where, for images of all sizes. How it looks is for people."""

from __future__ import annotations

import numpy as np
import pytest

from mmms_client.clicks import Click
from mmms_client.events import Surface
from mmms_client.outlines import smooth_labels, tint
from mmms_client.overlay import modality_picture, render_overlay


def test_areas_are_tinted_outlines_opaque_and_the_rest_untouched() -> None:
    joint = np.zeros((60, 80), np.uint16)
    joint[20:40, 20:60] = 3
    layer = np.asarray(tint((80, 60), joint, {3: (10, 200, 30)}, 0.4))
    assert layer[30, 40].tolist() == [10, 200, 30, 102]
    assert layer[5, 5, 3] == 0
    assert (layer[20:22, 25:55, 3] == 255).all() and (layer[22:38, 22:58, 3] == 102).all(), "outlines are 2 px wide"
    assert np.asarray(tint((80, 60), joint, {3: (10, 200, 30)}, 0.4, is_fine=False))[20, 30, 3] == 255


@pytest.mark.parametrize("size", [(60, 80), (31, 43), (240, 320), (200, 500)])
def test_labels_keep_their_place_at_any_size(size) -> None:
    joint = np.zeros((60, 80), np.uint16)
    joint[:30, :40], joint[30:, :40], joint[40:50, 60:70] = 1, 2, 700
    labels = smooth_labels(joint, size)
    assert set(np.unique(labels)) == {0, 1, 2, 700}
    if size == joint.shape:
        assert np.array_equal(labels, joint)
    for surface_id in (1, 2, 700):
        assert (labels == surface_id).mean() == pytest.approx((joint == surface_id).mean(), abs=0.015)


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (1, 1), (900, 30), (900, 1700)])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_any_image_can_be_drawn(size, count) -> None:
    image = np.full((*size, 3), 90, np.uint8)
    joint = np.zeros(size, np.uint16)
    joint[: size[0] // 2 + 1] = 1
    kinds = [
        np.zeros(size, np.float32),
        np.full((*size, 3), np.nan, np.float32),
        np.ones((*size, 2), np.float32),
    ]
    maps = {f"sensor {n}": kinds[n] for n in range(count)}
    clicks = {1: [Click(0, 0), Click(size[1] - 1, size[0] - 1, False)]}
    surfaces = [Surface(1, "ein sehr langer Name " * 9), Surface(2, "")]
    picture = render_overlay(image, joint, surfaces, clicks, maps, {"sensor 0": "m"}, "Überschrift " * 20)
    assert picture.mode == "RGB" and 200 < max(picture.size) < 5000


def test_clicks_are_drawn_where_they_were_made() -> None:
    image = np.zeros((900, 1000, 3), np.uint8)
    joint = np.zeros((900, 1000), np.uint16)
    arguments = (image, joint, [Surface(1, "a")])
    before = np.asarray(render_overlay(*arguments, {1: []})).astype(int)
    after = np.asarray(render_overlay(*arguments, {1: [Click(500, 400), Click(700, 100, False)]})).astype(int)
    main = np.abs(after - before).sum(-1)[64 : 64 + 900, 24 : 24 + 1000]
    rows, columns = np.nonzero(main)
    assert {(round(r / 100), round(c / 100)) for r, c in zip(rows, columns, strict=True)} == {(4, 5), (1, 7)}
    assert after[64 + 400 - 6, 24 + 500 - 6, 1] > 150 and after[64 + 100 - 6, 24 + 700 - 6, 0] > 200
    assert after[64 + 400, 24 + 500].tolist() == [255, 255, 255], "the plus is white"


def test_two_hundred_surfaces() -> None:
    joint = np.kron(np.arange(200, dtype=np.uint16).reshape(10, 20), np.ones((12, 12), np.uint16))
    picture = render_overlay(
        np.zeros((*joint.shape, 3), np.uint8), joint, [Surface(i, f"s{i}") for i in range(1, 200)], {}
    )
    assert picture.size[1] > 900


def test_modality_pictures() -> None:
    values = np.linspace(10, 20, 200, dtype=np.float32).reshape(10, 20)
    values[0, 0] = np.nan
    picture, low, high = modality_picture(values)
    pixels = np.asarray(picture)
    assert pixels[0, 0].tolist() == [52, 55, 62] and 10 < low < 10.5 and 19.5 < high < 20
    assert pixels[9, 19].sum() > pixels[5, 5].sum() > pixels[0, 1].sum()
