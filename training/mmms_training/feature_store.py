"""Backbone features on disk: training without the backbone, and without asking it twice.

::

    STORE/store.json                what the store is: backbone, resolution, cuts, data set
    STORE/000123-4.safetensors      F1..F4 float16 of cut 4 of image 123, its region and whether it is mirrored

Random cuts survive: each image is stored as K of them, and epoch ``e`` shows cut ``e mod K``. Labels and modalities are
not stored; they come from the data set, cut in the same way.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, UsageError
from mmms_client.files import make_folder, write_bytes_atomically, write_text_atomically
from mmms_client.geometry import Frame, Region
from mmms_client.json_place import Place, shown
from mmms_client.json_text import parse_json, read_json
from mmms_client.typed_json import read_object
from mmms_eval.datasets import Sample
from mmms_training.augmentation import labels_to_network, mirror
from mmms_training.config import TrainConfig, network_of
from mmms_training.data import IMAGES_TRIED, TrainingSamples, has_target, no_target
from mmms_training.parallel import ProcessGroup
from mmms_training.presets import BackboneConfig
from mmms_training.sources import DatasetSource, Source

FORMAT = "mmms-features-1"
STORE_FILE = "store.json"
NAMES = ("F1", "F2", "F3", "F4")
Maps = list[NDArray[np.float16]]


@dataclass(frozen=True)
class StoreFacts:
    """What a store was made of. Two stores of the same facts hold the same features."""

    backbone: dict[str, Any]  # of BackboneConfig
    backbone_sha256: str
    resolution: int
    dataset: str
    images: int
    cuts: int  # per image
    cutting: dict[str, Any]  # the settings that decide where an image is cut


@dataclass(frozen=True)
class StoredCut:
    """Where a cut lies in its image."""

    key: str
    region: Region
    is_mirrored: bool


class FeatureStore:
    """A folder of features. Reading is safe from several processes."""

    def __init__(self, folder: Path, facts: StoreFacts) -> None:
        self.folder = folder
        self.facts = facts

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """Raises :class:`DataError` if there is no store, or a broken one."""
        file = folder / STORE_FILE
        try:
            document = read_json(file)
            if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
                raise ValueError("of another format")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise DataError(
                f"Expected a feature store in {str(folder)!r} but got {reason!r}; make one with "
                "`mmms-train extract-features`."
            ) from error
        place = Place(str(file), "", document, "make it again with `mmms-train extract-features`")
        facts = read_object(place, StoreFacts)
        if min(facts.resolution, facts.images, facts.cuts) < 1:
            place.fail("of at least one image, one cut and one pixel")
        return cls(folder, facts)

    @classmethod
    def create(cls, folder: Path, facts: StoreFacts) -> FeatureStore:
        """A new store, or the one that is there if it was begun with the same facts. Raises :class:`DataError`."""
        if (folder / STORE_FILE).is_file():
            store = cls.open(folder)
            ours, theirs = dataclasses.asdict(facts), dataclasses.asdict(store.facts)
            odd = next((name for name in ours if json.loads(json.dumps(ours[name])) != theirs[name]), None)
            if odd is not None:
                raise DataError(
                    f"Expected the store in {str(folder)!r} to be begun with these settings but its {odd} differs; "
                    "give the same, or another folder."
                )
            return store
        make_folder(folder)
        document = {"format": FORMAT, **dataclasses.asdict(facts)}
        write_text_atomically(folder / STORE_FILE, json.dumps(document, indent=1) + "\n")
        return cls(folder, facts)

    def has(self, image: int, cut: int) -> bool:
        return self._file(image, cut).is_file()

    def write(self, image: int, cut: int, what: StoredCut, features: Maps) -> int:
        """Keep one cut, atomically; returns its size in bytes. Raises :class:`OutputError`."""
        r = what.region
        facts = {"key": what.key, "region": [r.x0, r.y0, r.width, r.height], "is_mirrored": what.is_mirrored}
        data = save(dict(zip(NAMES, features, strict=True)), {"cut": json.dumps(facts)})
        write_bytes_atomically(self._file(image, cut), data)
        return len(data)

    def read(self, image: int, cut: int) -> tuple[StoredCut, Maps]:
        """One cut: where it lies, and F1..F4 float16 [D, h, w]. Raises :class:`DataError`."""
        file = self._file(image, cut)
        try:
            with safe_open(str(file), framework="np") as handle:
                facts = parse_json(handle.metadata()["cut"])
                features = [handle.get_tensor(name) for name in NAMES]
            if any(values.dtype != np.float16 or values.ndim != 3 for values in features):
                raise ValueError("features of another type or shape")
        except Exception as error:  # safetensors raises whatever the broken bytes lead it to
            raise DataError(
                f"Expected the features of a cut in {str(file)!r} but got {shown(' '.join(str(error).split()))}; run "
                "`mmms-train extract-features` again to fill the store."
            ) from error
        fields = Place(str(file), "", facts, "run `mmms-train extract-features` again").fields(
            ("key", "region", "is_mirrored")
        )
        numbers = [item.integer(n // 2) for n, item in enumerate(fields["region"].items())]
        if len(numbers) != 4:
            fields["region"].fail("[x, y, width, height]")
        return StoredCut(fields["key"].text(), Region(*numbers), fields["is_mirrored"].boolean()), features

    def _file(self, image: int, cut: int) -> Path:
        return self.folder / f"{image:06d}-{cut}.safetensors"


def cutting_settings(config: TrainConfig) -> dict[str, Any]:
    """The settings that decide what of an image is in a store."""
    names = (
        "seed", "crop", "crop_zoom", "crop_scale", "flip_share", "photometric", "min_area_px", "split",
        "validation_images",
    )  # fmt: skip
    return {name: getattr(config, name) for name in names}


def open_for_training(folder: Path, config: TrainConfig, source: Source) -> FeatureStore:
    """The store, if it fits the run.

    Raises :class:`DataError` if it was made by another backbone, at another resolution, or from other data.
    """
    store = FeatureStore.open(folder)
    facts, backbone = store.facts, network_of(config).backbone
    if not isinstance(source, DatasetSource):
        raise UsageError(f"Expected a data set to train on from a store but got {config.dataset!r}; give --dataset.")
    if _computed(facts.backbone) != _computed(dataclasses.asdict(backbone)):
        raise DataError(
            f"Expected features of {backbone.hub_name or backbone.kind} (blocks {list(backbone.taps)}) in "
            f"{str(folder)!r} but they are of {facts.backbone['hub_name'] or facts.backbone['kind']} (blocks "
            f"{list(facts.backbone['taps'])}); extract them with --preset {config.preset}."
        )
    for name, ours, theirs in (
        ("at resolution", config.resolution, facts.resolution),
        ("of data set", config.dataset, facts.dataset),
        ("of images", len(source), facts.images),
    ):
        if ours != theirs:
            raise DataError(
                f"Expected features {name} {ours} in {str(folder)!r} but they are {name} {theirs}; extract them again, "
                "or train as they were made."
            )
    return store


def _computed(backbone: dict[str, Any]) -> dict[str, Any]:
    """What of a backbone's configuration changes its features."""
    kept = {f.name for f in dataclasses.fields(BackboneConfig)} - {"is_frozen"}
    plain: dict[str, Any] = json.loads(json.dumps({name: value for name, value in backbone.items() if name in kept}))
    return plain


class StoredSamples(TrainingSamples):
    """Training samples with ``features`` (F1..F4) in the place of ``image``."""

    def __init__(
        self,
        store: FeatureStore,
        config: TrainConfig,
        modalities: tuple[ModalitySpec, ...],
        source: Source,
        steps: int,
        first_step: int = 0,
        group: ProcessGroup | None = None,
    ) -> None:
        super().__init__(config, modalities, source, steps, first_step, group)
        self.store = store

    def sample(self, number: int) -> dict[str, Any]:
        image, frame, cut, features, labels = self._stored(number)
        rng = np.random.default_rng((self.config.seed, number))
        is_there = np.array([m.name in image.modalities for m in self.modalities], bool)
        kept = rng.random(len(self.modalities)) >= self.config.modality_dropout
        presence = (is_there & kept).astype(np.float32)
        turn = mirror if cut.is_mirrored else np.asarray
        return {
            "number": number,
            "features": features,
            "modalities": [np.ascontiguousarray(turn(m)) for m in self._maps(image, frame, presence)],
            "presence": presence,
            "labels": np.ascontiguousarray(turn(labels)),
        }

    def _stored(self, number: int) -> tuple[Sample, Frame, StoredCut, Maps, NDArray[np.int32]]:
        """A cut with a usable surface: that of this epoch, or, if it has none, another cut or the images after it."""
        for near in range(number, number + IMAGES_TRIED):
            for turn in range(self.store.facts.cuts):
                found = self._cut_of(near, turn)
                if has_target(found[-1], self.config.min_area_px):
                    return found
        raise no_target(self.config, IMAGES_TRIED)

    def _cut_of(self, number: int, turn: int) -> tuple[Sample, Frame, StoredCut, Maps, NDArray[np.int32]]:
        assert isinstance(self.source, DatasetSource)
        index, epoch = self.source.index(number), number // len(self.source)
        cut, features = self.store.read(index, (epoch + turn) % self.store.facts.cuts)
        image = self.source.sample(number)
        if image.key != cut.key:
            raise DataError(
                f"Expected the features of {image.key!r} as image {index} of {str(self.store.folder)!r} but got those "
                f"of {cut.key!r}; the data set has changed: extract them again."
            )
        frame = Frame.of((image.labels.shape[0], image.labels.shape[1]), self.config.resolution, cut.region)
        return image, frame, cut, features, labels_to_network(image.labels, frame)
