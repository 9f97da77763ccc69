"""Pieces of the HTML page that its sections share. All text is escaped here; markup is well-formed XML, too."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length; the first is the header, the first cell of each names its row."""
    header, *body = rows
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    lines = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in body
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def note(text: str) -> str:
    """A paragraph beside the data."""
    return f'<p class="note">{escape(text)}</p>'
