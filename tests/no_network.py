"""No test speaks to another machine: Python's own sockets are watched in every test process (``conftest.py``).

What libraries in C and child processes do is seen by ``reliability/offline.py`` instead.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from typing import Any

tried: list[str] = []  # what was asked for, since somebody cleared it
_OWN_NAMES = {"localhost", "", "0.0.0.0", "::", socket.gethostname()}
_SENDING = ("socket.connect", "socket.sendto", "socket.sendmsg")  # with a socket and an address
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname")


class OtherMachineError(ConnectionError):
    """A test, or what it tests, wanted to speak to another machine."""


def watch() -> None:
    """From now on, to the end of this process. There is no way to take an audit hook off."""
    with contextlib.suppress(OSError):  # the app must not listen there, which a test asks
        _OWN_NAMES.add(socket.gethostbyname(socket.gethostname()))
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _SENDING:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) and address else None  # text or bytes: a path on this machine
    elif event in _LOOKUPS:
        host = arguments[0]
    else:
        return
    if host is not None and not is_here(host):
        tried.append(f"{event} {host}")
        raise OtherMachineError(f"Expected no test to leave this machine but one asks {host!r} ({event}).")


def is_here(host: str | bytes | int) -> bool:
    """Whether a host's name or address is this machine. Numbers are addresses of other families, such as netlink's."""
    if isinstance(host, int):
        return True
    name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    if name in _OWN_NAMES or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
