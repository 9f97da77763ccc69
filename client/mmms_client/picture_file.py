"""The one door to Pillow for files that somebody else made.

Pillow knows dozens of formats, and hands one of them to another program. Only those that are promised are tried here,
whatever the name of the file says. A picture whose header declares more than its bytes can hold is refused before
memory is taken for it.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image

PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_LEAST_BITS = {"1": 1, "P": 1, "L": 1}  # of a pixel in a file; other modes have 8 per channel
_BYTES_FROM_ONE = 2048  # of the picture from one byte of its file: deflate makes 1032, JPEG about as many
_SPARE_BYTES = 1 << 20


@contextmanager
def open_picture(source: BinaryIO | bytes) -> Iterator[Image.Image]:
    """A picture whose header has been read, and no more.

    Raises ``ValueError`` for one that declares more pixels than its bytes can hold, and whatever Pillow's readers
    raise; decoding may raise anything, too: catch ``Exception``.
    """
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    length = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    with Image.open(stream, formats=PICTURE_FORMATS) as picture:
        bits = _LEAST_BITS.get(picture.mode, 8 * len(picture.getbands()))
        if picture.width * picture.height * bits // 8 > length * _BYTES_FROM_ONE + _SPARE_BYTES:
            raise ValueError(f"a header of {picture.width}x{picture.height} px in a file of {length} bytes")
        yield picture
