"""A user's own folder of images, and what is said when it is not in order."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError, ModalityError, UsageError
from mmms_client.units import parse_scale
from mmms_eval.datasets.folder import open_folder
from mmms_eval.datasets.labels import read_labels
from mmms_eval.datasets.sample import DatasetOptions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images (one in a subfolder) with depth in millimetres and a folder that no model knows."""
    for folder in ("rgb", "labels", "depth", "notes"):
        (tmp_path / folder / "day").mkdir(parents=True)
    for key in ("b", "day/a"):
        Image.new("RGB", (6, 4), (10, 20, 30)).save(tmp_path / "rgb" / f"{key}.jpg")
        labels = np.array([[0, 1, 1, 2, 255, 0]] * 4, np.uint8)
        Image.fromarray(labels).save(tmp_path / "labels" / f"{key}.png")
        depth = np.array([[0, 1000, 2000, 3000, 4000, 5000]] * 4, np.uint16)
        Image.fromarray(depth).save(tmp_path / "depth" / f"{key}.png")
    (tmp_path / "modalities.json").write_text('{"depth": {"unit": "mm", "invalid": 0}}')
    (tmp_path / "names.json").write_text('{"1": "road"}')
    return tmp_path


def test_images_labels_and_modalities_are_paired_by_path(root: Path) -> None:
    dataset = open_folder(DatasetOptions(root=str(root)))
    assert [dataset[i].key for i in range(len(dataset))] == ["b", "day/a"]
    assert dataset.modality_names == ("depth", "notes")  # notes is counted as unused, not read
    sample = dataset[1]
    assert sample.labels[0].tolist() == [0, 1, 1, 2, -1, 0]
    assert [(s.id, s.name, s.area_px) for s in sample.surfaces()] == [(1, "road", 8), (2, "2", 4)]
    assert list(sample.modalities) == ["depth"]
    np.testing.assert_allclose(sample.modalities["depth"][0], [np.nan, 1, 2, 3, 4, 5])


def test_a_data_set_may_be_made_of_links(root: Path) -> None:
    """Stores such as those of DVC and Hugging Face keep the files elsewhere, and folders lie on several disks."""
    whole = open_folder(DatasetOptions(root=str(root)))
    store = root.with_name(f"{root.name} store")
    for file in sorted(path for folder in ("rgb", "depth") for path in (root / folder).rglob("*.*")):
        target = store / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
        file.symlink_to(target)
    (root / "labels").rename(store / "labels")
    (root / "labels").symlink_to(store / "labels")
    root.with_name("link").symlink_to(root)
    linked = open_folder(DatasetOptions(root=str(root.with_name("link"))))
    assert linked.keys == whole.keys and linked[1].labels.tolist() == whole[1].labels.tolist()


def test_the_scale_option_wins_and_a_missing_unit_is_named(root: Path) -> None:
    name, rule = parse_scale("depth=0.5")
    dataset = open_folder(DatasetOptions(root=str(root), rules={name: rule}))
    assert dataset[0].modalities["depth"][0, 1] == 500
    (root / "modalities.json").unlink()
    with pytest.raises(ModalityError, match=r"the model wants 'depth' in m but got none"):
        open_folder(DatasetOptions(root=str(root)))[0]


def test_images_beyond_the_wanted_number_and_unwanted_modalities_are_left_out(root: Path) -> None:
    dataset = open_folder(DatasetOptions(root=str(root), max_images=1, modalities=()))
    assert len(dataset) == 1
    assert dataset[0].modalities == {}


def test_every_missing_file_is_listed(root: Path) -> None:
    (root / "depth" / "b.png").unlink()
    (root / "rgb" / "day" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"but got none for rgb/day/a, depth/b; add them"):
        open_folder(DatasetOptions(root=str(root)))


def test_two_files_of_one_name_are_refused(root: Path) -> None:
    Image.new("RGB", (6, 4)).save(root / "rgb" / "b.png")
    with pytest.raises(DataError, match=r"Expected one file per name but got"):
        open_folder(DatasetOptions(root=str(root)))


def test_no_root_and_a_root_of_another_layout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Expected --root with ROOT/rgb/NAME.png"):
        open_folder(DatasetOptions())
    with pytest.raises(DataError, match=r"arrange the data as ROOT/rgb/NAME.png"):
        open_folder(DatasetOptions(root=str(tmp_path)))
    for folder in ("rgb", "labels"):
        (tmp_path / folder).mkdir()
    with pytest.raises(DataError, match=r"Expected images in"):
        open_folder(DatasetOptions(root=str(tmp_path)))


def test_labels_of_another_size_name_the_file(root: Path) -> None:
    Image.new("L", (5, 4)).save(root / "labels" / "b.png")
    with pytest.raises(DataError, match=r"b.png' of 6x4 px, the size of its image, but got 5x4 px"):
        open_folder(DatasetOptions(root=str(root)))[0]


def test_names_that_are_no_table_are_refused(root: Path) -> None:
    (root / "names.json").write_text(json.dumps(["road"]))
    with pytest.raises(DataError, match=r"names.json: expected the content to be an object but got \['road'\]"):
        open_folder(DatasetOptions(root=str(root)))


def test_palette_and_16_bit_labels_keep_their_ids(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 3, 255]], np.uint8), mode="L").convert("P")
    picture.putpalette([200, 10, 10] * 256)
    picture.save(tmp_path / "palette.png")
    assert read_labels(tmp_path / "palette.png").tolist() == [[0, 3, -1]]
    Image.fromarray(np.array([[0, 300, 65535]], np.uint16)).save(tmp_path / "deep.png")
    assert read_labels(tmp_path / "deep.png").tolist() == [[0, 300, 65535]]
    assert read_labels(tmp_path / "deep.png", (0, 65535)).tolist() == [[-1, 300, -1]]
    np.save(tmp_path / "ids.npy", np.array([[1, 255]], np.uint8))
    assert read_labels(tmp_path / "ids.npy").tolist() == [[1, -1]]


def test_label_files_that_hold_no_ids_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (3, 3)).save(tmp_path / "colour.png")
    with pytest.raises(DataError, match=r"one channel of 8- or 16-bit ids but got a picture of mode RGB"):
        read_labels(tmp_path / "colour.png")
    np.save(tmp_path / "negative.npy", np.array([[-3, 1]]))
    with pytest.raises(DataError, match=r"Expected ids from 0 to 65535 in .* but got -3 to 1"):
        read_labels(tmp_path / "negative.npy")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"Expected label file .*broken.png"):
        read_labels(tmp_path / "broken.png")
