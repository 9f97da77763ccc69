"""`mmms-perf` on the committed repository: every row is there, the cache answers every click after the first, and the
page gets the tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmms_client.errors import DataError
from mmms_export.perf.page import BEGIN, END, update_page

ROOT = Path(__file__).parents[2]
SERVED = ("ensemble", "shared-memory", "plain")
IN_PROCESS = ("in process", "ONNX Runtime, in process", "eager PyTorch, in process")


def test_perf_measures_every_way_and_prints_the_hit_ratio(server_extra: None, tmp_path: Path) -> None:
    out, page = tmp_path / "perf.json", tmp_path / "performance.md"
    page.write_text(f"before\n\n{BEGIN}\nold numbers\n{END}\n\nafter\n")
    command = [sys.executable, "-c", "from mmms_export.perf import main; main()", str(ROOT / "model_repository")]
    command += ["--images", "2", "--clicks", "2", "--sessions", "1,3", "--bench-images", "1"]
    done = subprocess.run(
        [*command, "--json", str(out), "--page", str(page)], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(out.read_text())
    rows = {(r["what"], r["how"]): r for r in document["rows"]}
    loads = {("click, 1 session", "ensemble"), ("click, 3 sessions", "ensemble")}
    beside = ("click, beside a folder that is being encoded", "ensemble")
    assert set(rows) == {(w, h) for w in ("encode", "click") for h in (*SERVED, *IN_PROCESS)} | loads | {beside}
    assert rows["click", "ensemble"]["cache_hits"] == "4/4"  # two images of two clicks; the warm-up does not count
    assert rows["click, 3 sessions", "ensemble"]["cache_hits"] == "6/6"
    assert rows["click", "in process"]["ratio"] == 1.0
    assert "cache hits" in done.stdout

    facts = {f["what"]: f["value"] for f in document["facts"]}
    features_kib = facts["wire: KiB per click, plain"]
    assert features_kib > 4 * facts["wire: KiB per click, shared-memory"]  # megabytes that stay where they are
    parts = [value for what, value in facts.items() if what.startswith("bench: per click, ")]
    assert len(parts) == 4 and facts["bench: clicks per second"] > 0
    shares = [value for what, value in facts.items() if what.startswith("csnet: share of ")]
    assert len(shares) > 3 and abs(sum(shares) - 100) < 1e-6
    assert 2 < facts["csnet: multiply-adds of one answer"] < 3 and facts["csnet: multiply-adds per second"] > 0

    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old numbers" not in text
    assert "| nano +2 | click | ensemble |" in text and "| not measured | - |" in text


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "other.md"
    page.write_text("mine")
    with pytest.raises(DataError, match="measured: begin"):
        update_page(page, {"device": "", "load": "", "versions": {}, "rows": [], "facts": []})
    assert page.read_text() == "mine"
