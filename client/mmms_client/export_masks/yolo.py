"""YOLO segmentation (Ultralytics): one text per image, one row per part, ``data.yaml`` with the classes.

A row is ``CLASS x1 y1 x2 y2 ...``, classes from 0, coordinates as shares of width and height. The points are the
centres of the part's outermost pixels, (x + 0.5) / W: Ultralytics multiplies, cuts the fraction off and fills with
``cv2.fillPoly``, which gives these very pixels again at the image's own size.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmms_client.boundary import Points, fill_centres
from mmms_client.errors import ImageReadError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import (
    DEFAULT,
    AnnotatedImage,
    Loss,
    Options,
    centre_parts,
    class_numbers,
    class_of,
    empty_losses,
    one_file_each,
    polygon_losses,
)
from mmms_client.joint_mask import Mask
from mmms_client.json_place import shown

CLASSES_FILE = "data.yaml"
_FARTHEST = 10.0  # images that a point may lie outside
LABELS = "labels"
_DIGITS = 8  # of a share: far less than a pixel of any image


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Surfaces without a pixel, holes, the tolerance, parts that become surfaces of their own, and names."""
    found = empty_losses(image) + polygon_losses(image, options.tolerance_px or 0.0, is_centre=True)
    for surface, mask in image.painted:
        count = len(centre_parts(mask, 0.0))
        if count > 1:
            found.append(Loss(image.name, surface, "parts", f"its {count} parts become {count} surfaces"))
        if surface.name not in ("", class_of(surface)):
            found.append(Loss(image.name, surface, "names", f"is called by its class, {class_of(surface)!r}"))
    return found


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """``labels/NAME.txt`` per image, empty for one without surfaces, and ``data.yaml``."""
    numbers = class_numbers(images)
    written = {CLASSES_FILE: _yaml(numbers).encode("utf-8")}
    for name, image in one_file_each(images, ".txt").items():
        rows = [
            _row(numbers[class_of(surface)], part, image.image_hw)
            for surface, mask in image.painted
            for part in centre_parts(mask, options.tolerance_px or 0.0)
        ]
        written[f"{LABELS}/{name}"] = "".join(rows).encode("ascii")
    return written


def _row(number: int, part: Points, image_hw: tuple[int, int]) -> str:
    shares = (part + 0.5) / (image_hw[1], image_hw[0])
    return " ".join([str(number), *(f"{share:.{_DIGITS}f}" for share in shares.ravel())]) + "\n"


def _yaml(numbers: Mapping[str, int]) -> str:
    head = "# paths are for you to fill in\npath: .\ntrain: images\nval: images\nnames:\n"
    return head + "".join(f"  {number}: {_quoted(name)}\n" for name, number in numbers.items())


def _quoted(text: str) -> str:
    """A text in YAML's double quotes; what is not plainly printable goes by its code."""
    escaped = ("\\" + c if c in '"\\' else c if c.isprintable() and c != "\ufeff" else f"\\U{ord(c):08x}" for c in text)
    return f'"{"".join(escaped)}"'


def read_yolo(path: str | os.PathLike[str], image_hw: tuple[int, int], classes: Sequence[str] = ()) -> AnnotatedImage:
    """Read one label file back at the size of its image; each row is a surface, counted from 1.

    ``classes`` are the names of ``data.yaml``; without them a class is its number. Raises :class:`ImageReadError`.
    """
    name = os.fspath(path)
    surfaces: list[Surface] = []
    masks: dict[int, Mask] = {}
    try:
        for row in Path(path).read_text("ascii").splitlines():
            number, *shares = row.split()
            points = np.array(shares, np.float64).reshape(-1, 2)
            if len(points) < 3 or not (np.abs(points) <= _FARTHEST).all():
                raise ValueError(f"a row of {len(points)} point(s), or points far outside")
            points *= image_hw[1], image_hw[0]
            if int(number) < 0:
                raise ValueError(f"the class {int(number)}")
            class_name = classes[int(number)] if classes else str(int(number))
            surfaces.append(Surface(len(surfaces) + 1, class_name, class_name))
            masks[len(surfaces)] = fill_centres([np.floor(points)], image_hw)
    except OSError as error:
        raise ImageReadError(f"Expected the file {name!r} but got {error.strerror!r}; check the path.") from error
    except (ValueError, IndexError) as error:
        raise ImageReadError(
            f"Expected {name!r} to be YOLO segmentation labels but got {shown(str(error))}; export it again."
        ) from error
    return AnnotatedImage(Path(path).name, image_hw, tuple(surfaces), masks)
