"""Masks as run lengths, in COCO's uncompressed form: column by column, beginning with the number of zeros."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmms_client.bounded import check_pixels
from mmms_client.box_mask import BoxMask
from mmms_client.joint_mask import Mask


def encode_runs(mask: Mask) -> list[int]:
    """A mask bool [H, W] to run lengths that alternate between zeros and ones; the first may be 0."""
    flat = mask.T.ravel()
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], borders, [flat.size]))).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def encode_box_runs(mask: BoxMask) -> list[int]:
    """The same of a mask that knows its box, at the cost of that box."""
    height, width = mask.image_hw
    columns = np.zeros((mask.box.width, mask.box.height + 2), np.int8)
    columns[:, 1:-1] = mask.pixels.T
    change = np.diff(columns, axis=1)
    offset = mask.box.x0 * height + mask.box.y0
    column, row = np.nonzero(change == 1)
    starts = offset + column * height + row
    column, row = np.nonzero(change == -1)
    ends = offset + column * height + row
    is_border = starts[1:] != ends[:-1]  # a run may go on in the next column
    borders = (
        np.stack((starts[np.r_[True, is_border]], ends[np.r_[is_border, True]]), 1).ravel() if len(starts) else starts
    )
    total = height * width
    runs: list[int] = np.diff(np.concatenate(([0], borders, [total]))).tolist()
    return runs[:-1] if len(runs) > 1 and not runs[-1] else runs


def decode_runs(counts: Sequence[int], size_hw: tuple[int, int]) -> Mask:
    """Run lengths to a mask bool [H, W]. Raises ``ValueError`` unless they add up to H x W, in bounds."""
    height, width = size_hw
    check_pixels(height, width)
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths that add up to {sum(counts)}")
    values = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)
