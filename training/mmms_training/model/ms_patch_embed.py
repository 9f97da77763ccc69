"""Clicks to disks, and MSPatchEmbed: the interaction tensor to a feature pyramid.

Paper symbol -> our name: ``x_int`` -> ``interaction``, ``f_int^i`` -> the returned pyramid.

A disk is every pixel within 5 px of a click at network resolution (RITM's encoding). Where we differ: the disks are
scattered, not computed as a distance from every pixel to every click, which would be 64 full-size maps per request.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmms_training.model.parallel_fpn import SCALES


def draw_disks(point_coords: Tensor, point_labels: Tensor, resolution: int, radius_px: float) -> Tensor:
    """Positive and negative disks.

    Args:
        point_coords: float [B, P, 2] as (x, y) in network pixels, fractions allowed.
        point_labels: int [B, P]: 1 positive, 0 negative, anything else is padding.
        resolution: S in px.
        radius_px: a pixel belongs to a disk when its centre is at most this far from the click.

    Returns:
        float [B, 2, S, S] of zeros and ones: channel 0 positive, channel 1 negative.
    """
    batch, points = point_labels.shape
    span = int(2 * radius_px) + 1
    offsets = torch.arange(span, device=point_coords.device, dtype=torch.float32)
    first = torch.ceil(point_coords.float() - radius_px)  # [B, P, 2]
    xs = first[..., 0:1] + offsets  # [B, P, span]
    ys = first[..., 1:2] + offsets
    dx2 = (xs - point_coords[..., 0:1].float()) ** 2
    dy2 = (ys - point_coords[..., 1:2].float()) ** 2
    x_ok = (xs >= 0) & (xs < resolution)
    y_ok = (ys >= 0) & (ys < resolution)
    is_drawn = (dy2[..., :, None] + dx2[..., None, :]) <= radius_px**2
    is_drawn = is_drawn & y_ok[..., :, None] & x_ok[..., None, :]
    is_drawn = is_drawn & ((point_labels == 1) | (point_labels == 0))[..., None, None]
    area = resolution * resolution
    plane = (1 - point_labels.long()).clamp(0, 1) * area
    index = plane[..., None, None] + (ys * resolution)[..., :, None].long() + xs[..., None, :].long()
    index = torch.where(is_drawn, index, torch.full_like(index, 2 * area))  # one spare cell takes all that is not drawn
    index = index.reshape(batch, points * span * span)
    canvas = torch.zeros(batch, 2 * area + 1, device=point_coords.device)
    canvas = canvas.scatter(1, index, torch.ones_like(index, dtype=torch.float32))
    return canvas[:, : 2 * area].reshape(batch, 2, resolution, resolution)


class MSPatchEmbed(nn.Module):
    """Four convolutions with kernel = stride = 4, 8, 16, 32: [B, 3, S, S] -> maps [B, C_i, S / i, S / i]."""

    def __init__(self, out_channels: Sequence[int]) -> None:
        super().__init__()
        self.projections = nn.ModuleList(
            nn.Conv2d(3, c, scale, scale) for c, scale in zip(out_channels, SCALES, strict=True)
        )

    def initialize(self) -> None:
        """Weights such that a disk, and a previous mask that covers the whole kernel, answer with about 1."""
        for projection, scale in zip(self.projections, SCALES, strict=True):
            assert isinstance(projection, nn.Conv2d) and projection.bias is not None
            nn.init.normal_(projection.weight[:, :1], 0.0, 1.0 / scale)
            nn.init.normal_(projection.weight[:, 1:], 0.0, max(1.0 / scale, 1.0 / 9.0))  # a disk has 81 px
            nn.init.zeros_(projection.bias)

    def forward(self, interaction: Tensor) -> list[Tensor]:
        return [project(interaction) for project in self.projections]
