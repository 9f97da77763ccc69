"""Image pixels to network pixels and back. The only code in the project that resizes anything for the model.

Coordinates are (x, y) with pixel centres at integers, so that an image of width W covers [-0.5, W - 0.5] and
``x_network = (x - x0 + 0.5) * S / w - 0.5`` for a region that begins at ``x0`` and is ``w`` wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmms_client.box_mask import EMPTY_BITS, NOWHERE, Box, BoxMask, box_of_pixels
from mmms_client.clicks import Click
from mmms_client.contract import ModalitySpec
from mmms_client.errors import AlignmentError, ClickError, UsageError

INVALID = -1.0  # what stands in a modality tensor where the sensor has no value
ASPECT_TOLERANCE = 0.01  # relative; 640x480 and 641x480 are the same scene, 640x480 and 600x800 are not


@dataclass(frozen=True)
class Region:
    """An axis-parallel part of an image, in whole pixels."""

    x0: int
    y0: int
    width: int
    height: int


@dataclass(frozen=True)
class Frame:
    """How a region of an image lies in the S x S square that the network sees."""

    image_hw: tuple[int, int]
    region: Region
    resolution: int

    @classmethod
    def of(cls, image_hw: tuple[int, int], resolution: int, region: Region | None = None) -> Frame:
        """The frame of a whole image, or of ``region``; :class:`UsageError` for a region outside it."""
        height, width = image_hw
        region = region or Region(0, 0, width, height)
        inside = (
            region.x0 >= 0
            and region.y0 >= 0
            and region.width > 0
            and region.height > 0
            and region.x0 + region.width <= width
            and region.y0 + region.height <= height
        )
        if not inside:
            raise UsageError(
                f"Expected a region inside the image of {width}x{height} px but got "
                f"{region.width}x{region.height} at ({region.x0}, {region.y0}); move or shrink it."
            )
        return cls(image_hw, region, resolution)

    def to_network(self, click: Click) -> Click:
        """One click from image pixels to network pixels. Raises :class:`ClickError` outside the region."""
        r = self.region
        x, y = click.x_px - r.x0, click.y_px - r.y0
        if not (-0.5 <= x <= r.width - 0.5 and -0.5 <= y <= r.height - 0.5):
            raise ClickError(
                f"Expected a click inside the image of {r.width}x{r.height} px"
                + (f" (the region at {r.x0}, {r.y0})" if (r.x0, r.y0) != (0, 0) else "")
                + f" but got ({click.x_px:g}, {click.y_px:g}); x runs from {r.x0} to {r.x0 + r.width - 1} "
                f"and y from {r.y0} to {r.y0 + r.height - 1}."
            )
        scale_x, scale_y = self.resolution / r.width, self.resolution / r.height
        return Click((x + 0.5) * scale_x - 0.5, (y + 0.5) * scale_y - 0.5, click.is_positive)

    def clicks_to_network(self, clicks: Sequence[Click]) -> list[Click]:
        return [self.to_network(click) for click in clicks]

    def image_to_network(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """RGB uint8 [H, W, 3] to uint8 [3, S, S]: the region, stretched, antialiased bilinear."""
        r = self.region
        picture = Image.fromarray(image)
        box = (r.x0, r.y0, r.x0 + r.width, r.y0 + r.height)
        side = (self.resolution, self.resolution)
        small = picture.resize(side, Image.Resampling.BILINEAR, box=box)
        return np.ascontiguousarray(np.asarray(small).transpose(2, 0, 1))

    def mask_to_network(self, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """A mask bool [H, W] in image pixels to float32 [S, S]: the share of each cell that it covers."""
        r = self.region
        part = mask[r.y0 : r.y0 + r.height, r.x0 : r.x0 + r.width]
        return resize_float(part.astype(np.float32), (self.resolution, self.resolution))

    def probabilities_to_image(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities float32 [S, S] to float32 [H, W] of the image, bilinear; 0 outside the region."""
        r = self.region
        part = resize_float(probabilities, (r.height, r.width))
        if (r.height, r.width) == self.image_hw:
            return part
        whole = np.zeros(self.image_hw, np.float32)
        whole[r.y0 : r.y0 + r.height, r.x0 : r.x0 + r.width] = part
        return whole

    def answer_mask(self, probabilities: NDArray[np.float32], threshold: float) -> BoxMask:
        """Where probabilities float32 [S, S] exceed a threshold, in image pixels; nothing outside the region.

        What :meth:`probabilities_to_image` and a comparison give, at the cost of the box around the mask.
        """
        box, part = self.probabilities_above(probabilities, threshold)
        if not box.area_px:
            return BoxMask(self.image_hw, NOWHERE, EMPTY_BITS)
        return BoxMask.of_part(part > threshold, self.image_hw, box.x0, box.y0)

    def probabilities_above(
        self, probabilities: NDArray[np.float32], threshold: float
    ) -> tuple[Box, NDArray[np.float32]]:
        """Probabilities float32 [S, S] in a box of the image outside of which none exceeds a threshold.

        Returns the box and float32 [box height, box width]; the box is a little larger than it would have to be.
        """
        r, side = self.region, self.resolution
        cells = box_of_pixels(probabilities > threshold)
        if not cells.area_px:
            return NOWHERE, np.zeros((0, 0), np.float32)
        x0, x1 = _reached(cells.x0, cells.x1, side, r.width)
        y0, y1 = _reached(cells.y0, cells.y1, side, r.height)
        sx, sy = side / r.width, side / r.height
        picture = Image.fromarray(np.ascontiguousarray(probabilities, np.float32), mode="F")
        box = (x0 * sx, y0 * sy, min(x1 * sx, side), min(y1 * sy, side))
        if (r.height, r.width) == (side, side):
            part = np.asarray(picture)[y0:y1, x0:x1]
        else:
            part = np.asarray(picture.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR, box=box))
        return Box(x0, y0, x1, y1).shifted(r.x0, r.y0), part


def _reached(first: int, last: int, side: int, length: int) -> tuple[int, int]:
    """Which of ``length`` output pixels an interpolation of ``side`` cells computes from cells first to last - 1."""
    margin = max(1.0, side / length) + 1.0
    low, high = (first - margin) * length / side, (last + margin) * length / side
    return max(0, int(low)), min(length, int(high) + 1)


def resize_float(plane: NDArray[np.float32], size_hw: tuple[int, int]) -> NDArray[np.float32]:
    """Antialiased bilinear resize of float32 [H, W]; pixel centres at half-integers, edges repeat."""
    if plane.shape == size_hw:
        return plane
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32), mode="F")
    resized = picture.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR)
    return np.array(resized, np.float32)  # a copy: what Pillow lends is read-only


def scale_modality(values: NDArray[np.floating[Any]], spec: ModalitySpec) -> NDArray[np.float32]:
    """Values in the modality's unit to [0, 1], and :data:`INVALID` where they are not finite.

    ``values`` float [H, W] or [H, W, C]; NaN marks pixels without a measurement. Returns float32 [H, W, C].
    """
    array = np.asarray(values, np.float32)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] != spec.channels:
        raise AlignmentError(
            f"Expected {spec.channels} channel(s) for modality {spec.name!r} but got an array of shape "
            f"{array.shape}; give height x width x {spec.channels}."
        )
    valid = np.isfinite(array)
    low, high = spec.minimum, spec.maximum
    if spec.scaling == "percentile":
        finite = array[valid]
        low, high = np.percentile(finite, (low, high)) if finite.size else (0.0, 1.0)
        high = max(high, low + 1e-6)
    if spec.scaling == "log":
        valid &= array > 0
        array = np.log(np.where(valid, array, low))
        low, high = np.log(low), np.log(high)
    scaled = np.clip((np.where(valid, array, low) - low) / (high - low), 0.0, 1.0)
    return np.where(valid, scaled, INVALID).astype(np.float32)


def modality_to_network(scaled: NDArray[np.float32], spec: ModalitySpec, frame: Frame) -> NDArray[np.float16]:
    """A scaled modality float32 [h, w, C] to float16 [C, S, S].

    The map may have another size than its image as long as the aspect ratio is the same: the frame's region
    is cut out of it in proportion. Continuous maps are resized bilinearly with the invalid pixels left out of
    every average; event- and label-like maps take the nearest pixel.
    """
    height, width = scaled.shape[:2]
    check_aspect(spec.name, (height, width), frame.image_hw)
    r, (image_h, image_w), side = frame.region, frame.image_hw, frame.resolution
    sx, sy = width / image_w, height / image_h
    box = (r.x0 * sx, r.y0 * sy, (r.x0 + r.width) * sx, (r.y0 + r.height) * sy)
    box = (box[0], box[1], min(box[2], width), min(box[3], height))
    method = Image.Resampling.NEAREST if spec.resampling == "nearest" else Image.Resampling.BILINEAR

    def resize(plane: NDArray[np.float32]) -> NDArray[np.float32]:
        picture = Image.fromarray(np.ascontiguousarray(plane), mode="F")
        return np.asarray(picture.resize((side, side), method, box=box))

    planes = []
    for channel in range(scaled.shape[2]):
        plane = scaled[..., channel]
        valid = (plane >= 0).astype(np.float32)
        if valid.all():
            planes.append(resize(plane))
            continue
        weight = resize(valid)
        total = resize(plane * valid)
        planes.append(np.where(weight > 0.5, total / np.maximum(weight, 1e-6), INVALID))
    return np.stack(planes).astype(np.float16)


def check_aspect(name: str, modality_hw: tuple[int, int], image_hw: tuple[int, int]) -> None:
    """Raise :class:`AlignmentError` unless both sizes have the same aspect ratio (within 1 %)."""
    (mh, mw), (ih, iw) = modality_hw, image_hw
    if abs((mw / mh) / (iw / ih) - 1.0) > ASPECT_TOLERANCE:
        raise AlignmentError(
            f"Expected modality {name!r} with the aspect ratio of its image ({iw}x{ih} px) but got {mw}x{mh} "
            f"px; register it first, or say how it lies over the image: --align {name}=stretch or "
            f"--align {name}=homography.json."
        )
