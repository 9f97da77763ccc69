"""DeLiVER: path parts, HHA that is called depth, red ids, small event pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError, ModalityError, UsageError
from mmms_client.units import parse_scale
from mmms_eval.datasets import IGNORE

from .conftest import first, open_tree, read, save

Tree = Callable[[str], Path]
PICTURES = ("hha", "lidar", "event")


def test_the_maps_of_an_image_are_paired_by_the_parts_of_their_paths(tree: Tree) -> None:
    outer = tree("deliver")
    root = outer.rename(outer.parent / "rain_img_rgb_sun_train")  # words that replacing text would trip over
    dataset = open_tree("deliver", root, "train", modalities=PICTURES)
    assert dataset.modality_names == ("depth", "hha", "lidar", "event")
    assert len(dataset) == len(list(root.glob("img/*/train/*/*")))
    for index in range(len(dataset)):
        sample = dataset[index]
        weather, split, scene, frame = sample.key.split("/")
        place = Path(weather, split, scene)
        assert split == "train"
        assert np.array_equal(sample.image, read(root / "img" / place / f"{frame}_rgb_front.png"))
        assert np.array_equal(sample.modalities["hha"], read(root / "hha" / place / f"{frame}_depth_front.png"))
        assert np.array_equal(sample.modalities["lidar"], read(root / "lidar" / place / f"{frame}_lidar_front.png"))


def test_rain_in_train_is_not_all_of_train(tree: Tree) -> None:
    root = tree("deliver")
    pictures = list(root.glob("img/*/train/*/*"))
    for path in pictures:  # each also exists in rain
        for folder in ("img", "semantic"):
            for file in root.glob(f"{folder}/*/train/{path.parent.name}/*"):
                save(root / folder / "rain" / "train" / f"copy_{path.parent.name}" / file.name, read(file))
    stored = {p.relative_to(root / "img").parts[0] for p in pictures}
    assert stored - {"rain"}
    for weather in (*stored, "rain"):
        dataset = open_tree("deliver", root, f"train/{weather}", modalities=())
        assert len(dataset) == len(list(root.glob(f"img/{weather}/train/*/*")))
        assert all(dataset[i].key.startswith(f"{weather}/train/") for i in range(len(dataset)))
    assert open_tree("deliver", root, "train/rain", modalities=()).describe()["images_published"] == 799


def test_corner_cases_are_chosen_by_the_scene(tree: Tree) -> None:
    root = tree("deliver")
    for path in list(root.glob("*/*/test/*")):
        path.rename(path.with_name(f"{path.name.split('_eventlowres')[0]}_motionblur"))
    assert len(open_tree("deliver", root, "test/motionblur", modalities=())) == len(list(root.glob("img/*/test/*/*")))
    with pytest.raises(DataError, match=r"Expected images of 'test/overexposure' in .* but got none"):
        open_tree("deliver", root, "test/overexposure", modalities=())
    with pytest.raises(UsageError, match=r"each also as SPLIT/CONDITION with cloud, fog, .* but got 'test/snow'"):
        open_tree("deliver", root, "test/snow")


def test_ids_are_in_the_red_channel_and_do_not_wrap(tree: Tree) -> None:
    root = tree("deliver")
    ids = np.zeros((32, 32), np.uint8)
    ids[:8], ids[8:16], ids[16:24] = 255, 25, 1
    path = first(root, "semantic/*/test/*/*")
    save(path, np.dstack([ids, np.full_like(ids, 7), np.full_like(ids, 9)]))
    dataset = open_tree("deliver", root, modalities=())
    sample = next(dataset[i] for i in range(len(dataset)) if dataset[i].key.split("/")[2] == path.parent.name)
    assert [(s.id, s.name, s.area_px) for s in sample.surfaces()] == [(1, "building", 256), (25, "truck", 256)]
    assert (sample.labels[:8] == IGNORE).all() and (sample.labels[24:] == IGNORE).all()


def test_small_event_pictures_get_the_size_of_the_image_without_blending(tree: Tree) -> None:
    root = tree("deliver")
    path = next(p for p in root.glob("event/*/*/*/*") if read(p).shape[:2] == (16, 16))
    split = path.relative_to(root).parts[2]
    dataset = open_tree("deliver", root, split, modalities=("event",))
    sample = next(dataset[i] for i in range(len(dataset)) if dataset[i].key.split("/")[2] == path.parent.name)
    stored = read(path)
    assert sample.modalities["event"].shape == (32, 32, 3)
    assert np.array_equal(sample.modalities["event"], np.repeat(np.repeat(stored, 2, axis=0), 2, axis=1))
    save(path, stored[:8])
    with pytest.raises(DataError, match=r"Expected modality 'event' with the aspect ratio of its image"):
        [dataset[i] for i in range(len(dataset))]


def test_only_events_may_be_smaller(tree: Tree) -> None:
    root = tree("deliver")
    victim = first(root, "lidar/*/test/*/*")
    save(victim, read(victim)[::2, ::2])
    dataset = open_tree("deliver", root, modalities=("lidar",))
    with pytest.raises(DataError, match=rf"{victim.name}' of 32x32 px, the size of its image, but got 16x16 px"):
        [dataset[i] for i in range(len(dataset))]


def test_lidar_of_one_or_four_channels(tree: Tree) -> None:
    root = tree("deliver")
    for path in root.glob("lidar/*/test/*/*"):
        Image.fromarray(read(path)).convert("L").save(path)
    grey = open_tree("deliver", root, modalities=("lidar",))[0].modalities["lidar"]
    assert grey.shape == (32, 32, 3) and np.array_equal(grey[..., 0], grey[..., 2])
    for path in root.glob("lidar/*/test/*/*"):
        Image.fromarray(read(path)).convert("RGBA").save(path)
    assert np.array_equal(open_tree("deliver", root, modalities=("lidar",))[0].modalities["lidar"], grey)


def test_depth_needs_a_unit(tree: Tree) -> None:
    root = tree("deliver")
    with pytest.raises(ModalityError, match=r"the model wants 'depth' in m but got none; say it with --scale depth="):
        open_tree("deliver", root, modalities=("depth",))[0]
    name, rule = parse_scale("depth=0.5")
    dataset = open_tree("deliver", root, modalities=("depth",), rules={name: rule})
    weather, split, scene, frame = dataset[0].key.split("/")
    stored = read(root / "depth" / weather / split / scene / f"{frame}_depth_front.png")
    assert np.array_equal(dataset[0].modalities["depth"], stored * np.float32(0.5))
    (root / "modalities.json").write_text('{"depth": {"unit": "dm"}}')
    np.testing.assert_allclose(
        open_tree("deliver", root, modalities=("depth",))[0].modalities["depth"], stored / 10, rtol=1e-6
    )


def test_a_folder_that_was_not_unpacked_is_named(tree: Tree) -> None:
    root = tree("deliver")
    (root / "lidar").rename(root / "lidar_later")
    with pytest.raises(DataError, match=r"Expected the folder .*lidar' but got none; arrange the tree ROOT/\{img,"):
        open_tree("deliver", root)


def test_a_label_without_its_image_is_noticed(tree: Tree) -> None:
    root = tree("deliver")
    victim = first(root, "img/*/test/*/*")
    victim.unlink()
    with pytest.raises(DataError, match=rf"but got none at img/.*/{victim.name}; unpack"):
        open_tree("deliver", root, modalities=())
