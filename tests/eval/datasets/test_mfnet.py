"""MFNet: thermal in the alpha channel, lists, mirrored copies, both packagings, and id 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError, UsageError
from mmms_eval.datasets import IGNORE, NO_SURFACE

from .conftest import first, open_tree, read, save

Tree = Callable[[str], Path]


def stems(root: Path, name: str) -> list[str]:
    return (root / f"{name}.txt").read_text().split()


def repackage(root: Path, rgb: str = "rgb", thermal: str = "ther", labels: str = "labels") -> None:
    """Separate files, as other projects hand the data on; no val list."""
    (root / "labels").rename(root / "kept")
    for path in (root / "images").iterdir():
        rgba = read(path)
        save(root / rgb / f"{path.stem}.jpg", np.ascontiguousarray(rgba[..., :3]))
        save(root / thermal / f"{path.stem}.png", np.repeat(rgba[..., 3:], 3, axis=2))
        path.unlink()
    (root / "kept").rename(root / labels)
    (root / "images").rmdir()
    (root / "val.txt").unlink()


def test_thermal_is_the_fourth_channel(tree: Tree) -> None:
    root = tree("mfnet")
    dataset = open_tree("mfnet", root)
    assert [dataset[i].key for i in range(len(dataset))] == stems(root, "test")
    sample = dataset[0]
    rgba = read(root / "images" / f"{sample.key}.png")
    assert np.array_equal(sample.image, rgba[..., :3])
    assert np.array_equal(sample.modalities["thermal"], rgba[..., 3])
    assert dataset.describe()["packaging"] == "four channels"


def test_a_picture_without_the_fourth_channel_is_refused(tree: Tree) -> None:
    root = tree("mfnet")
    Image.new("RGB", (32, 24)).save(root / "images" / f"{stems(root, 'test')[0]}.png")
    with pytest.raises(DataError, match=r"with four channels, RGB and thermal, but got a picture of mode RGB"):
        open_tree("mfnet", root)[0]
    assert open_tree("mfnet", root, modalities=())[0].modalities == {}


@pytest.mark.parametrize("names", [("rgb", "ther", "labels"), ("RGB", "Thermal", "Label")])
def test_the_other_packaging_has_the_same_content(tree: Tree, names: tuple[str, str, str]) -> None:
    root = tree("mfnet")
    before = open_tree("mfnet", root)[0]
    repackage(root, *names)
    dataset = open_tree("mfnet", root)
    after = dataset[0]
    assert dataset.describe()["packaging"] == "separate files"
    assert after.key == before.key and np.array_equal(after.labels, before.labels)
    assert np.array_equal(after.modalities["thermal"], before.modalities["thermal"])
    assert np.abs(after.image.astype(int) - before.image).mean() < 20  # JPEG
    with pytest.raises(DataError, match=r"Expected the list .*val.txt' but got 'No such file"):
        open_tree("mfnet", root, "val")


def test_published_val_is_the_test_list_but_val_is_not(tree: Tree) -> None:
    root = tree("mfnet")
    assert open_tree("mfnet", root, "val")[0].key == stems(root, "val")[0]
    dataset = open_tree("mfnet", root, "published-val")
    assert dataset[0].key == stems(root, "test")[0]
    assert dataset.describe()["split"] == "test"


def test_day_and_night_lists(tree: Tree) -> None:
    root = tree("mfnet")
    (root / "test_night.txt").write_text("\n".join(stems(root, "test")))
    assert len(open_tree("mfnet", root, "test_night", partial=False)) == len(stems(root, "test"))


def test_splits_that_share_images_cannot_be_joined(tree: Tree) -> None:
    with pytest.raises(UsageError, match=r"Expected --split 'test\+test_day' to have each image once but got 0"):
        root = tree("mfnet")
        (root / "test_day.txt").write_text("\n".join(stems(root, "test")))
        open_tree("mfnet", root, "test+test_day")


def test_what_is_not_annotated_is_background_or_a_surface_on_request(tree: Tree) -> None:
    root = tree("mfnet")
    labels = np.zeros((24, 32), np.uint8)
    labels[:8], labels[8:10] = 2, 255
    save(root / "labels" / f"{stems(root, 'test')[0]}.png", labels)
    sample = open_tree("mfnet", root)[0]
    assert [(s.id, s.name) for s in sample.surfaces()] == [(2, "person")]
    assert (sample.labels[10:] == NO_SURFACE).all() and (sample.labels[8:10] == IGNORE).all()
    dataset = open_tree("mfnet", root, include_unlabelled=True)
    assert [(s.id, s.name) for s in dataset[0].surfaces()] == [(2, "person"), (9, "unlabelled")]
    assert dataset.describe()["include_unlabelled"] is True
    assert "0 is surface 9 here" in dataset.describe()["label_rule"]


def test_only_mfnet_has_an_unlabelled_surface(tree: Tree) -> None:
    with pytest.raises(UsageError, match=r"unlabelled pixels open but got 'fmb'; drop the option"):
        open_tree("fmb", tree("fmb"), include_unlabelled=True)


def test_mirrored_copies_are_made_where_they_are_missing(tree: Tree) -> None:
    root = tree("mfnet")
    stem = stems(root, "train")[0]
    (root / "train.txt").write_text(f"{stem}\n{stem}_flip\n")
    dataset = open_tree("mfnet", root, "train")
    plain, mirrored = dataset[0], dataset[1]
    assert mirrored.key == f"{stem}_flip"
    assert np.array_equal(mirrored.image, plain.image[:, ::-1])
    assert np.array_equal(mirrored.labels, plain.labels[:, ::-1])
    assert np.array_equal(mirrored.modalities["thermal"], plain.modalities["thermal"][:, ::-1])
    assert dataset.describe()["mirrored_in_memory"] == 1
    for folder in ("images", "labels"):  # now they exist: taken as they are
        save(root / folder / f"{stem}_flip.png", read(root / folder / f"{stem}.png"))
    assert np.array_equal(open_tree("mfnet", root, "train")[1].image, plain.image)


def test_mirrored_copies_do_not_count_as_images(tree: Tree) -> None:
    root = tree("mfnet")
    names = [f"{k:05d}D" for k in range(784)]
    (root / "train.txt").write_text("\n".join([*names, *(f"{name}_flip" for name in names)]))
    for name in names:
        for folder in ("images", "labels"):
            (root / folder / f"{name}.png").write_bytes(b"")
    dataset = open_tree("mfnet", root, "train", partial=False)
    assert (len(dataset), dataset.describe()["images_published"]) == (2 * 784, 784)


def test_listed_names_without_files_and_repeated_names(tree: Tree) -> None:
    root = tree("mfnet")
    (root / "test.txt").write_text("00001D\n00001D\n")
    with pytest.raises(DataError, match=r"Expected each name once in .*test.txt' but got 00001D twice"):
        open_tree("mfnet", root)
    (root / "test.txt").write_text("77777D\n")
    with pytest.raises(DataError, match=r"but got none at images/77777D.png, labels/77777D.png; unpack"):
        open_tree("mfnet", root)
    (root / "test.txt").write_text("")
    with pytest.raises(DataError, match=r"Expected images of 'test' in .* but got none; arrange the tree ROOT"):
        open_tree("mfnet", root)


def test_a_damaged_picture_is_named(tree: Tree) -> None:
    root = tree("mfnet")
    victim = first(root, f"images/{stems(root, 'test')[0]}.png")
    victim.write_bytes(victim.read_bytes()[:90])
    with pytest.raises(DataError, match=rf"Expected '.*{victim.name}' to be a whole image"):
        open_tree("mfnet", root)[0]
