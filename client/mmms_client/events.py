"""What a person did, as data: the events that an annotation is folded from.

Events are immutable and say what was asked, never what the model answered; an append-only journal of them
replays on any model. Answers are kept beside them, by event, so that undo and redo need no model.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmms_client.alignment import Nudge
from mmms_client.bounded import inflate
from mmms_client.box_mask import BoxMask
from mmms_client.clicks import Click
from mmms_client.geometry import Region
from mmms_client.joint_mask import Mask

_FAST = 1  # zlib level


@dataclass(frozen=True)
class Surface:
    """One thing to annotate.

    ``surface_id`` counts from 1 and is the surface's value in the joint map. ``colour`` is ``#rrggbb``, or
    ``None`` to take it from the palette. Nothing takes pixels from a locked surface or changes it; one that is not
    visible is only not shown.
    """

    surface_id: int
    name: str
    class_name: str | None = None
    colour: str | None = None
    is_locked: bool = False
    is_visible: bool = True


@dataclass(frozen=True)
class SurfaceAdded:
    """A surface exists from now on; it has no pixels yet.

    ``is_for_click``: a click in the app asked for it. It and its first click are one thing to undo.
    """

    surface: Surface
    is_for_click: bool = False


@dataclass(frozen=True)
class SurfaceDeleted:
    """A surface and all that was done to it are gone, as if it had never been: what it covered comes back."""

    surface_id: int


@dataclass(frozen=True)
class SurfaceChanged:
    """A surface has another name, class, colour, lock or visibility; its pixels and clicks stay."""

    surface: Surface


@dataclass(frozen=True)
class SurfacesReordered:
    """The list of surfaces has another order. Which lies over which does not change."""

    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MaskStarted:
    """A visit that begins with a mask from elsewhere, or with one that a person drew.

    ``how`` is ``start`` for a mask from elsewhere; ``brush``, ``eraser``, ``polygon`` and ``clean`` were made here, and
    further ones of them in the same visit take the place of the mask that it began with (``continues``).
    """

    surface_id: int
    mask: BoxMask = field(repr=False)
    how: str = "start"
    continues: bool = False


@dataclass(frozen=True)
class Clicked:
    """One click on a surface. ``begins_visit`` if another surface (or nobody) was at work before it.

    ``region`` is the part of the image that the model sees; ``None`` for the annotation's own frame.
    """

    surface_id: int
    click: Click
    begins_visit: bool
    region: Region | None = None


@dataclass(frozen=True)
class ClickRemoved:
    """One click of a surface was taken away: the ``index``-th of all its clicks, from 0.

    The visits of the surface from that click on are answered again without it.
    """

    surface_id: int
    index: int


@dataclass(frozen=True, eq=False)
class SurfacesMerged:
    """The pixels of a surface belong to another one from now on; ``mask`` is what they have together."""

    into: int
    merged: int
    mask: BoxMask = field(repr=False)


@dataclass(frozen=True, eq=False)
class SurfaceSplit:
    """The parts of a surface that do not touch are surfaces of their own; ``rest`` is what it keeps."""

    surface_id: int
    rest: BoxMask = field(repr=False)
    parts: tuple[tuple[Surface, BoxMask], ...] = field(repr=False)


@dataclass(frozen=True, eq=False)
class MasksImported:
    """Surfaces with masks from elsewhere, all in one step; where they overlap, later ones lie over earlier ones."""

    parts: tuple[tuple[Surface, BoxMask], ...] = field(repr=False)


@dataclass(frozen=True)
class ModalityAligned:
    """A modality lies elsewhere over the image from now on; ``None`` is where the folder's settings put it."""

    modality: str
    nudge: Nudge | None


Event = (
    SurfaceAdded
    | SurfaceDeleted
    | SurfaceChanged
    | SurfacesReordered
    | MaskStarted
    | Clicked
    | ClickRemoved
    | SurfacesMerged
    | SurfaceSplit
    | MasksImported
    | ModalityAligned
)


@dataclass(frozen=True, eq=False)
class Visit:
    """A run of work on one surface, as a session file holds it.

    ``order`` counts from 0 over the visits of all surfaces in time order. ``start`` is the mask with which it began, or
    ``None``. ``region`` is the part of the image that the model saw, ``None`` for that of the session. ``locked``
    are the surfaces whose pixels the visit left alone.
    """

    surface_id: int
    order: int
    clicks: tuple[Click, ...]
    start: BoxMask | None = field(default=None, repr=False)
    region: Region | None = None
    locked: frozenset[int] = frozenset()

    @property
    def start_mask(self) -> Mask | None:
        """:attr:`start` as bool [H, W]; a new array."""
        return None if self.start is None else self.start.whole


class StoredAnswer:
    """A model's answer to one click, small enough to keep for every click.

    The probabilities are kept in the contract's precision (1/255), which is what the next click sends anyway, and
    deflated; the mask as bits of its box.
    """

    def __init__(self, probabilities: NDArray[np.float32], mask: BoxMask) -> None:
        """``probabilities`` float32 [S, S] in [0, 1]; ``mask`` of the surface by itself, in image pixels."""
        steps = np.rint(np.clip(probabilities, 0.0, 1.0) * 255.0).astype(np.uint8)
        self.side = int(steps.shape[0])
        self.deflated = zlib.compress(steps.tobytes(), _FAST)
        self.mask = mask

    @classmethod
    def of_bytes(cls, deflated: bytes, side: int, mask: BoxMask) -> StoredAnswer:
        """From what :attr:`deflated` of another one was. Raises ``ValueError`` if it is not side x side bytes."""
        inflate(deflated, side * side)
        answer = cls.__new__(cls)
        answer.side, answer.deflated, answer.mask = side, deflated, mask
        return answer

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """float32 [S, S] in [0, 1], rounded to 1/255."""
        steps = np.frombuffer(zlib.decompress(self.deflated), np.uint8).reshape(self.side, self.side)
        probabilities: NDArray[np.float32] = np.divide(steps, 255.0, dtype=np.float32)
        return probabilities
