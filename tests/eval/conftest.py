"""A small data set and models whose answers are known, for the tests of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModalitySpec, ModelContract
from mmms_client.errors import DataError
from mmms_client.geometry import Region
from mmms_client.predictor import Encoded, Modalities, click_inputs, network_inputs
from mmms_eval.baselines import VoronoiPredictor
from mmms_eval.datasets.sample import IGNORE, Sample

SIDE = 32


def random_sample(index: int) -> Sample:
    """Four quadrants with a wavy border, some ignored pixels, a thermal map that shows the surfaces."""
    rng = np.random.default_rng(index)
    y, x = np.mgrid[:SIDE, :SIDE]
    wave = np.round(3 * np.sin(x / 3 + index)).astype(int)
    labels = (1 + (y + wave >= SIDE // 2) + 2 * (x + wave >= SIDE // 2)).astype(np.int32)
    labels[rng.random(labels.shape) < 0.02] = IGNORE
    image = (60 * np.clip(labels, 0, 4)[..., None] + rng.integers(0, 12, (SIDE, SIDE, 3))).astype(np.uint8)
    thermal = labels.astype(np.float32)
    return Sample(f"image-{index}", image, {"thermal": thermal}, labels, {1: "top left", 2: "bottom left"})


@dataclass
class ToyDataset:
    samples: list[Sample]
    asked: list[int] = field(default_factory=list, repr=False)
    name: str = "toy"
    modality_names: tuple[str, ...] = ("thermal",)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        self.asked.append(index)
        return self.samples[index]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "images": len(self)}


@pytest.fixture
def toy() -> ToyDataset:
    return ToyDataset([random_sample(index) for index in range(5)])


class ThermalPredictor:
    """Finds everything as warm as the positive clicks; knows from RGB only the clicked pixels."""

    description = "in process"

    def __init__(self, outside: float = 0.0, inside: float = 1.0) -> None:
        self.contract = ModelContract(
            preset="thermal eye",
            checkpoint="none",
            checkpoint_sha256="0" * 64,
            resolution=SIDE,
            modalities=(ModalitySpec("thermal", 1, "linear", 0.0, 4.0, None),),
            backbone_shapes=(),
            pyramid_shapes=(),
            max_clicks=24,
        )
        self.outside, self.inside = outside, inside
        self.encodes = 0

    def __enter__(self) -> ThermalPredictor:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        self.encodes += 1
        frame, present, tensors = network_inputs(self.contract, image, modalities, region)
        return Encoded(frame, present, tensors["thermal"][0, 0])

    def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        click_inputs(self.contract, encoded.frame, clicks, previous_mask)
        result = np.full((SIDE, SIDE), self.outside, np.float32)
        for click in encoded.frame.clicks_to_network(clicks):
            place = round(click.y_px), round(click.x_px)
            if click.is_positive:
                result[np.abs(encoded.payload - encoded.payload[place]) < 0.05] = self.inside
            if not encoded.present:
                result[:] = self.outside
                result[place] = self.inside
        return result


class Failing(VoronoiPredictor):
    """Breaks from the third image on."""

    encodes = 0

    def encode(self, *arguments: Any, **named: Any) -> Any:
        self.encodes += 1
        if self.encodes >= 3:
            raise DataError("third image")
        return super().encode(*arguments, **named)


@pytest.fixture
def thermal_predictor() -> ThermalPredictor:
    return ThermalPredictor()
