"""Settings of a training run: one frozen dataclass, changed on the command line with ``--set name=value``."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from mmms_client.errors import UsageError
from mmms_training.click_sampling import ClickSamplingConfig


@dataclass(frozen=True)
class TrainConfig:
    """The defaults train the shipped ``nano`` checkpoint on synthetic scenes, from nothing, on two CPU cores."""

    preset: str = "nano"
    modalities: tuple[str, ...] | None = None  # None = the preset's own
    has_lateral: bool | None = None  # None = the preset's own
    dataset: Literal["synthetic"] = "synthetic"
    seed: int = 0
    resolution: int = 192  # px, of the square the network sees
    scene_px: int = 224  # px, side of a rendered scene before the random crop
    crop_scale: tuple[float, float] = (0.4, 0.9)  # side of the crop relative to the scene
    scene_reuse: int = 3  # times that a rendered scene is shown, each time cut and flipped anew
    invisible_share: float = 0.25  # of border length that RGB cannot see
    steps: int = 1000
    batch_size: int = 6  # images per step
    surfaces_per_image: int = 3  # click sequences per image and step; the image is encoded once for all of them
    min_area_px: int = 48  # a surface smaller than this, at network resolution, is no target
    part_share: float = 0.15  # of targets that are one connected part of a surface
    merge_share: float = 0.1  # of targets that are two surfaces at once
    modality_dropout: float = 0.25  # probability that a modality is absent from a sample
    image_dropout: float = 0.0  # probability that night, fog or a covered lens leaves little of the RGB image
    photometric: bool = True  # brightness, contrast, colour and gamma of the RGB image
    clicks: ClickSamplingConfig = field(default=ClickSamplingConfig(max_next=3, centre_share=0.6))
    dice_weight: float = 1.0  # of the soft Dice loss beside the normalised focal loss; the paper's recipe has none
    affinity_weight: float = 1.0  # of the auxiliary loss on the features; the paper's recipe has none
    feature_steps: int = 150  # first steps in which the auxiliary loss is alone: no clicks yet, so they are cheap
    is_encoder_frozen: bool = False  # train CSNet and MSPatchEmbed alone, on the features of --weights
    learning_rate: float = 1.5e-3  # at the peak
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.02
    warmup_steps: int = 30
    final_share: float = 0.02  # of the peak learning rate at the end of the cosine
    schedule_steps: int = 0  # length of the cosine; 0 = ``steps``. A phase that others follow may end before it
    gradient_clip: float = 1.0  # largest norm
    ema_decay: float = 0.998  # of the averaged weights that are saved
    is_bf16: bool = True
    workers: int = 1  # processes that render scenes
    checkpoint_every: int = 250  # steps
    log_every: int = 25  # steps


def override(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """A configuration with ``name=value`` settings applied; ``clicks.name=value`` reaches the click sampling.

    Raises :class:`UsageError` for a setting that does not exist (the nearest is suggested) or cannot be read.
    """
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"Expected --set NAME=VALUE but got {setting!r}; write for example --set steps=1000.")
        if name.startswith("clicks."):
            inner = _replace(config.clicks, name.removeprefix("clicks."), text)
            config = dataclasses.replace(config, clicks=inner)
        else:
            config = _replace(config, name, text)
    return config


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """A JSON-ready dictionary."""
    return dataclasses.asdict(config)


def _replace(config: Any, name: str, text: str) -> Any:
    names = [f.name for f in dataclasses.fields(config)]
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"take one of {', '.join(names)}."
        raise UsageError(f"Expected a setting of {type(config).__name__} but got {name!r}; {hint}")
    current = getattr(config, name)
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = text
    if isinstance(value, list):
        value = tuple(value)
    fits = isinstance(value, type(current)) or (isinstance(current, float) and isinstance(value, int))
    if current is not None and (not fits or (isinstance(value, bool) != isinstance(current, bool))):
        raise UsageError(
            f"Expected {name} to be {type(current).__name__} (now {current!r}) but got {text!r}; correct it."
        )
    return dataclasses.replace(config, **{name: value})
