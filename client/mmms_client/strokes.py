"""What a brush and a polygon cover, as pixels: only their own box is ever computed.

Coordinates are image pixels with pixel centres at integers. A pixel belongs to a stroke if its centre lies within
the radius of the path, and to a polygon if its centre lies inside (even-odd) or on the border.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmms_client.box_mask import NOWHERE, Box, BoxMask
from mmms_client.errors import UsageError

MAX_RADIUS_PX = 512.0
Path = Sequence[tuple[float, float]]


def brush_mask(points: Path, radius_px: float, image_hw: tuple[int, int]) -> BoxMask:
    """The pixels within ``radius_px`` of a path (x, y). Raises :class:`UsageError` for no path or no radius."""
    if not points or not 0.0 < radius_px <= MAX_RADIUS_PX:
        raise UsageError(
            f"Expected a stroke of at least one point with a radius up to {MAX_RADIUS_PX:g} px but got "
            f"{len(points)} point(s) and {radius_px:g} px; draw with a smaller brush."
        )
    path = _thinned(_finite(points), radius_px / 8.0)
    box = _clipped(path, radius_px, image_hw)
    part = np.zeros((box.height, box.width), bool)
    starts, ends = (path, path) if len(path) == 1 else (path[:-1], path[1:])
    for a, b in zip(starts, ends, strict=True):
        near = _clipped(np.stack((a, b)), radius_px, image_hw).intersection(box)
        if near.area_px:
            part[near.within(box)] |= _is_near(near, a, b, radius_px)
    return BoxMask.of_part(part, image_hw, box.x0, box.y0)


def polygon_mask(points: Path, image_hw: tuple[int, int]) -> BoxMask:
    """The pixels inside a polygon (x, y) and on its border. Raises :class:`UsageError` for fewer than 3 points."""
    if len(points) < 3:
        raise UsageError(f"Expected a polygon of at least 3 points but got {len(points)}; set more points.")
    corners = np.rint(_finite(points))
    box = _clipped(corners, 0.0, image_hw)
    if not box.area_px:
        return BoxMask.of_part(np.zeros((0, 0), bool), image_hw)
    picture = Image.new("L", (box.width, box.height))
    ImageDraw.Draw(picture).polygon([(x - box.x0, y - box.y0) for x, y in corners.tolist()], fill=1, outline=1)
    return BoxMask.of_part(np.asarray(picture).astype(bool), image_hw, box.x0, box.y0)


def _finite(points: Path) -> NDArray[np.float64]:
    """The points as float64 [N, 2], none of them farther outside than any image is large."""
    array = np.asarray(points, np.float64).reshape(-1, 2)
    if not np.isfinite(array).all():
        raise UsageError("Expected points in pixels but got NaN or inf among them; draw again.")
    return np.clip(array, -1e6, 1e6)


def _thinned(path: NDArray[np.float64], step_px: float) -> NDArray[np.float64]:
    """The path without points that lie closer than ``step_px`` to the one kept before; its ends stay."""
    kept = [path[0]]
    for point in path[1:-1]:
        if np.hypot(*(point - kept[-1])) >= step_px:
            kept.append(point)
    return np.array([*kept, path[-1]]) if len(path) > 1 else path


def _clipped(points: NDArray[np.float64], margin_px: float, image_hw: tuple[int, int]) -> Box:
    """The box of the image around some points and a margin; empty if they lie outside."""
    low, high = np.floor(points.min(0) - margin_px), np.ceil(points.max(0) + margin_px) + 1
    box = Box(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
    return box.intersection(Box(0, 0, image_hw[1], image_hw[0])) or NOWHERE


def _is_near(box: Box, a: NDArray[np.float64], b: NDArray[np.float64], radius_px: float) -> NDArray[np.bool_]:
    """Which pixels of a box lie within a radius of the piece of line from a to b."""
    x = np.arange(box.x0, box.x1)[None, :] - a[0]
    y = np.arange(box.y0, box.y1)[:, None] - a[1]
    along = b - a
    length = float(along @ along)
    share = np.clip((x * along[0] + y * along[1]) / length, 0.0, 1.0) if length else 0.0
    return np.asarray((x - share * along[0]) ** 2 + (y - share * along[1]) ** 2 <= radius_px**2)
