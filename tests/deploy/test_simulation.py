"""The simulation: cases that can be done in the head, its comparison with measurements, and the page that shows it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from queueing import Machine, Person, Service, click_without_pause, work_day
from simulate import BEGIN, END, HERE, PAGE, heaviest_share, largest, servers_for

TWO_CORES = Service(cores=2, encode_s=0.1, click_s=0.03, click_engine_s=0.02)


def test_one_person_waits_for_the_work_and_nothing_else() -> None:
    spent_s, per_s = click_without_pause(TWO_CORES, 1, 5)
    assert spent_s == pytest.approx([0.03] * 5) and per_s == pytest.approx(1 / 0.03)


@pytest.mark.parametrize("people", [8, 16, 64])
def test_many_people_keep_all_cores_busy(people: int) -> None:
    """A click is 0.01 s of one core and 0.02 s of both: 0.05 core-seconds."""
    spent_s, per_s = click_without_pause(TWO_CORES, people, 20)
    assert per_s == pytest.approx(2 / 0.05, rel=0.05)
    assert np.median(spent_s) == pytest.approx(people / per_s, rel=0.1)  # Little's law


def test_clicks_of_a_batch_are_answered_together() -> None:
    only_engine = Service(cores=1, encode_s=1.0, click_s=0.1, click_engine_s=0.1)
    spent_s, _ = click_without_pause(only_engine, 3, 1)  # the first alone, the other two as one batch
    assert spent_s == pytest.approx([0.1, 0.3, 0.3])


def test_an_encode_gets_little_beside_a_click() -> None:
    machine, ends = Machine(TWO_CORES), {}
    machine.encode(lambda: ends.update(encode=machine.now_s))
    machine.click(lambda: ends.update(click=machine.now_s))
    machine.run(10.0)
    # first the click's one thread beside the encode's two; then two against two by weight, 1 : 110/1024
    assert ends["click"] == pytest.approx(0.01 + 0.02 * (1 + 110 / 1024), rel=1e-6)
    assert ends["encode"] == pytest.approx(0.1 + 0.005 + 0.02, rel=1e-6)


def test_people_who_think_wait_longer_where_there_are_more() -> None:
    person = Person(clicks_per_image=5, think_s=1.0, think_sigma=0.5)
    few, many = (work_day(TWO_CORES, people, person, 2.0) for people in (2, 45))
    assert np.median(few) == pytest.approx(0.03, rel=0.2) and np.percentile(many, 95) > 2 * np.percentile(few, 95)
    assert work_day(TWO_CORES, 2, person, 2.0) == few, "a seed gives one answer"


def test_fleets() -> None:
    assert heaviest_share(1, 100, 160) == 1.0
    assert 1.0 < heaviest_share(10, 100_000, 160) < 1.3 < heaviest_share(10, 100, 160)
    servers, share = servers_for(1000, 50, 160)
    assert 20 < servers < 40 and share * 1000 / servers <= 50
    assert largest(lambda n: n <= 37) == 37


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(HERE / "simulate.py"), *arguments], capture_output=True, text=True)


def perf_file(folder: Path, factor: float) -> Path:
    """As `mmms-perf --json` writes it, of a machine that is exactly as predicted, times a factor for many people."""
    rows: list[dict[str, Any]] = []

    def add(what: str, how: str, p50_ms: float, per_s: float | None = None) -> None:
        rows.append({"model": "nano +2", "what": what, "how": how, "p50_ms": p50_ms, "per_s": per_s})

    add("encode", "ensemble", 100.0)
    add("click", "ensemble", 30.0)
    add("click", "in process", 20.0)
    for people in (1, 4, 16, 64):
        spent_s, per_s = click_without_pause(TWO_CORES, people, 12)
        name = f"click, {people} session{'s' if people > 1 else ''}"
        add(name, "ensemble", 1e3 * float(np.median(spent_s)) * factor, per_s / factor)
    file = folder / "perf.json"
    file.write_text(json.dumps({"device": "two cores", "rows": rows}))
    return file


def test_a_prediction_is_held_against_the_measurement(tmp_path) -> None:
    good = run("--measured", str(perf_file(tmp_path, 1.1)))
    assert good.returncode == 0 and "+10 %, -9 %" in good.stdout, good.stderr
    bad = run("--measured", str(perf_file(tmp_path, 1.5)))
    assert bad.returncode == 1 and bad.stderr == "simulate: the prediction is 50 % off, more than 20 %\n"
    other = run("--measured", str(perf_file(tmp_path, 1.0)), "--model", "dino+1")
    assert other.returncode == 1 and "expected a row 'click, 1 session', 'ensemble' of 'dino+1'" in other.stderr


def test_the_page_is_what_the_script_writes() -> None:
    done = run()
    assert done.returncode == 0
    assert f"{BEGIN}\n{done.stdout}{END}" in PAGE.read_text(), "run: make simulate"
