"""ParallelFPN: the trained adapter from the frozen backbone's features to a feature pyramid.

Paper symbol -> our name: ``F1..F4`` -> ``features``, ``f_img^4 .. f_img^32`` -> the returned pyramid.

Four independent scaling modules, one per scale: F1 -> H/4, F2 -> H/8, F3 -> H/16, F4 -> H/32. Where we differ: the
paper gives the kinds of layers in words only; the widths here are ours and smaller than its parameter table allows. A
convolution to the target width comes first, so that the interpolation moves few channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

SCALES = (4, 8, 16, 32)


class ScalingModule(nn.Module):
    """[B, D, h, w] -> [B, C, H, W] for any two sizes: 1x1 convolution, bilinear interpolation, 3x3 convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, out_channels, 1)
        self.squeeze_norm = nn.GroupNorm(1, out_channels)
        self.refine = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.refine_norm = nn.GroupNorm(1, out_channels)

    def forward(self, maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
        maps = F.gelu(self.squeeze_norm(self.squeeze(maps)))
        if tuple(maps.shape[-2:]) != size_hw:
            maps = F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)
        return self.refine_norm(self.refine(maps))


class ParallelFPN(nn.Module):
    """F1..F4 -> maps [B, C_i, S / i, S / i] for i = 4, 8, 16, 32."""

    def __init__(self, in_channels: Sequence[int], out_channels: Sequence[int]) -> None:
        super().__init__()
        self.modules_by_scale = nn.ModuleList(
            ScalingModule(d, c) for d, c in zip(in_channels, out_channels, strict=True)
        )

    def forward(self, features: Sequence[Tensor], resolution: int) -> list[Tensor]:
        return [
            module(maps, (resolution // scale, resolution // scale))
            for module, maps, scale in zip(self.modules_by_scale, features, SCALES, strict=True)
        ]
