"""What tests compare of the files that the benchmark writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def comparable(json_file: Path) -> dict[str, Any]:
    """What two runs share: all but the time of day and how long it took."""
    document: dict[str, Any] = json.loads(json_file.read_text())
    del document["created_utc"]
    for evaluation in document["evaluations"]:
        del evaluation["timing"]
    return document
