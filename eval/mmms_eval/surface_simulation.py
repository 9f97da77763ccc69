"""Simulated annotation of one surface: click, answer, IoU, next click. NoC and NoCMS both run through here.
MIST, whose clicks belong to all surfaces at once, shares the model with them: see :mod:`mmms_eval.mist`.

The answer of one click is the previous mask of the next (as probabilities at network size). IoUs are computed
at image size: probabilities are brought there bilinearly, and a pixel is inside if it is strictly above the
threshold.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.joint_mask import Mask
from mmms_client.predictor import Encoded, Predictor
from mmms_eval.click_simulation import SimulatedAnnotator
from mmms_eval.datasets.sample import SurfaceTarget
from mmms_eval.metrics import iou
from mmms_eval.protocol import EvaluationProtocol

Probabilities = NDArray[np.float32]  # [S, S], network pixels


class ClickModel(Protocol):
    """A model that has already seen one image."""

    def answer(self, clicks: Sequence[Click], previous: Probabilities | None) -> tuple[Mask, Probabilities]:
        """The mask bool [H, W] for all clicks of a surface so far, and the next ``previous``."""
        ...

    def as_previous(self, mask: Mask) -> Probabilities:
        """A mask bool [H, W] as the ``previous`` to start from."""
        ...


class TimedModel:
    """A predictor with one encoded image; notes the milliseconds of each ``predict``."""

    def __init__(self, predictor: Predictor, encoded: Encoded, mask_threshold: float) -> None:
        self._predictor = predictor
        self._encoded = encoded
        self._mask_threshold = mask_threshold
        self.click_ms: list[float] = []

    def answer(self, clicks: Sequence[Click], previous: Probabilities | None) -> tuple[Mask, Probabilities]:
        at_image_size, probabilities = self.probabilities(clicks, previous)
        return np.asarray(at_image_size > self._mask_threshold), probabilities

    def probabilities(
        self, clicks: Sequence[Click], previous: Probabilities | None
    ) -> tuple[NDArray[np.float32], Probabilities]:
        """The probabilities for all clicks of a surface so far: float32 [H, W] at image size, and the next
        ``previous``."""
        start_s = time.perf_counter()
        probabilities = self._predictor.predict(self._encoded, clicks, previous)
        self.click_ms.append(1e3 * (time.perf_counter() - start_s))
        return self._encoded.frame.probabilities_to_image(probabilities), probabilities

    def as_previous(self, mask: Mask) -> Probabilities:
        return self._encoded.frame.mask_to_network(mask)


@dataclass(frozen=True)
class Step:
    """One click and what came back: IoU in [0, 1] and the mask bool [H, W]."""

    click: Click
    iou: float
    mask: Mask = field(repr=False)


class SimulatedSurface:
    """One surface while it is annotated: its clicks so far, over all visits."""

    def __init__(self, target: SurfaceTarget, valid: Mask) -> None:
        self.target = target
        self.valid = valid
        self.clicks: list[Click] = []
        self.is_exhausted = False  # nothing left to click, although a visit was not over
        self._annotator = SimulatedAnnotator(target.mask, valid)

    def iou(self, mask: Mask) -> float:
        return iou(mask, self.target.mask, self.valid)

    def visit(self, model: ClickModel, mask: Mask, previous: Probabilities | None, n_max: int) -> Iterator[Step]:
        """Click from ``mask`` on, until the surface has ``n_max`` clicks in all or nothing is left to click.

        The caller ends a visit earlier by not asking for the next step: a click is made only when it is asked
        for.
        """
        while len(self.clicks) < n_max:
            click = self._annotator.next_click(mask)
            if click is None:
                self.is_exhausted = True
                return
            self.clicks.append(click)
            mask, previous = model.answer(self.clicks, previous)
            yield Step(click, self.iou(mask), mask)

    def replay(self, visit: FirstVisit) -> None:
        """Take over the clicks of a first visit that was made elsewhere."""
        for click in visit.clicks:
            self._annotator.remember(click)
        self.clicks = list(visit.clicks)
        self.is_exhausted = visit.is_exhausted


@dataclass(frozen=True)
class FirstVisit:
    """How the first visit of a surface in NoCMS ends. It is the beginning of the NoC run of that surface:
    both start with no click and an empty mask, and see nothing of the other surfaces."""

    clicks: tuple[Click, ...]
    mask: Mask = field(repr=False)
    is_exhausted: bool


@dataclass(frozen=True)
class SurfaceTrace:
    """NoC run of one surface: the clicks and the IoU after each."""

    clicks: tuple[Click, ...]
    ious: tuple[float, ...]


def trace_surface(
    model: ClickModel, target: SurfaceTarget, valid: Mask, protocol: EvaluationProtocol
) -> tuple[SurfaceTrace, FirstVisit]:
    """Annotate one surface on its own, from nothing, for up to ``n_max`` clicks."""
    surface = SimulatedSurface(target, valid)
    mask: Mask = np.zeros(valid.shape, np.bool_)
    ious: list[float] = []
    first_visit: FirstVisit | None = None
    for step in surface.visit(model, mask, None, protocol.n_max):
        ious.append(step.iou)
        mask = step.mask
        if first_visit is None and step.iou >= protocol.nocms_iou:
            first_visit = FirstVisit(tuple(surface.clicks), mask, is_exhausted=False)
        if protocol.stop_iou is not None and step.iou >= protocol.stop_iou:
            break
    clicks = tuple(surface.clicks)
    return (
        SurfaceTrace(clicks, tuple(ious)),
        first_visit or FirstVisit(clicks, mask, surface.is_exhausted),
    )
