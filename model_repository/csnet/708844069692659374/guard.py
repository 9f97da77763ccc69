"""Ends the server when the process of a stage dies, so that whoever started it starts it again.

Triton's python backend runs each stage in a process of its own. When one is killed (the system does that when memory
is short), Triton goes on to say that it is ready, and answers every request with an error, for good. Nobody would start
it again. So each stage has a guard: a small process that does nothing but wait for the end of its stage.

And where the server is killed while it stops, a stage can wait for it for good, with all its memory: the guard ends it.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

GRACE_S = 5.0  # for requests under way; a server with a dead stage never ends its shutdown by itself
READY, DONE = b"r", b"d"


class Guard:
    """Watches over this process from another one. Make it before anything large is in memory: it is a fork."""

    def __init__(self, stage: str) -> None:
        self._pipe: int | None = None
        try:
            server = _open_server()
        except OSError as error:  # no /proc, or a sandbox that forbids it: the stage runs without a guard
            sys.stderr.write(f"mmms: nobody watches over stage {stage}: {error}\n")
            return
        read_end, write_end = os.pipe()
        own = os.pidfd_open(os.getpid())
        if os.fork() == 0:
            try:
                os.close(write_end)
                _watch(stage, server, own, read_end)
            finally:
                os._exit(0)
        os.close(read_end)
        os.close(server)
        os.close(own)
        self._pipe = write_end

    def ready(self) -> None:
        """The stage is loaded: from now on its end is an accident."""
        self._say(READY)

    def done(self) -> None:
        """The stage is unloaded on purpose."""
        self._say(DONE)

    def _say(self, word: bytes) -> None:
        if self._pipe is not None:
            os.write(self._pipe, word)


def _open_server() -> int:
    """The server as a file: unlike its number, that is never another process. Raises ``OSError``."""
    parent = os.getppid()
    name = Path(f"/proc/{parent}/comm").read_text(encoding="utf-8", errors="replace").strip()
    if "tritonserver" not in name or not hasattr(os, "pidfd_open"):
        raise OSError(f"it was not started by tritonserver but by {name}, or this system is too old")
    return os.pidfd_open(parent)


def _watch(stage: str, server: int, own: int, pipe: int) -> None:
    said = b""
    while server not in (ended := select.select([server, pipe], [], [])[0]):
        word = os.read(pipe, 1)
        if not word:
            break
        said += word
    if server in ended:  # the stage sees that, too, and has some time to end by itself
        if not select.select([own], [], [], GRACE_S)[0]:
            sys.stderr.write(f"mmms: the server is gone; stage {stage} waits for it and is ended\n")
            signal.pidfd_send_signal(own, signal.SIGKILL)
        return
    if said != READY:  # it never began, or ended as it should
        return
    sys.stderr.write(f"mmms: the process of stage {stage} has died; the server ends, to be started again\n")
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            signal.pidfd_send_signal(server, number)
        except ProcessLookupError:
            return
        if select.select([server], [], [], GRACE_S)[0]:
            return
