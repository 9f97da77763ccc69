"""The files that the app makes of an image's journal, and whether they hold all of it.

The journal is on disk before anybody is told that something was done; these files are written now and then. A process
that is killed leaves them behind its journal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmms_client.journal import JOURNAL_FILE

SESSION_FILE, JOINT_FILE, RESULTS_FILE = "session.json", "joint.png", ".results.json"
KEPT_FILE = "session.recorded.json"  # a session from before the app, with the clicks that its journal does not have


def made_of(journal_bytes: int, renamed: Mapping[str, str]) -> dict[str, Any]:
    """What is kept beside an image's results to tell whether they are of now: a journal only grows, and a clock may
    be set back. ``renamed`` are the project's classes, old name to new.
    """
    return {"journal_bytes": journal_bytes, "renamed": dict(renamed)}


def recorded_bytes(folder: Path) -> int | None:
    """Of how many bytes of the journal the results in a folder are made; ``None`` if nothing there says it."""
    try:
        length = json.loads((folder / RESULTS_FILE).read_text("utf-8"))["journal_bytes"]
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return None
    return length if isinstance(length, int) and length >= 0 else None


def are_current(folder: Path, renamed: Mapping[str, str]) -> bool:
    """Whether session.json and joint.png are in a folder, and of all that its journal holds."""
    try:
        if not all((folder / name).is_file() for name in (SESSION_FILE, JOINT_FILE)):
            return False
        kept = json.loads((folder / RESULTS_FILE).read_text("utf-8"))
        return bool(kept == made_of((folder / JOURNAL_FILE).stat().st_size, renamed))
    except (OSError, ValueError, RecursionError):
        return False
