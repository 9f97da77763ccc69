"""Normalised focal loss (Sofiiuk et al., RITM): focal loss whose weights are rescaled to sum to the number of pixels.

Symbol -> our name: ``p_t`` -> ``confidence``, ``beta = (1 - p_t)^gamma`` -> ``focus``, ``alpha`` -> ``alpha``.
"""

from __future__ import annotations

import torch
from torch import Tensor

_EPS = 1e-12


def normalized_focal_loss(
    logits: Tensor, target: Tensor, is_valid: Tensor, alpha: float = 0.5, gamma: float = 2.0
) -> Tensor:
    """Mean normalised focal loss of a batch.

    Args:
        logits: float [B, 1, H, W].
        target: float [B, 1, H, W], 1 on the surface and 0 elsewhere.
        is_valid: float [B, 1, H, W], 0 on pixels to ignore.
        alpha: weight of the surface's pixels; the others get ``1 - alpha``.
        gamma: focus exponent.

    Returns:
        A scalar. The rescaling factor is taken per image and carries no gradient, so the size of the loss does not fall
        merely because the easy pixels are solved.
    """
    probability = torch.sigmoid(logits.float())
    confidence = 1.0 - (target - probability).abs()
    focus = (1.0 - confidence) ** gamma
    with torch.no_grad():
        n_valid = is_valid.sum((1, 2, 3), keepdim=True)
        factor = n_valid / ((focus * is_valid).sum((1, 2, 3), keepdim=True) + _EPS)
    weight = torch.where(target > 0.5, alpha, 1.0 - alpha)
    loss = -weight * factor * focus * torch.log((confidence + _EPS).clamp(max=1.0)) * is_valid
    per_image = loss.sum((1, 2, 3)) / n_valid.flatten().clamp(min=1.0)
    return per_image.mean()


def soft_dice_loss(logits: Tensor, target: Tensor, is_valid: Tensor) -> Tensor:
    """Mean of one minus the Dice overlap of probabilities and target (Milletari et al., 2016).

    Arguments as in :func:`normalized_focal_loss`. Not part of the paper's recipe: training from nothing, it gives
    small surfaces the same weight as large ones from the first step on.
    """
    probability = torch.sigmoid(logits.float()) * is_valid
    truth = target * is_valid
    overlap = (probability * truth).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + truth.sum((1, 2, 3))
    return (1.0 - (2.0 * overlap + 1.0) / (total + 1.0)).mean()
