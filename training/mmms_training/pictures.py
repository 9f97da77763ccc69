"""A picture of what a run is learning: image, modalities, target with clicks, answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click

_POSITIVE, _NEGATIVE = (0, 200, 0), (220, 0, 0)


def training_picture(
    image: NDArray[np.uint8],
    modalities: Sequence[NDArray[np.floating[Any]]],
    target: NDArray[np.bool_],
    clicks: Sequence[Click],
    probability: NDArray[np.floating[Any]],
) -> NDArray[np.uint8]:
    """Side by side, uint8 [S, n * S, 3]: RGB uint8 [3, S, S] (none if empty), modalities [C, S, S] in [0, 1] with -1
    for no value, the target over grey with its clicks, the probability.
    """
    panels = [np.ascontiguousarray(image.transpose(1, 2, 0))] if image.size else []
    for values in modalities:
        shown = (values[:3] if values.shape[0] >= 3 else values[:1].repeat(3, 0)).astype(np.float32)
        panels.append((np.clip(shown, 0, 1).transpose(1, 2, 0) * 255).astype(np.uint8))
    marked = np.where(target[..., None], np.uint8(235), np.uint8(90)).repeat(3, 2)
    for click in clicks:
        colour = _POSITIVE if click.is_positive else _NEGATIVE
        cv2.circle(marked, (round(click.x_px), round(click.y_px)), 4, colour, cv2.FILLED)
    answer = (np.clip(probability, 0, 1)[..., None] * 255).astype(np.uint8).repeat(3, 2)
    return np.concatenate([*panels, marked, answer], axis=1)
