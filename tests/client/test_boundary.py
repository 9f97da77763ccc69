"""Boundaries of masks: as many as there are parts and holes, exact until a tolerance is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mmms_client.boundary import fill_centres, fill_corners, fill_corners_in_box, loops, simplify
from mmms_client.bounded import PixelBudget
from mmms_client.box_mask import BoxMask

cv2 = pytest.importorskip("cv2", reason="pip install 'mmms[bench]' for the second reader")
TOUCHING = np.ones((3, 3))  # pixels of one part may touch at a corner


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1), st.sampled_from((0.1, 0.4, 0.7, 0.95)))
def test_loops(height, width, seed, share) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    found = loops(mask)
    outer = [loop for loop in found if not loop.is_hole]
    assert len(outer) == ndimage.label(mask, TOUCHING)[1]
    assert len(found) - len(outer) == ndimage.label(~np.pad(mask, 1))[1] - 1
    filled = ndimage.binary_fill_holes(mask)
    assert np.array_equal(fill_corners([loop.corners for loop in outer], mask.shape), filled)
    boxed = fill_corners_in_box([loop.corners for loop in outer], mask.shape, PixelBudget(0))
    assert (boxed.box, boxed.packed) == (BoxMask.of(filled).box, BoxMask.of(filled).packed)
    assert np.array_equal(fill_centres([loop.centres for loop in outer], mask.shape), filled)
    by_opencv = np.zeros(mask.shape, np.uint8)
    for loop in outer:
        cv2.fillPoly(by_opencv, [loop.centres.astype(np.int32)], 1)
    assert np.array_equal(by_opencv > 0, filled)


def test_points_by_hand() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:4] = True
    (loop,) = loops(mask)
    assert loop.corners.tolist() == [[1, 1], [4, 1], [4, 3], [1, 3]]
    assert loop.centres.tolist() == [[1, 1], [3, 1], [3, 2], [1, 2]]
    mask[:] = False
    mask[2, 3] = True
    (pixel,) = loops(mask)
    assert pixel.centres.tolist() == [[3, 2]] * 3 and not loops(np.zeros((2, 2), bool))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.3, 6))
def test_simplified_polygons_stay_within_the_tolerance(seed, tolerance_px) -> None:
    noise = np.random.default_rng(seed).random((60, 60))
    mask = ndimage.gaussian_filter(noise, 4) > 0.5
    for loop in loops(mask):
        kept = simplify(loop.corners, tolerance_px)
        contour = kept.astype(np.float32).reshape(-1, 1, 2)
        far = [abs(cv2.pointPolygonTest(contour, (float(x), float(y)), True)) for x, y in loop.corners]
        assert 3 <= len(kept) <= len(loop.corners) and max(far) <= tolerance_px + 1e-4
