"""The measured part of ``docs/performance.md``, written from what :mod:`.cli` measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmms_client.errors import DataError
from mmms_client.files import write_text_atomically
from mmms_export.perf.fidelity import MEAN_IOU, NOC_DIFFERENCE
from mmms_export.perf.load import ENCODING
from mmms_export.perf.rows import HEAD, Fact, Row, cells
from mmms_export.perf.ways import EAGER, IN_PROCESS

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
PAPER_SIZE, NANO = "mmms_dinov2_b14 +1", "nano +2"


@dataclass(frozen=True)
class Target:
    """Something to reach: a number that the rows give, and its bound."""

    text: str
    value: Callable[[Mapping[tuple[str, str, str], Row], Mapping[tuple[str, str], float]], float]
    bound: float
    is_upper: bool
    unit: str


TARGETS = (
    Target(
        "paper size: click through the ensemble, p50",
        lambda r, _: r[PAPER_SIZE, "click", "ensemble"].p50_ms, 36.0, True, "ms",
    ),
    Target(
        "paper size: the same, times the engine in process",
        lambda r, _: _ratio(r, PAPER_SIZE, "click", "ensemble", IN_PROCESS), 1.2, True, "",
    ),
    Target(
        "paper size: eager PyTorch fp32 in process, times a click through the ensemble",
        lambda r, _: _ratio(r, PAPER_SIZE, "click", EAGER, "ensemble"), 7.0, False, "",
    ),
    Target(
        "paper size: eager PyTorch fp32 in process, times an encode through the ensemble",
        lambda r, _: _ratio(r, PAPER_SIZE, "encode", EAGER, "ensemble"), 2.0, False, "",
    ),
    Target("nano: click through the ensemble, p50", lambda r, _: r[NANO, "click", "ensemble"].p50_ms, 12.0, True, "ms"),
    Target(
        "client: fresh interpreter to the first byte on the wire",
        lambda _, f: f["client", "fresh interpreter to the first byte on the wire"], 300.0, True, "ms",
    ),
    Target(
        "paper size: p95 of clicks beside encodes, times that of one annotator alone",
        lambda r, _: _slowdown(r, PAPER_SIZE), 2.0, True, "",
    ),
    Target(
        "paper size: `bench` keeps this share of the engine's rate in process",
        lambda _, f: f[PAPER_SIZE, "bench: share of the engine's rate in process"], 75.0, False, "%",
    ),
    Target("nano: mean IoU of masks with eager PyTorch fp32", lambda _, f: _mean_iou(f), 0.998, False, ""),
    Target(
        "nano: NoC@90 of the synthetic bench, away from that of eager PyTorch fp32",
        lambda _, f: f[NANO, NOC_DIFFERENCE], 0.02, True, "clicks",
    ),
)  # fmt: skip


def _ratio(rows: Mapping[tuple[str, str, str], Row], model: str, what: str, above: str, below: str) -> float:
    return rows[model, what, above].p50_ms / rows[model, what, below].p50_ms


def _mean_iou(facts: Mapping[tuple[str, str], float]) -> float:
    """Whatever the number of clicks, which its name says. Raises :class:`KeyError`."""
    for (model, what), value in facts.items():
        if model == NANO and what.startswith(MEAN_IOU):
            return value
    raise KeyError(MEAN_IOU)


def _slowdown(rows: Mapping[tuple[str, str, str], Row], model: str) -> float:
    busy, idle = (rows[model, what, "ensemble"] for what in (f"click, {ENCODING}", "click, 1 session"))
    return busy.p95_ms / idle.p95_ms


def format_measured(document: Mapping[str, Any]) -> str:
    """Markdown of everything measured: the targets first, then all rows, then single numbers."""
    rows = [Row(**row) for row in document["rows"]]
    facts = [Fact(**fact) for fact in document["facts"]]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(document["versions"].items()))
    parts = [
        f"{document['device']}. {document['load']}.\n\nVersions: {versions}.",
        "### Targets\n\n" + _targets(rows, facts),
        "### Latency and throughput\n\n" + _markdown(HEAD, [cells(row) for row in rows], left=3),
        "### Other costs\n\n"
        + _markdown(
            ("model", "what", "value", "unit"), [(f.model, f.what, f"{f.value:.4g}", f.unit) for f in facts], left=2
        ),
    ]
    return "\n\n".join(parts) + "\n"


def update_page(page: Path, document: Mapping[str, Any]) -> None:
    """Replace what stands between the two marks of a page. Raises :class:`DataError` if they are not there."""
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise DataError(
            f"Expected {str(page)!r} with the lines {BEGIN} and {END} but got none or several; put them in."
        )
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    write_text_atomically(page, f"{before}{BEGIN}\n\n{format_measured(document)}\n{END}{after}")


def _targets(rows: Sequence[Row], facts: Sequence[Fact]) -> str:
    by_row = {(row.model, row.what, row.how): row for row in rows}
    by_fact = {(fact.model, fact.what): fact.value for fact in facts}
    lines = []
    for target in TARGETS:
        sign = "at most" if target.is_upper else "at least"
        asked = f"{sign} {target.bound:g} {target.unit}".strip()
        try:
            value = target.value(by_row, by_fact)
        except KeyError:
            lines.append((target.text, asked, "not measured", "-"))
            continue
        reached = value <= target.bound if target.is_upper else value >= target.bound
        lines.append((target.text, asked, f"{value:.3g} {target.unit}".strip(), "yes" if reached else "**no**"))
    return _markdown(("what", "asked", "measured", "reached"), lines, left=4)


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]], left: int) -> str:
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *lines))
