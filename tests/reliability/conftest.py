"""Figures of faults, load and hostile input: counted by the tests, kept where `make reliability` asks for them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmms_client.files import make_folder, write_text_atomically

FOLDER = "MMMS_FIGURES"  # environment: where figures are kept; the short forms of `make test` keep none


@pytest.fixture
def figures() -> Callable[..., None]:
    """``figures("chaos", faults=100, lost=0)`` keeps what a test counted; called last, when all of it held."""

    def keep(topic: str, **counted: Any) -> None:
        folder = os.environ.get(FOLDER)
        if folder:
            make_folder(folder)
            write_text_atomically(Path(folder) / f"{topic}.json", json.dumps(counted, indent=1) + "\n")

    return keep
