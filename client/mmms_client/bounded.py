"""What a file may claim of itself: sizes are compared with what can be there before anything is allocated for them."""

from __future__ import annotations

import math
import zlib
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_npy: Any = np.lib.format
MOST_PIXELS = 178_956_970  # of a picture or mask: what Pillow opens, and more than 13000 x 13000
MOST_INFLATED = 1032  # bytes that one byte of deflate can stand for, at most
_PIECE_BYTES = 16 << 20
_FREE_PX, _PX_PER_BYTE = 32 * MOST_PIXELS, 20_000


def check_pixels(height: int, width: int) -> None:
    """Raise ``ValueError`` for a picture or mask of no pixels, or of more than :data:`MOST_PIXELS`."""
    if height < 1 or width < 1 or height * width > MOST_PIXELS:
        raise ValueError(f"{width}x{height} px, which is not from 1 to {MOST_PIXELS} px")


class TooManyPixelsError(ValueError):
    """The masks of a file have more pixels than :class:`PixelBudget` allows; says how many they may have."""


class PixelBudget:
    """How many pixels the masks of one file may have, in their boxes: ten bytes can say that all pixels are inside.

    That is 32 pictures of the largest size, or hundreds as cameras make them; and more the more there is to read.
    """

    def __init__(self, file_bytes: int) -> None:
        self.most_px = _FREE_PX + _PX_PER_BYTE * file_bytes
        self._left_px = self.most_px

    def take(self, area_px: int) -> None:
        """Raise :class:`TooManyPixelsError` if that is more than there is left."""
        self._left_px -= area_px
        if self._left_px < 0:
            raise TooManyPixelsError(
                f"masks that have at most {self.most_px} px together, as a file of this length may,"
            )


def inflate(data: bytes, size_bytes: int) -> bytes:
    """Deflated data as the ``size_bytes`` bytes that they have to be. Raises ``ValueError`` for any other number."""
    if not 0 <= size_bytes <= len(data) * MOST_INFLATED:
        raise ValueError(f"{len(data)} deflated bytes, which cannot be {size_bytes} bytes")
    try:
        stream = zlib.decompressobj()
        found = stream.decompress(data, size_bytes + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(found) != size_bytes or not stream.eof:
        raise ValueError(f"deflated data of another size than {size_bytes} bytes")
    return found


def read_npy(stream: IO[bytes], size_bytes: int) -> NDArray[Any]:
    """The array of an NPY file of ``size_bytes`` bytes, from its beginning; never a pickle.

    Raises ``ValueError`` for anything else than a whole file of plain numbers or text, and the stream's ``OSError``.
    """
    shape, is_fortran, dtype = _read_header(stream)
    needed = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or dtype.itemsize == 0 or needed > size_bytes:
        raise ValueError(f"a header that declares {needed} bytes in a file of {size_bytes}")
    data = _read_exactly(stream, needed)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")


def _read_exactly(stream: IO[bytes], size_bytes: int) -> bytearray:
    """So many bytes; memory is taken as they come, because a stream need not have what its header declares."""
    data = bytearray()
    while len(data) < size_bytes:
        piece = stream.read(min(_PIECE_BYTES, size_bytes - len(data)))
        if not piece:
            raise ValueError("an end before the last number")
        data += piece
    return data


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of an array whose numbers come next, row by row. Raises as :func:`read_npy`."""
    shape, is_fortran, dtype = _read_header(stream)
    if is_fortran and len(shape) > 1:
        raise ValueError("numbers column by column")
    return shape, dtype


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        is_first = _npy.read_magic(stream) == (1, 0)
        shape, is_fortran, dtype = (_npy.read_array_header_1_0 if is_first else _npy.read_array_header_2_0)(stream)
    except OSError:
        raise
    except Exception as error:  # NumPy reads the header as a piece of Python, and raises what that leads to
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    if dtype.hasobject:
        raise ValueError("pickled objects or no array")
    return shape, is_fortran, dtype
