"""The annotation of one image: a list of events, and the joint map that they fold to.

Nothing here talks to a model. A click is a :class:`ClickRequest` that somebody takes to a predictor and
brings back with :meth:`Annotation.accept`; :mod:`mmms_client.session` does that for synchronous and
asynchronous predictors.

The joint map is the fold of visits in time order. Within a visit every answer replaces the one before it and
is pasted into the map *as it stood when the visit began* (see :mod:`mmms_client.joint_mask`). Undo and delete
fold again without the removed event.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click, encode_clicks
from mmms_client.errors import ClickError, UsageError
from mmms_client.events import (
    Clicked,
    Event,
    MaskStarted,
    StoredAnswer,
    Surface,
    SurfaceAdded,
    SurfaceDeleted,
    Visit,
)
from mmms_client.geometry import Frame
from mmms_client.joint_mask import JointMap, Mask, empty_joint_map, paste

MAX_SURFACES = 65534  # ids of a uint16 map, without 0 (background) and 65535 (kept for "ignore")
_CHECKPOINT_BYTES = 64 * 2**20  # of joint maps kept at visit starts, so that undo folds little
_Array = TypeVar("_Array", bound=np.generic)
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True, eq=False)
class ClickRequest:
    """What to ask the model for one click.

    ``clicks`` are all clicks of the surface with the new one last, in image pixels; ``previous_mask`` is
    float32 [S, S] or ``None``, as :meth:`mmms_client.predictor.Predictor.predict` takes it.
    """

    event: Clicked
    clicks: tuple[Click, ...]
    previous_mask: NDArray[np.float32] | None = field(repr=False)
    revision: int


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
class _Folded:
    """The maps after some events. ``start`` is the mask with which the running visit of ``visitor`` began."""

    joint: JointMap
    base: JointMap
    visitor: int | None = None
    start: Mask | None = None


@dataclass(frozen=True, eq=False)
class _Entry:
    """An event, and for a click the model's answer."""

    event: Event
    answer: StoredAnswer | None = None

    @property
    def begins_visit(self) -> bool:
        return isinstance(self.event, MaskStarted) or (isinstance(self.event, Clicked) and self.event.begins_visit)

    @property
    def painted_id(self) -> int | None:
        """The surface whose pixels this event sets, if it sets any."""
        return self.event.surface_id if isinstance(self.event, Clicked | MaskStarted) else None


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
        self._done: list[_Entry] = []
        self._undone: list[_Entry] = []
        self._new_visit_for: int | None = None
        self._revision = 0
        empty = _frozen(empty_joint_map(frame.image_hw))
        self._checkpoints: dict[int, _Folded] = {0: _Folded(empty, empty)}
        self._folded = self._checkpoints[0]

    # What there is ------------------------------------------------------------------------------------
    @property
    def events(self) -> tuple[Event, ...]:
        """All events that count, oldest first; undone ones are not among them."""
        return tuple(entry.event for entry in self._done)

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """The surfaces that exist, in the order in which they were added."""
        deleted = self._deleted()
        added = (event.surface for event in self.events if isinstance(event, SurfaceAdded))
        return tuple(surface for surface in added if surface.surface_id not in deleted)

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
        visits: list[Visit] = []
        for entry in self._live():
            event = entry.event
            if isinstance(event, MaskStarted):
                visits.append(Visit(event.surface_id, len(visits), (), event.mask))
            elif isinstance(event, Clicked) and event.begins_visit:
                visits.append(Visit(event.surface_id, len(visits), (event.click,)))
            elif isinstance(event, Clicked):
                visits[-1] = replace(visits[-1], clicks=(*visits[-1].clicks, event.click))
        return tuple(visits)

    def clicks(self, surface_id: int) -> tuple[Click, ...]:
        """All clicks of a surface, over all of its visits, oldest first, in image pixels."""
        events = (entry.event for entry in self._live())
        return tuple(e.click for e in events if isinstance(e, Clicked) and e.surface_id == surface_id)

    @property
    def joint(self) -> JointMap:
        """The joint map, uint16 [H, W]: the id of the surface at each pixel, 0 for background; read-only."""
        return self._folded.joint

    def mask(self, surface_id: int) -> Mask:
        """A surface's mask in the joint map, bool [H, W]. Raises :class:`UsageError` for an unknown id."""
        self.surface(surface_id)
        return np.equal(self.joint, surface_id)

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
        used = {e.surface.surface_id for e in self.events if isinstance(e, SurfaceAdded)}
        number = max(used, default=0) + 1 if surface_id is None else surface_id
        if number in used or not 1 <= number <= MAX_SURFACES:
            raise UsageError(
                f"Expected a surface id from 1 to {MAX_SURFACES} that is not taken but got {number}; leave "
                f"it out to get the next one."
            )
        if colour is not None and not _COLOUR.fullmatch(colour):
            raise UsageError(f"Expected a colour as #rrggbb but got {colour!r}; write for example '#ff8800'.")
        self._append(_Entry(SurfaceAdded(Surface(number, name, class_name, colour))))
        return number

    def delete_surface(self, surface_id: int) -> None:
        """Take a surface and its visits out of the fold. Raises :class:`UsageError` for an unknown id."""
        self.surface(surface_id)
        self._append(_Entry(SurfaceDeleted(surface_id)))

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
        self._append(_Entry(MaskStarted(surface_id, _frozen(mask.copy()))))

    def begin_visit(self, surface_id: int) -> None:
        """Let the next click of this surface begin a visit even if the last click was its own.

        A click on a surface other than the last one begins a visit by itself.
        """
        self.surface(surface_id)
        self._new_visit_for = surface_id

    def undo(self) -> Event | None:
        """Take the last event back and return it; ``None`` if there is none. Asks no model."""
        if not self._done:
            return None
        entry = self._done.pop()
        self._undone.append(entry)
        if isinstance(entry.event, SurfaceDeleted):
            self._forget_checkpoints()
        self._refold()
        return entry.event

    def redo(self) -> Event | None:
        """Do the last undone event again and return it; ``None`` if there is none. Asks no model."""
        if not self._undone:
            return None
        entry = self._undone.pop()
        self._do(entry)
        return entry.event

    # Clicks -------------------------------------------------------------------------------------------
    def propose(self, surface_id: int, click: Click) -> ClickRequest:
        """What to ask the model for one more click. Changes nothing.

        Raises:
            UsageError: an unknown surface.
            ClickError: a click outside the image or its region, or more clicks than the model takes.
        """
        self.surface(surface_id)
        clicks = (*self.clicks(surface_id), click)
        if not np.isfinite((click.x_px, click.y_px)).all():
            raise ClickError(f"Expected a click inside the image but got ({click.x_px}, {click.y_px}); give pixels.")
        encode_clicks(self.frame.clicks_to_network(clicks[-1:]), self.max_clicks)
        encode_clicks(clicks, self.max_clicks)
        begins = self._folded.visitor != surface_id or self._new_visit_for == surface_id
        return ClickRequest(
            Clicked(surface_id, click, begins), clicks, self._previous(surface_id, begins), self._revision
        )

    def accept(self, request: ClickRequest, probabilities: NDArray[np.float32], duration_ms: float = 0.0) -> Answer:
        """Take the model's answer to a request, float32 [S, S] in [0, 1], into the annotation.

        Raises :class:`UsageError` if the annotation changed since the request was made; nothing changes then.
        """
        if request.revision != self._revision:
            raise UsageError(
                "Expected the answer to a click on the annotation as it is but got one from before its last "
                "change; propose the click again."
            )
        mask = self.frame.probabilities_to_image(np.asarray(probabilities, np.float32)) > self.threshold
        event = request.event
        self._append(_Entry(event, StoredAnswer(probabilities, mask)))
        return Answer(event.surface_id, probabilities, self._whole_mask(mask, self._folded), self.joint, duration_ms)

    def _previous(self, surface_id: int, begins_visit: bool) -> NDArray[np.float32] | None:
        """The previous mask for the next click: the last answer, or the surface in the joint map."""
        mine = [entry for entry in self._live() if entry.painted_id == surface_id]
        if not mine:
            return None
        if not begins_visit and mine[-1].answer is not None:
            return mine[-1].answer.probabilities
        return self.frame.mask_to_network(self.joint == surface_id)

    # The fold -----------------------------------------------------------------------------------------
    def _append(self, entry: _Entry) -> None:
        self._undone.clear()
        self._do(entry)

    def _do(self, entry: _Entry) -> None:
        """Add an entry and fold it in."""
        count = len(self._done)
        self._done.append(entry)
        if isinstance(entry.event, SurfaceDeleted):
            self._forget_checkpoints()
            self._refold()
            return
        if entry.begins_visit:
            self._keep(count, self._folded)
        self._folded = self._step(self._folded, entry)
        self._touch()

    def _refold(self) -> None:
        """Fold again from the last maps that are still true, painting only the last answer of each visit."""
        for count in [c for c in self._checkpoints if c > len(self._done)]:
            del self._checkpoints[count]
        start = max(self._checkpoints)
        folded, deleted = self._checkpoints[start], self._deleted()
        entries = self._done[start:]
        for index, entry in enumerate(entries):
            if entry.painted_id in deleted:
                continue
            if entry.begins_visit:
                self._keep(start + index, folded)
            after = entries[index + 1] if index + 1 < len(entries) else None
            is_replaced = (
                after is not None and after.painted_id == entry.painted_id is not None and not after.begins_visit
            )
            folded = self._step(folded, entry, paints=not is_replaced)
        self._folded = folded
        self._touch()

    def _touch(self) -> None:
        self._revision += 1
        self._new_visit_for = None

    def _forget_checkpoints(self) -> None:
        self._checkpoints = {0: self._checkpoints[0]}

    def _step(self, folded: _Folded, entry: _Entry, paints: bool = True) -> _Folded:
        """The maps after one more entry. An answer that the next entry replaces need not be painted."""
        surface_id, event = entry.painted_id, entry.event
        if surface_id is None:
            return folded
        if entry.begins_visit:
            start = event.mask if isinstance(event, MaskStarted) else folded.joint == surface_id
            folded = _Folded(folded.joint, folded.joint, surface_id, start)
        if not paints or folded.start is None:
            return folded
        mask = folded.start if entry.answer is None else self._whole_mask(entry.answer.mask, folded)
        return replace(folded, joint=_frozen(paste(folded.base, surface_id, mask)))

    def _whole_mask(self, answer: Mask, folded: _Folded) -> Mask:
        """The answer inside the frame's region; outside it, what the surface had when the visit began."""
        r = self.frame.region
        if folded.start is None or (r.height, r.width) == self.frame.image_hw:
            return answer
        mask = folded.start.copy()
        part = (slice(r.y0, r.y0 + r.height), slice(r.x0, r.x0 + r.width))
        mask[part] = answer[part]
        return mask

    def _keep(self, count: int, folded: _Folded) -> None:
        """Keep the maps as they were after ``count`` events; the oldest but the empty one go first."""
        self._checkpoints[count] = folded
        limit = max(2, _CHECKPOINT_BYTES // max(1, folded.joint.nbytes))
        for old in sorted(self._checkpoints)[1:]:
            if len(self._checkpoints) <= limit:
                break
            del self._checkpoints[old]

    def _deleted(self) -> frozenset[int]:
        return frozenset(e.surface_id for e in self.events if isinstance(e, SurfaceDeleted))

    def _live(self) -> list[_Entry]:
        """The entries that paint, without those of deleted surfaces."""
        deleted = self._deleted()
        return [e for e in self._done if e.painted_id is not None and e.painted_id not in deleted]


def _frozen(array: NDArray[_Array]) -> NDArray[_Array]:
    array.setflags(write=False)
    return array
