"""Writing result files so that a reader never sees half of one.

A file appears under its name only when all of its bytes are on disk: they go to a temporary file in the same
folder, which then takes the name in one step. A crash, a full disk or Ctrl+C leaves the old file, or none.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import secrets
from pathlib import Path

from PIL import Image

from mmms_client.errors import OutputError
from mmms_client.folders import is_inside

_ADVICE = {
    errno.ENOSPC: "free some space there or choose another folder",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f) or choose another folder",
    errno.EDQUOT: "free some of your quota there or choose another folder",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.EROFS: "choose a folder that is not read-only",
    errno.ENOENT: "create the folder first",
    errno.ENOTDIR: "choose a path whose parent is a folder",
    errno.EISDIR: "give a file name, not a folder",
    errno.ELOOP: "remove the link",
    errno.EEXIST: "remove what lies there or choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # where the system has no such flag, check_result alone sees links
_DRAFT_BYTES, _DRAFT_SUFFIX = 8, ".part"


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create a folder with its parents; one that exists is fine. Raises :class:`OutputError`."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(write_problem(folder, "folder", error)) from error
    return folder


def write_bytes_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the file at ``path`` by ``data``, all or nothing.

    Raises :class:`OutputError` naming the file, the system's reason and what to do; an older file of that
    name is then still whole, and no temporary file is left.
    """
    target = Path(os.path.realpath(path))  # a link keeps pointing where it did
    if target.is_dir():
        raise OutputError(write_problem(path, "file", IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))))
    draft = target.with_name(f".{secrets.token_hex(_DRAFT_BYTES)}{_DRAFT_SUFFIX}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            draft.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise
    except OSError as error:
        raise OutputError(write_problem(path, "file", error)) from error
    sync_folder(target.parent)


def write_inside(root: Path, path: Path, data: bytes) -> None:
    """Like :func:`write_bytes_atomically`, for a result below ``root``: its folder is made, and no link leads out.

    Raises :class:`OutputError`.
    """
    check_result(path, root)
    make_folder(path.parent)
    write_bytes_atomically(path, data)


def check_result(path: Path, root: Path) -> None:
    """Raise :class:`OutputError` if a file to be written below ``root`` lies, through a link, outside of it.

    A folder of results may come from somebody else; ``root`` itself may be a link, as it was given by a person.
    """
    if not is_inside(path, root):
        raise OutputError(
            f"Expected to write the file {os.fspath(path)!r} inside {os.fspath(root)!r} but it links to "
            f"{os.path.realpath(path)!r}; remove the link."
        )


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Like :func:`write_bytes_atomically`, in UTF-8 with the line ends as given."""
    write_bytes_atomically(path, text.encode("utf-8"))


def write_png_atomically(path: str | os.PathLike[str], picture: Image.Image) -> None:
    """Like :func:`write_bytes_atomically`, with the picture coded as PNG in its own mode."""
    write_bytes_atomically(path, png_bytes(picture))


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def path_from(folder: Path, path: str | os.PathLike[str]) -> str:
    """``path`` as seen from ``folder``, with forward slashes; absolute where there is no way between them."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive
        return Path(path).absolute().as_posix()


def remove_drafts(folder: Path) -> None:
    """Remove what a process that was killed had begun to write below ``folder``. Nobody may be writing there."""
    for draft in folder.rglob(f".{_DRAFT_BYTES * 2 * '[0-9a-f]'}{_DRAFT_SUFFIX}"):
        with contextlib.suppress(OSError):
            draft.unlink()


def sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_problem(path: str | os.PathLike[str], kind: str, error: OSError) -> str:
    """The line of an :class:`OutputError` for what the system said when a file or folder was written."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "choose another place")
    return f"Expected to write the {kind} {os.fspath(path)!r} but got {reason!r}; {advice}."
