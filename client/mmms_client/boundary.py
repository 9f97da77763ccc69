"""Masks as polygons and back, in NumPy alone.

A boundary is followed along the edges between pixels, so nothing is lost before a tolerance says so. Pixels that
touch at a corner belong to one part (8 neighbours), as ``cv2.findContours`` has it; a hole is what a part encloses.

Two kinds of polygon come from the same walk, because file formats disagree about what a coordinate is:

- *corner* polygons run along pixel edges; pixel (x, y) covers [x, x + 1) x [y, y + 1). COCO reads them so.
- *centre* polygons join the centres of the outermost pixels, and the line itself is part of the area. Whoever
  draws polygons with integer points (Pillow, OpenCV) reads them so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmms_client.bounded import PixelBudget
from mmms_client.box_mask import NOWHERE, Box, BoxMask
from mmms_client.joint_mask import Mask

Points = NDArray[np.float64]
_ROWS = 1 << 20  # of an edge at once
_STEPS = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # right, down, left, up, as (x, y)
_CORNERS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])  # where the pixel's edge in that direction begins


@dataclass(frozen=True, eq=False)
class Loop:
    """One closed boundary, the area to the right of the walk.

    ``corners`` float64 [N, 2] (x, y) at pixel corners and ``centres`` float64 [M, 2] at the pixels inside the
    boundary, both without points on a straight line and without the first point again at the end. Both have three
    points at least, which is what formats ask for: those of a single pixel or a thin line repeat.
    """

    corners: Points = field(repr=False)
    centres: Points = field(repr=False)
    is_hole: bool


def loops(mask: Mask) -> list[Loop]:
    """All boundaries of a mask bool [H, W], outer ones and those of holes, in reading order of where they begin."""
    direction, x, y, following = _edges(mask)
    found, is_seen = [], bytearray(len(following))
    for start in range(len(following)):
        if is_seen[start]:
            continue
        walk, at = [], start
        while not is_seen[at]:
            is_seen[at] = 1
            walk.append(at)
            at = following[at]
        pixels = np.stack((x[walk], y[walk]), 1)
        corners = pixels + _CORNERS[direction[walk]]
        ahead = np.roll(corners, -1, 0)
        doubled_area = int((corners[:, 0] * ahead[:, 1] - ahead[:, 0] * corners[:, 1]).sum())
        found.append(Loop(_without_straight(corners), _without_straight(pixels), doubled_area < 0))
    return found


def _edges(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], list[int]]:
    """Every pixel edge on a boundary: its direction, its pixel's x and y, and the index of the edge after it."""
    padded = np.pad(mask, 1)
    width = padded.shape[1]
    inside = padded.ravel()
    step = _STEPS[:, 1] * width + _STEPS[:, 0]
    outward = np.roll(step, 1)  # to the left of the walk
    pixels = [np.flatnonzero(inside & ~np.roll(inside, -outward[d])) for d in range(4)]
    direction = np.repeat(np.arange(4), [len(p) for p in pixels])
    pixel = np.concatenate(pixels)
    ahead = pixel + step[direction]
    across = ahead + outward[direction]
    turns_left, goes_on = inside[across], inside[ahead]
    next_pixel = np.where(turns_left, across, np.where(goes_on, ahead, pixel))
    next_direction = np.where(turns_left, direction - 1, np.where(goes_on, direction, direction + 1)) % 4
    order = np.argsort(pixel * 4 + direction)
    key = (pixel * 4 + direction)[order]
    following = np.searchsorted(key, next_pixel * 4 + next_direction)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    y, x = np.divmod(pixel[order], width)
    return direction[order], x - 1, y - 1, following[order].tolist()


def _without_straight(points: NDArray[np.int64]) -> Points:
    """A closed walk without repeated points and without those at which it goes straight on."""
    moves = (points != np.roll(points, -1, 0)).any(1)
    points = points[moves] if moves.any() else points[:1]
    if len(points) > 2:
        before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
        points = points[(before != after).any(1)]
    return np.resize(points, (max(3, len(points)), 2)).astype(np.float64)


def simplify(points: Points, tolerance_px: float) -> Points:
    """A closed polygon [N, 2] with fewer points, none of the old ones farther than ``tolerance_px`` from it.

    The method is Ramer's, Douglas' and Peucker's, begun at the first point and at the one farthest from it. 0 keeps
    every point, and so do polygons that would be left with fewer than three.
    """
    if tolerance_px <= 0 or len(points) < 4:
        return points
    far = int(((points - points[0]) ** 2).sum(1).argmax())
    ring = np.concatenate((points, points[:1]))
    keep = np.zeros(len(ring), bool)
    keep[[0, far]] = True
    todo = [(0, far), (far, len(points))]
    while todo:
        first, last = todo.pop()
        distance = _distance(ring[first + 1 : last], ring[first], ring[last])
        if len(distance) and distance.max() > tolerance_px:
            middle = first + 1 + int(distance.argmax())
            keep[middle] = True
            todo += [(first, middle), (middle, last)]
    kept = points[keep[:-1]]
    return kept if len(kept) >= 3 else points


def _distance(points: Points, start: Points, end: Points) -> NDArray[np.float64]:
    """Distance of points [N, 2] to the piece of line from ``start`` to ``end``, in pixels."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0.0, 1.0) if length else np.zeros(len(points))
    nearest = start + share[:, None] * along
    return np.hypot(*(points - nearest).T)


def fill_corners(polygons: Sequence[Points], image_hw: tuple[int, int]) -> Mask:
    """The mask bool [H, W] that any of some corner polygons covers: pixels whose centre lies inside one of them."""
    mask = np.zeros(image_hw, bool)
    for polygon in polygons:
        box = _box(polygon, image_hw)
        mask[box.part] |= _fill(np.asarray(polygon, np.float64), box)
    return mask


def fill_corners_in_box(polygons: Sequence[Points], image_hw: tuple[int, int], budget: PixelBudget) -> BoxMask:
    """The same at the cost of the polygons' boxes, which ``budget`` has to allow.

    Raises :class:`mmms_client.bounded.TooManyPixelsError`.
    """
    outlines = [np.asarray(polygon, np.float64) for polygon in polygons]
    return union_in_boxes(outlines, [_box(outline, image_hw) for outline in outlines], _fill, image_hw, budget)


def union_in_boxes(
    outlines: Sequence[Points],
    boxes: Sequence[Box],
    fill: Callable[[Points, Box], Mask],
    image_hw: tuple[int, int],
    budget: PixelBudget,
) -> BoxMask:
    """What any of some outlines covers, at the cost of their boxes; ``fill`` gives the mask bool of one in its box.

    Raises :class:`mmms_client.bounded.TooManyPixelsError` for boxes that ``budget`` does not allow.
    """
    around = functools.reduce(Box.union, boxes, NOWHERE)
    for box in (around, *boxes):
        budget.take(box.area_px)
    mask = np.zeros((around.height, around.width), bool)
    for outline, box in zip(outlines, boxes, strict=True):
        if box.area_px:
            mask[box.within(around)] |= fill(outline, box)
    return BoxMask.of_part(mask, image_hw, around.x0, around.y0)


def _box(polygon: Points, image_hw: tuple[int, int]) -> Box:
    """Where in an image a polygon can cover pixels; a pixel more on each side, because crossings are rounded."""
    (left, top), (right, bottom) = np.floor(np.min(polygon, 0)), np.ceil(np.max(polygon, 0))
    x0, y0, x1, y1 = int(left) - 1, int(top) - 1, int(right) + 1, int(bottom) + 1
    return Box(x0, y0, x1, y1).intersection(Box(0, 0, image_hw[1], image_hw[0]))


def _fill(polygon: Points, box: Box) -> Mask:
    """Even-odd fill of a box: along each row of pixel centres, every boundary crossed turns inside to outside."""
    flips = np.zeros((box.height, box.width + 1), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        low, high = sorted((y0, y1))
        first, last = max(box.y0, int(np.ceil(low - 0.5))), min(box.y1, int(np.ceil(high - 0.5)))
        for begin in range(first, last, _ROWS):  # of an edge as long as an image of one column
            rows = np.arange(begin, min(last, begin + _ROWS))
            crossing = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(crossing - 0.5), box.x0, box.x1).astype(np.int64)
            flips[rows - box.y0, columns - box.x0] ^= True
    return np.logical_xor.accumulate(flips, axis=1, out=flips)[:, : box.width]


def fill_centres(polygons: Sequence[Points], image_hw: tuple[int, int]) -> Mask:
    """The mask bool [H, W] that any of some centre polygons covers, their lines included."""
    height, width = image_hw
    picture = Image.new("L", (width, height))
    pencil = ImageDraw.Draw(picture)
    for polygon in polygons:
        pencil.polygon([(float(x), float(y)) for x, y in np.rint(polygon)], fill=1, outline=1)
    return np.array(picture).astype(bool)
