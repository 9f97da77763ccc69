"""Many annotators at once, over asynchronous gRPC: throughput and latency of clicks, alone and beside encodes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmms_client.async_triton_predictor import AsyncTritonPredictor
from mmms_client.predictor import Encoded
from mmms_client.triton import TritonTransport
from mmms_export.perf.rows import Row, make_row
from mmms_export.perf.workload import random_clicks, scene

ENCODING = "beside a folder that is being encoded"


async def click_on(
    predictor: AsyncTritonPredictor, encoded: Encoded, number: int, count: int, spent_ms: list[float]
) -> None:
    """One annotator: click, wait for the answer, click."""
    clicks = random_clicks(number, count)
    previous: NDArray[np.float32] | None = None
    for placed in range(1, count + 1):
        began = time.perf_counter()
        previous = await predictor.predict(encoded, clicks[:placed], previous)
        spent_ms.append(1e3 * (time.perf_counter() - began))


async def _encode(predictor: AsyncTritonPredictor, number: int) -> Encoded:
    shown = scene(number, predictor.contract.modality_names)
    return await predictor.encode(shown.image, shown.modalities)


async def measure_sessions(url: str, model: str, sessions: int, clicks: int, first_image: int) -> Row:
    """``sessions`` annotators, each on an image of its own that is encoded before the clock starts."""
    async with await AsyncTritonPredictor.connect(url, deadline_s=300.0) as predictor:
        numbers = range(first_image, first_image + sessions)
        images = [await _encode(predictor, number) for number in numbers]
        before = await asyncio.to_thread(_cache_counts, url)
        spent_ms: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(
            *(click_on(predictor, e, n, clicks, spent_ms) for e, n in zip(images, numbers, strict=True))
        )
        wall_s = time.perf_counter() - began
        after = await asyncio.to_thread(_cache_counts, url)
    hits, misses = after[0] - before[0], after[1] - before[1]
    what = f"click, {sessions} session{'s' if sessions > 1 else ''}"
    return make_row(model, what, "ensemble", spent_ms, (), len(spent_ms) / wall_s, f"{hits}/{hits + misses}")


async def measure_beside_encodes(url: str, model: str, clicks: int, first_image: int, folder: int) -> Row:
    """One annotator, while ``folder`` distinct images are encoded one after the other, again and again new ones."""
    async with await AsyncTritonPredictor.connect(url, deadline_s=300.0) as predictor:
        encoded = await _encode(predictor, first_image)
        for number in range(first_image + 1, first_image + 1 + folder):
            scene(number, predictor.contract.modality_names)  # drawn before the clock starts
        encodes = asyncio.create_task(_encode_folder(predictor, range(first_image + 1, first_image + 1 + folder)))
        spent_ms: list[float] = []
        while not encodes.done():
            await click_on(predictor, encoded, first_image, clicks, spent_ms)
        await encodes
    return make_row(model, f"click, {ENCODING}", "ensemble", spent_ms)


async def _encode_folder(predictor: AsyncTritonPredictor, numbers: Sequence[int]) -> None:
    for number in numbers:
        await _encode(predictor, number)


def _cache_counts(url: str) -> tuple[int, int]:
    transport = TritonTransport(url)
    try:
        statistics = transport.statistics("backbone_fuser")
    finally:
        transport.close()
    return statistics.cache_hits, statistics.cache_misses
