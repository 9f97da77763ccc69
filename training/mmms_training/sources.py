"""Where training images come from: synthetic scenes without end, or a data set that comes round epoch after epoch.

Image number ``n`` of a run depends on the run's settings and ``n`` alone, so a resumed run, and one that is spread
over several processes, sees the images that it would have seen otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, UsageError
from mmms_client.units import parse_scale
from mmms_eval.datasets import DATASETS, Dataset, DatasetOptions, Sample
from mmms_eval.datasets.coco_lvis import CocoLvis
from mmms_eval.datasets.controls import ControlledDataset, with_foreign_modalities, with_grey_modalities
from mmms_eval.datasets.paired import PairedDataset
from mmms_eval.datasets.synthetic import SyntheticDataset, scene_sample
from mmms_eval.synthetic import SceneConfig, render_scene
from mmms_training.config import TrainConfig

SEEDS_PER_RUN = 10_000_000
FIRST_HELD_OUT_SEED = 1_000_000_000  # training seeds stay below
FIRST_VALIDATION_SEED = 1_500_000_000  # the bench uses seeds from 2e9 on
SCENES_IN_TURN = 96
SYNTHETIC_EPOCH = 1000  # images; only schedules that count in epochs care
_CACHE_BYTES = 256 * 2**20  # of decoded images, per process
_WITH_TRAIN_SPLIT = ("deliver", "fmb", "mfnet", "mcubes", "coco_lvis", "hqseg44k", "sbd")


class Source(Protocol):
    """Training images by number."""

    modality_names: tuple[str, ...]

    def __len__(self) -> int:
        """Images of one epoch."""
        ...

    def sample(self, number: int) -> Sample: ...


class SyntheticSource:
    """Scenes by number. ``SCENES_IN_TURN`` scenes (or a few more, so that each comes back to the process that has it)
    come round ``scene_reuse`` times, then the next ones.
    """

    def __init__(self, config: TrainConfig, specs: tuple[ModalitySpec, ...]) -> None:
        self.config = config
        self.modality_names = tuple(spec.name for spec in specs)
        self._specs = {spec.name: spec for spec in specs}
        together = config.batch_size * max(1, config.workers)
        self._in_turn = together * -(-SCENES_IN_TURN // together)
        self._scenes: OrderedDict[int, Sample] = OrderedDict()
        side = config.scene_px
        self._scene = SceneConfig(size_hw=(side, side), invisible_share=config.invisible_share)

    def __len__(self) -> int:
        return SYNTHETIC_EPOCH

    def sample(self, number: int) -> Sample:
        lap, place = divmod(number, self._in_turn)
        scene = (lap // self.config.scene_reuse) * self._in_turn + place
        sample = self._rendered(scene)
        if self.config.control == "other_scene":
            return with_foreign_modalities(sample, self._rendered(scene + 1))
        if self.config.control == "grey":
            return with_grey_modalities(sample, self._specs)
        return sample

    def _rendered(self, scene: int) -> Sample:
        seed = (self.config.seed * SEEDS_PER_RUN + scene) % FIRST_HELD_OUT_SEED
        if seed not in self._scenes:
            self._scenes[seed] = scene_sample(render_scene(seed, self._scene, self.modality_names))
            while len(self._scenes) > self._in_turn + 1:
                self._scenes.popitem(last=False)
        return self._scenes[seed]


class DatasetSource:
    """The images of a data set in another order each epoch; decoded ones are kept while they fit."""

    def __init__(self, dataset: Dataset, seed: int) -> None:
        self.dataset = dataset
        self.modality_names = tuple(dataset.modality_names)
        self._seed = seed
        self._epoch, self._order = -1, np.zeros(0, np.int64)
        self._kept: dict[int, Sample] = {}
        self._room = _CACHE_BYTES

    def __len__(self) -> int:
        return len(self.dataset)

    def index(self, number: int) -> int:
        """Place in the data set of image ``number`` of the run."""
        epoch, place = divmod(number, len(self.dataset))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng((self._seed, 3, epoch)).permutation(len(self.dataset))
        return int(self._order[place])

    def sample(self, number: int) -> Sample:
        index = self.index(number)
        if index in self._kept:
            return self._kept[index]
        sample = self.dataset[index]
        size = sample.image.nbytes + sample.labels.nbytes + sum(m.nbytes for m in sample.modalities.values())
        if size <= self._room:
            self._room -= size
            self._kept[index] = sample
        return sample


@dataclass(frozen=True)
class Part:
    """Images ``begin`` .. ``end - 1`` of a data set."""

    dataset: Dataset
    begin: int
    end: int

    @property
    def name(self) -> str:
        return self.dataset.name

    @property
    def modality_names(self) -> tuple[str, ...]:
        return self.dataset.modality_names

    def __len__(self) -> int:
        return self.end - self.begin

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self.dataset[self.begin + index]

    def describe(self) -> dict[str, Any]:
        return {**self.dataset.describe(), "images": len(self), "first_image": self.begin}


def open_source(config: TrainConfig, specs: tuple[ModalitySpec, ...]) -> Source:
    """What a run trains on. Raises as the data set's opening does, and :class:`UsageError` for modalities that were
    asked for and that the data set lacks.
    """
    if config.dataset == "synthetic":
        return SyntheticSource(config, specs)
    dataset = open_training_data(config, specs)
    missing = [name for name in config.modalities or () if name not in dataset.modality_names]
    if missing and not config.allow_absent:
        raise UsageError(
            f"Expected modalities of {config.dataset!r} ({', '.join(dataset.modality_names) or 'none'}) but got "
            f"{missing[0]!r}; leave it out of --modalities."
        )
    if config.control != "none":
        dataset = ControlledDataset(dataset, config.control, _by_name(specs))
    return DatasetSource(dataset, config.seed)


def open_training_data(config: TrainConfig, specs: tuple[ModalitySpec, ...]) -> Dataset:
    """The data set without the images that are held out for validation."""
    dataset = _open(config, specs, config.split or ("train" if config.dataset in _WITH_TRAIN_SPLIT else None))
    if config.validation_images and _validation_split(dataset) is None:
        left = len(dataset) - config.validation_images
        if left < 1:
            raise DataError(
                f"Expected more than {config.validation_images} images, which validation_images holds out, but got "
                f"{len(dataset)}; lower it."
            )
        return Part(dataset, 0, left)
    return dataset


def open_validation(config: TrainConfig, specs: tuple[ModalitySpec, ...]) -> Dataset | None:
    """``validation_images`` images that the run never trains on; ``None`` if there are to be none."""
    if not config.validation_images:
        return None
    names = tuple(spec.name for spec in specs)
    dataset: Dataset
    if config.dataset == "synthetic":
        scene = SceneConfig(size_hw=(config.scene_px, config.scene_px), invisible_share=config.invisible_share)
        dataset = SyntheticDataset(scene, FIRST_VALIDATION_SEED, config.validation_images, names)
    else:
        dataset = _open(config, specs, config.split or ("train" if config.dataset in _WITH_TRAIN_SPLIT else None))
        split = _validation_split(dataset)
        if split is None:
            dataset = Part(dataset, len(dataset) - config.validation_images, len(dataset))
        else:
            dataset = _open(config, specs, split, config.validation_images)
    return dataset if config.control == "none" else ControlledDataset(dataset, config.control, _by_name(specs))


def _open(
    config: TrainConfig, specs: tuple[ModalitySpec, ...], split: str | None, max_images: int | None = None
) -> Dataset:
    if config.dataset not in DATASETS:
        raise UsageError(f"Expected a data set ({', '.join(sorted(DATASETS))}) but got {config.dataset!r}; take one.")
    return DATASETS[config.dataset](
        DatasetOptions(
            root=config.root,
            max_images=max_images,
            modalities=config.modalities,
            specs=specs,
            rules=dict(parse_scale(text) for text in config.scales),
            split=split,
            partial=config.is_partial,
        )
    )


def _validation_split(dataset: Dataset) -> str | None:
    """ "val", if the data set has such a split beside that for training."""
    if isinstance(dataset, CocoLvis) or (
        isinstance(dataset, PairedDataset) and {"train", "val"} <= set(dataset.card.splits)
    ):
        return "val"
    return None


def _by_name(specs: tuple[ModalitySpec, ...]) -> Mapping[str, ModalitySpec]:
    return {spec.name: spec for spec in specs}
