"""Every reader of masks in other programs' formats in ``mmms_client``, with valid files to begin from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from client_readers import HW, beside_an_image
from fuzz_readers import Reader

from mmms_client.events import Surface
from mmms_client.export_masks import (
    coco,
    cvat,
    instance_png,
    label_studio,
    labelme,
    npz,
    palette_png,
    semantic_png,
    yolo,
)
from mmms_client.export_masks.annotated import AnnotatedImage, Options
from mmms_client.export_masks.label_maps import SIDECAR, read_label_map
from mmms_client.importing import ImportRequest, import_masks


def scene() -> AnnotatedImage:
    joint = np.zeros(HW, np.uint16)
    joint[2:5, 2:9], joint[6:9, 6:9], joint[10, 1], joint[10, 4] = 1, 2, 3, 3
    surfaces = (Surface(1, "ring", "shape"), Surface(2, "b <&>", "shape", "#102030"), Surface(3, "two parts"))
    return AnnotatedImage.from_joint("rgb.png", joint, surfaces)


def written(module: Any, name: str | None = None, *options: Options) -> Callable[[Path], list[bytes]]:
    def seeds(_: Path) -> list[bytes]:
        found = []
        for chosen in options or (Options(),):
            files = module.encode([scene()], chosen)
            found.append(files[name] if name else next(iter(files.values())))
        return found

    return seeds


def see_masks(images: list[AnnotatedImage]) -> None:
    for image in images:
        for surface in image.surfaces:
            assert image.masks[surface.surface_id].shape == tuple(image.image_hw)
        image.file_name(".png")


def see_coco(path: Path) -> None:
    see_masks(coco.read_coco(path))
    out = path.with_name("out.json")
    try:
        import_masks(ImportRequest(str(path), str(path.with_name("rgb.png")), str(out)), lambda line: None)
    finally:
        out.unlink(missing_ok=True)


def see_label_map(path: Path) -> None:
    see_masks([read_label_map(path)])
    out = path.with_name("out.json")
    try:
        import_masks(ImportRequest(str(path), str(path.with_name("rgb.png")), str(out)), lambda line: None)
    finally:
        out.unlink(missing_ok=True)


def sidecars(folder: Path) -> list[bytes]:
    files = palette_png.encode([scene()])
    (folder / "rgb.png").write_bytes(files["rgb.png"])
    return [files[SIDECAR]]


def label_maps(_: Path) -> list[bytes]:
    return [module.encode([scene()])["rgb.png"] for module in (palette_png, instance_png)]


def all_of(read: Callable[[Path], list[AnnotatedImage]]) -> Callable[[Path], None]:
    return lambda path: see_masks(read(path))


def one_of(read: Callable[..., AnnotatedImage], *more: Any) -> Callable[[Path], None]:
    return lambda path: see_masks([read(path, *more)])


BOTH = (None, Options(), Options(0.0))


READERS = (
    Reader("COCO", "a.json", "json", beside_an_image(written(coco, *BOTH)), see_coco),
    Reader("label map", "map.png", "binary", beside_an_image(label_maps), see_label_map),
    Reader("surfaces of a label map", SIDECAR, "json", sidecars, lambda path: see_label_map(path.with_name("rgb.png"))),
    Reader("labelme", "a.json", "json", written(labelme, *BOTH), one_of(labelme.read_labelme)),
    Reader(
        "Label Studio", "a.json", "json", written(label_studio, "tasks.json"), all_of(label_studio.read_label_studio)
    ),
    Reader("CVAT", "a.xml", "text", written(cvat), all_of(cvat.read_cvat)),
    Reader("YOLO", "a.txt", "text", written(yolo, "labels/rgb.txt"), one_of(yolo.read_yolo, HW, ["a", "b", "c"])),
    Reader("npz", "rgb.npz", "binary", written(npz), one_of(npz.read_npz)),
    Reader("palette PNG", "p.png", "binary", written(palette_png), palette_png.read_palette_png),
    Reader("semantic PNG", "s.png", "binary", written(semantic_png), semantic_png.read_semantic_png),
    Reader("instance PNG", "i.png", "binary", written(instance_png), instance_png.read_instance_png),
)
