"""A JSON value that knows where it stands, so that an error about it can say so.

::

    session.json: expected surfaces[0].visits[1].clicks[0].x to be a number but got 'abc'; correct the file.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from mmms_client.bounded import MOST_PIXELS, check_pixels
from mmms_client.errors import SessionFormatError, printable

_LONGEST = 60  # characters of a wrong value that a message repeats
_PLAIN_NAME = re.compile(r"\w[\w.-]{0,59}")


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
        got = shown(self.value)
        where = self.path or "the content"
        text = f"{self.file}: expected {where} to be {expected} but got {got}; {self.advice}."
        raise SessionFormatError(printable(text))

    def fields(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, Place]:
        """The fields of an object. A missing one and one of an unknown name are errors."""
        known = (*required, *optional)
        entries = self.having(*required)
        for name, place in entries.items():
            if name not in known:
                near = difflib.get_close_matches(name[:_LONGEST], known, 1, 0.0)[0]
                raise SessionFormatError(
                    f"{self.file}: expected {self.path or 'the content'} to have the fields "
                    f"{', '.join(known)} but got {shown(name)} (at {place.path}); did you mean {near!r}?"
                )
        return entries

    def having(self, *required: str) -> dict[str, Place]:
        """The fields of an object of somebody else's, which has at least the required ones."""
        entries = self.entries()
        for name in required:
            if name not in entries:
                replace(self, path=self._sub(name), value=None).fail("given")
        return entries

    def entries(self) -> dict[str, Place]:
        """The entries of an object with any names."""
        if not isinstance(self.value, dict):
            self.fail("an object")
        return {name: replace(self, path=self._sub(name), value=value) for name, value in self.value.items()}

    def listed(self) -> list[Any]:
        """The values of a list, whatever they are."""
        if not isinstance(self.value, list):
            self.fail("a list")
        return self.value

    def items(self) -> Iterator[Place]:
        """The items of a list."""
        for index, value in enumerate(self.listed()):
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

    def file_path(self) -> str:
        """The path of a file, which any file system takes."""
        parts = self.text().split("/")
        is_odd = "\0" in self.value or max(len(part.encode("utf-8")) for part in parts) > 255 or len(self.value) > 4000
        if is_odd:
            self.fail("the path of a file")
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

    def identity(self) -> int | str:
        """A whole number or a text, by which something is known elsewhere in the file."""
        if isinstance(self.value, str):
            return self.value
        return self.integer(-(2**63), 2**63)

    def boolean(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return self.value

    def _sub(self, name: str) -> str:
        return f"{self.path}.{part_of_path(name)}" if self.path else part_of_path(name)


def part_of_path(name: str) -> str:
    """A field's name as it stands in a path: as it is if it is plain; it may also have line ends, or be endless."""
    return name if _PLAIN_NAME.fullmatch(name) else shown(name)


def shown(value: Any) -> str:
    """A value as a message repeats it: short, on one line, and made at the cost of what is shown."""
    got = repr(_beginning(value, 3))
    return got if len(got) <= _LONGEST else got[:_LONGEST] + "..."


def _beginning(value: Any, depth: int) -> Any:
    """As much of a list or object as a message can repeat."""
    if isinstance(value, list):
        return [_beginning(item, depth - 1) for item in value[:_LONGEST]] if depth else []
    if isinstance(value, dict):
        names = itertools.islice(value, _LONGEST) if depth else ()
        return {_beginning(name, 0): _beginning(value[name], depth - 1) for name in names}
    return value[: _LONGEST + 1] if isinstance(value, str) else value


def image_size(height: Place, width: Place) -> tuple[int, int]:
    """The size (H, W) in pixels that a file says an image has; no larger than images that can be read."""
    size = (height.integer(1), width.integer(1))
    try:
        check_pixels(*size)
    except ValueError:
        width.fail(f"a width that gives, with the height {shown(size[0])}, at most {MOST_PIXELS} px,")
    return size
