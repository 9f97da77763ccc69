"""Masks that know where they are: a box of an image, and the pixels in it as packed bits.

An image has millions of pixels and a surface a few thousand. Everything that is kept per click, travels, or is
pasted again on undo is therefore a :class:`BoxMask`, and work on it costs what its box costs.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmms_client.bounded import inflate
from mmms_client.joint_mask import Mask

_FAST = 1  # zlib level: masks are nearly all runs, more effort gains little


class Box(NamedTuple):
    """Columns x0 to x1 and rows y0 to y1 of an image, in pixels, without x1 and y1. Empty if x0 == x1 or y0 == y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0

    @property
    def area_px(self) -> int:
        return self.width * self.height

    @property
    def part(self) -> tuple[slice, slice]:
        """The index of the box in an array [H, W, ...]."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    def within(self, outer: Box) -> tuple[slice, slice]:
        """The index of this box in an array that covers ``outer``."""
        return self.shifted(-outer.x0, -outer.y0).part

    def shifted(self, dx: int, dy: int) -> Box:
        return Box(self.x0 + dx, self.y0 + dy, self.x1 + dx, self.y1 + dy)

    def union(self, other: Box) -> Box:
        """The smallest box around both; an empty one adds nothing."""
        if not self.area_px:
            return other
        if not other.area_px:
            return self
        return Box(min(self.x0, other.x0), min(self.y0, other.y0), max(self.x1, other.x1), max(self.y1, other.y1))

    def intersection(self, other: Box) -> Box:
        """What both have; :data:`NOWHERE` if that is nothing."""
        x0, y0 = max(self.x0, other.x0), max(self.y0, other.y0)
        x1, y1 = min(self.x1, other.x1), min(self.y1, other.y1)
        return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else NOWHERE


NOWHERE = Box(0, 0, 0, 0)
EMPTY_BITS = zlib.compress(b"", _FAST)


def box_of_pixels(mask: Mask, x0: int = 0, y0: int = 0) -> Box:
    """The smallest box around the pixels of a mask bool [h, w] whose top left pixel is (x0, y0)."""
    rows: NDArray[np.int64] = np.flatnonzero(mask.any(1))
    if not len(rows):
        return NOWHERE
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns: NDArray[np.int64] = np.flatnonzero(mask[top:bottom].any(0))
    return Box(x0 + int(columns[0]), y0 + top, x0 + int(columns[-1]) + 1, y0 + bottom)


@dataclass(frozen=True, eq=False)
class BoxMask:
    """A mask bool [H, W] of which only the box around its pixels is kept. Immutable.

    Attributes:
        image_hw: size of the image in pixels.
        box: the smallest box that holds every pixel of the mask.
        packed: the box's pixels, row by row, as bits (``numpy.packbits``), deflated.
    """

    image_hw: tuple[int, int]
    box: Box
    packed: bytes = field(repr=False)

    @classmethod
    def of(cls, mask: Mask) -> BoxMask:
        """From a mask bool [H, W] of a whole image."""
        return cls.of_part(mask, (mask.shape[0], mask.shape[1]))

    @classmethod
    def of_part(cls, part: Mask, image_hw: tuple[int, int], x0: int = 0, y0: int = 0) -> BoxMask:
        """From bool [h, w], a part of an image with its top left pixel at (x0, y0); nothing lies outside it."""
        box = box_of_pixels(part, x0, y0)
        bits = np.packbits(part[box.shifted(-x0, -y0).part]) if box.area_px else np.zeros(0, np.uint8)
        return cls.of_bits(bits.tobytes(), image_hw, box)

    @classmethod
    def of_bits(cls, bits: bytes, image_hw: tuple[int, int], box: Box) -> BoxMask:
        """From the pixels of the smallest box, row by row, as ``numpy.packbits`` makes bits of them."""
        return cls(image_hw, box, zlib.compress(bits, _FAST))

    @property
    def pixels(self) -> Mask:
        """bool [box height, box width]. Raises ``ValueError`` if the packed bits are not of that size."""
        if self.box.width < 0 or self.box.height < 0:
            raise ValueError(f"a box of {self.box.width}x{self.box.height} px")
        bits = np.frombuffer(inflate(self.packed, -(-self.box.area_px // 8)), np.uint8)
        flat = np.unpackbits(bits, count=self.box.area_px)
        return flat.view(np.bool_).reshape(self.box.height, self.box.width)

    def crop(self, box: Box) -> Mask:
        """The mask in any box of the image, bool [box height, box width]; a new array."""
        result = np.zeros((box.height, box.width), bool)
        common = self.box.intersection(box)
        if common.area_px:
            result[common.within(box)] = self.pixels[common.within(self.box)]
        return result

    @property
    def whole(self) -> Mask:
        """bool [H, W] of the image; a new array."""
        return self.crop(Box(0, 0, self.image_hw[1], self.image_hw[0]))

    @property
    def area_px(self) -> int:
        return int(np.count_nonzero(self.pixels))
