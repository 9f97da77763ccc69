"""The journal of one image: what was done to it, line by line, on disk before anybody is told that it was done.

Each line is one JSON object. The first names the image; then come events (:mod:`mmms_client.event_json`) with the
model's answers, and ``{"do": "undo"}``, ``{"do": "redo"}`` (with ``"events": 2`` for two at once), ``{"do": "finish",
"id": 3}`` and ``{"do": "model", "sha256": ...}``. A process that dies while it writes leaves a last line without an
end: nobody was told of it, so it is dropped on reading and cut off before the next one is written.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from mmms_client.annotation import Annotation, Step
from mmms_client.annotation_state import State, after
from mmms_client.errors import MMMSError, OutputError, SessionFormatError
from mmms_client.event_json import read_event
from mmms_client.event_order import check_fits
from mmms_client.files import NO_LINK, make_folder, sync_folder, write_problem
from mmms_client.json_place import Place, image_size
from mmms_client.json_text import parse_json

JOURNAL_FILE = "journal.jsonl"
JOURNAL_VERSION = 1


@dataclass
class History:
    """What a journal says.

    Attributes:
        image_hw: size of the image in pixels.
        image_name: as the project calls it.
        done, undone: steps, as :class:`mmms_client.annotation.Annotation` has them.
        new_visit_for: the surface whose next click begins a visit because somebody said so.
        model: the last ``model`` entry: ``sha256``, ``checkpoint`` and so on; empty before the first.
        length: lines that count.
    """

    image_hw: tuple[int, int]
    image_name: str
    done: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)
    new_visit_for: int | None = None
    model: dict[str, str] = field(default_factory=dict)
    length: int = 1

    @property
    def state(self) -> State:
        return self.done[-1].state if self.done else State()

    def take(self, place: Place) -> None:
        """One more line. Raises :class:`SessionFormatError` if it does not fit what came before."""
        entries = place.entries()
        kind = entries["do"].value if "do" in entries else None
        self.length += 1
        if kind == "finish":
            self.new_visit_for = place.having("id")["id"].integer(1)
            return
        if kind == "model":
            self.model = {name: str(item.value) for name, item in entries.items() if name not in ("do", "n", "at")}
            return
        self.new_visit_for = None
        if kind in ("undo", "redo"):
            source, target = (self.done, self.undone) if kind == "undo" else (self.undone, self.done)
            for _ in range(entries["events"].integer(1) if "events" in entries else 1):
                if not source:
                    place.fail(f"something to {kind}")
                target.append(source.pop())
            return
        try:
            event, answers = read_event(place, self.image_hw)
            check_fits(self.state, event, answers)
            self.done.append(Step(event, answers, after(self.state, event, answers)))
        except SessionFormatError:
            raise
        except (MMMSError, ValueError, IndexError) as error:
            place.fail(f"an event that fits those before it (it does not: {' '.join(str(error).split())})")
        self.undone.clear()

    def restore(self, annotation: Annotation) -> None:
        """Bring an annotation of this image, without surfaces, to where the journal ends."""
        annotation.restore(self.done, self.undone, self.new_visit_for)


def read_journal(path: str | os.PathLike[str], length_bytes: int | None = None) -> History:
    """Read a journal, or what it was when it had some length.

    Raises :class:`SessionFormatError`, one line naming file and line, for one that is broken.
    """
    return _read(Path(path), length_bytes)[0]


def read_journal_header(path: str | os.PathLike[str]) -> History | None:
    """The first line alone: which image the journal is of; ``None`` for a file without a whole line.

    Errors as for :func:`read_journal`.
    """
    try:
        with Path(path).open("rb") as stream:
            line = stream.readline()
    except OSError as error:
        raise _unreadable(path, error) from error
    return _header(_place(Path(path), 1, line)) if line.endswith(b"\n") else None


def _unreadable(path: str | os.PathLike[str], error: OSError) -> SessionFormatError:
    return SessionFormatError(f"Expected the journal {os.fspath(path)!r} but got {error.strerror!r}; check the path.")


def _read(path: Path, length_bytes: int | None = None) -> tuple[History, int]:
    """The history, and how many bytes of the file belong to it."""
    try:
        data = path.read_bytes()[:length_bytes]
    except OSError as error:
        raise _unreadable(path, error) from error
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    if not lines:
        raise SessionFormatError(f"{path}: expected a journal but got no whole line; remove the file to begin anew.")
    history = _header(_place(path, 1, lines[0]))
    for number, line in enumerate(lines[1:], 2):
        history.take(_place(path, number, line))
    return history, whole


def _place(path: Path, number: int, line: bytes) -> Place:
    name = f"{path}, line {number}"
    try:
        return Place(name, "", parse_json(line))
    except ValueError as error:
        raise SessionFormatError(
            f"{name}: expected JSON but got {' '.join(str(error).split())!r}; restore the file from a copy, or cut it "
            f"off before that line to keep what came earlier."
        ) from error


def _header(place: Place) -> History:
    fields = place.fields(("journal", "image"), ("at", "n"))
    if fields["journal"].value != JOURNAL_VERSION:
        fields["journal"].fail(f"{JOURNAL_VERSION} (what this version of mmms reads)")
    image = fields["image"].fields(("name", "width", "height"))
    return History(image_size(image["height"], image["width"]), image["name"].text())


class Journal:
    """A journal that is written. One process at a time: whoever opens it holds the folder's lock."""

    def __init__(self, path: Path, descriptor: int, length_bytes: int, count: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._length = length_bytes
        self._count = count

    @classmethod
    def open(cls, path: Path, image_name: str, image_hw: tuple[int, int]) -> tuple[Journal, History]:
        """Open or create the journal of an image, cut off a torn last line, and read it. A link is none.

        Raises:
            SessionFormatError: it is broken, or of an image of another size.
            OutputError: it cannot be written.
        """
        exists = path.is_file() and b"\n" in path.read_bytes()
        history, length = _read(path) if exists else (History(image_hw, image_name), 0)
        if history.image_hw != image_hw:
            (h, w), (want_h, want_w) = history.image_hw, image_hw
            raise SessionFormatError(
                f"{path}: expected the journal of an image of {want_w}x{want_h} px but got one of {w}x{h} px; the "
                f"image was replaced: move the journal away to begin anew."
            )
        make_folder(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINK | getattr(os, "O_BINARY", 0), 0o666)
            if os.fstat(descriptor).st_size != length:  # the file's time says when it was last written to
                os.ftruncate(descriptor, length)
        except OSError as error:
            raise OutputError(write_problem(path, "file", error)) from error
        journal = cls(path, descriptor, length, history.length if exists else 0)
        if not exists:
            size = {"name": image_name, "width": image_hw[1], "height": image_hw[0]}
            journal.append({"journal": JOURNAL_VERSION, "image": size})
            sync_folder(path.parent)
        return journal, history

    @property
    def length_bytes(self) -> int:
        """Of what is on disk and counts; it never shrinks."""
        return self._length

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one line and wait until it is on the disk.

        Raises :class:`OutputError`; the journal then ends where it did before.
        """
        stamp = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({**entry, "n": self._count, "at": stamp}, separators=(",", ":")).encode("ascii") + b"\n"
        try:
            os.lseek(self._descriptor, self._length, os.SEEK_SET)
            written = 0
            while written < len(line):
                written += os.write(self._descriptor, line[written:])
            os.fsync(self._descriptor)
        except OSError as error:
            self._cut()
            raise OutputError(write_problem(self.path, "file", error)) from error
        self._length += len(line)
        self._count += 1

    def _cut(self) -> None:
        with contextlib.suppress(OSError):  # what is left then has no line end, or the next line overwrites it
            os.ftruncate(self._descriptor, self._length)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
