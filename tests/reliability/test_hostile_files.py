"""Files made to harm: no reader falls over, takes memory for what is only declared, runs anything, or writes elsewhere.

``MMMS_FUZZ`` is the number of hostile files per reader (``make fuzz`` takes 10,000), ``MMMS_FUZZ_SEED`` another draw.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
COUNT = int(os.environ.get("MMMS_FUZZ", "15"))
SEED = os.environ.get("MMMS_FUZZ_SEED", "0")
ROOMS = ("client", "eval", "training", "server")
WAIT_S = 280 if COUNT < 100 else 6 * 3600


class Feeding:
    """``fuzz_readers.py`` for one room: a process of its own, which a reader may end."""

    def __init__(self, room: str, folder: Path, *more: str) -> None:
        self.room, self.found, self.log = room, folder / f"{room}.json", folder / f"{room}.log"
        command = [sys.executable, "fuzz_readers.py", room, "--out", str(self.found), "--seed", SEED, *more]
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(command, cwd=HERE, stdout=stream, stderr=stream, env=_environment())

    def counts(self, kind: str) -> dict[str, Any]:
        """``bombs`` or ``files`` by reader, when it is over; fails with what it said if it did not end well."""
        code = self.process.wait(WAIT_S)
        assert code == 0, f"the {self.room} readers ended the process with {code}: {self.log.read_text()[-6000:]}"
        found: dict[str, Any] = json.loads(self.found.read_text())[kind]
        faults = [f"{name}: {row['fault']} {row.get('input', '')}" for name, row in found.items() if "fault" in row]
        assert not faults, "\n\n".join(faults)
        assert found
        return found

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}


def rooms() -> list[str]:
    """Those whose programs are installed here."""
    return [room for room in ROOMS if room != "training" or importlib.util.find_spec("torch")]


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Feeding]]:
    """All rooms at once."""
    folder = tmp_path_factory.mktemp("fuzz")
    running = {room: Feeding(room, folder, "--count", str(COUNT)) for room in rooms()}
    yield running
    for feeding in running.values():
        feeding.stop()


@pytest.mark.timeout(0 if COUNT >= 100 else 300)
@pytest.mark.parametrize("room", rooms())
def test_damaged_files_are_read_or_refused_in_one_line(room: str, fed: dict[str, Feeding], figures: Any) -> None:
    counts = fed[room].counts("files")
    inputs = {name: row["inputs"] for name, row in counts.items()}
    assert min(inputs.values()) > COUNT // 2, "hypothesis ran out of different files"
    assert all(row["read"] + row["refused"] == row["inputs"] for row in counts.values())
    figures(
        f"hostile-files-{room}",
        readers=len(counts),
        inputs=sum(inputs.values()),
        least_inputs_per_reader=min(inputs.values()),
        refused=sum(row["refused"] for row in counts.values()),
        crashes=0,
        seed=SEED,
    )


@pytest.mark.timeout(0 if COUNT >= 100 else 300)
@pytest.mark.parametrize("room", rooms())
def test_files_that_stand_for_gigabytes_are_refused(room: str, fed: dict[str, Feeding], figures: Any) -> None:
    """In 400 MB of memory and 10 s each; pickles among them that would write a file."""
    counts = fed[room].counts("bombs")
    assert not list(HERE.glob("mark-of-*")), "a pickle was run"
    figures(f"hostile-bombs-{room}", bombs=sum(row["inputs"] for row in counts.values()), harm=0)
