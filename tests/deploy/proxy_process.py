"""The real nginx with the shipped configuration, on free ports of 127.0.0.1, with a certificate of its own."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Any

from mmms_client.endpoint import Endpoint
from mmms_client.triton import TritonTransport
from mmms_server.process import free_ports

PROXY = Path(__file__).resolve().parents[2] / "deploy" / "proxy"
TOKEN = "t0ken-of-the-Tests_0123456789abcdef"
_PATIENCE_S = 15.0


def nginx() -> str | None:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/sbin")


def make_certificate(folder: Path, names: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=mmms tests", "-addext", f"subjectAltName={names}"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key


class ProxyProcess:
    """Use it as a context manager."""

    def __init__(self, folder: Path, servers: Sequence[str]) -> None:
        self.folder = folder
        self.port, self.health_port = free_ports(2)
        self.certificate, self.key = make_certificate(folder)
        (folder / "tokens").mkdir()
        (folder / "tokens" / "tests.conf").write_text(f'"~^Bearer {TOKEN}$" "tests";\n')
        self.token_file = folder / "token"
        self.token_file.write_text(TOKEN)
        self.log = folder / "access.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.write(servers)

    @property
    def url(self) -> str:
        return f"grpcs://127.0.0.1:{self.port}"

    def write(self, servers: Sequence[str]) -> None:
        """The configuration for these servers, ``host:port``."""
        values = {
            "MMMS_LISTEN": f"127.0.0.1:{self.port}",
            "MMMS_HEALTH": f"127.0.0.1:{self.health_port}",
            "MMMS_CERTIFICATE": str(self.certificate),
            "MMMS_KEY": str(self.key),
            "MMMS_TOKENS": str(self.folder / "tokens"),
            "MMMS_SERVERS": "\n".join(f"server {server} max_fails=1 fail_timeout=2s;" for server in servers),
            "MMMS_RESOLVER": "",
            "MMMS_STATE": str(self.folder),
            "MMMS_LOG": str(self.log),
        }
        text = Template((PROXY / "nginx.conf.template").read_text()).safe_substitute(values)
        assert "${" not in text
        (self.folder / "nginx.conf").write_text(text)

    def command(self, *more: str) -> list[str]:
        program = nginx()
        assert program is not None
        return [program, "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), "-e", "stderr", *more]

    def reload(self, servers: Sequence[str]) -> None:
        """Other servers, without a connection lost; returns when the new workers answer."""
        self.write(servers)
        before = self._workers()
        subprocess.run(self.command("-s", "reload"), check=True, capture_output=True)
        self._wait(lambda: bool(self._workers() - before) and all(_is_leaving(worker) for worker in before))

    def lines(self) -> list[dict[str, Any]]:
        """The access log."""
        whole = self.log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def points(self, keys: Sequence[str]) -> list[str]:
        """The server to which requests with each key go, by the address in the log of a request that costs nothing."""
        endpoint = Endpoint.parse(self.url, str(self.certificate), str(self.token_file))
        transport, seen = TritonTransport(endpoint), len(self.lines())
        for key in keys:
            transport.statistics("mmms", key)
        transport.close()
        found: dict[str, str] = {}

        def is_logged() -> bool:
            for line in self.lines()[seen:]:
                if line["method"].endswith("/ModelStatistics"):
                    found[line["image_key"]] = line["server"].split(", ")[-1]
            return found.keys() >= set(keys)

        self._wait(is_logged)
        return [found[key] for key in keys]

    def owner_of(self, key: str) -> str:
        return self.points([key])[0]

    def until_owner(self, key: str, server: str) -> None:
        """Wait until an image is a server's, such as one that came back."""
        self._wait(lambda: self.owner_of(key) == server)

    def __enter__(self) -> ProxyProcess:
        with (self.folder / "nginx.log").open("wb") as log:
            self.process = subprocess.Popen(
                self.command("-g", "daemon off;"), stdout=log, stderr=log, start_new_session=True
            )
        self._wait(self._answers)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(_PATIENCE_S)

    def _answers(self) -> bool:
        context = ssl.create_default_context(cafile=str(self.certificate))
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            return True
        return False

    def _workers(self) -> set[str]:
        assert self.process is not None
        return set(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())

    def _wait(self, is_so: Callable[[], bool]) -> None:
        assert self.process is not None
        until_s = time.monotonic() + _PATIENCE_S
        while not is_so():
            log = (self.folder / "nginx.log").read_text()
            assert self.process.poll() is None and time.monotonic() < until_s, f"nginx:\n{log}"
            time.sleep(0.05)


def _is_leaving(worker: str) -> bool:
    """Whether a worker takes no new connections any more."""
    try:
        return b"shutting down" in Path(f"/proc/{worker}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True
