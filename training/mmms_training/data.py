"""Training samples: a scene, cut and shown exactly as the client would show it to the served network.

Resizing and scaling are those of :mod:`mmms_client.geometry`, so that training and serving cannot drift apart. Sample
number ``i`` of a run depends on the run's seed and ``i`` alone: a resumed run sees the data that it would have seen.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from mmms_client.contract import ModalitySpec
from mmms_client.geometry import Frame, Region, modality_to_network, scale_modality
from mmms_eval.synthetic import Scene, SceneConfig, render_scene
from mmms_training.config import TrainConfig
from mmms_training.parallel import ProcessGroup

SEEDS_PER_RUN = 10_000_000
FIRST_HELD_OUT_SEED = 1_000_000_000  # training seeds stay below; the bench uses seeds from 2e9 on
SCENES_IN_TURN = 96
IGNORE_LABEL = 255


class SyntheticSamples(Dataset[dict[str, NDArray[Any]]]):
    """Endless synthetic scenes as network inputs.

    A sample holds ``image`` uint8 [3, S, S], ``modalities`` a list of float16 [C, S, S], ``presence`` float32 [M] and
    ``labels`` int16 [S, S] (surface ids, 0 nothing, 255 ignore).
    """

    def __init__(
        self,
        config: TrainConfig,
        modalities: tuple[ModalitySpec, ...],
        length: int,
        first: int = 0,
        group: ProcessGroup | None = None,
    ) -> None:
        self.config = config
        self.modalities = modalities
        self.length = length
        self.first = first
        self.rank, self.size = (group.rank, group.size) if group else (0, 1)
        self._pool: OrderedDict[int, Scene] = OrderedDict()
        self.scene = SceneConfig(size_hw=(config.scene_px, config.scene_px), invisible_share=config.invisible_share)

    def __len__(self) -> int:
        return self.length - self.first

    def __getitem__(self, index: int) -> dict[str, Any]:
        number = (self.first + index) * self.size + self.rank
        rng = np.random.default_rng((self.config.seed, number))
        names = [m.name for m in self.modalities]
        scene = self._scene(self.first + index, names)
        frame = Frame.of(
            (scene.labels.shape[0], scene.labels.shape[1]), self.config.resolution, _random_region(self.config, rng)
        )
        is_flipped = rng.random() < 0.5
        presence = (rng.random(len(names)) >= self.config.modality_dropout).astype(np.float32)
        image = frame.image_to_network(scene.image)
        if self.config.photometric:
            image = jitter(image, rng)
        if presence.any() and rng.random() < self.config.image_dropout:
            image = obscure(image, rng)
        maps = [
            modality_to_network(scale_modality(scene.modalities[m.name], m), m, frame) * presence[i]
            for i, m in enumerate(self.modalities)
        ]
        labels = _labels_to_network(scene.labels, frame)
        if is_flipped:
            image, labels = image[:, :, ::-1], labels[:, ::-1]
            maps = [m[:, :, ::-1] for m in maps]
        return {
            "image": np.ascontiguousarray(image),
            "modalities": [np.ascontiguousarray(m.astype(np.float16)) for m in maps],
            "presence": presence,
            "labels": np.ascontiguousarray(labels.astype(np.int16)),
        }

    def _scene(self, number: int, names: list[str]) -> Scene:
        """The scene of a sample: ``SCENES_IN_TURN`` scenes come round ``scene_reuse`` times, then the next ones."""
        lap, place = divmod(number, SCENES_IN_TURN)
        scene = (lap // self.config.scene_reuse) * SCENES_IN_TURN + place
        seed = (self.config.seed * SEEDS_PER_RUN + scene * self.size + self.rank) % FIRST_HELD_OUT_SEED
        if seed not in self._pool:
            self._pool[seed] = render_scene(seed, self.scene, modalities=names)
            while len(self._pool) > SCENES_IN_TURN:
                self._pool.popitem(last=False)
        return self._pool[seed]


def choose_target(labels: NDArray[np.int16], config: TrainConfig, rng: np.random.Generator) -> NDArray[np.bool_] | None:
    """One target bool [S, S]: a surface, one part of it, or two surfaces; ``None`` if none is large enough."""
    ids, counts = np.unique(labels, return_counts=True)
    usable = ids[(counts >= config.min_area_px) & (ids > 0) & (ids != IGNORE_LABEL)]
    if not len(usable):
        return None
    kind = rng.random()
    if kind < config.merge_share and len(usable) > 2:
        return np.asarray(np.isin(labels, rng.choice(usable, 2, replace=False)))
    target = np.asarray(labels == rng.choice(usable))
    if kind > 1.0 - config.part_share:
        count, parts, stats, _ = cv2.connectedComponentsWithStats(target.astype(np.uint8))
        large = [i for i in range(1, count) if stats[i, cv2.CC_STAT_AREA] >= config.min_area_px]
        if large:
            return np.asarray(parts == rng.choice(large))
    return target


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


def _random_region(config: TrainConfig, rng: np.random.Generator) -> Region:
    low, high = config.crop_scale
    width, height = (max(16, round(config.scene_px * rng.uniform(low, high))) for _ in range(2))
    x0 = int(rng.integers(config.scene_px - width + 1))
    y0 = int(rng.integers(config.scene_px - height + 1))
    return Region(x0, y0, width, height)


def _labels_to_network(labels: NDArray[np.uint8], frame: Frame) -> NDArray[np.uint8]:
    r, side = frame.region, (frame.resolution, frame.resolution)
    box = (r.x0, r.y0, r.x0 + r.width, r.y0 + r.height)
    return np.asarray(Image.fromarray(labels).resize(side, Image.Resampling.NEAREST, box=box))
