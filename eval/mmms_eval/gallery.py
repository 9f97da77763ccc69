"""The surfaces that went worst, and images whose masks got in each other's way, to look at.

Results hold clicks but no masks, so the stored clicks are given to the model once more. A model that does not answer
twice alike is caught: the IoU of the mask that is shown stands beside the measured one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmms_client.clicks import Click
from mmms_client.geometry import Region
from mmms_client.joint_mask import Mask
from mmms_client.palette import RGB, surface_colour
from mmms_client.predictor import Predictor
from mmms_eval.datasets.sample import Dataset, Sample, SurfaceTarget
from mmms_eval.metrics import iou, is_failure, noc
from mmms_eval.pictures import (
    GROUND_TRUTH,
    OVERLAP,
    PREDICTION,
    Picture,
    data_uri,
    draw,
    modality_as_picture,
    part_to_show,
)
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.results import ImageResult, SurfaceResult
from mmms_eval.runner import Evaluation, usable_modalities
from mmms_eval.surface_simulation import Probabilities, TimedModel

WORST_SURFACES = 12
CONFLICT_IMAGES = 3


@dataclass(frozen=True)
class Shown:
    """A picture for the page: its caption and the address of its data."""

    caption: str
    uri: str


@dataclass(frozen=True)
class SurfaceCard:
    """One of the worst surfaces."""

    image: str
    surface: SurfaceResult
    size_hw: tuple[int, int]
    noc: int  # at the IoU of NoCMS
    is_reached: bool  # that IoU
    iou_shown: float  # of the mask in the pictures
    part: Region
    pictures: tuple[Shown, ...]


@dataclass(frozen=True)
class Overlap:
    """Pixels that the masks of two surfaces share."""

    names: tuple[str, str]
    area_px: int


@dataclass(frozen=True)
class ConflictCard:
    """One image with the masks of all its surfaces, each annotated without knowing of the others."""

    image: str
    overlap_px: int  # in two masks or more
    overlaps: tuple[Overlap, ...]  # largest first
    damaged: tuple[tuple[str, float], ...]  # names, and IoU lost to later visits of others
    colours: tuple[tuple[str, RGB], ...]
    pictures: tuple[Shown, ...]


def worst_surfaces(evaluation: Evaluation, count: int = WORST_SURFACES) -> list[tuple[ImageResult, SurfaceResult]]:
    """Most clicks to the IoU of NoCMS first, then lowest IoU at the end; ties in the order of the data set."""
    protocol = evaluation.protocol
    every = [(image, surface) for image in evaluation.results for surface in image.surfaces]

    def badness(entry: tuple[ImageResult, SurfaceResult]) -> tuple[int, float]:
        ious = entry[1].ious
        return -noc(ious, protocol.nocms_iou, protocol.n_max), ious[-1] if ious else 0.0

    return sorted(every, key=badness)[:count]


def surface_cards(
    predictor: Predictor, evaluation: Evaluation, dataset: Dataset, count: int = WORST_SURFACES
) -> list[SurfaceCard]:
    """Pictures of the worst surfaces, worst first."""
    worst = worst_surfaces(evaluation, count)
    drawn: dict[tuple[str, int], SurfaceCard] = {}
    for result in _once(image for image, _ in worst):
        replay = _Replay(predictor, evaluation, dataset, result)
        for image, surface in worst:
            if image is result:
                drawn[image.key, surface.surface_id] = _surface_card(replay, surface, evaluation.protocol)
    return [drawn[image.key, surface.surface_id] for image, surface in worst]


def conflict_cards(
    predictor: Predictor, evaluation: Evaluation, dataset: Dataset, count: int = CONFLICT_IMAGES
) -> list[ConflictCard]:
    """Pictures of images that lost most IoU to later visits of other surfaces; then those with the lowest IoUs."""

    def badness(image: ImageResult) -> tuple[float, float]:
        damage = sum(max(0.0, surface.joint.damage) for surface in image.surfaces)
        return -damage, float(np.mean([surface.joint.iou for surface in image.surfaces]))

    several = [image for image in evaluation.results if len(image.surfaces) > 1]
    worst = sorted(several, key=badness)[:count]
    cards = [_conflict_card(_Replay(predictor, evaluation, dataset, image), evaluation.protocol) for image in worst]
    return [card for card in cards if card.overlap_px > 0 or card.damaged]


class _Replay:
    """One image, encoded once more, and the masks that its stored clicks give."""

    def __init__(self, predictor: Predictor, evaluation: Evaluation, dataset: Dataset, result: ImageResult) -> None:
        self.result = result
        self.sample: Sample = dataset[_index_of(evaluation, result)]
        self.given = usable_modalities(self.sample, predictor.contract, evaluation.protocol)
        encoded = predictor.encode(self.sample.image, {name: self.sample.modalities[name] for name in self.given})
        self._model = TimedModel(predictor, encoded, evaluation.protocol.mask_threshold)

    def target(self, surface: SurfaceResult) -> SurfaceTarget:
        return next(target for target in self.sample.surfaces() if target.id == surface.surface_id)

    def mask(self, clicks: Sequence[Click]) -> Mask:
        mask: Mask = np.zeros(self.sample.labels.shape, np.bool_)
        previous: Probabilities | None = None
        for number in range(1, len(clicks) + 1):
            mask, previous = self._model.answer(clicks[:number], previous)
        return mask


def _surface_card(replay: _Replay, surface: SurfaceResult, protocol: EvaluationProtocol) -> SurfaceCard:
    sample, target = replay.sample, replay.target(surface)
    mask = replay.mask(surface.clicks)
    part = part_to_show(target.mask | mask, surface.clicks)
    truth = (target.mask, GROUND_TRUTH)
    pictures = [("image, ground truth", draw(sample.image, part, outlines=[truth]))]
    for name, values in sample.modalities.items():
        caption = name if name in replay.given else f"{name} (not given to the model)"
        picture = modality_as_picture(values, (sample.image.shape[0], sample.image.shape[1]))
        pictures.append((caption, draw(picture, part, outlines=[truth])))
    prediction = draw(
        sample.image, part, outlines=[truth, (mask, PREDICTION)], fill=(mask, PREDICTION), clicks=surface.clicks
    )
    pictures.append((f"prediction after {len(surface.clicks)} clicks", prediction))
    return SurfaceCard(
        image=sample.key,
        surface=surface,
        size_hw=replay.result.size_hw,
        noc=noc(surface.ious, protocol.nocms_iou, protocol.n_max),
        is_reached=not is_failure(surface.ious, protocol.nocms_iou, protocol.n_max),
        iou_shown=iou(mask, target.mask, sample.valid),
        part=part,
        pictures=_shown(pictures),
    )


def _conflict_card(replay: _Replay, protocol: EvaluationProtocol) -> ConflictCard:
    sample, surfaces = replay.sample, replay.result.surfaces
    masks = {s.surface_id: replay.mask(_first_visit(s, protocol)) for s in surfaces}
    names = {s.surface_id: s.name for s in surfaces}
    colours = {s.surface_id: surface_colour(s.surface_id, {}) for s in surfaces}
    shared = np.sum(list(masks.values()), axis=0) > 1
    ids = sorted(masks)
    overlaps = [
        Overlap((names[one], names[other]), int(np.count_nonzero(masks[one] & masks[other])))
        for index, one in enumerate(ids)
        for other in ids[index + 1 :]
    ]
    whole = Region(0, 0, sample.labels.shape[1], sample.labels.shape[0])
    truth = [(replay.target(s).mask, colours[s.surface_id]) for s in surfaces]
    found = [(masks[i], colours[i]) for i in ids]
    pictures = [
        ("ground truth", draw(sample.image, whole, outlines=truth)),
        ("masks before they are joined", draw(sample.image, whole, outlines=found, fill=(shared, OVERLAP))),
    ]
    return ConflictCard(
        image=sample.key,
        overlap_px=int(np.count_nonzero(shared)),
        overlaps=tuple(sorted((o for o in overlaps if o.area_px), key=lambda o: -o.area_px)),
        damaged=tuple((s.name, s.joint.damage) for s in surfaces if s.joint.damage > 0),
        colours=tuple((names[i], colours[i]) for i in ids),
        pictures=_shown(pictures),
    )


def _first_visit(surface: SurfaceResult, protocol: EvaluationProtocol) -> tuple[Click, ...]:
    """The clicks after which the surface would be pasted for the first time."""
    return surface.clicks[: noc(surface.ious, protocol.nocms_iou, protocol.n_max)]


def _shown(pictures: Sequence[tuple[str, Picture]]) -> tuple[Shown, ...]:
    return tuple(Shown(caption, data_uri(picture)) for caption, picture in pictures)


def _index_of(evaluation: Evaluation, result: ImageResult) -> int:
    """Place of an image in the data set; ``results`` leave the broken ones out."""
    broken = {image.index for image in evaluation.broken}
    places = (n for n in range(len(evaluation.results) + len(broken)) if n not in broken)
    return next(n for n, other in zip(places, evaluation.results, strict=True) if other is result)


def _once(images: Iterator[ImageResult]) -> list[ImageResult]:
    return list({image.key: image for image in images}.values())
