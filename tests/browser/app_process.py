"""The app as a child process, as a person starts it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

START_S = 60.0


class AppProcess:
    """``mmms-client annotate ... --no-browser`` on a free port. Use it as a context manager.

    With ``browser``, a program, the app starts that one as the browser.
    """

    def __init__(
        self, out: Path, url: str, arguments: Sequence[str], port: int = 0, browser: Path | None = None
    ) -> None:
        self.browser = browser
        self.out, self.url, self.arguments, self.port = out, url, list(arguments), port
        self.log = out.parent / f"{out.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ""

    def __enter__(self) -> AppProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start it and read the address that it prints."""
        command = [sys.executable, "-m", "mmms_client", "annotate", *self.arguments]
        command += [] if self.browser else ["--no-browser"]
        command += ["--out", str(self.out), "--url", self.url, "--port", str(self.port)]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.browser:
            environment["BROWSER"] = str(self.browser)
        with self.log.open("wb") as handle:
            self.process = subprocess.Popen(command, stdout=handle, stderr=handle, env=environment)
        deadline = time.monotonic() + START_S
        while not self.address:
            lines = self.log.read_text(errors="replace").splitlines()
            self.address = next((line[5:] for line in lines if line.startswith("open http")), "")
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("the app did not start:\n" + "\n".join(lines))
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as a crash or a power cut would end it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.address = ""

    def stop(self) -> None:
        """As Ctrl+C does."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.address = ""
