"""SegFormer's building blocks (Xie et al., 2021): overlapping patch embedding, reduced attention, Mix-FFN.

Used three times: in a modality's encoder, in the CrossBlock, and in CSNet. Maps are [B, C, H, W] at the borders of a
stage and tokens [B, H * W, C] inside it. Both are the same memory when maps are stored channels last, so going from
one to the other costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def to_tokens(maps: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)


def to_map(tokens: Tensor, size_hw: Sequence[int]) -> Tensor:
    """[B, H * W, C] -> [B, C, H, W]."""
    return torch.unflatten(tokens, 1, (int(size_hw[0]), int(size_hw[1]))).permute(0, 3, 1, 2)


class ReducedAttention(nn.Module):
    """Multi-head attention whose keys and values are taken from a map shrunk ``rate`` times per side.

    Self-attention when both arguments are the same tokens, the paper's EffCA when they are not.
    """

    def __init__(self, width: int, heads: int, rate: int) -> None:
        super().__init__()
        self.heads = heads
        self.rate = rate
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        if rate > 1:
            self.reduce = nn.Conv2d(width, width, rate, rate)
            self.reduce_norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, source: Tensor, size_hw: Sequence[int]) -> Tensor:
        if self.rate > 1:
            source = self.reduce_norm(to_tokens(self.reduce(to_map(source, size_hw))))
        q, k, v = (self._split(p) for p in (self.query(tokens), self.key(source), self.value(source)))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.project(mixed.transpose(1, 2).flatten(2))

    def _split(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        return tokens.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)


class MixFFN(nn.Module):
    """Linear, 3x3 depthwise convolution, GELU, linear."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.expand = nn.Linear(width, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, size_hw: Sequence[int]) -> Tensor:
        hidden = self.depthwise(to_map(self.expand(tokens), size_hw))
        return self.contract(F.gelu(to_tokens(hidden)))


class Block(nn.Module):
    """Pre-norm transformer block: reduced self-attention, then Mix-FFN, each with a residual."""

    def __init__(self, width: int, heads: int, rate: int, expansion: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = ReducedAttention(width, heads, rate)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = MixFFN(width, expansion)

    def forward(self, tokens: Tensor, size_hw: Sequence[int]) -> Tensor:
        normed = self.attention_norm(tokens)
        tokens = tokens + self.attention(normed, normed, size_hw)
        return tokens + self.ffn(self.ffn_norm(tokens), size_hw)


class Stage(nn.Module):
    """Blocks at one scale and a final LayerNorm: [B, C, H, W] -> [B, C, H, W]."""

    def __init__(self, width: int, heads: int, rate: int, expansion: int, depth: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, rate, expansion) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Tensor) -> Tensor:
        size_hw = maps.shape[-2:]
        tokens = to_tokens(maps)
        for block in self.blocks:
            tokens = block(tokens, size_hw)
        return to_map(self.norm(tokens), size_hw)


class OverlapPatchEmbed(nn.Module):
    """Strided convolution whose kernel is wider than its stride, then LayerNorm: [B, C, H, W] -> [B, C', H/s, W/s]."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.project(maps)
        return to_map(self.norm(to_tokens(maps)), maps.shape[-2:])


class SegformerEncoder(nn.Module):
    """SegFormer's hierarchical encoder (MiT): [B, C_m, H, W] -> maps at H/4, H/8, H/16, H/32."""

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int],
        heads: Sequence[int],
        rates: Sequence[int],
        depths: Sequence[int],
        expansion: int,
    ) -> None:
        super().__init__()
        channels = (in_channels, *widths[:-1])
        kernels, strides = (7, 3, 3, 3), (4, 2, 2, 2)
        self.embeds = nn.ModuleList(
            OverlapPatchEmbed(c, w, k, s) for c, w, k, s in zip(channels, widths, kernels, strides, strict=True)
        )
        self.stages = nn.ModuleList(
            Stage(w, h, r, expansion, d) for w, h, r, d in zip(widths, heads, rates, depths, strict=True)
        )

    def forward(self, maps: Tensor) -> list[Tensor]:
        pyramid = []
        for embed, stage in zip(self.embeds, self.stages, strict=True):
            maps = stage(embed(maps))
            pyramid.append(maps)
        return pyramid


def initialize(module: nn.Module) -> None:
    """Truncated normal for linear layers, fan-out normal for convolutions; an attention begins with equal queries and
    keys.

    The usual 0.02 belongs to widths around 768; narrow networks need the same spread of the sums, so it goes with the
    number of inputs. With equal projections a token attends first to tokens like itself (mimetic initialisation,
    Trockman and Kolter, 2023), which is where a click must spread to.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.55 / module.in_features**0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, ReducedAttention):  # after its parts: ``apply`` goes from the leaves to the root
        module.key.weight.data.copy_(module.query.weight.data)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels // module.groups
        nn.init.normal_(module.weight, 0.0, (2.0 / fan_out) ** 0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
