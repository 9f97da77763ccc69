"""`mmms-perf` on the committed repository: every row is there, the cache answers every click after the first, and the
page gets the tables.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mmms_client import TritonPredictor
from mmms_client.errors import DataError
from mmms_export.perf.fidelity import NOC_DIFFERENCE, eager_network, fidelity_facts
from mmms_export.perf.page import BEGIN, END, update_page
from mmms_server.process import ServerProcess
from mmms_training.checkpoint import read_checkpoint, save_checkpoint

ROOT = Path(__file__).parents[2]
SERVED = ("ensemble", "shared-memory", "plain")
IN_PROCESS = ("in process", "ONNX Runtime, in process", "eager PyTorch, in process")


def test_perf_measures_every_way_and_prints_the_hit_ratio(server_extra: None, tmp_path: Path) -> None:
    out, page = tmp_path / "perf.json", tmp_path / "performance.md"
    page.write_text(f"before\n\n{BEGIN}\nold numbers\n{END}\n\nafter\n")
    command = [sys.executable, "-c", "from mmms_export.perf import main; main()", str(ROOT / "model_repository")]
    command += ["--images", "2", "--clicks", "2", "--sessions", "1,3", "--bench-images", "1"]
    command += ["--trained", str(ROOT / "checkpoints" / "nano.safetensors")]
    command += ["--trained-clicks", "4", "--trained-images", "0"]
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

    assert facts["masks: mean IoU with eager PyTorch, 4 clicks"] >= 0.998

    text = page.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old numbers" not in text
    assert "| nano +2 | click | ensemble |" in text and "| not measured | - |" in text
    assert "| nano: mean IoU of masks with eager PyTorch fp32 | at least 0.998 |" in text


@pytest.mark.slow
def test_the_bench_gives_the_served_network_the_numbers_of_the_trained_one(nano_server: ServerProcess) -> None:
    with TritonPredictor.connect(nano_server.url) as predictor:
        found = fidelity_facts("nano +2", predictor, ROOT / "checkpoints" / "nano.safetensors", 10, 1, 50_000)
    facts = {fact.what: fact.value for fact in found}
    assert 1 < facts["bench: NoC@90, eager PyTorch"] <= 20 and facts[NOC_DIFFERENCE] <= 0.02


def test_another_checkpoint_than_the_served_one_is_no_comparison(nano_server: ServerProcess, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    served = read_checkpoint(ROOT / "checkpoints" / "nano.safetensors")
    save_checkpoint(other, served.config, served.weights, {"steps_done": 1})
    with (
        TritonPredictor.connect(nano_server.url) as predictor,
        pytest.raises(DataError, match=r"^Expected the checkpoint that is served, sha256 \w{12}, in .* with --trained"),
    ):
        eager_network(other, predictor)


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "other.md"
    page.write_text("mine")
    with pytest.raises(DataError, match="measured: begin"):
        update_page(page, {"device": "", "load": "", "versions": {}, "rows": [], "facts": []})
    assert page.read_text() == "mine"
