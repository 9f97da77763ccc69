"""FMB: folders without lists, no val split, unlabelled pixels that must not become a class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError, UsageError
from mmms_eval.datasets import IGNORE

from .conftest import first, open_tree, read, save

Tree = Callable[[str], Path]


def test_images_thermal_and_labels_of_a_split(tree: Tree) -> None:
    root = tree("fmb")
    dataset = open_tree("fmb", root)
    assert [dataset[i].key for i in range(len(dataset))] == [
        f"test/{p.stem}" for p in sorted(root.glob("test/Label/*"))
    ]
    sample = dataset[0]
    name = sample.key.split("/")[1]
    assert np.array_equal(sample.image, read(root / "test" / "Visible" / f"{name}.png"))
    assert np.array_equal(sample.modalities["thermal"], read(root / "test" / "Infrared" / f"{name}.png"))
    stored = read(root / "test" / "Label" / f"{name}.png").astype(int)
    assert np.array_equal(sample.labels, np.where(stored == 0, IGNORE, stored))
    assert {"road", "sky"} & {surface.name for surface in sample.surfaces()}
    train = open_tree("fmb", root, "train")
    assert len(train) > len(dataset)
    assert len(open_tree("fmb", root, "train+test")) == len(train) + len(dataset)


def test_unlabelled_is_ignored_and_255_is_no_class(tree: Tree) -> None:
    root = tree("fmb")
    labels = np.zeros((30, 40), np.uint8)
    labels[:10], labels[10:20] = 255, 14
    save(first(root, "test/Label/*"), labels)
    sample = open_tree("fmb", root)[0]
    assert [(s.id, s.name) for s in sample.surfaces()] == [(14, "pole")]
    assert not sample.valid[:10].any() and not sample.valid[20:].any()


def test_val_is_the_test_folder_and_says_so(tree: Tree) -> None:
    root = tree("fmb")
    for alias in ("val", "published-val"):
        described = open_tree("fmb", root, alias).describe()
        assert (described["split"], described["split_asked"]) == ("test", alias)


def test_an_unknown_split_lists_those_there_are(tree: Tree) -> None:
    root = tree("fmb")
    with pytest.raises(UsageError, match=r"'fmb' as train, test, val \(= test\), published-val \(= test\), or"):
        open_tree("fmb", root, "validation")
    with pytest.raises(UsageError, match=r"but got 'test\+val'"):  # the same images twice
        open_tree("fmb", root, "test+val")


def test_the_published_number_of_images_and_size_are_required(tree: Tree) -> None:
    root = tree("fmb")
    with pytest.raises(DataError, match=r"Expected 280 images of 'fmb', 'test', in .* but got \d; unpack"):
        open_tree("fmb", root, partial=False)
    described = open_tree("fmb", root).describe()
    assert described["images_published"] == 280 and described["partial"] is True
    for k in range(280):  # the number is right, the size is not
        for folder in ("Visible", "Infrared", "Label"):
            (root / "test" / folder / f"{k:05d}.png").write_bytes(first(root, f"test/{folder}/*").read_bytes())
    for path in root.glob("test/*/*"):
        if int(path.stem) >= 280:
            path.unlink()
    dataset = open_tree("fmb", root, partial=False)
    with pytest.raises(DataError, match=r"of 800x600 px, as published, but got 40x30 px; .* --partial"):
        dataset[0]


@pytest.mark.parametrize("folder", ["Visible", "Infrared", "Label"])
def test_a_file_without_its_partners_is_listed(tree: Tree, folder: str) -> None:
    root = tree("fmb")
    victim = first(root, f"test/{folder}/*")
    victim.unlink()
    with pytest.raises(DataError, match=rf"but got none at test/{folder}/{victim.stem}.\*; unpack"):
        open_tree("fmb", root)


def test_many_missing_files_are_counted(tree: Tree) -> None:
    root = tree("fmb")
    for k in range(9):
        save(root / "test" / "Label" / f"9{k}.png", np.zeros((30, 40), np.uint8))
    with pytest.raises(DataError, match=r"test/Visible/90.\*, test/Infrared/90.\*, .* and 13 more; unpack"):
        open_tree("fmb", root)


def test_a_modality_that_is_left_out_need_not_be_there(tree: Tree) -> None:
    root = tree("fmb")
    first(root, "test/Infrared/*").unlink()
    assert open_tree("fmb", root, modalities=())[0].modalities == {}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_thermal_that_is_stored_as_colour_is_one_channel(tree: Tree, mode: str) -> None:
    root = tree("fmb")
    before = open_tree("fmb", root)[0].modalities["thermal"]
    for path in root.glob("test/Infrared/*"):
        Image.fromarray(read(path)).convert(mode).save(path)
    assert np.array_equal(open_tree("fmb", root)[0].modalities["thermal"], before)


def test_a_modality_of_another_size_is_named(tree: Tree) -> None:
    root = tree("fmb")
    victim = first(root, "test/Infrared/*")
    Image.new("L", (20, 15)).save(victim)
    with pytest.raises(DataError, match=rf"Infrared/{victim.name}' of 40x30 px, the size of its image, but got 20x15"):
        open_tree("fmb", root)[0]


def test_ids_of_another_data_set_are_refused(tree: Tree) -> None:
    root = tree("fmb")
    save(first(root, "test/Label/*"), np.full((30, 40), 17, np.uint8))
    with pytest.raises(DataError, match=r"Expected the label ids 0, 1, .*, 14, 255 in .* but got 17; check"):
        open_tree("fmb", root)[0]


def test_label_pictures_with_three_channels_are_read_from_the_first(tree: Tree) -> None:
    root = tree("fmb")
    path = first(root, "test/Label/*")
    stored = read(path)
    save(path, np.dstack([stored, stored * 0, stored * 0 + 3]))
    assert np.array_equal(open_tree("fmb", root)[0].labels, np.where(stored == 0, IGNORE, stored.astype(int)))
