"""docs/reliability.md: its tables are those of the JSON files, and the tests that it names exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmms_client.errors import DataError
from reliability import page

ROOT = Path(__file__).resolve().parents[2]
_NAMED = re.compile(r"tests/[\w/]+\.py(?:::(\w+))?")


def test_the_page_is_what_the_figures_say() -> None:
    topics, defects = page.committed()
    text = page.PAGE.read_text("utf-8")
    assert page.fill(text, topics, defects) == text, "run `make reliability`, or python tests/reliability/page.py"


def test_every_test_that_the_page_names_exists() -> None:
    text = page.PAGE.read_text("utf-8")
    named = {found[0] for found in _NAMED.finditer(text)}
    assert len(named) > 10
    for name in named:
        path, _, function = name.partition("::")
        assert (ROOT / path).is_file(), name
        assert not function or f"def {function}(" in (ROOT / path).read_text("utf-8"), name


def test_every_defect_names_the_test_that_holds_it() -> None:
    _, defects = page.committed()
    for defect in defects:
        assert set(defect) == {"defect", "test"} and defect["defect"], defect
        assert _NAMED.match(defect["test"]), f"{defect['test']}: write tests/FOLDER/FILE.py::NAME"


def test_figures_of_a_folder_replace_older_ones_and_leave_the_others(tmp_path: Path) -> None:
    (tmp_path / "chaos-kills.json").write_text(json.dumps({"kills": 100, "lost": 0}))
    old = {
        "chaos-kills": {"date": "2020-01-01", "device": "x", "figures": {"kills": 5}},
        "load": {"date": "2020-01-01", "device": "x", "figures": {"errors": 0}},
    }
    topics = page.collect(tmp_path, old, "two cores")
    assert topics["load"] == old["load"] and topics["chaos-kills"]["figures"] == {"kills": 100, "lost": 0}
    assert topics["chaos-kills"]["device"] == "two cores" and topics["chaos-kills"]["date"] > "2020-01-01"


def test_taking_figures_twice_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGE", "FIGURES", "DEFECTS"):
        copy = tmp_path / getattr(page, name).name
        copy.write_text(getattr(page, name).read_text("utf-8"))
        monkeypatch.setattr(page, name, copy)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "load.json").write_text('{"sessions": 64, "errors": 0, "by_hour": {"2": 1, "1": 5}}')
    assert page.main([str(tmp_path / "build")]) == 0
    first = page.PAGE.read_text("utf-8"), page.FIGURES.read_text("utf-8")
    assert "| sessions | 64 |\n| errors | 0 |" in first[0]
    assert page.main([]) == 0 and (page.PAGE.read_text("utf-8"), page.FIGURES.read_text("utf-8")) == first


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("poetry.json", '{"a": 1}', "Expected a topic that begins with one of chaos, faults, load"),
        ("chaos.json", "[1]", "Expected figures by name"),
        ("chaos.json", "{", "Expected JSON in"),
        ("notes.txt", "", "Expected figures in .* but got none"),
    ],
)
def test_what_is_no_figure_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=said):
        page.collect(tmp_path, {}, "")


def test_tables_have_units_rows_and_nothing_that_breaks_them() -> None:
    figures = {
        "clicks": 12345,
        "recovery_s": 1.23456,
        "growth_percent": -0.5,
        "is_flat": True,
        "kills": {"server": 50, "app": 25},
        "readers": {"png": {"inputs": 10000, "refused": 9000}, "a|b": {"inputs": 7, "slowest_ms": 2.0}},
    }
    topics = {"load-long": {"date": "2026-01-02", "device": "two cores", "figures": figures}}
    marks = "".join(f"<!-- {name}: begin --><!-- {name}: end -->\n" for name in (*page.SECTIONS, page.DEFECTS_FOUND))
    text = page.fill(marks, topics, [{"defect": "d", "test": "tests/x.py::test_y"}])
    for line in (
        "**load long**, 2026-01-02, two cores:",
        "| clicks | 12 345 |",
        "| recovery | 1.23 s |",
        "| growth | -0.5 % |",
        "| is flat | yes |",
        "| kills: app | 25 |",
        "| readers | inputs | refused | slowest |",
        "| png | 10 000 | 9 000 | - |",
        "| a\\|b | 7 | - | 2 ms |",
        "| d | `tests/x.py::test_y` |",
    ):
        assert line in text.splitlines(), text
    assert text.count(page.NOT_MEASURED) == len(page.SECTIONS) - 1
    assert page.fill(text, topics, [{"defect": "d", "test": "tests/x.py::test_y"}]) == text
    with pytest.raises(DataError, match="once each"):
        page.fill(text + text, topics, [])


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    program = Path(page.__file__)
    done = subprocess.run([sys.executable, program, tmp_path / "none"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("Expected figures in") and done.stderr.count("\n") == 1
