"""Charts as inline SVG. Colours come from the page (classes ``s0`` .. ``s5``), so they follow its light or dark mode.

Series differ by colour, dash and marker, so that a chart can be read without colour.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

STYLES = 6  # series with a look of their own; the next begin again
_WIDTH, _HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 14, 46
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "4 2", "1 4")
_MARKER_PX = 3.2


@dataclass(frozen=True)
class Line:
    """A named series of (x, y)."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Bars:
    """A named series with one value per group; ``None`` where there is nothing to show."""

    name: str
    values: tuple[float | None, ...]


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_ticks: Sequence[float],
    y_top: float,
) -> str:
    """Lines over a common x axis from the first to the last tick; y runs from 0 to ``y_top``."""
    x_of = _scale(x_ticks[0], x_ticks[-1], _LEFT + 8, _WIDTH - _RIGHT - 8)
    y_of = _scale(0.0, y_top, _HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(y_top, y_of, y_label)]
    parts += [_text(x_of(x), _HEIGHT - _BOTTOM + 17, f"{x:g}", "middle") for x in x_ticks]
    parts.append(_x_label(x_label))
    for number, line in enumerate(lines):
        style = number % STYLES
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        dash = f' stroke-dasharray="{_DASHES[style]}"' if _DASHES[style] else ""
        marks = "".join(
            f"<g><title>{escape(line.name)}: {x:g}, {y:.2f}</title>{_marker(style, x_of(x), y_of(y))}</g>"
            for x, y in line.points
        )
        parts.append(f'<g class="s{style}"><polyline class="line" points="{path}"{dash} />{marks}</g>')
    return _svg(title, parts)


def bar_chart(groups: Sequence[str], bars: Sequence[Bars], *, title: str, x_label: str, y_label: str) -> str:
    """Groups of bars side by side; y runs from 0 to 100."""
    y_of = _scale(0.0, 100.0, _HEIGHT - _BOTTOM, _TOP)
    parts = [_grid(100.0, y_of, y_label), _x_label(x_label)]
    step = (_WIDTH - _RIGHT - _LEFT) / max(1, len(groups))
    width = 0.8 * step / max(1, len(bars))
    for index, group in enumerate(groups):
        left = _LEFT + index * step
        parts.append(_text(left + step / 2, _HEIGHT - _BOTTOM + 17, group, "middle"))
        for number, series in enumerate(bars):
            value = series.values[index]
            if value is None:
                continue
            x, y = left + 0.1 * step + number * width, y_of(value)
            height = max(y_of(0.0) - y, 1.0)
            parts.append(
                f'<g class="s{number % STYLES}"><title>{escape(series.name)}, {escape(group)}: {value:.1f}</title>'
                f'<rect class="bar" x="{x:.1f}" y="{y_of(0.0) - height:.1f}" width="{max(1.0, width - 1.5):.1f}" '
                f'height="{height:.1f}" /></g>'
            )
    return _svg(title, parts)


def legend(names: Sequence[str]) -> str:
    """What each series of a chart with these names looks like, as a list."""
    items = []
    for number, name in enumerate(names):
        style = number % STYLES
        dash = f' stroke-dasharray="{_DASHES[style]}"' if _DASHES[style] else ""
        items.append(
            f'<li><svg class="key s{style}" viewBox="0 0 30 12" width="30" height="12" aria-hidden="true">'
            f'<polyline class="line" points="1,6 29,6"{dash} />{_marker(style, 15, 6)}</svg>{escape(name)}</li>'
        )
    return f'<ul class="legend">{"".join(items)}</ul>'


def click_ticks(n_max: int) -> list[float]:
    """Ticks of a click axis that begins at 1: at most eleven, the last one at ``n_max``."""
    step = max(1, math.ceil(n_max / 10))
    later = (k for k in range(n_max, 1, -step) if k - 1 >= step / 2)
    return sorted({1.0, *map(float, later)})


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _grid(y_top: float, y_of: Callable[[float], float], label: str) -> str:
    lines = []
    for value in _nice_ticks(y_top):
        y = y_of(value)
        lines.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" />')
        lines.append(_text(_LEFT - 7, y + 4, f"{value:g}", "end"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    return (
        "".join(lines)
        + f'<text class="axis" text-anchor="middle" transform="translate(13 {middle:.0f}) rotate(-90)">'
        + f"{escape(label)}</text>"
    )


def _nice_ticks(top: float) -> list[float]:
    """0 to ``top`` in at most six steps of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(top))
    step = next(s for s in (power / 5, power / 2, power, 2 * power) if top / s <= 6)
    return [index * step for index in range(math.floor(top / step + 1e-9) + 1)]


def _marker(style: int, x: float, y: float) -> str:
    r = _MARKER_PX
    if style % 3 == 0:
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="{r}" />'
    if style % 3 == 1:
        return f'<rect class="mark" x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}" />'
    return f'<path class="mark" d="M{x:.1f} {y - r - 1:.1f} l{r + 1} {2 * r} h{-2 * (r + 1)} z" />'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _x_label(text: str) -> str:
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return f'<text class="axis" x="{middle:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(text)}</text>'


def _svg(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
