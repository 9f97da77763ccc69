"""Going on with a checkpoint on one's own images, and what it gained on images that were held out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import torch

from mmms_client.errors import DataError
from mmms_client.files import make_folder, write_text_atomically
from mmms_client.json_place import Place, shown
from mmms_client.json_text import read_json
from mmms_training.checkpoint import Checkpoint, read_checkpoint, save_checkpoint
from mmms_training.config import TrainConfig
from mmms_training.loop import Trainer
from mmms_training.presets import PRESETS
from mmms_training.run_state import how_trained
from mmms_training.validation import validate

GAIN_NAME = "gain.json"
TUNED_NAME = "tuned.safetensors"
Measured = dict[str, float]


def finetune(path: Path, config: TrainConfig, out: Path, report: Callable[[str], None]) -> tuple[Measured, Measured]:
    """Go on with the checkpoint at ``path`` and write ``tuned.safetensors`` (fp16) and ``gain.json`` to ``out``.

    Returns what was measured on the held-out images before and after, by name; both empty with
    ``validation_images=0``. Raises as :class:`Trainer`.
    """
    config = as_checkpoint(config, read_checkpoint(path))
    trainer = Trainer(config, out, path)
    is_resumed = trainer.resume()
    file = out / GAIN_NAME
    before: Measured = {}
    if config.validation_images:
        if is_resumed and file.is_file():
            before = _measured_before(file)
        else:
            before, told = validate(config, trainer.model, trainer.ema)
            report(f"before: {told}")
            make_folder(out)
            write_text_atomically(file, json.dumps({"before": before}, indent=1) + "\n")
    if trainer.step < trainer.steps:
        trainer.run(report)
    after = trainer.validated
    if config.validation_images and not after:
        after, _ = validate(config, trainer.model, trainer.ema)
    if after:
        write_text_atomically(file, json.dumps({"before": before, "after": after}, indent=1) + "\n")
        told = ", ".join(f"{n.removeprefix('val/')} {before[n]:.2f} -> {after[n]:.2f}" for n in after)
        report(f"on {config.validation_images} held-out images: {told}")
    save_checkpoint(out / TUNED_NAME, trainer.model.config, trainer.ema, how_trained(trainer), torch.float16)
    report(f"wrote {out / TUNED_NAME}; serve it with: mmms-export --checkpoint {out / TUNED_NAME} --out REPOSITORY")
    return before, after


def _measured_before(file: Path) -> Measured:
    """What was measured before the run that goes on. Raises :class:`DataError`."""
    try:
        content = Place(str(file), "", read_json(file), "remove the file")
    except (OSError, ValueError) as error:
        raise DataError(f"Expected numbers in {str(file)!r} but got {shown(str(error))}; remove the file.") from error
    return {name: number.number() for name, number in content.having("before")["before"].entries().items()}


def as_checkpoint(config: TrainConfig, checkpoint: Checkpoint) -> TrainConfig:
    """``config`` for the checkpoint's own network, which its preset, modalities and switches make again."""
    network = checkpoint.config
    if network.preset not in PRESETS:
        raise DataError(
            f"Expected a checkpoint of a preset ({', '.join(PRESETS)}) in {checkpoint.path} but got "
            f"{network.preset!r}; use the version of this program that made it."
        )
    return dataclasses.replace(
        config,
        preset=network.preset,
        modalities=network.modality_names,
        has_effca=network.has_effca,
        has_mlp=network.has_mlp,
        has_lateral=network.has_lateral,
        is_backbone_frozen=network.backbone.is_frozen,
    )
