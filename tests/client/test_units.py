"""What raw numbers mean: --scale, modalities.json, units, and numbers that stand for 'no measurement'."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, ImageReadError, ModalityError, UsageError
from mmms_client.units import _UNITS, ValueRule, apply_rule, convert_unit, find_rule, parse_scale, read_rules

DEPTH = ModalitySpec("depth", 1, "log", 0.3, 120.0, "m")
THERMAL = ModalitySpec("thermal", 1, "percentile", 1.0, 99.0, None)
RAW = np.array([[0, 1500, 65535]], np.float32)


def test_scale_option() -> None:
    assert parse_scale("depth=0.001") == ("depth", ValueRule(0.001))
    assert parse_scale("depth=-2:3.5:0") == ("depth", ValueRule(-2.0, 3.5, 0.0))
    name, rule = parse_scale("a.b=1:0:nan")
    assert name == "a.b" and rule.invalid is not None and math.isnan(rule.invalid)


@pytest.mark.parametrize(
    "text", ["depth", "=1", "depth=", "depth=a", "depth=0", "depth=nan", "d=1:inf", "d=1:2:3:4", "d=1::"]
)
def test_bad_scale_option(text) -> None:
    with pytest.raises(UsageError) as caught:
        parse_scale(text)
    assert str(caught.value) == (
        "Expected --scale NAME=FACTOR[:OFFSET[:INVALID]] with numbers (FACTOR not 0, INVALID may be nan) but got "
        f"{text!r}; write for example --scale depth=0.001 or --scale depth=0.001:0:0."
    )


@pytest.mark.parametrize(
    ("source", "target", "value", "expected"),
    [
        ("mm", "m", 1500, 1.5),
        ("cm", "m", 150, 1.5),
        ("metres", "m", 2, 2),
        ("K", "degC", 273.15, 0),
        ("centikelvin", "degC", 30000, 26.85),
        ("degC", "K", 0, 273.15),
        ("°F", "degC", 212, 100),
        ("%", "1", 50, 0.5),
    ],
)
def test_unit_conversion(source, target, value, expected) -> None:
    factor, offset = convert_unit(source, target)
    assert value * factor + offset == pytest.approx(expected, abs=1e-9)


@given(st.sampled_from(sorted(_UNITS)), st.sampled_from(sorted(_UNITS)), st.floats(-1e4, 1e4))
def test_units_go_there_and_back(source, target, value) -> None:
    if _UNITS[source][0] != _UNITS[target][0]:
        with pytest.raises(ModalityError):
            convert_unit(source, target)
        return
    there, back = convert_unit(source, target), convert_unit(target, source)
    assert (value * there[0] + there[1]) * back[0] + back[1] == pytest.approx(value, rel=1e-9, abs=1e-6)


def test_a_long_unit_is_not_repeated_whole() -> None:
    with pytest.raises(ModalityError) as caught:
        convert_unit("x" * 5000, "m")
    assert len(str(caught.value)) < 300


def test_a_model_with_a_unit_wants_to_know_ours() -> None:
    for rule in (None, ValueRule(unit="")):
        with pytest.raises(ModalityError) as caught:
            apply_rule(RAW, rule, DEPTH, "d.png")
        assert str(caught.value) == (
            "Expected the unit of 'd.png' because the model wants 'depth' in m but got none; say it with "
            '--scale depth=FACTOR[:OFFSET[:INVALID]], or in modalities.json beside the file as {"depth": '
            '{"unit": "m"}}.'
        )
    assert np.array_equal(apply_rule(RAW, None, THERMAL, "t.png"), RAW)


def test_rules_are_applied() -> None:
    values = apply_rule(RAW, ValueRule(0.001, 0.5, 0.0), DEPTH, "d.png")
    assert np.isnan(values[0, 0]) and values[0, 1:].tolist() == pytest.approx([2.0, 66.035])
    values = apply_rule(RAW, ValueRule(2.0, 0.0, 65535.0, "mm"), DEPTH, "d.png")
    assert values[0, :2].tolist() == pytest.approx([0.0, 3.0]) and np.isnan(values[0, 2])


def test_unknown_or_foreign_unit() -> None:
    for unit in ("furlong", "degC"):
        with pytest.raises(ModalityError) as caught:
            apply_rule(RAW, ValueRule(unit=unit), DEPTH, "d.png")
        assert str(caught.value) == (
            f"Expected the unit of 'depth' as m, dm, cm, mm, um, km, in, ft but got {unit!r}; convert the "
            f"data, or give --scale depth=FACTOR[:OFFSET] to m."
        )


def test_nan_and_inf_must_be_declared() -> None:
    raw = np.array([[1, np.nan, np.inf, 4]], np.float32)
    for rule in (ValueRule(0.001), ValueRule(0.001, 0.0, 4.0)):
        with pytest.raises(ImageReadError) as caught:
            apply_rule(raw, rule, DEPTH, "d.npy")
        assert str(caught.value) == (
            "Expected finite numbers in 'd.npy' but got NaN or inf in 2 of 4; repair them, or declare them "
            "as 'no measurement' with --scale depth=0.001:0:nan."
        )
    values = apply_rule(raw, ValueRule(1.0, 0.0, math.nan), DEPTH, "d.npy")
    assert np.isnan(values).tolist() == [[False, True, True, False]]
    with pytest.raises(
        ImageReadError, match="but got none: every pixel is 'no measurement'; check the file and its INVALID"
    ):
        apply_rule(np.zeros((2, 2), np.float32), ValueRule(invalid=0.0), DEPTH, "d.png")


def test_modalities_json_beside_the_file_or_above(tmp_path) -> None:
    (tmp_path / "depth").mkdir()
    file = tmp_path / "depth" / "0.png"
    assert find_rule("depth", "depth", file) is None
    (tmp_path / "modalities.json").write_text(json.dumps({"depth": {"unit": "mm", "invalid": 0}, "other": {}}))
    assert find_rule("tof", "depth", file) == ValueRule(1.0, 0.0, 0.0, "mm")
    (tmp_path / "depth" / "modalities.json").write_text(
        json.dumps({"tof": {"unit": "cm", "scale": 2, "invalid": "nan"}})
    )
    rule = find_rule("tof", "depth", file)
    assert rule is not None and rule.unit == "cm" and rule.factor == 2 and math.isnan(rule.invalid or 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "to be JSON but got 'Expecting value: line 1 column 1 (char 0)'; correct the file."),
        (
            "[]",
            'to be an object with one entry per modality but got list; write for example {"depth": {"unit": "mm"}}.',
        ),
        ('{"depth": "mm"}', 'to be an object but got \'mm\'; write {"unit": "mm"}.'),
        ('{"depth": {"units": "mm"}}', "but got 'units'; did you mean 'unit'?"),
        ('{"depth": {"unit": 3}}', "to be a text but got 3; write for example 'mm'."),
        ('{"depth": {"scale": "x"}}', "to be a number but got 'x'; correct it."),
        ('{"depth": {"scale": 0}}', "to be a number other than 0 but got 0; correct it."),
        ('{"depth": {"invalid": true}}', "to be a number but got True; correct it."),
    ],
)
def test_broken_modalities_json(tmp_path, text, message) -> None:
    path = tmp_path / "modalities.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_rules(path)
    assert str(caught.value).startswith("Expected ") and str(path) in str(caught.value)
    assert str(caught.value).endswith(message)
