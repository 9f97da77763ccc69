"""NoCMS and FRMS on strips of 1 x 12 pixels, worked out by hand.

Surface 1 owns pixels 0 and 1, surface 2 owns pixels 2 to 11. The model is a script: which pixels it answers
depends on the surface (the owner of its first click) and on how many clicks there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.joint_mask import Mask
from mmms_eval.baselines import VoronoiPredictor
from mmms_eval.datasets.sample import Sample, SurfaceTarget
from mmms_eval.metrics import mean, noc
from mmms_eval.nocms import JointAnnotation, Visit, annotate_jointly
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.surface_simulation import Probabilities, TimedModel, trace_surface

WIDTH = 12
LABELS = np.array([[1, 1] + [2] * 10], np.int32)
VALID = np.ones((1, WIDTH), np.bool_)


def strip(pixels: Iterable[int]) -> Mask:
    mask = np.zeros((1, WIDTH), np.bool_)
    mask[0, list(pixels)] = True
    return mask


ONE, TWO, ALL, NONE = strip([0, 1]), strip(range(2, 12)), strip(range(12)), strip([])
HALF_OF_TWO = strip(range(2, 7))
TARGETS = [SurfaceTarget(1, "small", ONE, 2), SurfaceTarget(2, "large", TWO, 10)]


class Script:
    """Answers ``answers[surface][number of clicks - 1]`` and keeps what it was asked."""

    def __init__(self, answers: dict[int, list[Mask]], labels: NDArray[np.int32] = LABELS) -> None:
        self.answers = answers
        self.labels = labels
        self.asked: list[tuple[int, list[Click], Probabilities | None]] = []

    def answer(self, clicks: Sequence[Click], previous: Probabilities | None) -> tuple[Mask, Probabilities]:
        surface_id = int(self.labels[0, int(clicks[0].x_px)])
        self.asked.append((surface_id, list(clicks), previous))
        mask = self.answers[surface_id][len(clicks) - 1]
        return mask, self.as_previous(mask)

    def as_previous(self, mask: Mask) -> Probabilities:
        return mask.astype(np.float32)


def run(answers: dict[int, list[Mask]], **choices: object) -> tuple[JointAnnotation, Script]:
    script = Script(answers)
    protocol = EvaluationProtocol(**choices)  # type: ignore[arg-type]
    return annotate_jointly(script, TARGETS, VALID, protocol), script


def nocms(annotation: JointAnnotation) -> float:
    return mean(surface.clicks_counted for surface in annotation.surfaces)


def frms(annotation: JointAnnotation) -> float:
    return 100 * mean(float(surface.is_failed) for surface in annotation.surfaces)


def test_an_overlap_forces_a_revisit() -> None:
    """Visit 1 (tie at IoU 0, lowest id): surface 1, one click, IoU 1; mean 0.5.
    Visit 2: surface 2, IoU 0.5 after one click, 10/12 after two; its mask swallows surface 1; mean 0.42.
    Visit 3: surface 1 again, at its other pixel, IoU 1; surface 2 is then exact as well; mean 1."""
    annotation, _ = run({1: [ONE, ONE], 2: [HALF_OF_TWO, ALL]})
    assert annotation.visits == (Visit(1, 1, 1.0), Visit(2, 2, 10 / 12), Visit(1, 1, 1.0))
    assert nocms(annotation) == 2.0  # (2 + 2) / 2, where NoC@80 is (1 + 2) / 2
    assert frms(annotation) == 0.0
    small, large = annotation.surfaces
    assert (small.visits, small.iou, small.damage) == (2, 1.0, 0.0)
    assert (large.visits, large.iou) == (1, 1.0)
    assert large.damage == pytest.approx(10 / 12 - 1)  # the revisit of surface 1 helped it


def test_the_example_of_the_documentation() -> None:
    """docs/protocol.md: NoC@80 of the same answers, and what one click per surface makes of them."""
    answers = {1: [ONE, ONE], 2: [HALF_OF_TWO, ALL]}
    traces = [trace_surface(Script(answers), target, VALID, EvaluationProtocol(n_max=2))[0] for target in TARGETS]
    assert traces[0].ious[0] == 1.0 and traces[1].ious[:2] == (0.5, 10 / 12)
    assert mean(noc(trace.ious, 0.8, 20) for trace in traces) == 1.5
    annotation, _ = run(answers, n_max=1)
    assert [surface.iou for surface in annotation.surfaces] == [1.0, 0.5]
    assert frms(annotation) == 50.0


def test_a_revisit_keeps_the_clicks_and_starts_from_the_joint_map() -> None:
    _, script = run({1: [ONE, ONE], 2: [HALF_OF_TWO, ALL]})
    surface_id, clicks, previous = script.asked[-1]
    assert (surface_id, clicks) == (1, [Click(0, 0), Click(1, 0)])  # pixel 0 is not clicked twice
    assert previous is not None
    assert not previous.any()  # surface 2 had swallowed it all


def test_an_overshoot_within_a_visit_does_not_eat_the_neighbour() -> None:
    """Surface 2 overshoots, then answers itself: pasted live, surface 1 would be lost."""
    annotation, _ = run({1: [ONE], 2: [strip(range(7)), TWO]})
    assert annotation.visits == (Visit(1, 1, 1.0), Visit(2, 2, 1.0))
    assert annotation.surfaces[0].iou == 1.0


def test_success_at_the_last_click_is_a_success_and_too_few_clicks_a_failure() -> None:
    annotation, _ = run({1: [ONE], 2: [HALF_OF_TWO]}, n_max=1, nocms_mean_iou=0.79)
    small, large = annotation.surfaces
    assert (small.clicks_used, small.is_failed) == (1, False)
    assert (large.clicks_used, large.is_failed, large.iou) == (
        1,
        True,
        0.5,
    )  # its mask is pasted all the same
    assert frms(annotation) == 50.0


def test_a_surface_below_the_goal_with_clicks_left_has_not_failed() -> None:
    answers = {1: [ONE], 2: [HALF_OF_TWO, HALF_OF_TWO, TWO]}
    annotation, _ = run(answers, nocms_mean_iou=0.3)
    assert annotation.visits == (Visit(1, 1, 1.0),)
    assert (annotation.surfaces[1].iou, annotation.surfaces[1].is_failed) == (0.0, False)


def test_damage_to_a_surface_without_clicks_left_is_a_failure_and_told_apart() -> None:
    annotation, _ = run({1: [ONE], 2: [ALL]}, n_max=1)
    small, large = annotation.surfaces
    assert (small.is_failed, small.is_damaged, small.damage) == (True, True, 1.0)
    assert (large.is_failed, large.is_damaged) == (False, False)


def test_the_mean_can_pass_before_every_surface_was_visited() -> None:
    answers = {1: [ONE], 2: [TWO]}
    worst, _ = run(answers, nocms_mean_iou=0.5)
    assert [surface.visits for surface in worst.surfaces] == [1, 0]
    assert nocms(worst) == 0.5
    every, _ = run(answers, nocms_mean_iou=0.5, first_pass="all")
    assert [surface.visits for surface in every.surfaces] == [1, 1]
    assert nocms(every) == 1.0


def test_nothing_left_to_click_ends_a_surface_as_failed() -> None:
    annotation, _ = run({1: [NONE, NONE, NONE], 2: [TWO]})
    small, large = annotation.surfaces
    assert (small.clicks_used, small.clicks_counted, small.is_failed) == (2, 20, True)
    assert not large.is_failed


def test_the_smallest_iou_is_visited_next_not_the_lowest_id() -> None:
    """Surface 2 takes half of surface 1 (IoU 0.5), but surface 3, at 0, has to be next."""
    labels = np.array([[1, 1] + [2] * 8 + [3] * 2], np.int32)
    masks = {1: ONE, 2: strip(range(1, 10)), 3: strip([10, 11])}
    targets = [SurfaceTarget(i, str(i), np.asarray(labels == i), int((labels == i).sum())) for i in masks]
    script = Script({i: [mask] for i, mask in masks.items()}, labels)
    annotation = annotate_jointly(script, targets, VALID, EvaluationProtocol())
    assert [visit.surface_id for visit in annotation.visits] == [1, 2, 3]
    assert [surface.iou for surface in annotation.surfaces] == [0.5, 8 / 9, 1.0]
    assert [surface.is_damaged for surface in annotation.surfaces] == [True, False, False]


def test_an_image_without_surfaces_needs_no_click() -> None:
    annotation = annotate_jointly(Script({}), [], VALID, EvaluationProtocol())
    assert annotation == JointAnnotation((), ())


@pytest.mark.parametrize("n_max", [1, 3, 20])
def test_first_visits_taken_from_the_noc_runs_change_nothing(n_max: int) -> None:
    rng = np.random.default_rng(3)
    protocol = EvaluationProtocol(n_max=n_max)
    predictor = VoronoiPredictor()
    for _ in range(6):
        coarse = rng.integers(0, 5, (4, 4))
        labels = np.kron(coarse, np.ones((6, 6), np.int32)).astype(np.int32)
        sample = Sample("x", np.zeros((24, 24, 3), np.uint8), {}, labels)
        model = TimedModel(predictor, predictor.encode(sample.image), 0.5)
        targets = sample.surfaces()
        first_visits = {t.id: trace_surface(model, t, sample.valid, protocol)[1] for t in targets}
        with_replay = annotate_jointly(model, targets, sample.valid, protocol, first_visits)
        assert with_replay == annotate_jointly(model, targets, sample.valid, protocol)
        assert len(with_replay.visits) >= len(targets) - 2
