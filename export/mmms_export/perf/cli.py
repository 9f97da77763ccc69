"""``mmms-perf``: latency, throughput and cost of exported repositories, in process and through a server, in one run.

Distinct images and replayed clicks (see :mod:`.workload`); each row is warmed up first; the hit ratio of the response
cache is printed beside the times.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mmms_client.files import write_text_atomically
from mmms_client.terminal import run_command
from mmms_client.triton_predictor import ENSEMBLE, TritonPredictor
from mmms_export.manifest import device_name, installed_versions
from mmms_export.perf import ways
from mmms_export.perf.bench_rate import measure_bench
from mmms_export.perf.fidelity import fidelity_facts
from mmms_export.perf.load import measure_beside_encodes, measure_sessions
from mmms_export.perf.profile import profile_facts
from mmms_export.perf.resources import first_byte_fact, memory_facts, started, wire_facts
from mmms_export.perf.rows import Fact, Row, table
from mmms_export.perf.workload import SIZE_HW

# Images of one part of a run are never those of another: the server would have them in its cache.
_LOAD, _BENCH, _WIRE, _FIDELITY = 10_000, 20_000, 30_000, 40_000


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("repositories", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--also",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    help="More repositories, of which only the engine in process and the ensemble are measured. Repeat.",
)
@click.option("--images", default=8, show_default=True, type=click.IntRange(2), help="Distinct images.")
@click.option("--clicks", default=12, show_default=True, type=click.IntRange(1), help="Clicks on each image.")
@click.option("--sessions", default="1,4,16,64", show_default=True, help="Annotators at once; empty for none.")
@click.option("--bench-images", default=3, show_default=True, type=click.IntRange(0), help="Images of the bench run.")
@click.option(
    "--trained",
    type=click.Path(path_type=Path, exists=True),
    default=None,
    help="Checkpoint of the first repository: compare its masks and NoC with those of eager PyTorch, too.",
)
@click.option("--trained-clicks", default=200, show_default=True, type=click.IntRange(1), help="Masks to compare.")
@click.option(
    "--trained-images", default=3, show_default=True, type=click.IntRange(0), help="Images to compare NoC on."
)
@click.option("--rivals/--no-rivals", default=False, help="Measure SAM-B and a SimpleClick-B-sized network as well.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=None, help="Write everything here.")
@click.option(
    "--page",
    type=click.Path(path_type=Path, exists=True),
    default=None,
    help="Write the tables between the two marks of this page.",
)
def perf(
    repositories: tuple[Path, ...],
    also: tuple[Path, ...],
    images: int,
    clicks: int,
    sessions: str,
    bench_images: int,
    trained: Path | None,
    trained_clicks: int,
    trained_images: int,
    rivals: bool,
    json_file: Path | None,
    page: Path | None,
) -> None:
    """Measure exported REPOSITORIES, in process and through a real server."""
    annotators = [int(text) for text in sessions.split(",") if text]
    rows: list[Row] = []
    facts = [first_byte_fact()]
    for repository in repositories:
        click.echo(f"measuring {repository}", err=True)
        measure(repository, images, clicks, annotators, bench_images, rows, facts)
    if trained is not None:
        measure_fidelity(repositories[0], trained, trained_clicks, trained_images, facts)
    for repository in also:
        click.echo(f"measuring {repository}", err=True)
        measure_briefly(repository, max(2, images // 2), clicks, rows)
    if rivals:
        from mmms_export.perf.rivals import measure_rivals

        rows += measure_rivals(max(2, images // 2), clicks, lambda line: click.echo(line, err=True))
    document = {
        "device": device_name(),
        "versions": installed_versions(),
        "load": f"{images} distinct images of {SIZE_HW[1]}x{SIZE_HW[0]} px, {clicks} clicks each, after one image to "
        f"warm up; annotators at once click {clicks} times each",
        "rows": [asdict(row) for row in rows],
        "facts": [asdict(fact) for fact in facts],
    }
    click.echo(f"{document['device']}; {document['load']}")
    click.echo(table(rows, facts))
    if json_file is not None:
        write_text_atomically(json_file, json.dumps(document, indent=2) + "\n")
    if page is not None:
        from mmms_export.perf.page import update_page

        update_page(page, document)


def measure(
    repository: Path,
    images: int,
    clicks: int,
    sessions: Sequence[int],
    bench_images: int,
    rows: list[Row],
    facts: list[Fact],
) -> None:
    """All rows and facts of one repository."""
    name = ways.label(ways.read_contract(repository))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(started(repository, folder / "log", facts, name))
        engine = ways.engine_in_process(repository)
        through = ways.served(server.url, stack)
        timed = ways.measure_ways(
            {ways.IN_PROCESS: engine, **through, **ways.other_engines(repository)}, images, clicks
        )
        rows += ways.rows_of(name, timed)
        facts += wire_facts(name, through, _WIRE)
        facts += memory_facts(name, server)
        facts += profile_facts(name, repository, "csnet")
        if bench_images:
            cached = through[ENSEMBLE]
            assert isinstance(cached, TritonPredictor)
            facts += measure_bench(name, cached, engine, bench_images, _BENCH)
        first = _LOAD
        for count in sessions:
            rows.append(asyncio.run(measure_sessions(server.url, name, count, clicks, first)))
            first += count
        if sessions:
            rows.append(asyncio.run(measure_beside_encodes(server.url, name, clicks, first, images)))


def measure_fidelity(repository: Path, checkpoint: Path, clicks: int, images: int, facts: list[Fact]) -> None:
    """Whether the served network answers as its checkpoint does in eager PyTorch."""
    name = ways.label(ways.read_contract(repository))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(started(repository, folder / "log", [], name))
        (predictor,) = ways.served(server.url, stack, (ENSEMBLE,)).values()
        facts += fidelity_facts(name, predictor, checkpoint, clicks, images, _FIDELITY)


def measure_briefly(repository: Path, images: int, clicks: int, rows: list[Row]) -> None:
    """The engine in process and the ensemble."""
    name = ways.label(ways.read_contract(repository))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(started(repository, folder / "log", [], name))
        measured: dict[str, Any] = {ways.IN_PROCESS: ways.engine_in_process(repository)}
        measured |= ways.served(server.url, stack, (ENSEMBLE,))
        rows += ways.rows_of(name, ways.measure_ways(measured, images, clicks))


def main() -> None:
    """Entry point."""
    sys.exit(run_command(perf, "mmms-perf"))
