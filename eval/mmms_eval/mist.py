"""MIST, the multi-instance interactive segmentation task of DynaMITe (Rana et al. 2023, sections 4 and 5.1).

Paper symbol -> our name: ``o_i`` -> surface; ``tau`` -> ``clicks_per_surface``; NCI, NFO, NFI -> fields of
:class:`mmms_eval.summary.MistSummary`.

The rule: every surface gets one positive click, then a strategy picks a surface that is below the IoU goal,
and the next click goes to the deepest point of its errors, until no surface is below the goal or the image's
budget of ``clicks_per_surface`` x number of surfaces is spent. The budget is shared: one surface may use up
what the others left. A click belongs to whatever the ground truth has at that pixel, and to the whole image:
it is positive for its owner and negative for every other surface; on the background it is negative for all.

How a model of one surface takes part (the paper adapts FocalClick): each surface keeps its own probabilities
and previous mask. With ``fuse="final"`` the IoUs that guide the clicks are those of each surface on its own,
and :func:`fuse` makes one label map of all probabilities at the very end. With ``"each"`` the label map is
made after every click, and all IoUs and next clicks come from it; what a surface gets back as its previous
mask stays its own.

What the paper leaves open, and how it is decided here:

- All initial clicks are set before the first answer, so each surface knows those of the others as negative.
- After a click only those surfaces are asked again whose mask is wrong at the clicked pixel. The others keep
  their answer; the click is in their list when their turn comes.
- The initial click is that of :func:`mmms_eval.click_simulation.next_click`. Later clicks keep more than
  ``spacing_px`` away from every earlier click of the image (the reference code's default is 5 px, too).
- Results are those of the fused label map. A surface that only the last argmax takes below the goal has
  failed, even if there was budget left; ``iou_alone`` tells such surfaces apart.
- A failed image counts its whole budget, as in the paper; success exactly at the last click is a success.
- A surface without a pixel that counts (empty, or ignored everywhere) is left out: it gets no click and adds
  nothing to the budget. Hence no IoU is 0 / 0.
- A surface at which nothing is left to click is passed over. When that holds for all surfaces below the goal,
  the image ends, failed. (The reference code clicks at pixel (0, 0) then, or never ends.)
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.errors import UsageError
from mmms_client.joint_mask import BACKGROUND, JointMap, Mask, empty_joint_map
from mmms_client.json_place import Place
from mmms_client.typed_json import read_object, read_value
from mmms_eval.click_simulation import next_click
from mmms_eval.datasets.sample import SurfaceTarget
from mmms_eval.metrics import iou
from mmms_eval.mist_strategies import order_of_choice
from mmms_eval.protocol import MistProtocol, MistStrategy
from mmms_eval.surface_simulation import Probabilities

Plane = NDArray[np.float32]  # [H, W], image pixels


class ProbabilityModel(Protocol):
    """A model of one surface that has already seen one image."""

    def probabilities(self, clicks: Sequence[Click], previous: Probabilities | None) -> tuple[Plane, Probabilities]:
        """Probabilities for all clicks so far, float32 [H, W] in [0, 1], and the next ``previous``."""
        ...


_Row = tuple[int, int, int, int]


@dataclass(frozen=True)
class MistClick:
    """One click of the image: where, whose pixel it is (0: background), and which surface it was to refine."""

    x_px: int
    y_px: int
    owner_id: int
    refined_id: int  # the owner for initial clicks and for max-dt, which picks no surface


@dataclass(frozen=True)
class MistSurface:
    """What became of one surface. IoUs are fractions in [0, 1]."""

    surface_id: int
    iou: float  # in the final label map
    iou_alone: float  # what guided the clicks: without the last argmax if that is the only one
    is_failed: bool  # ``iou`` is below the goal


@dataclass(frozen=True)
class MistAnnotation:
    """The whole image under one strategy: surfaces by ascending id, clicks in time order, the initial ones first."""

    strategy: MistStrategy
    surfaces: tuple[MistSurface, ...]
    clicks: tuple[MistClick, ...]
    budget: int

    @property
    def is_failed(self) -> bool:
        """At least one surface has failed."""
        return any(surface.is_failed for surface in self.surfaces)

    @property
    def clicks_counted(self) -> int:
        """What NCI divides by the number of surfaces: the clicks used, all of the budget if failed."""
        return self.budget if self.is_failed else len(self.clicks)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: clicks are ``[x_px, y_px, owner_id, refined_id]``."""
        return {
            "strategy": self.strategy,
            "budget": self.budget,
            "clicks": [[click.x_px, click.y_px, click.owner_id, click.refined_id] for click in self.clicks],
            "surfaces": [asdict(surface) for surface in self.surfaces],
        }

    @classmethod
    def read(cls, place: Place) -> MistAnnotation:
        """Inverse of :meth:`to_json`. Raises :class:`mmms_client.errors.SessionFormatError`."""
        fields = place.fields(("strategy", "surfaces", "clicks", "budget"))
        clicks: tuple[_Row, ...] = read_value(fields["clicks"], tuple[_Row, ...])
        return cls(
            strategy=read_value(fields["strategy"], MistStrategy),
            surfaces=tuple(read_object(surface, MistSurface) for surface in fields["surfaces"].items()),
            clicks=tuple(MistClick(*row) for row in clicks),
            budget=fields["budget"].integer(0),
        )


def check_budget(contract: ModelContract, surfaces: int, protocol: MistProtocol, key: str) -> None:
    """Raise :class:`UsageError` if the clicks of image ``key`` may become more than the model takes at once.

    Every surface is given all clicks of the image, so the whole budget has to fit.
    """
    budget, most = protocol.clicks_per_surface * surfaces, contract.max_clicks
    if budget > most:
        advice = f"lower --mist-clicks to {most // surfaces}" if surfaces <= most else "raise --min-area"
        raise UsageError(
            f"Expected a MIST budget of at most {most} clicks per image, the most that the model takes, but got "
            f"{budget} ({protocol.clicks_per_surface} for each of {surfaces} surfaces) for {key!r}; {advice}."
        )


def annotate_mist(
    model: ProbabilityModel,
    targets: Sequence[SurfaceTarget],
    valid: Mask,
    protocol: MistProtocol,
    strategy: MistStrategy,
    mask_threshold: float,
    key: str = "",
) -> MistAnnotation:
    """Annotate all surfaces of an image as described at the top of this module.

    Args:
        model: the model with the image.
        targets: the surfaces; their masks do not overlap.
        valid: bool [H, W], ``False`` at ignored pixels.
        protocol: budget, IoU goal and how to fuse; its list of strategies is not looked at.
        strategy: which surface is refined next.
        mask_threshold: a pixel is inside if its probability is strictly greater.
        key: of the image; together with ``protocol.seed`` it decides what a strategy draws, so that an image
            gives the same on its own and in any order.
    """
    run = _MistRun(model, targets, valid, protocol, strategy, mask_threshold)
    run.begin()
    rng = random.Random(f"{protocol.seed} {key}")
    while len(run.clicks) < run.budget and run.open_ious():
        click = run.deepest_error() if strategy == "max-dt" else run.next_click(rng)
        if click is None:
            break
        run.give(click)
    return run.outcome()


def fuse(planes: Mapping[int, Plane], mask_threshold: float) -> JointMap:
    """One label map uint16 [H, W] of the probabilities float32 [H, W] of all surfaces, by their ids.

    Each pixel goes to the surface with the highest probability there, a tie to the lowest id; it is background
    (0) where none is strictly above the threshold. A probability that is NaN is outside.
    """
    first = next(iter(planes.values()))
    joint = empty_joint_map((first.shape[0], first.shape[1]))
    highest = np.full(first.shape, mask_threshold, np.float32)
    for surface_id in sorted(planes):
        higher = planes[surface_id] > highest
        joint[higher] = surface_id
        highest[higher] = planes[surface_id][higher]
    return joint


class _Surface:
    """One surface: its ground truth, the last answer of the model, and the mask that counts for now."""

    def __init__(self, target: SurfaceTarget) -> None:
        self.target = target
        self.plane: Plane = np.zeros(target.mask.shape, np.float32)
        self.previous: Probabilities | None = None
        self.mask: Mask = np.zeros(target.mask.shape, np.bool_)
        self.iou = 0.0


class _MistRun:
    """State of one image between two clicks."""

    def __init__(
        self,
        model: ProbabilityModel,
        targets: Sequence[SurfaceTarget],
        valid: Mask,
        protocol: MistProtocol,
        strategy: MistStrategy,
        mask_threshold: float,
    ) -> None:
        counting = [target for target in targets if (target.mask & valid).any()]
        self.surfaces = {target.id: _Surface(target) for target in sorted(counting, key=lambda target: target.id)}
        self.clicks: list[MistClick] = []
        self.budget = protocol.clicks_per_surface * len(self.surfaces)
        self._model = model
        self._valid = valid
        self._protocol = protocol
        self._strategy = strategy
        self._mask_threshold = mask_threshold
        self._unclicked: Mask = np.ones(valid.shape, np.bool_)
        self._labels = empty_joint_map((valid.shape[0], valid.shape[1]))
        for target in targets:
            self._labels[target.mask] = target.id

    def begin(self) -> None:
        """One positive click on each surface, then the first answers."""
        for surface_id, surface in self.surfaces.items():
            click = next_click(surface.target.mask, surface.mask, self._valid)
            assert click is not None, "a surface without a valid pixel was left out"
            self._remember(self._owned(click, surface_id))
        self._ask(self.surfaces.values())

    def open_ious(self) -> dict[int, float]:
        """Current IoU by surface id, of the surfaces that are below the goal."""
        return {i: surface.iou for i, surface in self.surfaces.items() if surface.iou < self._protocol.iou}

    def next_click(self, rng: random.Random) -> MistClick | None:
        """The click at the first surface of the strategy's choice that has something left to click."""
        refined = [click.refined_id for click in self.clicks[len(self.surfaces) :]]
        limit = self._protocol.clicks_per_surface
        for surface_id in order_of_choice(self._strategy, self.open_ious(), refined, limit, rng):
            surface = self.surfaces[surface_id]
            click = next_click(surface.target.mask, surface.mask, self._valid, self._unclicked)
            if click is not None:
                return self._owned(click, surface_id)
        return None

    def deepest_error(self) -> MistClick | None:
        """max-dt: the click at the deepest point of all pixels at which any surface is wrong."""
        wrong: Mask = np.zeros(self._valid.shape, np.bool_)
        for surface in self.surfaces.values():
            wrong |= surface.mask != surface.target.mask
        click = next_click(wrong, np.zeros_like(wrong), self._valid, self._unclicked)
        return None if click is None else self._owned(click, None)

    def give(self, click: MistClick) -> None:
        """Add a click and ask every surface again whose mask is wrong there."""
        self._remember(click)
        place = click.y_px, click.x_px

        def is_news(surface: _Surface) -> bool:
            belongs = surface.target.id == click.owner_id
            alone = surface.plane[place] > self._mask_threshold
            return bool(alone != belongs or surface.mask[place] != belongs)

        self._ask(surface for surface in self.surfaces.values() if is_news(surface))

    def outcome(self) -> MistAnnotation:
        ended = []
        joint = self._fused() if self.surfaces else self._labels
        for surface_id, surface in self.surfaces.items():
            final = iou(joint == surface_id, surface.target.mask, self._valid)
            ended.append(MistSurface(surface_id, final, surface.iou, final < self._protocol.iou))
        return MistAnnotation(self._strategy, tuple(ended), tuple(self.clicks), self.budget)

    def _owned(self, click: Click, refined_id: int | None) -> MistClick:
        x, y = int(click.x_px), int(click.y_px)
        owner_id = int(self._labels[y, x])
        if owner_id not in self.surfaces:
            owner_id = BACKGROUND
        return MistClick(x, y, owner_id, owner_id if refined_id is None else refined_id)

    def _remember(self, click: MistClick) -> None:
        self.clicks.append(click)
        y, x = np.ogrid[: self._valid.shape[0], : self._valid.shape[1]]
        self._unclicked &= (x - click.x_px) ** 2 + (y - click.y_px) ** 2 > self._protocol.spacing_px**2

    def _ask(self, surfaces: Iterable[_Surface]) -> None:
        """Answers of these surfaces to all clicks so far; masks and IoUs of all that they change."""
        asked = list(surfaces)
        for surface in asked:
            own = [Click(c.x_px, c.y_px, c.owner_id == surface.target.id) for c in self.clicks]
            plane, surface.previous = self._model.probabilities(own, surface.previous)
            surface.plane = np.asarray(plane)
            surface.mask = np.asarray(surface.plane > self._mask_threshold)
        if self._protocol.fuse == "each" and self.surfaces:
            joint, asked = self._fused(), list(self.surfaces.values())
            for surface in asked:
                surface.mask = np.asarray(joint == surface.target.id)
        for surface in asked:
            surface.iou = iou(surface.mask, surface.target.mask, self._valid)

    def _fused(self) -> JointMap:
        return fuse({i: surface.plane for i, surface in self.surfaces.items()}, self._mask_threshold)
