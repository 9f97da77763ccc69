"""The joint map: the update rule, by the example in which pasting live would destroy a neighbour."""

from __future__ import annotations

import numpy as np
import pytest

from mmms_client.joint_mask import empty_joint_map, paste


def row(*values: int) -> np.ndarray:
    return np.array([values], np.uint16)


def mask(*values: int) -> np.ndarray:
    return np.array([values], bool)


def test_pixels_of_the_mask_change_owner_and_lost_ones_become_background() -> None:
    before = row(0, 1, 1, 2, 3)
    assert paste(before, 1, mask(1, 1, 0, 1, 0)).tolist() == [[1, 1, 0, 1, 3]]
    assert before.tolist() == [[0, 1, 1, 2, 3]]


def test_an_overshoot_within_a_visit_does_not_eat_the_neighbour() -> None:
    base = row(1, 1, 1, 0)
    assert paste(base, 2, mask(0, 1, 1, 1)).tolist() == [[1, 2, 2, 2]]
    assert paste(base, 2, mask(0, 0, 0, 1)).tolist() == [[1, 1, 1, 2]]
    live = paste(paste(base, 2, mask(1, 1, 1, 1)), 2, mask(0, 0, 0, 1))
    assert live.tolist() == [[0, 0, 0, 2]], "what the rule avoids"


def test_locked_surfaces_keep_their_pixels() -> None:
    assert paste(row(1, 3, 0, 2), 2, mask(1, 1, 1, 0), locked=[1]).tolist() == [[1, 2, 2, 0]]


def test_empty_map_and_size_check() -> None:
    joint = empty_joint_map((2, 3))
    assert joint.dtype == np.uint16 and joint.shape == (2, 3) and not joint.any()
    with pytest.raises(ValueError, match=r"Expected a mask of \(2, 3\) but got \(1, 4\)\."):
        paste(joint, 1, mask(1, 1, 1, 1))
