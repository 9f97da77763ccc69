"""FMB: RGB and infrared on the road, 14 classes (Liu et al., SegMiF, ICCV 2023).

Four parallel folders with the same file names and no list files. There is no val split: published code that says
"val" reads the test folder. Label ids are 1 .. 14 and 0 for unlabelled, which code with 8-bit arithmetic turns into
255 by subtracting 1; here 0 is "ignore" by name.
"""

from __future__ import annotations

from mmms_eval.datasets.paired import (
    PUBLISHED_VAL,
    Card,
    PairedDataset,
    choose_split,
    find_root,
    need_folder,
    offset_ids,
    pair_folders,
)
from mmms_eval.datasets.sample import IGNORE, DatasetOptions

CLASSES = (
    "road", "sidewalk", "building", "traffic light", "traffic sign", "vegetation", "sky", "person", "car", "truck",
    "bus", "motorcycle", "bicycle", "pole",
)  # fmt: skip

CARD = Card(
    name="fmb",
    folders=("FMB",),
    tree="ROOT/{train,test}/{Visible,Infrared,Label}/NAME.png",
    page="https://github.com/JinyuanLiu-CV/SegMiF",
    splits=("train", "test"),
    default_split="test",
    aliases={"val": "test", PUBLISHED_VAL: "test"},
    counts={"train": 1220, "test": 280},
    stored_hw=(600, 800),
    modalities=("thermal",),
    ids=offset_ids(len(CLASSES), 0, {0: IGNORE}),
    label_rule="ids 1 to 14 are the surfaces, 0 and 255 are ignored",
    names=dict(enumerate(CLASSES, 1)),
)
_FOLDERS = {"image": "Visible", "labels": "Label", "thermal": "Infrared"}


def open_fmb(options: DatasetOptions) -> PairedDataset:
    """List and pair ``ROOT/SPLIT/*/NAME.png``; thermal infrared is 8-bit grey without a unit.

    Raises as :func:`find_root`, :func:`choose_split` and :meth:`PairedDataset.open` do.
    """
    root, split = find_root(CARD, options), choose_split(CARD, options)
    roles = ("image", "labels", *options.readable(CARD.modalities))
    entries = []
    for name in split.names:
        folders = {role: need_folder(CARD, root / name / _FOLDERS[role]) for role in roles}
        entries += pair_folders(folders, f"{name}/")
    return PairedDataset.open(CARD, options, root, split, entries)
