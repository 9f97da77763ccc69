"""Many sessions at once: no error, flat memory, nothing left behind; and a queue that is full says so.

The short form has a few sessions for some seconds; `make load` sets ``MMMS_LOAD=64:600``, sessions and seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from killing import family
from mmms_client import AsyncTritonPredictor, Click, TritonPredictor
from mmms_client.errors import ServerBusyError
from mmms_export.repository import MOST_WAITING
from mmms_server.process import ServerProcess
from served_repositories import REPOSITORY, contract_of

SESSIONS, SECONDS = (int(part) for part in os.environ.get("MMMS_LOAD", "10:8").split(":"))
IS_LONG = SECONDS >= 120  # before that, memory has not settled and says nothing
WARM_UP = 0.3  # share of the time
MOST_GROWTH = 0.05
CACHE_BYTES = 64 << 20
CACHED_IMAGES = CACHE_BYTES // contract_of().features.size_bytes + 1
PROGRAM = Path(__file__).with_name("load_client.py")
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Look:
    """What processes hold at one moment."""

    at_s: float
    server_mib: float
    clients_mib: float
    server_files: int
    clients_files: int


def memory_mib(pids: list[int]) -> float:
    """Proportional set size: what processes share is counted once."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += int(next(line for line in text.splitlines() if line.startswith("Pss:")).split()[1])
    return total / 1024


def open_files(pids: list[int]) -> int:
    count = 0
    for pid in pids:
        try:
            count += sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except OSError:
            continue
    return count


def regions(pids: list[int]) -> set[str]:
    """Names of the shared memory that processes have open; other servers may run on this machine."""
    found: set[str] = set()
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        except OSError:
            continue
        found |= {line.rpartition("/")[2].split()[0] for line in lines if f" {SHARED_MEMORY}/" in line}
    return found


class Load:
    """Clients as processes, by all paths of the features, and looks at them and at the server while they work."""

    def __init__(self, server: ServerProcess, sessions: int, seconds: int) -> None:
        assert server.process is not None
        self.server, self.server_pid = server, server.process.pid
        shares = {"ensemble": sessions - 2 * (sessions // 5), "shared-memory": sessions // 5, "plain": sessions // 5}
        self.clients = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), server.url, features, str(share), str(seconds), str(1000 * number)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number, (features, share) in enumerate(shares.items())
        ]
        self.looks: list[Look] = []

    def run(self) -> list[dict[str, Any]]:
        began_s = time.monotonic()
        while all(client.poll() is None for client in self.clients):
            server, clients = family(self.server_pid), [client.pid for client in self.clients]
            self.looks.append(
                Look(
                    time.monotonic() - began_s,
                    memory_mib(server),
                    memory_mib(clients),
                    open_files(server),
                    open_files(clients),
                )
            )
            time.sleep(1.0)
        return [json.loads(client.communicate(timeout=300)[0]) for client in self.clients]

    def growth(self, value: Callable[[Look], float]) -> float:
        """From the first fifth after the warm-up to the last fifth, as a share."""
        end_s = min(self.looks[-1].at_s, SECONDS)
        settled = [look for look in self.looks if WARM_UP * end_s <= look.at_s <= end_s]
        fifth = max(1, len(settled) // 5)
        first, last = (median(map(value, part)) for part in (settled[:fifth], settled[-fifth:]))
        return last / first - 1.0

    def curve(self) -> list[dict[str, int]]:
        """Memory and open files, eleven times from beginning to end."""
        seen = [look for look in self.looks if look.at_s <= SECONDS]
        chosen = [seen[round(n * (len(seen) - 1) / 10)] for n in range(11)]
        return [{name: round(value) for name, value in asdict(look).items()} for look in chosen]

    def kill(self) -> None:
        for client in self.clients:
            client.kill()
            client.communicate()


@pytest.mark.timeout(SECONDS + 600)
def test_many_sessions_cost_no_error_and_leave_nothing_behind(
    server_extra: None, tmp_path: Path, figures: Callable[..., None]
) -> None:
    # a small cache, full before the clients come: what grows after that is a leak
    arguments = [f"--cache-config=local,size={CACHE_BYTES}"]
    with ServerProcess(REPOSITORY, tmp_path / "log", arguments) as server:
        with TritonPredictor.connect(server.url, "ensemble", 120.0) as predictor:
            for shade in range(CACHED_IMAGES if IS_LONG else 1):
                predictor.encode(np.full((40, 50, 3), shade, np.uint8))
        assert server.process is not None
        files, held = open_files(family(server.process.pid)), regions(family(server.process.pid))
        assert len(held) >= 3, "the server shares memory with its stages"
        load = Load(server, SESSIONS, SECONDS)
        try:
            said = load.run()
        finally:
            load.kill()
        errors = [error for one in said for error in one["errors"]]
        assert not errors, errors[:3]
        clicks = sum(one["clicks"] for one in said)
        assert clicks > 3 * SESSIONS and all(client.returncode == 0 for client in load.clients)
        assert regions(family(server.process.pid)) == held, "nothing of the clients' is left in the server"
        assert not list(SHARED_MEMORY.glob(f"mmms-{load.clients[1].pid}-*"))
        check_files_are_closed(server, files)
    left = [name for name in held if (SHARED_MEMORY / name).exists()]
    assert not left, "a server that is stopped gives its shared memory back"
    grown = {
        "server": load.growth(lambda look: look.server_mib),
        "clients": load.growth(lambda look: look.clients_mib),
    }
    if IS_LONG:
        assert max(grown.values()) < MOST_GROWTH, grown
        assert load.growth(lambda look: look.server_files + look.clients_files) <= 0.02
    figures(
        "load",
        sessions=SESSIONS,
        seconds=SECONDS,
        clicks=clicks,
        images=sum(one["images"] for one in said),
        errors=len(errors),
        longest_click_s=round(max(one["longest_s"] for one in said), 2),
        server_mib=round(load.looks[-2].server_mib),
        clients_mib=round(load.looks[-2].clients_mib),
        server_growth_percent=round(100 * grown["server"], 2),
        clients_growth_percent=round(100 * grown["clients"], 2),
        over_time=load.curve(),
    )


def check_files_are_closed(server: ServerProcess, files: int) -> None:
    """Connections that clients closed are closed by the server, too."""
    assert server.process is not None
    deadline_s = time.monotonic() + 20
    while (now := open_files(family(server.process.pid))) > files + 8:
        assert time.monotonic() < deadline_s, f"{files} open files before, {now} after"
        time.sleep(0.5)


# Queues that end ----------------------------------------------------------------------------------------
@pytest.fixture
def narrow_server(server_extra: None, tmp_path: Path) -> Any:
    """The committed repository with room for three waiting clicks."""
    import shutil

    shutil.copytree(REPOSITORY, tmp_path / "narrow")
    config = tmp_path / "narrow/csnet/config.pbtxt"
    wide = f"max_queue_size: {MOST_WAITING['csnet']}"
    assert config.read_text().count(wide) == 1
    config.write_text(config.read_text().replace(wide, "max_queue_size: 3"))
    with ServerProcess(tmp_path / "narrow", tmp_path / "log") as server:
        yield server


def test_a_full_queue_says_busy_and_clients_that_wait_are_all_answered(narrow_server: ServerProcess) -> None:
    image, clicks = np.zeros((40, 50, 3), np.uint8), [Click(float(n), 5.0) for n in range(24)]

    async def ask(patience_s: float) -> list[Any]:
        async with await AsyncTritonPredictor.connect(narrow_server.url, patience_s=patience_s) as predictor:
            encoded = await predictor.encode(image)
            transport, version = predictor.transport, str(contract_of().model_version)
            if patience_s:
                return await asyncio.gather(*(predictor.predict(encoded, [click]) for click in clicks))
            tensors = [click_tensors(predictor, encoded, click) for click in clicks]
            return await asyncio.gather(
                *(
                    transport.infer("mmms", one, ("mask",), encoded.payload.prepared, 30.0, "", version)
                    for one in tensors
                ),
                return_exceptions=True,
            )

    hasty = asyncio.run(ask(0.0))
    busy = [answer for answer in hasty if isinstance(answer, BaseException)]
    assert busy and len(busy) < len(hasty) and {type(error) for error in busy} == {ServerBusyError}
    assert str(busy[0]).endswith("its queue is full; try again in a moment.")
    answers = asyncio.run(ask(60.0))
    with TritonPredictor.connect(narrow_server.url, "ensemble") as predictor:
        encoded = predictor.encode(image)
        for click, answer in zip(clicks, answers, strict=True):
            assert np.array_equal(answer, predictor.predict(encoded, [click]))


def click_tensors(predictor: AsyncTritonPredictor, encoded: Any, click: Click) -> dict[str, Any]:
    from mmms_client.predictor import click_inputs

    return click_inputs(predictor.contract, encoded.frame, [click], None)
