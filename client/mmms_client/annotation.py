"""The annotation of one image: a list of events, and the joint map that they fold to.

Nothing here talks to a model. A click is a :class:`ClickRequest` that somebody takes to a predictor and
brings back with :meth:`Annotation.accept`; :mod:`mmms_client.session` does that for synchronous and
asynchronous predictors, and the app for its page.

The joint map is the fold of visits in time order. Within a visit every answer replaces the one before it and
is pasted into the map *as it stood when the visit began* (see :mod:`mmms_client.joint_mask`). Undo goes back to the
state before; delete folds again without what was deleted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmms_client.annotation_state import Answers, State, after
from mmms_client.box_mask import NOWHERE, Box, BoxMask
from mmms_client.clicks import Click, encode_clicks
from mmms_client.errors import ClickError, UsageError
from mmms_client.events import Clicked, Event, MaskStarted, StoredAnswer, Surface, SurfaceAdded, SurfaceDeleted, Visit
from mmms_client.geometry import Frame, Region
from mmms_client.joint_mask import JointMap, Mask
from mmms_client.layers import Layers, PaintedVisit

MAX_SURFACES = 65534  # ids of a uint16 map, without 0 (background) and 65535 (kept for "ignore")
_Array = TypeVar("_Array", bound=np.generic)
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, eq=False)
class ClickRequest:
    """What to ask the model for one click.

    ``clicks`` are all clicks of the surface with the new one last, in image pixels, without those that lie outside
    ``frame``; ``previous_mask`` is float32 [S, S] or ``None``, as :meth:`mmms_client.predictor.Predictor.predict`
    takes it.
    """

    event: Clicked
    clicks: tuple[Click, ...]
    previous_mask: NDArray[np.float32] | None = field(repr=False)
    revision: int
    frame: Frame


@dataclass(frozen=True, eq=False)
class Answer:
    """What came of one click.

    Attributes:
        surface_id: the clicked surface.
        probabilities: the model's answer, float32 [S, S] in [0, 1], in network pixels.
        mask: the surface's mask by itself, bool [H, W] in image pixels.
        joint: the joint map after the click, uint16 [H, W]; read-only.
        duration_ms: time that the predictor took.
    """

    surface_id: int
    probabilities: NDArray[np.float32] = field(repr=False)
    mask: Mask = field(repr=False)
    joint: JointMap = field(repr=False)
    duration_ms: float = 0.0


@dataclass(frozen=True, eq=False)
class Step:
    """An event, the model's answers to it, and the annotation after it."""

    event: Event
    answers: Answers
    state: State


class Annotation:
    """Surfaces, clicks and the joint map of one image. Not thread-safe: one annotation, one writer."""

    def __init__(self, frame: Frame, max_clicks: int, threshold: float = 0.5) -> None:
        """An annotation without surfaces.

        Args:
            frame: of the image, or of the region of it, that the network sees.
            max_clicks: that the model takes per surface.
            threshold: a pixel belongs to the surface above this probability.
        """
        if not 0.0 < threshold < 1.0:
            raise UsageError(f"Expected a threshold between 0 and 1 but got {threshold:g}; 0.5 is usual.")
        self.frame, self.max_clicks, self.threshold = frame, max_clicks, threshold
        self._done: list[Step] = []
        self._undone: list[Step] = []
        self._new_visit_for: int | None = None
        self._revision = 0
        self._layers = Layers(frame.image_hw)
        self._joint: JointMap | None = None
        self.changed = NOWHERE  # the box of the joint map that the last change changed

    # What there is ------------------------------------------------------------------------------------
    @property
    def state(self) -> State:
        return self._done[-1].state if self._done else State()

    @property
    def layers(self) -> Layers:
        """The joint map as it changes in place, with areas and boxes. Look, but leave it as it is."""
        return self._layers

    @property
    def revision(self) -> int:
        """Grows with every change."""
        return self._revision

    @property
    def done(self) -> tuple[Step, ...]:
        """What counts, oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Step, ...]:
        """What redo would do, the next one last."""
        return tuple(self._undone)

    @property
    def events(self) -> tuple[Event, ...]:
        """All events that count, oldest first; undone ones are not among them."""
        return tuple(step.event for step in self._done)

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """The surfaces that exist, in the order of the list."""
        return self.state.surfaces

    def surface(self, surface_id: int) -> Surface:
        """One surface. Raises :class:`UsageError` for an id that does not exist."""
        for surface in self.surfaces:
            if surface.surface_id == surface_id:
                return surface
        known = ", ".join(str(s.surface_id) for s in self.surfaces) or "none yet"
        raise UsageError(
            f"Expected the id of a surface ({known}) but got {surface_id!r}; add it with add_surface first."
        )

    @property
    def visits(self) -> tuple[Visit, ...]:
        """The visits of existing surfaces in time order."""
        ids = {surface.surface_id for surface in self.surfaces}
        live = [visit for visit in self.state.visits if visit.surface_id in ids]
        return tuple(Visit(v.surface_id, n, v.clicks, v.start, v.region, v.locked & ids) for n, v in enumerate(live))

    def clicks(self, surface_id: int) -> tuple[Click, ...]:
        """All clicks of a surface, over all of its visits, oldest first, in image pixels."""
        return tuple(click for visit in self.state.visits_of(surface_id) for click in visit.clicks)

    @property
    def joint(self) -> JointMap:
        """The joint map, uint16 [H, W]: the id of the surface at each pixel, 0 for background; read-only."""
        if self._joint is None:
            self._joint = _frozen(self._layers.joint.copy())
        return self._joint

    def mask(self, surface_id: int) -> Mask:
        """A surface's mask in the joint map, bool [H, W]. Raises :class:`UsageError` for an unknown id."""
        self.surface(surface_id)
        return np.equal(self._layers.joint, surface_id)

    # What one can do ----------------------------------------------------------------------------------
    def add_surface(
        self,
        name: str,
        class_name: str | None = None,
        colour: str | None = None,
        surface_id: int | None = None,
    ) -> int:
        """Add a surface and return its id: one more than the largest so far, unless ``surface_id`` says
        another.

        Raises :class:`UsageError` for an id that is taken or out of range, or a colour that is not
        ``#rrggbb``.
        """
        number = self.free_id() if surface_id is None else surface_id
        if number in self.state.used or not 1 <= number <= MAX_SURFACES:
            raise UsageError(
                f"Expected a surface id from 1 to {MAX_SURFACES} that is not taken but got {number}; leave "
                f"it out to get the next one."
            )
        check_colour(colour)
        self.do(SurfaceAdded(Surface(number, name, class_name, colour)))
        return number

    def free_id(self) -> int:
        """One more than the largest id that was ever given."""
        return max(self.state.used, default=0) + 1

    def delete_surface(self, surface_id: int) -> None:
        """Take a surface and its visits out of the fold. Raises :class:`UsageError` for an unknown id."""
        self.surface(surface_id)
        self.do(SurfaceDeleted(surface_id))

    def start_mask(self, surface_id: int, mask: Mask) -> None:
        """Begin a visit of a surface with a mask from elsewhere, bool [H, W]; the next click corrects it.

        Raises :class:`UsageError` for an unknown id or a mask of another size or dtype.
        """
        self.surface(surface_id)
        if mask.shape != self.frame.image_hw or mask.dtype != np.bool_:
            raise UsageError(
                f"Expected a mask bool {list(self.frame.image_hw)} for surface {surface_id} but got "
                f"{mask.dtype} {list(mask.shape)}; give it at the size of the image."
            )
        self.do(MaskStarted(surface_id, BoxMask.of(mask)))

    def begin_visit(self, surface_id: int) -> None:
        """Let the next click of this surface begin a visit even if the last click was its own.

        A click on a surface other than the last one begins a visit by itself.
        """
        self.surface(surface_id)
        self._new_visit_for = surface_id

    def do(self, event: Event, answers: Answers = ()) -> Box:
        """Take an event into the annotation; returns the box of the joint map that changed.

        The event must fit: make it with :mod:`mmms_client.edits` or the methods here.
        """
        return self.commit(self.plan(event, answers))

    def plan(self, event: Event, answers: Answers = ()) -> Step:
        """What :meth:`commit` would do for an event. Changes nothing, so that a journal can be written first."""
        return Step(event, answers, after(self.state, event, answers))

    def commit(self, step: Step) -> Box:
        """Do what :meth:`plan` made, with no change in between; returns the box of the map that changed."""
        self._undone.clear()
        self._done.append(step)
        return self._show()

    def undo(self) -> Event | None:
        """Take the last event back and return it; ``None`` if there is none. Asks no model."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        self._show()
        return self._undone[-1].event

    def redo(self) -> Event | None:
        """Do the last undone event again and return it; ``None`` if there is none. Asks no model."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        self._show()
        return self._done[-1].event

    def restore(self, done: Sequence[Step], undone: Sequence[Step], new_visit_for: int | None = None) -> None:
        """Make the annotation what some steps made of an empty one; ``undone`` as :attr:`undone` has it."""
        self._done, self._undone = list(done), list(undone)
        self._show()
        self._new_visit_for = new_visit_for

    @property
    def new_visit_for(self) -> int | None:
        """The surface whose next click begins a visit because somebody said so."""
        return self._new_visit_for

    def _show(self) -> Box:
        self._revision += 1
        self._new_visit_for = None
        self.changed = self._layers.show(self.state.visits)
        if self.changed.area_px:
            self._joint = None
        return self.changed

    # Clicks -------------------------------------------------------------------------------------------
    def frame_of(self, region: Region | None) -> Frame:
        """The frame of a region; the annotation's own for ``None``. Raises :class:`UsageError` outside the image."""
        return self.frame if region is None else Frame.of(self.frame.image_hw, self.frame.resolution, region)

    def propose(self, surface_id: int, click: Click, region: Region | None = None) -> ClickRequest:
        """What to ask the model for one more click. Changes nothing.

        ``region`` is the part of the image that the model shall see; clicks in another one begin a visit.

        Raises:
            UsageError: an unknown or locked surface, or a region outside the image.
            ClickError: a click outside the image or its region, or more clicks than the model takes.
        """
        check_unlocked(self.surface(surface_id))
        frame = self.frame_of(region)
        if not np.isfinite((click.x_px, click.y_px)).all():
            raise ClickError(f"Expected a click inside the image but got ({click.x_px}, {click.y_px}); give pixels.")
        encode_clicks(frame.clicks_to_network([click]), self.max_clicks)
        clicks = (*self.clicks(surface_id), click)
        encode_clicks(clicks, self.max_clicks)
        last = self.state.visits[-1] if self.state.visits else None
        begins = last is None or last.surface_id != surface_id or self._new_visit_for == surface_id
        if last is not None and last.clicks and last.region != region:
            begins = True
        event = Clicked(surface_id, click, begins, region)
        previous = self._previous(surface_id, None if begins else last, frame)
        return ClickRequest(event, clicks_in(frame, clicks), previous, self._revision, frame)

    def answered(self, request: ClickRequest, probabilities: NDArray[np.float32]) -> Step:
        """The step that the model's answer to a request, float32 [S, S] in [0, 1], makes. Changes nothing.

        Raises :class:`UsageError` if the annotation changed since the request was made.
        """
        if request.revision != self._revision:
            raise UsageError(
                "Expected the answer to a click on the annotation as it is but got one from before its last "
                "change; propose the click again."
            )
        event = request.event
        before = self.state.visits if event.begins_visit else self.state.visits[:-1]
        start = None if event.begins_visit else self.state.visits[-1].start
        mask = self.own_mask(request.frame, probabilities, event.surface_id, before, start)
        return self.plan(event, (StoredAnswer(probabilities, mask),))

    def accept(self, request: ClickRequest, probabilities: NDArray[np.float32], duration_ms: float = 0.0) -> Answer:
        """Take the model's answer to a request, float32 [S, S] in [0, 1], into the annotation.

        Raises :class:`UsageError` if the annotation changed since the request was made; nothing changes then.
        """
        self.commit(self.answered(request, np.asarray(probabilities, np.float32)))
        mask = self.state.visits[-1].mask.whole
        return Answer(request.event.surface_id, probabilities, mask, self.joint, duration_ms)

    def own_mask(
        self,
        frame: Frame,
        probabilities: NDArray[np.float32],
        surface_id: int,
        before: tuple[PaintedVisit, ...],
        start: BoxMask | None,
    ) -> BoxMask:
        """A surface by itself after an answer: the answer inside the frame's region, outside it what was there.

        ``before`` are the visits before this one, ``start`` the mask with which this one began.
        """
        mask = frame.answer_mask(probabilities, self.threshold)
        r = frame.region
        if (r.height, r.width) == frame.image_hw:
            return mask
        start = self._layers.mask_before(before, surface_id) if start is None else start
        if not start.box.area_px:
            return mask
        box = start.box.union(mask.box)
        part = start.crop(box)
        inside = Box(r.x0, r.y0, r.x0 + r.width, r.y0 + r.height).intersection(box)
        part[inside.within(box)] = mask.crop(inside)
        return BoxMask.of_part(part, frame.image_hw, box.x0, box.y0)

    def _previous(self, surface_id: int, visit: PaintedVisit | None, frame: Frame) -> NDArray[np.float32] | None:
        """The previous mask for the next click: the last answer, or the surface in the joint map."""
        if not self.state.visits_of(surface_id):
            return None
        if visit is not None and visit.answer is not None and visit.answer.side == frame.resolution:
            return visit.answer.probabilities
        return frame.mask_to_network(self._layers.joint == surface_id)


def clicks_in(frame: Frame, clicks: tuple[Click, ...]) -> tuple[Click, ...]:
    """Those clicks that lie in the frame's region."""
    r = frame.region
    return tuple(
        c for c in clicks if -0.5 <= c.x_px - r.x0 <= r.width - 0.5 and -0.5 <= c.y_px - r.y0 <= r.height - 0.5
    )


def check_colour(colour: str | None) -> None:
    """Raise :class:`UsageError` for a colour that is neither ``None`` nor ``#rrggbb``."""
    if colour is not None and not _COLOUR.fullmatch(colour):
        raise UsageError(f"Expected a colour as #rrggbb but got {colour!r}; write for example '#ff8800'.")


def check_unlocked(surface: Surface) -> None:
    """Raise :class:`UsageError` for a locked surface."""
    if surface.is_locked:
        raise UsageError(
            f"Expected a surface that is not locked but got {surface.surface_id} {surface.name!r}; unlock it first."
        )


def _frozen(array: NDArray[_Array]) -> NDArray[_Array]:
    array.setflags(write=False)
    return array
