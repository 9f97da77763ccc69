"""Configurations of the network, one frozen dataclass per published checkpoint.

Paper symbol -> our name: ``P`` -> ``patch_size``, ``D`` -> ``width``, ``C_i`` -> ``pyramid_channels``,
``R_i`` -> ``reduction_rates``, ``M`` -> ``len(modalities)``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mmms_client.contract import KNOWN_MODALITIES, ModalitySpec
from mmms_client.errors import ModalityError, UsageError
from mmms_client.json_place import Place, shown
from mmms_client.typed_json import read_object

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_LARGEST, _DEEPEST = 16384, 128  # of the widths and depths of a network that a file describes
BackboneKind = Literal["nano_vit", "dinov2_with_registers", "vit_mae", "sam", "ijepa"]


@dataclass(frozen=True)
class BackboneConfig:
    """A vision transformer that gives F1..F4.

    ``taps`` are block numbers, counted from 1: F_k is the output of block ``taps[k-1]``. For ``nano_vit`` the first two
    features come from the convolutional stem instead and ``taps`` names the blocks of the last two.
    """

    kind: BackboneKind
    hub_name: str | None
    patch_size: int  # px
    width: int
    depth: int  # blocks
    heads: int
    taps: tuple[int, ...]
    native_resolution: int | None = None  # px; the image is resized to it first (SAM)
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    is_frozen: bool = True
    stem_channels: tuple[int, int, int] = (24, 40, 80)  # nano_vit only: widths at 1/2, 1/4, 1/8


@dataclass(frozen=True)
class MMMSConfig:
    """The whole network."""

    preset: str
    backbone: BackboneConfig
    modalities: tuple[ModalitySpec, ...]
    pyramid_channels: tuple[int, int, int, int] = (64, 128, 320, 512)  # C at H/4, H/8, H/16, H/32
    reduction_rates: tuple[int, int, int, int] = (8, 4, 2, 1)  # R: keys and values are taken every R px
    heads: tuple[int, int, int, int] = (1, 2, 5, 8)
    encoder_depths: tuple[int, int, int, int] = (2, 2, 2, 2)  # blocks per stage of a modality's encoder
    csnet_depths: tuple[int, int, int, int] = (2, 2, 2, 2)  # blocks per stage of CSNet
    head_width: int = 256
    expansion: int = 4  # of every Mix-FFN
    has_effca: bool = True  # Table VII: off = the modality's features are simply added
    has_mlp: bool = True  # Table VII: off = the CrossBlock ends after the attention
    has_lateral: bool = False  # ours: the modality's token of the same place also reaches the sum, past the attention
    disk_radius_px: float = 5.0  # of a click, at network resolution

    @property
    def modality_names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modalities)


_DINOV2_B14 = BackboneConfig(
    "dinov2_with_registers", "facebook/dinov2-with-registers-base", 14, 768, 12, 12, (3, 6, 9, 12)
)
_MAE_B16 = BackboneConfig("vit_mae", "facebook/vit-mae-base", 16, 768, 12, 12, (3, 6, 9, 12))
_SAM_B16 = BackboneConfig("sam", "facebook/sam-vit-base", 16, 768, 12, 12, (3, 6, 9, 12), native_resolution=1024)
_IJEPA_H16 = BackboneConfig("ijepa", "facebook/ijepa_vith16_1k", 16, 1280, 32, 16, (8, 16, 24, 32))
_NANO_VIT = BackboneConfig("nano_vit", None, 16, 160, 6, 5, (3, 6), is_frozen=False)


def _known(*names: str) -> tuple[ModalitySpec, ...]:
    return tuple(KNOWN_MODALITIES[name].spec for name in names)


PRESETS: dict[str, MMMSConfig] = {
    config.preset: config
    for config in (
        MMMSConfig(
            preset="nano",
            backbone=_NANO_VIT,
            modalities=_known("thermal", "depth"),
            pyramid_channels=(32, 64, 128, 160),
            heads=(1, 2, 4, 5),
            reduction_rates=(4, 2, 1, 1),  # keys every 16 px: small surfaces have keys of their own
            encoder_depths=(1, 1, 1, 1),
            csnet_depths=(1, 1, 2, 1),
            head_width=96,
            has_lateral=True,
        ),
        MMMSConfig("mmms_dinov2_b14", _DINOV2_B14, _known("thermal")),
        MMMSConfig("mmms_mae_b16", _MAE_B16, _known("thermal")),
        MMMSConfig("mmms_sam_b16", _SAM_B16, _known("thermal")),
        MMMSConfig("mmms_ijepa_h16", _IJEPA_H16, _known("thermal")),
    )
}


def preset(name: str, modalities: Sequence[str] | None = None) -> MMMSConfig:
    """The configuration of a preset, with other modalities than its own if ``modalities`` (names) is given.

    Raises:
        UsageError: no such preset; names the nearest one.
        ModalityError: a modality that this project has no default specification for.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name[:60], PRESETS, 1)
        hint = f"did you mean {near[0]!r}?" if near else "take one of these."
        raise UsageError(f"Expected a preset ({', '.join(PRESETS)}) but got {shown(name)}; {hint}")
    config = PRESETS[name]
    if modalities is None:
        return config
    for modality in modalities:
        if modality not in KNOWN_MODALITIES:
            known = ", ".join(KNOWN_MODALITIES)
            raise ModalityError(
                f"Expected modalities out of {known} but got {shown(modality)}; rename it to one of these."
            )
    return dataclasses.replace(config, modalities=_known(*modalities))


def config_to_dict(config: MMMSConfig) -> dict[str, Any]:
    """A JSON-ready dictionary of a configuration."""
    return dataclasses.asdict(config)


def config_from_dict(data: dict[str, Any]) -> MMMSConfig:
    """Inverse of :func:`config_to_dict`; lists become tuples again.

    Raises :class:`mmms_client.errors.SessionFormatError` for unknown keys and other types, and ``ValueError`` for
    numbers that no network has: memory is taken for them.
    """
    config = read_object(Place("the configuration", "", data, "make the checkpoint again"), MMMSConfig)
    backbone = config.backbone
    positive = [
        *(backbone.patch_size, backbone.width, backbone.depth, backbone.heads, *backbone.taps, *backbone.stem_channels),
        *(*config.pyramid_channels, *config.reduction_rates, *config.heads, *config.csnet_depths),
        *(*config.encoder_depths, config.head_width, config.expansion, backbone.native_resolution or 1),
        *(spec.channels for spec in config.modalities),
    ]
    depths = (backbone.depth, *config.csnet_depths, *config.encoder_depths, *backbone.taps, len(config.modalities))
    divided = [(backbone.width, backbone.heads), *zip(config.pyramid_channels, config.heads, strict=True)]
    is_sound = min(positive) >= 1 and max(positive) <= _LARGEST and max(depths) <= _DEEPEST
    if not is_sound or any(width % heads for width, heads in divided) or max(backbone.taps) > backbone.depth:
        raise ValueError("numbers that no network has")
    if len(set(config.modality_names)) < len(config.modalities) or not 0.0 < config.disk_radius_px <= _LARGEST:
        raise ValueError("a modality twice, or disks of no radius")
    return config


__all__ = ["PRESETS", "BackboneConfig", "MMMSConfig", "config_from_dict", "config_to_dict", "preset"]
