"""What a result means: every choice that changes a number, in one object that is stored with the numbers.

Paper symbol -> our name: ``N_max`` -> ``n_max``; ``t_IoU``, ``t_avg`` of NoCMS -> ``nocms_iou``,
``nocms_mean_iou``; ``tau`` of MIST -> ``clicks_per_surface``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from mmms_client.errors import UsageError
from mmms_client.json_place import Place
from mmms_client.typed_json import read_object

FirstPass = Literal["worst", "all"]
Zoom = Literal["none", "ritm"]
MistStrategy = Literal["best", "worst", "random", "worst-with-limit", "round-robin", "max-dt"]
MistFuse = Literal["final", "each"]
MIST_STRATEGIES: tuple[MistStrategy, ...] = get_args(MistStrategy)


@dataclass(frozen=True)
class MistProtocol:
    """How MIST is done; :mod:`mmms_eval.mist` says what each choice means."""

    strategies: tuple[MistStrategy, ...] = ("worst",)  # which surface is refined next; each is a run of its own
    clicks_per_surface: int = 10  # tau: times the surfaces of an image it is the budget that they share
    iou: float = 0.85  # fraction; a surface is done there
    fuse: MistFuse = "final"  # one argmax at the end, or after each click
    seed: int = 0  # of the strategies that draw: random and round-robin
    spacing_px: int = 5  # no click within this distance of an earlier one; 0: just not the same pixel again

    def __post_init__(self) -> None:
        listed, known = self.strategies, ", ".join(MIST_STRATEGIES)
        _check(all(s in MIST_STRATEGIES for s in listed), f"MIST strategies of {known}", ", ".join(listed), "--mist")
        _check(len(listed) == len(set(listed)) > 0, "each MIST strategy once", ", ".join(listed) or "none", "--mist")
        _check(self.fuse in get_args(MistFuse), "to fuse final or each", repr(self.fuse), "--mist-fuse")
        clicks = self.clicks_per_surface
        _check(clicks >= 1, "at least 1 MIST click per surface", clicks, "--mist-clicks")
        _check(0 < self.iou <= 1, "a MIST IoU above 0 and up to 1", self.iou, "--mist-iou")
        _check(self.spacing_px >= 0, "a spacing of MIST clicks from 0 px", self.spacing_px, "--mist-spacing")

    def describe(self) -> str:
        """All choices in one line."""
        return (
            f"MIST {'/'.join(self.strategies)} with {self.clicks_per_surface} clicks per surface to IoU "
            f"{percent(self.iou)}, fuse {self.fuse}, seed {self.seed}, clicks more than {self.spacing_px} px apart"
        )


@dataclass(frozen=True)
class EvaluationProtocol:
    """How an evaluation is done. All IoUs are fractions in [0, 1]."""

    iou_thresholds: tuple[float, ...] = (0.60, 0.70, 0.80, 0.85, 0.90, 0.95)  # the t of NoC@t
    n_max: int = 20  # clicks per surface, over all visits
    mask_threshold: float = 0.5  # a pixel is inside if its probability is strictly greater (RITM's code: 0.49)
    stop_iou: float | None = None  # end a surface's trace there; None: always n_max clicks, so that IoU@k is exact
    nocms_iou: float = 0.80  # a visit ends there
    nocms_mean_iou: float = 0.70  # an image ends there
    first_pass: FirstPass = "worst"  # "all": every surface once, in id order, before worst first
    smallest_area_px: int = 1  # smaller surfaces are left out, and counted
    modalities: tuple[str, ...] | None = None  # None: all that both the data and the model have
    mean_iou_after: tuple[int, ...] = (1, 3, 5, 20)  # clicks after which a mean IoU is reported
    flip: bool = False  # answer with the mean of the image and its mirror image
    zoom: Zoom = "none"  # "ritm": encode the region around the predicted mask again, after the first click
    resolution: int | None = None  # network size that was asked for, px; None: whatever the model has
    mist: MistProtocol | None = None  # None: MIST is not evaluated

    def __post_init__(self) -> None:
        _check(self.n_max >= 1, "at least 1 click per surface", self.n_max, "--n-max")
        _check(
            self.smallest_area_px >= 1,
            "a smallest area of at least 1 px",
            self.smallest_area_px,
            "--min-area",
        )
        _check(
            0 <= self.mask_threshold < 1,
            "a mask threshold from 0 up to below 1",
            self.mask_threshold,
            "--threshold",
        )
        for value in (*self.iou_thresholds, self.nocms_iou):
            _check(0 < value <= 1, "IoU thresholds above 0 and up to 1", value, "the thresholds")
        ordered = 0 < self.nocms_mean_iou < self.nocms_iou
        _check(
            ordered,
            "a mean IoU below the IoU of NoCMS",
            f"{self.nocms_mean_iou:g} and {self.nocms_iou:g}",
            "--nocms IOU,MEAN",
        )
        if self.stop_iou is not None:
            highest = max(*self.iou_thresholds, self.nocms_iou)
            _check(
                self.stop_iou >= highest,
                f"a stop IoU of at least {highest:g}, the highest threshold",
                self.stop_iou,
                "--stop-iou",
            )

    @property
    def nocms_label(self) -> str:
        """The thresholds as the paper writes them, such as ``(80,70)``."""
        return f"({percent(self.nocms_iou)},{percent(self.nocms_mean_iou)})"

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> EvaluationProtocol:
        """Inverse of :meth:`to_json`; errors as of :meth:`read`."""
        return cls.read(Place("the protocol", "", document))

    @classmethod
    def read(cls, place: Place) -> EvaluationProtocol:
        """Inverse of :meth:`to_json`. Raises :class:`mmms_client.errors.SessionFormatError` with the place, and
        :class:`UsageError` for choices that make no sense."""
        return read_object(place, cls)

    def describe(self) -> str:
        """The protocol in one line, as printed above a table."""
        modalities = "all" if self.modalities is None else ", ".join(self.modalities) or "none"
        return (
            f"N_max {self.n_max}, mask p > {self.mask_threshold:g}, NoCMS {self.nocms_label} first pass "
            f"{self.first_pass}, surfaces from {self.smallest_area_px} px, modalities: {modalities}, "
            f"flip {'on' if self.flip else 'off'}, zoom {'off' if self.zoom == 'none' else self.zoom}"
            + (f", traces end at IoU {self.stop_iou:g}" if self.stop_iou is not None else "")
            + (f", {self.mist.describe()}" if self.mist is not None else "")
        )


def percent(fraction: float) -> str:
    """0.85 -> ``85``."""
    return f"{100 * fraction:.6g}"


def _check(holds: bool, expected: str, got: object, where: str) -> None:
    if not holds:
        raise UsageError(f"Expected {expected} but got {got}; change {where}.")
