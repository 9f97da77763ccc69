"""The photographs on which interactive segmentation is usually compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from mmms_client.errors import DataError
from mmms_eval.datasets import IGNORE

from .conftest import open_tree, save

PHOTO = np.full((8, 10, 3), 90, np.uint8)
LEVELS = np.array([[0, 60, 127, 128, 129, 255, 255, 0, 0, 0]] * 8, np.uint8)


@pytest.mark.parametrize(
    ("name", "images", "masks"), [("grabcut", "data_GT", "boundary_GT"), ("berkeley", "images", "masks")]
)
def test_the_band_at_128_is_ignored(tmp_path: Path, name: str, images: str, masks: str) -> None:
    save(tmp_path / images / "a.jpg", PHOTO)
    save(tmp_path / masks / "a.bmp", LEVELS)
    sample = open_tree(name, tmp_path)[0]
    assert sample.labels[0].tolist() == [0, 0, 0, IGNORE, 1, 1, 1, 0, 0, 0]
    assert (sample.key, sample.surfaces()[0].name) == ("a", "object")


@pytest.mark.parametrize("name", ["davis", "coco_mval"])
def test_all_that_is_not_black_is_the_object(tmp_path: Path, name: str) -> None:
    save(tmp_path / "img" / "a.jpg", PHOTO)
    palette = Image.fromarray(np.array([[0, 1, 2] + [0] * 7] * 8, np.uint8)).convert("P")
    palette.putpalette([0, 0, 0, 0, 0, 90, 200, 0, 0] + [0] * 759)
    (tmp_path / "gt").mkdir()
    palette.save(tmp_path / "gt" / "a.png")
    assert open_tree(name, tmp_path)[0].labels[0].tolist() == [0, 1, 1] + [0] * 7


def test_photographs_and_masks_without_each_other_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "img" / "a.jpg", PHOTO)
    save(tmp_path / "gt" / "b.png", LEVELS)
    with pytest.raises(DataError, match=r"but got none at gt/a\.\*, img/b\.\*; unpack"):
        open_tree("davis", tmp_path)


def test_published_numbers_of_images(tmp_path: Path) -> None:
    save(tmp_path / "img" / "a.jpg", PHOTO)
    save(tmp_path / "gt" / "a.png", LEVELS)
    with pytest.raises(DataError, match=r"Expected 345 images of 'davis', 'test', in .* but got 1"):
        open_tree("davis", tmp_path, partial=False)


def sbd(root: Path, instances: object) -> Path:
    save(root / "img" / "2008_000001.jpg", PHOTO)
    (root / "inst").mkdir()
    (root / "val.txt").write_text("2008_000001\n")
    savemat(root / "inst" / "2008_000001.mat", {"GTinst": {"Segmentation": instances, "Boundaries": 0}})
    return root


def test_each_instance_of_sbd_is_a_surface(tmp_path: Path) -> None:
    instances = np.zeros((8, 10), np.uint8)
    instances[:4, :5], instances[5:, 5:] = 1, 2
    sample = open_tree("sbd", sbd(tmp_path, instances))[0]
    assert [(s.id, s.area_px) for s in sample.surfaces()] == [(1, 20), (2, 15)]
    assert sample.valid.all()


def test_instance_maps_that_are_none(tmp_path: Path) -> None:
    root = sbd(tmp_path, np.zeros((8, 10, 2), np.uint8))
    with pytest.raises(DataError, match=r"to hold GTinst with an instance map but got 'uint8 of shape \(8, 10, 2\)'"):
        open_tree("sbd", root)[0]
    (root / "inst" / "2008_000001.mat").write_bytes(b"MATLAB 5.0" * 30)
    with pytest.raises(DataError, match=r"2008_000001.mat' to hold GTinst with an instance map but got"):
        open_tree("sbd", root)[0]
