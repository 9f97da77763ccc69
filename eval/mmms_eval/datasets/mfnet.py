"""MFNet (also: ir_seg_dataset): RGB and thermal on the road by day and night, 8 classes (Ha et al., IROS 2017).

Two packagings are read:

- as published: ``images/NAME.png`` has four channels, RGB and thermal in the place of alpha, which most readers drop;
- re-packaged: RGB in ``rgb`` (or ``RGB``), thermal in ``ther`` (``Thermal``), ids in ``labels`` (``Label``).

Both have lists of names. A list may name mirrored copies (``NAME_flip``) that a script of the authors writes; where
that script was not run, the picture is mirrored in memory. Published code that says "val" often reads ``test.txt``.

Label id 0 means "not annotated", and many such pixels do show objects. They cannot be "ignore" either, because
nearly all pixels would be: so they are no surface and count as background.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import ModalitySpec
from mmms_client.errors import DataError, ImageReadError
from mmms_client.picture_file import open_picture
from mmms_eval.datasets.folder import list_files
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
from mmms_eval.datasets.sample import NO_SURFACE, DatasetOptions

CLASSES = ("car", "person", "bike", "curve", "car stop", "guardrail", "color cone", "bump")
FLIP = "_flip"

CARD = Card(
    name="mfnet",
    folders=("MFNet", "ir_seg_dataset"),
    tree="ROOT/{images,labels}/NAME.png or ROOT/{rgb,ther,labels}/NAME.*, and ROOT/{train,val,test}.txt",
    page="https://www.mi.t.u-tokyo.ac.jp/static/projects/mil_multispectral/",
    splits=("train", "val", "test", "test_day", "test_night"),
    default_split="test",
    aliases={PUBLISHED_VAL: "test"},
    counts={"train": 784, "val": 392, "test": 393},
    stored_hw=(480, 640),
    modalities=("thermal",),
    ids=offset_ids(len(CLASSES), 0, {0: NO_SURFACE}),
    label_rule="ids 1 to 8 are the surfaces, 0 (not annotated) is background, 255 is ignored",
    names=dict(enumerate(CLASSES, 1)),
    unlabelled_id=0,
)
_SEPARATE = {"image": ("rgb", "RGB"), "labels": ("labels", "Label"), "thermal": ("ther", "Thermal")}


class MFNet(PairedDataset):
    """Thermal is 8-bit grey without a unit: the fourth channel of the picture, or a file of its own."""

    def _modality(self, name: str, spec: ModalitySpec, entry: Entry, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if name in entry.files:
            return super()._modality(name, spec, entry, image)
        file = entry.files["image"]
        return self._by_rule(name, spec, read_fourth_channel(file), file)


def read_fourth_channel(file: Path) -> NDArray[np.float32]:
    """The alpha channel as float32 [H, W], 0 .. 255. Raises :class:`ImageReadError` if there is none."""
    try:
        with file.open("rb") as stream, open_picture(stream) as picture:
            mode, samples = picture.mode, np.asarray(picture)
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        raise ImageReadError(
            f"Expected {str(file)!r} to be a whole image but got {' '.join(str(error).split())!r}; copy it again."
        ) from error
    if mode != "RGBA":
        raise ImageReadError(
            f"Expected {str(file)!r} with four channels, RGB and thermal, but got a picture of mode {mode}; get the "
            "original file, or leave thermal out with --modalities none."
        )
    return np.asarray(samples[..., 3], np.float32)


def open_mfnet(options: DatasetOptions) -> MFNet:
    """Read the lists and find their files. Raises as :func:`find_root`, :func:`choose_split`, ``open`` do."""
    root, split = find_root(CARD, options), choose_split(CARD, options)
    is_original = (root / "images").is_dir()
    roles = ("image", "labels", *(() if is_original else options.readable(CARD.modalities)))
    folders = {role: root / ("images" if role == "image" else "labels") for role in roles}
    if not is_original:
        folders = {role: _folder(root, _SEPARATE[role]) for role in roles}
    files = {role: list_files(folder) for role, folder in folders.items()}
    stems = [stem for name in split.names for stem in read_list(CARD, root / f"{name}.txt")]
    entries = [_entry(stem, folders, files) for stem in stems]
    facts: dict[str, Any] = {
        "packaging": "four channels" if is_original else "separate files",
        "mirrored_in_memory": sum(entry.is_mirrored for entry in entries),
    }
    return MFNet.open(CARD, options, root, split, entries, **facts)


def _folder(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"Expected the folder {str(root / names[0])!r} but got none; arrange {CARD.where}.")


def _entry(stem: str, folders: dict[str, Path], files: dict[str, dict[str, Path]]) -> Entry:
    is_mirrored = stem.endswith(FLIP) and all(stem not in found for found in files.values())
    source = stem.removesuffix(FLIP) if is_mirrored else stem
    return Entry(
        stem, {role: files[role].get(source, folders[role] / f"{source}.png") for role in folders}, is_mirrored
    )
