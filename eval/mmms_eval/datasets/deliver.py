"""DeLiVER: RGB, depth, HHA, lidar and events of a simulated car, 25 classes (Zhang et al., CMNeXt, CVPR 2023).

Folders are ``MODALITY/WEATHER/SPLIT/SCENE/FRAME_WORD_front.png``. Four traps: what published code calls depth is the
folder ``hha`` (whose files are called ``_depth_``), the unit of the folder ``depth`` is not stated, events of the
corner case ``eventlowres`` are stored smaller, and the ids are in the red channel (0 and 255 both mean unlabelled).
Published numbers are on val.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import ModalitySpec
from mmms_client.errors import ImageReadError
from mmms_client.geometry import check_aspect
from mmms_client.readers import read_modality
from mmms_eval.datasets.paired import (
    PUBLISHED_VAL,
    Card,
    Entry,
    PairedDataset,
    Split,
    choose_split,
    find_root,
    need_folder,
    offset_ids,
)
from mmms_eval.datasets.sample import IGNORE, DatasetOptions

CLASSES = (
    "building", "fence", "other", "pedestrian", "pole", "road line", "road", "sidewalk", "vegetation", "cars", "wall",
    "traffic sign", "sky", "ground", "bridge", "rail track", "ground rail", "traffic light", "static", "dynamic",
    "water", "terrain", "two-wheeler", "bus", "truck",
)  # fmt: skip
WEATHERS = ("cloud", "fog", "night", "rain", "sun")
CORNER_CASES = ("motionblur", "overexposure", "underexposure", "lidarjitter", "eventlowres")
_COUNTS = {
    "train": (794, 795, 797, 799, 798),
    "val": (398, 400, 410, 398, 399),
    "test": (379, 379, 379, 380, 380),
}  # by weather

CARD = Card(
    name="deliver",
    folders=("DeLiVER", "DELIVER"),
    tree="ROOT/{img,hha,depth,lidar,event,semantic}/WEATHER/{train,val,test}/SCENE/FRAME_*_front.png",
    page="https://jamycheung.github.io/DELIVER.html",
    splits=("train", "val", "test"),
    default_split="test",
    aliases={PUBLISHED_VAL: "val"},
    counts={
        **{split: sum(counts) for split, counts in _COUNTS.items()},
        **{f"{s}/{weather}": n for s, counts in _COUNTS.items() for weather, n in zip(WEATHERS, counts, strict=True)},
    },
    stored_hw=(1042, 1042),
    modalities=("depth", "hha", "lidar", "event"),
    ids=offset_ids(len(CLASSES), 0, {0: IGNORE}),
    label_rule="ids 1 to 25 of the red channel are the surfaces, 0 and 255 are ignored",
    names=dict(enumerate(CLASSES, 1)),
)
_FOLDERS = {"image": "img", "labels": "semantic"}
_WORDS = {"image": "rgb", "labels": "semantic", "hha": "depth"}  # in file names, where it is not the role's


class DeLiVER(PairedDataset):
    """HHA, lidar and events are 8-bit colour pictures (0 .. 255); depth is 8-bit and needs ``--scale``."""

    def _modality(self, name: str, spec: ModalitySpec, entry: Entry, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if name in ("hha", "depth"):
            return super()._modality(name, spec, entry, image)
        file, size_hw = entry.files[name], (image.shape[0], image.shape[1])
        values = self._by_rule(name, spec, as_channels(read_modality(file), spec.channels, file), file)
        if name == "event" and values.shape[:2] != size_hw:
            check_aspect(name, (values.shape[0], values.shape[1]), size_hw)
            values = resize_nearest(values, size_hw)
        self._check_size(entry, name, values.shape[:2], size_hw)
        return values


def as_channels(values: NDArray[np.float32], channels: int, file: Path) -> NDArray[np.float32]:
    """A picture [H, W] or [H, W, C] with the channels that a model wants: one is repeated, more are refused."""
    if values.ndim == 2 and channels > 1:
        return np.repeat(values[..., None], channels, axis=2)
    have = 1 if values.ndim == 2 else values.shape[2]
    if have != channels:
        raise ImageReadError(
            f"Expected {str(file)!r} with {channels} channel(s) but got {have}; get the original file, or leave the "
            "modality out with --modalities."
        )
    return values


def resize_nearest(values: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Nearest neighbour without blending, float32 [h, w, ...] to [H, W, ...]: polarities must not mix."""
    rows, columns = (np.arange(new) * old // new for new, old in zip(size_hw, values.shape[:2], strict=True))
    return values[rows[:, None], columns]


def open_deliver(options: DatasetOptions) -> DeLiVER:
    """List and pair the files of a split, or of ``SPLIT/WEATHER`` or ``SPLIT/CORNER_CASE``."""
    root, split = find_root(CARD, options), choose_split(CARD, options, (*WEATHERS, *CORNER_CASES))
    roles = ("image", "labels", *options.readable(CARD.modalities))
    keys = sorted({key for role in roles for key in _keys(root, role, split)})
    entries = [Entry(key, {role: _file(root, role, key) for role in roles}) for key in keys]
    return DeLiVER.open(CARD, options, root, split, entries)


def _keys(root: Path, role: str, split: Split) -> list[str]:
    """``WEATHER/SPLIT/SCENE/FRAME`` of all files of a role that belong to the split, by the parts of the path."""
    folder, ending = need_folder(CARD, root / _FOLDERS.get(role, role)), _ending(role)
    keys = []
    for name in split.names:
        for file in folder.glob(f"*/{name}/*/*{ending}"):
            weather, _, scene, frame = file.relative_to(folder).parts
            if all(c == weather if c in WEATHERS else c in f"{scene}/{frame}" for c in split.conditions):
                keys.append(f"{weather}/{name}/{scene}/{frame.removesuffix(ending)}")
    return keys


def _file(root: Path, role: str, key: str) -> Path:
    return root / _FOLDERS.get(role, role) / f"{key}{_ending(role)}"


def _ending(role: str) -> str:
    return f"_{_WORDS.get(role, role)}_front.png"
