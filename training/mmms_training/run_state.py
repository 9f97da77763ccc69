"""What a run leaves on disk: the state it resumes from, and the checkpoint that others use."""

from __future__ import annotations

import io
import json
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmms_client.errors import DataError
from mmms_client.files import make_folder, write_bytes_atomically
from mmms_client.json_place import shown
from mmms_client.json_text import parse_json
from mmms_training.checkpoint import save_checkpoint
from mmms_training.config import to_dict
from mmms_training.model.backbone import fingerprint

if TYPE_CHECKING:
    from mmms_training.loop import Trainer

STATE_NAME = "state.pt"  # tensors, numbers and strings only: read back without unpickling anything else
CHECKPOINT_NAME = "checkpoint.safetensors"


def how_trained(trainer: Trainer) -> dict[str, Any]:
    """What a checkpoint says of its making."""
    return {
        "backbone_sha256": _backbone_hash(trainer),
        "settings": to_dict(trainer.config),
        "steps_done": trainer.step,
        "images_per_epoch": len(trainer.source),
        "started_from": str(trainer.start) if trainer.start else None,
    }


def _backbone_hash(trainer: Trainer) -> str | None:
    """Of a frozen backbone, which the checkpoint does not hold: whoever serves it elsewhere can be asked for it."""
    if trainer.store is not None:
        return trainer.store.facts.backbone_sha256
    return fingerprint(trainer.model.backbone) if trainer.model.config.backbone.is_frozen else None


def write_state(trainer: Trainer) -> None:
    """Write both files atomically. Raises :class:`OutputError`; the files before are then still whole."""
    state = {
        "step": trainer.step,
        "images": len(trainer.source),
        "model": _own_state(trainer),
        "ema": trainer.ema,
        "affinity": trainer.affinity.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "config": _settings(trainer),
    }
    buffer = io.BytesIO()
    torch.save(state, buffer)
    make_folder(trainer.out)
    write_bytes_atomically(trainer.out / STATE_NAME, buffer.getvalue())
    save_checkpoint(trainer.out / CHECKPOINT_NAME, trainer.model.config, trainer.ema, how_trained(trainer))


def read_state(trainer: Trainer) -> bool:
    """Bring a trainer to the state in its folder; ``False`` if there is none.

    Raises :class:`DataError` if the run was begun with other settings or another number of images.
    """
    path = trainer.out / STATE_NAME
    if not path.is_file():
        return False
    state = load_state(path, trainer.device)
    if parse_json(state["config"]) != json.loads(_settings(trainer)):
        raise DataError(
            f"Expected the run in {trainer.out} to have these settings but it was begun with others; give the same "
            "settings, or another --out."
        )
    if state["images"] != len(trainer.source):
        raise DataError(
            f"Expected {shown(state['images'])} images, with which the run in {trainer.out} was begun, but got "
            f"{len(trainer.source)}; bring the data back, or give another --out."
        )
    try:
        missing, unexpected = trainer.model.load_state_dict(state["model"], strict=False)
        odd = [*unexpected, *(name for name in missing if not name.startswith("backbone."))]
        if odd or {n: v.shape for n, v in state["ema"].items()} != {n: v.shape for n, v in trainer.ema.items()}:
            raise ValueError("weights of another network")
        trainer.ema = {name: value.to(trainer.device) for name, value in state["ema"].items()}
        trainer.affinity.load_state_dict(state["affinity"])
        _load_optimizer(trainer.optimizer, state["optimizer"])
        trainer.step = int(state["step"])
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise _broken(path, error) from error
    return True


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """The moments and their age; the settings remain the run's own.

    Raises ``ValueError`` for what PyTorch would take: moments of other shapes than the weights, an age below zero.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, settings in zip(optimizer.param_groups, own, strict=True):
        if set(group) != {"params", *settings}:
            raise ValueError("an optimizer of other settings")
        group.update(settings)
    for weight in weights:
        moments = optimizer.state.get(weight, {})
        if not 0 <= float(moments.get("step", 0)) < math.inf:
            raise ValueError("a step that cannot be")
        for value in moments.values():
            if isinstance(value, Tensor) and value.ndim and value.shape != weight.shape:
                raise ValueError("moments of other weights")


def load_state(path: Path, device: torch.device) -> dict[str, Any]:
    """What :func:`write_state` wrote: tensors, numbers and texts. Nothing in it is run.

    Raises :class:`DataError` for anything else.
    """
    try:
        _check_archive(path)
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        if not isinstance(state, dict) or not isinstance(state.get("config"), str):
            raise ValueError("another structure")
        _check_tensors(state)
        parse_json(state["config"])
        missing = {"step", "images", "model", "ema", "affinity", "optimizer"} - set(state)
        if missing:
            raise ValueError(f"no {min(missing)}")
    except Exception as error:  # PyTorch raises whatever the broken bytes lead it to
        raise _broken(path, error) from error
    return state


def _check_archive(path: Path) -> None:
    """Raise unless the file holds what it declares: PyTorch would inflate a thousand times its size."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    is_plain = all(m.compress_type == zipfile.ZIP_STORED and m.file_size == m.compress_size for m in members)
    if not is_plain or sum(m.file_size for m in members) > path.stat().st_size:
        raise ValueError("an archive that is deflated, or too short")


def _check_tensors(state: dict[str, Any]) -> None:
    """Raise for a tensor of more numbers than its storage has: a stride of 0 repeats one without end."""
    todo: list[Any] = [state]
    seen: set[int] = set()
    while todo:
        value = todo.pop()
        if isinstance(value, Tensor) and value.nbytes > value.untyped_storage().nbytes():
            raise ValueError("a tensor of more numbers than there are")
        if isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))
            todo += value.values() if isinstance(value, dict) else value


def _broken(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:120] or type(error).__name__
    return DataError(f"Expected the state of a run in {str(path)!r} but got {shown(reason)}; remove it to begin anew.")


def _own_state(trainer: Trainer) -> dict[str, Tensor]:
    """The network without a frozen backbone, which is loaded from where it comes from."""
    is_frozen = trainer.model.config.backbone.is_frozen
    return {
        name: value
        for name, value in trainer.model.state_dict().items()
        if not (is_frozen and name.startswith("backbone."))
    }


def _settings(trainer: Trainer) -> str:
    return json.dumps({**to_dict(trainer.config), "start": str(trainer.start) if trainer.start else None})
