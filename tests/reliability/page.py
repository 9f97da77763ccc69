"""The tables of ``docs/reliability.md``: figures that tests kept, taken into ``docs/reliability.json`` and from there
into the page. Nothing in the tables was typed.

    python tests/reliability/page.py build/reliability    take the figures of that folder, then write the page
    python tests/reliability/page.py                      write the page of the figures that there are

A test keeps figures with the fixture ``figures`` (``conftest.py``); the first word of a topic says its section. What
tests found and what was mended stands in ``docs/reliability-defects.json``: ``[{"defect": ..., "test": ...}]``.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmms_client.errors import DataError, MMMSError
from mmms_client.files import write_text_atomically

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, FIGURES, DEFECTS = (DOCS / name for name in ("reliability.md", "reliability.json", "reliability-defects.json"))
NOT_MEASURED = "Not measured yet."
DEFECTS_FOUND = "defects found"
# the first word of a topic, by section of the page
SECTIONS: dict[str, tuple[str, ...]] = {
    "faults": ("chaos", "faults"),
    "load": ("load",),
    "hostile input": ("fuzz", "hostile"),
    "exposure": ("exposure",),
    "supply chain": ("audit", "bounds", "export", "network", "supply"),
}
_UNITS = {"s": "s", "ms": "ms", "minutes": "min", "percent": "%", "mb": "MB", "bytes": "bytes", "px": "px"}
Topics = dict[str, dict[str, Any]]  # by name: date, device, figures


def section_of(topic: str) -> str:
    """The section of the page that a topic belongs to. Raises :class:`DataError` for a topic of none."""
    first = re.split(r"[-_ .]", topic)[0]
    for section, words in SECTIONS.items():
        if first in words:
            return section
    known = ", ".join(word for words in SECTIONS.values() for word in words)
    raise DataError(f"Expected a topic that begins with one of {known} but got {topic!r}; call it so in its test.")


def collect(folder: Path, known: Topics, device: str) -> Topics:
    """``known``, with the topics that tests kept in ``folder`` in place of older ones. The date is that of the file.

    Raises :class:`DataError` for a folder without figures, or a file that holds something else.
    """
    files = sorted(folder.glob("*.json")) if folder.is_dir() else []
    if not files:
        raise DataError(f"Expected figures in {str(folder)!r} but got none; run the tests with MMMS_FIGURES={folder}.")
    topics = dict(known)
    for file in files:
        section_of(file.stem)
        figures = _read(file)
        if not isinstance(figures, dict) or not figures:
            raise DataError(f"Expected figures by name in {str(file)!r} but got something else; make it again.")
        date = datetime.datetime.fromtimestamp(file.stat().st_mtime, datetime.timezone.utc).date()
        topics[file.stem] = {"date": date.isoformat(), "device": device, "figures": figures}
    return topics


def fill(page: str, topics: Topics, defects: Sequence[Mapping[str, str]]) -> str:
    """The page with every table made anew. Raises :class:`DataError` where its marks are not there, once each."""
    tables = {section: _section(section, topics) for section in SECTIONS} | {DEFECTS_FOUND: _defects(defects)}
    for section, table in tables.items():
        begin, end = f"<!-- {section}: begin -->", f"<!-- {section}: end -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise DataError(f"Expected the page with the lines {begin} and {end}, once each; put them in.")
        before, rest = page.split(begin)
        page = f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    return page


def _section(section: str, topics: Topics) -> str:
    blocks = []
    for name, topic in sorted(topics.items()):
        if section_of(name) == section:
            blocks.append(f"**{_words(name)}**, {topic['date']}, {topic['device']}:")
            blocks += _tables(topic["figures"])
    return "\n\n".join(blocks) or NOT_MEASURED


def _defects(defects: Sequence[Mapping[str, str]]) -> str:
    if not defects:
        return "None yet."
    return _markdown(("defect", "held by"), [(_plain(row["defect"]), f"`{row['test']}`") for row in defects])


def _tables(figures: Mapping[str, Any]) -> list[str]:
    """One table of the single numbers, and one for each group of rows, such as the readers that were given rubbish."""
    single, groups = [], []
    for name, value in figures.items():
        rows = _rows(value)
        if rows:
            heads = list(dict.fromkeys(key for row in rows.values() for key in row))
            lines = [(_plain(key), *(_cell(head, row.get(head)) for head in heads)) for key, row in rows.items()]
            groups.append(_markdown((_words(name), *(_words(head) for head in heads)), lines))
        elif isinstance(value, Mapping):
            single += [(f"{_words(name)}: {_plain(key)}", _cell(key, item)) for key, item in value.items()]
        else:
            single.append((_words(name), _cell(name, value)))
    return ([_markdown(("counted", ""), single)] if single else []) + groups


def _rows(value: Any) -> dict[str, Mapping[str, Any]]:
    """``value`` as rows of a table by name, if it is a group of such; else empty."""
    if isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
        return dict(value)
    if isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        return {str(number): row for number, row in enumerate(value, 1)}
    return {}


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(_cell("", item) for item in value) or "none"
    if isinstance(value, int):
        text = f"{value:,}".replace(",", " ")
    elif isinstance(value, float) and math.isfinite(value):
        text = f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    else:
        text = _plain(value)
    return f"{text} {_unit(name)}".strip()


def _plain(value: object) -> str:
    """Text that does not end a cell of a table."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def _unit(name: str) -> str:
    _, separator, last = name.rpartition("_")
    return _UNITS.get(last, "") if separator else ""


def _words(name: str) -> str:
    """A key as words, without its unit, which stands beside the number."""
    stem = name.rpartition("_")[0] if _unit(name) else name
    return re.sub(r"[_-]+", " ", stem)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(head)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"Expected JSON in {str(file)!r} but got {' '.join(str(error).split())!r}; make it again."
        ) from error


def committed() -> tuple[Topics, list[dict[str, str]]]:
    """The figures and the defects that the page is made of. Raises :class:`DataError` for a broken file."""
    return _read(FIGURES), _read(DEFECTS)


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 1 with one line."""
    try:
        topics, defects = committed()
        if arguments:
            from mmms_export.manifest import device_name

            topics = collect(Path(arguments[0]), topics, device_name())
        text = fill(PAGE.read_text("utf-8"), topics, defects)
        write_text_atomically(FIGURES, json.dumps(topics, indent=1) + "\n")
        write_text_atomically(PAGE, text)
    except MMMSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"wrote {PAGE} with {len(topics)} topic(s)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
