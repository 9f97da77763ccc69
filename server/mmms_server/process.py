"""A Triton server as a child process, for the demo, the tests and the performance tables. Standard library only.

It does not outlive the process that started it, not even one that was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

_STOP_GRACE_S = 15.0
_LOG_TAIL = 15  # lines of the server's log in an error


class ServerStartError(Exception):
    """The server ended, or was not ready in time; the message holds the end of its log."""


class ServerProcess:
    """Starts the launcher on free ports of 127.0.0.1 and stops it again. Use it as a context manager."""

    def __init__(self, repository: Path, log: Path, arguments: Sequence[str] = ()) -> None:
        self.repository = repository
        self.log = log
        self.arguments = list(arguments)
        self.http_port, self.grpc_port, self.metrics_port = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """``host:port`` of the gRPC port."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def start(self, timeout_s: float = 120.0) -> ServerProcess:
        """Start and wait until every model is ready. Raises :class:`ServerStartError`."""
        command = [
            sys.executable,
            "-m",
            "mmms_server.launcher",
            f"--model-repository={self.repository}",
            f"--http-port={self.http_port}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-port={self.metrics_port}",
            "--exit-timeout-secs=5",
            *self.arguments,
        ]
        with self.log.open("wb") as handle:
            self.process = subprocess.Popen(command, stdout=handle, stderr=handle, start_new_session=True)
        self._watch()
        deadline = time.monotonic() + timeout_s
        while not self.is_ready():
            code = self.process.poll()
            if code is not None:
                self.stop()
                raise ServerStartError(f"the server ended with code {code}:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.stop()
                raise ServerStartError(f"the server was not ready within {timeout_s:g} s:\n{self.log_tail()}")
            time.sleep(0.1)
        return self

    def is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.http_url}/v2/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL to the server itself, as a crash would; its stubs notice and end."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self._stop_watching()

    def stop(self) -> None:
        """End the server and everything it started."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_GRACE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)  # stubs that outlived it
        self.process.wait()
        self.process = None
        self._stop_watching()

    def _watch(self) -> None:
        assert self.process is not None
        self._stop_watching()
        command = [sys.executable, "-m", "mmms_server.watcher", str(self.process.pid)]
        self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def _stop_watching(self) -> None:
        if self._watcher is not None:
            self._watcher.communicate(b".")
            self._watcher = None

    def log_tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL:])

    def __enter__(self) -> ServerProcess:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()
