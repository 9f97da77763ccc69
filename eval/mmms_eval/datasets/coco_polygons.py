"""Polygons to masks by the rule of COCO's own tools, to the pixel, so that ground truth is the published one.

The outline is drawn as a chain of points on a grid five times as fine. Wherever it steps from one fine column to the
next, and the step lies on the middle of a pixel column, it crosses that column: from there on downwards (column by
column, over the end of one too) inside and outside change places. Source: ``rleFrPoly`` of COCO's ``maskApi``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.boundary import union_in_boxes
from mmms_client.bounded import PixelBudget
from mmms_client.box_mask import Box, BoxMask
from mmms_client.joint_mask import Mask

_SCALE = 5
_FARTHEST_PX = 10_000  # that a point may lie outside, or ten images
_MARGIN_PX = 2  # around the points, for what rounding on the fine grid moves
_LEFT = 2  # of the five fine columns of a pixel: the outline crosses the pixel's middle as it leaves this one
Ints = NDArray[np.int64]


def fill_polygons(polygons: Sequence[Sequence[float]], size_hw: tuple[int, int], budget: PixelBudget) -> BoxMask:
    """The union of polygons ``[x0, y0, x1, y1, ...]`` of three or more points, at the cost of their boxes.

    Coordinates are COCO's: an image of width W covers 0 to W. Raises ``ValueError`` for points far outside, and for
    boxes that ``budget`` does not allow.
    """
    outlines = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in polygons]
    for points in outlines:
        if not (np.abs(points) <= max(_FARTHEST_PX, 10 * max(size_hw))).all():
            raise ValueError("points far outside of the image")
    return union_in_boxes(outlines, [_box(points, size_hw) for points in outlines], _fill, size_hw, budget)


def _box(points: NDArray[np.float64], size_hw: tuple[int, int]) -> Box:
    """Where in the image a polygon can cover pixels."""
    (x0, y0), (x1, y1) = np.floor(points.min(0)) - _MARGIN_PX, np.ceil(points.max(0)) + _MARGIN_PX
    return Box(int(x0), int(y0), int(x1), int(y1)).intersection(Box(0, 0, size_hw[1], size_hw[0]))


def _fill(points: NDArray[np.float64], box: Box) -> Mask:
    """bool [box height, box width]. An outline is closed: it crosses a column as often to the right as to the left, so
    that no column leaves an inside to the next.
    """
    corners = np.trunc(_SCALE * points + 0.5).astype(np.int64)
    changes = np.zeros((box.width, box.height + 1), np.bool_)  # column by column, and what lies below
    for start, end in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
        x, v = _crossings(start, end, box)
        y = (v + 0.5) / _SCALE - 0.5
        changes[x - box.x0, np.ceil(np.clip(y, box.y0, box.y1)).astype(np.int64) - box.y0] ^= True
    return np.logical_xor.accumulate(changes, axis=1, out=changes)[:, : box.height].T


def _crossings(start: list[int], end: list[int], box: Box) -> tuple[Ints, Ints]:
    """The pixel columns whose middle an edge on the fine grid crosses, and the upper one of the two points where.

    The edge has a point for each step along its longer side, from the smaller coordinate on, so that rounding is the
    same both ways; only the points at the crossings are computed.
    """
    along_x = abs(end[0] - start[0]) >= abs(end[1] - start[1])
    (low_a, low_b), (high_a, high_b) = sorted((start, end) if along_x else (start[::-1], end[::-1]))
    length = high_a - low_a
    slope = (high_b - low_b) / length if length else 0.0  # no length: two corners on one point

    def b(t: Ints) -> Ints:
        return np.trunc(low_b + slope * t + 0.5).astype(np.int64)

    first, last = (low_a, high_a) if along_x else sorted(b(np.array([0, length])).tolist())
    x = np.arange(max(box.x0, -(-(first - _LEFT) // _SCALE)), min(box.x1, math.floor((last - 1 - _LEFT) / _SCALE) + 1))
    left = _SCALE * x + _LEFT
    if along_x:
        t = left - low_a
        return x, np.minimum(b(t), b(t + 1))
    return x, low_a - 1 + _first_beyond(left, b, (left + 0.5 - low_b) / slope if len(x) else left, slope > 0)


def _first_beyond(left: Ints, b: Callable[[Ints], Ints], about: NDArray[Any], is_rising: bool) -> Ints:
    """The first steps at which ``b`` has come from one side of the fine column's right border to the other."""
    t = np.ceil(about).astype(np.int64)
    while True:
        is_early, is_late = (b(t) > left) != is_rising, (b(t - 1) > left) == is_rising
        if not (is_early | is_late).any():
            return t
        t += is_early
        t -= is_late
