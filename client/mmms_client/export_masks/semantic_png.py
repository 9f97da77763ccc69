"""The classes of an image as an indexed PNG: the index is the class id, 0 background, 255 "ignore".

``classes.json`` beside the files maps ids to names; classes count from 1 over all images of one export. A surface
without a class counts as a class of its own name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmms_client.errors import OutputError
from mmms_client.export_masks.annotated import (
    DEFAULT,
    AnnotatedImage,
    Loss,
    Options,
    class_numbers,
    class_of,
    empty_losses,
    one_file_each,
    overlap_losses,
)
from mmms_client.export_masks.mask_png import read_samples
from mmms_client.files import png_bytes
from mmms_client.palette import palette

CLASSES_FILE = "classes.json"
MAX_CLASS = 254


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Surfaces that share a class become one, and are no longer told apart; names other than the class go."""
    found = [*empty_losses(image), *overlap_losses(image)]
    first: dict[str, int] = {}
    for surface in image.surfaces:
        name = class_of(surface)
        if name in first:
            detail = f"is no longer told from surface {first[name]}: both are {name!r}"
            found.append(Loss(image.name, surface, "parts", detail))
        elif surface.name not in ("", name):
            found.append(Loss(image.name, surface, "names", f"is called by its class, {name!r}"))
        first.setdefault(name, surface.surface_id)
    return found


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """One PNG per image, and ``classes.json``. Raises :class:`OutputError` for more than 254 classes."""
    numbers = class_numbers(images)
    if len(numbers) > MAX_CLASS:
        raise OutputError(
            f"Expected at most {MAX_CLASS} classes for a semantic PNG (255 means 'ignore') but got {len(numbers)}; "
            f"give surfaces a class, or write COCO instead."
        )
    written = {name: _encode(image, numbers) for name, image in one_file_each(images, ".png").items()}
    names = {number + 1: name for name, number in numbers.items()}
    return {**written, CLASSES_FILE: (json.dumps(names, ensure_ascii=False, indent=1) + "\n").encode("utf-8")}


def _encode(image: AnnotatedImage, numbers: dict[str, int]) -> bytes:
    joint = image.joint
    table = np.zeros(int(joint.max(initial=0)) + 1, np.uint8)
    for surface in image.surfaces:
        if surface.surface_id < len(table):
            table[surface.surface_id] = numbers[class_of(surface)] + 1
    picture = Image.fromarray(table[joint])
    picture.putpalette([channel for colour in palette() for channel in colour])
    return png_bytes(picture)


def read_semantic_png(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Class ids uint8 [H, W], 0 for background, 255 for "ignore". Raises :class:`ImageReadError`."""
    return read_samples(path, ("P",), "a semantic PNG").astype(np.uint8)
