"""MATLAB files (version 5) from others: whether they hold what they declare, before SciPy takes memory for it.

A file is a tree of elements, each a type, a number of bytes and so many bytes; a matrix is an element whose parts are
its class, its dimensions, its name and what is in it. Source: MathWorks, "MAT-File Format".
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Iterator

_HEADER_BYTES, _MATRIX, _COMPRESSED, _LAST_TYPE = 128, 14, 15, 18
_STRUCT, _SPARSE, _CLASSES = 2, 5, frozenset((1, 2, 4, *range(5, 16)))  # without objects and functions
_MOST_BYTES, _MOST_DEPTH, _MOST_PARTS = 1 << 30, 8, 100_000


def checked_bytes(data: bytes) -> bytes:
    """The same file without compression. Raises ``ValueError`` if anything in it is larger than the file."""
    if data[126:128] != b"IM" or len(data) < _HEADER_BYTES:
        raise ValueError("no MATLAB file of version 5, little-endian")
    parts: list[bytes | memoryview] = [data[:_HEADER_BYTES]]
    left = _MOST_BYTES
    for kind, content, whole in _elements(memoryview(data)[_HEADER_BYTES:]):
        if kind == _COMPRESSED:
            whole = memoryview(_inflated(content, left))
            content = next((inner for kind, inner, _ in _elements(whole) if kind == _MATRIX), whole[:0])
        elif kind != _MATRIX:
            raise ValueError(f"an element of type {kind}")
        _check(content, _MOST_DEPTH)
        parts.append(whole)
        left -= len(whole)
    return b"".join(parts)


def _inflated(data: memoryview, most: int) -> bytes:
    try:
        stream = zlib.decompressobj()
        found = stream.decompress(data, max(1, min(most, len(data) * 1032)))
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not stream.eof:
        raise ValueError("compressed data that is cut off, or more than a gigabyte")
    return found


def _elements(whole: bytes | memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Type, content, and all bytes of each element, as views."""
    data, at = memoryview(whole), 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("an element that is cut off")
        kind, count = struct.unpack_from("<II", data, at)
        if kind >> 16:  # a short one: its size is in the upper half, and its content in the same eight bytes
            kind, count, begin, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
            if count > 4:
                raise ValueError("a short element of more than four bytes")
        else:
            begin = at + 8
            end = begin + (count if kind == _COMPRESSED else -(-count // 8) * 8)
        if not 1 <= kind <= _LAST_TYPE:
            raise ValueError(f"an element of type {kind}")
        if begin + count > len(data):
            raise ValueError("an element that is longer than the file")
        yield kind, data[begin : begin + count], data[at:end]
        at = end


def _check(content: memoryview, depth: int) -> None:
    """A matrix: as many entries as its dimensions say, at a byte each at least."""
    parts = list(itertools.islice(_elements(content), _MOST_PARTS + 1))
    if len(parts) > _MOST_PARTS:
        raise ValueError(f"more than {_MOST_PARTS} parts")
    if not parts:  # MATLAB's way to write []
        return
    if len(parts) < 3 or len(parts[0][1]) != 8 or len(parts[1][1]) % 4 or not depth:
        raise ValueError("a matrix that is none, or matrices too deep inside each other")
    kind = parts[0][1][0]
    dimensions = struct.unpack(f"<{len(parts[1][1]) // 4}i", parts[1][1])
    if kind not in _CLASSES or not 2 <= len(dimensions) <= 4 or min(dimensions) < 0:
        raise ValueError(f"a matrix of class {kind} and dimensions {dimensions}")
    inner = [part for part_kind, part, _ in parts[3:] if part_kind == _MATRIX]
    held = sum(len(part) for _, part, _ in parts[3:])
    if kind != _SPARSE and math.prod(dimensions) > (len(inner) if kind <= _STRUCT else held):
        raise ValueError(f"dimensions {dimensions} in {held} bytes")
    for part in inner:
        _check(part, depth - 1)
