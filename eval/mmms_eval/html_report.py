"""The results of a benchmark as one HTML file that needs nothing else: no network, no scripts, light and dark.

Sections: how it was measured, results, curves, failures by size of the surface, time, the worst surfaces, and
conflicts between masks of one image. Numbers are those of the JSON file; pictures come from giving the stored clicks
to the model once more (:mod:`mmms_eval.gallery`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmms_client.files import write_text_atomically
from mmms_client.predictor import Predictor
from mmms_eval import charts, report
from mmms_eval.datasets.sample import Dataset
from mmms_eval.gallery import ConflictCard, SurfaceCard, conflict_cards, surface_cards
from mmms_eval.html_elements import note, table
from mmms_eval.html_gallery import conflicts, gallery
from mmms_eval.html_style import STYLE
from mmms_eval.metrics import iou_after, is_failure, mean, percentage
from mmms_eval.protocol import percent
from mmms_eval.published import RESPONSE, published_table, reading_notes
from mmms_eval.runner import Evaluation
from mmms_eval.summary import RESPONSE_CLICKS

MIST_NOTE = (
    "NCI: clicks per image and surface, a failed image with its whole budget. NFO, NFI: surfaces and images that "
    "failed. IoU: mean over images of the mean over their surfaces."
)
SIZE_LIMITS_PERCENT = (0.25, 1.0, 4.0, 16.0)  # of the image area: squares of 5, 10, 20 and 40 % of its side


def write_page(path: Path, predictor: Predictor, evaluations: Sequence[Evaluation], dataset: Dataset) -> None:
    """Write the page, all or nothing.

    Args:
        path: the file; one that exists is replaced.
        predictor: the model of ``evaluations[0]``, which answers the clicks of the pictures.
        evaluations: the served model and the baselines, of the same images under the same protocol.
        dataset: what they were evaluated on.

    Raises:
        OutputError: the file cannot be written.
    """
    cards = surface_cards(predictor, evaluations[0], dataset)
    overlapping = conflict_cards(predictor, evaluations[0], dataset)
    facts = report.document(evaluations, dataset)
    write_text_atomically(path, page(evaluations, facts, cards, overlapping))


def page(
    evaluations: Sequence[Evaluation],
    facts: Mapping[str, Any],
    cards: Sequence[SurfaceCard],
    overlapping: Sequence[ConflictCard],
) -> str:
    """The page as text. ``facts`` is :func:`mmms_eval.report.document` of the evaluations."""
    ours = evaluations[0]
    title = f"{ours.name} on {facts['dataset'].get('name', 'data')}"
    sections = (
        ("Results", _results(evaluations, facts)),
        ("Curves", _curves(evaluations)),
        ("Failures by size of the surface", _failures(evaluations)),
        ("Time", _time(evaluations)),
        ("Worst surfaces", gallery(ours, cards)),
        ("Conflicts between masks", conflicts(overlapping)),
        ("How it was measured", _provenance(ours, facts)),
    )
    body = "".join(f"<section><h2>{escape(heading)}</h2>{content}</section>" for heading, content in sections)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8" />'
        '<meta name="viewport" content="width=device-width, initial-scale=1" />'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><header><h1>{escape(title)}</h1><p>{escape(_headline(ours))}</p></header>"
        f"<main>{body}</main></body></html>\n"
    )


def _headline(ours: Evaluation) -> str:
    summary = ours.summary
    return (
        f"{summary.surfaces} surfaces in {summary.images} images; {ours.protocol.describe()}; "
        f"path: {ours.description or 'in process'}"
    )


def _results(evaluations: Sequence[Evaluation], facts: Mapping[str, Any]) -> str:
    parts = [table(report.table_rows(evaluations))]
    mist = evaluations[0].protocol.mist
    if mist is not None:
        parts.append(f"<h3>All surfaces at once (MIST)</h3>{table(report.mist_rows(evaluations))}{note(MIST_NOTE)}")
    remarks = [f"{evaluation.name}: {line}" for evaluation in evaluations for line in report.remarks(evaluation)]
    if len(evaluations) > 1 and "80" in evaluations[0].summary.noc:
        remarks.insert(0, report.gain(evaluations[0], evaluations[1:]))
    if remarks:
        parts.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in remarks) + "</ul>")
    published = published_table(facts["dataset"].get("name"))
    if published is not None:
        protocol = evaluations[0].protocol
        rows = [["published", *published.columns]]
        rows += [[row.name, *(f"{row.numbers[c]:.2f}" for c in published.columns)] for row in published.rows]
        notes = reading_notes(facts["dataset"], protocol.n_max, (protocol.nocms_iou, protocol.nocms_mean_iou))
        source = f"Source: {published.source}." + "".join(f" Not the same quantity: {note}." for note in notes)
        parts.append(f"<h3>The paper's numbers</h3>{table(rows)}{note(source)}")
    return "".join(parts)


def _curves(evaluations: Sequence[Evaluation]) -> str:
    protocol = evaluations[0].protocol
    names = [evaluation.name for evaluation in evaluations]
    after = [
        charts.Line(
            evaluation.name,
            tuple((float(k), 100 * mean(iou_after(t, k) for t in _traces(evaluation))) for k in _clicks(evaluation)),
        )
        for evaluation in evaluations
    ]
    noc = [
        charts.Line(
            evaluation.name,
            tuple((100 * t, evaluation.summary.noc[percent(t)]) for t in sorted(protocol.iou_thresholds)),
        )
        for evaluation in evaluations
    ]
    iou_chart = charts.line_chart(
        after,
        title="Mean IoU after each click",
        x_label="clicks",
        y_label="mean IoU, %",
        x_ticks=charts.click_ticks(protocol.n_max),
        y_top=100.0,
    )
    noc_chart = charts.line_chart(
        noc,
        title="NoC against the IoU to reach",
        x_label="IoU to reach, %",
        y_label="NoC, clicks",
        x_ticks=[100 * t for t in sorted(protocol.iou_thresholds)],
        y_top=float(protocol.n_max),
    )
    rows = [["model", *(str(k) for k in _clicks(evaluations[0]))]]
    rows += [[line.name, *(f"{value:.1f}" for _, value in line.points)] for line in after]
    return (
        charts.legend(names)
        + f'<div class="pair"><figure><figcaption>Mean IoU after each click</figcaption>{iou_chart}</figure>'
        + f"<figure><figcaption>NoC (clicks to reach an IoU)</figcaption>{noc_chart}</figure></div>"
        + f"<details><summary>Mean IoU after each click, as numbers</summary>{table(rows)}</details>"
    )


def _failures(evaluations: Sequence[Evaluation]) -> str:
    protocol = evaluations[0].protocol
    names = _size_names()
    threshold, n_max = protocol.nocms_iou, protocol.n_max
    counts = [0] * len(names)
    bars = []
    for evaluation in evaluations:
        groups: list[list[bool]] = [[] for _ in names]
        for image in evaluation.results:
            for surface in image.surfaces:
                size = _size_group(surface.area_px, image.size_hw)
                groups[size].append(is_failure(surface.ious, threshold, n_max))
        counts = [len(group) for group in groups]
        bars.append(charts.Bars(evaluation.name, tuple(percentage(group) if group else None for group in groups)))
    at = percent(threshold)
    chart = charts.bar_chart(
        names,
        bars,
        title=f"Failures at IoU {at} by size",
        x_label="area of the surface, % of the image",
        y_label=f"below IoU {at} after {n_max} clicks, %",
    )
    rows = [["failures, %", *names]]
    rows += [[b.name, *("-" if value is None else f"{value:.1f}" for value in b.values)] for b in bars]
    rows.append(["surfaces", *map(str, counts)])
    return charts.legend([b.name for b in bars]) + f'<div class="pair"><figure>{chart}</figure>{table(rows)}</div>'


def _time(evaluations: Sequence[Evaluation]) -> str:
    header = [
        "milliseconds", "images", "encode p50", "p95", "p99", "clicks", "click p50", "p95", "p99",
        f"mean of last {RESPONSE_CLICKS}", "per click with encode", "workers", "whole run, s",
    ]  # fmt: skip
    rows = [header]
    for evaluation in evaluations:
        timing = evaluation.timing
        encode, click = timing["encode_ms"], timing["click_ms"]
        if encode is None or click is None:
            continue
        cells = [str(encode["count"]), *(_ms(encode[p]) for p in ("p50", "p95", "p99"))]
        cells += [str(click["count"]), *(_ms(click[p]) for p in ("p50", "p95", "p99"))]
        cells += [_ms(timing["response_ms"]), _ms(timing["per_click_with_encode_ms"])]
        rows.append([evaluation.name, *cells, str(evaluation.workers), f"{evaluation.wall_s:.1f}"])
    if len(rows) == 1:
        return "<p>Nothing was timed.</p>"
    text = (
        "As the client saw it, network and queue included; with several workers, requests wait for each other. "
        '"Per click with encode" spreads the encodes over all clicks. For comparison: ' + RESPONSE + "."
    )
    return table(rows) + _split(evaluations[0]) + note(text)


def _split(ours: Evaluation) -> str:
    """Where the milliseconds of the served model went."""
    parts = ours.timing["per_click_split_ms"]
    if parts is None:
        return ""
    rows = [["ms per click with encode", *parts], [ours.name, *(_ms(value) for value in parts.values())]]
    return table(rows)


def _provenance(ours: Evaluation, facts: Mapping[str, Any]) -> str:
    groups = {
        "data": facts["dataset"],
        "model": facts["evaluations"][0]["model"],
        "modalities": facts["evaluations"][0]["modalities"],
        "protocol": facts["protocol"],
        "run": {
            "path": ours.description or "in process",
            "created (UTC)": facts["created_utc"],
            **facts["versions"],
            "results": f"{facts['schema']} version {facts['schema_version']}",
        },
    }
    rows = "".join(
        f'<tr><th scope="row">{escape(group)}: {escape(str(key))}</th><td>{escape(_plain(value))}</td></tr>'
        for group, values in groups.items()
        for key, value in values.items()
    )
    return f'<div class="wide"><table class="facts"><tbody>{rows}</tbody></table></div>'


def _traces(evaluation: Evaluation) -> list[tuple[float, ...]]:
    return [surface.ious for image in evaluation.results for surface in image.surfaces]


def _clicks(evaluation: Evaluation) -> range:
    return range(1, evaluation.protocol.n_max + 1)


def _size_names() -> list[str]:
    limits = [f"{limit:g}" for limit in SIZE_LIMITS_PERCENT]
    between = [f"{low} to {high}" for low, high in pairwise(limits)]
    return [f"below {limits[0]}", *between, f"from {limits[-1]}"]


def _size_group(area_px: int, size_hw: tuple[int, int]) -> int:
    share = 100 * area_px / (size_hw[0] * size_hw[1])
    return sum(share >= limit for limit in SIZE_LIMITS_PERCENT)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_plain(entry)}" for key, entry in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "-" if value is None else str(value)
