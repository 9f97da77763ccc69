"""CrossBlock: fusion of the image and all modalities at one scale (equations 9 to 11).

Paper symbol -> our name: ``EffCA_m`` -> ``EffCA``, ``f_img^i`` -> ``image``, ``f_mod,m^i`` -> ``modalities[m]``,
``f'`` -> ``tokens``, ``f_mix^i`` -> the returned map.

Where we differ: a modality that is absent at run time has weight 0 in the sum, so its term vanishes exactly. And a
switch, ``has_lateral``, adds ``Linear_m(f_mod,m^i)`` to the sum. Registered sensors agree pixel by pixel, but EffCA has
no positions and reduced keys: whatever it finds, it finds by resemblance and on a grid of ``4 * 2^i * R_i`` px. A short
training never learns to look straight down (without the switch our ``nano`` answered the same with and without its
sensors); a linear layer does so from the first step. It begins at zero, so a network can be given one later.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmms_training.model.segformer import MixFFN, ReducedAttention, to_map, to_tokens


class EffCA(nn.Module):
    """Efficient cross-attention: queries from the image, keys and values from one modality, reduced ``rate`` times."""

    def __init__(self, width: int, heads: int, rate: int) -> None:
        super().__init__()
        self.image_norm = nn.LayerNorm(width)
        self.modality_norm = nn.LayerNorm(width)
        self.attention = ReducedAttention(width, heads, rate)

    def forward(self, image: Tensor, modality: Tensor, size_hw: Sequence[int]) -> Tensor:
        """Tokens [B, N, C] of both -> tokens [B, N, C]."""
        return self.attention(self.image_norm(image), self.modality_norm(modality), size_hw)


class CrossBlock(nn.Module):
    """``f' = f_img + sum_m EffCA_m``, then ``f_mix = f' + MLP(LN(f'))``; each half is a switch of Table VII."""

    def __init__(
        self,
        width: int,
        heads: int,
        rate: int,
        n_modalities: int,
        expansion: int,
        has_effca: bool,
        has_mlp: bool,
        has_lateral: bool = False,
    ) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(EffCA(width, heads, rate) for _ in range(n_modalities if has_effca else 0))
        self.laterals = nn.ModuleList(nn.Linear(width, width) for _ in range(n_modalities if has_lateral else 0))
        self.has_effca = has_effca
        self.has_mlp = has_mlp
        if has_mlp:
            self.ffn_norm = nn.LayerNorm(width)
            self.ffn = MixFFN(width, expansion)

    def initialize(self) -> None:
        """Lateral connections begin at zero."""
        for layer in self.laterals:
            assert isinstance(layer, nn.Linear)
            nn.init.zeros_(layer.weight)

    def forward(self, image: Tensor, modalities: Sequence[Tensor], presence: Tensor) -> Tensor:
        """Maps [B, C, H, W] and presence [B, M] -> map [B, C, H, W]."""
        size_hw = image.shape[-2:]
        image_tokens = to_tokens(image)
        tokens = image_tokens
        for index, modality in enumerate(modalities):
            source = to_tokens(modality)
            term = self.attentions[index](image_tokens, source, size_hw) if self.has_effca else source
            if self.laterals:
                term = term + self.laterals[index](source)
            tokens = tokens + term * presence[:, index, None, None]
        if self.has_mlp:
            tokens = tokens + self.ffn(self.ffn_norm(tokens), size_hw)
        return to_map(tokens, size_hw)
