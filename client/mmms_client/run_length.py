"""Masks as run lengths, in COCO's uncompressed form: column by column, beginning with the number of zeros."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmms_client.bounded import PixelBudget, check_pixels
from mmms_client.box_mask import NOWHERE, Box, BoxMask
from mmms_client.joint_mask import Mask

_FEW_COLUMNS, _BAND_PX = 256, 1 << 20


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
    _check(counts, size_hw)
    height, width = size_hw
    values = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(values, counts).reshape(width, height).T)


def decode_box_runs(counts: Sequence[int], size_hw: tuple[int, int], budget: PixelBudget) -> BoxMask:
    """The same to a mask with its box, at the cost of the runs and of that box, which ``budget`` has to allow.

    Raises ``ValueError`` as :func:`decode_runs` does, and :class:`mmms_client.bounded.TooManyPixelsError`.
    """
    _check(counts, size_hw)
    height = size_hw[0]
    borders = np.cumsum(np.array(counts, np.int64))[: len(counts) // 2 * 2].reshape(-1, 2)
    starts, ends = borders[borders[:, 0] < borders[:, 1]].T
    if not len(starts):
        return BoxMask.of_bits(b"", size_hw, NOWHERE)
    columns, rows = np.divmod(starts, height)
    last_columns, last_rows = np.divmod(ends - 1, height)
    is_whole = bool(
        (last_columns > columns).any()
    )  # a run that goes on in the next column has the first row and the last
    y0, y1 = (0, height) if is_whole else (int(rows.min()), int(last_rows.max()) + 1)
    box = Box(int(columns[0]), y0, int(last_columns[-1]) + 1, y1)
    budget.take(box.area_px)
    begins = (columns - box.x0) * box.height + rows - y0
    return BoxMask.of_bits(_bits(np.stack((begins, begins + ends - starts), 1).ravel(), box), size_hw, box)


def _bits(borders: NDArray[np.int64], box: Box) -> bytes:
    """The box's pixels, packed: inside from the first border to the second, and so on, column by column.

    Inside and outside change places at each border, down its column, and in all columns to its right. That is done for
    some rows at a time: the whole would have to be turned over, which takes ten times as long, and memory.
    """
    positions, times = np.unique(borders, return_counts=True)
    column, row = np.divmod(positions[(times % 2 == 1) & (positions < box.area_px)], box.height)
    in_column = np.bincount(column, minlength=box.width)
    above = ((np.cumsum(in_column) - in_column) % 2).astype(np.uint8)
    order = np.argsort(row, kind="stable")
    column, row = column[order], row[order]
    rows = 8 * max(1, _BAND_PX // (8 * box.width))  # whole bytes
    bands = []
    for y in range(0, box.height, rows):
        inside = np.zeros((min(rows, box.height - y), box.width), np.uint8)
        here = slice(*np.searchsorted(row, (y, y + rows)))
        inside[row[here] - y, column[here]] = 1
        inside[0] ^= above
        above = _down(inside)[-1]
        bands.append(np.packbits(inside).tobytes())
    return b"".join(bands)


def _down(changes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """0 and 1 [h, w] where they change, to what they are from there on downwards; in place."""
    if changes.shape[1] < _FEW_COLUMNS:  # NumPy goes down one column after the other
        return np.bitwise_xor.accumulate(changes, axis=0, out=changes)
    for y in range(1, len(changes)):
        np.bitwise_xor(changes[y - 1], changes[y], out=changes[y])
    return changes


def _check(counts: Sequence[int], size_hw: tuple[int, int]) -> None:
    height, width = size_hw
    check_pixels(height, width)
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"run lengths that add up to {sum(counts)}")
