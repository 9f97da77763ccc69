"""The joint map: one label map of all surfaces (section E of the MMMS supplement, equations 17 to 19).

Paper symbol -> our name: ``j`` -> ``joint``, ``l`` -> ``surface_id``, ``m`` -> ``mask``.

Where we differ: within one *visit* of a surface every answer is pasted into the map as it stood when the
visit began, not into the map that the previous click left. Pasting live would let a first click that
overshoots eat the neighbours for good, although the next click takes the overshoot back.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

BACKGROUND = 0
JointMap = NDArray[np.uint16]
Mask = NDArray[np.bool_]


def empty_joint_map(image_hw: tuple[int, int]) -> JointMap:
    """A map uint16 [H, W] in which every pixel is background (0)."""
    return np.zeros(image_hw, np.uint16)


def paste(joint: JointMap, surface_id: int, mask: Mask, locked: Iterable[int] = ()) -> JointMap:
    """A new joint map after ``surface_id`` was (re)annotated with ``mask``.

    Pixels of ``mask`` become ``surface_id``; pixels that belonged to it and left the mask become background;
    all others keep their owner. Pixels of ``locked`` surfaces are never taken.

    ``joint`` uint16 [H, W], ``mask`` bool [H, W] of the same size. Neither is changed.
    """
    if mask.shape != joint.shape:
        raise ValueError(f"Expected a mask of {joint.shape} but got {mask.shape}.")
    result = joint.copy()
    paste_in_place(result, surface_id, mask, locked)
    return result


def paste_in_place(joint: JointMap, surface_id: int, mask: Mask, locked: Iterable[int] = ()) -> None:
    """:func:`paste` on the map itself, or on a view of a part of it. The rule is one of single pixels."""
    locked_ids = [i for i in locked if i != surface_id]
    taken = mask & ~np.isin(joint, locked_ids) if locked_ids else mask
    joint[(joint == surface_id) & ~taken] = BACKGROUND
    joint[taken] = surface_id
