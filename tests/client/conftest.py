"""A small click model in memory, deterministic and countable, for everything that needs no server."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from mmms_client.clicks import Click
from mmms_client.contract import KNOWN_MODALITIES, ModelContract
from mmms_client.predictor import Encoded, click_inputs, network_inputs

SIDE = 64
CONTRACT = ModelContract(
    preset="disk",
    checkpoint="none",
    checkpoint_sha256="0" * 64,
    resolution=SIDE,
    modalities=tuple(KNOWN_MODALITIES[name].spec for name in ("thermal", "depth", "event")),
    backbone_shapes=((1, 4, 4),) * 4,
    pyramid_shapes=((1, 16, 16), (1, 8, 8), (1, 4, 4), (1, 2, 2)),
    max_clicks=5,
)


@dataclass
class DiskPredictor:
    """The last click adds or removes a disk of 10 network pixels from the previous mask."""

    contract: ModelContract = CONTRACT
    error: Exception | None = None
    calls: int = 0
    seen: list[tuple[tuple[Click, ...], np.ndarray | None]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def encode(self, image, modalities=None, region=None) -> Encoded:
        frame, present, tensors = network_inputs(self.contract, image, modalities, region)
        return Encoded(frame, present, tensors)

    def predict(self, encoded: Encoded, clicks: Sequence[Click], previous_mask=None) -> np.ndarray:
        if self.error is not None:
            raise self.error
        with self.lock:
            self.calls += 1
            self.seen.append((tuple(clicks), previous_mask))
        tensors = click_inputs(self.contract, encoded.frame, clicks, previous_mask)
        mask = tensors["previous_mask"][0, 0].astype(np.float32) / np.float32(255)
        x, y = tensors["point_coords"][0, len(clicks) - 1]
        rows, columns = np.mgrid[:SIDE, :SIDE]
        is_near = (columns - x) ** 2 + (rows - y) ** 2 <= 10**2
        return np.where(is_near, np.float32(clicks[-1].is_positive), mask)

    def __enter__(self) -> DiskPredictor:
        return self

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def predictor() -> DiskPredictor:
    return DiskPredictor()


@pytest.fixture(scope="session")
def make_predictor():
    return DiskPredictor


@pytest.fixture(scope="session")
def contract() -> ModelContract:
    return CONTRACT


@pytest.fixture(scope="session")
def image() -> np.ndarray:
    """RGB uint8 [48, 64, 3]."""
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
