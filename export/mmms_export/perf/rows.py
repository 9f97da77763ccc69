"""What is measured, as rows: percentiles of one thing done in one way, and single facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Row:
    """Latency of one way to do one thing, in milliseconds.

    Attributes:
        model: preset and number of modalities.
        what: ``encode`` or ``click``, and under which load.
        how: the way: an engine in process, or a path of the features through the server.
        p50_ms, p95_ms, p99_ms: of ``samples`` calls.
        ratio: of the p50 to that of the served engine in process; ``None`` where that is no comparison.
        per_s: calls per second of all callers together; ``None`` for one caller.
        cache_hits: hits/lookups of the server's response cache during the calls; ``-`` where none is asked.
    """

    model: str
    what: str
    how: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    samples: int
    ratio: float | None = None
    per_s: float | None = None
    cache_hits: str = "-"


@dataclass(frozen=True)
class Fact:
    """One number that is no latency of a call."""

    model: str
    what: str
    value: float
    unit: str


def make_row(
    model: str,
    what: str,
    how: str,
    samples_ms: Sequence[float],
    base_ms: Sequence[float] = (),
    per_s: float | None = None,
    cache_hits: str = "-",
) -> Row:
    """A row of some samples; ``base_ms`` are those of the served engine in process."""
    p50, p95, p99 = (percentile(samples_ms, share) for share in (50, 95, 99))
    ratio = p50 / percentile(base_ms, 50) if base_ms else None
    return Row(model, what, how, p50, p95, p99, len(samples_ms), ratio, per_s, cache_hits)


def percentile(samples: Sequence[float], share: float) -> float:
    """The percentile ``share`` (0 to 100), linear between samples."""
    return float(np.percentile(samples, share))


HEAD = ("model", "what", "how", "p50 ms", "p95 ms", "p99 ms", "n", "x in process", "per s", "cache hits")


def cells(row: Row) -> tuple[str, ...]:
    """One row as texts, in the order of ``HEAD``."""
    times = (f"{row.p50_ms:.1f}", f"{row.p95_ms:.1f}", f"{row.p99_ms:.1f}", str(row.samples))
    rate = tuple(
        "-" if value is None else form.format(value) for value, form in ((row.ratio, "{:.2f}"), (row.per_s, "{:.1f}"))
    )
    return (row.model, row.what, row.how, *times, *rate, row.cache_hits)


def table(rows: Sequence[Row], facts: Sequence[Fact] = ()) -> str:
    """Plain text, one row a line."""
    parts = [_aligned([HEAD, *map(cells, rows)], left=3)]
    if facts:
        lines: list[tuple[Any, ...]] = [(f.model, f.what, f"{f.value:.4g}", f.unit) for f in facts]
        parts.append(_aligned([("model", "what", "value", "unit"), *lines], left=2))
    return "\n\n".join(parts)


def _aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]

    def pad(column: int, text: str) -> str:
        return text.ljust(widths[column]) if column < left else text.rjust(widths[column])

    return "\n".join("  ".join(pad(i, text) for i, text in enumerate(line)).rstrip() for line in lines)
