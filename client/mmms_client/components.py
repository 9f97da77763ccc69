"""Which pixels of a mask hang together, in NumPy alone: parts, holes and specks.

Pixels that touch at a corner belong to one part (8 neighbours), as :mod:`mmms_client.boundary` has it; the outside,
and so a hole, hangs together by edges only (4 neighbours).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmms_client.joint_mask import Mask

Labels = NDArray[np.int32]


def label_parts(mask: Mask, by_corners: bool = True) -> tuple[Labels, int]:
    """Number the parts of a mask bool [H, W].

    Returns int32 [H, W], 0 where the mask is not and 1 to n in reading order of the parts' first pixels, and n.
    Works on runs of pixels, so that its cost follows the mask's outline and not the size of its parts.
    """
    row, start, end = _runs(mask)
    part = _joined(*_neighbours(row, start, end, int(by_corners)), len(row))
    _, number = np.unique(part, return_inverse=True)
    labels = np.zeros(mask.shape, np.int32)
    if len(row):
        steps = np.zeros(mask.size + 1, np.int32)
        value = (number + 1).astype(np.int32)
        np.add.at(steps, row * mask.shape[1] + start, value)
        np.subtract.at(steps, row * mask.shape[1] + end, value)
        labels = np.cumsum(steps[:-1], dtype=np.int32).reshape(mask.shape)
    return labels, int(number.max(initial=-1)) + 1


def without_specks(mask: Mask, smallest_px: int) -> Mask:
    """A mask without its parts of fewer than ``smallest_px`` pixels."""
    labels, _ = label_parts(mask)
    is_kept = np.bincount(labels.ravel(), minlength=1) >= smallest_px
    is_kept[0] = False
    return np.asarray(is_kept[labels])


def without_holes(mask: Mask, smallest_px: int) -> Mask:
    """A mask with those holes filled that have fewer than ``smallest_px`` pixels; bays at the edge are no holes."""
    labels, _ = label_parts(np.pad(~mask, 1, constant_values=True), by_corners=False)
    is_filled = np.bincount(labels.ravel()) < smallest_px
    is_filled[[0, labels[0, 0]]] = False
    return np.asarray(mask | is_filled[labels[1:-1, 1:-1]])


def _runs(mask: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, first column and last column + 1 of every run of pixels, in reading order."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    row, start = np.nonzero(change == 1)
    _, end = np.nonzero(change == -1)
    return row, start, end


def _neighbours(
    row: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64], reach: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs in adjacent rows that touch; ``reach`` is 1 if corners count and 0 if not."""
    stride = int(end.max(initial=0)) + 3
    # in the row above, the first run that ends after this one begins, and the first that begins after it ends
    first = np.searchsorted(row * stride + end, (row - 1) * stride + start - reach, side="right")
    last = np.searchsorted(row * stride + start, (row - 1) * stride + end + reach, side="left")
    count = np.maximum(last - first, 0)
    below = np.repeat(np.arange(len(row)), count)
    within = np.arange(len(below)) - np.repeat(np.cumsum(count) - count, count)
    return first[below] + within, below


def _joined(a: NDArray[np.int64], b: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """For each of ``count`` things the smallest one that pairs (a, b) connect it with."""
    parent = np.arange(count)
    while True:
        left, right = parent[a], parent[b]
        if np.array_equal(left, right):
            return parent
        np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]
