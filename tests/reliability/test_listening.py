"""Who listens where: Triton from the launcher, and the app with its metrics. The kernel says it, not our options."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from app_client import AppProcess
from mmms_server.process import ServerProcess

STREET = Path(__file__).resolve().parents[2] / "samples" / "street"
_LISTENING = "0A"  # state in /proc/net/tcp


ENDED = (FileNotFoundError, ProcessLookupError)  # what is read of a thread or process that has just ended


def family_of(pid: int) -> set[int]:
    """A process, and all that it started."""
    found = {pid}
    for task in entries(Path(f"/proc/{pid}/task")):
        with suppress(*ENDED):
            for child in (task / "children").read_text().split():
                found |= family_of(int(child))
    return found


def entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except ENDED:
        return []


def listening(pid: int) -> set[tuple[str, int]]:
    """The addresses and TCP ports at which a process or a child of it takes connections."""
    sockets = set()
    for member in family_of(pid):
        for handle in entries(Path(f"/proc/{member}/fd")):
            with suppress(*ENDED):
                sockets |= set(re.findall(r"socket:\[(\d+)\]", str(handle.readlink())))
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        lines = Path(f"/proc/{pid}/net/{table}")
        for line in lines.read_text().splitlines()[1:] if lines.exists() else ():
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENING and inode in sockets:
                raw, port = local.split(":")
                words = [bytes.fromhex(raw[k : k + 8])[::-1] for k in range(0, len(raw), 8)]
                address = ipaddress.ip_address(socket.inet_ntop(family, b"".join(words)))
                found.add((str(getattr(address, "ipv4_mapped", None) or address), int(port, 16)))
    return found


def test_this_test_sees_what_listens() -> None:
    with socket.create_server(("0.0.0.0", 0)) as everywhere, socket.create_server(("127.0.0.1", 0)) as here:
        assert {everywhere.getsockname(), here.getsockname()} <= listening(os.getpid())


@pytest.mark.server
def test_a_server_of_the_launcher_listens_on_loopback_only(nano_server: ServerProcess) -> None:
    assert nano_server.process is not None
    found = listening(nano_server.process.pid)
    ports = {nano_server.http_port, nano_server.grpc_port, nano_server.metrics_port}
    assert {port for _, port in found} == ports, "and nothing more than these three"
    assert {address for address, _ in found} == {"127.0.0.1"}


@pytest.mark.server
def test_the_app_and_its_metrics_listen_on_loopback_only(nano_server: ServerProcess, tmp_path: Path) -> None:
    arguments = (STREET / "rgb.png", "--out", tmp_path / "out", "--url", nano_server.url)
    with AppProcess(*arguments, "--metrics", "127.0.0.1:0") as app:
        found = listening(app.process.pid)
    assert len(found) == 2 and {address for address, _ in found} == {"127.0.0.1"}
