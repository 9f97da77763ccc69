"""Disks, click sampling and the loss, each against a slow independent form or a case done in the head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmms_training.affinity import AffinityLoss
from mmms_training.click_sampling import ClickSamplingConfig, distance_inside, initial_clicks, next_click
from mmms_training.losses import normalized_focal_loss
from mmms_training.model.ms_patch_embed import draw_disks

SIDE = 24
points = st.lists(
    st.tuples(
        st.floats(-0.5, SIDE - 0.5, width=32), st.floats(-0.5, SIDE - 0.5, width=32), st.sampled_from([1, 0, -1])
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(points)
def test_disks_are_every_pixel_within_the_radius(rows: list[tuple[float, float, int]]) -> None:
    coords = torch.tensor([[(x, y) for x, y, _ in rows]])
    labels = torch.tensor([[label for *_, label in rows]], dtype=torch.int32)
    disks = draw_disks(coords, labels, SIDE, 5.0)[0].numpy()
    yy, xx = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    for channel, sign in ((0, 1), (1, 0)):
        expected = np.zeros((SIDE, SIDE), bool)
        for x, y, label in rows:
            if label == sign:
                expected |= (xx - np.float32(x)) ** 2 + (yy - np.float32(y)) ** 2 <= 25
        assert (disks[channel] == expected).all()


def test_padding_draws_nothing_even_at_the_origin() -> None:
    disks = draw_disks(torch.zeros(1, 3, 2), torch.full((1, 3), -1, dtype=torch.int32), SIDE, 5.0)
    assert disks.sum() == 0


def test_batch_rows_do_not_mix() -> None:
    coords = torch.tensor([[[3.0, 3.0]], [[20.0, 20.0]]])
    disks = draw_disks(coords, torch.ones(2, 1, dtype=torch.int32), SIDE, 5.0)
    assert disks[0, 0, 3, 3] == 1 and disks[0, 0, 20, 20] == 0 and disks[1, 0, 20, 20] == 1


def test_distance_counts_the_image_border_as_a_boundary() -> None:
    assert distance_inside(np.ones((5, 5), bool)).tolist()[2] == [1, 2, 3, 2, 1]


def test_next_click_goes_to_the_larger_error_with_its_sign() -> None:
    target = np.zeros((40, 40), bool)
    target[5:35, 5:35] = True
    valid = np.ones_like(target)
    rng = np.random.default_rng(0)
    missing = next_click(np.zeros((40, 40), np.float32), target, valid, rng)
    assert missing is not None and missing.is_positive and target[int(missing.y_px), int(missing.x_px)]
    too_much = next_click(np.ones((40, 40), np.float32), np.zeros((40, 40), bool), valid, rng)
    assert too_much is not None and not too_much.is_positive
    assert next_click(target.astype(np.float32), target, valid, rng) is None


def test_first_click_of_the_evaluation_start_is_the_centre() -> None:
    target = np.zeros((30, 30), bool)
    target[10:21, 4:15] = True
    clicks = initial_clicks(
        target.astype(np.uint8), target, ClickSamplingConfig(centre_share=1.0), np.random.default_rng(0)
    )
    assert [(c.x_px, c.y_px, c.is_positive) for c in clicks] == [(9.0, 15.0, True)]


def test_initial_clicks_lie_on_their_side_and_follow_the_stated_counts() -> None:
    labels = np.zeros((60, 60), np.uint8)
    labels[10:50, 10:30], labels[10:50, 30:50] = 1, 2
    target, rng = labels == 1, np.random.default_rng(0)
    config = ClickSamplingConfig()
    counts = []
    for _ in range(400):
        clicks = initial_clicks(labels, target, config, rng)
        assert all(target[int(c.y_px), int(c.x_px)] == c.is_positive for c in clicks)
        counts.append((sum(c.is_positive for c in clicks), sum(not c.is_positive for c in clicks)))
    positives, negatives = np.mean(counts, axis=0)
    assert positives == pytest.approx(4.9, abs=0.6) and negatives == pytest.approx(3.9, abs=0.6)


def test_loss_of_one_wrong_pixel_done_in_the_head() -> None:
    # two valid pixels, one right with certainty, one at 0.5: focus 0 and 0.25, factor 2 / 0.25 = 8,
    # loss = 0.5 * 8 * 0.25 * log 2 / 2 pixels
    logits = torch.tensor([[[[60.0, 0.0]]]])
    loss = normalized_focal_loss(logits, torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert float(loss) == pytest.approx(0.5 * np.log(2.0), rel=1e-5)


def test_ignored_pixels_cost_nothing_and_get_no_gradient() -> None:
    logits = torch.randn(2, 1, 4, 4, requires_grad=True)
    valid = torch.ones(2, 1, 4, 4)
    valid[:, :, 0] = 0
    target = (torch.rand(2, 1, 4, 4) > 0.5).float()
    loss = normalized_focal_loss(logits, target, valid)
    loss.backward()
    assert logits.grad is not None and logits.grad[:, :, 0].abs().max() == 0 < logits.grad[:, :, 1:].abs().max()
    flipped = target.clone()
    flipped[:, :, 0] = 1 - flipped[:, :, 0]
    assert torch.equal(loss, normalized_focal_loss(logits, flipped, valid))


def test_perfect_answer_costs_nothing_and_all_ignored_is_finite() -> None:
    target = (torch.rand(1, 1, 4, 4) > 0.5).float()
    assert float(normalized_focal_loss((target * 2 - 1) * 80, target, torch.ones_like(target))) < 1e-6
    assert torch.isfinite(normalized_focal_loss(target, target, torch.zeros_like(target)))


def test_affinity_loss_is_low_for_features_that_tell_surfaces_apart_and_high_for_noise() -> None:
    torch.manual_seed(0)
    labels = torch.zeros(2, 64, 64, dtype=torch.int16)
    labels[:, :, :32], labels[:, :, 32:] = 1, 2
    labels[:, :4] = -1
    loss = AffinityLoss((8, 8, 8, 8))
    apart, noise = [], []
    for scale in (4, 8, 16, 32):
        side = 64 // scale
        maps = torch.zeros(2, 8, side, side)
        maps[:, 0, :, : side // 2], maps[:, 1, :, side // 2 :] = 1, 1
        apart.append(maps)
        noise.append(torch.randn(2, 8, side, side))
    for projection in loss.projections:
        torch.nn.init.eye_(projection.weight[:, :, 0, 0])
        torch.nn.init.zeros_(projection.bias)
    with torch.no_grad():
        assert loss(apart, labels) < 0.1 < 0.5 < loss(noise, labels)


def test_affinity_loss_of_an_image_without_labels_is_zero() -> None:
    loss = AffinityLoss((8, 8, 8, 8))
    maps = [torch.randn(1, 8, 64 // s, 64 // s) for s in (4, 8, 16, 32)]
    assert float(loss(maps, torch.zeros(1, 64, 64, dtype=torch.int16)).detach()) == 0
