"""Polygons to masks by the rule of COCO's own tools, to the pixel, so that ground truth is the published one.

The outline is drawn as a chain of points on a grid five times as fine. Wherever it steps from one fine column to the
next, and the step lies on the middle of a pixel column, it crosses that column: from there on downwards (column by
column, over the end of one too) inside and outside change places. Source: ``rleFrPoly`` of COCO's ``maskApi``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmms_client.joint_mask import Mask

_SCALE = 5
_FARTHEST_PX = 10_000  # that a point may lie outside, or ten images: the outline takes memory for its length
Ints = NDArray[np.int64]


def fill_polygons(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int]) -> Mask:
    """The union of polygons ``[x0, y0, x1, y1, ...]`` of three or more points, as a mask bool [H, W].

    Coordinates are COCO's: an image of width W covers 0 to W. Raises ``ValueError`` for points far outside.
    """
    mask: Mask = np.zeros(size_hw, np.bool_)
    for polygon in polygons:
        points = np.asarray(polygon, np.float64).reshape(-1, 2)
        if not (np.abs(points) <= max(_FARTHEST_PX, 10 * max(size_hw))).all():
            raise ValueError("points far outside of the image")
        mask |= _fill(points, size_hw)
    return mask


def _fill(points: NDArray[np.float64], size_hw: tuple[int, int]) -> Mask:
    height, width = size_hw
    u, v = _outline(np.trunc(_SCALE * points + 0.5).astype(np.int64))
    steps = np.flatnonzero(np.diff(u)) + 1
    left = np.minimum(u[steps], u[steps - 1])
    x = (left + 0.5) / _SCALE - 0.5
    is_crossing = (np.floor(x) == x) & (x >= 0) & (x <= width - 1)
    y = (np.minimum(v[steps], v[steps - 1]) + 0.5) / _SCALE - 0.5
    first_row = np.ceil(np.clip(y, 0, height)).astype(np.int64)
    changes = x[is_crossing].astype(np.int64) * height + first_row[is_crossing]
    counts = np.bincount(changes, minlength=height * width + 1)[: height * width]
    is_inside = np.cumsum(counts) % 2 == 1
    return np.ascontiguousarray(is_inside.reshape(width, height).T)


def _outline(corners: Ints) -> tuple[Ints, Ints]:
    """The points of the closed outline on the fine grid, int64 x and y, in order; corners int64 [N, 2]."""
    xs, ys = [], []
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along_x = abs(x1 - x0) >= abs(y1 - y0)
        (a0, b0), (a1, b1) = ((x0, y0), (x1, y1)) if along_x else ((y0, x0), (y1, x1))
        if a0 == a1:  # two corners on one point
            continue
        is_flipped = a0 > a1  # drawn from the smaller coordinate, so that rounding is the same both ways
        low_a, low_b, high_a, high_b = (a1, b1, a0, b0) if is_flipped else (a0, b0, a1, b1)
        t = np.arange(high_a - low_a + 1)
        a = low_a + t
        b = np.trunc(low_b + (high_b - low_b) / (high_a - low_a) * t + 0.5).astype(np.int64)
        if is_flipped:
            a, b = a[::-1], b[::-1]
        xs.append(a if along_x else b)
        ys.append(b if along_x else a)
    if not xs:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate(xs), np.concatenate(ys)
