"""labelme 5 and later: one JSON per image, shapes of type ``mask``, or ``polygon`` on request.

A mask shape has the two corner pixels of its box, both inside, and the box as a PNG in base64. Polygons join pixel
centres in whole pixels, because labelme draws them so (with Pillow, the line included). ``label`` is the class,
``description`` the surface's name, and ``group_id`` its id, which also keeps the polygons of one surface together.
``imagePath`` leads from the JSON to the image; labelme wants to find it there.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmms_client.boundary import fill_centres
from mmms_client.errors import ImageReadError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import (
    DEFAULT,
    AnnotatedImage,
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

    Raises :class:`ImageReadError`.
    """
    name = os.fspath(path)
    try:
        content = json.loads(Path(path).read_text("utf-8"))
        size = (int(content["imageHeight"]), int(content["imageWidth"]))
        surfaces: dict[int, Surface] = {}
        masks: dict[int, Mask] = {}
        for shape in content["shapes"]:
            number = shape.get("group_id") or max(masks, default=0) + 1
            surfaces.setdefault(number, Surface(number, shape.get("description") or "", shape["label"]))
            masks[number] = masks.get(number, False) | _mask(shape, size)
        return AnnotatedImage(content["imagePath"], size, tuple(surfaces.values()), masks)
    except OSError as error:
        raise ImageReadError(f"Expected the file {name!r} but got {error.strerror!r}; check the path.") from error
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise ImageReadError(
            f"Expected {name!r} to be a labelme JSON of masks and polygons but got {str(error)!r}; export it again."
        ) from error


def _mask(shape: dict[str, Any], size_hw: tuple[int, int]) -> Mask:
    if shape["shape_type"] == "polygon":
        return fill_centres([np.array(shape["points"], np.float64)], size_hw)
    if shape["shape_type"] != "mask":
        raise ValueError(f"a shape of type {shape['shape_type']}")
    (left, top), (right, bottom) = np.rint(shape["points"]).astype(int)
    mask = np.zeros(size_hw, bool)
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as picture:
        mask[top : bottom + 1, left : right + 1] = np.array(picture) > 0
    return mask
