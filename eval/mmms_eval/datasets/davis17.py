"""DAVIS 2017: RGB videos with the masks of several objects in every frame (Pont-Tuset et al., 2017).

For MIST every frame is an image of its own (Rana et al., DynaMITe, 2023). The objects are those of the video's first
frame: its ids, up to the highest. One that leaves the picture is no surface of that frame, and one that appears later
has a higher id and is background, as in the published numbers. Annotations are palette pictures whose index is the id.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmms_eval.datasets.labels import read_labels
from mmms_eval.datasets.paired import Card, Entry, PairedDataset, choose_split, find_root, pair_folders, read_list
from mmms_eval.datasets.sample import NO_SURFACE, DatasetOptions

FIRST = "first"  # condition: only the first frame of each video
_FIRST_FRAME = "00000"

CARD = Card(
    name="davis17",
    folders=("DAVIS17", "DAVIS-2017-trainval", "DAVIS/DAVIS-2017-trainval"),
    tree="ROOT/{JPEGImages,Annotations}/480p/VIDEO/00000.{jpg,png} and ROOT/ImageSets/2017/{train,val}.txt",
    page="https://davischallenge.org/davis2017/code.html",
    splits=("train", "val"),
    default_split="val",
    counts={"val": 1999, f"val/{FIRST}": 30, f"train/{FIRST}": 60},
    ids={},
    label_rule="ids 1 to the highest of the video's first frame are the surfaces, higher ones are background, 255 is "
    "ignored",
)


class DAVIS17(PairedDataset):
    """All objects of a frame; no modality."""

    def _labels(self, entry: Entry) -> NDArray[np.int32]:
        labels = read_labels(entry.files["labels"])
        highest = read_labels(entry.files["first"]).max(initial=NO_SURFACE)
        return np.where(labels > highest, NO_SURFACE, labels).astype(np.int32)


def open_davis17(options: DatasetOptions) -> DAVIS17:
    """Read the lists of videos and pair their frames; ``SPLIT/first`` is the first frames alone.

    Raises as :func:`open_fmb` does.
    """
    root, split = find_root(CARD, options), choose_split(CARD, options, (FIRST,))
    entries = []
    for name in split.names:
        for video in read_list(CARD, root / "ImageSets" / "2017" / f"{name}.txt"):
            frames = _frames(root, video)
            entries += [frame for frame in frames if not split.conditions or frame.key == f"{video}/{_FIRST_FRAME}"]
    return DAVIS17.open(CARD, options, root, split, entries)


def _frames(root: Path, video: str) -> list[Entry]:
    """All frames of a video; the first one at least, so that a video without files is noticed."""
    folders = {"image": root / "JPEGImages" / "480p" / video, "labels": root / "Annotations" / "480p" / video}
    first = folders["labels"] / f"{_FIRST_FRAME}.png"
    pairs = pair_folders(folders, f"{video}/")
    if all(pair.key != f"{video}/{_FIRST_FRAME}" for pair in pairs):
        pairs.insert(0, Entry(f"{video}/{_FIRST_FRAME}", {"image": folders["image"] / f"{_FIRST_FRAME}.jpg"}))
    return [Entry(pair.key, {**pair.files, "first": first}) for pair in pairs]
