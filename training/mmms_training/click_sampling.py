"""Clicks for training: random initial clicks, then clicks on the errors of the current answer (RITM's recipe).

All coordinates are (x, y) in network pixels. Distances are exact Euclidean, with the image border counted as a
boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click

BoolMap = NDArray[np.bool_]
_ERODE_MIN_PX = 10  # an eroded region smaller than this is not used


@dataclass(frozen=True)
class ClickSamplingConfig:
    """How many clicks, and where. The defaults are RITM's."""

    max_initial: int = 24  # positives at most; negatives at most as many
    gamma: float = 0.8  # one more click has this times the probability of the count before
    max_next: int = 3  # iterative clicks: uniform in 0..max_next, drawn once per batch
    centre_share: float = 0.0  # share of samples that begin as the evaluation does: one click at the centre
    negative_shares: tuple[float, float, float] = field(
        default=(0.1, 0.4, 0.5)
    )  # anywhere, other surfaces, border band


def distance_inside(region: BoolMap) -> NDArray[np.float32]:
    """Distance in px of each pixel of ``region`` bool [H, W] to its outside, float32 [H, W]; 0 outside."""
    padded = np.pad(region.astype(np.uint8), 1)
    return np.asarray(cv2.distanceTransform(padded, cv2.DIST_L2, 0)[1:-1, 1:-1], np.float32)


def initial_clicks(
    labels: NDArray[np.integer[Any]], target: BoolMap, config: ClickSamplingConfig, rng: np.random.Generator
) -> list[Click]:
    """Clicks before the first answer. ``labels`` int [H, W] of all surfaces, ``target`` bool [H, W], not empty."""
    if rng.random() < config.centre_share:
        distance = distance_inside(target)
        y, x = np.unravel_index(int(distance.argmax()), distance.shape)
        return [Click(float(x), float(y), True)]
    clicks = [
        _pick(_eroded(target, rng), rng, True) for _ in range(1 + _count(config.max_initial - 1, config.gamma, rng))
    ]
    strategies = _negative_regions(labels, target)
    kinds = rng.choice(3, size=_count(config.max_initial, config.gamma, rng), p=config.negative_shares)
    regions = {int(kind): strategies[int(kind)]() for kind in np.unique(kinds)}
    clicks += [_pick(regions[int(k)], rng, False) for k in kinds if regions[int(k)].any()]
    return clicks


def next_click(
    probability: NDArray[np.float32], target: BoolMap, is_valid: BoolMap, rng: np.random.Generator
) -> Click | None:
    """A click on the larger error of an answer, uniform in the inner half of that error's region; ``None`` if
    perfect.
    """
    predicted = probability > 0.5
    missed = distance_inside(target & ~predicted & is_valid)
    wrong = distance_inside(~target & predicted & is_valid)
    is_positive = bool(missed.max() > wrong.max())
    distance = missed if is_positive else wrong
    if distance.max() <= 0:
        return None
    return _pick(distance > distance.max() / 2, rng, is_positive)


def _count(most: int, gamma: float, rng: np.random.Generator) -> int:
    weights = gamma ** np.arange(most + 1)
    return int(rng.choice(most + 1, p=weights / weights.sum()))


def _pick(region: BoolMap, rng: np.random.Generator, is_positive: bool) -> Click:
    index = np.flatnonzero(region)
    y, x = divmod(int(index[rng.integers(len(index))]), region.shape[1])
    return Click(float(x), float(y), is_positive)


def _eroded(target: BoolMap, rng: np.random.Generator) -> BoolMap:
    if rng.random() > 0.9:
        return target
    kernel = np.ones((3, 3), np.uint8)
    smaller = cv2.erode(target.astype(np.uint8), kernel, iterations=3, borderValue=0).astype(bool)
    return smaller if smaller.sum() > _ERODE_MIN_PX else target


def _negative_regions(labels: NDArray[np.integer[Any]], target: BoolMap) -> list[Callable[[], BoolMap]]:
    def others() -> BoolMap:
        region = (labels > 0) & ~target
        return region if region.any() else ~target

    def band() -> BoolMap:
        width = max(1, int(np.ceil(0.1 * np.sqrt(target.sum()))))
        outside = cv2.distanceTransform((~target).astype(np.uint8), cv2.DIST_L2, 0)
        return np.asarray((outside <= width) & ~target)

    return [lambda: ~target, others, band]
