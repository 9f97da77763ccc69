"""MMMS: composes the boxes; does nothing else.

Paper symbol -> our name: ``x_img`` -> ``image``, ``x_mod,m`` -> ``modalities[m]``, ``x_int`` -> ``interaction``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmms_training.model.backbone import AbsentBackbone, Backbone, NanoViT, build_backbone
from mmms_training.model.cross_block import CrossBlock
from mmms_training.model.csnet import CSNet, MLPHead
from mmms_training.model.mmfuser import MMFuser
from mmms_training.model.ms_patch_embed import MSPatchEmbed, draw_disks
from mmms_training.model.parallel_fpn import SCALES, ParallelFPN
from mmms_training.model.segformer import initialize
from mmms_training.presets import MMMSConfig


class MMMS(nn.Module):
    """The whole network for one resolution S."""

    def __init__(self, config: MMMSConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self._encoder_frozen = False
        self.parallel_fpn = ParallelFPN(backbone.channels, config.pyramid_channels)
        self.mmfuser = MMFuser(config)
        self.ms_patch_embed = MSPatchEmbed(config.pyramid_channels)
        self.csnet = CSNet(config)
        self.apply(initialize)
        for block in self.mmfuser.cross_blocks:
            assert isinstance(block, CrossBlock)
            block.initialize()
        self.ms_patch_embed.initialize()
        assert isinstance(self.csnet.head, MLPHead)
        self.csnet.head.initialize()
        self.backbone = backbone
        if isinstance(backbone.vit, NanoViT) and not config.backbone.is_frozen:  # a frozen one has its weights
            backbone.vit.initialize()

    def freeze_encoder(self) -> None:
        """Keep everything that runs once per image as it is, in evaluation mode; only the click network learns."""
        self._encoder_frozen = True
        for part in (self.backbone, self.parallel_fpn, self.mmfuser):
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> MMMS:
        super().train(mode)
        if self._encoder_frozen:
            for part in (self.backbone, self.parallel_fpn, self.mmfuser):
                part.eval()
        return self

    def encode(self, image: Tensor, modalities: Sequence[Tensor] = (), presence: Tensor | None = None) -> list[Tensor]:
        """Once per image: RGB [B, 3, S, S] in [0, 255], modalities [B, C_m, S, S], presence [B, M] -> f_mix."""
        return self.fuse(self.backbone(image), modalities, presence, image.shape[-1])

    def fuse(
        self,
        features: Sequence[Tensor],
        modalities: Sequence[Tensor],
        presence: Tensor | None,
        resolution: int,
    ) -> list[Tensor]:
        """F1..F4 and modalities -> f_mix, four maps [B, C_i, S / i, S / i]."""
        return self.mmfuser(self.parallel_fpn(features, resolution), modalities, presence)

    def click(
        self, mixed: Sequence[Tensor], point_coords: Tensor, point_labels: Tensor, previous_mask: Tensor
    ) -> Tensor:
        """Once per click: f_mix, points [B, P, 2] and [B, P], previous probabilities [B, 1, S, S] -> logits [B, 1, S,
        S].
        """
        resolution = previous_mask.shape[-1]
        disks = draw_disks(point_coords, point_labels, resolution, self.config.disk_radius_px)
        interaction = torch.cat((previous_mask, disks.to(previous_mask.dtype)), 1)
        logits = self.csnet(mixed, self.ms_patch_embed(interaction))
        return F.interpolate(logits, (resolution, resolution), mode="bilinear", align_corners=False)


def build_mmms(
    config: MMMSConfig,
    resolution: int,
    weights: str | Path | None = None,
    random_backbone: bool = False,
    has_backbone: bool = True,
) -> MMMS:
    """Build the network for ``resolution`` px; see :func:`build_backbone` for where its weights come from. Without a
    backbone it takes features only.
    """
    if not has_backbone:
        return MMMS(config, AbsentBackbone(config.backbone))
    return MMMS(config, build_backbone(config.backbone, resolution, weights, random_backbone))


def backbone_shapes(config: MMMSConfig, resolution: int) -> tuple[tuple[int, int, int], ...]:
    """Shapes (channels, height, width) of F1..F4."""
    b = config.backbone
    if b.kind == "nano_vit":
        sides = (resolution // 4, resolution // 8, resolution // 16, resolution // 16)
        channels = (b.stem_channels[1], b.stem_channels[2], b.width, b.width)
    else:
        sides = (resolution // b.patch_size,) * 4
        channels = (b.width,) * 4
    return tuple((c, s, s) for c, s in zip(channels, sides, strict=True))


def pyramid_shapes(config: MMMSConfig, resolution: int) -> tuple[tuple[int, int, int], ...]:
    """Shapes (channels, height, width) of f_mix."""
    return tuple((c, resolution // s, resolution // s) for c, s in zip(config.pyramid_channels, SCALES, strict=True))
