"""Is one run better than another? Differences of all metrics with paired bootstrap intervals.

The unit that is drawn is the image, because surfaces of one image share its difficulty: each resample takes as many
images as there are, with replacement, the same ones for both runs, and pools their surfaces as the table does (NCI, NFI
and IoU of MIST are means over the drawn images). The interval is that of percentiles (Efron and Tibshirani, "An
Introduction to the Bootstrap", chapter 13). Images without surfaces say nothing about either run and are left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import DataError, UsageError
from mmms_eval.datasets.sample import shorten
from mmms_eval.metrics import iou_after, is_failure, mean, noc
from mmms_eval.mist import MistAnnotation
from mmms_eval.protocol import EvaluationProtocol, MistProtocol, MistStrategy, percent
from mmms_eval.results import ImageResult
from mmms_eval.stored import StoredEvaluation

RESAMPLES = 10_000
CONFIDENCE = 0.95
FEW_IMAGES = 30  # below it, intervals of percentiles are known to be too narrow
_DRAWN_AT_ONCE = 4_000_000  # counts of images that are in memory together

OfImage = Callable[[ImageResult], tuple[float, int]]  # sum over what the metric is a mean of, and how many these are
OfAnnotation = Callable[[MistAnnotation], tuple[float, int]]


@dataclass(frozen=True)
class Metric:
    """A mean over all surfaces, or over all images. ``unit`` is "clicks" or "%"; in its own protocol each run has its
    own rule."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    of_image: tuple[OfImage, OfImage]  # of run A and of run B


@dataclass(frozen=True)
class Difference:
    """One metric of both runs. ``difference`` is B - A, ``low`` and ``high`` bound its interval."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    a: float
    b: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Which run is better, if the interval leaves no doubt."""
        if self.low <= 0 <= self.high:
            return "not shown"
        return "B better" if (self.high < 0) == (self.better == "lower") else "A better"


@dataclass(frozen=True)
class Comparison:
    """All metrics of two runs, and what they were computed from."""

    differences: tuple[Difference, ...]
    images: int  # with surfaces, in both runs
    surfaces: tuple[int, int]
    resamples: int
    seed: int
    remarks: tuple[str, ...]  # in what the runs are not the same, one line each


def compare(
    a: StoredEvaluation,
    b: StoredEvaluation,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    allow_different: bool = False,
) -> Comparison:
    """Compare two evaluations of the same images under the same protocol.

    Args:
        a, b: the runs; differences are B - A. They may differ in the modalities that the model was given: that is
            what one compares.
        resamples: number of bootstrap resamples.
        seed: of the resamples; the same seed gives the same intervals.
        allow_different: go on with other protocols (each run then keeps its own) or other images (those of both).

    Raises:
        UsageError: the protocols, the lists of images or their surfaces differ; says in what.
        DataError: fewer than two images with surfaces are in both runs.
    """
    obstacles = [*protocol_differences(a, b), *image_differences(a, b)]
    if obstacles and not allow_different:
        raise UsageError(
            f"Expected two runs with the same protocol and images but got {obstacles[0]}; measure both alike, or add "
            "--allow-different-protocol."
        )
    pairs = [(a.images[key], b.images[key]) for key in a.images if key in b.images]
    pairs = [pair for pair in pairs if all(image.surfaces for image in pair)]
    if len(pairs) < 2:
        raise DataError(
            f"Expected at least 2 images with surfaces in both runs but got {len(pairs)}; measure on more images."
        )
    metrics = metrics_of(a.protocol, b.protocol)
    measured = np.array(
        [[[m.of_image[run](image) for m in metrics] for run, image in enumerate(pair)] for pair in pairs], float
    )  # [image, run, metric, 2]
    sums, sizes = measured[..., 0], measured[..., 1]
    means = sums.sum(0) / sizes.sum(0)
    low, high = _interval(sums, sizes, resamples, seed)
    differences = tuple(
        Difference(
            m.name,
            m.unit,
            m.better,
            float(means[0, k]),
            float(means[1, k]),
            float(means[1, k] - means[0, k]),
            float(low[k]),
            float(high[k]),
        )
        for k, m in enumerate(metrics)
    )
    remarks = (*obstacles, *_mist_remark(a, b), *_modality_remark(a, b), *_few_images_remark(len(pairs)))
    surfaces = (sum(len(image.surfaces) for image, _ in pairs), sum(len(image.surfaces) for _, image in pairs))
    return Comparison(differences, len(pairs), surfaces, resamples, seed, remarks)


def metrics_of(a: EvaluationProtocol, b: EvaluationProtocol) -> list[Metric]:
    """The metrics that both protocols have."""
    both = (a, b)
    metrics = []
    for t in (t for t in a.iou_thresholds if t in b.iou_thresholds):
        metrics.append(_metric(f"NoC@{percent(t)}", "clicks", "lower", both, lambda s, p, t=t: noc(s.ious, t, p.n_max)))
    for t in (t for t in a.iou_thresholds if t in b.iou_thresholds):
        metrics.append(
            _metric(
                f"failures@{percent(t)}", "%", "lower", both, lambda s, p, t=t: 100 * is_failure(s.ious, t, p.n_max)
            )
        )
    label = a.nocms_label if a.nocms_label == b.nocms_label else f"{a.nocms_label} and {b.nocms_label}"
    metrics.append(_metric(f"NoCMS@{label}", "clicks", "lower", both, lambda s, p: s.joint.clicks_counted))
    metrics.append(_metric(f"FRMS@{label}", "%", "lower", both, lambda s, p: 100 * s.joint.is_failed))
    for k in (k for k in a.mean_iou_after if k in b.mean_iou_after):
        metrics.append(_metric(f"mIoU@{k}", "%", "higher", both, lambda s, p, k=k: 100 * iou_after(s.ious, k)))
    for strategy in _common_strategies(a, b):
        metrics += _mist_metrics(strategy)
    return metrics


def _common_strategies(a: EvaluationProtocol, b: EvaluationProtocol) -> list[MistStrategy]:
    return [s for s in a.mist.strategies if s in b.mist.strategies] if a.mist and b.mist else []


def _mist_metrics(strategy: MistStrategy) -> list[Metric]:
    """NCI and image IoU are means over images; NFO and NFI are percents here, of surfaces and of images."""

    def metric(name: str, unit: str, better: Literal["lower", "higher"], rule: OfAnnotation) -> Metric:
        def of_image(image: ImageResult) -> tuple[float, int]:
            return rule(next(annotation for annotation in image.mist if annotation.strategy == strategy))

        return Metric(f"{name} (MIST {strategy})", unit, better, (of_image, of_image))

    return [
        metric("NCI", "clicks", "lower", lambda m: (m.clicks_counted / len(m.surfaces), 1)),
        metric("NFO", "%", "lower", lambda m: (100.0 * sum(s.is_failed for s in m.surfaces), len(m.surfaces))),
        metric("NFI", "%", "lower", lambda m: (100.0 * m.is_failed, 1)),
        metric("IoU", "%", "higher", lambda m: (100 * mean(s.iou for s in m.surfaces), 1)),
    ]


def _metric(
    name: str,
    unit: str,
    better: Literal["lower", "higher"],
    protocols: tuple[EvaluationProtocol, EvaluationProtocol],
    rule: Callable[..., float],
) -> Metric:
    def pooled(protocol: EvaluationProtocol) -> OfImage:
        return lambda image: (float(sum(rule(surface, protocol) for surface in image.surfaces)), len(image.surfaces))

    in_a, in_b = map(pooled, protocols)
    return Metric(name, unit, better, (in_a, in_b))


def protocol_differences(a: StoredEvaluation, b: StoredEvaluation) -> list[str]:
    """Which choices of the protocol differ, one line each. The modalities are no such choice here; neither are MIST in
    one run alone nor its strategies, which change nothing else."""
    ours, theirs = _choices(a.protocol), _choices(b.protocol)
    return [
        f"{name} {_plain(ours[name])} in {a.file} and {_plain(theirs[name])} in {b.file}"
        for name in ours
        if name in theirs and ours[name] != theirs[name]
    ]


def _choices(protocol: EvaluationProtocol) -> dict[str, Any]:
    """By name; those of MIST are ``mist.NAME``, if there is MIST."""
    choices = {f.name: getattr(protocol, f.name) for f in dataclasses.fields(protocol) if f.name != "modalities"}
    mist: MistProtocol | None = choices.pop("mist")
    if mist is not None:
        names = [f.name for f in dataclasses.fields(mist) if f.name != "strategies"]
        choices |= {f"mist.{name}": getattr(mist, name) for name in names}
    return choices


def image_differences(a: StoredEvaluation, b: StoredEvaluation) -> list[str]:
    """In what the lists of images, or the surfaces of images, differ, one line each."""
    lines = []
    for one, other in ((a, b), (b, a)):
        missing = [key for key in one.images if key not in other.images]
        if missing:
            noun = "image" if len(missing) == 1 else "images"
            lines.append(f"{len(missing)} {noun} only in {one.file} ({shorten(missing)})")
    other_surfaces = [
        key for key in a.images if key in b.images and _surfaces(a.images[key]) != _surfaces(b.images[key])
    ]
    if other_surfaces:
        lines.append(f"other surfaces in {shorten(other_surfaces)}")
    return lines


def _surfaces(image: ImageResult) -> list[tuple[int, int]]:
    return [(surface.surface_id, surface.area_px) for surface in image.surfaces]


def _interval(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], resamples: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Percentile interval of the difference of each metric, from ``sums`` and ``sizes`` [image, run, metric]."""
    generator = np.random.default_rng(seed)
    images = len(sums)
    at_once = max(1, _DRAWN_AT_ONCE // images)
    drawn = []
    for begin in range(0, resamples, at_once):
        rows = min(at_once, resamples - begin)
        counts = generator.multinomial(images, np.full(images, 1 / images), rows).astype(float)
        mean_a, mean_b = ((counts @ sums[:, run]) / (counts @ sizes[:, run]) for run in (0, 1))
        drawn.append(mean_b - mean_a)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(np.concatenate(drawn), (tail, 100 - tail), axis=0)
    return low, high


def _mist_remark(a: StoredEvaluation, b: StoredEvaluation) -> list[str]:
    in_a, in_b = (run.protocol.mist.strategies if run.protocol.mist else () for run in (a, b))
    if set(in_a) == set(in_b):
        return []
    return [f"MIST {'/'.join(in_a) or 'not measured'} in A, {'/'.join(in_b) or 'not measured'} in B"]


def _modality_remark(a: StoredEvaluation, b: StoredEvaluation) -> list[str]:
    given_a, given_b = (sorted({n for image in run.images.values() for n in image.modalities}) for run in (a, b))
    if given_a == given_b:
        return []
    return [f"A was given {', '.join(given_a) or 'RGB alone'}, B {', '.join(given_b) or 'RGB alone'}"]


def _few_images_remark(images: int) -> list[str]:
    if images >= FEW_IMAGES:
        return []
    return [f"intervals from {images} images are narrower than they should be; measure on {FEW_IMAGES} or more"]


def _plain(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_plain, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)
