"""Metrics of one surface, with cases done in the head."""

from __future__ import annotations

import math

import numpy as np

from mmms_eval import metrics

TRACE = [0.5, 0.79, 0.80, 0.7, 0.9]


def test_iou_counts_pixels() -> None:
    prediction = np.array([[1, 1, 0, 0]], np.bool_)
    target = np.array([[0, 1, 1, 0]], np.bool_)
    assert metrics.iou(prediction, target) == 1 / 3


def test_iou_leaves_ignored_pixels_out() -> None:
    prediction = np.array([[1, 1, 0, 0]], np.bool_)
    target = np.array([[0, 1, 1, 0]], np.bool_)
    assert metrics.iou(prediction, target, np.array([[0, 1, 1, 1]], np.bool_)) == 1 / 2
    assert metrics.iou(prediction, target, np.zeros((1, 4), np.bool_)) == 1.0


def test_iou_of_perfect_disjoint_and_empty_masks() -> None:
    full, empty = np.ones((2, 2), np.bool_), np.zeros((2, 2), np.bool_)
    assert metrics.iou(full, full) == 1.0
    assert metrics.iou(full, empty) == metrics.iou(empty, full) == 0.0
    assert metrics.iou(empty, empty) == 1.0


def test_noc_is_the_first_click_that_reaches_the_threshold() -> None:
    assert metrics.noc(TRACE, 0.80, 20) == 3
    assert metrics.noc(TRACE, 0.5, 20) == 1
    assert metrics.noc(TRACE, 0.95, 20) == 20


def test_clicks_beyond_n_max_do_not_count() -> None:
    assert metrics.noc(TRACE, 0.9, 4) == 4
    assert metrics.is_failure(TRACE, 0.9, 4)


def test_success_exactly_at_the_last_click_is_a_failure_for_ritm_only() -> None:
    assert not metrics.is_failure(TRACE, 0.9, 5)
    assert metrics.is_failure_ritm(TRACE, 0.9, 5)


def test_a_trace_that_ended_early_below_the_threshold_counts_n_max() -> None:
    assert metrics.noc([0.3], 0.8, 20) == 20
    assert metrics.is_failure([], 0.8, 20)


def test_iou_after_clicks_keeps_the_last_mask() -> None:
    assert metrics.iou_after(TRACE, 2) == 0.79
    assert metrics.iou_after(TRACE, 20) == 0.9
    assert metrics.iou_after([], 1) == 0.0


def test_means_of_nothing_are_not_a_number_rather_than_perfect() -> None:
    assert math.isnan(metrics.mean([]))
    assert metrics.percentage([True, False, False, False]) == 25.0
