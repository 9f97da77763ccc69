"""Results of many images -> the numbers of a table. All surfaces of the data set are pooled, as in the
literature; the mean over images is given beside it where the paper leaves open which one it takes.

Paper symbol -> our name: NoC@t -> ``noc[t]``; NoCMS -> ``nocms``; FRMS -> ``frms_percent``; mIoU@k ->
``mean_iou_after[k]``; NCI, NFO, NFI and IoU of MIST -> fields of :class:`MistSummary`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mmms_eval.metrics import iou_after, is_failure, is_failure_ritm, mean, noc, percentage
from mmms_eval.protocol import EvaluationProtocol, MistProtocol, MistStrategy, percent
from mmms_eval.results import ImageResult, ImageTiming, SurfaceResult


@dataclass(frozen=True)
class MistSummary:
    """MIST under one strategy (DynaMITe, section 4). Images count alike, however many surfaces they have.

    Images without surfaces are left out; the means are NaN where no image has any.
    """

    nci: float  # normalised clicks per image: the mean of clicks / surfaces; a failed image counts its whole budget
    nfo: int  # failed objects: surfaces below the goal in the final label map
    nfi: int  # failed images: at least one such surface
    image_iou: float  # mean over images of the mean IoU of their surfaces, in [0, 1]
    clicks: int  # that were made, over all images
    lost_to_fusion: int  # in nfo, but at the goal before the last argmax
    unspent: int  # in nfi, although there was budget left
    surfaces: int
    images: int


@dataclass(frozen=True)
class Summary:
    """Numbers over all surfaces; NaN where there is no surface. Keys of NoC and failures are percents."""

    images: int
    images_without_surfaces: int
    surfaces: int
    surfaces_too_small: int
    noc: dict[str, float]
    failures: dict[str, int]  # never reached
    failures_ritm: dict[str, int]  # RITM's ">= 20": NoC equal to n_max
    mean_iou_after: dict[str, float]
    nocms: float
    nocms_per_image: float
    frms_percent: float
    frms_per_image_percent: float
    unvisited_percent: float
    damaged_percent: float
    failed_by_damage_percent: float  # in frms_percent, but reached the threshold in their last visit
    revisits: int
    mist: dict[MistStrategy, MistSummary]  # empty if MIST was not asked for

    def to_json(self) -> dict[str, Any]:
        """As JSON values; NaN becomes ``None``."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: plain(entry) for key, entry in value.items()}
            return None if isinstance(value, float) and value != value else value

        document: dict[str, Any] = plain(asdict(self))
        return document


def summarise(results: Sequence[ImageResult], protocol: EvaluationProtocol) -> Summary:
    """The numbers of a whole run. Does not depend on the order of ``results``."""
    surfaces = [surface for result in results for surface in result.surfaces]
    with_surfaces = [result.surfaces for result in results if result.surfaces]
    traces = [surface.ious for surface in surfaces]
    n_max, thresholds = protocol.n_max, protocol.iou_thresholds
    return Summary(
        images=len(results),
        images_without_surfaces=len(results) - len(with_surfaces),
        surfaces=len(surfaces),
        surfaces_too_small=sum(result.too_small for result in results),
        noc={percent(t): mean(noc(trace, t, n_max) for trace in traces) for t in thresholds},
        failures={percent(t): sum(is_failure(trace, t, n_max) for trace in traces) for t in thresholds},
        failures_ritm={percent(t): sum(is_failure_ritm(trace, t, n_max) for trace in traces) for t in thresholds},
        mean_iou_after={str(k): mean(iou_after(trace, k) for trace in traces) for k in protocol.mean_iou_after},
        nocms=_nocms(surfaces),
        nocms_per_image=mean(_nocms(image) for image in with_surfaces),
        frms_percent=_frms_percent(surfaces),
        frms_per_image_percent=mean(_frms_percent(image) for image in with_surfaces),
        unvisited_percent=percentage(surface.joint.visits == 0 for surface in surfaces),
        damaged_percent=percentage(surface.joint.is_damaged for surface in surfaces),
        failed_by_damage_percent=percentage(
            surface.joint.is_failed and surface.joint.is_damaged for surface in surfaces
        ),
        revisits=sum(max(0, surface.joint.visits - 1) for surface in surfaces),
        mist={s: _summarise_mist(results, s, protocol.mist) for s in protocol.mist.strategies} if protocol.mist else {},
    )


def _summarise_mist(results: Sequence[ImageResult], strategy: MistStrategy, protocol: MistProtocol) -> MistSummary:
    images = [m for result in results for m in result.mist if m.strategy == strategy and m.surfaces]
    surfaces = [surface for image in images for surface in image.surfaces]
    return MistSummary(
        nci=mean(image.clicks_counted / len(image.surfaces) for image in images),
        nfo=sum(surface.is_failed for surface in surfaces),
        nfi=sum(image.is_failed for image in images),
        image_iou=mean(mean(surface.iou for surface in image.surfaces) for image in images),
        clicks=sum(len(image.clicks) for image in images),
        lost_to_fusion=sum(surface.is_failed and surface.iou_alone >= protocol.iou for surface in surfaces),
        unspent=sum(image.is_failed and len(image.clicks) < image.budget for image in images),
        surfaces=len(surfaces),
        images=len(images),
    )


def _nocms(surfaces: Sequence[SurfaceResult]) -> float:
    return mean(surface.joint.clicks_counted for surface in surfaces)


def _frms_percent(surfaces: Sequence[SurfaceResult]) -> float:
    return percentage(surface.joint.is_failed for surface in surfaces)


RESPONSE_CLICKS = 30  # over which the paper takes the mean of its response time


def summarise_timing(timings: Sequence[ImageTiming]) -> dict[str, Any]:
    """Milliseconds as the caller saw them; ``per_click_with_encode_ms`` spreads encodes over clicks.

    ``response_ms`` is the mean of the last :data:`RESPONSE_CLICKS` clicks, when everything is warm; ``None`` if there
    were fewer.
    """
    encode_ms = [timing.encode_ms for timing in timings]
    click_ms = [ms for timing in timings for ms in timing.click_ms]
    total_ms = sum(encode_ms) + sum(click_ms)
    return {
        "encode_ms": _distribution(encode_ms),
        "click_ms": _distribution(click_ms),
        "response_ms": float(np.mean(click_ms[-RESPONSE_CLICKS:])) if len(click_ms) >= RESPONSE_CLICKS else None,
        "per_click_with_encode_ms": total_ms / len(click_ms) if click_ms else None,
    }


def _distribution(values: Sequence[float]) -> dict[str, float | int] | None:
    if not values:
        return None
    p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return {"count": len(values), "mean": float(np.mean(values)), "p50": p50, "p95": p95, "p99": p99}
