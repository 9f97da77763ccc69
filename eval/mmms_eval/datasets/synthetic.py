"""Synthetic scenes, held out: training draws seeds below 1 000 000 000, this takes 2 000 000 000 and up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mmms_client.errors import UsageError
from mmms_eval.datasets.sample import IGNORE, DatasetOptions, Sample
from mmms_eval.synthetic import MODALITIES, Scene, SceneConfig, render_scene

FIRST_HELD_OUT_SEED = 2_000_000_000
SEED_LIMIT = 2**32
DEFAULT_IMAGES = 50
SMALLEST_SIDE_PX = 32
_IGNORE_IN_SCENE = 255  # in Scene.labels


@dataclass(frozen=True)
class SyntheticDataset:
    """Scenes with the seeds ``first_seed``, ``first_seed + 1`` ...; each is rendered when it is asked for."""

    config: SceneConfig
    first_seed: int
    length: int
    rendered: tuple[str, ...] = MODALITIES  # only these: a scene without the other sensors is the same scene, sooner

    @property
    def name(self) -> str:
        return "synthetic"

    @property
    def modality_names(self) -> tuple[str, ...]:
        return MODALITIES

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        return scene_sample(render_scene(self.first_seed + index, self.config, self.rendered))

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "images": self.length,
            "first_seed": self.first_seed,
            "size_hw": list(self.config.size_hw),
            "invisible_share": self.config.invisible_share,
            "modalities": list(self.modality_names),
        }


def scene_sample(scene: Scene) -> Sample:
    """A scene as a sample of a data set."""
    labels = scene.labels.astype(np.int32)
    labels[scene.labels == _IGNORE_IN_SCENE] = IGNORE
    return Sample(f"seed-{scene.seed}", scene.image, scene.modalities, labels, dict(enumerate(scene.names, 1)))


def open_synthetic(options: DatasetOptions) -> SyntheticDataset:
    """Held-out scenes of ``side_px`` x ``side_px``, beginning at seed 2 000 000 000 + ``seed``."""
    options.refuse_splits("synthetic")
    if options.side_px < SMALLEST_SIDE_PX:
        raise UsageError(
            f"Expected scenes of at least {SMALLEST_SIDE_PX} px but got {options.side_px}; give a larger --size."
        )
    length = DEFAULT_IMAGES if options.max_images is None else options.max_images
    first_seed = FIRST_HELD_OUT_SEED + options.seed
    if options.seed < 0 or first_seed + length > SEED_LIMIT:
        highest = SEED_LIMIT - FIRST_HELD_OUT_SEED - length
        raise UsageError(
            f"Expected a seed from 0 to {highest} but got {options.seed}; change --seed (held-out scenes begin at "
            f"{FIRST_HELD_OUT_SEED})."
        )
    config = SceneConfig(size_hw=(options.side_px, options.side_px))
    wanted = {spec.name for spec in options.specs}
    if options.modalities is not None:
        wanted &= set(options.modalities)
    return SyntheticDataset(config, first_seed, length, tuple(name for name in MODALITIES if name in wanted))
