"""MCubeS: columns to discard, an incomplete list, NPY maps beyond their limits, NIR without values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmms_client.contract import KNOWN_MODALITIES
from mmms_client.errors import DataError
from mmms_client.geometry import scale_modality
from mmms_eval.datasets import IGNORE
from mmms_eval.synthetic.layouts import MCUBES_LEFT_PX

from .conftest import open_tree, read, save

Tree = Callable[[str], Path]


def stems(root: Path, name: str) -> list[str]:
    return (root / "list_folder" / f"{name}.txt").read_text().split()


def test_the_left_columns_are_gone_in_every_map(tree: Tree) -> None:
    root = tree("mcubes")
    dataset = open_tree("mcubes", root, "train+val+test")
    depths = set()
    for index in range(len(dataset)):
        sample = dataset[index]
        stored = cv2.imread(str(root / "polL_color" / f"{sample.key}.png"), cv2.IMREAD_UNCHANGED)[..., ::-1]
        depths.add(stored.dtype.itemsize)
        eight = stored if stored.dtype == np.uint8 else stored >> 8
        assert np.array_equal(sample.image, eight[:, MCUBES_LEFT_PX:])
        for name, folder in (("aolp", "polL_aolp_sin"), ("dolp", "polL_dolp")):
            values = np.load(root / folder / f"{sample.key}.npy")[:, MCUBES_LEFT_PX:]
            read_values = sample.modalities[name]
            assert np.array_equal(read_values if name == "dolp" else read_values[..., 0], values)
        assert sample.modalities["aolp"].shape == (30, 40, 2)
        assert sample.labels.shape == sample.modalities["nir"].shape == (30, 40)
    assert depths == {1, 2}


def test_id_0_is_a_class_and_255_is_ignored(tree: Tree) -> None:
    root = tree("mcubes")
    labels = np.full((30, 232), 9, np.uint8)
    labels[:, 192:202], labels[:, 202:212], labels[:, 212:] = 0, 19, 255
    save(root / "GT" / f"{stems(root, 'test')[0]}.png", labels)
    sample = open_tree("mcubes", root)[0]
    assert [(s.id, s.name) for s in sample.surfaces()] == [(1, "asphalt"), (20, "sky")]
    assert (sample.labels[:, 20:] == IGNORE).all()


def test_near_infrared_is_a_share_of_full_scale_and_nan_under_its_mask(tree: Tree) -> None:
    root = tree("mcubes")
    dataset = open_tree("mcubes", root, "train+val+test")
    modes = set()
    for index in range(len(dataset)):
        sample = dataset[index]
        stored = read(root / "NIR_warped" / f"{sample.key}.png")[:, MCUBES_LEFT_PX:]
        missing = read(root / "NIR_warped_mask" / f"{sample.key}.png")[:, MCUBES_LEFT_PX:] > 0
        nir = sample.modalities["nir"]
        full = 255 if stored.dtype == np.uint8 else 65535
        modes.add(full)
        assert missing.any() and np.array_equal(np.isnan(nir), missing)
        np.testing.assert_allclose(nir[~missing], stored[~missing] / full, rtol=1e-5)
        assert not (sample.labels[missing] == IGNORE).all()  # labels there still count
    assert modes == {255, 65535}


def test_polarisation_beyond_its_limits_is_clipped_for_the_network(tree: Tree) -> None:
    sample = open_tree("mcubes", tree("mcubes"))[0]
    assert np.abs(sample.modalities["aolp"]).max() > 1
    for name in ("aolp", "dolp"):
        scaled = scale_modality(sample.modalities[name], KNOWN_MODALITIES[name].spec)
        assert scaled.min() >= 0 and scaled.max() <= 1


def test_the_incomplete_train_list_is_completed_and_that_is_said(tree: Tree) -> None:
    root = tree("mcubes")
    dataset = open_tree("mcubes", root, "train")
    expected = set(stems(root, "all")) - set(stems(root, "val")) - set(stems(root, "test"))
    assert {dataset[i].key for i in range(len(dataset))} == expected > set(stems(root, "train"))
    assert dataset.describe()["added_to_train_list"] == len(expected) - len(stems(root, "train"))


def test_published_val_is_the_test_list(tree: Tree) -> None:
    root = tree("mcubes")
    assert open_tree("mcubes", root, "published-val")[0].key == stems(root, "test")[0]
    assert open_tree("mcubes", root, "val")[0].key == stems(root, "val")[0]


@pytest.mark.parametrize("file", ["polL_aolp_cos/{}.npy", "polL_dolp/{}.npy", "NIR_warped_mask/{}.png", "GT/{}.png"])
def test_a_missing_file_is_named(tree: Tree, file: str) -> None:
    root = tree("mcubes")
    name = file.format(stems(root, "test")[0])
    (root / name).unlink()
    with pytest.raises(DataError, match=rf"but got none at {name}; unpack"):
        open_tree("mcubes", root)


def test_maps_of_another_size_and_cropped_copies_are_refused(tree: Tree) -> None:
    root = tree("mcubes")
    path = root / "polL_dolp" / f"{stems(root, 'test')[0]}.npy"
    whole = np.load(path)
    np.save(path, whole[:, 192:])
    with pytest.raises(DataError, match=r"of 232x30 px, the size of its image, but got 40x30 px"):
        open_tree("mcubes", root)[0]
    for folder in ("polL_color", "GT"):
        picture = root / folder / f"{stems(root, 'test')[0]}.png"
        save(picture, np.zeros((30, 40, 3) if folder == "polL_color" else (30, 40), np.uint8))
    with pytest.raises(DataError, match=r"pictures wider than 192 px, the columns without use, but got 40 px"):
        open_tree("mcubes", root, modalities=())[0]


def test_npy_files_that_are_cut_short_are_named(tree: Tree) -> None:
    root = tree("mcubes")
    path = root / "polL_aolp_sin" / f"{stems(root, 'test')[0]}.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match=rf"Expected '.*{path.name}' to be a whole NPY file"):
        open_tree("mcubes", root)[0]
