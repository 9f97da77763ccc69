"""Nothing calls out: not on import, not at work. The kernel counts, so that C libraries and children are seen, too."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import no_network
from no_network import OtherMachineError

ROOT = Path(__file__).resolve().parents[2]
OFFLINE = Path(__file__).with_name("offline.py")
ELSEWHERE = "192.0.2.1"  # an address of documentation: nobody's
EVERY_MODULE = """
import importlib, pkgutil
for name in ("mmms_client", "mmms_eval", "mmms_training", "mmms_export", "mmms_server"):
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(package.__path__, name + "."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
import sys, onnxruntime, transformers, skimage, torch.utils.tensorboard  # what they load when they need it
from mmms_export.engines import cpu_precisions
cpu_precisions()  # OpenVINO's import tells a service of analytics, if it is let
sys.stdout.write(" ".join(sys.modules))
"""


def offline(*command: str, timeout_s: float = 120) -> tuple[subprocess.CompletedProcess[str], int]:
    """A command without any network but loopback, and how often it or a child of it wanted another."""
    done = subprocess.run(
        [sys.executable, str(OFFLINE), *command], cwd=ROOT, capture_output=True, text=True, timeout=timeout_s
    )
    if "allow user namespaces" in done.stderr:
        pytest.skip(done.stderr.strip())
    counted = re.search(r"attempts to leave: (\d+)\n$", done.stderr)
    assert counted, done.stderr
    return done, int(counted[1])


def test_importing_every_module_calls_nobody() -> None:
    done, tried = offline(sys.executable, "-c", EVERY_MODULE)
    assert done.returncode == 0 and tried == 0, done.stderr
    assert {"torch", "transformers", "openvino", "onnxruntime", "grpc", "aiohttp"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    "attempt",
    [
        f"socket.create_connection(('{ELSEWHERE}', 80), 5)",
        f"socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('{ELSEWHERE}', 53))",
        f"os.system('{sys.executable} -c \"import socket; socket.create_connection((\\'{ELSEWHERE}\\', 80), 5)\"')",
        f"import grpc; grpc.channel_ready_future(grpc.insecure_channel('{ELSEWHERE}:80')).result(3)",
    ],
)
def test_an_attempt_is_seen_even_if_its_error_is_swallowed(attempt: str) -> None:
    done, tried = offline(sys.executable, "-c", f"import os, socket\ntry: {attempt}\nexcept Exception: pass")
    assert tried >= 1 and done.returncode == 3


def test_loopback_is_there() -> None:
    listening = "s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname())"
    assert offline(sys.executable, "-c", f"import socket; {listening}")[1] == 0


@pytest.mark.slow
@pytest.mark.server
def test_server_client_and_bench_work_and_call_nobody(server_extra: None, figures) -> None:
    """`make demo` from the server's start to the benchmark's end."""
    done, tried = offline(sys.executable, "samples/demo.py", timeout_s=280)
    assert done.returncode == 0 and tried == 0, done.stdout + done.stderr
    figures("network-demo", attempts_to_leave=tried)


def test_every_test_process_is_watched() -> None:
    """The first of two nets: it sees Python's own sockets only, but in every test."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        for attempt in (
            lambda: socket.create_connection((ELSEWHERE, 80), 1),
            lambda: socket.getaddrinfo("example.org", 80),
            lambda: datagrams.sendto(b"x", (ELSEWHERE, 53)),
        ):
            with pytest.raises(OtherMachineError, match="Expected no test to leave this machine"):
                attempt()
    assert len(no_network.tried) == 3
    no_network.tried.clear()
    for here in ("localhost", "127.0.0.9", "::1", b"127.0.0.1", "app.localhost", 5):
        assert no_network.is_here(here)
    for there in ("10.0.0.1", "fe80::1%eth0", "example.org", "127.0.0.1.example.org", "169.254.169.254"):
        assert not no_network.is_here(there)
