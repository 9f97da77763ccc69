"""Which events may follow which: what a journal is held against, so that no file makes an annotation that cannot be."""

from __future__ import annotations

from collections.abc import Iterable

from mmms_client.annotation_state import Answers, State, removal_runs
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


def check_fits(state: State, event: Event, answers: Answers = ()) -> None:
    """Raise ``ValueError`` for an event that the app would never have made of this state."""
    match event:
        case SurfaceAdded(surface):
            _check_new(state, [surface.surface_id])
        case SurfaceDeleted(surface_id):
            _check_there(state, [surface_id])
        case SurfaceChanged(surface):
            _check_there(state, [surface.surface_id])
        case SurfacesReordered(order):
            if sorted(order) != sorted(surface.surface_id for surface in state.surfaces):
                raise ValueError("an order of other surfaces than there are")
        case MaskStarted(surface_id, _, _, continues):
            _check_there(state, [surface_id])
            if continues and not (state.visits and _is_drawn(state, surface_id)):
                raise ValueError("drawing that goes on where nothing was begun")
        case Clicked(surface_id, _, begins_visit):
            _check_there(state, [surface_id])
            if not begins_visit and not (state.visits and state.visits[-1].surface_id == surface_id):
                raise ValueError("a click that goes on with a visit of another surface")
        case ClickRemoved(surface_id):
            _check_there(state, [surface_id])
            if not 0 < len(removal_runs(state, event)) == len(answers):
                raise ValueError("a click that is not there, or another number of answers than visits that it changes")
        case SurfacesMerged(into, merged):
            _check_there(state, [into, merged])
            if into == merged:
                raise ValueError("a surface merged with itself")
        case SurfaceSplit(surface_id, _, parts):
            _check_there(state, [surface_id])
            _check_new(state, [surface.surface_id for surface, _ in parts])
        case MasksImported(parts):
            _check_new(state, [surface.surface_id for surface, _ in parts])
        case ModalityAligned():
            pass


def _is_drawn(state: State, surface_id: int) -> bool:
    last = state.visits[-1]
    return last.surface_id == surface_id and last.start is not None and not last.clicks


def _check_there(state: State, surface_ids: Iterable[int]) -> None:
    known = {surface.surface_id for surface in state.surfaces}
    for surface_id in surface_ids:
        if surface_id not in known:
            raise ValueError(f"there is no surface {surface_id}")


def _check_new(state: State, surface_ids: list[int]) -> None:
    if len(set(surface_ids)) < len(surface_ids) or not state.used.isdisjoint(surface_ids):
        raise ValueError("a surface of an id that was given before")
