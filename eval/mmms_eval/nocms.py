"""NoCMS and FRMS: all surfaces of one image, annotated into one joint map (supplement of the MMMS paper).

Paper symbol -> our name: ``j`` -> ``joint``; ``l`` -> surface id; ``NoCMS@(t_IoU, t_avg)`` -> ``nocms_iou``,
``nocms_mean_iou`` of the protocol; ``N_max`` -> ``n_max``.

The rule: begin with an empty joint map. While the mean IoU of the surfaces is below ``nocms_mean_iou``, visit
the surface with the smallest IoU: click until its IoU is at least ``nocms_iou``, paste it, and compute every
IoU from the joint map again. A surface that has used ``n_max`` clicks is never visited again. NoCMS is the
mean number of clicks used, FRMS the percentage of failed surfaces.

What the paper leaves open, and how it is decided here:

- Ties of the smallest IoU go to the lowest id. A surface that is already at ``nocms_iou`` is not visited.
- The clicks of a surface stay over its visits, and clicked pixels are never clicked again. The previous mask
  of a revisit is the surface's mask in the joint map.
- Within a visit every answer is pasted into the map as it stood when the visit began, so only the last one
  counts.
- Failed: ``n_max`` clicks used and, *in the final joint map*, an IoU below ``nocms_iou``. Its last mask is
  pasted all the same. Reaching ``nocms_iou`` exactly at click ``n_max`` is a success, unless a later visit of
  another surface takes it away; such a surface has ``is_failed`` and ``is_damaged`` set, so that both
  readings can be had.
- A surface with nothing left to click (every wrong pixel was clicked before) is never visited again; below
  ``nocms_iou`` in the final map it is failed and counts ``n_max`` clicks.
- A surface that was never visited counts no clicks. With ``first_pass="all"`` every surface is visited once,
  in id order, before the rule above begins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmms_client.joint_mask import JointMap, Mask, empty_joint_map, paste
from mmms_eval.datasets.sample import SurfaceTarget
from mmms_eval.metrics import mean
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.surface_simulation import ClickModel, FirstVisit, SimulatedSurface


@dataclass(frozen=True)
class Visit:
    """One visit of one surface: how many clicks it took, and the IoU of the surface when it ended."""

    surface_id: int
    clicks: int
    iou: float


@dataclass(frozen=True)
class JointSurface:
    """What became of one surface. ``iou`` is that in the final joint map."""

    surface_id: int
    visits: int
    clicks_used: int
    clicks_counted: int  # what NoCMS takes the mean of: n_max if failed
    iou: float
    damage: float  # IoU lost after its last visit, to visits of other surfaces; negative if they helped
    is_failed: bool
    is_damaged: bool  # was at nocms_iou when its last visit ended, and is below it in the final map


@dataclass(frozen=True)
class JointAnnotation:
    """The whole image: surfaces by ascending id, visits in time order."""

    surfaces: tuple[JointSurface, ...]
    visits: tuple[Visit, ...]


def annotate_jointly(
    model: ClickModel,
    targets: Sequence[SurfaceTarget],
    valid: Mask,
    protocol: EvaluationProtocol,
    first_visits: Mapping[int, FirstVisit] | None = None,
) -> JointAnnotation:
    """Annotate all surfaces of an image as described at the top of this module.

    Args:
        model: the model with the image.
        targets: the surfaces; their masks do not overlap.
        valid: bool [H, W], ``False`` at ignored pixels.
        protocol: thresholds, ``n_max`` and ``first_pass``.
        first_visits: by surface id, first visits known from the NoC runs, which need no second run of the
            model.
    """
    run = _JointRun(model, targets, valid, protocol, first_visits or {})
    if protocol.first_pass == "all":
        for surface_id in sorted(run.surfaces):
            run.visit(surface_id)
    while run.surfaces and mean(run.ious.values()) < protocol.nocms_mean_iou:
        open_ids = [i for i in run.surfaces if run.is_open(i)]
        if not open_ids:
            break
        run.visit(min(open_ids, key=lambda i: (run.ious[i], i)))
    return JointAnnotation(tuple(run.outcome(i) for i in sorted(run.surfaces)), tuple(run.visits))


class _JointRun:
    """State of one image between two visits."""

    def __init__(
        self,
        model: ClickModel,
        targets: Sequence[SurfaceTarget],
        valid: Mask,
        protocol: EvaluationProtocol,
        first_visits: Mapping[int, FirstVisit],
    ) -> None:
        self.surfaces = {target.id: SimulatedSurface(target, valid) for target in targets}
        self.joint: JointMap = empty_joint_map((valid.shape[0], valid.shape[1]))
        self.ious = {surface_id: self._iou_in_joint(surface_id) for surface_id in self.surfaces}
        self.visits: list[Visit] = []
        self._model = model
        self._protocol = protocol
        self._first_visits = first_visits

    def _iou_in_joint(self, surface_id: int) -> float:
        return self.surfaces[surface_id].iou(self.joint == surface_id)

    def is_open(self, surface_id: int) -> bool:
        """May this surface be visited?"""
        surface = self.surfaces[surface_id]
        return (
            self.ious[surface_id] < self._protocol.nocms_iou
            and len(surface.clicks) < self._protocol.n_max
            and not surface.is_exhausted
        )

    def visit(self, surface_id: int) -> None:
        """Click one surface until it is good or has used up its clicks, and paste it."""
        surface = self.surfaces[surface_id]
        clicks_before = len(surface.clicks)
        first_visit = self._first_visits.get(surface_id)
        if clicks_before == 0 and first_visit is not None:
            surface.replay(first_visit)
            mask = first_visit.mask
        else:
            mask = self._click(surface)
        self.joint = paste(self.joint, surface_id, mask)
        self.ious = {i: self._iou_in_joint(i) for i in self.surfaces}
        self.visits.append(Visit(surface_id, len(surface.clicks) - clicks_before, self.ious[surface_id]))

    def _click(self, surface: SimulatedSurface) -> Mask:
        mask: Mask = self.joint == surface.target.id
        previous = self._model.as_previous(mask) if surface.clicks else None
        for step in surface.visit(self._model, mask, previous, self._protocol.n_max):
            mask = step.mask
            if step.iou >= self._protocol.nocms_iou:
                break
        return mask

    def outcome(self, surface_id: int) -> JointSurface:
        surface, final = self.surfaces[surface_id], self.ious[surface_id]
        own_visits = [visit for visit in self.visits if visit.surface_id == surface_id]
        left_with = own_visits[-1].iou if own_visits else final
        goal, n_max = self._protocol.nocms_iou, self._protocol.n_max
        is_failed = (len(surface.clicks) >= n_max or surface.is_exhausted) and final < goal
        return JointSurface(
            surface_id=surface_id,
            visits=len(own_visits),
            clicks_used=len(surface.clicks),
            clicks_counted=n_max if is_failed else len(surface.clicks),
            iou=final,
            damage=left_with - final,
            is_failed=is_failed,
            is_damaged=left_with >= goal > final,
        )
