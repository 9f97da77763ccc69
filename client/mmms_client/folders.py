"""Files in folders that somebody else filled: a link may lead out of them, and what is called a picture may be a pipe.

A link that stays inside its folder is a file like others, and a folder that was given may be a link itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO

from mmms_client.errors import DataError, ImageReadError


def is_inside(path: str | os.PathLike[str], folder: str | os.PathLike[str]) -> bool:
    """Whether a path, its links followed, lies in a folder. Neither need exist."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def check_inside(path: Path, folder: Path) -> None:
    """Raise :class:`DataError` if a file now lies, through a link, outside the folder in which it was found."""
    if not is_inside(path, folder):
        raise DataError(
            f"Expected {os.fspath(path)!r} inside {os.fspath(folder)!r} but it links elsewhere; copy the file."
        )


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read bytes; nothing that could be waited for.

    Raises ``OSError``, and :class:`ImageReadError` for a pipe, a socket or a device: reading one may never end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImageReadError(
            f"Expected a file but got a pipe, a device or a folder in {os.fspath(path)!r}; give a copy that is a file."
        )
    return os.fdopen(descriptor, "rb")


def files_below(folder: Path, suffixes: Collection[str], notes: list[str], within: Path | None = None) -> list[str]:
    """Paths of files below a folder, in the order in which people count, with forward slashes.

    Hidden ones are left out, and so are links out of the folder, folders that are links, pipes and devices.

    Args:
        folder: where to look; it may be a link.
        suffixes: of the files that are wanted, in lower case.
        notes: gets one line for each reason why files are left out.
        within: a folder around it, into which links may lead, too.
    """
    roots = [os.path.realpath(root) for root in (folder, within) if root is not None]
    found: list[str] = []
    nameless: list[Path] = []
    elsewhere: list[Path] = []
    no_files: list[Path] = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(where) / name for name in files if not name.startswith(".")):
            if path.suffix.lower() not in suffixes:
                continue
            if not is_text(os.fspath(path.relative_to(folder))):
                nameless.append(path)
            elif not any(Path(os.path.realpath(path)).is_relative_to(root) for root in roots):
                elsewhere.append(path)
            elif not path.is_file():
                no_files.append(path)
            else:
                found.append(path.relative_to(folder).as_posix())
    _note(notes, nameless, "its name is not UTF-8, so no session can hold it")
    _note(notes, elsewhere, f"it is a link out of {os.fspath(within or folder)!r}; copy the file to have it")
    _note(notes, no_files, "it is no file")
    return sorted(found, key=_as_counted)


def is_text(name: str) -> bool:
    """Whether a name has whole characters only; file systems may hold others."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _note(notes: list[str], paths: list[Path], reason: str) -> None:
    if not paths:
        return
    first = os.fspath(min(paths))
    name = repr(first) if is_text(first) else repr(os.fsencode(first))
    others = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
    notes.append(f"{name}{others} is left out: {reason}.")


def _as_counted(name: str) -> list[tuple[int, int, str]]:
    """A key that puts ``image 9`` before ``image 10``."""
    words = re.split(r"([0-9]+)", name)
    return [(1, int(word), "") if n % 2 else (0, 0, word) for n, word in enumerate(words)]
