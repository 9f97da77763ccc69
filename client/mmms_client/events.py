"""What a person did, as data: the events that an annotation is folded from.

Events are immutable and say what was asked, never what the model answered; an append-only journal of them
replays on any model. Answers are kept beside them, by event, so that undo and redo need no model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.joint_mask import Mask


@dataclass(frozen=True)
class Surface:
    """One thing to annotate.

    ``surface_id`` counts from 1 and is the surface's value in the joint map. ``colour`` is ``#rrggbb``, or
    ``None`` to take it from the palette.
    """

    surface_id: int
    name: str
    class_name: str | None = None
    colour: str | None = None


@dataclass(frozen=True)
class SurfaceAdded:
    """A surface exists from now on; it has no pixels yet."""

    surface: Surface


@dataclass(frozen=True)
class SurfaceDeleted:
    """A surface and all that was done to it are gone, as if it had never been: what it covered comes back."""

    surface_id: int


@dataclass(frozen=True, eq=False)
class MaskStarted:
    """A visit that begins with a mask from elsewhere, bool [H, W] in image pixels."""

    surface_id: int
    mask: Mask = field(repr=False)


@dataclass(frozen=True)
class Clicked:
    """One click on a surface. ``begins_visit`` if another surface (or nobody) was at work before it."""

    surface_id: int
    click: Click
    begins_visit: bool


Event = SurfaceAdded | SurfaceDeleted | MaskStarted | Clicked


@dataclass(frozen=True, eq=False)
class Visit:
    """A run of work on one surface, as a session file holds it.

    ``order`` counts from 0 over the visits of all surfaces in time order. ``start_mask`` is bool [H, W] or
    ``None``.
    """

    surface_id: int
    order: int
    clicks: tuple[Click, ...]
    start_mask: Mask | None = field(default=None, repr=False)


class StoredAnswer:
    """A model's answer to one click, small enough to keep for every click.

    The probabilities are kept in the contract's precision (1/255), which is what the next click sends anyway,
    and the mask as bits.
    """

    def __init__(self, probabilities: NDArray[np.float32], mask: Mask) -> None:
        """``probabilities`` float32 [S, S] in [0, 1]; ``mask`` bool [H, W] in image pixels."""
        self._probabilities = np.rint(np.clip(probabilities, 0.0, 1.0) * 255.0).astype(np.uint8)
        self._bits = np.packbits(mask)
        self._image_hw = mask.shape

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """float32 [S, S] in [0, 1], rounded to 1/255."""
        probabilities: NDArray[np.float32] = np.divide(self._probabilities, 255.0, dtype=np.float32)
        return probabilities

    @property
    def mask(self) -> Mask:
        """bool [H, W] in image pixels."""
        height, width = self._image_hw
        return np.unpackbits(self._bits, count=height * width).reshape(height, width).astype(bool)
