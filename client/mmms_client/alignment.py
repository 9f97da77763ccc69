"""How a modality lies over its image when it does not simply have the same aspect ratio.

``--align NAME=stretch``: the map covers the whole image, each axis with a scale of its own.
``--align NAME=FILE``: a homography, 3x3 and row-major, that maps modality pixels ``(x, y, 1)`` to image
pixels, in a ``.json`` file (a list of three rows, alone or under the key ``"homography"``) or a text file of
nine numbers.

Pixel centres are at integers on both sides. What the sensor did not see becomes NaN.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import Resampling
from mmms_client.errors import AlignmentError, UsageError
from mmms_client.geometry import ASPECT_TOLERANCE
from mmms_client.json_place import shown
from mmms_client.json_text import parse_json

ALIGN_FORM = "NAME=stretch or NAME=homography.json"
_LARGEST = 1e9  # of a homography's numbers
_STRIP_PX = 1 << 18  # that are warped at a time: a dozen numbers stand behind each
_MAX_SIDE_PX = 4096  # of a warped map; beyond this a modality sees nothing that the network could use
_MIN_SIDE_PX = 64  # below, rounding to whole pixels would change the aspect ratio


@dataclass(frozen=True)
class Alignment:
    """``matrix`` maps modality pixels to image pixels, rows of three; ``None`` stands for stretch."""

    matrix: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class Nudge:
    """A small correction on top of an alignment: ``scale`` about the middle of the image, then a shift.

    ``dx_px`` to the right and ``dy_px`` down, in image pixels.
    """

    dx_px: float = 0.0
    dy_px: float = 0.0
    scale: float = 1.0


def nudged(
    alignment: Alignment | None, nudge: Nudge, source_hw: tuple[int, int], image_hw: tuple[int, int]
) -> Alignment | None:
    """An alignment with a nudge on top; ``None`` stays ``None`` where there is nothing to correct.

    Args:
        alignment: of the map, ``None`` for one that has the aspect ratio of its image.
        nudge: what to add.
        source_hw: size of the map in pixels.
        image_hw: size of the image in pixels.
    """
    if nudge == Nudge():
        return alignment
    s, cx, cy = nudge.scale, (image_hw[1] - 1) / 2, (image_hw[0] - 1) / 2
    move = np.array([[s, 0.0, (1 - s) * cx + nudge.dx_px], [0.0, s, (1 - s) * cy + nudge.dy_px], [0.0, 0.0, 1.0]])
    return homography(move @ _matrix(alignment or Alignment(), source_hw, image_hw))


def parse_align(text: str) -> tuple[str, Alignment]:
    """``NAME=stretch`` or ``NAME=FILE`` to the name and its alignment, with the file read.

    Raises :class:`UsageError` for another form, :class:`AlignmentError` for a broken file.
    """
    name, equals, how = text.partition("=")
    if not (name and equals and how):
        raise UsageError(f"Expected --align {ALIGN_FORM} but got {text!r}; write for example --align thermal=stretch.")
    return name, Alignment() if how == "stretch" else read_homography(how)


def read_homography(path: str | Path) -> Alignment:
    """Read a homography file. Raises :class:`AlignmentError`, one line naming the file."""
    file = Path(path)
    try:
        text = file.read_text("utf-8")
        if file.suffix.lower() == ".json":
            content = parse_json(text)
            rows = content["homography"] if isinstance(content, dict) else content
            matrix = np.array(rows, np.float64)
        else:
            matrix = np.array([float(word) for word in re.split(r"[\s,;]+", text.strip())]).reshape(3, 3)
        return homography(matrix)
    except (OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise AlignmentError(
            f"Expected {str(path)!r} to hold a 3x3 homography (9 numbers, row by row) but got {shown(reason)}; "
            "correct the file, or use stretch."
        ) from error


def homography(matrix: NDArray[np.floating[Any]]) -> Alignment:
    """An alignment from a 3x3 matrix, modality to image pixels. Raises ``ValueError`` if it is not one."""
    array = np.asarray(matrix, np.float64)
    if array.shape != (3, 3):
        raise ValueError(f"an array of shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("NaN or inf among the numbers")
    scale = np.abs(array).max()
    if scale > _LARGEST:
        raise ValueError(f"numbers above {_LARGEST:g}")
    with np.errstate(all="ignore"):
        if scale == 0.0 or not abs(np.linalg.det(array / scale)) >= 1e-15:
            raise ValueError("a singular matrix")
    return Alignment(tuple(tuple(float(v) for v in row) for row in array))


def align(
    values: NDArray[np.float32],
    alignment: Alignment,
    image_hw: tuple[int, int],
    resampling: Resampling = "bilinear",
    name: str = "modality",
) -> NDArray[np.float32]:
    """Warp a map into the frame of its image.

    Args:
        values: float32 [h, w] or [h, w, C], NaN where there is no measurement.
        alignment: where it lies.
        image_hw: size of the image in pixels.
        resampling: ``bilinear`` leaves NaN out of every average; ``nearest`` takes one pixel.
        name: for the message.

    Returns:
        float32 of the aspect ratio of the image, at about the density of the map's own pixels, NaN outside
        it.

    Raises:
        AlignmentError: no part of the map falls on the image.
    """
    planes = values[..., None] if values.ndim == 2 else values
    source_hw = (planes.shape[0], planes.shape[1])
    forward = _matrix(alignment, source_hw, image_hw)
    size_hw = _output_hw(forward, source_hw, image_hw)
    sample = _nearest if resampling == "nearest" else _bilinear
    warped = np.full((*size_hw, planes.shape[2]), np.nan, np.float32)
    is_over_image = False
    rows = max(1, _STRIP_PX // size_hw[1])
    for top in range(0, size_hw[0], rows):
        strip = warped[top : top + rows]
        x, y, is_inside = _source_positions(forward, source_hw, image_hw, size_hw, range(top, top + len(strip)))
        strip[is_inside] = sample(planes, x, y)[is_inside]
        is_over_image |= bool(is_inside.any())
    if not is_over_image:
        raise AlignmentError(
            f"Expected the homography of {name!r} to put it over its image of {image_hw[1]}x{image_hw[0]} px "
            f"but got no overlap; it must map modality pixels to image pixels: invert it if it is the other "
            f"way round."
        )
    return warped[..., 0] if values.ndim == 2 else warped


def _matrix(alignment: Alignment, source_hw: tuple[int, int], image_hw: tuple[int, int]) -> NDArray[np.float64]:
    """The 3x3 matrix, signed so that the middle of the map lies in front of the camera."""
    (h, w), (image_h, image_w) = source_hw, image_hw
    if alignment.matrix is None:
        sx, sy = image_w / w, image_h / h
        return np.array([[sx, 0.0, (sx - 1) / 2], [0.0, sy, (sy - 1) / 2], [0.0, 0.0, 1.0]])
    matrix = np.array(alignment.matrix, np.float64)
    middle = matrix[2] @ np.array([(w - 1) / 2, (h - 1) / 2, 1.0])
    return -matrix if middle < 0 else matrix


def _output_hw(forward: NDArray[np.float64], source_hw: tuple[int, int], image_hw: tuple[int, int]) -> tuple[int, int]:
    """Size of the warped map: the image's aspect ratio, the map's own density in its middle."""
    (h, w), (image_h, image_w) = source_hw, image_hw
    cx, cy = (w - 1) / 2, (h - 1) / 2
    corners = np.array([[cx - 0.5, cx + 0.5, cx, cx], [cy, cy, cy - 0.5, cy + 0.5], [1.0, 1.0, 1.0, 1.0]])
    points = forward @ corners
    points = points[:2] / np.where(np.abs(points[2]) < 1e-12, 1e-12, points[2])
    (ax, ay), (bx, by) = points[:, 1] - points[:, 0], points[:, 3] - points[:, 2]
    image_px_per_pixel = max(float(np.sqrt(abs(ax * by - ay * bx))), 1e-6)
    density = min(1.0 / image_px_per_pixel, _MAX_SIDE_PX / max(image_hw))
    density = max(density, min(1.0, _MIN_SIDE_PX / min(image_hw)))
    height, width = max(1, round(image_h * density)), max(1, round(image_w * density))
    is_true = abs((width / height) / (image_w / image_h) - 1.0) < ASPECT_TOLERANCE
    return (height, width) if is_true else image_hw


def _source_positions(
    forward: NDArray[np.float64],
    source_hw: tuple[int, int],
    image_hw: tuple[int, int],
    size_hw: tuple[int, int],
    rows: range,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Where output pixels of some rows lie in the map: x, y float64 [rows, width], and whether they lie in it."""
    h, w = source_hw
    u = (np.arange(size_hw[1]) + 0.5) * image_hw[1] / size_hw[1] - 0.5
    v = (np.arange(rows.start, rows.stop) + 0.5) * image_hw[0] / size_hw[0] - 0.5
    inverse = np.linalg.inv(forward)
    x, y, depth = (row[0] * u[None, :] + row[1] * v[:, None] + row[2] for row in inverse)
    is_in_front = depth > 1e-12
    depth = np.where(is_in_front, depth, 1.0)
    x, y = x / depth, y / depth
    edge = 1e-6  # rounding must not blank the outermost pixels
    is_inside = is_in_front & (x >= -0.5 - edge) & (x <= w - 0.5 + edge) & (y >= -0.5 - edge) & (y <= h - 0.5 + edge)
    return np.where(is_inside, x, 0.0), np.where(is_inside, y, 0.0), is_inside


def _nearest(planes: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    h, w = planes.shape[:2]
    column = np.clip(np.floor(x + 0.5).astype(np.intp), 0, w - 1)
    row = np.clip(np.floor(y + 0.5).astype(np.intp), 0, h - 1)
    sampled: NDArray[np.float32] = planes[row, column]
    return sampled


def _bilinear(planes: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    """Bilinear samples; a pixel is NaN when less than half of its weight falls on measurements."""
    h, w = planes.shape[:2]
    x, y = np.clip(x, 0, w - 1), np.clip(y, 0, h - 1)
    x0, y0 = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    fx, fy = (x - x0).astype(np.float32), (y - y0).astype(np.float32)
    total = np.zeros((*x.shape, planes.shape[2]), np.float32)
    weight = np.zeros_like(total)
    for dx, wx in ((0, 1 - fx), (1, fx)):
        for dy, wy in ((0, 1 - fy), (1, fy)):
            sample = planes[np.minimum(y0 + dy, h - 1), np.minimum(x0 + dx, w - 1)]
            is_valid = ~np.isnan(sample)
            share = (wx * wy)[..., None] * is_valid
            total += share * np.where(is_valid, sample, np.float32(0))
            weight += share
    return np.where(weight >= 0.5, total / np.maximum(weight, np.float32(1e-6)), np.float32(np.nan))
