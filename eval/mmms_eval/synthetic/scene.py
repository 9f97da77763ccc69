"""The public types of the synthetic scenes: what is asked for and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Bool = NDArray[np.bool_]

SCENE_TYPES = ("street", "landscape", "indoor", "closeup", "aerial", "abstract")
MODALITIES = ("thermal", "depth", "nir", "event", "lidar", "hha", "aolp", "dolp")
IGNORE = 255


@dataclass(frozen=True)
class SceneConfig:
    """What the generator is asked for. All probabilities and shares are in [0, 1]."""

    size_hw: tuple[int, int] = (256, 256)  # px
    invisible_share: float = 0.25  # of border length: not in RGB, but in thermal and/or depth
    modality_blind_share: float = 0.15  # of border length: only in RGB (same temperature, same distance)
    max_surfaces: int = 14  # surface ids per scene
    objects: tuple[int, int] = (8, 26)  # fewest and most objects in front of the background
    min_surface_px: int = 24  # smaller surfaces, at 256 x 256, become "ignore"
    scene_types: tuple[str, ...] = SCENE_TYPES  # drawn with equal chance
    unlabelled_probability: float = 0.15  # that one kind of object gets id 0
    instance_probability: float = 0.3  # that each instance is a surface of its own
    night_probability: float = 0.2
    fog_probability: float = 0.15
    grey_probability: float = 0.05
    jpeg_probability: float = 0.3
    low_contrast_probability: float = 0.08  # per object: RGB difference to what it covers is left to chance
    wild_look_probability: float = 0.3  # per kind of object: colour and texture do not follow the material
    camera_defects: bool = True  # noise, blur, vignette, JPEG, colour cast, night, fog


@dataclass(frozen=True)
class Scene:
    """One scene as every sensor sees it. All maps are registered pixel by pixel.

    A border is a pair of 4-neighbours with different ids (255 left out); border maps mark both of its pixels.
    """

    image: U8  # [H, W, 3] RGB
    modalities: dict[str, F32]
    """thermal [H, W] degrees Celsius; depth [H, W] metres, NaN = no value; nir [H, W] 0..1;
    event [H, W, 3] 0..255 (red: brighter, blue: darker); lidar [H, W, 3] 0..255; hha [H, W, 3] 0..255;
    aolp [H, W, 2] (sin, cos) of the un-doubled angle, cos >= 0; dolp [H, W] 0..1"""
    labels: U8  # [H, W]: 1..K surfaces, 0 no surface, 255 ignore
    names: tuple[str, ...]  # names[k - 1] of surface k; "person 2" is the second instance
    seed: int
    scene_type: str
    borders: Bool = field(repr=False)  # [H, W]
    invisible_borders: Bool = field(repr=False)  # [H, W]: RGB shows nothing; thermal and/or depth do
    modality_blind_borders: Bool = field(repr=False)  # [H, W]: only RGB (and what follows light) shows them
    border_share_invisible: float  # of all border pairs
    border_share_modality_blind: float
