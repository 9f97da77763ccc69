"""COCO instances: one JSON for all images, masks as compressed run lengths, or polygons on request.

Run lengths go column by column and begin with the zeros. Compressed, each is the difference from the one two before
it (from the fourth on), cut into groups of 5 bits, lowest first, with bit 5 set while more follow and bit 4 of the
last group as the sign; a group is the character of code 48 + value. Source: the COCO data format and ``pycocotools``.

What COCO does not define stands in ``attributes``, as CVAT and Datumaro do it: ``surface`` with id, name, class and
colour. ``category_id`` counts from 1. A surface is one annotation, ``iscrowd`` 0, whatever its parts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Container, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmms_client.annotation import MAX_SURFACES
from mmms_client.boundary import fill_corners, fill_corners_in_box
from mmms_client.bounded import PixelBudget, TooManyPixelsError
from mmms_client.box_mask import BoxMask
from mmms_client.errors import ImageReadError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import (
    DEFAULT,
    AnnotatedImage,
    BoxMasks,
    Loss,
    Options,
    box_of,
    class_numbers,
    class_of,
    corner_parts,
    empty_losses,
    polygon_losses,
    surface_entry,
)
from mmms_client.joint_mask import Mask
from mmms_client.json_place import Place, image_size
from mmms_client.json_text import read_json
from mmms_client.run_length import decode_box_runs, encode_runs

FILE = "annotations.json"
_MOST_BITS = 40  # of a run length: images have fewer pixels
_FARTHEST_PX = 1e6  # of a polygon's corner: no image is as large


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Surfaces without a pixel; with polygons also holes and the tolerance."""
    polygons = [] if options.tolerance_px is None else polygon_losses(image, options.tolerance_px, is_centre=False)
    return empty_losses(image) + polygons


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """``annotations.json`` for all images."""
    numbers = class_numbers(images)
    annotations: list[dict[str, Any]] = []
    entries = []
    for image_id, image in enumerate(images, 1):
        height, width = image.image_hw
        entries.append({"id": image_id, "file_name": image.name, "width": width, "height": height})
        for surface, mask in image.painted:
            head = {"id": len(annotations) + 1, "image_id": image_id, "category_id": numbers[class_of(surface)] + 1}
            annotations.append({**head, **_shape(mask, options), "attributes": {"surface": surface_entry(surface)}})
    content = {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": number + 1, "name": name} for name, number in numbers.items()],
    }
    return {FILE: (json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8")}


def _shape(mask: Mask, options: Options) -> dict[str, Any]:
    """``segmentation``, and the ``area`` in pixels and ``bbox`` (x, y, width, height) of what it covers."""
    segmentation: Any = {"size": list(mask.shape), "counts": compress_runs(encode_runs(mask))}
    if options.tolerance_px is not None:
        parts = corner_parts(mask, options.tolerance_px)
        segmentation = [part.ravel().tolist() for part in parts]
        kept = fill_corners(parts, (mask.shape[0], mask.shape[1]))
        mask = kept if kept.any() else mask
    rows, columns = box_of(mask)
    box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    return {"segmentation": segmentation, "area": int(mask.sum()), "bbox": box, "iscrowd": 0}


def compress_runs(counts: Sequence[int]) -> str:
    """Run lengths as COCO's text."""
    text = bytearray()
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            group, value = value & 31, value >> 5
            is_last = value == (-1 if group & 16 else 0)
            text.append(48 + group + (0 if is_last else 32))
            if is_last:
                break
    return text.decode("ascii")


def decompress_runs(text: str) -> list[int]:
    """COCO's text as run lengths. Raises ``ValueError`` for a text that is cut off or has other characters."""
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise ValueError(f"the character {character!r}")
        if shift > _MOST_BITS:
            raise ValueError("a number without an end")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (1 << shift) if code & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("an end within a number")
    return counts


# Reading ----------------------------------------------------------------------------------------------
def read_coco(path: str | os.PathLike[str]) -> list[AnnotatedImage]:
    """The images of a COCO instances file, ours or another's: compressed or plain run lengths, or polygons.

    Surfaces keep the ids, names and colours of ``attributes.surface`` where a file of ours has them; else they count
    from 1 in each image and are named after their category, which becomes the class.

    Raises:
        ImageReadError: the file is missing or no JSON.
        SessionFormatError: it is JSON but not COCO; the message names the place.
    """
    root = Place(os.fspath(path), "", _json(path)).entries()
    budget = PixelBudget(Path(path).stat().st_size)
    for name in ("images", "annotations", "categories"):
        if name not in root:
            Place(os.fspath(path), name, None).fail("a list (COCO instances)")
    names = {c["id"].identity(): c["name"].text() for c in _entries(root["categories"], ("id", "name"))}
    by_image: dict[int | str, list[dict[str, Place]]] = {}
    for annotation in _entries(root["annotations"], ("image_id", "category_id", "segmentation")):
        if annotation["category_id"].identity() not in names:
            annotation["category_id"].fail("the id of a category")
        by_image.setdefault(annotation["image_id"].identity(), []).append(annotation)
    images = _entries(root["images"], ("id", "file_name", "width", "height"))
    return [_image(image, by_image.get(image["id"].identity(), []), names, budget) for image in images]


def _json(path: str | os.PathLike[str]) -> Any:
    try:
        return read_json(path)
    except OSError as error:
        raise ImageReadError(
            f"Expected the file {os.fspath(path)!r} but got {error.strerror!r}; check the path."
        ) from error
    except ValueError as error:
        raise ImageReadError(f"Expected {os.fspath(path)!r} to be JSON but got {str(error)!r}; correct it.") from error


def _entries(place: Place, required: Iterable[str]) -> list[dict[str, Place]]:
    """The objects of a list, each with the required entries and whatever else."""
    return [item.having(*required) for item in place.items()]


def _image(
    image: dict[str, Place], annotations: list[dict[str, Place]], names: dict[int | str, str], budget: PixelBudget
) -> AnnotatedImage:
    size = image_size(image["height"], image["width"])
    surfaces: list[Surface] = []
    masks: dict[int, BoxMask] = {}
    largest = 0
    for annotation in annotations:
        category = names[annotation["category_id"].identity()]
        surface = _surface(annotation.get("attributes"), category, masks, largest + 1)
        largest = max(largest, surface.surface_id)
        if largest > MAX_SURFACES:
            image["id"].fail(f"an image of at most {MAX_SURFACES} surfaces")
        surfaces.append(surface)
        masks[surface.surface_id] = _mask(annotation["segmentation"], size, budget)
    return AnnotatedImage(image["file_name"].text(), size, tuple(surfaces), BoxMasks(masks), tuple(names.values()))


def _surface(attributes: Place | None, category: str, taken: Container[int], free: int) -> Surface:
    if attributes is None or not isinstance(attributes.value, dict):
        return Surface(free, category, category)
    ours = attributes.entries().get("surface")
    if ours is None or not isinstance(ours.value, dict):
        return Surface(free, category, category)
    fields = ours.fields(("id", "name"), ("class", "colour"))
    number = fields["id"].integer(1, MAX_SURFACES)
    class_name = fields["class"].text() if "class" in fields else None
    colour = fields["colour"].text() if "colour" in fields else None
    name = fields["name"].text(may_be_empty=True)
    return Surface(free if number in taken else number, name, class_name, colour)


def _mask(place: Place, size_hw: tuple[int, int], budget: PixelBudget) -> BoxMask:
    try:
        return _any_mask(place, size_hw, budget)
    except TooManyPixelsError as error:
        place.fail(f"one of {error}")


def _any_mask(place: Place, size_hw: tuple[int, int], budget: PixelBudget) -> BoxMask:
    if isinstance(place.value, list):
        polygons = [[number.number() for number in part.items()] for part in place.items()]
        if any(len(part) < 6 or len(part) % 2 for part in polygons):
            place.fail("polygons of three or more points")
        if any(abs(number) > _FARTHEST_PX for part in polygons for number in part):
            place.fail(f"polygons within {_FARTHEST_PX:g} px")
        return fill_corners_in_box([np.array(part).reshape(-1, 2) for part in polygons], size_hw, budget)
    fields = place.fields(("size", "counts"))
    if [item.integer(1) for item in fields["size"].items()] != list(size_hw):
        fields["size"].fail(f"the image's [height, width], {list(size_hw)},")
    counts = fields["counts"]
    try:
        runs = (
            decompress_runs(counts.value) if isinstance(counts.value, str) else [i.integer(0) for i in counts.items()]
        )
        return decode_box_runs(runs, size_hw, budget)
    except TooManyPixelsError:
        raise
    except ValueError:
        counts.fail(f"run lengths that add up to {size_hw[0] * size_hw[1]}")
