"""Synthetic scenes in the folder layouts of real data sets, traps included, so that readers can be tested.

Ids are those of the data sets: our kinds of objects are mapped to the nearest class, and what has none is
unlabelled. Not every class occurs (there are no buses or motorcycles).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmms_eval.synthetic.class_ids import DELIVER_IDS, FMB_COLOURS, FMB_IDS, MCUBES_IDS, MFNET_IDS
from mmms_eval.synthetic.rendering import render_scene
from mmms_eval.synthetic.scene import F32, IGNORE, MODALITIES, U8, Scene, SceneConfig

LayoutName = Literal["fmb", "mfnet", "deliver", "mcubes", "folder"]

MCUBES_LEFT_PX = 192  # columns without use at the left of every MCubeS map
DELIVER_WEATHERS = ("cloud", "fog", "night", "rain", "sun")

_SIZES_HW = {
    "fmb": (600, 800),
    "mfnet": (480, 640),
    "deliver": (1042, 1042),
    "mcubes": (1024, 1224),
    "folder": (256, 256),
}


def write_layout(
    layout: LayoutName,
    root: Path,
    seeds: Sequence[int],
    *,
    size_hw: tuple[int, int] | None = None,
    config: SceneConfig | None = None,
    modalities: Sequence[str] = MODALITIES,
) -> Path:
    """Writes one scene per seed below ``root`` as the data set would, and returns ``root``.

    ``size_hw`` is the size of the stored files (default: that of the data set; for ``mcubes`` it includes the
    192 columns to be discarded). ``modalities`` is for ``folder`` only. Seeds are dealt to the splits in
    order, so give at least three. Raises ``ValueError`` for an unknown layout.
    """
    if layout not in get_args(LayoutName):
        raise ValueError(f"Expected a layout out of {', '.join(get_args(LayoutName))} but got {layout!r}")
    base = config or SceneConfig(scene_types=SceneConfig.scene_types if layout == "folder" else ("street",))
    base = replace(base, size_hw=size_hw or _SIZES_HW[layout])
    root = Path(root)
    if layout == "folder":
        write_folder(root, [render_scene(seed, base, modalities) for seed in seeds])
    else:
        _WRITERS[layout](root, seeds, base)
    return root


def write_folder(root: Path, scenes: Sequence[Scene]) -> None:
    """One folder per modality, files with the same stem in each, and ``modalities.json``.

    A value is ``count * scale + offset`` in ``unit``; ``invalid`` is the count that stands for "no value".
    Labels have 0 for no surface and 255 for ignore; ``surfaces.json`` names the ids of each file.
    """
    described: dict[str, dict[str, Any]] = {}
    for scene in scenes:
        stem = f"{scene.seed:06d}"
        _save(root / "rgb" / f"{stem}.png", scene.image)
        _save(root / "labels" / f"{stem}.png", scene.labels)
        for name, field in scene.modalities.items():
            described[name] = _save_modality(root / name / stem, name, field)
    (root / "modalities.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    names = {f"{scene.seed:06d}": list(scene.names) for scene in scenes}
    (root / "surfaces.json").write_text(json.dumps(names, indent=2) + "\n", encoding="utf-8")


def class_map(scene: Scene, ids: Mapping[str, int], missing: int, ignore: int) -> U8:
    """Surface ids to the ids of a data set, uint8 [H, W]; "person 2" counts as "person"."""
    table = np.full(256, missing, np.uint8)
    table[IGNORE] = ignore
    for k, name in enumerate(scene.names, 1):
        table[k] = ids.get(name.split(" ")[0], missing)
    return np.asarray(table[scene.labels], np.uint8)


def grey8(field: F32) -> U8:
    """An uncalibrated 8-bit picture of a map, uint8 [H, W] about 8..245, as consumer thermal cameras give."""
    low, high = np.nanpercentile(field, (0.5, 99.5))
    scaled = 8 + (np.nan_to_num(field, nan=float(low)) - low) * (237 / max(float(high - low), 1e-6))
    return np.asarray(np.clip(scaled, 4, 245), np.uint8)


def _save(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def _save_array(path: Path, array: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def _save_modality(path: Path, name: str, field: F32) -> dict[str, Any]:
    """Writes one map (``path`` lacks its suffix) and returns how to read it."""
    if name == "thermal":
        _save(path.with_suffix(".png"), np.round((field + 273.15) * 100).astype(np.uint16))
        return {"unit": "degC", "scale": 0.01, "offset": -273.15, "invalid": None}
    if name == "depth":
        counts = np.round(np.nan_to_num(field, nan=0.0) * 1000)
        counts[counts > 65535] = 0  # beyond what 16 bits of millimetres can say
        _save(path.with_suffix(".png"), counts.astype(np.uint16))
        return {"unit": "m", "scale": 0.001, "offset": 0.0, "invalid": 0}
    if name == "aolp":
        _save_array(path.with_suffix(".npy"), field)
        return {"unit": None, "scale": 1.0, "offset": 0.0, "invalid": None}
    if name in ("nir", "dolp"):
        _save(path.with_suffix(".png"), np.round(field * 65535).astype(np.uint16))
        return {"unit": None, "scale": 1 / 65535, "offset": 0.0, "invalid": None}
    _save(path.with_suffix(".png"), np.round(field).astype(np.uint8))
    return {"unit": None, "scale": 1.0, "offset": 0.0, "invalid": None}


def _splits(seeds: Sequence[int], names: Sequence[str]) -> list[tuple[str, int]]:
    """Deals seeds to splits in blocks: at least one to each where there are enough, the rest to the first."""
    rest = len(names) - 1
    share = max(len(seeds) // (2 * len(names)), 1) if len(seeds) > rest else 0
    first = len(seeds) - share * rest
    return [(names[0] if k < first else names[1 + (k - first) // share], seed) for k, seed in enumerate(seeds)]


def _write_list(path: Path, stems: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")


def _fmb(root: Path, seeds: Sequence[int], config: SceneConfig) -> None:
    """Four parallel folders, no list files, no val; raw ids 1..14, 0 unlabelled."""
    colours = np.array(FMB_COLOURS, np.uint8)
    for split, seed in _splits(seeds, ("train", "test")):
        scene, name = render_scene(seed, config, ("thermal",)), f"{seed:05d}.png"
        label = class_map(scene, FMB_IDS, missing=0, ignore=0)
        _save(root / split / "Visible" / name, scene.image)
        _save(root / split / "Infrared" / name, grey8(scene.modalities["thermal"]))
        _save(root / split / "Label" / name, label)
        _save(root / split / "color" / name, colours[label])


def _mfnet(root: Path, seeds: Sequence[int], config: SceneConfig) -> None:
    """RGBA pictures whose alpha is the thermal channel, labels 0..8, lists of stems; D by day, N by night."""
    lists: dict[str, list[str]] = {n: [] for n in ("train", "val", "test", "test_day", "test_night")}
    for k, (split, seed) in enumerate(_splits(seeds, ("train", "val", "test"))):
        night = k % 2 == 1
        scene = render_scene(seed, replace(config, night_probability=float(night)), ("thermal",))
        stem = f"{seed:05d}{'N' if night else 'D'}"
        rgba = np.dstack([scene.image, grey8(scene.modalities["thermal"])])
        _save(root / "images" / f"{stem}.png", rgba)
        _save(root / "labels" / f"{stem}.png", class_map(scene, MFNET_IDS, missing=0, ignore=0))
        lists[split].append(stem)
        if split == "test":
            lists["test_night" if night else "test_day"].append(stem)
    for name, stems in lists.items():
        _write_list(root / f"{name}.txt", stems)
    _write_list(root / "black_list.txt", [])


def _deliver(root: Path, seeds: Sequence[int], config: SceneConfig) -> None:
    """Weather and split are folders, class ids are in the red channel, ``hha`` holds ``_depth_`` files.

    Every third scene is an ``eventlowres`` corner case, whose event picture is stored at half the size.
    """
    for k, (split, seed) in enumerate(_splits(seeds, ("train", "val", "test"))):
        weather = DELIVER_WEATHERS[k % len(DELIVER_WEATHERS)]
        night, fog = float(weather == "night"), float(weather == "fog")
        scene = render_scene(
            seed,
            replace(config, night_probability=night, fog_probability=fog),
            ("depth", "hha", "lidar", "event"),
        )
        low_resolution = k % 3 == 2
        place = f"MAP_{1 + k % 10}_point{100 + k}{'_eventlowres' if low_resolution else ''}"
        maps = {name: field.astype(np.uint8) for name, field in scene.modalities.items() if name != "depth"}
        depth = np.nan_to_num(scene.modalities["depth"], nan=1000.0)
        maps["depth"] = np.clip(depth, 1, 255).astype(np.uint8)
        if low_resolution:
            maps["event"] = np.ascontiguousarray(maps["event"][::2, ::2])
        red = class_map(scene, DELIVER_IDS, missing=0, ignore=IGNORE)
        maps["semantic"] = np.dstack([red, np.zeros_like(red), np.zeros_like(red)])
        maps["img"] = scene.image
        words = {"img": "rgb", "hha": "depth"}  # the word in the file name, where it is not the folder's
        for folder, array in maps.items():
            name = f"{seed:06d}_{words.get(folder, folder)}_front.png"
            _save(root / folder / weather / split / place / name, array)


def _mcubes(root: Path, seeds: Sequence[int], config: SceneConfig) -> None:
    """Polarisation beyond its physical limits, NIR with a mask of missing pixels, 192 columns to discard.

    Every second scene is stored with 16 bits. With three training scenes or more, ``train.txt`` lacks the
    last one, as the real list lacks some: train is what is in ``all.txt`` but in neither other list.
    """
    h, w = config.size_hw
    if w <= MCUBES_LEFT_PX + 16:
        raise ValueError(f"Expected mcubes pictures wider than {MCUBES_LEFT_PX + 16} px but got {w}")
    inner = replace(config, size_hw=(h, w - MCUBES_LEFT_PX))
    lists: dict[str, list[str]] = {n: [] for n in ("all", "train", "val", "test")}
    for k, (split, seed) in enumerate(_splits(seeds, ("train", "val", "test"))):
        scene, stem = render_scene(seed, inner, ("nir", "aolp", "dolp")), f"outscene{1200 + k}_1_{seed:010d}"
        noise = np.random.default_rng([seed, 77]).normal(0, 0.05, (3, h, w)).astype(np.float32)
        aolp, dolp = scene.modalities["aolp"], scene.modalities["dolp"]
        deep, rgb = k % 2 == 1, _unused_left(scene.image)
        path = root / "polL_color" / f"{stem}.png"
        if deep:
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), rgb[..., ::-1].astype(np.uint16) * 257)
        else:
            _save(path, rgb)
        sine, cosine = (_unused_left(aolp[..., c]) * np.float32(1.1) + noise[c] for c in (0, 1))
        _save_array(root / "polL_aolp_sin" / f"{stem}.npy", sine)
        _save_array(root / "polL_aolp_cos" / f"{stem}.npy", cosine)
        _save_array(root / "polL_dolp" / f"{stem}.npy", _unused_left(dolp) + noise[2])
        nir = _unused_left(scene.modalities["nir"])
        missing = np.zeros((h, w), np.uint8)
        missing[:, -max(w // 40, 2) :] = 255
        missing[: max(h // 50, 1)] = 255
        nir = np.where(missing > 0, np.float32(0), nir)
        _save(
            root / "NIR_warped" / f"{stem}.png",
            (nir * 65535).astype(np.uint16) if deep else (nir * 255).astype(np.uint8),
        )
        _save(root / "NIR_warped_mask" / f"{stem}.png", missing)
        _save(
            root / "GT" / f"{stem}.png",
            _unused_left(class_map(scene, MCUBES_IDS, missing=IGNORE, ignore=IGNORE)),
        )
        _save(root / "SS" / f"{stem}.png", _unused_left(class_map(scene, FMB_IDS, missing=0, ignore=0)))
        lists["all"].append(stem)
        lists[split].append(stem)
    if len(lists["train"]) >= 3:
        lists["train"].pop()
    for name, stems in lists.items():
        _write_list(root / "list_folder" / f"{name}.txt", stems)


def _unused_left(array: NDArray[Any]) -> NDArray[Any]:
    """Adds the 192 columns at the left that a reader has to discard: upside-down content, hence wrong ids."""
    w = array.shape[1]
    junk = np.take(array[::-1], np.arange(MCUBES_LEFT_PX) % w, axis=1)
    return np.concatenate([junk, array], axis=1)


_WRITERS: dict[str, Callable[[Path, Sequence[int], SceneConfig], None]] = {
    "fmb": _fmb, "mfnet": _mfnet, "deliver": _deliver, "mcubes": _mcubes,
}  # fmt: skip
