"""CVAT for images 1.1: one XML for all images, a ``<mask>`` per surface.

``rle`` are run lengths within the box ``left``, ``top``, ``width``, ``height``: row by row, beginning with the zeros.
The surface's id and name go as attributes, which CVAT keeps if the label declares them (the ``<meta>`` part does).
``z_order`` is the surface's place in the order, so that overlaps stay.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from mmms_client.annotation import MAX_SURFACES
from mmms_client.bounded import PixelBudget, check_pixels
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
    class_name_losses,
    class_numbers,
    class_of,
    empty_losses,
)
from mmms_client.joint_mask import Mask
from mmms_client.json_place import shown
from mmms_client.plain_xml import parse_xml
from mmms_client.run_length import decode_runs, encode_runs

FILE = "annotations.xml"
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Surfaces without a pixel, and characters that XML has not."""
    return empty_losses(image) + xml_losses(image)


def xml_losses(image: AnnotatedImage) -> list[Loss]:
    """Classes and names with characters that XML 1.0 has not."""
    return class_name_losses(image, lambda text: not _NOT_IN_XML.search(text), "control characters")


def xml_text(text: str) -> str:
    """A text with ``_`` for what XML 1.0 cannot spell."""
    return _NOT_IN_XML.sub("_", text)


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """``annotations.xml`` for all images."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(images))
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    for name in class_numbers(images):
        _declare(ElementTree.SubElement(labels, "label"), name)
    for number, image in enumerate(images):
        height, width = image.image_hw
        place = {"id": str(number), "name": xml_text(image.name), "width": str(width), "height": str(height)}
        entry = ElementTree.SubElement(root, "image", place)
        for order, (surface, mask) in enumerate(image.painted):
            _add_mask(entry, surface, mask, order)
    ElementTree.indent(root)
    return {FILE: ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)}


def _declare(label: ElementTree.Element, name: str) -> None:
    ElementTree.SubElement(label, "name").text = xml_text(name)
    ElementTree.SubElement(label, "type").text = "any"
    attributes = ElementTree.SubElement(label, "attributes")
    for attribute, kind in (("surface_id", "number"), ("surface_name", "text")):
        entry = ElementTree.SubElement(attributes, "attribute")
        ElementTree.SubElement(entry, "name").text = attribute
        ElementTree.SubElement(entry, "mutable").text = "False"
        ElementTree.SubElement(entry, "input_type").text = kind
        ElementTree.SubElement(entry, "default_value").text = "0" if kind == "number" else ""
        ElementTree.SubElement(entry, "values").text = "0;65534;1" if kind == "number" else ""


def _add_mask(entry: ElementTree.Element, surface: Surface, mask: Mask, order: int) -> None:
    rows, columns = box_of(mask)
    runs = encode_runs(mask[rows, columns].T)  # ours go by columns
    place = {
        "label": xml_text(class_of(surface)),
        "source": "semi-auto",
        "occluded": "0",
        "rle": ", ".join(map(str, runs)),
        "left": str(columns.start),
        "top": str(rows.start),
        "width": str(columns.stop - columns.start),
        "height": str(rows.stop - rows.start),
        "z_order": str(order),
    }
    shape = ElementTree.SubElement(entry, "mask", place)
    ElementTree.SubElement(shape, "attribute", {"name": "surface_id"}).text = str(surface.surface_id)
    ElementTree.SubElement(shape, "attribute", {"name": "surface_name"}).text = xml_text(surface.name)


def read_cvat(path: str | os.PathLike[str]) -> list[AnnotatedImage]:
    """Read the masks of such a file back. Raises :class:`ImageReadError`."""
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
        budget = PixelBudget(len(data))
        return [_image(entry, budget) for entry in parse_xml(data).iter("image")]
    except OSError as error:
        raise ImageReadError(f"Expected the file {name!r} but got {error.strerror!r}; check the path.") from error
    except (KeyError, ValueError) as error:
        raise ImageReadError(
            f"Expected {name!r} to be CVAT for images 1.1 but got {shown(str(error))}; export it again."
        ) from error


def _image(entry: ElementTree.Element, budget: PixelBudget) -> AnnotatedImage:
    size = (int(entry.attrib["height"]), int(entry.attrib["width"]))
    check_pixels(*size)
    surfaces: list[Surface] = []
    masks: dict[int, BoxMask] = {}
    for shape in entry.iter("mask"):
        given = {a.attrib["name"]: a.text or "" for a in shape.iter("attribute")}
        number = int(given.get("surface_id") or max(masks, default=0) + 1)
        if not 1 <= number <= MAX_SURFACES or number in masks:
            raise ValueError(f"a surface with the id {shown(number)}")
        surfaces.append(Surface(number, given.get("surface_name", ""), shape.attrib["label"]))
        left, top, width, height = (int(shape.attrib[key]) for key in ("left", "top", "width", "height"))
        if min(left, top) < 0 or left + width > size[1] or top + height > size[0]:
            raise ValueError("a mask outside of its image")
        budget.take(width * height)
        part = decode_runs([int(run) for run in shape.attrib["rle"].split(",")], (width, height)).T
        masks[number] = BoxMask.of_part(part, size, left, top)
    return AnnotatedImage(entry.attrib["name"], size, tuple(surfaces), BoxMasks(masks))
