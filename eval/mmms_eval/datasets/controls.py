"""Controls for a claim about modalities: maps that look like a sensor's and say nothing that RGB does not say.

- ``other_scene``: each image gets the modalities of the next image. Real statistics, wrong place.
- ``grey``: each modality is the grey RGB image. Right place, nothing new.

A gain that a control has too does not come from the sensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, UsageError
from mmms_eval.datasets.sample import Dataset, Sample

CONTROLS = ("other_scene", "grey")


def with_foreign_modalities(sample: Sample, other: Sample) -> Sample:
    """``sample`` with the modalities of ``other``. Raises :class:`DataError` if a map would not fit the image."""
    for name, values in sample.modalities.items():
        if name not in other.modalities or other.modalities[name].shape != values.shape:
            raise DataError(
                f"Expected {name!r} of image {other.key!r} in the size of that of {sample.key!r} but got another; "
                "this control needs images of one size."
            )
    return dataclasses.replace(sample, modalities={name: other.modalities[name] for name in sample.modalities})


def with_grey_modalities(sample: Sample, specs: Mapping[str, ModalitySpec]) -> Sample:
    """``sample`` with the luminance of its image for each modality, in the modality's unit."""
    grey = sample.image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255.0
    return dataclasses.replace(
        sample, modalities={name: in_unit(grey, specs[name]) for name in sample.modalities if name in specs}
    )


def in_unit(values: NDArray[np.float32], spec: ModalitySpec) -> NDArray[np.float32]:
    """Values in [0, 1], float32 [H, W], to a map of the modality that the model scales back to them."""
    if spec.scaling == "log":
        values = spec.minimum * (spec.maximum / spec.minimum) ** values
    elif spec.scaling == "linear":
        values = spec.minimum + values * (spec.maximum - spec.minimum)
    if spec.channels == 1:
        return values.astype(np.float32)
    return np.repeat(values[..., None], spec.channels, axis=2).astype(np.float32)


@dataclass(frozen=True)
class ControlledDataset:
    """A data set whose modalities are replaced."""

    dataset: Dataset
    control: str  # one of CONTROLS
    specs: Mapping[str, ModalitySpec]

    def __post_init__(self) -> None:
        if self.control not in CONTROLS:
            raise UsageError(f"Expected a control ({', '.join(CONTROLS)}) but got {self.control!r}; take one of these.")
        if self.control == "other_scene" and len(self.dataset) < 2:
            raise UsageError(f"Expected at least 2 images for other_scene but got {len(self.dataset)}; give more.")

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def modality_names(self) -> tuple[str, ...]:
        return self.dataset.modality_names

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset[index]
        if self.control == "grey":
            return with_grey_modalities(sample, self.specs)
        return with_foreign_modalities(sample, self.dataset[(index + 1) % len(self.dataset)])

    def describe(self) -> dict[str, Any]:
        return {**self.dataset.describe(), "control": self.control}
