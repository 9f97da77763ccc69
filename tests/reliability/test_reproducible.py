"""An export is a function of its checkpoint: the same bytes in every process, folder and order of hashes.

The short form is in ``tests/export``: the same weights twice in one process, and the committed files against their
manifest.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "checkpoints" / "nano.safetensors"
COMMITTED = ROOT / "model_repository"
MEASURED = "measurements.json"  # of the machine: versions, device, differences


def start(folder: Path, number: int, *command: str | Path) -> subprocess.Popen[str]:
    """A process that shares nothing with another one but the checkpoint."""
    folder.mkdir()
    different = {"PYTHONHASHSEED": str(number), "OMP_NUM_THREADS": str(number), "TMPDIR": str(folder), "LANG": "C"}
    python_path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": python_path, **different},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file by its path, without what was measured."""
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    found = {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    del found[MEASURED]
    return found


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_exports_and_the_committed_repository_are_the_same_to_the_byte(tmp_path: Path, figures) -> None:
    """The whole command; one after the other, as its parity check wants the cores."""
    exports = []
    for number in (1, 2):
        out = tmp_path / f"export{number}"
        arguments = ("--checkpoint", CHECKPOINT, "--target", "cpu", "--precision", "fp32", "--out", out)
        call = "from mmms_export.cli import main; main()"
        ended(start(tmp_path / f"here{number}", number, "-c", call, *arguments))
        exports.append(hashes(out))
    assert exports[0] == exports[1]
    committed = hashes(COMMITTED)
    differing = sorted(name for name in {*committed, *exports[0]} if committed.get(name) != exports[0].get(name))
    assert not differing, f"{differing}: run `make export`"
    figures("export-bytes", files=len(committed), differing_between_two_exports=0, differing_from_committed=0)
