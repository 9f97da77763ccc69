"""The paper's central claim, measured: does a click network with more sensors need fewer clicks?

One RGB network per seed stands for the paper's public backbone: it is trained first, on RGB alone, from nothing or
from the image's part of another network. From it start all networks that are compared, with the same budget, the same
scenes in the same order and the same settings; they differ in nothing but the modalities (or the switches of Table
VII). The RGB-only network among them gets the same budget again. Each is measured on scenes that no run has seen,
with other shares of invisible borders than it was trained on, too. Two controls have modalities that say nothing new:
those of another scene, and the grey RGB image.

Everything is resumable: finished runs and measurements are files in the output folder.
"""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmms_client.errors import UsageError
from mmms_client.files import make_folder, write_text_atomically
from mmms_client.json_text import read_json
from mmms_eval.datasets import Dataset
from mmms_eval.datasets.controls import ControlledDataset
from mmms_eval.datasets.synthetic import FIRST_HELD_OUT_SEED, SyntheticDataset
from mmms_eval.report import document, write_document
from mmms_eval.runner import evaluate
from mmms_eval.synthetic import SceneConfig
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.config import TrainConfig, override, read_recipe, settings_beyond
from mmms_training.loop import Trainer
from mmms_training.parallel import ProcessGroup
from mmms_training.predictor import TorchPredictor
from mmms_training.run_state import CHECKPOINT_NAME
from mmms_training.validation import PROTOCOL

Report = Callable[[str], None]
BASE = "base"  # the RGB network from which all others start
COMMAND_FILE = "command.txt"
TRAINED_SHARE = 25  # percent of borders invisible in RGB, in training
SHARES = (25, 0, 10, 50)
_FEATURE_SHARE = 0.35  # of the base run's steps that train features alone


@dataclass(frozen=True)
class Variant:
    """One network of the comparison. ``shares``: where it is measured; the trained share alone by default."""

    name: str
    modalities: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    has_all_shares: bool = False


_BOTH = ("thermal", "depth")
VARIANTS = (  # the most telling first
    Variant("rgb", (), has_all_shares=True),
    Variant("thermal+depth", _BOTH, has_all_shares=True),
    Variant("thermal", ("thermal",), has_all_shares=True),
    Variant("depth", ("depth",), has_all_shares=True),
    Variant("control-other-scene", _BOTH, {"control": "other_scene"}),
    Variant("control-grey", _BOTH, {"control": "grey"}),
    Variant("effca-only", _BOTH, {"has_mlp": False}),
    Variant("mlp-only", _BOTH, {"has_effca": False}),
    Variant("neither", _BOTH, {"has_effca": False, "has_mlp": False}),
)


@dataclass(frozen=True)
class ClaimPlan:
    """What is asked for. Budgets count images that a run is shown."""

    out: Path
    budget: int
    base_budget: int
    seeds: tuple[int, ...] = (0, 1)
    images: int = 100  # held-out scenes per measurement
    shares: tuple[int, ...] = SHARES
    variants: tuple[Variant, ...] = VARIANTS
    start: Path | None = None  # a trained RGB network instead of base runs
    base_start: Path | None = None  # whose backbone, ParallelFPN and CSNet base runs start with; None = nothing
    scene_px: int = 256  # side of the held-out scenes
    n_max: int = 20  # clicks per surface

    def __post_init__(self) -> None:
        if TRAINED_SHARE not in self.shares or min(self.shares) < 0 or max(self.shares) > 100:
            raise UsageError(f"Expected shares in percent with {TRAINED_SHARE} but got {self.shares}; change --shares.")

    def run_folder(self, name: str, seed: int) -> Path:
        return self.out / "runs" / f"{name}-seed{seed}"

    def result_file(self, name: str, seed: int, share: int) -> Path:
        return self.out / "results" / f"{name}-seed{seed}-invisible{share}.json"

    def measurements(self, seed: int) -> Iterator[tuple[Variant, int]]:
        """Which network is measured at which share, the trained share of all networks first."""
        for share in sorted(self.shares, key=lambda share: share != TRAINED_SHARE):
            for variant in self.variants:
                if share == TRAINED_SHARE or variant.has_all_shares:
                    yield variant, share


def choose_variants(names: Sequence[str] | None) -> tuple[Variant, ...]:
    """Variants by name; all of them for ``None``. Raises :class:`UsageError`."""
    known = {variant.name: variant for variant in VARIANTS}
    wrong = [name for name in names or () if name not in known]
    if wrong:
        raise UsageError(f"Expected networks out of {', '.join(known)} but got {wrong[0]!r}; change --only.")
    return VARIANTS if names is None else tuple(known[name] for name in names)


def run_claim(plan: ClaimPlan, config: TrainConfig, report: Report) -> None:
    """Train and measure what is not there yet. ``config`` holds what all runs have in common.

    Under ``torchrun`` the processes train together and share out the measurements.
    """
    group = ProcessGroup()
    tell: Report = report if group.is_main else lambda _: None
    for seed in plan.seeds:
        seeded = dataclasses.replace(config, seed=seed)
        start = plan.start
        if start is None:
            start = plan.run_folder(BASE, seed)
            base = base_config(seeded, plan.base_budget, plan.base_start is None)
            _train(base, start, plan.base_start, tell)
        for variant in plan.variants:
            tell(f"-- {variant.name}, seed {seed}")
            _train(variant_config(seeded, variant, plan.budget), plan.run_folder(variant.name, seed), start, tell)
        if group.is_main:
            _keep_command(plan, config)
        tasks = list(plan.measurements(seed))
        for variant, share in tasks[group.rank :: group.size]:
            _measure(plan, variant, seed, share, report)
        group.wait()
    group.close()


def command(plan: ClaimPlan, config: TrainConfig) -> str:
    """What gives all networks and measurements with these settings, whatever part of them was asked for now."""
    recipe = override(TrainConfig(), read_recipe("claim"))
    options = {
        "--budget": plan.budget,
        "--base-budget": plan.base_budget,
        "--weights": plan.start,
        "--base-weights": plan.base_start,
        "--images": plan.images,
        "--scene-px": plan.scene_px,
    }
    words = [str(word) for option in options.items() if option[1] is not None for word in option]
    words += [word for setting in settings_beyond(config, recipe) for word in ("--set", setting)]
    return shlex.join(["training/recipes/claim.sh", "build/claim", *words])


def _keep_command(plan: ClaimPlan, config: TrainConfig) -> None:
    file, text = plan.out / COMMAND_FILE, command(plan, config) + "\n"
    if not file.is_file() or file.read_text("utf-8") != text:
        make_folder(plan.out)
        write_text_atomically(file, text)


def base_config(config: TrainConfig, budget: int, is_from_nothing: bool = True) -> TrainConfig:
    """The RGB network that stands for a public backbone: features first, then clicks; both at once for one that
    starts from weights.
    """
    steps = max(1, budget // config.batch_size)
    return dataclasses.replace(
        config,
        modalities=(),
        steps=steps,
        feature_steps=round(_FEATURE_SHARE * steps) if config.affinity_weight and is_from_nothing else 0,
        warmup_steps=min(50, steps // 10),
        final_share=0.2,  # others go on from it
    )


def variant_config(config: TrainConfig, variant: Variant, budget: int) -> TrainConfig:
    steps = max(1, budget // config.batch_size)
    return dataclasses.replace(
        config,
        modalities=variant.modalities,
        steps=steps,
        feature_steps=0,
        warmup_steps=min(50, steps // 10),
        **variant.settings,
    )


def _train(config: TrainConfig, out: Path, start: Path | None, report: Report) -> None:
    trainer = Trainer(config, out, start)
    trainer.resume()
    if trainer.step < trainer.steps:
        trainer.run(report)


def _measure(plan: ClaimPlan, variant: Variant, seed: int, share: int, report: Report) -> None:
    """Measure one network at one share, unless that was done for this very checkpoint."""
    checkpoint = read_checkpoint(plan.run_folder(variant.name, seed) / CHECKPOINT_NAME)
    file = plan.result_file(variant.name, seed, share)
    if _is_done(file, checkpoint.sha256, plan.images):
        return
    resolution = checkpoint.training["settings"]["resolution"]
    backbone = checkpoint.training["settings"]["backbone_weights"] if checkpoint.config.backbone.is_frozen else None
    model = load_model(checkpoint, resolution, backbone).to(ProcessGroup().device)
    predictor = TorchPredictor(model, resolution, f"{variant.name}-seed{seed}", checkpoint.sha256)
    protocol = dataclasses.replace(PROTOCOL, n_max=plan.n_max)
    dataset = held_out_scenes(plan, variant, share, predictor)
    evaluation = evaluate(predictor, dataset, protocol, name=variant.name, description=f"seed {seed}")
    make_folder(file.parent)
    write_document(file, document([evaluation], dataset))
    summary = evaluation.summary
    report(
        f"{variant.name}, seed {seed}, {share} % invisible: NoC@80 {summary.noc['80']:.2f}, NoC@90 "
        f"{summary.noc['90']:.2f}, NoCMS {summary.nocms:.2f}, FRMS {summary.frms_percent:.1f} %"
    )


def held_out_scenes(plan: ClaimPlan, variant: Variant, share: int, predictor: TorchPredictor) -> Dataset:
    """Scenes that no run has seen; the same images for all variants."""
    specs = {spec.name: spec for spec in predictor.contract.modalities}
    scene = SceneConfig(size_hw=(plan.scene_px, plan.scene_px), invisible_share=share / 100)
    scenes = SyntheticDataset(scene, FIRST_HELD_OUT_SEED, plan.images, tuple(specs))
    control = variant.settings.get("control")
    return scenes if control is None else ControlledDataset(scenes, control, specs)


def _is_done(file: Path, sha256: str, images: int) -> bool:
    if not file.is_file():
        return False
    try:
        found = read_json(file)
        return bool(
            found["evaluations"][0]["model"]["checkpoint_sha256"] == sha256 and found["dataset"]["images"] == images
        )
    except (ValueError, KeyError, IndexError, TypeError):
        return False
