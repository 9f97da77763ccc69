"""CSNet: the click segmentation network, the only part that runs once per click.

Paper symbol -> our name: ``f_mix`` -> ``mixed``, ``f_int`` -> ``interaction``, ``m'`` -> the returned logits.

SegFormer stages and head. Stage 1 sees ``f_mix + f_int`` at H/4; stage k sees ``f_mix + f_int`` at its scale plus the
downsampled output of stage k - 1. Where we differ from the paper's "B0": the stage widths equal the pyramid's, because
the sums need equal shapes and its parameter table agrees with that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmms_training.model.segformer import Stage
from mmms_training.presets import MMMSConfig


class MLPHead(nn.Module):
    """SegFormer's all-MLP head as it is trained: project each scale, mix, upsample, add, normalise, classify.

    The paper's head upsamples first, concatenates from coarse to fine and mixes then. A 1x1 convolution commutes with
    bilinear upsampling, so mixing each scale with its slice of the same matrix at the scale's own size gives the same
    sum, without a full-size map of four times the width.
    """

    def __init__(self, in_channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.projections = nn.ModuleList(nn.Conv2d(c, width, 1) for c in in_channels)
        self.mix = nn.Conv2d(width * len(in_channels), width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.classify = nn.Conv2d(width, 1, 1)

    def initialize(self) -> None:
        """Begin unsure: small logits around the share of the image that one surface usually has."""
        nn.init.normal_(self.classify.weight, 0.0, 0.05)
        assert self.classify.bias is not None
        nn.init.constant_(self.classify.bias, -1.5)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        size_hw = pyramid[0].shape[-2:]
        slices = torch.split(self.mix.weight, self.mix.out_channels, dim=1)[::-1]
        maps = [
            _upsample(F.conv2d(project(x), matrix), size_hw)
            for project, matrix, x in zip(self.projections, slices, pyramid, strict=True)
        ]
        return self.classify(F.relu(self.norm(maps[0] + maps[1] + maps[2] + maps[3])))


class FoldedHead(nn.Module):
    """The same function as :class:`MLPHead` in evaluation mode, at a fraction of the cost.

    Each scale's projection, its slice of the mixing layer and the batch normalisation are folded into one C_i -> width
    matrix, in float64, so that the result does not depend on the order in which a processor sums.
    """

    def __init__(self, head: MLPHead) -> None:
        super().__init__()
        width = head.mix.out_channels
        norm = head.norm
        assert norm.running_var is not None and norm.running_mean is not None
        gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
        bias = norm.bias.double() - norm.running_mean.double() * gain
        slices = torch.split(head.mix.weight[:, :, 0, 0].double(), width, dim=1)[::-1]
        self.projections = nn.ModuleList()
        for index, (project, matrix) in enumerate(zip(head.projections, slices, strict=True)):
            assert isinstance(project, nn.Conv2d) and project.bias is not None
            folded = nn.Conv2d(project.in_channels, width, 1, bias=index == 0)
            scaled = gain[:, None] * matrix
            folded.weight.data = (scaled @ project.weight[:, :, 0, 0].double()).detach().float()[..., None, None]
            bias = bias + scaled @ project.bias.double()
            self.projections.append(folded)
        first = self.projections[0]
        assert isinstance(first, nn.Conv2d) and first.bias is not None
        first.bias.data = bias.detach().float()
        self.classify = head.classify

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        size_hw = pyramid[0].shape[-2:]
        total = self.projections[0](pyramid[0])
        for project, maps in zip(self.projections[1:], pyramid[1:], strict=True):
            total = total + _upsample(project(maps), size_hw)
        return self.classify(F.relu(total))


class CSNet(nn.Module):
    """Mixed and interaction pyramids -> logits [B, 1, H/4, W/4]."""

    def __init__(self, config: MMMSConfig) -> None:
        super().__init__()
        widths = config.pyramid_channels
        self.stages = nn.ModuleList(
            Stage(w, h, r, config.expansion, d)
            for w, h, r, d in zip(widths, config.heads, config.reduction_rates, config.csnet_depths, strict=True)
        )
        self.downsamples = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.head: MLPHead | FoldedHead = MLPHead(widths, config.head_width)

    def forward(self, mixed: Sequence[Tensor], interaction: Sequence[Tensor]) -> Tensor:
        pyramid: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            maps = mixed[index] + interaction[index]
            if index:
                maps = maps + self.downsamples[index - 1](pyramid[-1])
            pyramid.append(stage(maps))
        return self.head(pyramid)


def _upsample(maps: Tensor, size_hw: Sequence[int]) -> Tensor:
    if tuple(maps.shape[-2:]) == tuple(size_hw):
        return maps
    return F.interpolate(maps, (int(size_hw[0]), int(size_hw[1])), mode="bilinear", align_corners=False)
