"""Every room of the tests, each in a process of its own: `python tests/rooms.py [PYTEST ARGUMENTS]`.

gRPC, torch, OpenVINO, TensorRT and a browser's driver in one process have crashed it. Rooms without a server or a
browser wait for nobody: two of them run at a time, one thread each, and what they print comes when they are done. The
others have the machine to themselves. All rooms run, whatever fails; the exit code is 1 if one failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).resolve().parent
CALM = ("training", "export", "client", "eval")  # the longest first
NO_TESTS = 5  # what pytest exits with where every test was deselected


def command(room: str, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-X", "faulthandler", "-m", "pytest", *arguments, str(TESTS / room)]


def alone(room: str, arguments: Sequence[str]) -> int:
    """Run a room; returns what pytest exits with."""
    print(f"== {room}", flush=True)
    return subprocess.run(command(room, arguments)).returncode


def beside_another(room: str, arguments: Sequence[str]) -> int:
    """The same, for a room that shares the machine."""
    began_s = time.monotonic()
    with tempfile.TemporaryFile() as output:
        one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
        code = subprocess.run(command(room, arguments), stdout=output, stderr=output, env=one_thread).returncode
        output.seek(0)
        text = output.read().decode("utf-8", "replace")
    print(f"== {room}, beside another room, {time.monotonic() - began_s:.0f} s\n{text}", flush=True)
    return code


def main(arguments: Sequence[str]) -> int:
    rooms = sorted(folder.name for folder in TESTS.iterdir() if any(folder.rglob("test_*.py")))
    with ThreadPoolExecutor(2) as pool:
        calm = {room: pool.submit(beside_another, room, arguments) for room in CALM}
        codes = {room: future.result() for room, future in calm.items()}
    codes |= {room: alone(room, arguments) for room in rooms if room not in CALM}
    failed = [room for room, code in codes.items() if code not in (0, NO_TESTS)]
    print(f"failed: {', '.join(failed)}" if failed else "all rooms passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
