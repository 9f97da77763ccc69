"""COCO 2017: RGB photographs with all instances of 80 kinds of things (Lin et al., 2014), for MIST.

Instances of COCO overlap, and a pixel belongs to one surface here. The rule is that of the published MIST numbers
(Rana et al., DynaMITe, 2023): masks are painted by falling area, so that smaller ones lie over larger ones, and what is
visible then is the ground truth. An instance that is hidden altogether is no surface. Crowds (``iscrowd``) are
background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.bounded import PixelBudget, check_pixels
from mmms_client.box_mask import BoxMask
from mmms_client.errors import DataError
from mmms_client.export_masks.coco import decompress_runs
from mmms_client.json_place import shown
from mmms_client.json_text import read_json
from mmms_client.run_length import decode_box_runs
from mmms_eval.datasets.coco_polygons import fill_polygons
from mmms_eval.datasets.paired import Card, Entry, PairedDataset, choose_split, find_root, is_below
from mmms_eval.datasets.sample import NO_SURFACE, DatasetOptions

CARD = Card(
    name="coco",
    folders=("COCO", "coco"),
    tree="ROOT/{train2017,val2017}/NAME.jpg and ROOT/annotations/instances_{train2017,val2017}.json",
    page="https://cocodataset.org",
    splits=("train", "val"),
    default_split="val",
    counts={"train": 118287, "val": 5000},
    ids={},
    label_rule="instances are the surfaces, smaller ones over larger ones; crowds are background, nothing is ignored",
)


_LONGEST = 200  # characters of a reason


@dataclass(frozen=True)
class Instance:
    """One annotation: the name of its category, and polygons or run lengths as in the file."""

    category: str
    segmentation: Any

    def mask(self, size_hw: tuple[int, int], budget: PixelBudget) -> BoxMask:
        """Parts of fewer than three points cover nothing. Raises ``ValueError`` on nonsense."""
        if isinstance(self.segmentation, list):
            return fill_polygons([p for p in self.segmentation if len(p) >= 6 and len(p) % 2 == 0], size_hw, budget)
        counts = self.segmentation["counts"]
        return decode_box_runs(decompress_runs(counts) if isinstance(counts, str) else counts, size_hw, budget)

    @property
    def length(self) -> int:
        """How many numbers or characters it has, which are some bytes of the file each."""
        if isinstance(self.segmentation, list):
            return sum(len(part) for part in self.segmentation)
        return len(self.segmentation["counts"])


@dataclass(frozen=True)
class Picture:
    """What the annotation file says of one image. Surface ids are the places of ``instances``, from 1."""

    file: Path  # of the annotations
    size_hw: tuple[int, int]
    instances: tuple[Instance, ...]


@dataclass(frozen=True)
class COCO(PairedDataset):
    """All instances of an image, called by their category; no modality."""

    pictures: Mapping[str, Picture] = field(default_factory=dict, repr=False)  # by the key of the entry

    def _image(self, entry: Entry) -> NDArray[np.uint8]:
        image, (height, width) = super()._image(entry), self.pictures[entry.key].size_hw
        if image.shape[:2] != (height, width):
            raise DataError(
                f"Expected {str(entry.files['image'])!r} of {width}x{height} px, as in "
                f"{self.pictures[entry.key].file.name}, but got {image.shape[1]}x{image.shape[0]} px; get the original "
                "file."
            )
        return image

    def _labels(self, entry: Entry) -> NDArray[np.int32]:
        picture = self.pictures[entry.key]
        try:
            budget = PixelBudget(sum(instance.length for instance in picture.instances))
            masks = [instance.mask(picture.size_hw, budget) for instance in picture.instances]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"Expected polygons or run lengths for {entry.key!r} in {str(picture.file)!r} but got "
                f"{_reason(error)!r}; get the original file."
            ) from error
        return paint(masks, picture.size_hw)

    def _names(self, entry: Entry, labels: NDArray[np.int32]) -> Mapping[int, str]:
        return dict(enumerate((i.category for i in self.pictures[entry.key].instances), 1))


def paint(masks: list[BoxMask], size_hw: tuple[int, int]) -> NDArray[np.int32]:
    """Masks that may overlap to labels int32 [H, W], 1 + place in the list; 0 where there is none.

    The smaller one is on top; of two of the same area, the later one.
    """
    labels = np.full(size_hw, NO_SURFACE, np.int32)
    for index in sorted(range(len(masks)), key=lambda i: -masks[i].area_px):
        labels[masks[index].box.part][masks[index].pixels] = index + 1
    return labels


def open_coco(options: DatasetOptions) -> COCO:
    """Read the annotations of the splits and find their images. Raises as :func:`open_fmb` does."""
    root, split = find_root(CARD, options), choose_split(CARD, options)
    entries: list[Entry] = []
    pictures: dict[str, Picture] = {}
    crowds = 0
    for name in split.names:
        file = root / "annotations" / f"instances_{name}2017.json"
        found, left_out = read_instances(file)
        crowds += left_out
        for file_name, picture in found.items():
            key = f"{name}/{Path(file_name).stem}"
            entries.append(Entry(key, {"image": root / f"{name}2017" / file_name}))
            pictures[key] = picture
    instances = sum(len(picture.instances) for picture in pictures.values())
    dataset = COCO.open(CARD, options, root, split, entries, instances_in_split=instances, crowds_left_out=crowds)
    return replace(dataset, pictures=pictures)


def read_instances(file: Path) -> tuple[dict[str, Picture], int]:
    """The images of an annotation file by file name, sorted, and the number of crowds that were left out.

    Raises :class:`DataError` for a file that is missing or broken, with the expected tree.
    """
    try:
        content = read_json(file)
        categories = {category["id"]: str(category["name"]) for category in content["categories"]}
        by_image: dict[int, list[Instance]] = {image["id"]: [] for image in content["images"]}
        crowds = 0
        for annotation in content["annotations"]:
            if annotation.get("iscrowd"):
                crowds += 1
                continue
            instance = Instance(categories[annotation["category_id"]], annotation["segmentation"])
            by_image[annotation["image_id"]].append(instance)
        pictures = {
            str(image["file_name"]): Picture(file, _size(image), tuple(by_image[image["id"]]))
            for image in sorted(content["images"], key=lambda image: str(image["file_name"]))
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise DataError(
            f"Expected the annotations {str(file)!r} but got {_reason(error)!r}; arrange {CARD.where}."
        ) from error
    return pictures, crowds


def _size(image: Mapping[str, Any]) -> tuple[int, int]:
    height, width = int(image["height"]), int(image["width"])
    check_pixels(height, width)
    if not is_below(str(image["file_name"])):
        raise ValueError(f"the file {shown(image['file_name'])}, which lies elsewhere")
    return height, width


def _reason(error: Exception) -> str:
    """What is wrong with a file, for a message."""
    if isinstance(error, KeyError):
        return f"no {shown(error.args[0])}" if error.args else "too little"
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:_LONGEST]
