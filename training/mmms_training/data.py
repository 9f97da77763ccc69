"""Training samples: an image, cut and shown exactly as the client would show it to the served network.

Resizing and scaling are those of :mod:`mmms_client.geometry`, so that training and serving cannot drift apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, default_collate

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, MMMSError
from mmms_client.geometry import Frame, modality_to_network, scale_modality
from mmms_eval.datasets import Sample
from mmms_training.augmentation import jitter, labels_to_network, mirror, obscure, random_region
from mmms_training.config import TrainConfig
from mmms_training.parallel import ProcessGroup
from mmms_training.sources import Source

_CUTS = 10  # tried before the whole image is taken
IMAGES_TRIED = 100  # tried before a data set is called useless


class TrainingSamples(Dataset[dict[str, Any] | MMMSError]):
    """Network inputs by number, of the images that this process has to work on.

    A sample holds ``number``, ``image`` uint8 [3, S, S], ``modalities`` a list of float16 [C, S, S], ``presence``
    float32 [M] and ``labels`` int32 [S, S] (surface ids, 0 nothing, -1 ignore), in which at least one surface is large
    enough to be a target. An error that a person can mend is returned in its place: see :func:`batches`.
    """

    def __init__(
        self,
        config: TrainConfig,
        modalities: tuple[ModalitySpec, ...],
        source: Source,
        steps: int,
        first_step: int = 0,
        group: ProcessGroup | None = None,
    ) -> None:
        self.config = config
        self.modalities = modalities
        self.source = source
        rank, size = (group.rank, group.size) if group else (0, 1)
        self.share = config.batch_size // size  # images of one step for this process
        self.numbers = [
            step * config.batch_size + rank * self.share + place
            for step in range(first_step, steps)
            for place in range(self.share)
        ]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any] | MMMSError:
        try:
            return self.sample(self.numbers[index])
        except MMMSError as error:
            return error

    def sample(self, number: int) -> dict[str, Any]:
        """Sample ``number`` of the run. Raises :class:`DataError` if no image has a surface that is large enough."""
        rng = np.random.default_rng((self.config.seed, number))
        image, frame, labels = self._cut(number, rng)
        is_mirrored = rng.random() < self.config.flip_share
        rgb, maps, presence = self._look(image, frame, rng)
        turn = mirror if is_mirrored else np.asarray
        return {
            "number": number,
            "image": np.ascontiguousarray(turn(rgb)),
            "modalities": [np.ascontiguousarray(turn(values)) for values in maps],
            "presence": presence,
            "labels": np.ascontiguousarray(turn(labels)),
        }

    def _cut(self, number: int, rng: np.random.Generator) -> tuple[Sample, Frame, NDArray[np.int32]]:
        """An image and a cut of it with a usable surface: of this number, or, if it has none, of those after it."""
        for near in range(IMAGES_TRIED):
            sample = self.source.sample(number + near)
            height, width = sample.labels.shape
            for cut in range(_CUTS + 1):
                region = random_region((height, width), self.config, rng) if cut < _CUTS else None
                frame = Frame.of((height, width), self.config.resolution, region)
                labels = labels_to_network(sample.labels, frame)
                if has_target(labels, self.config.min_area_px):
                    return sample, frame, labels
        raise no_target(self.config, IMAGES_TRIED)

    def _look(
        self, sample: Sample, frame: Frame, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.float16]], NDArray[np.float32]]:
        """The network's view of a cut: RGB, modalities, presence."""
        config, names = self.config, [m.name for m in self.modalities]
        is_there = np.array([name in sample.modalities for name in names], bool)
        presence = (is_there & (rng.random(len(names)) >= config.modality_dropout)).astype(np.float32)
        image = frame.image_to_network(sample.image)
        if config.photometric:
            image = jitter(image, rng)
        if presence.any() and rng.random() < config.image_dropout:
            image = obscure(image, rng)
        return image, self._maps(sample, frame, presence), presence

    def _maps(self, sample: Sample, frame: Frame, presence: NDArray[np.float32]) -> list[NDArray[np.float16]]:
        """The modalities of a cut; zeros for those that are absent."""
        side = self.config.resolution
        return [
            modality_to_network(scale_modality(sample.modalities[m.name], m), m, frame).astype(np.float16)
            if is_present
            else np.zeros((m.channels, side, side), np.float16)
            for m, is_present in zip(self.modalities, presence, strict=True)
        ]


def batches(samples: Dataset[Any], share: int, workers: int) -> Iterable[dict[str, Any]]:
    """Batches of ``share`` samples. Raises what a sample has in its place: a worker's own exception would arrive as
    the text of a traceback.
    """
    loader: DataLoader[Any] = DataLoader(
        samples,
        share,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        # never a plain fork: this process has threads (OpenCV, TensorBoard, CUDA) whose locks a fork would inherit held
        multiprocessing_context="forkserver" if workers else None,
        worker_init_fn=_single_thread,
        collate_fn=_collate,
    )
    for batch in loader:
        if isinstance(batch, MMMSError):
            raise batch
        yield batch


def _collate(samples: list[Any]) -> Any:
    return next((s for s in samples if isinstance(s, MMMSError)), None) or default_collate(samples)


def has_target(labels: NDArray[np.integer[Any]], min_area_px: int) -> bool:
    """Whether a label map has a surface of at least ``min_area_px``."""
    counts = np.bincount(labels[labels > 0].ravel())
    return bool(counts.size and counts.max() >= min_area_px)


def check_usable(config: TrainConfig, source: Source) -> None:
    """Raise :class:`DataError` unless an image of the source, seen whole, has a surface that can be a target.

    Called before a run writes anything; reads until the first such image.
    """
    for number in range(len(source)):
        labels = source.sample(number).labels
        frame = Frame.of((labels.shape[0], labels.shape[1]), config.resolution, None)
        if has_target(labels_to_network(labels, frame), config.min_area_px):
            return
    raise no_target(config, len(source))


def no_target(config: TrainConfig, images: int) -> DataError:
    return DataError(
        f"Expected a surface of at least {config.min_area_px} px (at {config.resolution} px) in {config.dataset!r} but "
        f"got none in {images} images; check the labels, or lower min_area_px."
    )


def choose_target(
    labels: NDArray[np.integer[Any]], config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.bool_] | None:
    """One target bool [S, S]: a surface, one part of it, or two surfaces; ``None`` if none is large enough."""
    ids, counts = np.unique(labels, return_counts=True)
    usable = ids[(counts >= config.min_area_px) & (ids > 0)]
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


def _single_thread(_worker: int) -> None:
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
