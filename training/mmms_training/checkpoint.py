"""Checkpoints: safetensors files that hold weights and, in their metadata, the configuration. Nothing is ever
unpickled.

A frozen backbone is not stored: it is somebody else's work under its public name, and its position embeddings depend
on the resolution. The metadata names it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mmms_client.errors import DataError
from mmms_client.files import write_bytes_atomically
from mmms_client.json_place import shown
from mmms_client.json_text import parse_json
from mmms_training.model.mmms import MMMS, build_mmms
from mmms_training.presets import MMMSConfig, config_from_dict, config_to_dict

FORMAT = "mmms-checkpoint-1"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file says of itself."""

    path: Path
    sha256: str
    config: MMMSConfig
    training: dict[str, Any]  # how it was made: settings, seed, steps, command
    weights: dict[str, Tensor]


def stored_weights(model: MMMS) -> dict[str, Tensor]:
    """The weights that belong into a checkpoint, by name."""
    is_frozen = model.config.backbone.is_frozen
    return {
        name: value
        for name, value in model.state_dict().items()
        if not (is_frozen and name.startswith("backbone.")) and not name.endswith("num_batches_tracked")
    }


def save_checkpoint(
    path: Path,
    config: MMMSConfig,
    weights: dict[str, Tensor],
    training: dict[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a checkpoint atomically. Raises :class:`OutputError` when it cannot be written."""
    metadata = {
        "format": FORMAT,
        "config": json.dumps(config_to_dict(config), sort_keys=True),
        "training": json.dumps(training, sort_keys=True),
    }
    tensors = {name: value.detach().to("cpu", dtype).contiguous() for name, value in weights.items()}
    write_bytes_atomically(path, save(tensors, metadata))


def find_checkpoint(name: str) -> Path:
    """The file of a checkpoint: a path, or the name of one in ``checkpoints/`` here or beside the sources.

    Raises :class:`DataError` if there is none.
    """
    places = [Path(name), Path("checkpoints") / f"{name}.safetensors"]
    places.append(Path(__file__).resolve().parents[2] / "checkpoints" / f"{name}.safetensors")
    for place in places:
        if place.is_file():
            return place
    raise DataError(
        f"Expected a checkpoint file, or a name in checkpoints/, but got {name!r}; give the path of a file."
    )


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint. Raises :class:`DataError` when it is missing, broken or of another format."""
    if not path.is_file():
        raise DataError(f"Expected a checkpoint at {path} but there is no such file; train one with `mmms-train`.")
    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            weights = {name: handle.get_tensor(name).float() for name in handle.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            raise DataError(
                f"Expected a checkpoint of format {FORMAT} in {path} but got {shown(metadata.get('format'))}; "
                "make it with this version's `mmms-train`."
            )
        config = config_from_dict(parse_json(metadata["config"]))
        training = parse_json(metadata["training"])
        if not isinstance(training, dict):
            raise ValueError("no account of the training")
    except DataError:
        raise
    except Exception as error:  # safetensors raises whatever the broken bytes lead it to
        reason = shown(" ".join(str(error).split()))
        raise DataError(f"Expected a readable checkpoint but {path} is broken ({reason}); make it again.") from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Checkpoint(path, digest, config, training, weights)


def load_model(
    checkpoint: Checkpoint,
    resolution: int,
    backbone_weights: str | Path | None = None,
    random_backbone: bool = False,
    has_backbone: bool = True,
) -> MMMS:
    """The network of a checkpoint in evaluation mode and fp32, for one resolution.

    Raises:
        DataError: weights that do not fit the configuration, or a public backbone that cannot be loaded.
    """
    is_nano = checkpoint.config.backbone.kind == "nano_vit"
    if has_backbone and is_nano and checkpoint.config.backbone.is_frozen and backbone_weights is None:
        raise DataError(
            f"Expected the nano checkpoint whose backbone {checkpoint.path} was trained on but got none; give it with "
            "--backbone-weights FILE, or leave the backbone out."
        )
    _check_shapes(checkpoint, resolution, has_backbone and is_nano)
    model = build_mmms(checkpoint.config, resolution, backbone_weights, random_backbone, has_backbone)
    expected = set(stored_weights(model))
    stored = {n for n in checkpoint.weights if has_backbone or not n.startswith("backbone.")}
    if expected != stored:
        odd = sorted(expected ^ stored)[0]
        raise DataError(
            f"Expected the weights of preset {shown(checkpoint.config.preset)} in {checkpoint.path} but {shown(odd)} "
            "is on one side only; the checkpoint belongs to another configuration."
        )
    try:
        model.load_state_dict(checkpoint.weights, strict=False)
    except RuntimeError as error:  # of the backbone; the rest was looked at
        raise _does_not_fit(checkpoint, "a weight of the backbone") from error
    return model.eval()


def _check_shapes(checkpoint: Checkpoint, resolution: int, has_backbone: bool) -> None:
    """Raise :class:`DataError` unless the weights have the shapes of the configuration, before memory is taken for it.

    A public backbone is not looked at: it is built from its own weights.
    """
    try:
        with torch.device("meta"):
            model = build_mmms(checkpoint.config, resolution, random_backbone=True, has_backbone=has_backbone)
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise _does_not_fit(checkpoint, "the configuration") from error
    for name, value in stored_weights(model).items():
        if name in checkpoint.weights and checkpoint.weights[name].shape != value.shape:
            raise _does_not_fit(checkpoint, repr(name))


def _does_not_fit(checkpoint: Checkpoint, what: str) -> DataError:
    return DataError(
        f"Expected the weights of preset {shown(checkpoint.config.preset)} in {checkpoint.path} but {what} does not "
        "fit; make the checkpoint again."
    )
