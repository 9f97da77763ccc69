"""labelme 5 and later: one JSON per image, shapes of type ``mask``, or ``polygon`` on request.

A mask shape has the two corner pixels of its box, both inside, and the box as a PNG in base64. Polygons join pixel
centres in whole pixels, because labelme draws them so (with Pillow, the line included). ``label`` is the class,
``description`` the surface's name, and ``group_id`` its id, which also keeps the polygons of one surface together.
``imagePath`` leads from the JSON to the image; labelme wants to find it there.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmms_client.annotation import MAX_SURFACES
from mmms_client.boundary import fill_centres
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
    centre_parts,
    class_of,
    empty_losses,
    one_file_each,
    polygon_losses,
)
from mmms_client.files import png_bytes
from mmms_client.joint_mask import Mask
from mmms_client.json_place import Place, image_size, shown
from mmms_client.json_text import read_json
from mmms_client.picture_file import open_picture

_FARTHEST_PX = 1e6  # of a point: no image is as large
_VERSION = "5.4.1"  # of labelme: what it writes into files of this shape


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Surfaces without a pixel; with polygons also holes and the tolerance."""
    polygons = [] if options.tolerance_px is None else polygon_losses(image, options.tolerance_px, is_centre=True)
    return empty_losses(image) + polygons


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """One JSON per image."""
    files = one_file_each(images, ".json")
    return {name: _encode(name, image, options) for name, image in files.items()}


def _encode(file: str, image: AnnotatedImage, options: Options) -> bytes:
    height, width = image.image_hw
    content: dict[str, Any] = {
        "version": _VERSION,
        "flags": {},
        "shapes": [entry for surface, mask in image.painted for entry in _shapes(surface, mask, options)],
        "imagePath": _image_path(file, image, options.folder),
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode("utf-8")


def _image_path(file: str, image: AnnotatedImage, folder: Path | None) -> str:
    """Where the image is, seen from the folder of the JSON; by its name alone where that is unknown."""
    if image.image_path is None or folder is None:
        return Path(image.name).name
    try:
        return Path(os.path.relpath(image.image_path, (folder / file).parent)).as_posix()
    except ValueError:  # another drive
        return image.image_path.absolute().as_posix()


def _shapes(surface: Surface, mask: Mask, options: Options) -> list[dict[str, Any]]:
    head = {"label": class_of(surface), "group_id": surface.surface_id, "description": surface.name, "flags": {}}
    if options.tolerance_px is not None:
        parts = centre_parts(mask, options.tolerance_px)
        return [{**head, "shape_type": "polygon", "points": part.tolist()} for part in parts]
    rows, columns = box_of(mask)
    picture = Image.fromarray(mask[rows, columns].astype(np.uint8))
    corners = [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]]
    coded = base64.b64encode(png_bytes(picture)).decode("ascii")
    return [{**head, "shape_type": "mask", "points": corners, "mask": coded}]


def read_labelme(path: str | os.PathLike[str]) -> AnnotatedImage:
    """Read a labelme JSON of masks and polygons back; shapes of one ``group_id`` are one surface.

    Raises :class:`ImageReadError` for a file that is missing or no JSON, and
    :class:`mmms_client.errors.SessionFormatError` for other JSON, with the place.
    """
    name = os.fspath(path)
    try:
        root = Place(name, "", read_json(path), "export it again")
    except OSError as error:
        raise ImageReadError(f"Expected the file {name!r} but got {error.strerror!r}; check the path.") from error
    except ValueError as error:
        raise ImageReadError(
            f"Expected {name!r} to be a labelme JSON of masks and polygons but got {shown(str(error))}; export it "
            "again."
        ) from error
    content = root.having("imageHeight", "imageWidth", "imagePath", "shapes")
    size = image_size(content["imageHeight"], content["imageWidth"])
    surfaces: dict[int, Surface] = {}
    masks: dict[int, BoxMask] = {}
    for item in content["shapes"].items():
        shape = item.having("shape_type", "label", "points")
        grouped, said = shape.get("group_id"), shape.get("description")
        has_group = grouped is not None and grouped.value not in (None, 0)
        number = grouped.integer(1, MAX_SURFACES) if grouped and has_group else max(masks, default=0) + 1
        text = said.text(may_be_empty=True) if said is not None and said.value is not None else ""
        surfaces.setdefault(number, Surface(number, text, shape["label"].text()))
        mask = _mask(shape, size)
        masks[number] = BoxMask.of(mask | masks[number].whole if number in masks else mask)
    return AnnotatedImage(content["imagePath"].text(), size, tuple(surfaces.values()), BoxMasks(masks))


def _mask(shape: dict[str, Place], size_hw: tuple[int, int]) -> Mask:
    rows = [[number.number() for number in row.items()] for row in shape["points"].items()]
    if any(len(row) != 2 or abs(row[0]) > _FARTHEST_PX or abs(row[1]) > _FARTHEST_PX for row in rows):
        shape["points"].fail(f"points [x, y] within {_FARTHEST_PX:g} px")
    if shape["shape_type"].value == "polygon":
        if len(rows) < 3:
            shape["points"].fail("three points or more")
        return fill_centres([np.array(rows, np.float64)], size_hw)
    if shape["shape_type"].value != "mask" or "mask" not in shape or len(rows) != 2:
        shape["shape_type"].fail("'polygon', or 'mask' with two points and the mask")
    (left, top), (right, bottom) = np.rint(rows).astype(int).tolist()
    part = _picture(shape["mask"])
    if (
        min(left, top) < 0
        or part.shape != (bottom - top + 1, right - left + 1)
        or bottom >= size_hw[0]
        or right >= size_hw[1]
    ):
        shape["points"].fail("the corners of the mask, in the image")
    mask = np.zeros(size_hw, bool)
    mask[top : bottom + 1, left : right + 1] = part
    return mask


def _picture(place: Place) -> Mask:
    try:
        with open_picture(base64.b64decode(place.text())) as picture:
            return np.array(picture) > 0
    except Exception:  # noqa: BLE001 - Pillow's decoders raise whatever the broken bytes lead them to
        place.fail("a PNG in base64")
