"""Memory that a client shares with a server: only when asked for, its owner's only, and given back."""

from __future__ import annotations

import gc
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from mmms_client import Click, TritonPredictor, regions, triton
from mmms_client.triton import TritonTransport
from mmms_server.process import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
STREET = ROOT / "samples" / "street"
MEMORY = Path("/dev/shm")

pytestmark = pytest.mark.server


def ours(process: int | None = None) -> set[str]:
    """Regions of a client process on this machine; this one by default."""
    return {path.name for path in MEMORY.glob(f"mmms-{process or os.getpid()}-*")}


def registered(server: ServerProcess) -> set[str]:
    """The regions that the server knows."""
    transport = TritonTransport(server.url)
    try:
        return set(transport._client.get_system_shared_memory_status(as_json=True).get("regions", {}))
    finally:
        transport.close()


def image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def test_by_default_no_client_shares_memory(nano_server: ServerProcess, tmp_path: Path) -> None:
    before = ours()
    with TritonPredictor.connect(nano_server.url) as predictor:
        predictor.predict(predictor.encode(image(1)), [Click(5, 5)])
        assert ours() == before and registered(nano_server) == set()
    street = [STREET / "rgb.png", "--clicks", STREET / "session.json", "--modalities=", "--out", tmp_path]
    command = [sys.executable, "-m", "mmms_client", "annotate", *street, "--url", nano_server.url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
        while client.poll() is None:
            assert ours(client.pid) == set() and registered(nano_server) == set()
            time.sleep(0.05)
    assert client.returncode == 0 and (tmp_path / "joint.png").is_file()


def test_what_was_asked_for_is_its_owners_and_given_back(nano_server: ServerProcess) -> None:
    before = ours()
    with TritonPredictor.connect(nano_server.url, features="shared-memory") as predictor:
        first, second = predictor.encode(image(1)), predictor.encode(image(2))
        new = ours() - before
        assert len(new) == 2 and registered(nano_server) == new
        for name in new:
            file = (MEMORY / name).stat()
            assert stat.S_IMODE(file.st_mode) == 0o600, "nobody else on this machine reads the features"
            assert file.st_size >= predictor.contract.features.size_bytes
        assert predictor.predict(first, [Click(5, 5)]).shape == predictor.predict(second, [Click(5, 5)]).shape
        del first
        gc.collect()
        assert len(ours() - before) == 1 == len(registered(nano_server)), "an image that nobody holds any more"
    assert ours() == before and registered(nano_server) == set()


CLIENT = """
import sys, time, numpy as np
from mmms_client import TritonPredictor
predictor = TritonPredictor.connect(sys.argv[1], features="shared-memory")
encoded = predictor.encode(np.zeros((48, 64, 3), np.uint8))
print("encoded", flush=True)
time.sleep(600)
"""


def test_what_a_closed_terminal_leaves_is_given_back_by_the_next_client(
    nano_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole process group is gone, and with it Python's own process for that. What lives is left alone."""
    monkeypatch.setattr(regions, "_STARTING_S", 0.0)
    command = [sys.executable, "-c", CLIENT, nano_server.url]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) for _ in range(2)]
    try:
        for client in clients:
            assert client.stdout is not None and client.stdout.readline() == b"encoded\n"
        (lost,), (living,) = ours(clients[0].pid), ours(clients[1].pid)
        os.killpg(clients[0].pid, signal.SIGKILL)
        clients[0].wait()
        assert ours(clients[0].pid) == {lost}
        before = ours()
        with TritonPredictor.connect(nano_server.url, features="shared-memory") as predictor:
            encoded = predictor.encode(image(4))
            assert ours(clients[0].pid) == set() and ours(clients[1].pid) == {living}
            assert registered(nano_server) == (ours() - before) | {living}
            del encoded
    finally:
        for client in clients:
            if client.poll() is None:
                client.terminate()
            client.wait()
            assert client.stdout is not None
            client.stdout.close()


def test_only_unheld_memory_of_this_user_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "SHM_FOLDER", tmp_path)
    for name in ("mmms-1-a", "mmms-1-b", "somebody-elses"):
        (tmp_path / name).write_bytes(bytes(9))
    (tmp_path / "mmms-1-link").symlink_to(tmp_path / "somebody-elses")
    os.mkfifo(tmp_path / "mmms-1-pipe")
    held = regions.hold("mmms-1-b")
    assert held is not None
    assert regions.remove_orphans(tmp_path) == [], "of this moment: somebody may be starting"
    assert regions.remove_orphans(tmp_path, time.time() + 60) == ["mmms-1-a"]
    os.close(held)
    assert regions.remove_orphans(tmp_path, time.time() + 60) == ["mmms-1-b"]
    assert {path.name for path in tmp_path.iterdir()} == {"somebody-elses", "mmms-1-link", "mmms-1-pipe"}


def too_late(*_: object, **__: object) -> None:
    """What a client gets that waited for five seconds; a server that is stopped so long may still answer after it."""
    raise InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED")


@pytest.mark.parametrize("then", ["another image", "the end"])
def test_what_a_busy_server_does_not_give_back_in_time_is_asked_for_again(
    nano_server: ServerProcess, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    before = ours()
    with TritonPredictor.connect(nano_server.url, features="shared-memory") as predictor:
        first = predictor.encode(image(1))
        (name,) = ours() - before
        monkeypatch.setattr(predictor.transport._client, "unregister_system_shared_memory", too_late)
        del first
        gc.collect()
        monkeypatch.undo()
        assert registered(nano_server) == {name}, "the server was too late"
        if then == "another image":
            second = predictor.encode(image(2))
            assert registered(nano_server) == ours() - before and name not in registered(nano_server)
            del second
    assert ours() == before and registered(nano_server) == set()


def test_a_server_that_is_too_busy_for_shared_memory_is_waited_for(
    nano_server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not one that takes none."""
    assert nano_server.process is not None
    monkeypatch.setattr(triton, "_PROBE_TIMEOUT_S", 0.5)
    with TritonPredictor.connect(nano_server.url, features="shared-memory") as predictor:
        timer = threading.Timer(2.0, nano_server.process.send_signal, [signal.SIGCONT])
        nano_server.process.send_signal(signal.SIGSTOP)
        timer.start()
        try:
            predictor.encode(image(3))
        finally:
            timer.join()
    assert registered(nano_server) == set()


def test_what_the_server_shares_with_its_models_is_its_owners(nano_server: ServerProcess) -> None:
    """Images and masks of everybody pass through it."""
    assert nano_server.process is not None
    maps = Path(f"/proc/{nano_server.process.pid}/maps").read_text()
    regions = {Path(found) for found in re.findall(r"/dev/shm/\S+", maps)}
    assert len(regions) >= 3, "of backbone, fuser and csnet"
    assert {stat.S_IMODE(region.stat().st_mode) for region in regions} == {0o600}
