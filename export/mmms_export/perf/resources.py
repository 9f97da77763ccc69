"""What serving costs besides time: start-up, memory, bytes on the wire, the client's first byte."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmms_client.predictor import Predictor
from mmms_export.perf.rows import Fact
from mmms_export.perf.workload import random_clicks, replay, scene
from mmms_server.process import ServerProcess

_FIRST_BYTE = """
import sys
from mmms_client import TritonPredictor
try:
    TritonPredictor.connect(sys.argv[1], deadline_s=2.0)
except Exception:
    pass
"""


@contextmanager
def started(repository: Path, log: Path, facts: list[Fact], model: str) -> Iterator[ServerProcess]:
    """A server on a repository; the time until all models are ready becomes a fact."""
    began = time.perf_counter()
    with ServerProcess(repository, log) as server:
        facts.append(Fact(model, "server: start until ready", time.perf_counter() - began, "s"))
        yield server


def memory_facts(model: str, server: ServerProcess) -> list[Fact]:
    """Resident memory, in MiB: of the server with the processes of its stages, and of this process."""
    assert server.process is not None
    total = sum(_resident_mib(pid) for pid in _family(server.process.pid))
    return [
        Fact(model, "server: memory with all stages", total, "MiB"),
        Fact(model, "this process: memory (engines of all ways)", _resident_mib(os.getpid()), "MiB"),
    ]


def wire_facts(model: str, predictors: dict[str, Predictor], first_image: int, clicks: int = 8) -> list[Fact]:
    """Bytes that the loopback interface carried per click and direction, request and answer together, by path.

    Other traffic on 127.0.0.1 counts too, so the least of three images is given.
    """
    facts = []
    for offset, (how, predictor) in enumerate(predictors.items()):
        shown = scene(first_image + offset, predictor.contract.modality_names)
        encoded = predictor.encode(shown.image, shown.modalities)
        counts = []
        for image in range(3):
            before = _loopback_bytes()
            replay(predictor, encoded, random_clicks(first_image + image, clicks))
            counts.append((_loopback_bytes() - before) / clicks)
        facts.append(Fact(model, f"wire: KiB per click, {how}", min(counts) / 1024, "KiB"))
    return facts


def first_byte_fact(runs: int = 7) -> Fact:
    """Milliseconds from starting a fresh interpreter to the client's first byte, the median of some runs.

    Measured with a listener of our own that does not answer: what counts is when the client begins to talk.
    """
    spent = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"127.0.0.1:{listener.getsockname()[1]}"
        for _ in range(runs):
            began = time.perf_counter()
            child = subprocess.Popen([sys.executable, "-c", _FIRST_BYTE, url], stderr=subprocess.DEVNULL)
            try:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1)
                    spent.append(1e3 * (time.perf_counter() - began))
            finally:
                child.kill()
                child.wait()
    return Fact("client", "fresh interpreter to the first byte on the wire", statistics.median(spent), "ms")


def _resident_mib(pid: int) -> float:
    """Proportional set size: memory that processes share is counted once in their sum."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    line = next(line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


def _family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text(encoding="ascii", errors="replace").rsplit(")", 1)[1].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, [])
    return found


def _loopback_bytes() -> int:
    """Bytes sent over the loopback interface since it exists."""
    for line in Path("/proc/net/dev").read_text(encoding="ascii").splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "lo":
            return int(rest.split()[8])
    return 0
