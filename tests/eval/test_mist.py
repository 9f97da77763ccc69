"""MIST on strips of 1 x 12 pixels, worked out by hand.

On the strips surface 1 owns pixels 0 to 3, surface 2 pixels 4 to 9, and 10 and 11 are background. The model is a
script: what a surface is answered depends on how often it was asked before. On a strip every error is 1 px deep, so
that a click goes to the first wrong pixel that was not clicked.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from mmms_client.clicks import Click
from mmms_eval.baselines import VoronoiPredictor
from mmms_eval.datasets.sample import Sample, SurfaceTarget
from mmms_eval.mist import MistAnnotation, MistSurface, annotate_mist, fuse
from mmms_eval.mist_strategies import order_of_choice
from mmms_eval.protocol import MIST_STRATEGIES, MistProtocol, MistStrategy
from mmms_eval.surface_simulation import Probabilities, TimedModel

WIDTH = 12
LABELS = np.array([[1] * 4 + [2] * 6 + [0] * 2], np.int32)
ONE, TWO = range(4), range(4, 10)
Plane = Any


def plane(pixels: Iterable[int], inside: float = 1.0) -> Plane:
    probabilities = np.zeros((1, WIDTH), np.float32)
    probabilities[0, list(pixels)] = inside
    return probabilities


def targets_of(labels: Any) -> list[SurfaceTarget]:
    return Sample("strip", np.zeros((*labels.shape, 3), np.uint8), {}, labels).surfaces()


class Script:
    """Answers ``answers[surface]`` one after the other, the last one for ever, and keeps what it was asked."""

    def __init__(self, answers: Mapping[int, Sequence[Plane]], labels: Any = LABELS) -> None:
        self.answers = answers
        self.labels = labels
        self.asked: list[tuple[int, list[Click], Probabilities | None]] = []

    def probabilities(self, clicks: Sequence[Click], previous: Probabilities | None) -> tuple[Plane, Probabilities]:
        first = next(click for click in clicks if click.is_positive)
        surface_id = int(self.labels[int(first.y_px), int(first.x_px)])
        times = sum(asked == surface_id for asked, _, _ in self.asked)
        self.asked.append((surface_id, list(clicks), previous))
        answer = self.answers[surface_id][min(times, len(self.answers[surface_id]) - 1)]
        return answer, answer


def annotate(
    answers: Mapping[int, Sequence[Plane]], strategy: MistStrategy = "worst", labels: Any = LABELS, **choices: Any
) -> tuple[MistAnnotation, Script]:
    script = Script(answers, labels)
    protocol = MistProtocol(**{"spacing_px": 0, "iou": 0.8, **choices})
    valid = np.asarray(labels >= 0)
    return annotate_mist(script, targets_of(labels), valid, protocol, strategy, 0.5), script


def places(annotation: MistAnnotation) -> list[tuple[int, int, int]]:
    return [(click.x_px, click.owner_id, click.refined_id) for click in annotation.clicks]


# Strategies -----------------------------------------------------------------------------------------------------------
def order(strategy: str, refined: Sequence[int] = (), limit: int = 3, seed: int = 0) -> list[int]:
    ious = {4: 0.5, 1: 0.7, 3: 0.5, 2: 0.7}
    return order_of_choice(strategy, ious, refined, limit, random.Random(seed))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("strategy", "refined", "expected"),
    [
        ("best", (), [1, 2, 3, 4]),
        ("worst", (), [3, 4, 1, 2]),
        ("worst-with-limit", (3,), [3, 4, 1, 2]),
        ("worst-with-limit", (3, 3), [4, 1, 2, 3]),  # with the initial click it has three
        ("worst-with-limit", (3, 4, 3, 4, 1, 1), [2, 1, 3, 4]),  # out of limit: the best of those first
        ("worst-with-limit", (1, 1, 2, 2, 3, 3, 4, 4), [1, 2, 3, 4]),
    ],
)
def test_the_order_in_which_surfaces_are_refined(strategy: str, refined: Sequence[int], expected: list[int]) -> None:
    """Ties go to the lowest id."""
    assert order(strategy, refined) == expected


def test_random_takes_each_open_surface_alike_and_repeats_with_its_seed() -> None:
    first = Counter(order("random", seed=seed)[0] for seed in range(400))
    assert set(first) == {1, 2, 3, 4}
    assert min(first.values()) > 60
    assert order("random", seed=5) == order("random", seed=5)
    assert sorted(order("random")) == [1, 2, 3, 4]


def test_round_robin_stays_until_the_limit_in_a_row() -> None:
    for seed in range(20):
        assert order("round-robin", (2,), seed=seed)[0] == 2
        assert order("round-robin", (2, 2, 1, 2, 2), seed=seed)[0] == 2  # two in a row
        assert order("round-robin", (2, 2, 2), seed=seed)[-1] == 2
        assert set(order("round-robin", (9,), seed=seed)) == {1, 2, 3, 4}  # 9 is done
    assert len({order("round-robin", (2, 2, 2), seed=seed)[0] for seed in range(40)}) == 3


# One image ------------------------------------------------------------------------------------------------------------
def test_every_surface_gets_a_click_that_is_negative_for_the_others() -> None:
    annotation, script = annotate({1: [plane(ONE)], 2: [plane(TWO)]})
    assert places(annotation) == [(0, 1, 1), (4, 2, 2)]
    assert script.asked == [
        (1, [Click(0, 0, True), Click(4, 0, False)], None),
        (2, [Click(0, 0, False), Click(4, 0, True)], None),
    ]
    assert annotation.surfaces == (MistSurface(1, 1.0, 1.0, False), MistSurface(2, 1.0, 1.0, False))
    assert (annotation.budget, annotation.clicks_counted, annotation.is_failed) == (20, 2, False)


def test_a_click_on_a_neighbour_is_positive_there_and_negative_for_the_surface_that_spilled() -> None:
    """Surface 1 covers all of surface 2, which misses its right half. Worst is surface 1 (4 / 10)."""
    half = plane(range(4, 7))
    annotation, script = annotate({1: [plane(range(10)), plane(ONE)], 2: [half, plane(TWO)]})
    assert places(annotation)[2:] == [(5, 2, 1), (7, 2, 2)]  # not 4: it was clicked
    asked = [(surface_id, clicks[2:], previous) for surface_id, clicks, previous in script.asked[2:]]
    assert [a[:2] for a in asked] == [(1, [Click(5, 0, False)]), (2, [Click(5, 0, True), Click(7, 0, True)])]
    assert asked[1][2] is half  # it gets its own last answer back


def test_a_click_on_the_background_is_negative_for_all() -> None:
    annotation, script = annotate({1: [plane([0, 1, 2, 3, 10, 11]), plane(ONE)], 2: [plane(TWO)]})
    assert places(annotation)[2:] == [(10, 0, 1)]
    assert script.asked[2][:2] == (1, [Click(0, 0, True), Click(4, 0, False), Click(10, 0, False)])


def test_one_surface_may_spend_what_the_others_left() -> None:
    """The budget is 2 x 3. Surface 2 needs one click, so that surface 1 gets five; a sixth is not made."""
    labels = np.array([[1] * 10 + [2, 0]], np.int32)
    for wrong, is_failed in ((4, False), (5, True)):
        answers = {1: [*[plane([11])] * wrong, plane(range(10))], 2: [plane([10])]}
        annotation, _ = annotate(answers, labels=labels, clicks_per_surface=3)
        assert [click.refined_id for click in annotation.clicks] == [1, 2, 1, 1, 1, 1]
        assert (annotation.is_failed, annotation.clicks_counted) == (is_failed, 6)


def test_success_exactly_at_the_last_click_is_a_success() -> None:
    answers = {1: [plane([]), plane([1]), plane(ONE)], 2: [plane(TWO)]}
    annotation, _ = annotate(answers, clicks_per_surface=2)
    assert (len(annotation.clicks), annotation.budget, annotation.is_failed) == (4, 4, False)
    annotation, _ = annotate(answers, clicks_per_surface=1)
    assert (len(annotation.clicks), annotation.clicks_counted, annotation.is_failed) == (2, 2, True)


def test_an_iou_equal_to_the_goal_is_enough() -> None:
    annotation, _ = annotate({1: [plane([0, 1, 2])], 2: [plane(TWO)]}, iou=0.75)
    assert (len(annotation.clicks), annotation.surfaces[0].is_failed) == (2, False)


def test_a_strategy_decides_who_is_refined() -> None:
    labels = np.array([[1] * 4 + [2] * 4 + [3] * 4], np.int32)
    answers = {1: [plane([0, 1]), plane(range(4))], 2: [plane([4, 5, 6]), plane(range(4, 8))], 3: [plane(range(8, 12))]}
    for strategy, refined in (("worst", [1, 2]), ("best", [2, 1]), ("worst-with-limit", [1, 2])):
        annotation, _ = annotate(answers, strategy, labels)  # type: ignore[arg-type]
        assert [click.refined_id for click in annotation.clicks[3:]] == refined


def test_the_limit_of_a_surface_counts_its_initial_click_once() -> None:
    labels = np.array([[1] * 6 + [2] * 6], np.int32)
    annotation, _ = annotate({1: [plane([0])], 2: [plane([6, 7])]}, "worst-with-limit", labels, clicks_per_surface=3)
    assert [click.refined_id for click in annotation.clicks[2:]] == [1, 1, 2, 2]


def test_max_dt_clicks_the_deepest_error_of_all_also_at_a_surface_that_is_done() -> None:
    """Surface 1 is done (IoU 2 / 3) but spills over three columns, 2 px deep; surface 2 misses one of two columns."""
    labels = np.tile(np.array([1] * 6 + [2] * 2 + [0] * 4, np.int32), (5, 1))
    answers = {1: [[*range(6), 9, 10, 11], range(6)], 2: [[6], [6, 7]]}
    planes = {i: [np.tile(plane(columns), (5, 1)) for columns in rows] for i, rows in answers.items()}
    annotation, _ = annotate(planes, "max-dt", labels, iou=0.6)
    assert places(annotation)[2:] == [(10, 0, 0), (7, 2, 2)]
    assert not annotation.is_failed
    annotation, _ = annotate(planes, "worst", labels, iou=0.6)
    assert places(annotation)[2:] == [(7, 2, 2)]


# Fusion ---------------------------------------------------------------------------------------------------------------
OVERLAP = {1: [plane(range(7), 0.9)], 2: [plane(TWO, 0.8)]}  # three of six pixels of surface 2 go to surface 1


def test_fusing_at_the_end_fails_a_surface_that_was_done_on_its_own() -> None:
    annotation, _ = annotate(OVERLAP, iou=0.5)
    assert len(annotation.clicks) == 2
    one, two = annotation.surfaces
    assert (one.iou, one.iou_alone, one.is_failed) == (4 / 7, 4 / 7, False)
    assert (two.iou, two.iou_alone, two.is_failed) == (0.5, 1.0, False)
    annotation, _ = annotate({1: [plane(range(8), 0.9)], 2: [plane(TWO, 0.8)]}, iou=0.5)
    assert annotation.surfaces[1] == MistSurface(2, 2 / 6, 1.0, True)
    assert (len(annotation.clicks), annotation.clicks_counted) == (2, 20)


def test_fusing_after_each_click_sees_what_a_neighbour_took() -> None:
    answers = {1: [plane(range(8), 0.9), plane(ONE)], 2: [plane(TWO, 0.8)]}
    annotation, script = annotate(answers, iou=0.5, fuse="each")
    assert places(annotation)[2:] == [(5, 2, 2)]  # surface 2 is the worst one: 2 / 6
    assert [surface_id for surface_id, _, _ in script.asked[2:]] == [1, 2]
    assert annotation.surfaces == (MistSurface(1, 1.0, 1.0, False), MistSurface(2, 1.0, 1.0, False))


def test_a_click_is_news_for_a_surface_that_only_the_fusion_had_put_right() -> None:
    """Surfaces 1 and 3 both cover pixel 5 of surface 2, which goes to 3; 1 is asked again all the same."""
    labels = np.array([[1] * 4 + [2] * 4 + [3] * 4], np.int32)
    answers = {
        1: [plane([0, 1, 2, 3, 5], 0.8), plane(range(4))],
        2: [plane([4]), plane(range(4, 8))],
        3: [plane(range(5, 12), 0.9), plane(range(8, 12))],
    }
    annotation, script = annotate(answers, labels=labels, fuse="each")
    assert places(annotation)[3:] == [(5, 2, 2)]
    assert [surface_id for surface_id, _, _ in script.asked[3:]] == [1, 2, 3]


def test_a_pixel_goes_to_the_highest_probability() -> None:
    planes = {
        7: np.array([[0.6, 0.9, 0.5, 0.2, np.nan, 0.7]], np.float32),
        3: np.array([[0.8, 0.7, 0.4, 0.1, 0.6, 0.7]], np.float32),
    }
    joint = fuse(planes, 0.5)
    assert joint.dtype == np.uint16
    assert joint.tolist() == [[3, 7, 0, 0, 3, 3]]  # the tie to the lowest id; 0.5 and what is no number are outside


# Degenerate images ----------------------------------------------------------------------------------------------------
def test_an_image_without_surfaces() -> None:
    annotation, script = annotate({}, labels=np.zeros((1, WIDTH), np.int32))
    assert (annotation.surfaces, annotation.clicks, annotation.budget, annotation.is_failed) == ((), (), 0, False)
    assert script.asked == []


def test_a_surface_of_which_nothing_counts_is_left_out() -> None:
    """Surface 2 is ignored everywhere and 3 is empty: no click, no IoU of 0 / 0, no part in the budget."""
    valid = np.asarray(LABELS != 2)
    targets = [*targets_of(LABELS), SurfaceTarget(3, "hidden", np.zeros((1, WIDTH), np.bool_), 0)]
    script = Script({1: [plane([*range(4), 5, 10, 11]), plane(ONE)]})
    annotation = annotate_mist(script, targets, valid, MistProtocol(spacing_px=0), "worst", 0.5)
    assert [surface.surface_id for surface in annotation.surfaces] == [1]
    assert (annotation.budget, places(annotation)) == (10, [(0, 1, 1), (10, 0, 1)])
    nothing = annotate_mist(script, targets[1:], valid, MistProtocol(), "max-dt", 0.5)
    assert (nothing.surfaces, nothing.clicks, nothing.budget) == ((), (), 0)


@pytest.mark.parametrize("strategy", MIST_STRATEGIES)
def test_a_surface_alone(strategy: MistStrategy) -> None:
    labels = np.array([[0] * 4 + [5] * 8], np.int32)
    annotation, _ = annotate({5: [plane(range(4, 8)), plane(range(4, 12))]}, strategy, labels)
    assert places(annotation) == [(4, 5, 5), (8, 5, 5)]
    assert (annotation.is_failed, annotation.clicks_counted, annotation.budget) == (False, 2, 10)


@pytest.mark.parametrize("strategy", MIST_STRATEGIES)
def test_a_model_that_never_finds_anything_ends_when_nothing_is_left_to_click(strategy: MistStrategy) -> None:
    for answer in (plane([]), np.full((1, WIDTH), np.nan, np.float32)):
        annotation, _ = annotate({1: [answer], 2: [answer]}, strategy)
        assert sorted(click.x_px for click in annotation.clicks) == list(range(10))  # every pixel of both, once
        assert [surface.iou for surface in annotation.surfaces] == [0.0, 0.0]
        assert (annotation.is_failed, annotation.clicks_counted) == (True, 20)


def test_a_surface_without_a_pixel_to_click_is_passed_over() -> None:
    """Surface 1, the worst one, is a single pixel that is clicked already; surface 2 still gets its click."""
    labels = np.array([[1] + [0] + [2] * 10], np.int32)
    annotation, _ = annotate({1: [plane([])], 2: [plane(range(2, 7)), plane(range(2, 12))]}, labels=labels)
    assert places(annotation)[2:] == [(7, 2, 2)]
    assert [surface.is_failed for surface in annotation.surfaces] == [True, False]


def test_clicks_keep_their_distance_also_to_those_of_other_surfaces() -> None:
    annotation, _ = annotate({1: [plane([])], 2: [plane([])]}, spacing_px=2)
    assert [click.x_px for click in annotation.clicks] == [0, 4, 7]  # 3 is next to 4


def test_key_and_seed_decide_what_random_draws() -> None:
    labels = np.kron(np.arange(1, 7), np.ones((3, 8), int)).astype(np.int32)
    valid, nothing = np.ones(labels.shape, np.bool_), np.zeros(labels.shape, np.float32)

    def refined(key: str, seed: int) -> list[int]:
        script = Script({i: [nothing] for i in range(1, 7)}, labels)
        protocol = MistProtocol(clicks_per_surface=4, seed=seed, spacing_px=0)
        annotation = annotate_mist(script, targets_of(labels), valid, protocol, "random", 0.5, key)
        return [click.refined_id for click in annotation.clicks[6:]]

    assert refined("a", 0) == refined("a", 0)
    assert refined("a", 0) != refined("b", 0)
    assert refined("a", 0) != refined("a", 1)


@pytest.mark.parametrize("fusion", ["final", "each"])
@pytest.mark.parametrize("strategy", MIST_STRATEGIES)
def test_what_holds_for_every_strategy(strategy: MistStrategy, fusion: Any) -> None:
    """On random blocks with ignored ones: budget, distances, owners, and IoUs of the fused map."""
    predictor = VoronoiPredictor()
    protocol = MistProtocol(clicks_per_surface=3, iou=0.9, fuse=fusion, spacing_px=3)
    for index in range(3):
        coarse = np.random.default_rng(index).integers(-1, 5, (4, 4))
        labels = np.kron(coarse, np.ones((6, 7), int)).astype(np.int32)
        sample = Sample("x", np.zeros((*labels.shape, 3), np.uint8), {}, labels)
        model = TimedModel(predictor, predictor.encode(sample.image), 0.5)
        done = annotate_mist(model, sample.surfaces(), sample.valid, protocol, strategy, 0.5)
        ids = [surface.surface_id for surface in done.surfaces]
        assert ids == sample.surface_ids()
        assert [click.owner_id for click in done.clicks[: len(ids)]] == ids
        assert len(ids) <= len(done.clicks) <= done.budget == 3 * len(ids)
        for number, click in enumerate(done.clicks):
            assert labels[click.y_px, click.x_px] == click.owner_id
            for earlier in done.clicks[:number] if number >= len(ids) else ():
                assert (click.x_px - earlier.x_px) ** 2 + (click.y_px - earlier.y_px) ** 2 > 9
        for surface in done.surfaces:
            assert surface.is_failed == (surface.iou < 0.9)
            assert fusion == "final" or surface.iou == surface.iou_alone
