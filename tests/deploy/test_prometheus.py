"""Rules and scraping: promtool on the rules, and a real Prometheus on a real server and a real app."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from app_client import AppProcess, page_at
from mmms_client.annotate.metrics import BUCKETS_S, CLICK, ENCODE, Metrics
from mmms_client.annotate.metrics_server import MetricsServer
from mmms_client.errors import ServerBusyError, UsageError
from mmms_server.process import ServerProcess, free_ports

from .conftest import require

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "deploy" / "prometheus"
STREET = ROOT / "samples" / "street"
_PATIENCE_S = 60.0


@pytest.fixture(scope="module", autouse=True)
def prometheus() -> None:
    require("prometheus", shutil.which("prometheus") and shutil.which("promtool"))


def promtool(*arguments: str, text: str | None = None) -> str:
    done = subprocess.run(["promtool", *arguments], cwd=SHIPPED, input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_and_their_unit_tests() -> None:
    assert "SUCCESS" in promtool("check", "rules", "rules.yml")
    promtool("check", "config", "prometheus.yml")
    assert "SUCCESS" in promtool("test", "rules", "rules_test.yml")


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((SHIPPED / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def test_every_alert_is_tested_and_has_its_page() -> None:
    tests = yaml.safe_load((SHIPPED / "rules_test.yml").read_text())["tests"]
    firing = {case["alertname"] for t in tests for case in t["alert_rule_test"] if case.get("exp_alerts")}
    assert firing == {rule["alert"] for rule in alerts()}
    headings = re.findall(r"^#+ (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    for rule in alerts():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md" and anchor in {heading.lower() for heading in headings}, rule["alert"]


def test_the_apps_metrics_are_what_prometheus_reads() -> None:
    metrics = Metrics()
    with metrics.counted(CLICK):
        time.sleep(BUCKETS_S[0])
    with pytest.raises(ServerBusyError), metrics.counted(ENCODE):
        raise ServerBusyError("full")
    with pytest.raises(asyncio.CancelledError), metrics.counted(CLICK):
        raise asyncio.CancelledError
    text = metrics.text()
    promtool("check", "metrics", text=text)
    lines = text.splitlines()
    assert 'mmms_request_seconds_bucket{request="click",le="0.005"} 0' in lines
    assert 'mmms_request_seconds_bucket{request="click",le="+Inf"} 1' in lines
    assert 'mmms_request_seconds_count{request="encode"} 0' in lines
    assert 'mmms_requests_cancelled_total{request="click"} 1' in lines
    assert 'mmms_request_errors_total{request="encode",error="ServerBusyError"} 1' in lines
    assert "mmms_server_connected 0" in lines
    counts = [int(line.split()[-1]) for line in lines if "click" in line and "_bucket" in line]
    assert counts == sorted(counts), "buckets are cumulative"


@pytest.mark.parametrize("address", ["9464", ":9464", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_an_address_for_metrics_that_is_none(address: str) -> None:
    with pytest.raises(UsageError, match=r"^Expected --metrics HOST:PORT but got '.*'; write for example"):
        MetricsServer(Metrics(), address)


def test_a_port_for_metrics_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=f"^Expected {address} to be free for --metrics but got .*; give another"):
            asyncio.run(MetricsServer(Metrics(), address).start())


class Asked:
    """Prometheus' HTTP interface."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(
            f"{self.address}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=5
        ) as answer:
            return json.load(answer)["data"]

    def value(self, query: str) -> float | None:
        found = self.get("query", query=query)["result"]
        return float(found[0]["value"][1]) if found else None

    def until(self, is_so: Callable[[], bool]) -> None:
        until_s = time.monotonic() + _PATIENCE_S
        while True:
            try:
                if is_so():
                    return
            except urllib.error.URLError:
                pass
            assert time.monotonic() < until_s, "Prometheus does not see it"
            time.sleep(0.25)


@contextmanager
def scraping(folder: Path, targets: dict[str, str]) -> Iterator[Asked]:
    """The shipped configuration and rules, with other addresses and more often."""
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        job["static_configs"] = [{"targets": [targets.pop(job["job_name"])]}]
    assert not targets
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(SHIPPED / "rules.yml", folder)
    (port,) = free_ports(1)
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        yield Asked(port)
    finally:
        process.terminate()
        process.wait(20)


def test_a_real_prometheus_scrapes_a_real_server_and_a_real_app(nano_server: ServerProcess, tmp_path) -> None:
    async def click(address: str) -> None:
        async with page_at(address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)

    (port,) = free_ports(1)
    arguments = [STREET / "rgb.png", "-m", f"thermal={STREET / 'thermal.png'}", "--out", tmp_path / "out"]
    targets = {"mmms-triton": f"127.0.0.1:{nano_server.metrics_port}", "mmms-annotate": f"127.0.0.1:{port}"}
    with (
        AppProcess(*arguments, "--url", nano_server.url, "--metrics", f"127.0.0.1:{port}") as app,
        scraping(tmp_path, targets) as asked,
    ):
        assert app.address, app.lines
        asked.until(lambda: asked.value('sum(up{job="mmms-triton"})') == asked.value("mmms_server_connected") == 1)
        asyncio.run(click(app.address))
        asked.until(lambda: asked.value('mmms_request_seconds_count{request="click"}') == 1)
        for name in ("nv_inference_request_success", "nv_inference_queue_duration_us"):
            value = f'{name}{{job="mmms-triton", model="csnet"}}'
            asked.until(lambda value=value: (asked.value(value) or 0) > 0)  # each target is scraped in its own time
        assert asked.value('nv_cache_num_hits_per_model{model="backbone_fuser"}') is not None
        # the click cancelled the encode that ran ahead of it: that is no failure
        stages = 'model=~"backbone|fuser|csnet"'
        assert asked.value(f'sum(nv_inference_request_failure{{{stages}, reason!="CANCELED"}})') == 0
        asked.until(lambda: asked.value("mmms:clicks:rate5m") is not None)
        rules = [rule for group in asked.get("rules")["groups"] for rule in group["rules"]]
        asked.until(lambda: all(r["health"] == "ok" for g in asked.get("rules")["groups"] for r in g["rules"]))
        assert {rule["name"] for rule in rules if rule["type"] == "alerting"} == {rule["alert"] for rule in alerts()}
        # on a slow machine the one click may be slow, which is pending; nothing has been wrong for long enough to call
        assert [alert for alert in asked.get("alerts")["alerts"] if alert["state"] == "firing"] == []
