"""SHSeg and WSESeg: masks of instances beside pictures that come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError, UsageError
from mmms_eval.datasets.winter_sports import FOLDERS

from .conftest import open_tree, save

PHOTO = np.full((4, 6, 3), 90, np.uint8)
IDS = np.array([[0, 0, 1, 1, 3, 255]] * 4, np.uint8)


def pair(folder: Path, name: str, ids: np.ndarray = IDS) -> None:
    save(folder / f"{name}.jpg", PHOTO)
    save(folder / f"mask_{name}.png", ids)


@pytest.fixture
def wseseg(tmp_path: Path) -> Path:
    for folder in FOLDERS.values():
        pair(tmp_path / folder, "12_34")
    return tmp_path


def test_every_id_is_an_instance_255_too(wseseg: Path) -> None:
    sample = open_tree("wseseg", wseseg, "test/ski_goggles")[0]
    assert [(s.id, s.name, s.area_px) for s in sample.surfaces()] == [
        (1, "ski goggles", 8),
        (3, "ski goggles", 4),
        (255, "ski goggles", 4),
    ]
    assert sample.valid.all() and sample.key == "ski_goggles/12_34"


def test_all_classes_or_one(wseseg: Path) -> None:
    dataset = open_tree("wseseg", wseseg)
    assert [dataset[i].key for i in range(10)] == [f"{name}/12_34" for name in FOLDERS]
    assert dataset.describe()["images_published"] == 4221
    with pytest.raises(UsageError, match=r"each also as SPLIT/CONDITION with bobsleighs, .*skijump"):
        open_tree("wseseg", wseseg, "test/yt_sports")
    with pytest.raises(DataError, match=r"Expected 4221 images of 'wseseg', 'test', in .* but got 10"):
        open_tree("wseseg", wseseg, partial=False)


def test_indices_of_a_palette_are_ids_and_so_are_bits(tmp_path: Path) -> None:
    pair(tmp_path, "a")
    picture = Image.fromarray(IDS).convert("P")
    picture.putpalette([7, 7, 7] * 256)
    picture.save(tmp_path / "mask_a.png")
    assert open_tree("shseg", tmp_path)[0].surface_ids() == [1, 3, 255]
    Image.fromarray(IDS > 0).save(tmp_path / "mask_a.png")
    assert [(s.id, s.name) for s in open_tree("shseg", tmp_path)[0].surfaces()] == [(1, "skier")]


def test_a_mask_without_its_picture_is_listed_and_a_picture_without_mask_counted(tmp_path: Path) -> None:
    pair(tmp_path / "jump", "b")
    pair(tmp_path, "mask_a")  # a picture that is called as masks are
    save(tmp_path / "not annotated.jpg", PHOTO)
    dataset = open_tree("shseg", tmp_path)
    assert [dataset[i].key for i in range(len(dataset))] == ["jump/b", "mask_a"]
    assert dataset.describe()["images_without_mask"] == 1
    (tmp_path / "jump" / "b.jpg").unlink()
    with pytest.raises(DataError, match=r"but got none at jump/b\.jpg; "):
        open_tree("shseg", tmp_path)
    assert len(open_tree("shseg", tmp_path, keep_going=True)) == 2


def test_a_mask_without_background_is_not_guessed_at(tmp_path: Path) -> None:
    """Published code would take the smallest id for the background, and lose an instance without a word."""
    pair(tmp_path, "a", IDS + (IDS == 0) * np.uint8(1))
    with pytest.raises(DataError, match=r"Expected background \(0\) in '.*mask_a.png' but got 1, 3, 255 only; check"):
        open_tree("shseg", tmp_path)[0]


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    pair(tmp_path, "a", IDS[:3])
    with pytest.raises(DataError, match=r"mask_a.png' of 6x4 px, the size of its image, but got 6x3"):
        open_tree("shseg", tmp_path)[0]
