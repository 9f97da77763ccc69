"""A joint map at the size of a picture to look at: smooth borders, translucent areas, outlines of a stated
width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmms_client.joint_mask import JointMap
from mmms_client.palette import RGB

_MARGIN_PX = 2  # of image pixels around a surface in which its smooth border may run


def tint(
    size: tuple[int, int],
    joint: JointMap,
    colours: Mapping[int, RGB],
    opacity: float,
    outline_px: int = 2,
    is_fine: bool = True,
) -> Image.Image:
    """An RGBA layer to lay over a picture of the scene.

    Args:
        size: width and height of the picture, in pixels; its aspect ratio is that of ``joint``.
        joint: uint16 [H, W].
        colours: of every id in ``joint`` but 0.
        opacity: of the areas, 0 to 1; outlines are opaque.
        outline_px: width of each surface's outline, inside the surface.
        is_fine: antialias the borders, at four times the work.
    """
    fine = 2 if is_fine else 1
    labels = smooth_labels(joint, (size[1] * fine, size[0] * fine))
    table = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    for surface_id in ids_in(labels):
        table[surface_id] = colours[surface_id]
    alpha = np.where(labels > 0, np.uint8(round(opacity * 255)), np.uint8(0))
    alpha[(labels > 0) & ~_interior(labels, outline_px * fine)] = 255
    layer = np.empty((*labels.shape, 4), np.uint8)
    layer[..., :3] = table[labels]
    layer[..., 3] = alpha
    return Image.fromarray(layer).resize(size, Image.Resampling.BOX)


def ids_in(joint: JointMap) -> list[int]:
    """The ids that occur in a joint map, without 0, in rising order. Counting is far quicker than sorting."""
    return [int(i) for i in np.flatnonzero(np.bincount(joint.ravel())) if i]


def smooth_labels(joint: JointMap, size_hw: tuple[int, int]) -> JointMap:
    """A joint map resized to uint16 ``size_hw``: at each pixel the label that bilinear resizing finds
    strongest.
    """
    scale_y, scale_x = size_hw[0] / joint.shape[0], size_hw[1] / joint.shape[1]
    strongest = _resize(joint == 0, (0, 0, size_hw[1], size_hw[0]), (scale_x, scale_y))
    labels = np.zeros(size_hw, np.uint16)
    for surface_id in ids_in(joint):
        mask = joint == surface_id
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (
            max(0, int((columns[0] - _MARGIN_PX) * scale_x)),
            max(0, int((rows[0] - _MARGIN_PX) * scale_y)),
            min(size_hw[1], int(np.ceil((columns[-1] + 1 + _MARGIN_PX) * scale_x))),
            min(size_hw[0], int(np.ceil((rows[-1] + 1 + _MARGIN_PX) * scale_y))),
        )
        strength = _resize(mask, box, (scale_x, scale_y))
        part = (slice(box[1], box[3]), slice(box[0], box[2]))
        is_stronger = strength > strongest[part]
        strongest[part][is_stronger] = strength[is_stronger]
        labels[part][is_stronger] = surface_id
    return labels


def _resize(
    mask: NDArray[np.bool_], box: tuple[int, int, int, int], scale_xy: tuple[float, float]
) -> NDArray[np.float32]:
    """The part ``box`` (left, top, right, bottom) of the mask resized by ``scale_xy``, float32 in [0, 1]."""
    picture = Image.fromarray(mask.astype(np.float32))
    width, height = picture.size
    left, top = box[0] / scale_xy[0], box[1] / scale_xy[1]
    right, bottom = min(box[2] / scale_xy[0], width), min(box[3] / scale_xy[1], height)
    size = (box[2] - box[0], box[3] - box[1])
    return np.array(picture.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom)), np.float32)


def _interior(labels: JointMap, depth_px: int) -> NDArray[np.bool_]:
    """Pixels whose label is that of every pixel within ``depth_px`` (a disk); beyond the picture nothing
    differs.
    """
    inside = np.ones(labels.shape, bool)
    padded = np.pad(labels, depth_px, mode="edge")
    height, width = labels.shape
    for dy in range(-depth_px, depth_px + 1):
        for dx in range(-depth_px, depth_px + 1):
            is_rim = depth_px**2 - depth_px < dx * dx + dy * dy <= depth_px**2 + 1
            if is_rim:
                y, x = depth_px + dy, depth_px + dx
                inside &= padded[y : y + height, x : x + width] == labels
    return inside
