"""From measurements to the numbers of ``docs/results.md``: means, gains and their paired bootstrap intervals.

A gain is what the RGB network needs minus what the other one needs, on the same images: above 0, sensors save clicks.
The interval draws images with replacement; the seeds of a network are pooled, so that each image counts with all of
its surfaces under all seeds. The gain of each seed is given beside it, because an interval over images does not know
how much the training itself scatters.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmms_client.errors import DataError
from mmms_client.files import make_folder, write_text_atomically
from mmms_eval.compare import Comparison, compare
from mmms_eval.results import ImageResult
from mmms_eval.stored import StoredEvaluation, read_evaluation
from mmms_eval.summary import Summary, summarise
from mmms_training.claim import BASE, COMMAND_FILE, TRAINED_SHARE, VARIANTS
from mmms_training.real_images import METHODS, read_settings

CLAIM_FILE, REAL_FILE = "claim.json", "real.json"
WHOLE, ABLATED = "thermal+depth", ("neither", "effca-only", "mlp-only")  # Table VII
METRICS = ("NoC@80", "NoC@90", "NoCMS@(80,70)", "FRMS@(80,70)")
_NAME = re.compile(r"(?P<name>.+)-seed(?P<seed>\d+)-invisible(?P<share>\d+)\.json")
Numbers = dict[str, Any]


def collect_claim(folder: Path) -> Numbers:
    """The numbers of a folder that ``mmms-train claim`` wrote.

    Raises :class:`DataError` if there is nothing to compare with, or a file is broken.
    """
    found = _read_results(folder / "results")
    seeds = sorted({seed for _, seed, _ in found})
    if not any(name == "rgb" for name, _, _ in found):
        raise DataError(
            f"Expected results of the network 'rgb' in {str(folder)!r} but got none; run `mmms-train claim --out "
            f"{folder}` first."
        )
    order = [variant.name for variant in VARIANTS]
    cells = sorted({(share, name) for name, _, share in found}, key=lambda c: (c[0], order.index(c[1])))
    rows = []
    for share, name in cells:
        ours = {seed: found[name, seed, share] for seed in seeds if (name, seed, share) in found}
        pooled = _pooled(list(ours.values()))
        rgb, whole = (_beside(found, other, ours, share) for other in ("rgb", WHOLE))
        row: Numbers = {"network": name, "share": share, "seeds": list(ours), **_means(pooled)}
        if name != "rgb" and rgb:
            row["gain"] = _gains(pooled, _pooled(rgb))
            by_seed = {str(seed): _gains(run, base) for (seed, run), base in zip(ours.items(), rgb, strict=True)}
            row["gain_by_seed"] = {seed: {m: g["gain"] for m, g in gains.items()} for seed, gains in by_seed.items()}
        if name in ABLATED and whole:
            row["gain_of_whole"] = _gains(_pooled(whole), pooled)
        rows.append(row)
    return {"trained_share": TRAINED_SHARE, "seeds": seeds, **_how_trained(folder), "rows": rows}


def collect_real(folder: Path) -> Numbers:
    """The numbers of a folder that ``mmms-train real`` wrote: each method, and the network against it."""
    files = [file for file in sorted(folder.glob("*.json")) if file.name != "settings.json"]
    runs = [read_evaluation(file) for file in files]
    ours = [run for run in runs if run.name.endswith("RGB alone")]
    if not ours:
        raise DataError(f"Expected results of a network in {str(folder)!r} but got none; run `mmms-train real` first.")
    rows = []
    for run in sorted(runs, key=lambda run: (run is not ours[0], run.name in METHODS)):
        row: Numbers = {"method": run.name, **_means(run), "iou_after": _summary(run).mean_iou_after}
        row["is_classical"] = run.name in METHODS
        row["images_with_sensors"] = sum(bool(image.modalities) for image in run.images.values())
        if run is not ours[0] and set(run.images) == set(ours[0].images):
            row["gain"] = _gains(ours[0], run)
        rows.append(row)
    settings = read_settings(folder / "settings.json")
    model = ours[0].model
    return {
        "checkpoint_sha256": model["checkpoint_sha256"],
        "resolution": model["resolution"],
        "folders": Counter(key.split("/")[0] for key in ours[0].images),
        "smallest_area_px": ours[0].protocol.smallest_area_px,
        "tuning": settings,
        "rows": rows,
    }


def store(numbers: Numbers, file: Path) -> None:
    """Write numbers as JSON, atomically."""
    make_folder(file.parent)
    write_text_atomically(file, json.dumps(numbers, indent=1, sort_keys=True) + "\n")


def _read_results(folder: Path) -> dict[tuple[str, int, int], StoredEvaluation]:
    """By network, seed and share."""
    found = {}
    for file in sorted(folder.glob("*.json")):
        match = _NAME.fullmatch(file.name)
        if match is not None and match["name"] in {variant.name for variant in VARIANTS}:
            found[match["name"], int(match["seed"]), int(match["share"])] = read_evaluation(file)
    return found


def _beside(
    found: Mapping[tuple[str, int, int], StoredEvaluation], network: str, seeds: Iterable[int], share: int
) -> list[StoredEvaluation]:
    """Another network's runs under the same seeds; none if one of them is missing."""
    keys = [(network, seed, share) for seed in seeds]
    return [found[key] for key in keys] if all(key in found for key in keys) else []


def _pooled(runs: Sequence[StoredEvaluation]) -> StoredEvaluation:
    """Runs on the same images as one, in which each image has the surfaces of all of them."""
    images: dict[str, ImageResult] = {}
    for key, first in runs[0].images.items():
        surfaces = tuple(surface for run in runs for surface in run.images[key].surfaces)
        images[key] = dataclasses.replace(first, surfaces=surfaces)
    return dataclasses.replace(runs[0], images=images)


def _summary(run: StoredEvaluation) -> Summary:
    return summarise(list(run.images.values()), run.protocol)


def _means(run: StoredEvaluation) -> Numbers:
    summary = _summary(run)
    values = (summary.noc["80"], summary.noc["90"], summary.nocms, summary.frms_percent)
    return {"images": summary.images, "surfaces": summary.surfaces, "mean": dict(zip(METRICS, values, strict=True))}


def _gains(ours: StoredEvaluation, other: StoredEvaluation) -> dict[str, dict[str, float]]:
    """``other`` minus ``ours`` by metric, with the interval."""
    comparison: Comparison = compare(ours, other)
    by_name = {d.name: d for d in comparison.differences}
    return {
        name: {"gain": by_name[name].difference, "low": by_name[name].low, "high": by_name[name].high}
        for name in METRICS
    }


def _how_trained(folder: Path) -> Mapping[str, Any]:
    """The command; budgets and settings, from the checkpoints of the first runs."""
    from mmms_training.checkpoint import read_checkpoint
    from mmms_training.run_state import CHECKPOINT_NAME

    def first(network: str) -> Numbers | None:
        file = min(folder.glob(f"runs/{network}-seed*/{CHECKPOINT_NAME}"), default=None)
        return None if file is None else read_checkpoint(file).training

    def images(training: Numbers) -> int:
        return int(training["settings"]["steps"] * training["settings"]["batch_size"])

    command, how = folder / COMMAND_FILE, dict[str, Any]()
    if command.is_file():
        how["command"] = command.read_text("utf-8").strip()
    if base := first(BASE):
        how |= {"images_of_base": images(base), "base_began_with": base["started_from"]}
    if rgb := first("rgb"):
        how |= {"images_per_network": images(rgb), "settings": rgb["settings"]}
    return how
