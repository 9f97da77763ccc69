"""GrabCut, Berkeley, DAVIS and COCO_MVal: RGB photographs with the mask of one object each, paired by stem.

These are the sets on which interactive segmentation is usually compared. Masks are pictures, not ids: grey levels say
object, background and, for GrabCut and Berkeley, a band along the border (128) that counts for nothing. Of Berkeley,
a photograph with two objects is there twice. DAVIS is 345 frames whose objects are merged into one mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmms_client.readers import read_image
from mmms_eval.datasets.paired import Card, Entry, PairedDataset, choose_split, find_root, need_folder, pair_folders
from mmms_eval.datasets.sample import IGNORE, NO_SURFACE, DatasetOptions

UNKNOWN_LEVEL = 128
_PAGE = "the release v1.0 of https://github.com/saic-vul/fbrs_interactive_segmentation"


def trimap_to_labels(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Mask uint8 [H, W, 3] to surface ids int32 [H, W]: above 128 the object, 128 ignored, below it background."""
    level = mask[..., 0]
    labels = np.where(level > UNKNOWN_LEVEL, 1, NO_SURFACE)
    labels[level == UNKNOWN_LEVEL] = IGNORE
    return labels.astype(np.int32)


def any_to_labels(mask: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Mask uint8 [H, W, 3] to surface ids int32 [H, W]: the object is what is not black."""
    return np.where(mask.max(axis=2) > 0, 1, NO_SURFACE).astype(np.int32)


def _card(folder: str, images: str, masks: str, count: int, label_rule: str) -> Card:
    return Card(
        name=folder.lower(),
        folders=(folder,),
        tree=f"ROOT/{images}/NAME.* and ROOT/{masks}/NAME.*",
        page=_PAGE,
        splits=("test",),
        default_split="test",
        counts={"test": count},
        ids={},
        label_rule=label_rule,
        names={1: "object"},
    )


_TRIMAP, _ANY = "above 128 is the object, 128 is ignored", "all that is not black is the object"


@dataclass(frozen=True)
class _Layout:
    card: Card
    images: str
    masks: str
    to_labels: Callable[[NDArray[np.uint8]], NDArray[np.int32]]


LAYOUTS = {
    layout.card.name: layout
    for layout in (
        _Layout(_card("GrabCut", "data_GT", "boundary_GT", 50, _TRIMAP), "data_GT", "boundary_GT", trimap_to_labels),
        _Layout(_card("Berkeley", "images", "masks", 100, _TRIMAP), "images", "masks", trimap_to_labels),
        _Layout(_card("DAVIS", "img", "gt", 345, _ANY), "img", "gt", any_to_labels),
        _Layout(_card("COCO_MVal", "img", "gt", 800, _ANY), "img", "gt", any_to_labels),
    )
}


class SingleObject(PairedDataset):
    """One surface per image, no modality."""

    def _labels(self, entry: Entry) -> NDArray[np.int32]:
        return LAYOUTS[self.card.name].to_labels(read_image(entry.files["labels"]))


def open_single_object(name: str, options: DatasetOptions) -> SingleObject:
    """List and pair the images and masks of ``name``, a key of :data:`LAYOUTS`; any file extension."""
    layout = LAYOUTS[name]
    card = layout.card
    root, split = find_root(card, options), choose_split(card, options)
    folders = {"image": need_folder(card, root / layout.images), "labels": need_folder(card, root / layout.masks)}
    entries = pair_folders(folders)
    return SingleObject.open(card, options, root, split, entries)
