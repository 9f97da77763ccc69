"""What the numbers in a modality file mean: unit, factor, offset, and the one for "no measurement".

Two ways to say it, in this order:

1. ``--scale NAME=FACTOR[:OFFSET[:INVALID]]``: ``raw * FACTOR + OFFSET`` is in the model's unit.
2. ``modalities.json`` in the folder of the file, or in the folder above::

       {"depth": {"unit": "mm", "invalid": 0}, "thermal": {"unit": "degC", "scale": 0.01, "offset": -273.15}}

   ``raw * scale + offset`` is in ``unit``, which is converted to the model's. ``invalid`` is a raw number or
   ``"nan"``.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, ImageReadError, ModalityError, UsageError
from mmms_client.json_place import part_of_path, shown
from mmms_client.json_text import read_json

UNITS_FILE = "modalities.json"
SCALE_FORM = "NAME=FACTOR[:OFFSET[:INVALID]]"
_LARGEST = 1e30  # of a factor, offset or raw number: beyond it single precision ends

# Unit -> (quantity, factor, offset) such that value * factor + offset is in the quantity's base unit.
_UNITS: dict[str, tuple[str, float, float]] = {
    "m": ("length", 1.0, 0.0),
    "dm": ("length", 0.1, 0.0),
    "cm": ("length", 0.01, 0.0),
    "mm": ("length", 0.001, 0.0),
    "um": ("length", 1e-6, 0.0),
    "km": ("length", 1000.0, 0.0),
    "in": ("length", 0.0254, 0.0),
    "ft": ("length", 0.3048, 0.0),
    "K": ("temperature", 1.0, 0.0),
    "cK": ("temperature", 0.01, 0.0),
    "mK": ("temperature", 0.001, 0.0),
    "degC": ("temperature", 1.0, 273.15),
    "degF": ("temperature", 5.0 / 9.0, 459.67 * 5.0 / 9.0),
    "rad": ("angle", 1.0, 0.0),
    "deg": ("angle", math.pi / 180.0, 0.0),
    "1": ("ratio", 1.0, 0.0),
    "%": ("ratio", 0.01, 0.0),
}
_ALIASES = {
    "metre": "m", "meter": "m", "metres": "m", "meters": "m", "centimetre": "cm", "centimeter": "cm",
    "millimetre": "mm", "millimeter": "mm", "micrometre": "um", "micrometer": "um", "µm": "um", "inch": "in",
    "foot": "ft", "feet": "ft", "kelvin": "K", "centikelvin": "cK", "millikelvin": "mK", "celsius": "degC",
    "°C": "degC", "C": "degC", "fahrenheit": "degF", "°F": "degF", "F": "degF", "radian": "rad",
    "radians": "rad", "degree": "deg", "degrees": "deg", "°": "deg", "percent": "%",
}  # fmt: skip


@dataclass(frozen=True)
class ValueRule:
    """How raw numbers become values.

    ``value = raw * factor + offset``, in ``unit``; ``None`` means the model's own unit. ``invalid`` is the
    raw number of a pixel without measurement: NaN stands for every NaN and inf, ``None`` for no such number.
    """

    factor: float = 1.0
    offset: float = 0.0
    invalid: float | None = None
    unit: str | None = None


def parse_scale(text: str) -> tuple[str, ValueRule]:
    """``NAME=FACTOR[:OFFSET[:INVALID]]`` to the name and its rule. Raises :class:`UsageError`."""
    name, equals, numbers = text.partition("=")
    parts = numbers.split(":")
    try:
        if not (name and equals and len(parts) <= 3):
            raise ValueError(text)
        fields = [float(part) for part in parts]
        factor, offset = fields[0], fields[1] if len(fields) > 1 else 0.0
        rule = ValueRule(factor, offset, fields[2] if len(fields) > 2 else None)
        if not (0.0 < abs(rule.factor) <= _LARGEST and abs(rule.offset) <= _LARGEST):
            raise ValueError(text)
    except ValueError as error:
        raise UsageError(
            f"Expected --scale {SCALE_FORM} with numbers (FACTOR not 0, INVALID may be nan) but got {text!r}; write "
            "for example --scale depth=0.001 or --scale depth=0.001:0:0."
        ) from error
    return name, rule


def find_rule(name: str, model_name: str, file: str | os.PathLike[str]) -> ValueRule | None:
    """The rule of a modality from the ``modalities.json`` nearest to its file, or ``None``.

    The entry may go by the data's name or by the model's. Raises :class:`DataError` for a broken file.
    """
    folder = Path(file).absolute().parent
    for place in (folder, folder.parent):
        path = place / UNITS_FILE
        if path.is_file():
            rules = read_rules(path)
            return rules.get(name, rules.get(model_name))
    return None


def read_rules(path: Path) -> dict[str, ValueRule]:
    """All rules of a ``modalities.json``. Raises :class:`DataError`, one line naming file and entry."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected {str(path)!r} to be JSON but got {' '.join(str(error).split())!r}; correct the file."
        ) from error
    if not isinstance(content, dict):
        raise DataError(
            f"Expected {str(path)!r} to be an object with one entry per modality but got "
            f"{type(content).__name__}; "
            'write for example {"depth": {"unit": "mm"}}.'
        )
    return {name: _rule(path, name, entry) for name, entry in content.items()}


def _rule(path: Path, name: str, entry: Any) -> ValueRule:
    if not isinstance(entry, dict):
        raise DataError(
            f'Expected {shown(name)} of {str(path)!r} to be an object but got {shown(entry)}; write {{"unit": "mm"}}.'
        )
    known = ("unit", "scale", "offset", "invalid")
    for key in entry:
        if key not in known:
            near = difflib.get_close_matches(key[:60], known, 1, 0.0)[0]
            raise DataError(
                f"Expected the keys {', '.join(known)} in {shown(name)} of {str(path)!r} but got {shown(key)}; did you "
                f"mean {near!r}?"
            )
    unit, where = entry.get("unit"), part_of_path(name)
    if unit is not None and not isinstance(unit, str):
        raise DataError(
            f"Expected {where}.unit of {str(path)!r} to be a text but got {shown(unit)}; write for example 'mm'."
        )
    invalid = entry.get("invalid")
    factor = _number(path, f"{where}.scale", entry.get("scale", 1.0))
    if factor == 0.0:
        raise DataError(f"Expected {where}.scale of {str(path)!r} to be a number other than 0 but got 0; correct it.")
    return ValueRule(
        factor,
        _number(path, f"{where}.offset", entry.get("offset", 0.0)),
        None if invalid is None else math.nan if invalid == "nan" else _number(path, f"{where}.invalid", invalid),
        "" if unit is None else unit,
    )


def _number(path: Path, where: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _LARGEST
    if not is_number:  # NaN is not, either
        raise DataError(f"Expected {where} of {str(path)!r} to be a number but got {shown(value)}; correct it.")
    return float(value)


def apply_rule(
    raw: NDArray[np.float32], rule: ValueRule | None, spec: ModalitySpec, file: str | os.PathLike[str]
) -> NDArray[np.float32]:
    """Raw numbers of a file to values in the model's unit, NaN where there is no measurement.

    Args:
        raw: float32 [H, W] or [H, W, C] as :func:`mmms_client.readers.read_modality` gives it.
        rule: from :func:`parse_scale` or :func:`find_rule`; ``None`` if nobody said anything.
        spec: what the model wants. Without a unit there, none is needed here.
        file: for the messages.

    Raises:
        ModalityError: the model wants a unit and nobody gave one, or the unit given is unknown or of another
            kind.
        ImageReadError: NaN or inf that the rule does not declare as "no measurement", or nothing but such
            pixels.
    """
    factor, offset = _to_model_unit(rule, spec, file)
    invalid = None if rule is None else rule.invalid
    finite = np.isfinite(raw)
    missing = ~finite
    if invalid is None or not math.isnan(invalid):
        count = int(missing.sum())
        if count:
            raise ImageReadError(
                f"Expected finite numbers in {os.fspath(file)!r} but got NaN or inf in {count} of "
                f"{raw.size}; repair them, or declare them as 'no measurement' with --scale "
                f"{spec.name}={factor:g}:{offset:g}:nan."
            )
        if invalid is not None:
            missing = raw == np.float32(invalid)
    if missing.all():
        raise ImageReadError(
            f"Expected measurements in {os.fspath(file)!r} but got none: every pixel is 'no measurement'; "
            f"check the file and its INVALID number."
        )
    values = np.where(missing, np.nan, raw.astype(np.float64) * factor + offset)
    return values.astype(np.float32)


def _to_model_unit(rule: ValueRule | None, spec: ModalitySpec, file: str | os.PathLike[str]) -> tuple[float, float]:
    """Factor and offset from raw numbers to the model's unit."""
    if spec.unit is None:
        return (1.0, 0.0) if rule is None else (rule.factor, rule.offset)
    if rule is None or rule.unit == "":
        raise ModalityError(
            f"Expected the unit of {os.fspath(file)!r} because the model wants {spec.name!r} in {spec.unit} "
            f"but got none; say it with --scale {spec.name}=FACTOR[:OFFSET[:INVALID]], or in {UNITS_FILE} "
            f"beside the file as "
            f'{{"{spec.name}": {{"unit": "{spec.unit}"}}}}.'
        )
    if rule.unit is None:
        return rule.factor, rule.offset
    factor, offset = convert_unit(rule.unit, spec.unit, spec.name)
    return rule.factor * factor, rule.offset * factor + offset


def convert_unit(source: str, target: str, name: str = "value") -> tuple[float, float]:
    """``(factor, offset)`` such that ``value_in_target = value_in_source * factor + offset``.

    Raises :class:`ModalityError` for a unit that is unknown or of another quantity; ``name`` is for the
    message.
    """
    source, target = _ALIASES.get(source, source), _ALIASES.get(target, target)
    if source == target:
        return 1.0, 0.0
    known = _UNITS.get(target)
    fitting = {unit: rule for unit, rule in _UNITS.items() if known is not None and rule[0] == known[0]}
    if source not in fitting or known is None:
        raise ModalityError(
            f"Expected the unit of {name!r} as {', '.join(fitting) or target} but got {shown(source)}; convert "
            f"the data, or give --scale {name}=FACTOR[:OFFSET] to {target}."
        )
    _, factor, offset = fitting[source]
    _, target_factor, target_offset = known
    return factor / target_factor, (offset - target_offset) / target_factor


def check_rule_names(rules: Mapping[str, object], names: set[str], option: str) -> None:
    """Raise :class:`UsageError` if an option speaks of a modality that was not given."""
    for name in rules:
        if name not in names:
            given = ", ".join(sorted(names)) or "none"
            raise UsageError(
                f"Expected {option} for a modality that is given ({given}) but got {name!r}; add --modality "
                f"{name}=PATH or drop the option."
            )
