"""HQSeg-44k: RGB photographs with the fine mask of one object each, from older sets (Ke et al., HQ-SAM, 2023).

Two kinds of folders: images and masks apart, or side by side (``NAME.jpg`` and ``NAME.png``), where a mask must not be
taken for one more image. Masks have soft edges; what is not black is the object, as in the published code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmms_client.readers import read_image
from mmms_eval.datasets.paired import (
    Card,
    Entry,
    PairedDataset,
    choose_split,
    find_root,
    need_folder,
    pair_folders,
)
from mmms_eval.datasets.sample import DatasetOptions
from mmms_eval.datasets.single_object import any_to_labels

_PHOTOS = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True)
class Part:
    """One of the older sets; images and masks are side by side where the two folders are the same."""

    name: str
    split: str
    count: int
    images: str
    masks: str


def _side_by_side(name: str, count: int) -> Part:
    return Part(name, "train", count, f"cascade_psp/{name}", f"cascade_psp/{name}")


_THIN, _THIN_5K = "thin_object_detection", "thin_object_detection/ThinObject5K"
PARTS = (
    Part("DIS-TR", "train", 3000, "DIS5K/DIS-TR/im", "DIS5K/DIS-TR/gt"),
    Part("ThinObject5K-TR", "train", 4748, f"{_THIN_5K}/images_train", f"{_THIN_5K}/masks_train"),
    _side_by_side("fss_all", 10000),
    _side_by_side("DUTS-TR", 10553),
    _side_by_side("DUTS-TE", 5019),
    _side_by_side("ecssd", 1000),
    _side_by_side("MSRA_10K", 10000),
    Part("DIS-VD", "val", 470, "DIS5K/DIS-VD/im", "DIS5K/DIS-VD/gt"),
    Part("ThinObject5K-TE", "val", 500, f"{_THIN_5K}/images_test", f"{_THIN_5K}/masks_test"),
    Part("COIFT", "val", 280, f"{_THIN}/COIFT/images", f"{_THIN}/COIFT/masks"),
    Part("HRSOD", "val", 287, f"{_THIN}/HRSOD/images", f"{_THIN}/HRSOD/masks_max255"),  # "masks" holds other values
)

CARD = Card(
    name="hqseg44k",
    folders=("HQSeg-44k", "hqseg44k"),
    tree="ROOT/DIS5K/{DIS-TR,DIS-VD}/{im,gt}, ROOT/thin_object_detection/{ThinObject5K,COIFT,HRSOD} and "
    "ROOT/cascade_psp/{fss_all,DUTS-TR,DUTS-TE,ecssd,MSRA_10K}",
    page="https://github.com/SysCV/sam-hq",
    splits=("train", "val"),
    default_split="val",
    counts={
        **{split: sum(part.count for part in PARTS if part.split == split) for split in ("train", "val")},
        **{f"{part.split}/{part.name}": part.count for part in PARTS},
    },
    ids={},
    label_rule="all that is not black is the object",
    names={1: "object"},
)


class HQSeg44k(PairedDataset):
    """One surface per image, no modality."""

    def _labels(self, entry: Entry) -> NDArray[np.int32]:
        return any_to_labels(read_image(entry.files["labels"]))


def open_hqseg44k(options: DatasetOptions) -> HQSeg44k:
    """List and pair the files of a split, or of ``SPLIT/PART``. Raises as :func:`open_fmb` does."""
    root = find_root(CARD, options)
    split = choose_split(CARD, options, [part.name for part in PARTS])
    entries = []
    for part in PARTS:
        if part.split in split.names and part.name in (split.conditions or (part.name,)):
            images, masks = need_folder(CARD, root / part.images), need_folder(CARD, root / part.masks)
            if images == masks:
                entries += pair_side_by_side(images, f"{part.name}/")
            else:
                entries += pair_folders({"image": images, "labels": masks}, f"{part.name}/")
    return HQSeg44k.open(CARD, options, root, split, entries)


def pair_side_by_side(folder: Path, key_prefix: str = "") -> list[Entry]:
    """Entries of ``NAME.jpg`` with ``NAME.png`` in one folder; either of them alone makes an entry, too."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in (*_PHOTOS, ".png")]
    images = {file.stem: file for file in files if file.suffix.lower() in _PHOTOS}
    masks = {file.stem: file for file in files if file.suffix.lower() == ".png"}
    return [
        Entry(
            f"{key_prefix}{stem}",
            {"image": images.get(stem, folder / f"{stem}.jpg"), "labels": masks.get(stem, folder / f"{stem}.png")},
        )
        for stem in sorted({*images, *masks})
    ]
