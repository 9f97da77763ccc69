"""`mmms-perf` on the committed repository: every row is there, and the cache answers every click after the first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_perf_measures_every_path_and_prints_the_hit_ratio(server_extra: None, tmp_path: Path) -> None:
    out = tmp_path / "perf.json"
    command = [sys.executable, "-c", "from mmms_export.perf import main; main()", str(ROOT / "model_repository")]
    done = subprocess.run(
        [*command, "--images", "2", "--clicks", "2", "--json", str(out)], capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(out.read_text())["rows"]
    assert {(r["what"], r["how"]) for r in rows} == {
        (what, how) for what in ("encode", "click") for how in ("in process", "ensemble", "shared-memory", "plain")
    }
    (cached,) = (r for r in rows if (r["what"], r["how"]) == ("click", "ensemble"))
    hits, lookups = map(int, cached["cache_hits"].split("/"))
    assert hits == lookups == 2 + 2  # two images of two clicks; the warm-up does not count
    assert "cache hits" in done.stdout
