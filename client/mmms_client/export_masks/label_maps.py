"""What the PNG formats share: one value per pixel, and ``surfaces.json`` beside them, which says what it means.

``surfaces.json`` is our own: ``{"images": {NAME: {"size": [H, W], "surfaces": [{"id", "name", "class", "colour"}]}}}``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmms_client.errors import ImageReadError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import AnnotatedImage, one_file_each, surface_entry
from mmms_client.export_masks.mask_png import read_samples
from mmms_client.joint_mask import BACKGROUND, JointMap
from mmms_client.json_place import Place
from mmms_client.json_text import read_json

SIDECAR = "surfaces.json"
_MODES = ("P", "L", "I;16", "I")


def with_sidecar(images: Sequence[AnnotatedImage], encode: Callable[[AnnotatedImage], bytes]) -> dict[str, bytes]:
    """One PNG per image, and ``surfaces.json``. Raises :class:`OutputError` for two images of one file name."""
    files = one_file_each(images, ".png")
    entries = {
        name: {"size": list(image.image_hw), "surfaces": [surface_entry(s) for s in image.surfaces]}
        for name, image in files.items()
    }
    text = json.dumps({"images": entries}, ensure_ascii=False, indent=1) + "\n"
    return {**{name: encode(image) for name, image in files.items()}, SIDECAR: text.encode("utf-8")}


def read_label_map(path: str | os.PathLike[str]) -> AnnotatedImage:
    """A label map from anywhere: palette PNG, 8- or 16-bit grey PNG; 0 is background.

    The largest value (255, or 65535 of 16 bits) means "ignore" and becomes background. Names come from
    ``surfaces.json`` beside the file or in a folder above, where there is one that knows the file; else surfaces are
    called ``surface ID``. Raises :class:`ImageReadError`, and :class:`SessionFormatError` for a broken
    ``surfaces.json``.
    """
    samples = read_samples(path, _MODES, "a label map (PNG: palette, 8- or 16-bit grey)")
    values = samples.astype(np.int64)
    values[values == (255 if samples.dtype == np.uint8 else 65535)] = BACKGROUND
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ImageReadError(
            f"Expected {os.fspath(path)!r} to hold ids up to 65534 but got {values.max()}; number its surfaces anew."
        )
    joint: JointMap = values.astype(np.uint16)
    known = _surfaces_beside(Path(path))
    ids = {surface.surface_id for surface in known}
    extra = [Surface(int(i), f"surface {i}") for i in np.unique(joint) if i and int(i) not in ids]
    return AnnotatedImage.from_joint(Path(path).name, joint, (*known, *extra))


def _surfaces_beside(path: Path) -> tuple[Surface, ...]:
    for folder in path.absolute().parents[:4]:
        file = folder / SIDECAR
        if file.is_file():
            name = path.absolute().relative_to(folder).as_posix()
            content = Place(os.fspath(file), "", _json(file)).entries().get("images")
            entry = content.entries().get(name) if content is not None else None
            return () if entry is None else _surfaces(entry)
    return ()


def _surfaces(place: Place) -> tuple[Surface, ...]:
    surfaces = tuple(_surface(item) for item in place.fields(("surfaces",), ("size",))["surfaces"].items())
    if len({surface.surface_id for surface in surfaces}) < len(surfaces):
        place.fail("a list of surfaces with an id of its own each")
    return surfaces


def _json(file: Path) -> Any:
    try:
        return read_json(file)
    except (OSError, ValueError) as error:
        raise ImageReadError(
            f"Expected {os.fspath(file)!r} to be JSON but it cannot be read as that; export again, or remove it."
        ) from error


def _surface(place: Place) -> Surface:
    fields = place.fields(("id", "name"), ("class", "colour"))
    class_name = fields["class"].text() if "class" in fields else None
    colour = fields["colour"].text() if "colour" in fields else None
    return Surface(fields["id"].integer(1, 65534), fields["name"].text(may_be_empty=True), class_name, colour)
