"""`make audit` must not say that all is well when it looked at nothing; so its auditor here can be made to lie.

A real auditor needs the network, which no test uses. What it prints in each case was seen from the real one.
"""

from __future__ import annotations

import importlib.util
import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / ".ci" / "audit.py"
_AUDITOR = """#!{python}
import json, sys
names = [line.strip().split("==") for line in open(sys.argv[sys.argv.index("-r") + 1])]
kind = {kind!r}
if kind == "unreached":
    sys.exit("requests.exceptions.ConnectionError: Max retries exceeded")
rows = [{{"name": name, "version": version, "vulns": []}} for name, version in names]
known = {{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["9"]}}
for row in rows:
    if kind == "empty mirror":
        del row["vulns"], row["version"]
        row["skip_reason"] = "Dependency not found and could not be audited"
    elif row["name"] == "jinja2" and len(rows) == 1:
        row["vulns"] = [known]
    elif kind == "skips" and row["name"] == "torch":
        del row["vulns"]
        row["skip_reason"] = "Dependency not found and could not be audited"
    elif kind == "finds" and row["name"] == "pillow":
        row["vulns"] = [known]
if kind == "forgets":
    rows = [row for row in rows if row["name"] != "numpy"]
print(json.dumps({{"dependencies": rows, "fixes": []}}))
sys.exit(1 if kind == "finds" else 0)
"""


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", PROGRAM)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def auditor(folder: Path, kind: str) -> Path:
    path = folder / "auditor"
    path.write_text(_AUDITOR.format(python=sys.executable, kind=kind))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [
        ("finds nothing", 0, ""),
        ("finds", 1, r"pillow \S+: PYSEC-1, mended in 9"),
        ("skips", 1, r"torch \S+: not audited \(Dependency not found"),
        ("forgets", 1, r"numpy \S+: not audited \(no word of it\)"),
        ("unreached", 3, "was not reached, so nothing was audited: requests.exceptions.ConnectionError"),
        ("empty mirror", 3, "was not reached, so nothing was audited: it knows nothing of jinja2 2.10"),
    ],
)
def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, code: int, said: str) -> None:
    monkeypatch.setenv("MMMS_FIGURES", str(tmp_path / "figures"))
    command = [sys.executable, PROGRAM, auditor(tmp_path, kind)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert re.search(said, done.stderr) and bool(said) == bool(done.stderr)
    figures = json.loads((tmp_path / "figures" / "audit.json").read_text())
    assert figures["packages"] > 100 and ("not known" in str(figures["vulnerabilities"])) == (code == 3)


def test_local_versions_are_asked_for_as_the_public_ones(audit: ModuleType) -> None:
    assert audit.pinned("torch==2.13.0+cpu  # no GPU\n\n# a word\nImport_Linter==2.16\n") == {
        ("torch", "2.13.0"),
        ("import-linter", "2.16"),
    }
    assert all("+" not in version for _, version in audit.installed())
    with pytest.raises(ValueError, match="pin it"):
        audit.pinned("numpy>=1.26")


def test_a_vulnerability_is_accepted_by_any_of_its_names_and_with_a_reason(audit: ModuleType) -> None:
    rows = [{"name": "Pillow", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"]}]}]
    assert audit.judge({("pillow", "1")}, rows, ()) == ["pillow 1: PYSEC-1, mended in no version yet"]
    assert audit.judge({("pillow", "1")}, rows, audit.accepted_ids("# why\nCVE-1 reads no such files\n")) == []
    with pytest.raises(ValueError, match="say why"):
        audit.accepted_ids("CVE-1\n")


def test_users_get_no_package_whose_licence_is_unknown_or_strong(audit: ModuleType) -> None:
    said, bad = audit.licences()
    assert bad == []
    assert {"numpy", "pillow", "tritonclient", "grpcio", "aiohttp", "torch", "onnxruntime"} <= set(said)
    assert "tensorrt-rtx" not in said and "hypothesis" not in said, "its extra has its own terms; a tool is no part"
    assert audit._UNWANTED.search("GPL-3.0-only") and audit._UNWANTED.search("Other/Proprietary License")
    assert not audit._UNWANTED.search("LGPL-3.0-only") and not audit._UNWANTED.search("MPL-2.0")
