"""MCubeS: RGB, polarisation and near infrared outdoors, 20 materials (Liang et al., CVPR 2022).

The left 192 columns of every map have no use and are discarded. Polarisation is stored as NPY and overshoots its
physical limits a little; the client clips when it scales. NIR has a mask of pixels without a value, which become NaN
(the authors' code also ignores their labels; we do not). ``train.txt`` may be shorter than the training set: names
of ``all.txt`` that neither other list has are training images too. Published code that says "val" often reads
``test.txt``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, ImageReadError
from mmms_client.picture_file import open_picture
from mmms_client.readers import read_modality
from mmms_eval.datasets.paired import (
    PUBLISHED_VAL,
    Card,
    Entry,
    PairedDataset,
    choose_split,
    find_root,
    offset_ids,
    read_list,
)
from mmms_eval.datasets.sample import DatasetOptions

CLASSES = (
    "asphalt", "concrete", "metal", "road marking", "fabric or leather", "glass", "plaster", "plastic", "rubber",
    "sand", "gravel", "ceramic", "cobblestone", "brick", "grass", "wood", "leaf", "water", "human body", "sky",
)  # fmt: skip
UNUSED_LEFT_PX = 192

CARD = Card(
    name="mcubes",
    folders=("MCubeS", "multimodal_dataset"),
    tree="ROOT/{polL_color,NIR_warped,NIR_warped_mask,GT}/NAME.png, ROOT/{polL_aolp_sin,polL_aolp_cos,polL_dolp}/"
    "NAME.npy and ROOT/list_folder/{all,train,val,test}.txt",
    page="https://vision.ist.i.kyoto-u.ac.jp/research/mcubes",
    splits=("train", "val", "test"),
    default_split="test",
    aliases={PUBLISHED_VAL: "test"},
    counts={"train": 302, "val": 96, "test": 102},
    stored_hw=(1024, 1224),
    modalities=("nir", "aolp", "dolp"),
    ids=offset_ids(len(CLASSES), 1),
    label_rule="ids 0 to 19 are the surfaces 1 to 20, 255 is ignored",
    names=dict(enumerate(CLASSES, 1)),
)
_FILES = {
    "image": "polL_color/{}.png",
    "labels": "GT/{}.png",
    "nir": "NIR_warped/{}.png",
    "nir_mask": "NIR_warped_mask/{}.png",
    "aolp_sin": "polL_aolp_sin/{}.npy",
    "aolp_cos": "polL_aolp_cos/{}.npy",
    "dolp": "polL_dolp/{}.npy",
}
_ROLES = {"nir": ("nir", "nir_mask"), "aolp": ("aolp_sin", "aolp_cos"), "dolp": ("dolp",)}


class MCubeS(PairedDataset):
    """NIR is the share of full scale (8 or 16 bits), AoLP is (sin, cos), DoLP about 0 .. 1."""

    def _modality(self, name: str, spec: ModalitySpec, entry: Entry, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        size_hw = image.shape[:2]
        if name == "aolp":
            maps = [self._read(name, spec, entry, role, size_hw, 1) for role in _ROLES["aolp"]]
            return np.stack(maps, axis=-1)
        values = self._read(name, spec, entry, name, size_hw)
        if name == "nir":
            mask = read_modality(entry.files["nir_mask"], 1)
            self._check_size(entry, "nir_mask", mask.shape, size_hw)
            values = np.where(mask > 0, np.float32(np.nan), values)
        return values

    def _by_rule(self, name: str, spec: ModalitySpec, raw: NDArray[np.float32], file: Path) -> NDArray[np.float32]:
        return super()._by_rule(name, spec, raw / np.float32(full_scale(file)) if name == "nir" else raw, file)

    def _trim(self, array: NDArray[Any]) -> NDArray[Any]:
        if array.shape[1] <= UNUSED_LEFT_PX:
            raise DataError(
                f"Expected {self.name!r} pictures wider than {UNUSED_LEFT_PX} px, the columns without use, but got "
                f"{array.shape[1]} px; get the original files, which are not cropped yet."
            )
        return np.ascontiguousarray(array[:, UNUSED_LEFT_PX:])


def full_scale(file: Path) -> int:
    """The largest number that a grey picture can hold: 255 or 65535."""
    try:
        with file.open("rb") as stream, open_picture(stream) as picture:
            return 65535 if picture.mode.startswith("I") else 255
    except Exception as error:  # Pillow's readers raise whatever the broken bytes lead them to
        raise ImageReadError(f"Expected the picture {str(file)!r} but got {str(error)!r}; copy it again.") from error


def open_mcubes(options: DatasetOptions) -> MCubeS:
    """Read the lists and find their files. Raises as :func:`find_root`, :func:`choose_split`, ``open`` do."""
    root, split = find_root(CARD, options), choose_split(CARD, options)
    roles = ["image", "labels", *(role for name in options.readable(CARD.modalities) for role in _ROLES[name])]
    facts: dict[str, Any] = {}
    stems = []
    for name in split.names:
        listed = read_list(CARD, root / "list_folder" / f"{name}.txt")
        if name == "train":
            unlisted = _unlisted(root, listed)
            facts["added_to_train_list"] = len(unlisted)
            listed += unlisted
        stems += listed
    entries = [Entry(stem, {role: root / _FILES[role].format(stem) for role in roles}) for stem in stems]
    return MCubeS.open(CARD, options, root, split, entries, **facts)


def _unlisted(root: Path, train: list[str]) -> list[str]:
    """Names of ``all.txt`` in no other list."""
    every, val, test = (read_list(CARD, root / "list_folder" / f"{name}.txt") for name in ("all", "val", "test"))
    others = {*train, *val, *test}
    return [stem for stem in every if stem not in others]
