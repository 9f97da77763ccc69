"""What an annotation is after some events, and what each event makes of it. Pure functions on immutable values.

Undo is going back to the state before; nothing is computed again. Sharing keeps that cheap: a state holds the visits
of the one before it, but for those that its event changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mmms_client.alignment import Nudge
from mmms_client.box_mask import BoxMask
from mmms_client.events import (
    Clicked,
    ClickRemoved,
    Event,
    MasksImported,
    MaskStarted,
    ModalityAligned,
    StoredAnswer,
    Surface,
    SurfaceAdded,
    SurfaceChanged,
    SurfaceDeleted,
    SurfacesMerged,
    SurfaceSplit,
    SurfacesReordered,
)
from mmms_client.layers import PaintedVisit

Answers = Sequence[StoredAnswer | None]


@dataclass(frozen=True, eq=False)
class State:
    """An annotation between two events.

    Attributes:
        surfaces: those that exist, in the order of the list.
        visits: all that paint, in time order. Those of a merged surface are among them: they happened.
        used: ids that were ever given, so that none is given twice.
        merged: surface that is gone -> the one that has its pixels.
        nudges: corrections of where modalities lie, by name.
        active: the surface last worked on, if it still exists.
    """

    surfaces: tuple[Surface, ...] = ()
    visits: tuple[PaintedVisit, ...] = ()
    used: frozenset[int] = frozenset()
    merged: Mapping[int, int] = field(default_factory=dict)
    nudges: Mapping[str, Nudge] = field(default_factory=dict)
    active: int | None = None

    @property
    def locked(self) -> frozenset[int]:
        return frozenset(s.surface_id for s in self.surfaces if s.is_locked)

    def visits_of(self, surface_id: int) -> list[PaintedVisit]:
        return [visit for visit in self.visits if visit.surface_id == surface_id]

    def owner(self, surface_id: int) -> int:
        """The surface that an id stands for now: itself, or what it was merged into."""
        while surface_id in self.merged:
            surface_id = self.merged[surface_id]
        return surface_id


def after(state: State, event: Event, answers: Answers = ()) -> State:
    """The state after one more event.

    Args:
        state: before it.
        event: that fits the state; :mod:`mmms_client.edits` and :class:`mmms_client.annotation.Annotation` make such.
        answers: of the model: one for a click, one for each visit that a removed click changes.
    """
    match event:
        case SurfaceAdded(surface):
            return _added(state, (surface,), surface.surface_id)
        case SurfaceDeleted(surface_id):
            visits = tuple(v for v in state.visits if state.owner(v.surface_id) != surface_id)
            return _without(replace(state, visits=visits), surface_id)
        case SurfaceChanged(surface):
            surfaces = tuple(surface if s.surface_id == surface.surface_id else s for s in state.surfaces)
            return replace(state, surfaces=surfaces)
        case SurfacesReordered(order):
            return replace(state, surfaces=tuple(sorted(state.surfaces, key=lambda s: order.index(s.surface_id))))
        case MaskStarted():
            return _started(state, event)
        case Clicked():
            return _clicked(state, event, answers[0])
        case ClickRemoved():
            return replace(state, visits=_with_answers(state, event, answers), active=event.surface_id)
        case SurfacesMerged(into, merged, mask):
            visit = PaintedVisit(into, mask, start=mask, locked=state.locked, absorbed=frozenset({merged}))
            painted = _painted(state, visit)
            return replace(_without(painted, merged), merged={**state.merged, merged: into}, active=into)
        case SurfaceSplit(surface_id, rest, parts):
            first = _painted(state, PaintedVisit(surface_id, rest, start=rest, locked=state.locked))
            return replace(_imported(first, parts), active=surface_id)
        case MasksImported(parts):
            return _imported(state, parts)
        case ModalityAligned(modality, nudge):
            nudges = {name: value for name, value in state.nudges.items() if name != modality}
            return replace(state, nudges=nudges if nudge is None else {**nudges, modality: nudge})


def removal_runs(state: State, event: ClickRemoved) -> list[tuple[int, PaintedVisit]]:
    """The visits that a removed click changes, without it: position in ``state.visits`` and the visit, oldest first.

    They keep their old masks; the model has yet to answer.
    """
    runs: list[tuple[int, PaintedVisit]] = []
    index = event.index
    for position, visit in enumerate(state.visits):
        if visit.surface_id != event.surface_id:
            continue
        if runs:
            runs.append((position, visit))
        elif index < len(visit.clicks):
            kept = tuple(click for n, click in enumerate(visit.clicks) if n != index)
            runs.append((position, replace(visit, clicks=kept)))
        else:
            index -= len(visit.clicks)
    return runs


def _added(state: State, surfaces: tuple[Surface, ...], active: int | None) -> State:
    used = state.used | {surface.surface_id for surface in surfaces}
    return replace(state, surfaces=(*state.surfaces, *surfaces), used=used, active=active)


def _without(state: State, surface_id: int) -> State:
    surfaces = tuple(s for s in state.surfaces if s.surface_id != surface_id)
    return replace(state, surfaces=surfaces, active=None if state.active == surface_id else state.active)


def _painted(state: State, visit: PaintedVisit) -> State:
    return replace(state, visits=(*state.visits, visit), active=visit.surface_id)


def _imported(state: State, parts: Sequence[tuple[Surface, BoxMask]]) -> State:
    state = _added(state, tuple(surface for surface, _ in parts), state.active)
    for surface, mask in parts:
        state = _painted(state, PaintedVisit(surface.surface_id, mask, start=mask, locked=state.locked))
    return state


def _started(state: State, event: MaskStarted) -> State:
    if event.continues:
        last = replace(state.visits[-1], mask=event.mask, start=event.mask, locked=state.locked)
        return _painted(replace(state, visits=state.visits[:-1]), last)
    return _painted(state, PaintedVisit(event.surface_id, event.mask, start=event.mask, locked=state.locked))


def _clicked(state: State, event: Clicked, answer: StoredAnswer | None) -> State:
    if answer is None:
        raise ValueError("Expected the answer of a click but got none.")
    if event.begins_visit:
        visit = PaintedVisit(event.surface_id, answer.mask, (event.click,), None, event.region, state.locked, answer)
        return _painted(state, visit)
    last = state.visits[-1]
    clicks = (*last.clicks, event.click)
    visit = replace(last, mask=answer.mask, clicks=clicks, locked=state.locked, region=event.region, answer=answer)
    return replace(state, visits=(*state.visits[:-1], visit), active=event.surface_id)


def _with_answers(state: State, event: ClickRemoved, answers: Answers) -> tuple[PaintedVisit, ...]:
    """The visits with new answers; one that is left without clicks falls back to its start mask, or away."""
    visits: list[PaintedVisit | None] = list(state.visits)
    for (position, visit), answer in zip(removal_runs(state, event), answers, strict=True):
        if answer is not None:
            visits[position] = replace(visit, mask=answer.mask, answer=answer)
        elif visit.start is not None:
            visits[position] = replace(visit, mask=visit.start, answer=None)
        else:
            visits[position] = None
    return tuple(visit for visit in visits if visit is not None)
