"""``mmms-train extract-features``: run a backbone over a data set once, or ask somebody else's, and keep what it says.

The backbone is local, or a provider: a Triton server that serves ``backbone`` and nothing else. Cuts that are in the
store already are not computed again.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mmms_client.contract import TensorSpec
from mmms_client.endpoint import Endpoint
from mmms_client.errors import OutputError, UsageError
from mmms_client.foreign_features import ask_provider, check_provider
from mmms_client.geometry import Frame
from mmms_client.transport import served_version
from mmms_client.waiting import PATIENCE_S, patiently
from mmms_training.augmentation import jitter, labels_to_network, mirror, random_region
from mmms_training.config import TrainConfig, network_of
from mmms_training.data import check_usable, has_target
from mmms_training.feature_store import FeatureStore, Maps, StoredCut, StoreFacts, cutting_settings
from mmms_training.model.backbone import build_backbone, fingerprint
from mmms_training.model.mmms import backbone_shapes
from mmms_training.parallel import ProcessGroup
from mmms_training.sources import DatasetSource, open_source

Report = Callable[[str], None]
_BATCH = 8
_TRIED = 10
_TELL_EVERY_S = 5.0
_ASKED_AT_ONCE = 4  # of a provider


class FeatureGiver(Protocol):
    """Whoever turns images into F1..F4."""

    sha256: str

    def __call__(self, images: list[NDArray[np.uint8]]) -> list[Maps]:
        """RGB uint8 [3, S, S] each -> F1..F4 float16 [D, h, w] each."""
        ...


class LocalBackbone:
    """A backbone in this process."""

    def __init__(self, config: TrainConfig) -> None:
        network = network_of(config)
        backbone = dataclasses.replace(network.backbone, is_frozen=True)
        if backbone.kind == "nano_vit" and config.backbone_weights is None:
            raise UsageError(
                "Expected the checkpoint whose nano backbone is to be used but got none; give --backbone-weights FILE."
            )
        self.device = ProcessGroup().device
        self.backbone = build_backbone(
            backbone, config.resolution, config.backbone_weights, config.is_backbone_random
        ).to(self.device)
        self.sha256 = fingerprint(self.backbone)

    @torch.inference_mode()
    def __call__(self, images: list[NDArray[np.uint8]]) -> list[Maps]:
        batch = torch.from_numpy(np.stack(images)).to(self.device).float()
        maps = [m.half().cpu().numpy() for m in self.backbone(batch)]
        return [[np.ascontiguousarray(m[i]) for m in maps] for i in range(len(images))]


class Provider:
    """A backbone on another server. It says whose weights it has, if it knows."""

    def __init__(self, address: str, config: TrainConfig, deadline_s: float = 60.0) -> None:
        from mmms_client.triton import TritonTransport

        shapes = backbone_shapes(network_of(config), config.resolution)
        specs = tuple(TensorSpec(f"F{k}", "FP16", shape) for k, shape in enumerate(shapes, 1))
        self.transport = TritonTransport(Endpoint.of_provider(address))
        self.deadline_s = deadline_s
        self.sha256 = check_provider(self.transport, specs, config.resolution)
        self._version = served_version(self.transport.configuration("backbone"))

    def __call__(self, images: list[NDArray[np.uint8]]) -> list[Maps]:
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            return list(pool.map(self._ask, images))

    def _ask(self, image: NDArray[np.uint8]) -> Maps:
        answer = patiently(
            lambda: ask_provider(self.transport, image[None], self.deadline_s, self._version), PATIENCE_S
        )
        return [np.ascontiguousarray(answer[name][0]) for name in ("F1", "F2", "F3", "F4")]


@dataclasses.dataclass(frozen=True)
class _Cut:
    image: int
    cut: int
    what: StoredCut
    pixels: NDArray[np.uint8]


def extract_features(config: TrainConfig, giver: FeatureGiver, out: Path, cuts: int, report: Report) -> FeatureStore:
    """Fill a store with ``cuts`` cuts of each image; goes on with one that was begun.

    Raises:
        UsageError: settings that a store cannot keep.
        DataError: no usable surface, or a store of other settings in ``out``.
        OutputError: not enough room on the disk, before anything is computed.
    """
    if config.dataset == "synthetic":
        raise UsageError("Expected a data set of files but got 'synthetic', which has no end; give --dataset.")
    if config.image_dropout:
        raise UsageError("Expected image_dropout=0, because a store cannot know what is present; drop the setting.")
    network = network_of(config)
    source = open_source(dataclasses.replace(config, modalities=(), control="none"), ())
    assert isinstance(source, DatasetSource)
    check_usable(config, source)
    shapes = backbone_shapes(network, config.resolution)
    facts = StoreFacts(
        backbone=dataclasses.asdict(network.backbone),
        backbone_sha256=giver.sha256,
        resolution=config.resolution,
        dataset=config.dataset,
        images=len(source),
        cuts=cuts,
        cutting=cutting_settings(config),
    )
    store = FeatureStore.create(out, facts) if (out / "store.json").is_file() else None
    todo = [(i, c) for i in range(len(source)) for c in range(cuts) if store is None or not store.has(i, c)]
    size = sum(int(np.prod(shape)) for shape in shapes) * 2 * len(todo)
    check_room(out, size)
    report(f"{len(source)} images x {cuts} cuts, {len(todo)} to compute: {size / 1e9:.2f} GB")
    store = store or FeatureStore.create(out, facts)
    _fill(store, config, source, giver, todo, report)
    return store


def check_room(folder: Path, size_bytes: int) -> None:
    """Raise :class:`OutputError` unless the disk of ``folder`` has room for ``size_bytes``."""
    place = folder.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if size_bytes > free:
        raise OutputError(
            f"Expected room for {size_bytes / 1e9:.2f} GB in {str(folder)!r} but got {free / 1e9:.2f} GB; free some, "
            "take fewer --cuts, or give another folder."
        )


def _fill(
    store: FeatureStore,
    config: TrainConfig,
    source: DatasetSource,
    giver: FeatureGiver,
    todo: list[tuple[int, int]],
    report: Report,
) -> None:
    began = told = time.monotonic()
    done = written = 0
    cuts = _cuts(config, source, todo)
    while batch := list(islice(cuts, _BATCH)):
        for made, features in zip(batch, giver([made.pixels for made in batch]), strict=True):
            written += store.write(made.image, made.cut, made.what, features)
            done += 1
        now = time.monotonic()
        if now - told > _TELL_EVERY_S or done == len(todo):
            told = now
            left_s = (len(todo) - done) * (now - began) / done
            report(
                f"{done} of {len(todo)} cuts, {written / 1e9:.2f} GB, {done / max(now - began, 1e-9):.1f} cuts/s, "
                f"{left_s:.0f} s left"
            )


def _cuts(config: TrainConfig, source: DatasetSource, todo: list[tuple[int, int]]) -> Iterator[_Cut]:
    """Where each cut lies depends on the seed, the image and the number of the cut alone."""
    for image, cut in todo:
        sample = source.dataset[image]
        rng = np.random.default_rng((config.seed, 4, image, cut))
        height, width = sample.labels.shape
        region = random_region((height, width), config, rng)
        for _ in range(_TRIED):
            frame = Frame.of((height, width), config.resolution, region)
            if has_target(labels_to_network(sample.labels, frame), config.min_area_px):
                break
            region = random_region((height, width), config, rng)
        frame = Frame.of((height, width), config.resolution, region)
        pixels = frame.image_to_network(sample.image)
        if config.photometric:
            pixels = jitter(pixels, rng)
        is_mirrored = bool(rng.random() < config.flip_share)
        pixels = np.ascontiguousarray(mirror(pixels) if is_mirrored else pixels)
        yield _Cut(image, cut, StoredCut(sample.key, region, is_mirrored), pixels)
