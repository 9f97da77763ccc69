"""A JSON value that knows where it stands, so that an error about it can say so.

::

    session.json: expected surfaces[0].visits[1].clicks[0].x to be a number but got 'abc'; correct the file.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from mmms_client.errors import SessionFormatError

_LONGEST = 60  # characters of a wrong value that a message repeats


@dataclass(frozen=True)
class Place:
    """``value`` as found at ``path`` (``surfaces[0].id``; empty at the top) of the file called ``file``.

    ``advice`` ends the errors.
    """

    file: str
    path: str
    value: Any
    advice: str = "correct the file"

    def fail(self, expected: str) -> NoReturn:
        """Raise :class:`SessionFormatError`: this place was expected to be something else."""
        got = repr(self.value)
        if len(got) > _LONGEST:
            got = got[:_LONGEST] + "..."
        where = self.path or "the content"
        raise SessionFormatError(f"{self.file}: expected {where} to be {expected} but got {got}; {self.advice}.")

    def fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Place]:
        """The fields of an object. A missing one and one of an unknown name are errors."""
        known = (*required, *optional)
        entries = self.entries()
        for name in required:
            if name not in entries:
                replace(self, path=self._sub(name), value=None).fail("given")
        for name, place in entries.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1, 0.0)[0]
                raise SessionFormatError(
                    f"{self.file}: expected {self.path or 'the content'} to have the fields "
                    f"{', '.join(known)} but got {name!r} (at {place.path}); did you mean {near!r}?"
                )
        return entries

    def entries(self) -> dict[str, Place]:
        """The entries of an object with any names."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return {name: replace(self, path=self._sub(name), value=value) for name, value in self.value.items()}

    def items(self) -> Iterator[Place]:
        """The items of a list."""
        if not isinstance(self.value, list):
            self.fail("a list")
        for index, value in enumerate(self.value):
            yield replace(self, path=f"{self.path}[{index}]", value=value)

    def text(self, may_be_empty: bool = False) -> str:
        """A text."""
        if not isinstance(self.value, str) or not (self.value or may_be_empty):
            self.fail("a text" if may_be_empty else "a text that is not empty")
        try:
            self.value.encode("utf-8")  # JSON can spell half a character, which no file can hold
        except UnicodeEncodeError:
            self.fail("a text of whole characters")
        return self.value

    def number(self) -> float:
        """A finite number; true and false are none."""
        value = self.value
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or abs(value) > 1e300 or math.isnan(value):
            self.fail("a number")
        return float(value)

    def integer(self, low: int, high: int | None = None) -> int:
        """A whole number from ``low`` to ``high``."""
        value, span = self.value, f"from {low}" + (f" to {high}" if high is not None else "")
        is_whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if not is_whole or isinstance(value, bool) or value < low or (high is not None and value > high):
            self.fail(f"a whole number {span}")
        return int(value)

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def _sub(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name
