"""SHSeg and WSESeg: RGB pictures of winter sports, skiers and equipment (Schön et al., 2024 and 2025).

``mask_NAME.png`` holds the ids of the instances of ``NAME.jpg`` beside it. Only the masks are handed out: images come
from elsewhere, so that one may be missing, which is said, and there may be images without a mask, which are counted.

0 is background and every other id is an instance, 255 too: nothing says that a set of one instance does not use it.
Published code takes the smallest id of each mask for the background, which loses an instance where a mask has no 0;
such a mask is an error here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import DataError
from mmms_eval.datasets.labels import read_labels
from mmms_eval.datasets.paired import Card, Entry, PairedDataset, Split, choose_split, find_root, need_folder
from mmms_eval.datasets.sample import NO_SURFACE, DatasetOptions, shorten

PREFIX = "mask_"
_PHOTOS = frozenset({".jpg", ".jpeg", ".png"})
_RULE = "every id of a mask is an instance and a surface, 0 is background, nothing is ignored"

SHSEG = Card(
    name="shseg",
    folders=("SHSeg",),
    tree="ROOT/mask_NAME.png with ROOT/NAME.jpg",
    page="https://github.com/Schorob/skipclick",
    splits=("test",),
    default_split="test",
    counts={},
    ids={},
    label_rule=_RULE,
)

FOLDERS = {
    "bobsleighs": "flickr_bobsleighs",
    "curling_brooms": "flickr_curling_brooms",
    "curling_stone": "flickr_curling_stone",
    "ski_goggles": "flickr_ski_goggles",
    "ski_helmets": "flickr_ski_helmets",
    "ski_misc": "flickr_ski_misc",
    "skijump": "yt_sports/skijump/annotated_frames/0",
    "slalom_obstacles": "flickr_slalom_obstacles",
    "snow_kites": "flickr_snow_kites",
    "snowboards": "flickr_snowboards",
}  # class -> folder

WSESEG = Card(
    name="wseseg",
    folders=("WSESeg",),
    tree="ROOT/{flickr_bobsleighs,...,flickr_snowboards,yt_sports/skijump/annotated_frames/0}/mask_NAME.png with "
    "NAME.jpg beside it",
    page="https://github.com/Schorob/wseseg",
    splits=("test",),
    default_split="test",
    counts={"test": 4221},
    ids={},
    label_rule=_RULE,
)


class WinterSports(PairedDataset):
    """All instances of an image, called by the class that begins the image's key; no modality."""

    def _labels(self, entry: Entry) -> NDArray[np.int32]:
        file = entry.files["labels"]
        labels = read_labels(file, ())
        if not (labels == NO_SURFACE).any():
            raise DataError(
                f"Expected background (0) in {str(file)!r} but got {shorten(map(str, np.unique(labels)))} only; "
                "check whether one of them is the background, or leave such images out with --keep-going."
            )
        return labels

    def _names(self, entry: Entry, labels: NDArray[np.int32]) -> Mapping[int, str]:
        name = "skier" if self.card is SHSEG else entry.key.split("/")[0].replace("_", " ")
        return {int(i): name for i in np.unique(labels)}


def open_shseg(options: DatasetOptions) -> WinterSports:
    """Find all masks below the root, in subfolders too. Raises as :func:`open_fmb` does."""
    root, split = find_root(SHSEG, options), choose_split(SHSEG, options)
    return _open(SHSEG, options, root, split, [_Folder(root, "", root.rglob("*"))])


def open_wseseg(options: DatasetOptions) -> WinterSports:
    """Find the masks of all classes, or of ``test/CLASS``. Raises as :func:`open_fmb` does."""
    root, split = find_root(WSESEG, options), choose_split(WSESEG, options, list(FOLDERS))
    folders = []
    for name in split.conditions or FOLDERS:
        folder = need_folder(WSESEG, root / FOLDERS[name])
        folders.append(_Folder(folder, f"{name}/", folder.iterdir()))
    return _open(WSESEG, options, root, split, folders)


class _Folder:
    """The masks of a folder, by key, and its images without one."""

    def __init__(self, folder: Path, key_prefix: str, files: Iterable[Path]) -> None:
        photos: dict[Path, Path] = {}  # without extension -> file
        masks: list[Path] = []
        for file in sorted(files):
            if file.name.startswith(PREFIX) and file.suffix.lower() == ".png":
                masks.append(file)
            elif file.suffix.lower() in _PHOTOS:
                photos[file.with_suffix("")] = file
        self.entries = []
        for mask in masks:
            stem = mask.parent / mask.stem.removeprefix(PREFIX)
            key = key_prefix + stem.relative_to(folder).as_posix()
            photo = photos.pop(stem, stem.parent / f"{stem.name}.jpg")
            self.entries.append(Entry(key, {"image": photo, "labels": mask}))
        self.images_without_mask = len(photos)


def _open(card: Card, options: DatasetOptions, root: Path, split: Split, folders: Sequence[_Folder]) -> WinterSports:
    entries = [entry for folder in folders for entry in folder.entries]
    left_out = sum(folder.images_without_mask for folder in folders)
    return WinterSports.open(card, options, root, split, entries, images_without_mask=left_out)
