"""Any PNG of masks as the samples that it stores, and the errors that the formats share."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import ImageReadError
from mmms_client.folders import open_file
from mmms_client.picture_file import open_picture


def read_samples(path: str | os.PathLike[str], modes: tuple[str, ...], kind: str) -> NDArray[Any]:
    """The samples [H, W] of a PNG whose Pillow mode is one of ``modes``; palette indices for ``P``.

    Raises :class:`ImageReadError` for a file that is missing, broken, or not ``kind``.
    """
    name = repr(os.fspath(path))
    try:
        with open_file(path) as stream, open_picture(stream) as picture:
            picture.load()
            mode, samples = picture.mode, np.array(picture)
    except FileNotFoundError as error:
        raise ImageReadError(f"Expected the file {name} but got 'No such file'; check the path.") from error
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        raise ImageReadError(f"Expected {name} to be {kind} but it cannot be read; write it again.") from error
    if mode not in modes:
        raise ImageReadError(
            f"Expected {name} to be {kind} but got a picture of mode {mode!r}; give the file as it was written."
        )
    return samples
