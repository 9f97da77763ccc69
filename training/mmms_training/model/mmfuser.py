"""MMFuser: one SegFormer encoder per modality, one CrossBlock per scale; all of it once per image.

Paper symbol -> our name: ``x_mod,m`` -> ``modalities[m]``, ``f_img`` -> ``image_pyramid``, ``f_mix`` -> the returned
pyramid.

Where we differ: pixels without a measurement arrive as -1 and become the modality's mean (0 after normalisation), and a
modality can be absent at run time (see :mod:`mmms_training.model.cross_block`). Without any modality the paper removes
the MMFuser: then this module has no parameters and ``f_mix = f_img``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmms_training.model.cross_block import CrossBlock
from mmms_training.model.segformer import SegformerEncoder
from mmms_training.presets import MMMSConfig

MODALITY_MEAN, MODALITY_STD = 0.5, 0.25  # of values in [0, 1], so that the encoder sees about [-2, 2]


class MMFuser(nn.Module):
    """Image pyramid and modalities -> mixed pyramid of the same shapes."""

    def __init__(self, config: MMMSConfig) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(
            SegformerEncoder(
                m.channels,
                config.pyramid_channels,
                config.heads,
                config.reduction_rates,
                config.encoder_depths,
                config.expansion,
            )
            for m in config.modalities
        )
        self.cross_blocks = nn.ModuleList(
            CrossBlock(
                width,
                heads,
                rate,
                len(config.modalities),
                config.expansion,
                config.has_effca,
                config.has_mlp,
                config.has_lateral,
            )
            for width, heads, rate in zip(config.pyramid_channels, config.heads, config.reduction_rates, strict=True)
            if config.modalities
        )

    def forward(
        self, image_pyramid: Sequence[Tensor], modalities: Sequence[Tensor], presence: Tensor | None
    ) -> list[Tensor]:
        """Fuse.

        Args:
            image_pyramid: four maps [B, C_i, H_i, W_i].
            modalities: per modality [B, C_m, S, S] in [0, 1], -1 where there is no value.
            presence: [B, M], 1 = given, 0 = absent; ``None`` only without modalities.
        """
        if not self.encoders:
            return list(image_pyramid)
        assert presence is not None
        encoded = [encoder(normalize(x)) for encoder, x in zip(self.encoders, modalities, strict=True)]
        return [
            block(image, [pyramid[scale] for pyramid in encoded], presence)
            for scale, (block, image) in enumerate(zip(self.cross_blocks, image_pyramid, strict=True))
        ]


def normalize(modality: Tensor) -> Tensor:
    """[0, 1] to zero mean and unit spread; -1 (no value) to 0, which is the mean."""
    return torch.where(modality < 0, torch.zeros_like(modality), (modality - MODALITY_MEAN) / MODALITY_STD)
