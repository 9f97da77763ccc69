"""Shared memory of clients by name: which is still somebody's, and which its owner left behind when it was killed.

Python's resource tracker removes the memory of a process that was killed alone. It is a child in the same process
group, so a closed terminal or Ctrl+\\ ends it together with its parent, and the memory stays until the machine is
started anew. An owner therefore holds a lock on the file of its region, which the system takes back however the
process ends. Unlike its process id it means the same in every container that shares the memory.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: regions have no files there, and go with their last process
    fcntl = None  # type: ignore[assignment,unused-ignore]

REGION_PREFIX, SHM_FOLDER = "mmms-", Path("/dev/shm")
_STARTING_S = 10.0  # a region is made a moment before it is locked


def hold(name: str) -> int | None:
    """Say that a region of this process is in use until the descriptor is closed; ``None`` where regions have no files.

    Raises ``OSError`` if it cannot be said.
    """
    if fcntl is None or not SHM_FOLDER.is_dir():
        return None
    descriptor = os.open(SHM_FOLDER / name, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def remove_orphans(folder: Path = SHM_FOLDER, now_s: float | None = None) -> list[str]:
    """Give back the memory of this user's clients that ended without doing so; returns the names."""
    now_s = time.time() if now_s is None else now_s
    if fcntl is None:
        return []
    return [path.name for path in folder.glob(f"{REGION_PREFIX}*") if _is_ours(path, now_s) and _remove(path)]


def _is_ours(path: Path, now_s: float) -> bool:
    """Whether a file is this user's and not of this moment. Anybody may put anything there."""
    try:
        found = path.lstat()
    except OSError:
        return False
    is_old = abs(now_s - found.st_ctime) > _STARTING_S
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and is_old


def _remove(path: Path) -> bool:
    """Remove a region unless somebody holds it; returns whether it was removed."""
    with contextlib.suppress(OSError):  # in use, or another client was faster
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            return True
        finally:
            os.close(descriptor)
    return False
