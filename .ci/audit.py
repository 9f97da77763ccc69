"""`make audit`: known vulnerabilities of `constraints.txt` and of this environment, and the licences of what users get.

    python .ci/audit.py AUDITOR

AUDITOR is a `pip-audit`. It says "no known vulnerabilities" and exits with 0 when it skipped every package, such as
ones with a local version (torch +cpu), or when a mirror has no advisories at all. So it is given plain versions, must
name every package that it was asked for, and must first find what is known of a version with old vulnerabilities.

Exit code 0: nothing found. 1: a vulnerability that `accepted-vulnerabilities.txt` does not name, a package that was not
audited, or a licence that users should not get. 2: wrong usage. 3: the database of advisories was not reached.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

FOUND, USAGE, UNREACHED = 1, 2, 3
ROOT = Path(__file__).resolve().parent.parent
ACCEPTED = Path(__file__).with_name("accepted-vulnerabilities.txt")  # "ID why", one to a line
OWN = "mmms"
CANARY = ("jinja2", "2.10")  # vulnerabilities of 2019: who does not find them has no database
USER_EXTRAS = ("", "annotate", "bench", "server", "train", "export")
_UNWANTED = re.compile(r"\b(AGPL|GPL|GNU (Affero )?General Public|Proprietary|SSPL|Commons Clause)", re.IGNORECASE)
Package = tuple[str, str]  # canonical name, version without its local part


class UnreachedError(Exception):
    """The auditor gave no answer, or knows nothing."""


def pinned(text: str) -> set[Package]:
    """The packages of a constraints file. Raises ``ValueError`` for a line that pins nothing."""
    found = set()
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if line:
            name, separator, version = line.partition("==")
            if not separator:
                raise ValueError(f"Expected NAME==VERSION in constraints.txt but got {line!r}; pin it.")
            found.add((canonicalize_name(name.strip()), Version(version.strip()).public))
    return found


def installed() -> set[Package]:
    """The packages of this environment, without our own."""
    distributions = ((d.metadata["Name"], d.version) for d in importlib.metadata.distributions())
    return {(canonicalize_name(n), Version(v).public) for n, v in distributions if canonicalize_name(n) != OWN}


def ask(auditor: str, packages: Iterable[Package]) -> list[dict[str, Any]]:
    """What the auditor says of each package: ``name``, and ``vulns`` or ``skip_reason``.

    Raises :class:`UnreachedError` if it says nothing that can be read: then nothing was audited.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requirements.txt"
        file.write_text("".join(f"{name}=={version}\n" for name, version in sorted(packages)))
        command = [auditor, "-r", str(file), "--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        rows: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise UnreachedError(last[:300]) from error
    return rows


def judge(packages: set[Package], rows: Sequence[Mapping[str, Any]], accepted: Iterable[str]) -> list[str]:
    """A line for each package that was not audited and each vulnerability that nobody accepted."""
    by_name = {canonicalize_name(row["name"]): row for row in rows}
    lines = []
    for name, version in sorted(packages):
        row = by_name.get(canonicalize_name(name))
        if row is None or "vulns" not in row:
            reason = "no word of it" if row is None else row.get("skip_reason", "no reason")
            lines.append(f"{name} {version}: not audited ({reason})")
            continue
        for found in row["vulns"]:
            if not {found["id"], *found.get("aliases", ())} & set(accepted):
                mended = ", ".join(found.get("fix_versions", ())) or "no version yet"
                lines.append(f"{name} {version}: {found['id']}, mended in {mended}")
    return lines


def accepted_ids(text: str) -> set[str]:
    """What somebody looked at and took. Raises ``ValueError`` for an id without a reason."""
    found = set()
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.strip().partition(" ")
            if not reason.strip():
                raise ValueError(f"Expected 'ID reason' in {ACCEPTED.name} but got {line!r}; say why.")
            found.add(name)
    return found


def licence_of(distribution: importlib.metadata.Distribution) -> str:
    """As the package says it, in the newest of the three ways to say it; empty if in none."""
    metadata = distribution.metadata
    said = metadata["License-Expression"]
    classes = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    text = (metadata["License"] or "").strip().splitlines()
    return said or ", ".join(c for c in classes if c != "DFSG approved") or (text[0] if text else "")


def what_users_get(extras: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """Every installed package that our own needs with these extras, by canonical name, directly or not."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [(OWN, extra) for extra in extras]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of another system, by its marker, or an extra that is not installed
        if name != OWN:
            found[name] = distribution
        for text in distribution.requires or ():
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({"extra": extra}):
                more = {(canonicalize_name(wanted.name), e) for e in ("", *wanted.extras)} - seen
                seen |= more
                waiting += more
    return found


def licences() -> tuple[dict[str, str], list[str]]:
    """The licence of each package that users get, and a line for each that is unknown or unwanted."""
    said = {name: licence_of(d) for name, d in sorted(what_users_get(USER_EXTRAS).items())}
    lines = [f"{name}: says no licence" for name, licence in said.items() if not licence]
    return said, lines + [f"{name}: {licence}" for name, licence in said.items() if _UNWANTED.search(licence)]


def vulnerabilities(auditor: str, packages: set[Package]) -> list[str]:
    """Lines as of :func:`judge`. Raises :class:`UnreachedError`."""
    (row,) = ask(auditor, [CANARY])
    if not row.get("vulns"):
        raise UnreachedError(f"it knows nothing of {CANARY[0]} {CANARY[1]}, whose vulnerabilities are old")
    lines = []
    names = [name for name, _ in packages]
    twice = {p for p in packages if names.count(p[0]) > 1 and p not in installed()}  # a file names a package once
    for some in (packages - twice, twice):
        if some:
            text = ACCEPTED.read_text("utf-8") if ACCEPTED.is_file() else ""
            lines += judge(some, ask(auditor, some), accepted_ids(text))
    return lines


def main(arguments: Sequence[str]) -> int:
    """See the module's text."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python .ci/audit.py AUDITOR\n")
        return USAGE
    packages = installed() | pinned((ROOT / "constraints.txt").read_text("utf-8"))
    said, bad_licences = licences()
    sys.stdout.write("".join(f"licence  {name}: {licence}\n" for name, licence in said.items()))
    figures: dict[str, Any] = {"packages": len(packages), "packages_that_users_get": len(said)}
    figures["licences_unknown_or_unwanted"] = len(bad_licences)
    try:
        lines = vulnerabilities(arguments[0], packages)
        figures["not_audited"] = sum("not audited" in line for line in lines)
        figures["vulnerabilities"] = len(lines) - figures["not_audited"]
        code = FOUND if lines or bad_licences else 0
    except UnreachedError as error:
        lines = [f"the database of advisories was not reached, so nothing was audited: {error}"]
        figures["vulnerabilities"] = "not known: the database of advisories was not reached"
        code = UNREACHED
    sys.stderr.write("".join(f"audit: {line}\n" for line in (*bad_licences, *lines)))
    sys.stdout.write(f"{len(packages)} packages, {len(said)} of them for users; exit code {code}\n")
    if folder := os.environ.get("MMMS_FIGURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "audit.json").write_text(json.dumps(figures, indent=1) + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
