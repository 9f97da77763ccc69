"""JSON as objects of our dataclasses, each field checked against its type: what is read is then what it says it is."""

from __future__ import annotations

import dataclasses
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mmms_client.json_place import Place

_Object = TypeVar("_Object")
_LARGEST = 2**63 - 1


def read_object(place: Place, kind: type[_Object]) -> _Object:
    """A dataclass from a JSON object with its fields; those with a default may be left out.

    Fields may be int, float, str, bool, ``None``, ``Literal``, tuples, dictionaries and dataclasses. Raises
    :class:`mmms_client.errors.SessionFormatError` naming the place, and what the dataclass itself raises.
    """
    fields = [field for field in dataclasses.fields(kind) if field.init]  # type: ignore[arg-type]
    has_default = {
        field.name
        for field in fields
        if field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    }
    required = tuple(field.name for field in fields if field.name not in has_default)
    found = place.fields(required, tuple(sorted(has_default)))
    hints = get_type_hints(kind)
    return kind(**{name: read_value(item, hints[name]) for name, item in found.items()})


def read_value(place: Place, kind: Any) -> Any:
    """A JSON value as a value of a field's type; see :func:`read_object`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        others = [argument for argument in arguments if argument is not type(None)]
        return None if place.value is None and len(others) < len(arguments) else read_value(place, others[0])
    if origin is Literal:
        if not isinstance(place.value, str) or place.value not in arguments:
            place.fail(f"one of {', '.join(map(str, arguments))}")
        return place.value
    if origin is tuple:
        return _tuple(place, arguments)
    if origin is dict:
        return {name: read_value(item, arguments[1]) for name, item in place.entries().items()}
    if dataclasses.is_dataclass(kind):
        return read_object(place, kind)  # type: ignore[arg-type]
    return _plain(place, kind)


def _tuple(place: Place, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    items = list(place.items())
    kinds = arguments[:1] * len(items) if arguments[1:] == (...,) else arguments
    if len(kinds) != len(items):
        place.fail(f"a list of {len(kinds)}")
    return tuple(read_value(item, kind) for item, kind in zip(items, kinds, strict=True))


def _plain(place: Place, kind: Any) -> Any:
    if kind is Any:
        return place.value
    if kind is bool:
        return place.boolean()
    if kind is int:
        return place.integer(-_LARGEST, _LARGEST)
    if kind is float:
        return place.number()
    if kind is str:
        return place.text(may_be_empty=True)
    raise TypeError(f"Expected a type that JSON has but got {kind}")
