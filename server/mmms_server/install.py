"""Puts the launcher into this environment under the name ``tritonserver``: ``python -m mmms_server.install``.

It is not a script of the distribution, because a client that is installed beside an official server must not shadow it.
"""

from __future__ import annotations

import sys
from pathlib import Path

_SCRIPT = """#!{python}
from mmms_server.launcher import main

main()
"""


def install(folder: Path, python: str) -> Path:
    """Write the launcher into ``folder``. Raises ``FileExistsError`` rather than replace somebody else's server."""
    target = folder / "tritonserver"
    if target.exists() and b"mmms_server" not in target.read_bytes()[:512]:
        raise FileExistsError(f"{target} is another program; the launcher is not needed there")
    target.write_text(_SCRIPT.format(python=python), encoding="utf-8")
    target.chmod(0o755)
    return target


if __name__ == "__main__":
    sys.stdout.write(f"installed {install(Path(sys.executable).parent, sys.executable)}\n")
