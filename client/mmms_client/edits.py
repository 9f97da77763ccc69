"""What a person does to surfaces beside clicking, as events: rename, merge, split, draw, clean.

Each function looks at an annotation, refuses what makes no sense, and returns the event for
:meth:`mmms_client.annotation.Annotation.do`. None changes anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mmms_client.annotation import MAX_SURFACES, Annotation, check_colour, check_unlocked
from mmms_client.box_mask import Box, BoxMask
from mmms_client.components import label_parts, without_holes, without_specks
from mmms_client.errors import UsageError
from mmms_client.events import (
    ClickRemoved,
    MasksImported,
    MaskStarted,
    Surface,
    SurfaceAdded,
    SurfaceChanged,
    SurfaceDeleted,
    SurfacesMerged,
    SurfaceSplit,
    SurfacesReordered,
)
from mmms_client.joint_mask import BACKGROUND
from mmms_client.strokes import Path, brush_mask, polygon_mask

MOST_PARTS = 256  # of one split: more are noise that wants cleaning first


def add(
    annotation: Annotation, name: str = "", class_name: str | None = None, is_for_click: bool = False
) -> SurfaceAdded:
    """A surface more; without a name it gets that of its class with a number. Raises :class:`UsageError`."""
    number = annotation.free_id()
    if number > MAX_SURFACES:
        raise UsageError(f"Expected at most {MAX_SURFACES} surfaces but got one more; begin another image.")
    surface = Surface(number, name or free_name(annotation, class_name or "surface"), class_name)
    return SurfaceAdded(surface, is_for_click)


def free_name(annotation: Annotation, stem: str) -> str:
    """``stem`` with the first number that no surface of the list has in its name."""
    taken = {surface.name for surface in annotation.surfaces}
    return next(f"{stem} {n}" for n in range(1, len(taken) + 2) if f"{stem} {n}" not in taken)


def change(annotation: Annotation, surface_id: int, **changes: Any) -> SurfaceChanged:
    """Other fields of :class:`mmms_client.events.Surface`, by their names there. Raises :class:`UsageError`."""
    check_colour(changes.get("colour"))
    return SurfaceChanged(replace(annotation.surface(surface_id), **changes))


def reorder(annotation: Annotation, order: Sequence[int]) -> SurfacesReordered:
    """The list in another order, which must name every surface once. Raises :class:`UsageError`."""
    ids = [surface.surface_id for surface in annotation.surfaces]
    if sorted(order) != sorted(ids):
        raise UsageError(f"Expected each of the surfaces {ids} once but got {list(order)}; send the whole list.")
    return SurfacesReordered(tuple(order))


def delete(annotation: Annotation, surface_id: int) -> SurfaceDeleted:
    check_unlocked(annotation.surface(surface_id))
    return SurfaceDeleted(surface_id)


def remove_click(annotation: Annotation, surface_id: int, index: int) -> ClickRemoved:
    """The ``index``-th of all clicks of a surface, from 0. Raises :class:`UsageError`."""
    check_unlocked(annotation.surface(surface_id))
    count = len(annotation.clicks(surface_id))
    if not 0 <= index < count:
        raise UsageError(
            f"Expected the number of a click of surface {surface_id} below {count} but got {index}; it is gone already."
        )
    return ClickRemoved(surface_id, index)


def merge(annotation: Annotation, into: int, merged: int) -> SurfacesMerged:
    """The pixels of ``merged`` go to ``into``, and ``merged`` is gone. Raises :class:`UsageError`."""
    for surface_id in (into, merged):
        check_unlocked(annotation.surface(surface_id))
    if into == merged:
        raise UsageError(f"Expected two surfaces to merge but got {into} twice; choose another one.")
    layers = annotation.layers
    box = layers.box(into).union(layers.box(merged))
    part = np.isin(layers.joint[box.part], (into, merged))
    return SurfacesMerged(into, merged, BoxMask.of_part(part, annotation.frame.image_hw, box.x0, box.y0))


def split(annotation: Annotation, surface_id: int) -> SurfaceSplit:
    """Each part that touches no other becomes a surface; the largest one stays. Raises :class:`UsageError`."""
    surface = annotation.surface(surface_id)
    check_unlocked(surface)
    box = annotation.layers.box(surface_id)
    labels, count = label_parts(annotation.layers.joint[box.part] == surface_id)
    if not 2 <= count <= MOST_PARTS:
        raise UsageError(
            f"Expected a surface with 2 to {MOST_PARTS} parts but got {count}; "
            + ("there is nothing to split." if count < 2 else "remove its specks first.")
        )
    hw, first_id = annotation.frame.image_hw, annotation.free_id()
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    others = [number for number in range(1, count + 1) if number != largest]
    parts = []
    for n, number in enumerate(others):
        part = replace(surface, surface_id=first_id + n, name=f"{surface.name} {n + 2}", colour=None)
        parts.append((part, BoxMask.of_part(labels == number, hw, box.x0, box.y0)))
    return SurfaceSplit(surface_id, BoxMask.of_part(labels == largest, hw, box.x0, box.y0), tuple(parts))


def brush(annotation: Annotation, surface_id: int, points: Path, radius_px: float, is_erased: bool) -> MaskStarted:
    """A stroke that adds to a surface, or takes from it. Raises :class:`UsageError`."""
    stroke = brush_mask(points, radius_px, annotation.frame.image_hw)
    return _drawn(annotation, surface_id, stroke, is_erased, "eraser" if is_erased else "brush")


def polygon(annotation: Annotation, surface_id: int, points: Path, is_erased: bool) -> MaskStarted:
    """A polygon that adds to a surface, or takes from it. Raises :class:`UsageError`."""
    return _drawn(annotation, surface_id, polygon_mask(points, annotation.frame.image_hw), is_erased, "polygon")


def clean(annotation: Annotation, surface_id: int, holes_px: int, specks_px: int) -> MaskStarted:
    """Without parts of fewer than ``specks_px`` pixels, and with holes of fewer than ``holes_px`` filled.

    What other surfaces have in a hole stays theirs. Raises :class:`UsageError`.
    """
    check_unlocked(annotation.surface(surface_id))
    box = annotation.layers.box(surface_id)
    joint = annotation.layers.joint[box.part]
    part = without_specks(joint == surface_id, specks_px)
    part = part | (without_holes(part, holes_px) & (joint == BACKGROUND))
    mask = BoxMask.of_part(part, annotation.frame.image_hw, box.x0, box.y0)
    return MaskStarted(surface_id, mask, "clean", _continues(annotation, surface_id))


def import_masks(annotation: Annotation, surfaces: Sequence[tuple[Surface, BoxMask]]) -> MasksImported:
    """Surfaces with masks from elsewhere; ids that are taken are replaced. Raises :class:`UsageError`."""
    used, parts = set(annotation.state.used), []
    for surface, mask in surfaces:
        if mask.image_hw != annotation.frame.image_hw:
            (h, w), (want_h, want_w) = mask.image_hw, annotation.frame.image_hw
            raise UsageError(
                f"Expected masks of {want_w}x{want_h} px, as the image, but got {w}x{h} px; give masks of this image."
            )
        number = surface.surface_id if surface.surface_id not in used else max(used, default=0) + 1
        used.add(number)
        parts.append((replace(surface, surface_id=number), mask))
    return MasksImported(tuple(parts))


def _drawn(annotation: Annotation, surface_id: int, stroke: BoxMask, is_erased: bool, how: str) -> MaskStarted:
    """A surface with a stroke added or taken away."""
    check_unlocked(annotation.surface(surface_id))
    continues = _continues(annotation, surface_id)
    mask = annotation.state.visits[-1].mask if continues else annotation.layers.mask(surface_id)
    box: Box = mask.box if is_erased else mask.box.union(stroke.box)
    part = mask.crop(box)
    part = part & ~stroke.crop(box) if is_erased else part | stroke.crop(box)
    drawn = BoxMask.of_part(part, annotation.frame.image_hw, box.x0, box.y0)
    return MaskStarted(surface_id, drawn, how, continues)


def _continues(annotation: Annotation, surface_id: int) -> bool:
    """Whether drawing goes on in the last visit: one of this surface that began with a mask and has no click yet."""
    visits = annotation.state.visits
    if not visits or annotation.new_visit_for == surface_id:
        return False
    return visits[-1].surface_id == surface_id and visits[-1].start is not None and not visits[-1].clicks
