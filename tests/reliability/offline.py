"""Runs a command where nothing but this machine's loopback exists, and says how often something tried to get out.

    python tests/reliability/offline.py COMMAND ...

The command runs in a network namespace of its own (Linux; no root needed). There the kernel has no route to anywhere,
and counts each attempt to find one: of the command, of its children, and of their libraries in C. A wrapper around
``socket`` would see Python's own attempts only, and what swallows its errors not at all.

Exit code of the command; 3 if it was 0 and there were attempts. The last line on stderr is ``attempts to leave: N``.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TRIED = 3  # exit code
_NEW_USER, _NEW_NET = 0x10000000, 0x40000000  # of unshare(2)
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1  # of netdevice(7)
_SET_ADDRESS, _SET_NETMASK = 0x8916, 0x891C


def enter_namespace() -> None:
    """Leave every network but a loopback of our own, which has this machine's address too, for who tries whether
    something listens there. Raises ``OSError`` where the system does not let us.
    """
    own = _own_address()
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NET):  # only root may; everybody else may in a user namespace of their own
        if libc.unshare(_NEW_USER | _NEW_NET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        name = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _GET_FLAGS, name))[0]
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))
        if own is not None:
            for call, value in ((_SET_ADDRESS, own), (_SET_NETMASK, "255.255.255.255")):  # it alone, not its network
                address = struct.pack("16sH2x4s8x", b"lo:1", socket.AF_INET, socket.inet_aton(value))
                fcntl.ioctl(any_socket, call, address)


def _own_address() -> str | None:
    try:
        found = socket.gethostbyname(socket.gethostname())
    except OSError:
        return None
    return None if found.startswith("127.") else found


def attempts() -> int:
    """How often the kernel found no way out, since the namespace was made."""
    four = [line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    found = int(dict(zip(*four, strict=True))["OutNoRoutes"])
    with contextlib.suppress(FileNotFoundError):  # a system without IPv6
        six = re.search(r"Ip6OutNoRoutes\s+(\d+)", Path("/proc/self/net/snmp6").read_text())
        found += int(six[1]) if six else 0
    return found


def main(command: Sequence[str]) -> int:
    """Run it. See the module's text."""
    try:
        enter_namespace()
    except OSError as error:
        sys.stderr.write(f"Expected a network namespace but got {error.strerror!r}; allow user namespaces.\n")
        return 2
    code = subprocess.run(command, check=False).returncode
    tried = attempts()
    sys.stderr.write(f"attempts to leave: {tried}\n")
    return code or (TRIED if tried else 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
