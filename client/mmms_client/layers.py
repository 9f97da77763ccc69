"""The joint map of some visits, kept up to date in place.

The map is the fold of visits in time order: each pastes its mask over those before it (:mod:`mmms_client.joint_mask`).
That rule is one of single pixels, so a box of the map can be folded by itself. :meth:`Layers.show` finds the box in
which the new visits may differ from the old ones, and folds there only; a 12-megapixel map with hundreds of
surfaces then changes in the time that a surface's box takes.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mmms_client.box_mask import NOWHERE, Box, BoxMask, box_of_pixels
from mmms_client.clicks import Click
from mmms_client.events import StoredAnswer
from mmms_client.geometry import Region
from mmms_client.joint_mask import BACKGROUND, JointMap, empty_joint_map, paste_in_place


@dataclass(frozen=True, eq=False)
class PaintedVisit:
    """A run of work on one surface, and what came of it. Immutable; a further click makes a new one.

    Attributes:
        surface_id: whose work it is.
        mask: the surface's whole mask at the end of the visit.
        clicks: of this visit, in image pixels.
        start: a mask that was given or drawn at the visit's beginning, or ``None``.
        region: the part of the image that the model saw; ``None`` for the annotation's own frame.
        locked: surfaces whose pixels the visit left alone.
        answer: of the visit's last click.
        absorbed: surfaces whose pixels belong to this one from the visit on.
    """

    surface_id: int
    mask: BoxMask = field(repr=False)
    clicks: tuple[Click, ...] = ()
    start: BoxMask | None = field(default=None, repr=False)
    region: Region | None = None
    locked: frozenset[int] = frozenset()
    answer: StoredAnswer | None = field(default=None, repr=False)
    absorbed: frozenset[int] = frozenset()

    @property
    def owns(self) -> frozenset[int]:
        """The ids whose pixels the visit repaints."""
        return self.absorbed | {self.surface_id}

    def paint(self, part: JointMap, where: Box) -> None:
        """Paste the visit over a view of the joint map of box ``where``."""
        for absorbed in self.absorbed:
            part[part == absorbed] = self.surface_id
        paste_in_place(part, self.surface_id, self.mask.crop(where), self.locked)


Visits = Sequence[PaintedVisit]


class Layers:
    """A joint map with the area and box of every surface."""

    def __init__(self, image_hw: tuple[int, int]) -> None:
        self.joint: JointMap = empty_joint_map(image_hw)
        self._visits: tuple[PaintedVisit, ...] = ()
        self._base: JointMap | None = None  # the map without the last visit, where that is known
        self._areas: dict[int, int] = {}
        self._boxes: dict[int, Box] = {}
        self._loose: set[int] = set()  # surfaces whose box may be larger than needed
        self._claims: weakref.WeakKeyDictionary[PaintedVisit, int] = weakref.WeakKeyDictionary()
        self._losses: weakref.WeakKeyDictionary[PaintedVisit, tuple[int, ...]] = weakref.WeakKeyDictionary()

    # The fold -----------------------------------------------------------------------------------------
    def show(self, visits: tuple[PaintedVisit, ...]) -> Box:
        """Make the map that of ``visits``; returns the smallest box in which it changed."""
        old, common = self._visits, _common_length(self._visits, visits)
        if common == len(old) == len(visits):
            return NOWHERE
        self._visits = visits
        if common == len(old) and len(visits) == common + 1:
            self._base = self.joint.copy()
            return self._replace_last(NOWHERE)
        if common == len(old) - 1 and len(visits) <= common + 1 and self._base is not None:
            shown = _reach(old[-1], visits[:common])
            return self._replace_last(shown) if len(visits) > common else self._drop_last(shown)
        self._base = None
        where = _changed_box(old, visits)
        changed = self._put(where, self.fold(visits, where))
        for visit in visits[common:]:
            if visit.locked or visit not in self._claims:
                self._claims[visit] = self._claim(visit)
        return changed

    def fold(self, visits: Visits, box: Box) -> JointMap:
        """The map of ``visits`` in a box, folded from nothing: uint16 [box height, box width]."""
        result = empty_joint_map((box.height, box.width))
        reach: dict[int, Box] = {}
        for visit in visits:
            own = visit.mask.box
            for surface_id in visit.owns:
                own = own.union(reach.get(surface_id, NOWHERE))
            reach[visit.surface_id] = own
            common = own.intersection(box)
            if common.area_px:
                visit.paint(result[common.within(box)], common)
        return result

    def mask_before(self, visits: Visits, surface_id: int) -> BoxMask:
        """What a surface has in the map of ``visits``, which may be others than those shown."""
        box = NOWHERE
        for visit in visits:
            if visit.surface_id == surface_id:
                box = box.union(visit.mask.box)  # a visit that absorbs another has the other's pixels in its mask
        part = np.equal(self.fold(visits, box), surface_id)
        return BoxMask.of_part(part, (self.joint.shape[0], self.joint.shape[1]), box.x0, box.y0)

    def _replace_last(self, shown: Box) -> Box:
        """Paint the last visit over the base; ``shown`` is what its place was painted in before."""
        visit, base = self._visits[-1], self._base
        assert base is not None
        where = _reach(visit, self._visits[:-1]).union(shown)
        part = base[where.part].copy()
        visit.paint(part, where)
        changed = self._put(where, part)
        self._claims[visit] = self.area_px(visit.surface_id)
        return changed

    def _drop_last(self, shown: Box) -> Box:
        base, self._base = self._base, None
        assert base is not None
        return self._put(shown, base[shown.part])

    def _put(self, where: Box, part: JointMap) -> Box:
        """Replace a box of the map, and keep areas and boxes true."""
        before = self.joint[where.part]
        is_changed = before != part
        changed = box_of_pixels(is_changed, where.x0, where.y0)
        if not changed.area_px:
            return NOWHERE
        inner = changed.within(where)
        is_changed = is_changed[inner]
        lost, gained = np.bincount(before[inner][is_changed]), np.bincount(part[inner][is_changed])
        for surface_id in np.flatnonzero(lost).tolist():
            self._areas[surface_id] = self._areas.get(surface_id, 0) - int(lost[surface_id])
            self._loose.add(surface_id)
        for surface_id in np.flatnonzero(gained).tolist():
            self._areas[surface_id] = self._areas.get(surface_id, 0) + int(gained[surface_id])
            self._boxes[surface_id] = self._boxes.get(surface_id, NOWHERE).union(changed)
            self._loose.add(surface_id)
        self.joint[changed.part] = part[inner]
        for visit in [v for v in self._losses if v.mask.box.intersection(changed).area_px]:
            del self._losses[visit]
        return changed

    def _claim(self, visit: PaintedVisit) -> int:
        """How many pixels a visit got when it was pasted."""
        if not visit.locked:
            return visit.mask.area_px
        done = self._visits[: self._visits.index(visit) + 1]
        return int(np.count_nonzero(self.fold(done, visit.mask.box) == visit.surface_id))

    # What is on it ------------------------------------------------------------------------------------
    def area_px(self, surface_id: int) -> int:
        return self._areas.get(surface_id, 0)

    def box(self, surface_id: int) -> Box:
        """The smallest box around a surface; empty if it has no pixel."""
        box = self._boxes.get(surface_id, NOWHERE)
        if surface_id in self._loose:
            self._loose.discard(surface_id)
            part = np.equal(self.joint[box.part], surface_id) if self.area_px(surface_id) else np.zeros((0, 0), bool)
            box = self._boxes[surface_id] = box_of_pixels(part, box.x0, box.y0)
        return box

    def mask(self, surface_id: int) -> BoxMask:
        box = self.box(surface_id)
        part = np.equal(self.joint[box.part], surface_id)
        return BoxMask.of_part(part, (self.joint.shape[0], self.joint.shape[1]), box.x0, box.y0)

    def lost_px(self, visit: PaintedVisit) -> int:
        """How many pixels of a surface's last visit other surfaces have taken since."""
        return max(0, self._claims.get(visit, 0) - self.area_px(visit.surface_id))

    def lost_to(self, visit: PaintedVisit) -> tuple[int, ...]:
        """Who has the pixels that :meth:`lost_px` counts, by id; nobody if they are background now."""
        if not self.lost_px(visit):
            return ()
        if visit not in self._losses:
            box = visit.mask.box
            there = self.joint[box.part][visit.mask.pixels]
            found = set(np.flatnonzero(np.bincount(there)).tolist())
            self._losses[visit] = tuple(sorted(found - {BACKGROUND, visit.surface_id, *visit.locked}))
        return self._losses[visit]


def _common_length(old: Visits, new: Visits) -> int:
    """How many visits at the beginning are the same objects."""
    count = 0
    for a, b in zip(old, new, strict=False):
        if a is not b:
            break
        count += 1
    return count


def _reach(visit: PaintedVisit, earlier: Visits) -> Box:
    """The box in which a visit may change the map: that of its mask, and of what its surface had before."""
    box = visit.mask.box
    for other in earlier:
        if other.surface_id in visit.owns:
            box = box.union(other.mask.box)
    return box


def _changed_box(old: Visits, new: Visits) -> Box:
    """A box outside which both folds are the same: that of every visit which only one of them has.

    A visit also clears what its surface had before, so the surface's other visits count as well. Visits never change
    places with each other.
    """
    olds, news = set(old), set(new)
    touched = {surface_id for visit in olds ^ news for surface_id in visit.owns}
    box = NOWHERE
    for visit in olds | news:
        if visit.surface_id in touched:
            box = box.union(visit.mask.box)
    return box
