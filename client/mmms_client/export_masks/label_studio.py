"""Label Studio: ``tasks.json`` to import, with brush masks, and ``config.xml``, the labelling interface for them.

Label Studio's run lengths are not COCO's. They are a bit stream, most significant bit first, of the image as RGBA
bytes row by row: 32 bits for the number of bytes, 5 for the word size less one (8 bits), 4 times 4 for the four
sizes of a length less one (3, 4, 8, 16 bits); then blocks, each a bit that says whether one value repeats, 2 bits
that choose the size of the length, the length less one, and the value or values. Source: the ``rle-pack`` library of
thi.ng, which Label Studio's front end uses. All four bytes of a pixel are 255 inside the mask, and 0 outside.

``data.image`` is the image's name: put the images behind a URL of Label Studio and correct the prefix.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from mmms_client.annotation import MAX_SURFACES
from mmms_client.bounded import check_pixels
from mmms_client.box_mask import BoxMask
from mmms_client.errors import ImageReadError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import (
    DEFAULT,
    AnnotatedImage,
    BoxMasks,
    Loss,
    Options,
    class_numbers,
    class_of,
    empty_losses,
)
from mmms_client.export_masks.cvat import xml_losses, xml_text
from mmms_client.joint_mask import Mask
from mmms_client.json_place import Place, image_size, shown
from mmms_client.json_text import read_json

FILE, CONFIG_FILE = "tasks.json", "config.xml"
_LENGTH_BITS = (3, 4, 8, 16)
_CHANNELS = 4
_OUR_ID = re.compile(r"surface-([1-9][0-9]{0,4})")


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Surfaces without a pixel, and characters that ``config.xml`` cannot have."""
    return empty_losses(image) + xml_losses(image)


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """``tasks.json`` for all images, and ``config.xml``."""
    tasks = [{"data": {"image": image.name}, "annotations": [{"result": _results(image)}]} for image in images]
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image"})
    brush = ElementTree.SubElement(view, "BrushLabels", {"name": "surface", "toName": "image"})
    for name in class_numbers(images):
        ElementTree.SubElement(brush, "Label", {"value": xml_text(name)})
    ElementTree.indent(view)
    return {
        FILE: (json.dumps(tasks, ensure_ascii=False) + "\n").encode("utf-8"),
        CONFIG_FILE: ElementTree.tostring(view, encoding="utf-8"),
    }


def _results(image: AnnotatedImage) -> list[dict[str, Any]]:
    height, width = image.image_hw
    return [
        {
            "id": f"surface-{surface.surface_id}",
            "type": "brushlabels",
            "from_name": "surface",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [xml_text(class_of(surface))]},
            "meta": {"text": [xml_text(surface.name)]},
        }
        for surface, mask in image.painted
    ]


def encode_brush(mask: Mask) -> list[int]:
    """A mask bool [H, W] as Label Studio's run lengths, bytes 0 to 255."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.concatenate(([True], flat[1:] != flat[:-1])))
    lengths = np.diff(np.concatenate((starts, [flat.size]))) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}", f"{7:05b}", *(f"{size - 1:04b}" for size in _LENGTH_BITS)]
    for is_inside, length in zip(flat[starts].tolist(), lengths.tolist(), strict=True):
        while length > 0:
            count = min(length, 1 << _LENGTH_BITS[-1])
            choice = next(n for n, size in enumerate(_LENGTH_BITS) if count <= 1 << size)
            bits.append(f"1{choice:02b}{count - 1:0{_LENGTH_BITS[choice]}b}{255 if is_inside else 0:08b}")
            length -= count
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8, "big"))


def decode_brush(rle: Sequence[int], image_hw: tuple[int, int]) -> Mask:
    """Label Studio's run lengths as a mask bool [H, W]; a pixel is inside if its alpha is not 0.

    Raises ``ValueError`` for a stream that is cut off or of another size.
    """
    height, width = image_hw
    check_pixels(height, width)
    if not all(type(byte) is int and 0 <= byte <= 255 for byte in rle):
        raise ValueError("run lengths that are no bytes")
    read = _BitReader(np.unpackbits(np.array(rle, np.uint8)))
    size, word_bits = read(32), read(5) + 1
    length_bits = [read(4) + 1 for _ in range(4)]
    if size != height * width * _CHANNELS:
        raise ValueError(f"{size} values for {height}x{width} pixels of {_CHANNELS}")
    values = np.zeros(size, bool)
    at = 0
    while at < size:
        repeats = read(1)
        count = read(length_bits[read(2)]) + 1
        values[at : at + count] = read(word_bits) if repeats else read.words(count, word_bits)
        at += count
    return values.reshape(height, width, _CHANNELS)[..., 3].copy()


class _BitReader:
    """Numbers from bits uint8 [N], most significant first."""

    def __init__(self, bits: NDArray[np.uint8]) -> None:
        self._bits, self._at = bits, 0

    def __call__(self, count: int) -> int:
        """The next ``count`` bits as a number."""
        return int("".join(map(str, self._take(count).tolist())), 2)

    def words(self, count: int, word_bits: int) -> NDArray[np.bool_]:
        """Which of the next ``count`` words are not 0."""
        return self._take(count * word_bits).reshape(count, word_bits).any(1)

    def _take(self, count: int) -> NDArray[np.uint8]:
        found = self._bits[self._at : self._at + count]
        if len(found) < count:
            raise ValueError("a stream that ends too early")
        self._at += count
        return found


def read_label_studio(path: str | os.PathLike[str]) -> list[AnnotatedImage]:
    """Read the brush masks of such a file, or of Label Studio's JSON export.

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
            f"Expected {name!r} to be Label Studio tasks with brush masks but got {shown(str(error))}; export it again."
        ) from error
    return [_image(task) for task in root.items()]


def _image(place: Place) -> AnnotatedImage:
    task = place.having("data", "annotations")
    surfaces: list[Surface] = []
    masks: dict[int, BoxMask] = {}
    size = (1, 1)
    for item in _first(task["annotations"]).having("result")["result"].items():
        result = item.having("id", "original_height", "original_width", "value")
        size = image_size(result["original_height"], result["original_width"])
        found = _OUR_ID.fullmatch(result["id"].text())
        surface_id = int(found.group(1)) if found else max(masks, default=0) + 1
        if surface_id in masks or surface_id > MAX_SURFACES:
            result["id"].fail("an id of its own")
        value = result["value"].having("rle", "brushlabels")
        meta = result["meta"].entries() if "meta" in result else {}
        text = _first(meta["text"]).text(may_be_empty=True) if "text" in meta else ""
        surfaces.append(Surface(surface_id, text, _first(value["brushlabels"]).text()))
        try:
            masks[surface_id] = BoxMask.of(decode_brush(value["rle"].listed(), size))
        except ValueError as error:
            value["rle"].fail(f"run lengths of a mask (it is {error})")
    image = task["data"].having("image")["image"].text()
    return AnnotatedImage(image, size, tuple(surfaces), BoxMasks(masks))


def _first(place: Place) -> Place:
    return next(place.items(), None) or place.fail("a list that is not empty")
