"""The layouts of real data sets, read back with PIL and numpy alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mmms_eval.synthetic import MODALITIES, SceneConfig, render_scene, write_layout
from mmms_eval.synthetic.class_ids import FMB_COLOURS
from mmms_eval.synthetic.layouts import DELIVER_WEATHERS

SEEDS = tuple(range(3, 9))


def read(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as picture:
        return np.array(picture)


def stems(path: Path) -> list[str]:
    return path.read_text().split()


def test_fmb(tmp_path: Path) -> None:
    write_layout("fmb", tmp_path, SEEDS, size_hw=(60, 80))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["test", "train"]
    seen: set[int] = set()
    for split in ("train", "test"):
        names = [
            sorted(p.name for p in (tmp_path / split / f).iterdir()) for f in ("Visible", "Infrared", "Label", "color")
        ]
        assert names[0] and names[0] == names[1] == names[2] == names[3]
        for name in names[0]:
            visible, infrared, label, colour = (
                read(tmp_path / split / f / name) for f in ("Visible", "Infrared", "Label", "color")
            )
            assert visible.shape == (60, 80, 3) and infrared.shape == label.shape == (60, 80)
            assert visible.dtype == infrared.dtype == label.dtype == np.uint8
            assert label.max() <= 14
            assert np.array_equal(colour, np.array(FMB_COLOURS, np.uint8)[label])
            seen |= set(np.unique(label).tolist())
    assert {0, 7} < seen and len(seen) > 5
    assert len(list((tmp_path / "train" / "Visible").iterdir())) > len(list((tmp_path / "test" / "Visible").iterdir()))


def test_mfnet_thermal_is_the_alpha_channel(tmp_path: Path) -> None:
    write_layout("mfnet", tmp_path, SEEDS, size_hw=(48, 64))
    train, val, test = (stems(tmp_path / f"{n}.txt") for n in ("train", "val", "test"))
    assert len(train) + len(val) + len(test) == len(SEEDS) and train and val and test
    assert set(stems(tmp_path / "test_day.txt")) | set(stems(tmp_path / "test_night.txt")) == set(test)
    for stem in (*train, *val, *test):
        assert len(stem) == 6 and stem[-1] in "DN"
        picture, label = read(tmp_path / "images" / f"{stem}.png"), read(tmp_path / "labels" / f"{stem}.png")
        assert picture.shape == (48, 64, 4) and picture.dtype == np.uint8
        assert picture[..., 3].min() >= 4 and picture[..., 3].std() > 5
        assert label.shape == (48, 64) and label.dtype == np.uint8 and label.max() <= 8


def test_deliver_names_and_red_ids(tmp_path: Path) -> None:
    write_layout("deliver", tmp_path, SEEDS, size_hw=(52, 52))
    pictures = sorted((tmp_path / "img").rglob("*.png"))
    assert len(pictures) == len(SEEDS)
    assert {p.relative_to(tmp_path).parts[1] for p in pictures} == set(DELIVER_WEATHERS)
    assert {p.relative_to(tmp_path).parts[2] for p in pictures} == {"train", "val", "test"}
    small = 0
    for path in pictures:
        parts = path.relative_to(tmp_path).parts
        assert path.name.endswith("_rgb_front.png") and parts[3].startswith("MAP_")
        maps = {}
        for folder, word in (
            ("depth", "depth"),
            ("hha", "depth"),
            ("lidar", "lidar"),
            ("event", "event"),
            ("semantic", "semantic"),
        ):
            maps[folder] = read(tmp_path.joinpath(folder, *parts[1:4], path.name.replace("_rgb_", f"_{word}_")))
            assert maps[folder].dtype == np.uint8
        assert maps["hha"].shape == maps["lidar"].shape == maps["semantic"].shape == (52, 52, 3)
        assert maps["depth"].shape == (52, 52) and maps["depth"].min() >= 1
        ids = set(np.unique(maps["semantic"][..., 0]).tolist())
        assert ids <= {*range(26), 255} and len(ids) > 2
        assert not maps["semantic"][..., 1:].any()
        low = "eventlowres" in str(path)
        assert maps["event"].shape == ((26, 26, 3) if low else (52, 52, 3))
        small += low
    assert 0 < small < len(pictures)


def test_mcubes_maps_overshoot_and_the_left_is_junk(tmp_path: Path) -> None:
    write_layout("mcubes", tmp_path, SEEDS, size_hw=(40, 192 + 48))
    lists = {n: stems(tmp_path / "list_folder" / f"{n}.txt") for n in ("all", "train", "val", "test")}
    assert len(lists["all"]) == len(SEEDS) and lists["val"] and lists["test"]
    left = set(lists["all"]) - set(lists["val"]) - set(lists["test"])
    assert set(lists["train"]) < left, "the real train list is incomplete, and so is ours"
    depths = set()
    for stem in lists["all"]:
        rgb = cv2.imread(str(tmp_path / "polL_color" / f"{stem}.png"), cv2.IMREAD_UNCHANGED)
        nir, missing = (
            read(tmp_path / "NIR_warped" / f"{stem}.png"),
            read(tmp_path / "NIR_warped_mask" / f"{stem}.png"),
        )
        depths.add((rgb.dtype, nir.dtype))
        sine, cosine, degree = (
            np.load(tmp_path / f / f"{stem}.npy") for f in ("polL_aolp_sin", "polL_aolp_cos", "polL_dolp")
        )
        label = read(tmp_path / "GT" / f"{stem}.png")
        for array in (
            rgb[..., 0],
            nir,
            missing,
            sine,
            cosine,
            degree,
            label,
            read(tmp_path / "SS" / f"{stem}.png"),
        ):
            assert array.shape == (40, 240)
        assert np.abs(sine).max() > 1 and degree.min() < 0 and sine.min() < 0
        assert np.median(cosine) > 0
        assert set(np.unique(label).tolist()) <= {*range(20), 255}
        assert (missing > 0).any() and not nir[missing > 0].any()
        assert not np.array_equal(label[:, :48], label[:, 192:])
    assert depths == {(np.dtype("uint8"), np.dtype("uint8")), (np.dtype("uint16"), np.dtype("uint16"))}


def test_mcubes_narrower_than_its_unused_columns_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wider than 208 px but got 128"):
        write_layout("mcubes", tmp_path, SEEDS, size_hw=(64, 128))


def test_folder_counts_turn_back_into_values(tmp_path: Path) -> None:
    config = SceneConfig(size_hw=(48, 64))
    write_layout("folder", tmp_path, SEEDS, config=config, size_hw=(48, 64))
    described = json.loads((tmp_path / "modalities.json").read_text())
    names = json.loads((tmp_path / "surfaces.json").read_text())
    assert set(described) == set(MODALITIES)
    for seed in SEEDS:
        scene, stem = render_scene(seed, config), f"{seed:06d}"
        assert np.array_equal(read(tmp_path / "rgb" / f"{stem}.png"), scene.image)
        assert np.array_equal(read(tmp_path / "labels" / f"{stem}.png"), scene.labels)
        assert names[stem] == list(scene.names)
        for name, field in scene.modalities.items():
            path = tmp_path / name / f"{stem}.png"
            counts = read(path) if path.exists() else np.load(path.with_suffix(".npy"))
            about = described[name]
            values = counts.astype(np.float64) * about["scale"] + about["offset"]
            known = np.ones(counts.shape, bool) if about["invalid"] is None else counts != about["invalid"]
            tolerance = max(about["scale"], 1e-3) * 0.51 if counts.dtype != np.uint8 else 0.51
            assert np.abs(values - field)[known].max() <= tolerance, name
            if name == "depth":
                assert counts.dtype == np.uint16
                assert np.array_equal(known, np.isfinite(field) & (field < 65.5355))


def test_an_unknown_layout_is_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fmb, mfnet, deliver, mcubes, folder but got 'kitti'"):
        write_layout("kitti", tmp_path, SEEDS)  # type: ignore[arg-type]
