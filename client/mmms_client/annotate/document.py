"""What is on screen, as the page is told: the surfaces with their clicks and areas, and changed boxes of the map."""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.annotate.project import Project
from mmms_client.annotation import Annotation
from mmms_client.annotation_state import State
from mmms_client.box_mask import Box
from mmms_client.events import (
    Clicked,
    ClickRemoved,
    Event,
    MasksImported,
    MaskStarted,
    ModalityAligned,
    SurfaceAdded,
    SurfaceChanged,
    SurfaceDeleted,
    SurfacesMerged,
    SurfaceSplit,
    SurfacesReordered,
)
from mmms_client.layers import Layers, PaintedVisit
from mmms_client.palette import surface_colour

Message = dict[str, Any]
_MOST_RAW_BYTES = 1 << 20


def document_message(annotation: Annotation, index: int, project: Project) -> Message:
    """The ``document`` message: everything about the surfaces but their pixels."""
    state, layers = annotation.state, annotation.layers
    visits: dict[int, list[PaintedVisit]] = {}
    for visit in state.visits:
        visits.setdefault(visit.surface_id, []).append(visit)
    known = {surface.surface_id: surface for surface in state.surfaces}
    rows = []
    for surface in state.surfaces:
        own = visits.get(surface.surface_id, [])
        row = {
            "id": surface.surface_id,
            "name": surface.name,
            "class": project.class_name(surface.class_name),
            "colour": "#{:02x}{:02x}{:02x}".format(*surface_colour(surface.surface_id, known)),
            "locked": surface.is_locked,
            "visible": surface.is_visible,
            "clicks": [{"x": c.x_px, "y": c.y_px, "positive": c.is_positive} for v in own for c in v.clicks],
            **_pixels(layers, state, surface.surface_id, own),
        }
        rows.append(row)
    done, undone = annotation.done, annotation.undone
    return {
        "type": "document",
        "image": index,
        "revision": annotation.revision,
        "active": state.active,
        "surfaces": rows,
        "undo": label(done[-1].event, done[-1].state) if done else None,
        "redo": label(undone[-1].event, undone[-1].state) if undone else None,
    }


def _pixels(layers: Layers, state: State, surface_id: int, visits: list[PaintedVisit]) -> Message:
    """Where a surface is, and what others took of it."""
    box, last = layers.box(surface_id), visits[-1] if visits else None
    lost_to = sorted({state.owner(i) for i in layers.lost_to(last)} - {surface_id}) if last else []
    return {
        "area_px": layers.area_px(surface_id),
        "box": [box.x0, box.y0, box.width, box.height] if box.area_px else None,
        "lost_px": layers.lost_px(last) if last else 0,
        "lost_to": lost_to,
        "edited": last is not None and last.start is not None and not last.clicks,
    }


def label(event: Event, state: State) -> str:
    """An event in a few words, for "undo ..."."""
    names = {surface.surface_id: surface.name for surface in state.surfaces}
    match event:
        case SurfaceAdded(surface):
            return f"add {surface.name}"
        case SurfaceDeleted(surface_id):
            return f"delete surface {surface_id}"
        case SurfaceChanged(surface):
            return f"change {surface.name}"
        case SurfacesReordered():
            return "reorder surfaces"
        case MaskStarted(surface_id, _, how, _):
            return f"{'mask' if how == 'start' else how} on {names.get(surface_id, surface_id)}"
        case Clicked(surface_id):
            return f"click on {names.get(surface_id, surface_id)}"
        case ClickRemoved(surface_id):
            return f"remove click of {names.get(surface_id, surface_id)}"
        case SurfacesMerged(into):
            return f"merge into {names.get(into, into)}"
        case SurfaceSplit(surface_id):
            return f"split {names.get(surface_id, surface_id)}"
        case MasksImported(parts):
            return f"import {len(parts)} surface{'s' if len(parts) != 1 else ''}"
        case ModalityAligned(modality):
            return f"align {modality}"


# Binary frames ----------------------------------------------------------------------------------------
def patch_frame(annotation: Annotation, index: int, box: Box) -> bytes:
    """The ``patch`` message: the joint map in a box, uint16 little endian."""
    head = {"type": "patch", "image": index, "revision": annotation.revision, **_place(box)}
    part = np.ascontiguousarray(annotation.layers.joint[box.part], "<u2")
    return binary_frame(head, part.tobytes())


def mask_frame(plane: NDArray[np.uint8], box: Box, **head: Any) -> bytes:
    """The ``mask`` message: a surface by itself, probability x 255 in a box, uint8."""
    return binary_frame({"type": "mask", **head, **_place(box)}, np.ascontiguousarray(plane).tobytes())


def _place(box: Box) -> Message:
    return {"x": box.x0, "y": box.y0, "width": box.width, "height": box.height}


def binary_frame(head: Message, body: bytes) -> bytes:
    """uint32 little endian length of the JSON head, the head, the body: deflated if it is large.

    A small body is sent as it is: on one machine, packing and unpacking it takes longer than sending it.
    """
    is_large = len(body) > _MOST_RAW_BYTES
    text = json.dumps({**head, "coding": "deflate" if is_large else "raw"}).encode("ascii")
    return struct.pack("<I", len(text)) + text + (zlib.compress(body, 1) if is_large else body)
