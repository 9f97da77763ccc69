"""Results as a table for the terminal and as a JSON document.

Schema ``mmms-bench``, version 4 (3 had no MIST; 2 had no flip, zoom, server and ``evaluations.protocol``; 1 had no
``broken``)::

    schema, schema_version
    created_utc, versions           when and with what; not part of the deterministic results
    protocol                        mmms_eval.protocol.EvaluationProtocol: what was asked for
    dataset                         name, number of images, split or seeds, label rule, modalities
    evaluations: [                  one per model, the served one first
      name, description
      model                         preset, checkpoint and its hash, resolution, modalities, engine, precision
      protocol                      all that has to be said beside the numbers; see docs/protocol.md
      modalities                    {used, unused, absent}: by both, by the data only, by the model only
      summary                       mmms_eval.summary.Summary; null where there is no surface
      images: [ key, size_hw, modalities, too_small,
                surfaces: [ surface_id, name, area_px, clicks: [[x_px, y_px, 1 or 0]], ious, joint: {...} ],
                visits: [[surface_id, clicks, iou]],
                mist: [ strategy, budget, clicks: [[x_px, y_px, owner_id, refined_id]],
                        surfaces: [ surface_id, iou, iou_alone, is_failed ] ] ]
      broken: [ index, error ]      images left out by --keep-going: place in the data set, and why
      timing                        milliseconds as the client saw them, and workers; not deterministic
    ]

``mist`` is empty where MIST was not asked for; owner 0 is the background (:mod:`mmms_eval.mist`).
IoUs are fractions in [0, 1] in full precision; keys of ``noc`` and ``failures`` are percents.
"""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from mmms_client.contract import ModelContract
from mmms_client.files import write_text_atomically
from mmms_eval.datasets.sample import Dataset
from mmms_eval.protocol import EvaluationProtocol, percent
from mmms_eval.runner import Evaluation
from mmms_eval.summary import MistSummary, Summary

SCHEMA = "mmms-bench"
SCHEMA_VERSION = 4
TABLE_NOC = (0.80, 0.85, 0.90)  # the columns of the paper's tables


def table(evaluations: Sequence[Evaluation]) -> str:
    """:func:`table_rows` as text."""
    return align_columns(table_rows(evaluations))


def table_rows(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """A header and one row per model in the format of the paper's tables, plus failures and mean IoU after some
    clicks."""
    protocol = evaluations[0].protocol
    header, rows = [""], [[evaluation.name] for evaluation in evaluations]
    for evaluation, row in zip(evaluations, rows, strict=True):
        cells = _cells(evaluation.summary, protocol)
        row.extend(text for _, text in cells)
        header = ["model", *(title for title, _ in cells)]
    return [header, *rows]


def _cells(summary: Summary, protocol: EvaluationProtocol) -> list[tuple[str, str]]:
    """Column title and text of one row."""
    columns = [t for t in protocol.iou_thresholds if t in TABLE_NOC] or list(protocol.iou_thresholds)
    noc = [(f"NoC@{percent(t)}", _number(summary.noc[percent(t)])) for t in columns]
    failed = [(f"fail@{percent(t)}", str(summary.failures[percent(t)])) for t in columns]
    joint = [
        (f"NoCMS@{protocol.nocms_label}", _number(summary.nocms)),
        ("FRMS %", _number(summary.frms_percent)),
        ("unvisited %", _number(summary.unvisited_percent)),
    ]
    after = [(f"mIoU@{k}", _number(100 * value, 1)) for k, value in summary.mean_iou_after.items()]
    return [
        *noc,
        *failed,
        *joint,
        *after,
        ("surfaces", str(summary.surfaces)),
        ("images", str(summary.images)),
    ]


def mist_rows(evaluations: Sequence[Evaluation]) -> list[list[str]]:
    """A header and one row per model and strategy in the format of DynaMITe's tables; without MIST only the header."""
    rows = [["model", "MIST", "NCI", "NFO", "NFI", "IoU %", "surfaces", "images"]]
    for evaluation in evaluations:
        for strategy, mist in evaluation.summary.mist.items():
            means = [_number(mist.nci), str(mist.nfo), str(mist.nfi), _number(100 * mist.image_iou, 1)]
            rows.append([evaluation.name, strategy, *means, str(mist.surfaces), str(mist.images)])
    return rows


def remarks(evaluation: Evaluation) -> list[str]:
    """What a reader of the row has to know to read it right, one line each."""
    summary, protocol = evaluation.summary, evaluation.protocol
    lines = []
    at = percent(protocol.nocms_iou)
    noc = summary.noc.get(at)
    if noc is not None and summary.nocms < noc:
        lines.append(
            f"NoCMS {summary.nocms:.2f} is below NoC@{at} {noc:.2f}: an image ends at mean IoU "
            f"{percent(protocol.nocms_mean_iou)}, which left {summary.unvisited_percent:.1f} % of the "
            "surfaces unvisited" + (" (--first-pass all visits each once)" if protocol.first_pass == "worst" else "")
        )
    if summary.damaged_percent > 0:
        lines.append(
            f"{summary.damaged_percent:.1f} % of the surfaces were at IoU {at} when left and lost it to later visits "
            f"of others ({summary.failed_by_damage_percent:.1f} % are in FRMS for that)"
        )
    lines += [_fusion_remark(strategy, mist) for strategy, mist in summary.mist.items() if mist.lost_to_fusion]
    if summary.surfaces_too_small:
        lines.append(f"{summary.surfaces_too_small} surfaces under {protocol.smallest_area_px} px were left out")
    if evaluation.broken:
        lines.append(f"{len(evaluation.broken)} images are broken and were left out (--keep-going)")
    if summary.images_without_surfaces:
        lines.append(f"{summary.images_without_surfaces} images have no surface")
    return lines


def _fusion_remark(strategy: str, mist: MistSummary) -> str:
    return (
        f"MIST {strategy}: {mist.lost_to_fusion} of {mist.nfo} failed surfaces were at the goal on their own and lost "
        "it to others in the final label map"
    )


def speed(evaluation: Evaluation) -> str:
    """Time per encode and per click in one line, as the caller saw it."""
    timing = evaluation.timing
    encode, click = timing["encode_ms"], timing["click_ms"]
    if encode is None or click is None:
        return "nothing was timed"
    return (
        f"encode p50 {encode['p50']:.1f} p95 {encode['p95']:.1f} ms, click p50 {click['p50']:.1f} p95 "
        f"{click['p95']:.1f} p99 {click['p99']:.1f} ms ({click['count']} clicks), "
        f"{timing['per_click_with_encode_ms']:.1f} ms per click with the encode spread over the "
        f"clicks{_split(timing['per_click_split_ms'])}, {timing['wall_s']:.1f} s in all"
        + (f", without {evaluation.taken_over} images of an earlier run" if evaluation.taken_over else "")
    )


def _split(parts: Mapping[str, float] | None) -> str:
    return "" if parts is None else f" ({', '.join(f'{name} {ms:.1f}' for name, ms in parts.items())})"


def gain(ours: Evaluation, baselines: Sequence[Evaluation], threshold: float = 0.80) -> str:
    """How much lower our NoC is than that of the best baseline, in one line."""
    key = percent(threshold)
    best = min(baselines, key=lambda evaluation: evaluation.summary.noc[key])
    best_noc, our_noc = best.summary.noc[key], ours.summary.noc[key]
    change = 100 * (1 - our_noc / best_noc)
    return (
        f"NoC@{key} of {ours.name} is {abs(change):.1f} % {'lower' if change >= 0 else 'higher'} than that "
        f"of the best baseline ({best.name}): {our_noc:.2f} against {best_noc:.2f}"
    )


def modality_use(evaluation: Evaluation, dataset: Dataset) -> dict[str, list[str]]:
    """Used by at least one image; in the data, but not used; in the model, but absent from the data."""
    used = {name for result in evaluation.results for name in result.modalities}
    model, data = evaluation.contract.modality_names, dataset.modality_names
    return {
        "used": [name for name in model if name in used],
        "unused": [name for name in data if name not in used],
        "absent": [name for name in model if name not in data],
    }


def stated_protocol(evaluation: Evaluation, dataset: Dataset) -> dict[str, Any]:
    """All that has to be said beside the numbers, as JSON values: what was asked for, and what it met."""
    contract, data, use = evaluation.contract, dataset.describe(), modality_use(evaluation, dataset)
    return {
        **evaluation.protocol.to_json(),
        "resolution": contract.resolution,
        "resolution_asked": evaluation.protocol.resolution,
        "surface_ids": sorted({surface.surface_id for result in evaluation.results for surface in result.surfaces}),
        "label_rule": data.get("label_rule"),
        "modalities": use["used"],
        "modalities_unused": use["unused"],
        "modalities_absent": use["absent"],
        "dataset": dataset.name,
        "split": data.get("split"),
        "seed": data.get("first_seed"),
        "checkpoint": contract.checkpoint,
        "checkpoint_sha256": contract.checkpoint_sha256,
        "server_version": evaluation.server_version,
        "engine": contract.engine,
        "precision": contract.precision,
        "clicks_batched": False,
    }


def protocol_line(evaluation: Evaluation, dataset: Dataset) -> str:
    """:func:`stated_protocol` in one line, for a caption."""
    said = stated_protocol(evaluation, dataset)
    server = f"server {said['server_version']}" if said["server_version"] else "in process"
    return (
        f"{evaluation.protocol.describe()}; modalities used: {_listed(said['modalities'])}, unused: "
        f"{_listed(said['modalities_unused'])}, absent: {_listed(said['modalities_absent'])}; {said['dataset']}, split "
        f"{said['split'] or '-'}, seed {'-' if said['seed'] is None else said['seed']}, surfaces are label ids "
        f"{_ranges(said['surface_ids'])}; checkpoint {said['checkpoint']} (sha256 "
        f"{said['checkpoint_sha256'][:12] or '-'}) at {said['resolution']} px, {server}, {said['engine']} "
        f"{said['precision']}, clicks not batched"
    )


def document(evaluations: Sequence[Evaluation], dataset: Dataset) -> dict[str, Any]:
    """Everything about a run, as JSON values. See the top of this module."""
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {
            "python": platform.python_version(),
            **package_versions(),
        },
        "protocol": evaluations[0].protocol.to_json(),
        "dataset": dataset.describe(),
        "evaluations": [
            {
                "name": evaluation.name,
                "description": evaluation.description,
                "model": model_facts(evaluation.contract),
                "protocol": stated_protocol(evaluation, dataset),
                "modalities": modality_use(evaluation, dataset),
                "summary": evaluation.summary.to_json(),
                "images": [result.to_json() for result in evaluation.results],
                "broken": [asdict(image) for image in evaluation.broken],
                "timing": evaluation.timing,
            }
            for evaluation in evaluations
        ],
    }


def write_document(path: Path, content: dict[str, Any]) -> None:
    """Write the document, all or nothing. Raises :class:`mmms_client.errors.OutputError`."""
    write_text_atomically(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def model_facts(contract: ModelContract) -> dict[str, Any]:
    """What identifies the model behind a number."""
    return {
        "preset": contract.preset,
        "checkpoint": contract.checkpoint,
        "checkpoint_sha256": contract.checkpoint_sha256,
        "resolution": contract.resolution,
        "modalities": list(contract.modality_names),
        "engine": contract.engine,
        "precision": contract.precision,
        "contract_version": contract.version,
    }


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equal length as text: first column to the left, others to the right, header underlined."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        return "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)])

    header, *body = rows
    return "\n".join([line(header), "-" * len(line(header)), *(line(row) for row in body)])


def _number(value: float, digits: int = 2) -> str:
    return "-" if value != value else f"{value:.{digits}f}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers with runs joined: 1, 2, 3, 7 -> ``1-3, 7``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return _listed([str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs])


def package_versions() -> dict[str, str]:
    """Versions of the packages that the numbers come from; one that is not installed is left out."""
    found = {}
    for package in ("mmms", "numpy", "opencv-python-headless"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found
