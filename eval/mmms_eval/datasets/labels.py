"""Label files to surface ids. All loaders read labels here, so that the traps are met in one place."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.bounded import read_npy
from mmms_client.errors import DataError
from mmms_client.picture_file import open_picture
from mmms_eval.datasets.sample import IGNORE, shorten

_ID_MODES = ("1", "L", "P", "I;16", "I;16B", "I")  # a palette is for the eye: its indices are the ids


_COLOUR_MODES = ("RGB", "RGBA")


def read_labels(
    path: str | os.PathLike[str], ignore_ids: Sequence[int] = (255,), colour_channel: int | None = None
) -> NDArray[np.int32]:
    """Read a one-channel label file as int32 [H, W], with :data:`IGNORE` for each of ``ignore_ids``.

    1-, 8- and 16-bit grey or palette PNG (or any such file that Pillow reads without loss), and NPY of an integer
    dtype. Values are widened before anything else is done with them, so that nothing wraps around.
    ``colour_channel`` says which channel of an 8-bit colour picture holds the ids (0 is red); without it,
    such a picture is refused.

    Raises :class:`DataError` for a file that is missing, broken, of several channels, or has ids outside 0 ..
    65535.
    """
    name = repr(os.fspath(path))
    try:
        if name.lower().endswith(".npy'"):
            with Path(path).open("rb") as stream:
                stored = read_npy(stream, Path(path).stat().st_size)
            kind = f"{stored.dtype} of shape {stored.shape}"
            is_usable = stored.ndim == 2 and stored.dtype.kind in "iu"
        else:
            with Path(path).open("rb") as file, open_picture(file) as picture:
                kind = f"a picture of mode {picture.mode}"
                is_usable = picture.mode in _ID_MODES and picture.format != "JPEG"
                stored = np.asarray(picture)
                if colour_channel is not None and picture.mode in _COLOUR_MODES and picture.format != "JPEG":
                    is_usable, stored = True, stored[..., colour_channel]
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"Expected label file {name} but got {reason!r}; copy or export it again.") from error
    if not is_usable:
        raise DataError(
            f"Expected label file {name} with one channel of 8- or 16-bit ids but got {kind}; save the ids as PNG."
        )
    labels = stored.astype(np.int64)
    if labels.size and (labels.min() < 0 or labels.max() > 65535):
        raise DataError(
            f"Expected ids from 0 to 65535 in {name} but got {labels.min()} to {labels.max()}; renumber them."
        )
    return as_labels(labels, ignore_ids)


def as_labels(ids: NDArray[np.integer[Any]], ignore_ids: Sequence[int] = (255,)) -> NDArray[np.int32]:
    """Ids [H, W] from 0 to 65535 as int32, with :data:`IGNORE` for each of ``ignore_ids``."""
    labels: NDArray[np.int32] = ids.astype(np.int32)
    labels[np.isin(labels, np.asarray(ignore_ids, np.int32))] = IGNORE
    return labels


def map_ids(labels: NDArray[np.int32], ids: Mapping[int, int], path: str | os.PathLike[str]) -> NDArray[np.int32]:
    """Ids on disk int32 [H, W] (0 .. 65535) to surface ids by the table ``ids``.

    Raises :class:`DataError` for an id that the table lacks, naming ``path``: the file is not of this data set.
    """
    counts = np.bincount(labels.ravel())
    strange = [int(i) for i in np.flatnonzero(counts) if int(i) not in ids]
    if strange:
        known = ", ".join(map(str, sorted(ids)))
        raise DataError(
            f"Expected the label ids {known} in {os.fspath(path)!r} but got {shorten(map(str, strange))}; check "
            "that it is the label file of this data set."
        )
    table = np.full(max(len(counts), 1), IGNORE, np.int32)
    for stored, surface in ids.items():
        if stored < len(table):
            table[stored] = surface
    mapped: NDArray[np.int32] = table[labels]
    return mapped
