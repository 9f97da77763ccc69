"""COCO+LVIS: RGB images with instances and stuff, on which click networks are usually trained (RITM's annotations).

::

    ROOT/{train,val}/images/000000000009.jpg
    ROOT/{train,val}/masks/000000000009.pickle     (PNG-coded layers, {object: (layer, local id)})
    ROOT/{train,val}/hannotation.pickle            {image: {num_instance_masks, hierarchy}}

The pickles are read as data; nothing in them is run. Surfaces are the objects that are no part of another one. Where
two overlap, the smaller lies over the larger: one label map cannot hold both. RITM draws stuff into 30 % of its
samples; here it is in 30 % of the images, always the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import DataError, UsageError
from mmms_client.picture_file import open_picture
from mmms_client.readers import read_image
from mmms_eval.datasets.paired import Card, choose_split, find_root, need_folder
from mmms_eval.datasets.plain_pickle import read_plain_pickle
from mmms_eval.datasets.sample import NO_SURFACE, DatasetOptions, Sample

STUFF_SHARE = 0.30  # of images in which stuff counts

CARD = Card(
    name="coco_lvis",
    folders=("COCO_LVIS", "LVIS"),
    tree="ROOT/{train,val}/{images,masks}/NAME.{jpg,pickle} and ROOT/{train,val}/hannotation.pickle",
    page="https://github.com/uncbiag/SegNext",
    splits=("train", "val"),
    default_split="val",
    counts={},
    ids={},
    label_rule="each object that is no part of another is a surface, smaller over larger; stuff in 30 % of the images",
)


@dataclass(frozen=True)
class CocoLvis:
    """Images sorted by name."""

    root: Path
    split: str
    images: tuple[str, ...]
    annotations: Mapping[str, Mapping[str, Any]]

    @property
    def name(self) -> str:
        return CARD.name

    @property
    def modality_names(self) -> tuple[str, ...]:
        return ()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        """Read one image. Raises :class:`DataError` naming the file that is missing, broken or does not fit."""
        key = self.images[index]
        image = read_image(self.root / "images" / f"{key}.jpg")
        file = self.root / "masks" / f"{key}.pickle"
        labels, names = paint(read_plain_pickle(file), self.annotations[key], image.shape[:2], _has_stuff(key), file)
        return Sample(key, image, {}, labels, names)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "root": str(self.root),
            "split": self.split,
            "images": len(self),
            "label_rule": CARD.label_rule,
            "modalities": [],
        }


def open_coco_lvis(options: DatasetOptions) -> CocoLvis:
    """List the images of a split. Raises as :func:`find_root`, :func:`choose_split` and :func:`read_plain_pickle`."""
    root, split = find_root(CARD, options), choose_split(CARD, options)
    if len(split.names) != 1 or options.include_unlabelled:
        raise UsageError(f"Expected one --split of {CARD.name!r} (train, val) but got {split.asked!r}; choose one.")
    name = split.names[0]
    folder = need_folder(CARD, root / name)
    file = folder / "hannotation.pickle"
    found = read_plain_pickle(file)
    if not isinstance(found, dict) or not found:
        raise DataError(f"Expected {str(file)!r} with an entry per image but got none; get the original file.")
    annotations = {str(key).zfill(12) if str(key).isdigit() else str(key): value for key, value in found.items()}
    images = tuple(sorted(annotations))[: options.max_images]
    return CocoLvis(folder, name, images, annotations)


def paint(
    stored: Any, annotation: Mapping[str, Any], size_hw: tuple[int, ...], has_stuff: bool, file: Path
) -> tuple[NDArray[np.int32], dict[int, str]]:
    """Layers and their objects as one label map int32 [H, W], largest objects first, and names by surface id."""
    try:
        coded, objects = stored
        instances, hierarchy = int(annotation["num_instance_masks"]), annotation["hierarchy"]
        layers = [_layer(layer) for layer in coded]
        roots = {
            int(number): (int(layer), int(local))
            for number, (layer, local) in objects.items()
            if (int(number) < instances or has_stuff) and _parent(hierarchy, number) is None
        }
        masks = {number: layers[layer] == local for number, (layer, local) in roots.items()}
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise DataError(
            f"Expected {str(file)!r} with coded layers and their objects but got {type(error).__name__}; get the "
            "original file."
        ) from error
    if any(mask.shape != tuple(size_hw) for mask in masks.values()):
        raise DataError(
            f"Expected masks of {size_hw[1]}x{size_hw[0]} px, the size of the image, in {str(file)!r} but got others; "
            "get the original file."
        )
    labels = np.full(tuple(size_hw), NO_SURFACE, np.int32)
    names = {}
    for number in sorted(masks, key=lambda n: (-int(masks[n].sum()), n)):
        labels[masks[number]] = number + 1
        names[number + 1] = f"object {number}" if number < instances else f"stuff {number}"
    return labels, names


def _layer(coded: Any) -> NDArray[Any]:
    """The picture of a layer, [H, W]. Raises ``ValueError`` for one that is none."""
    if not (isinstance(coded, np.ndarray) and coded.dtype == np.uint8):
        raise TypeError("a layer that is no array of bytes")
    try:
        with open_picture(coded.tobytes()) as picture:
            layer = np.asarray(picture)
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        raise ValueError("a layer that is no picture") from error
    if layer.ndim != 2:
        raise ValueError("a layer in colour")
    return layer


def _parent(hierarchy: Mapping[Any, Any], number: Any) -> Any:
    node = hierarchy.get(number)
    return None if node is None else node.get("parent")


def _has_stuff(key: str) -> bool:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "little") < STUFF_SHARE * 2**32
