"""The same work for every way: distinct images and replayed clicks.

A repeated random input would be answered by the server's cache and give fantasy numbers, so each way has images of its
own, and each click follows from the answer before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.predictor import Encoded, Predictor
from mmms_client.triton_predictor import TritonPredictor
from mmms_eval.synthetic import Scene, SceneConfig, render_scene

FIRST_SEED = 3_500_000_000
SIZE_HW = (480, 640)


@lru_cache(maxsize=256)
def scene(number: int, modalities: tuple[str, ...]) -> Scene:
    """A synthetic scene of 640x480 px with these modalities. Kept: drawing one takes longer than encoding it."""
    return render_scene(FIRST_SEED + number, SceneConfig(size_hw=SIZE_HW), modalities)


def random_clicks(number: int, count: int) -> list[Click]:
    """``count`` clicks on image ``number``, every third one negative."""
    rng = np.random.default_rng(FIRST_SEED + number)
    points = rng.uniform((0, 0), (SIZE_HW[1] - 1, SIZE_HW[0] - 1), (count, 2))
    return [Click(float(x), float(y), index % 3 != 2) for index, (x, y) in enumerate(points)]


@dataclass
class Times:
    """Milliseconds of one way, and how often the response cache had the features of a click."""

    encode_ms: list[float] = field(default_factory=list)
    click_ms: list[float] = field(default_factory=list)
    hits: int = 0
    lookups: int = 0

    @property
    def cache_hits(self) -> str:
        return f"{self.hits}/{self.lookups}"


def time_image(predictor: Predictor, number: int, clicks: int, times: Times | None) -> None:
    """Encode image ``number`` and click on it; ``times`` gets the milliseconds, ``None`` is a warm-up."""
    shown = scene(number, predictor.contract.modality_names)
    began = time.perf_counter()
    encoded = predictor.encode(shown.image, shown.modalities)
    encode_ms = 1e3 * (time.perf_counter() - began)
    before = cache_counts(predictor)
    click_ms = replay(predictor, encoded, random_clicks(number, clicks))
    after = cache_counts(predictor)
    if times is not None:
        times.encode_ms.append(encode_ms)
        times.click_ms += click_ms
        times.hits += after[0] - before[0]
        times.lookups += sum(after) - sum(before)


def replay(predictor: Predictor, encoded: Encoded, clicks: list[Click]) -> list[float]:
    """Grow one surface's click list click by click; milliseconds of each answer."""
    previous: NDArray[np.float32] | None = None
    spent = []
    for count in range(1, len(clicks) + 1):
        began = time.perf_counter()
        previous = predictor.predict(encoded, clicks[:count], previous)
        spent.append(1e3 * (time.perf_counter() - began))
    return spent


def cache_counts(predictor: Predictor) -> tuple[int, int]:
    """Hits and misses of the response cache so far; zeros in process."""
    if not isinstance(predictor, TritonPredictor):
        return 0, 0
    statistics = predictor.transport.statistics("backbone_fuser")
    return statistics.cache_hits, statistics.cache_misses
