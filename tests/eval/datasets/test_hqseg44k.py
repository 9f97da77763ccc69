"""HQSeg-44k: photographs and masks apart or side by side, and one folder of masks that is the wrong one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmms_client.errors import DataError, UsageError
from mmms_eval.datasets.hqseg44k import CARD, PARTS

from .conftest import open_tree, save

PHOTO = np.full((6, 8, 3), 90, np.uint8)
SOFT = np.array([[0, 1, 127, 255, 255, 0, 0, 0]] * 6, np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One photograph in each part, and in HRSOD the folder of masks that the published code does not read."""
    for part in PARTS:
        save(tmp_path / part.images / "a.b.jpg", PHOTO)
        save(tmp_path / part.masks / "a.b.png", SOFT)
    save(tmp_path / "thin_object_detection/HRSOD/masks/a.b.png", np.zeros_like(SOFT))
    return tmp_path


def test_the_parts_make_up_the_published_splits(root: Path) -> None:
    assert (CARD.counts["train"], CARD.counts["val"]) == (44320, 1537)
    keys = {}
    for split in ("train", "val"):
        dataset = open_tree("hqseg44k", root, split)
        keys[split] = [dataset[i].key for i in range(len(dataset))]
    assert keys["val"] == ["DIS-VD/a.b", "ThinObject5K-TE/a.b", "COIFT/a.b", "HRSOD/a.b"]
    assert keys["train"][2:] == ["fss_all/a.b", "DUTS-TR/a.b", "DUTS-TE/a.b", "ecssd/a.b", "MSRA_10K/a.b"]


@pytest.mark.parametrize("split", ["val/HRSOD", "train/ecssd"])
def test_soft_edges_belong_to_the_object(root: Path, split: str) -> None:
    sample = open_tree("hqseg44k", root, split)[0]
    assert sample.labels[0].tolist() == [0, 1, 1, 1, 1, 0, 0, 0]
    assert sample.image.shape == (6, 8, 3) and sample.surfaces()[0].name == "object"


def test_a_photograph_or_mask_alone_is_listed_where_they_lie_side_by_side(root: Path) -> None:
    (root / "cascade_psp/ecssd/a.b.jpg").rename(root / "cascade_psp/ecssd/c.jpg")
    with pytest.raises(DataError, match=r"but got none at cascade_psp/ecssd/a.b.jpg, cascade_psp/ecssd/c.png; unpack"):
        open_tree("hqseg44k", root, "train")


def test_published_numbers_are_required_of_parts_too(root: Path) -> None:
    with pytest.raises(DataError, match="Expected 1537 images of 'hqseg44k', 'val'"):
        open_tree("hqseg44k", root, partial=False)
    with pytest.raises(DataError, match="Expected 280 images of 'hqseg44k', 'val/COIFT'"):
        open_tree("hqseg44k", root, "val/COIFT", partial=False)
    with pytest.raises(UsageError, match="DIS-VD, ThinObject5K-TE, COIFT, HRSOD, or several"):
        open_tree("hqseg44k", root, "val/DIS5K")


def test_a_part_that_was_not_unpacked_is_said(root: Path) -> None:
    (root / "DIS5K/DIS-VD/gt/a.b.png").unlink()
    (root / "DIS5K/DIS-VD/gt").rmdir()
    with pytest.raises(DataError, match=r"Expected the folder '.*DIS-VD/gt' but got none; arrange the tree ROOT/DIS5K"):
        open_tree("hqseg44k", root)
