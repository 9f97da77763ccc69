"""What happens to a sample between the file and the network: a cut, a mirror, another light.

A cut and a mirror move image, modalities and labels together; light belongs to the RGB image alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.geometry import Frame, Region
from mmms_training.config import TrainConfig


def random_region(image_hw: tuple[int, int], config: TrainConfig, rng: np.random.Generator) -> Region:
    """A random cut of an image, (height, width) px.

    Of ``crop`` "pixels": resolution / zoom px on each side, so that nothing is resized at zoom 1. An image that is
    smaller gives all of that side and is stretched to the square, as it is at run time, instead of being padded.
    """
    height, width = image_hw
    if config.crop == "pixels":
        side = config.resolution / rng.uniform(*config.crop_zoom)
        w, h = (min(length, round(side)) for length in (width, height))
    else:
        w, h = (min(length, max(16, round(length * rng.uniform(*config.crop_scale)))) for length in (width, height))
    x0, y0 = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    return Region(x0, y0, w, h)


def labels_to_network(labels: NDArray[np.int32], frame: Frame) -> NDArray[np.int32]:
    """The label at the centre of each network pixel, int32 [S, S]."""
    r, side = frame.region, frame.resolution
    rows = r.y0 + ((np.arange(side) + 0.5) * r.height / side).astype(np.int64)
    columns = r.x0 + ((np.arange(side) + 0.5) * r.width / side).astype(np.int64)
    return labels[rows[:, None], columns]


def mirror(array: NDArray[Any]) -> NDArray[Any]:
    """Left and right exchanged, for [..., H, W]."""
    return array[..., ::-1]


def jitter(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random gamma, contrast, brightness and colour cast of RGB uint8 [3, H, W]."""
    value = image.astype(np.float32) / 255.0
    value = value ** rng.uniform(0.75, 1.35)
    value = (value - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.uniform(-0.1, 0.1)
    value *= rng.uniform(0.9, 1.1, size=(3, 1, 1)).astype(np.float32)
    if rng.random() < 0.1:
        value = np.repeat(value.mean(0, keepdims=True), 3, 0)
    return (np.clip(value, 0, 1) * 255.0 + 0.5).astype(np.uint8)


def obscure(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """RGB uint8 [3, H, W] of a camera that sees little or nothing: night with sensor noise, dense fog, covered lens.

    What is left to learn from is the other sensor.
    """
    value = image.astype(np.float32) / 255.0
    kind = rng.integers(3)
    if kind == 0:
        value = value * rng.uniform(0.0, 0.12) + rng.uniform(0.0, 0.06)
        value += rng.normal(0.0, rng.uniform(0.01, 0.06), value.shape).astype(np.float32)
    elif kind == 1:
        left = rng.uniform(0.02, 0.25)
        value = value * left + (1.0 - left) * rng.uniform(0.6, 0.95)
        value += rng.normal(0.0, 0.01, value.shape).astype(np.float32)
    else:
        value = np.broadcast_to(rng.uniform(0.0, 1.0, (3, 1, 1)).astype(np.float32), value.shape)
    return (np.clip(value, 0, 1) * 255.0 + 0.5).astype(np.uint8)
