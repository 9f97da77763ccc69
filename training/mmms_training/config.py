"""Settings of a training run: one frozen dataclass, changed by a recipe and on the command line with
``--set name=value``.

The defaults are the paper's recipe. Where it is silent they are RITM's, from which the paper's authors start; ``None``
stands for what the paper has for this data set or preset. A recipe (:func:`read_recipe`) lists only what differs.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mmms_client.errors import DataError, UsageError
from mmms_client.json_place import shown
from mmms_client.json_text import parse_json
from mmms_training.click_sampling import ClickSamplingConfig
from mmms_training.presets import MMMSConfig, preset

Crop = Literal["pixels", "share"]
Schedule = Literal["drops", "cosine"]
Control = Literal["none", "other_scene", "grey"]

_LARGEST = 2**53  # of a number in a setting: every whole one below is a float, too
RECIPES = Path(__file__).parent / "recipes"
_EPOCHS = {"deliver": 100, "mfnet": 100, "fmb": 400, "mcubes": 400, "coco_lvis": 55}
_DROPS = {100: (95, 100), 400: (390, 400), 55: (50, 55)}  # epochs after which the learning rate falls
_EPOCHS_OF_OTHERS = 100


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides how a run goes, and therefore what it gives."""

    # the network
    preset: str = "mmms_dinov2_b14"
    modalities: tuple[str, ...] | None = None  # None = the preset's own; () = RGB alone
    has_effca: bool | None = None  # None = the preset's own; so for the next two
    has_mlp: bool | None = None
    has_lateral: bool | None = None
    backbone_weights: str | None = None  # hub name or folder (for nano: a checkpoint); None = the public name
    is_backbone_random: bool = False  # for tests and timing
    is_backbone_frozen: bool | None = None  # None = the preset's own

    # the data
    dataset: str = "mfnet"
    root: str | None = None  # folder of the data set; None = below $MMMS_DATA
    split: str | None = None  # None = "train" where the data set has one
    is_partial: bool = False  # accept another number of images than published
    allow_absent: bool = False  # modalities that the data lack are absent in every sample, instead of an error
    scales: tuple[str, ...] = ()  # NAME=FACTOR[:OFFSET[:INVALID]] per modality, as in `bench --scale`
    store: str | None = None  # folder of `mmms-train extract-features`: features instead of a backbone
    control: Control = "none"  # what stands in for the modalities: another scene's, or the grey RGB image
    validation_images: int = 0  # never trained on; of the split "val" if there is one, otherwise the last ones
    scene_px: int = 224  # synthetic only: side of a scene
    scene_reuse: int = 3  # synthetic only: times that a scene is shown, each time cut anew
    invisible_share: float = 0.25  # synthetic only: of border length that RGB cannot see
    seed: int = 0

    # one sample
    resolution: int = 448  # px, of the square the network sees
    crop: Crop = "pixels"  # a square of resolution / zoom px, or a rectangle that is a share of the image
    crop_zoom: tuple[float, float] = (1.0, 1.0)  # for "pixels"
    crop_scale: tuple[float, float] = (0.4, 0.9)  # for "share": each side relative to the image's
    flip_share: float = 0.0  # of samples that are mirrored
    photometric: bool = False  # brightness, contrast, colour and gamma of the RGB image
    modality_dropout: float = 0.0  # probability that a modality is absent from a sample
    image_dropout: float = 0.0  # probability that night, fog or a covered lens leaves little of the RGB image
    min_area_px: int = 1000  # a surface smaller than this, at network resolution, is no target
    merge_share: float = 0.15  # of targets that are two surfaces at once
    part_share: float = 0.0  # of targets that are one connected part of a surface
    clicks: ClickSamplingConfig = field(default=ClickSamplingConfig())

    # one step
    batch_size: int = 8  # images per step, over all processes
    surfaces_per_image: int = 1  # click sequences per image and step; the image is encoded once for all of them
    dice_weight: float = 0.0  # of the soft Dice loss beside the normalised focal loss
    affinity_weight: float = 0.0  # of the auxiliary loss on the features
    feature_steps: int = 0  # first steps in which the auxiliary loss is alone: no clicks yet, so they are cheap
    is_encoder_frozen: bool = False  # train CSNet and MSPatchEmbed alone, on the features of --weights
    is_bf16: bool | None = None  # None = where the processor computes in it

    # the run
    epochs: int | None = None  # None = the paper's for the data set
    samples_per_epoch: int | None = None  # None = the images of the data set
    steps: int = 0  # 0 = from epochs
    schedule: Schedule = "drops"
    drops: tuple[int, ...] | None = None  # epochs; None = the paper's
    drop_factor: float = 0.1
    learning_rate: float = 5e-5  # at the peak
    warmup_steps: int = 0
    final_share: float = 0.02  # cosine only: of the peak learning rate at the end
    schedule_steps: int = 0  # cosine only: its length; 0 = the run. A phase that others follow may end before it
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    gradient_clip: float = 0.0  # largest norm; 0 = no limit
    ema_decay: float = 0.0  # of the averaged weights that are saved; 0 = the weights themselves
    workers: int = 2  # processes that read and cut images
    checkpoint_every: int = 500  # steps
    log_every: int = 25  # steps
    pictures_every: int = 500  # steps; 0 = none
    validate_every: int = 0  # steps; 0 = at the end only


def network_of(config: TrainConfig) -> MMMSConfig:
    """The network that a run trains. Raises as :func:`mmms_training.presets.preset`."""
    network = preset(config.preset, config.modalities)
    switches = {name: getattr(config, name) for name in ("has_effca", "has_mlp", "has_lateral")}
    network = dataclasses.replace(network, **{name: value for name, value in switches.items() if value is not None})
    is_frozen = True if config.store is not None else config.is_backbone_frozen
    if is_frozen is None:
        return network
    return dataclasses.replace(network, backbone=dataclasses.replace(network.backbone, is_frozen=is_frozen))


def steps_of(config: TrainConfig, images: int) -> int:
    """Number of optimizer steps of a run on ``images`` images."""
    if config.steps:
        return config.steps
    return max(1, round(epochs_of(config) * steps_per_epoch(config, images)))


def steps_per_epoch(config: TrainConfig, images: int) -> float:
    """Optimizer steps in which each of ``images`` images (or ``samples_per_epoch``) comes once."""
    return (config.samples_per_epoch or images) / config.batch_size


def epochs_of(config: TrainConfig) -> int:
    return config.epochs or _EPOCHS.get(config.dataset, _EPOCHS_OF_OTHERS)


def drops_of(config: TrainConfig) -> tuple[int, ...]:
    """Epochs after which the learning rate is multiplied by ``drop_factor``."""
    return config.drops if config.drops is not None else _DROPS.get(epochs_of(config), ())


def override(config: TrainConfig, settings: Iterable[str]) -> TrainConfig:
    """A configuration with ``name=value`` settings applied; ``clicks.name=value`` reaches the click sampling.

    Raises :class:`UsageError` for a setting that does not exist (the nearest is suggested) or cannot be read.
    """
    for setting in settings:
        name, separator, text = setting.partition("=")
        if not separator:
            raise UsageError(f"Expected --set NAME=VALUE but got {shown(setting)}; write for example --set steps=1000.")
        if name.startswith("clicks."):
            inner = _replace(config.clicks, name.removeprefix("clicks."), text)
            config = dataclasses.replace(config, clicks=inner)
        else:
            config = _replace(config, name, text)
    return config


def settings_beyond(config: TrainConfig, other: TrainConfig) -> list[str]:
    """What :func:`override` has to be given to make ``config`` of ``other``: ``name=value``, in the order of fields."""
    ours, theirs = to_dict(config), to_dict(other)
    for settings in (ours, theirs):
        settings |= {f"clicks.{name}": value for name, value in settings.pop("clicks").items()}
    return [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in ours.items()
        if value != theirs[name]
    ]


def read_recipe(name: str) -> list[str]:
    """The settings of a recipe, ``name=value`` each: one that comes with the project, by name, or a file.

    Raises :class:`UsageError` if there is none, :class:`DataError` if it cannot be read.
    """
    known = sorted(file.stem for file in RECIPES.glob("*.txt"))
    file = RECIPES / f"{name}.txt" if name in known else Path(name)
    if not file.is_file():
        raise UsageError(f"Expected a recipe ({', '.join(known)}) or a file but got {name!r}; take one of these.")
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"Expected a recipe of name=value lines in {str(file)!r} but got {error}; correct it."
        ) from error
    return [text for line in lines if (text := line.partition("#")[0].strip())]


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """A JSON-ready dictionary."""
    return dataclasses.asdict(config)


def _replace(config: Any, name: str, text: str) -> Any:
    names = [f.name for f in dataclasses.fields(config)]
    if name not in names:
        near = difflib.get_close_matches(name[:60], names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"take one of {', '.join(names)}."
        raise UsageError(f"Expected a setting of {type(config).__name__} but got {shown(name)}; {hint}")
    kind = get_type_hints(type(config))[name]
    try:
        value = _read(kind, text)
    except ValueError as error:
        now = getattr(config, name)
        raise UsageError(
            f"Expected {name} to be {_said(kind)} (now {now!r}) but got {shown(text)}; correct it."
        ) from error
    return dataclasses.replace(config, **{name: value})


def _read(kind: Any, text: str) -> Any:
    """``text`` as a value of a field's type. Raises ``ValueError``."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if text.lower() in ("none", "null"):
            return None
        return _read(next(a for a in arguments if a is not type(None)), text)
    if origin is Literal:
        if text not in arguments:
            raise ValueError(text)
        return text
    if kind is str:
        return text
    value = parse_json(text, _refuse) if origin is not tuple or text.startswith("[") else text.split(",")
    if origin is tuple:
        if not isinstance(value, list) or (arguments[1:] != (...,) and len(value) != len(arguments)):
            raise ValueError(text)
        inner = arguments[0]
        return tuple(_read(inner, item if isinstance(item, str) else json.dumps(item)) for item in value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= _LARGEST
    if not (isinstance(value, bool) if kind is bool else is_number and (kind is float or isinstance(value, int))):
        raise ValueError(text)
    return kind(value)


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is not a number")


def _said(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return kind.__name__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)
