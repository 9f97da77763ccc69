"""``python -m mmms_server.watcher PID``: ends the server PID when whoever started it is gone, however it went.

It reads from a pipe that its parent holds: a byte says that the server was stopped; the pipe's end without one, that
the parent died. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

_GRACE_S = 15.0


def end_when_alone(server: int) -> None:
    """Wait for the parent's word, then end the process ``server`` and its group if there was none."""
    if os.read(sys.stdin.fileno(), 1):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(server, signal.SIGTERM)
        deadline = time.monotonic() + _GRACE_S
        while time.monotonic() < deadline:
            time.sleep(0.1)
            os.kill(server, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server, signal.SIGKILL)


if __name__ == "__main__":
    end_when_alone(int(sys.argv[1]))
