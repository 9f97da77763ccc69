"""How many people a server and a fleet carry: ``python deploy/simulation/simulate.py``. See docs/scaling.md.

``--measured build/perf.json`` (from ``make perf`` on a quiet machine) takes the service times from there, and holds the
prediction for 16 and 64 people against what was measured; it fails above 20 %. ``--page`` keeps the inputs and writes
the tables into docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from queueing import Person, Service, click_without_pause, work_day

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "scaling.md"
BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"
TOLERANCE = 0.2
SESSIONS = (1, 4, 16, 64)
CLICKS = 12  # of each person in the measurement
MINUTES = 5.0  # of simulated work
PEOPLE = (10, 100, 1_000, 10_000)


def service_of(measured: dict[str, Any]) -> Service:
    return Service(
        int(measured["cores"]),
        1e-3 * measured["encode_ms"],
        1e-3 * measured["click_ms"],
        1e-3 * measured["click_engine_ms"],
    )


def calibrated(document: dict[str, Any], model: str, cores: int) -> dict[str, Any]:
    """What a file of ``mmms-perf`` says: one caller alone, the engine alone, and people at once."""

    def median_ms(what: str, how: str) -> float:
        return round(float(row_of(document, model, what, how)["p50_ms"]), 2)

    sessions = {}
    for people in SESSIONS:
        row = row_of(document, model, f"click, {people} session{'s' if people > 1 else ''}", "ensemble")
        sessions[str(people)] = {"p50_ms": round(row["p50_ms"], 1), "per_s": round(row["per_s"], 2)}
    return {
        "source": f"mmms-perf, {document['device']}",
        "model": model,
        "cores": cores,
        "encode_ms": median_ms("encode", "ensemble"),
        "click_ms": median_ms("click", "ensemble"),
        "click_engine_ms": median_ms("click", "in process"),
        "sessions": sessions,
    }


def row_of(document: dict[str, Any], model: str, what: str, how: str) -> dict[str, Any]:
    found = [r for r in document["rows"] if (r["model"], r["what"], r["how"]) == (model, what, how)]
    if not found:
        known = ", ".join(sorted({row["model"] for row in document["rows"]}))
        raise SystemExit(f"expected a row {what!r}, {how!r} of {model!r} but the file has {known}; give --model")
    row: dict[str, Any] = found[0]
    return row


def people_table(service: Service, measured: dict[str, Any]) -> tuple[list[list[str]], float]:
    """People who click without a pause: predicted, measured; and the largest deviation at 16 and 64."""
    rows, worst = [], 0.0
    for people in SESSIONS:
        spent_s, per_s = click_without_pause(service, people, CLICKS)
        p50_ms, p95_ms = (1e3 * float(np.percentile(spent_s, share)) for share in (50, 95))
        row = [str(people), f"{p50_ms:.0f}", f"{p95_ms:.0f}", f"{per_s:.1f}"]
        found = measured.get("sessions", {}).get(str(people))
        if found is None:
            row += ["not yet", "not yet", "-"]
        else:
            rate, latency = per_s / found["per_s"] - 1.0, p50_ms / found["p50_ms"] - 1.0
            if people >= 16:
                worst = max(worst, abs(rate), abs(latency))
            row += [f"{found['p50_ms']:.0f}", f"{found['per_s']:.1f}", f"{100 * rate:+.0f} %, {100 * latency:+.0f} %"]
        rows.append(row)
    return rows, worst


def largest(is_fine: Callable[[int], bool], first: int = 1) -> int:
    """The largest number for which something holds that holds up to some number."""
    low, high = 0, first
    while is_fine(high):
        low, high = high, 2 * high
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if is_fine(middle) else (low, middle)
    return low


def capacity(service: Service, person: Person, p95_ms: float) -> int:
    """How many people one server carries with 95 of 100 clicks faster than ``p95_ms``."""
    return largest(lambda n: 1e3 * float(np.percentile(work_day(service, n, person, MINUTES), 95)) <= p95_ms, 8)


def heaviest_share(servers: int, people: int, points: int, seed: int = 0) -> float:
    """People on the fullest of ``servers``, over the mean: ``points`` points each on the ring, images at random."""
    rng = np.random.default_rng(seed)
    ring = np.sort(rng.random(servers * points))
    owner = rng.permutation(np.repeat(np.arange(servers), points))
    heaviest = []
    for _ in range(20):
        places = np.searchsorted(ring, rng.random(people)) % len(ring)
        heaviest.append(np.bincount(owner[places], minlength=servers).max())
    return float(np.mean(heaviest)) * servers / people


def servers_for(people: int, carried: int, points: int) -> tuple[int, float]:
    """So many that the fullest has no more people than it carries, and how full that is against the mean."""
    servers = max(1, math.ceil(people / carried))
    while (share := heaviest_share(servers, people, points)) * people / servers > carried:
        servers = max(servers + 1, int(servers * 1.02))
    return servers, share


def fleet_table(service: Service, person: Person, inputs: dict[str, Any], carried: int) -> list[list[str]]:
    wire, assumed, rows = inputs["wire"], inputs["assumed"], []
    pause_s = person.think_s * math.exp(person.think_sigma**2 / 2)
    for people in PEOPLE:
        servers, share = servers_for(people, carried, assumed["ring_points"])
        per_s = people / (pause_s + service.click_s)
        gigabit = 8e-9 * per_s * wire["request_bytes"]
        memory = 2 * people * wire["features_bytes"] / 1e9  # the image in work and the next
        answers = 8e-9 * per_s * wire["answer_bytes"]
        numbers = [f"{people:,}", str(servers), str(servers * service.cores), f"{share:.2f}", f"{per_s:,.0f}"]
        rows.append([*numbers, f"{gigabit:.2f}", f"{answers:.2f}", f"{memory:.2f}"])
    return rows


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---:"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(inputs: dict[str, Any]) -> tuple[str, float]:
    """The tables in Markdown, and how far the prediction is from the measurement."""
    measured, assumed = inputs["measured"], inputs["assumed"]
    service = service_of(measured)
    person = Person(assumed["clicks_per_image"], assumed["think_s"], assumed["think_sigma"])
    rows, worst = people_table(service, measured)
    carried = capacity(service, person, assumed["p95_ms"])
    head = ["people", "p50 ms", "p95 ms", "clicks/s", "measured p50 ms", "measured clicks/s", "off: clicks/s, p50"]
    fleet_head = ["people", "servers", "cores", "fullest / mean", "clicks/s", "Gbit/s in", "Gbit/s out", "features, GB"]
    parts = [
        f"Service times: {measured['source']} (encode {measured['encode_ms']:g} ms, click {measured['click_ms']:g} ms, "
        f"of it {measured['click_engine_ms']:g} ms in the engine, {measured['cores']} cores).",
        "People who click as fast as answers come, on one server:",
        table(head, rows),
        f"People who think {assumed['think_s']:g} s (median) before a click, {assumed['clicks_per_image']} clicks on "
        f"an image, the next one encoded ahead: **one server carries {carried}** with 95 % of the clicks below "
        f"{assumed['p95_ms']} ms; its cores can do {service.clicks_per_s:.1f} clicks a second at most. A fleet of such "
        "servers:",
        table(fleet_head, fleet_table(service, person, inputs, carried)),
    ]
    return "\n\n".join(parts), worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=Path, default=HERE / "inputs.json")
    parser.add_argument("--measured", type=Path, help="file of mmms-perf --json")
    parser.add_argument("--model", default=None, help="which of its models; that of the inputs by default")
    parser.add_argument("--cores", type=int, default=None, help="of the machine that was measured; those of the inputs")
    parser.add_argument(
        "--page", action="store_true", help="keep the inputs, and write the tables into docs/scaling.md"
    )
    options = parser.parse_args()
    inputs = json.loads(options.inputs.read_text())
    if options.measured is not None:
        document = json.loads(options.measured.read_text())
        old = inputs["measured"]
        inputs["measured"] = calibrated(document, options.model or old["model"], options.cores or old["cores"])
    text, worst = report(inputs)
    sys.stdout.write(text + "\n")
    if options.page:
        options.inputs.write_text(json.dumps(inputs, indent=2) + "\n")
        page = PAGE.read_text()
        marked = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
        PAGE.write_text(marked.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page))
    if worst > TOLERANCE:
        sys.stderr.write(f"simulate: the prediction is {100 * worst:.0f} % off, more than {100 * TOLERANCE:.0f} %\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
