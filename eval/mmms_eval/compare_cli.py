"""The ``compare`` command; ``mmms-client`` finds it by the entry point group ``mmms_client.commands``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from mmms_eval.cli import check_output
from mmms_eval.compare import CONFIDENCE, RESAMPLES, Comparison
from mmms_eval.compare import compare as compare_runs
from mmms_eval.published import PublishedTable, published_table, reading_notes
from mmms_eval.report import align_columns, write_document
from mmms_eval.stored import StoredEvaluation, read_evaluation


@click.command()
@click.argument("a", type=click.Path(path_type=Path), metavar="A.json")
@click.argument("b", type=click.Path(path_type=Path), metavar="B.json")
@click.option("--name-a", metavar="NAME", help="Which evaluation of A, such as GrabCut; the served model by default.")
@click.option("--name-b", metavar="NAME", help="Which evaluation of B.")
@click.option("--allow-different-protocol", is_flag=True, help="Go on although protocols or images differ.")
@click.option("--resamples", type=click.IntRange(min=100), default=RESAMPLES, show_default=True, help="Of images.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the resamples.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything to this file.")
def compare(
    a: Path,
    b: Path,
    name_a: str | None,
    name_b: str | None,
    allow_different_protocol: bool,
    resamples: int,
    seed: int,
    json_file: Path | None,
) -> None:
    """Compare two results of `bench --json`: differences B - A with paired bootstrap intervals over images."""
    check_output(json_file)
    run_a, run_b = read_evaluation(a, name_a), read_evaluation(b, name_b)
    result = compare_runs(run_a, run_b, resamples=resamples, seed=seed, allow_different=allow_different_protocol)
    click.echo(f"A:        {_describe(run_a)}")
    click.echo(f"B:        {_describe(run_b)}")
    click.echo(f"protocol: {run_a.protocol.describe()}")
    for remark in result.remarks:
        click.echo(f"note:     {remark}")
    click.echo("")
    click.echo(difference_table(result))
    click.echo("")
    count_a, count_b = result.surfaces
    surfaces = f"{count_a}" if count_a == count_b else f"{count_a} and {count_b}"
    click.echo(
        f"{result.images} images with {surfaces} surfaces; intervals: {100 * CONFIDENCE:g} %, paired bootstrap over "
        f"images, {resamples} resamples, seed {seed}"
    )
    published = published_of(run_a, run_b)
    if published is not None:
        click.echo("")
        click.echo(published_rows(published, result))
        for note in _reading_notes(run_a, run_b):
            click.echo(f"note:     {note}")
    if json_file is not None:
        write_document(json_file, document(run_a, run_b, result))
        click.echo(f"written: {json_file}")


def document(a: StoredEvaluation, b: StoredEvaluation, result: Comparison) -> dict[str, Any]:
    """Everything about a comparison, as JSON values; differences are B - A. ``published`` is the paper's table of the
    data set, or ``None``."""
    published = published_of(a, b)
    runs = {
        side: {
            "file": run.file,
            "name": run.name,
            "model": dict(run.model),
            "dataset": dict(run.dataset),
            "protocol": run.protocol.to_json(),
        }
        for side, run in (("a", a), ("b", b))
    }
    return {
        "schema": "mmms-compare",
        "schema_version": 1,
        **runs,
        "images": result.images,
        "surfaces": {"a": result.surfaces[0], "b": result.surfaces[1]},
        "bootstrap": {"resamples": result.resamples, "seed": result.seed, "confidence": CONFIDENCE, "unit": "image"},
        "remarks": list(result.remarks),
        "metrics": [{**dataclasses.asdict(d), "verdict": d.verdict} for d in result.differences],
        "published": None
        if published is None
        else {
            "source": published.source,
            "rows": [{"name": row.name, "numbers": dict(row.numbers)} for row in published.rows],
        },
    }


def published_of(a: StoredEvaluation, b: StoredEvaluation) -> PublishedTable | None:
    """The paper's table, if both runs are of one of its data sets."""
    name = a.dataset.get("name")
    return published_table(name) if name == b.dataset.get("name") else None


def difference_table(result: Comparison) -> str:
    """One row per metric: both values, the difference with its interval, and what it says."""
    rows = [["metric", "A", "B", "B - A", f"{100 * CONFIDENCE:g} % interval", "says"]]
    for d in result.differences:
        name = d.name if d.unit == "clicks" else f"{d.name} %"
        interval = f"{d.low:+.2f} to {d.high:+.2f}"
        rows.append([name, f"{d.a:.2f}", f"{d.b:.2f}", f"{d.difference:+.2f}", interval, d.verdict])
    return align_columns(rows)


def published_rows(published: PublishedTable, result: Comparison) -> str:
    """A and B below the rows of the paper, in the columns of the paper's table."""
    ours = {d.name.replace("FRMS@(80,70)", "FRMS %"): d for d in result.differences}
    rows = [[published.source, *published.columns]]
    rows += [[row.name, *(f"{row.numbers[c]:.2f}" for c in published.columns)] for row in published.rows]
    for side in ("A", "B"):
        values = [getattr(ours[c], side.lower()) if c in ours else None for c in published.columns]
        rows.append([side, *("-" if value is None else f"{value:.2f}" for value in values)])
    return align_columns(rows)


def _reading_notes(a: StoredEvaluation, b: StoredEvaluation) -> list[str]:
    notes = []
    for side, run in (("A", a), ("B", b)):
        protocol = run.protocol
        dataset = {**run.dataset, "images": len(run.images)}
        found = reading_notes(dataset, protocol.n_max, (protocol.nocms_iou, protocol.nocms_mean_iou))
        notes += [f"{side} is not the paper's quantity: {note}" for note in found]
    return notes


def _describe(run: StoredEvaluation) -> str:
    sha = str(run.model.get("checkpoint_sha256") or "")[:12]
    facts = [str(run.model.get("checkpoint", "")), sha, f"{run.dataset.get('name')}, {len(run.images)} images"]
    return f"{run.file}: {run.name} ({', '.join(fact for fact in facts if fact)})"
