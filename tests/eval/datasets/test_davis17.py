"""DAVIS 2017: every frame an image, the objects those of the first frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError
from mmms_eval.datasets import IGNORE

from .conftest import open_tree, save

FRAMES = {
    "bear": [[0, 1, 1, 0, 0], [0, 0, 1, 2, 0]],  # 2 appears later
    "cars": [[3, 3, 0, 1, 0], [0, 2, 0, 1, 255]],  # 2 is hidden at first, 3 has left
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for video, frames in FRAMES.items():
        for number, row in enumerate(frames):
            save(tmp_path / "JPEGImages" / "480p" / video / f"{number:05d}.jpg", np.full((4, 5, 3), 90, np.uint8))
            picture = Image.fromarray(np.array([row] * 4, np.uint8)).convert("P")
            picture.putpalette([9, 9, 9] * 256)  # colours say nothing
            file = tmp_path / "Annotations" / "480p" / video / f"{number:05d}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)
    lists = tmp_path / "ImageSets" / "2017"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("bear\ncars\n")
    (lists / "train.txt").write_text("")
    return tmp_path


def test_objects_are_those_of_the_first_frame(root: Path) -> None:
    dataset = open_tree("davis17", root)
    samples = [dataset[i] for i in range(len(dataset))]
    assert [sample.key for sample in samples] == ["bear/00000", "bear/00001", "cars/00000", "cars/00001"]
    assert [sample.labels[0].tolist() for sample in samples] == [
        [0, 1, 1, 0, 0],
        [0, 0, 1, 0, 0],
        [3, 3, 0, 1, 0],
        [0, 2, 0, 1, IGNORE],
    ]
    assert [sample.surface_ids() for sample in samples] == [[1], [1], [1, 3], [1, 2]]


def test_only_the_first_frames(root: Path) -> None:
    dataset = open_tree("davis17", root, "val/first")
    assert [dataset[i].key for i in range(len(dataset))] == ["bear/00000", "cars/00000"]
    with pytest.raises(DataError, match=r"Expected 30 images of 'davis17', 'val/first', in .* but got 2"):
        open_tree("davis17", root, "val/first", partial=False)
    with pytest.raises(DataError, match=r"Expected 1999 images of 'davis17', 'val', in .* but got 4"):
        open_tree("davis17", root, partial=False)


def test_frames_and_videos_without_files_are_listed(root: Path) -> None:
    (root / "Annotations/480p/bear/00001.png").unlink()
    with pytest.raises(DataError, match=r"but got none at Annotations/480p/bear/00001\.\*; unpack"):
        open_tree("davis17", root)
    (root / "Annotations/480p/cars/00000.png").unlink()
    with pytest.raises(DataError, match=r"480p/cars/00000\.\*, Annotations/480p/cars/00000\.png; unpack"):
        open_tree("davis17", root)
    (root / "ImageSets/2017/val.txt").write_text("swan\n")
    with pytest.raises(DataError, match=r"none at JPEGImages/480p/swan/00000.jpg, Annotations/480p/swan/00000.png; "):
        open_tree("davis17", root)
