"""Label files to surface ids. All loaders read labels here, so that the traps are met in one place."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmms_client.errors import DataError
from mmms_eval.datasets.sample import IGNORE

_ID_MODES = ("L", "P", "I;16", "I;16B", "I")  # a palette is for the eye: its indices are the ids


def read_labels(path: str | os.PathLike[str], ignore_ids: Sequence[int] = (255,)) -> NDArray[np.int32]:
    """Read a one-channel label file as int32 [H, W], with :data:`IGNORE` for each of ``ignore_ids``.

    8- and 16-bit grey or palette PNG (or any such file that Pillow reads without loss), and NPY of an integer
    dtype. Values are widened before anything else is done with them, so that nothing wraps around.

    Raises :class:`DataError` for a file that is missing, broken, of several channels, or has ids outside 0 ..
    65535.
    """
    name = repr(os.fspath(path))
    try:
        if name.lower().endswith(".npy'"):
            stored = np.load(path, allow_pickle=False)
            kind = f"{stored.dtype} of shape {stored.shape}"
            is_usable = stored.ndim == 2 and stored.dtype.kind in "iu"
        else:
            with Image.open(path) as picture:
                kind = f"a picture of mode {picture.mode}"
                is_usable = picture.mode in _ID_MODES and picture.format != "JPEG"
                stored = np.asarray(picture)
    except (OSError, ValueError, SyntaxError, EOFError) as error:
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
    labels[np.isin(labels, np.asarray(ignore_ids, np.int64))] = IGNORE
    narrowed: NDArray[np.int32] = labels.astype(np.int32)
    return narrowed
