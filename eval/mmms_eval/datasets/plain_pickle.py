"""Pickle files as data: dictionaries, lists, tuples, numbers, text and NumPy arrays of bytes, and nothing else.

A pickle is a program; ``pickle.load`` runs whatever it names. Here the only names that resolve are stand-ins of this
module which copy bytes: no class, function or module of a file's choosing is ever looked up, NumPy's own reconstruction
included. Everything else ends in one error.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import DataError

_LARGEST_BYTES = 2**31
_LINE = 1000  # stands for "to the end of the line"
_COUNTED = {-1: _LINE, -2: -1, -3: -4, -4: -4, -5: -8}  # of ``pickletools``: bytes of the number before an argument
# code of an instruction -> bytes of its argument; negative: bytes of a number that says how many follow
_LENGTHS = {
    ord(op.code): op.arg.n if op.arg.n >= 0 else _COUNTED[op.arg.n] for op in pickletools.opcodes if op.arg is not None
}
_LONG_PUT, _PAIRS = ord("r"), b"ci"  # the latter have two lines


class _ByteType:
    """Stands for ``numpy.dtype('u1')``; remembers what was asked for."""

    __slots__ = ("code",)

    def __init__(self, code: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and fields: of no meaning for bytes."""


class _Bytes:
    """Stands for ``numpy.ndarray``; filled by the state that the pickle gives."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: NDArray[np.uint8] | None = None

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            raise pickle.UnpicklingError("an array without a state")
        _, shape, kind, is_fortran, data = state
        is_plain = isinstance(kind, _ByteType) and kind.code == "u1" and isinstance(data, bytes) and not is_fortran
        if not (is_plain and isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)):
            raise pickle.UnpicklingError("an array that does not hold bytes")
        self.values = np.frombuffer(data, np.uint8).reshape(shape)


class _Call:
    """A callable that a pickle can do nothing with but call it: no attribute can be set on it."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *arguments: object) -> Any:
        return self._function(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"a state for {name!r}")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a state for a function")


def _frombuffer(data: object, kind: object, shape: object, order: object = "C") -> _Bytes:
    """How protocol 5 writes an array."""
    found = _Bytes()
    if not isinstance(data, (bytes, bytearray)):
        raise pickle.UnpicklingError("an array without its bytes")
    found.__setstate__((1, shape, kind, order != "C", bytes(data)))
    return found


def _encode(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes in another encoding")
    return text.encode("latin1")


def _scalar(kind: object, data: object) -> int:
    if not (isinstance(kind, _ByteType) and kind.code in ("i8", "i4", "u1") and isinstance(data, bytes)):
        raise pickle.UnpicklingError("a number of another type")
    return int.from_bytes(data, "little", signed=kind.code != "u1")


_NAMES: dict[tuple[str, str], _Call] = {
    **{
        (module, "_reconstruct"): _Call(lambda *_: _Bytes())
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    },
    **{(module, "scalar"): _Call(_scalar) for module in ("numpy.core.multiarray", "numpy._core.multiarray")},
    **{(module, "_frombuffer"): _Call(_frombuffer) for module in ("numpy.core.numeric", "numpy._core.numeric")},
    ("numpy", "ndarray"): _Call(lambda *_: _Bytes()),
    ("numpy", "dtype"): _Call(lambda code, *_: _ByteType(code)),
    ("_codecs", "encode"): _Call(_encode),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"the name {module}.{name}") from None


def read_plain_pickle(path: Path) -> Any:
    """The data of a pickle; arrays of bytes come as ``numpy.uint8``.

    Raises :class:`DataError` if the file is missing, broken, or holds anything else than data.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise pickle.UnpicklingError("more than 2 GiB")
        data = path.read_bytes()
        _check_sizes(data)
        return _plain(_PlainUnpickler(io.BytesIO(data)).load(), {})
    except OSError as error:
        raise DataError(f"Expected {str(path)!r} but got {error.strerror!r}; get the original file.") from error
    except Exception as error:  # a broken pickle can raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"Expected {str(path)!r} to be a pickle of plain data but got {reason[:200]!r}; nothing of it was run: get "
            "the original file."
        ) from error


def _check_sizes(data: bytes) -> None:
    """Raise unless each part of a pickle is as long as it declares, and objects are remembered under small numbers.

    ``pickle`` takes memory for what is declared before it looks.
    """
    at, count, last = 0, 0, len(data)
    while at < last:
        length = _LENGTHS.get(data[at], 0)
        at += 1
        count += 1
        if length == _LINE:
            for _ in range(2 if data[at - 1] in _PAIRS else 1):
                at = data.find(b"\n", at) + 1 or last + 1
        elif length < 0:  # as many bytes for a number, and then as many bytes as the number says
            at += int.from_bytes(data[at : at - length], "little") - length
        else:
            if data[at - 1] == _LONG_PUT and int.from_bytes(data[at : at + 4], "little") > count:
                raise pickle.UnpicklingError("an object that is remembered under too large a number")
            at += length
        if data[at - 1 : at] == pickle.STOP and length == 0:
            return
    raise pickle.UnpicklingError("a part that is longer than the file, or no end")


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    """Stand-ins replaced by what they hold, each object once: a few lists in each other can be gigabytes otherwise."""
    if isinstance(value, _Bytes):
        if value.values is None:
            raise pickle.UnpicklingError("an array without a state")
        return value.values
    if isinstance(value, (dict, list, tuple)):
        if id(value) not in seen:
            seen[id(value)] = _open(value, seen)
        return seen[id(value)]
    if isinstance(value, (_Call, _ByteType)):
        raise pickle.UnpicklingError("a function")
    return value


def _open(value: Any, seen: dict[int, Any]) -> Any:
    if isinstance(value, dict):
        return {_plain(k, seen): _plain(v, seen) for k, v in value.items()}
    return type(value)(_plain(v, seen) for v in value)
