"""JSON from files and messages that somebody else wrote: text to values, or one kind of error.

Every reader of JSON goes through here, so that each is safe in the same way. Values are as ``json.loads`` gives them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_DEPTH = 100  # lists and objects inside each other: what is read is then never too deep to be written again
_CONTAINERS = (list, dict)


def parse_json(text: str | bytes, parse_constant: Callable[[str], Any] | None = None) -> Any:
    """JSON as values. Raises ``ValueError``, and nothing else, for what is no JSON or nested too deeply.

    ``parse_constant`` is asked about NaN, Infinity and -Infinity, which are no JSON but often written.
    """
    try:
        content = json.loads(text, parse_constant=parse_constant)
    except (RecursionError, MemoryError) as error:
        raise ValueError(_too_deep()) from error
    if _is_deeper(content, MOST_DEPTH):
        raise ValueError(_too_deep())
    return content


def read_json(path: str | os.PathLike[str]) -> Any:
    """A file of JSON in UTF-8, with or without a byte order mark. Raises ``OSError`` and ``ValueError``."""
    return parse_json(Path(path).read_text("utf-8-sig"))


def _too_deep() -> str:
    return f"lists or objects more than {MOST_DEPTH} inside each other"


def _is_deeper(content: Any, most: int) -> bool:
    """Whether lists and objects lie more than ``most`` inside each other. Costs a look at each value."""
    level = [content] if isinstance(content, _CONTAINERS) else []
    for _ in range(most):
        if not level:
            return False
        level = [
            item
            for entry in level
            for item in (entry.values() if isinstance(entry, dict) else entry)
            if isinstance(item, _CONTAINERS)
        ]
    return bool(level)
