"""Auxiliary loss on f_mix: pixels of one surface should have like features, pixels of different surfaces unlike ones.

A click network that is trained from nothing finds a shortcut first: it draws a blob around each click and ignores the
image, because its features say nothing yet and one mask per click teaches them slowly. Every pair of labelled pixels
is a lesson for the features, whatever was clicked, and a feature that tells surfaces apart is what CSNet's attention
needs. Not part of the paper's recipe, whose backbone is pretrained; the heads are used in training only.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmms_training.model.parallel_fpn import SCALES

_SCALES = SCALES[:3]  # at H/32 a pixel covers several surfaces


class AffinityLoss(nn.Module):
    """One linear projection per scale, and the cross-entropy of "same surface?" for pairs of pixels."""

    def __init__(self, channels: Sequence[int], width: int = 24, points: int = 224, reach: int = 3) -> None:
        """``points`` pixels are drawn per image and scale; each is paired with all others and with one at most
        ``reach`` away.
        """
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels[: len(_SCALES)])
        self.sharpness = nn.Parameter(torch.tensor([2.0] * len(_SCALES)))  # log of the cosine's factor
        self.offset = nn.Parameter(torch.tensor([0.5] * len(_SCALES)))  # cosine at which both answers are as likely
        self.points = points
        self.reach = reach

    def forward(self, mixed: Sequence[Tensor], labels: Tensor) -> Tensor:
        """Maps [B, C_i, S / i, S / i] and labels int [B, S, S] (above 0: surfaces) -> scalar, the mean over images."""
        total = labels.new_zeros((), dtype=torch.float32)
        for index, (project, scale) in enumerate(zip(self.projections, _SCALES, strict=True)):
            embedding = F.normalize(project(mixed[index]).float(), dim=1)
            small = labels[:, scale // 2 :: scale, scale // 2 :: scale].long()
            near, far = self._pairs(embedding, small)
            for cosine, same, is_valid in (near, far):
                logit = (cosine - self.offset[index]) * self.sharpness[index].exp()
                total = total + _balanced(logit, same, is_valid)
        return total / (2 * len(_SCALES))

    def _pairs(self, embedding: Tensor, labels: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Cosine, same surface and validity of near pairs and of all pairs among randomly drawn pixels."""
        height, width = labels.shape[-2:]
        ys, xs = (torch.randint(n, (self.points,), device=labels.device) for n in (height, width))
        steps = torch.randint(-self.reach, self.reach + 1, (2, self.points), device=labels.device)
        near_ys, near_xs = (ys + steps[0]).clamp(0, height - 1), (xs + steps[1]).clamp(0, width - 1)
        a, b = embedding[:, :, ys, xs], embedding[:, :, near_ys, near_xs]  # [B, width, points]
        la, lb = labels[:, ys, xs], labels[:, near_ys, near_xs]
        ok_a, ok_b = (x > 0 for x in (la, lb))
        near = ((a * b).sum(1), la == lb, ok_a & ok_b)
        far = (
            torch.einsum("bcn,bcm->bnm", a, a),
            la[:, :, None] == la[:, None, :],
            ok_a[:, :, None] & ok_a[:, None, :],
        )
        return near, far


def _balanced(logit: Tensor, same: Tensor, is_valid: Tensor) -> Tensor:
    """Cross-entropy of pairs [B, ...] in which those of one surface weigh as much as those of two, in each image."""
    loss = F.binary_cross_entropy_with_logits(logit, same.float(), reduction="none")
    parts = [
        (loss * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)
        for mask in (same & is_valid, ~same & is_valid)
    ]
    return 0.5 * (parts[0] + parts[1]).mean()
