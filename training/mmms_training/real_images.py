"""A checkpoint against GrabCut and random walker on real photos, all driven by the same simulated clicks.

The classical methods get a fair chance: the network's size, disks of 5 px, the border as background until the first
negative click, the answer before as probable labels, and the best of three settings each, chosen on synthetic scenes.
Everything is resumable: finished measurements are files in the output folder.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmms_client.errors import DataError
from mmms_client.files import make_folder, write_text_atomically
from mmms_client.json_place import Place, shown
from mmms_client.json_text import read_json
from mmms_client.predictor import Predictor
from mmms_client.units import parse_scale
from mmms_eval.baselines import GrabCutPredictor
from mmms_eval.datasets import DATASETS, Dataset, DatasetOptions, Sample
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.random_walker import RandomWalkerPredictor
from mmms_eval.report import document, write_document
from mmms_eval.runner import evaluate
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.parallel import ProcessGroup
from mmms_training.predictor import TorchPredictor

Report = Callable[[str], None]
SMALLEST_PX = 1000
RGB_ONLY: tuple[str, ...] = ()
_SETTINGS_FILE = "settings.json"
_TUNING_SEED = 500_000  # of scenes that nothing else is measured on
Make = Callable[[int], Predictor]  # of a side in px
METHODS: dict[str, dict[str, Make]] = {
    "GrabCut": {
        "1 iteration": partial(GrabCutPredictor, 1),
        "3 iterations": partial(GrabCutPredictor, 3),
        "5 iterations": partial(GrabCutPredictor, 5),
    },
    "random walker": {
        "beta 130": partial(RandomWalkerPredictor, 130.0),
        "beta 500": partial(RandomWalkerPredictor, 500.0),
        "beta 2000": partial(RandomWalkerPredictor, 2000.0),
    },
}


@dataclass(frozen=True)
class JoinedDataset:
    """Several folders of images as one data set; keys begin with the folder's name."""

    parts: tuple[tuple[str, Dataset], ...]

    @property
    def name(self) -> str:
        return "real images"

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(sorted({name for _, part in self.parts for name in part.modality_names}))

    def __len__(self) -> int:
        return sum(len(part) for _, part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        for name, part in self.parts:
            if index < len(part):
                sample = part[index]
                return dataclasses.replace(sample, key=f"{name}/{sample.key}")
            index -= len(part)
        raise IndexError(index)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "images": len(self),
            "parts": {name: len(part) for name, part in self.parts},
            "modalities": list(self.modality_names),
        }


@dataclass(frozen=True)
class RealPlan:
    """What is asked for."""

    root: Path  # a folder of the layout of `--dataset folder`, or a folder of such folders
    checkpoint: Path
    out: Path
    resolution: int = 320  # px, of the network and of the classical methods
    tuning_scenes: int = 12
    scales: tuple[str, ...] = ()
    tuning_px: int = 256  # side of the synthetic scenes
    n_max: int = 20  # clicks per surface


def open_real(plan: RealPlan, modalities: tuple[str, ...]) -> JoinedDataset:
    """All folders with ``rgb`` and ``labels`` in the root. Raises :class:`DataError` if there is none."""
    folders = [plan.root] if (plan.root / "rgb").is_dir() else sorted(p.parent for p in plan.root.glob("*/rgb"))
    if not folders:
        raise DataError(
            f"Expected folders with rgb/ and labels/ in {str(plan.root)!r} but got none; give another folder."
        )
    rules = dict(parse_scale(text) for text in plan.scales)
    parts = []
    for folder in folders:
        here = tuple(name for name in modalities if (folder / name).is_dir())
        options = DatasetOptions(root=str(folder), modalities=here, rules=rules)
        parts.append((folder.name, DATASETS["folder"](options)))
    return JoinedDataset(tuple(parts))


def run_real(plan: RealPlan, report: Report) -> None:
    """Measure what is not there yet: settings on synthetic scenes, then all methods on the real images."""
    protocol = EvaluationProtocol(smallest_area_px=SMALLEST_PX, n_max=plan.n_max)
    chosen = _choose_settings(plan, report)
    checkpoint = read_checkpoint(plan.checkpoint)
    model = load_model(checkpoint, plan.resolution).to(ProcessGroup().device)
    network = TorchPredictor(model, plan.resolution, plan.checkpoint.stem, checkpoint.sha256)
    dataset = open_real(plan, RGB_ONLY)
    name = checkpoint.config.preset
    _measure(plan, f"{name}, RGB alone", "checkpoint, without sensors", network, dataset, protocol, report)
    for method, setting in chosen.items():
        predictor = METHODS[method][setting](plan.resolution)
        _measure(plan, method, setting, predictor, dataset, protocol, report)
    sensors = tuple(n for n in open_real(plan, RGB_ONLY).modality_names if n in checkpoint.config.modality_names)
    if sensors and plan.scales:
        both = open_real(plan, sensors)
        _measure(plan, f"{name}, with {'+'.join(sensors)}", "where there is one", network, both, protocol, report)


def _choose_settings(plan: RealPlan, report: Report) -> dict[str, str]:
    """The best setting of each method by NoC@80 on synthetic scenes."""
    file = plan.out / _SETTINGS_FILE
    asked = {"resolution": plan.resolution, "scenes": plan.tuning_scenes, "px": plan.tuning_px}
    tried: dict[str, dict[str, float]] = {method: {} for method in METHODS}
    if file.is_file():
        stored = read_settings(file)
        if stored["asked"] == asked:
            tried |= stored["tried"]
    options = DatasetOptions(max_images=plan.tuning_scenes, seed=_TUNING_SEED, modalities=(), side_px=plan.tuning_px)
    scenes = DATASETS["synthetic"](options)
    protocol = EvaluationProtocol(stop_iou=0.95, smallest_area_px=SMALLEST_PX // 4, n_max=plan.n_max)
    for method, settings in METHODS.items():
        for setting in sorted(settings.keys() - tried[method].keys()):
            predictor = settings[setting](plan.resolution)
            noc = evaluate(predictor, scenes, protocol, name=method, workers=2).summary.noc["80"]
            tried[method][setting] = noc
            make_folder(plan.out)
            write_text_atomically(file, json.dumps({"asked": asked, "tried": tried}, indent=1) + "\n")
            report(f"{method}, {setting}: NoC@80 {noc:.2f} on {plan.tuning_scenes} synthetic scenes")
    return {method: min(sorted(scores), key=scores.__getitem__) for method, scores in tried.items()}


def read_settings(file: Path) -> dict[str, Any]:
    """What was asked and tried in an earlier run. Raises :class:`DataError`."""
    try:
        stored = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"Expected settings in {str(file)!r} but got {shown(str(error))}; remove the file.") from error
    fields = Place(str(file), "", stored, "remove the file").having("asked", "tried")
    for method, scores in fields["tried"].entries().items():
        for setting, noc in scores.entries().items():
            noc.number()
            if setting not in METHODS.get(method, {}):
                noc.fail("of a setting of a method that there is")
    return dict(stored)


def _measure(
    plan: RealPlan,
    name: str,
    description: str,
    predictor: Predictor,
    dataset: Dataset,
    protocol: EvaluationProtocol,
    report: Report,
) -> None:
    file = plan.out / f"{_file_name(name)}.json"
    if file.is_file() and _is_same(file, predictor, dataset):
        return
    evaluation = evaluate(predictor, dataset, protocol, name=name, description=description, workers=2)
    make_folder(plan.out)
    write_document(file, document([evaluation], dataset))
    noc = evaluation.summary.noc
    report(f"{name}: NoC@80 {noc['80']:.2f}, NoC@90 {noc['90']:.2f} on {evaluation.summary.surfaces} surfaces")


def _is_same(file: Path, predictor: Predictor, dataset: Dataset) -> bool:
    try:
        found = read_json(file)
        model = found["evaluations"][0]["model"]
    except (ValueError, KeyError, IndexError, TypeError):
        return False
    ours: Sequence[object] = (predictor.contract.checkpoint_sha256, predictor.contract.resolution, dataset.describe())
    return ours == (model["checkpoint_sha256"], model["resolution"], found["dataset"])


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)
