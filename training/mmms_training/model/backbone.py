"""The RGB backbone: a vision transformer seen as a black box that gives four feature maps.

Paper symbol -> our name: ``F1..F4`` -> the returned list, ``P`` -> ``patch_size``, ``D`` -> ``width``.

The paper's four backbones come from ``transformers`` under their public names; ``NanoViT`` is ours, for the preset
that must be trained from nothing. Where we differ: the paper taps blocks 3, 6, 9, 12 throughout; a ViT-H has 32
blocks, so its taps are the quarters of its depth (a setting).

Only patch tokens are kept. Position embeddings are resized to the grid once, when the module is built, and are a
constant from then on: an antialiased bicubic resize inside the graph is refused by TensorRT and would cost time at
every image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmms_client.errors import DataError
from mmms_training.model.segformer import initialize
from mmms_training.presets import BackboneConfig

FeatureShapes = tuple[tuple[int, int, int], ...]


class NanoBlock(nn.Module):
    """Pre-norm ViT block with a depthwise 3x3 convolution in front, which stands in for position embeddings.

    The convolution (conditional position encoding, Chu et al., 2021) makes the block indifferent to the grid's size,
    so one checkpoint serves every resolution.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def forward(self, maps: Tensor) -> Tensor:
        maps = maps + self.position(maps)
        batch, width, height, columns = maps.shape
        tokens = maps.permute(0, 2, 3, 1).flatten(1, 2)
        qkv = self.qkv(self.attention_norm(tokens))
        q, k, v = qkv.reshape(batch, -1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tokens = tokens + self.project(mixed)
        tokens = tokens + self.contract(F.gelu(self.expand(self.ffn_norm(tokens))))
        return torch.unflatten(tokens, 1, (height, columns)).permute(0, 3, 1, 2)


class NanoViT(nn.Module):
    """A small ViT on a convolutional stem (Xiao et al., 2021).

    F1 at H/4 and F2 at H/8 come from the stem, F3 and F4 at H/16 from the blocks: fine borders survive, and the
    attention still sees only (S / 16)^2 tokens.
    """

    def __init__(self, config: BackboneConfig) -> None:
        super().__init__()
        half, quarter, eighth = config.stem_channels
        self.taps = config.taps
        self.to_half = _conv_norm(3, half, 2)
        self.to_quarter = nn.Sequential(_conv_norm(half, quarter, 2), _conv_norm(quarter, quarter, 1))
        self.to_eighth = nn.Sequential(_conv_norm(quarter, eighth, 2), _conv_norm(eighth, eighth, 1))
        self.to_tokens = nn.Conv2d(eighth, config.width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(NanoBlock(config.width, config.heads) for _ in range(config.depth))
        self.channels = (quarter, eighth, config.width, config.width)

    def initialize(self) -> None:
        """Each block begins near the identity: a position convolution of usual size would double the maps each time."""
        self.apply(initialize)
        for block in self.blocks:
            assert isinstance(block, NanoBlock)
            nn.init.normal_(block.position.weight, 0.0, 0.02)
            query, key, _ = block.qkv.weight.data.chunk(3)
            key.copy_(query)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        quarter = self.to_quarter(self.to_half(pixels))
        eighth = self.to_eighth(quarter)
        maps = self.to_tokens(eighth)
        features = [quarter, eighth]
        for number, block in enumerate(self.blocks, 1):
            maps = block(maps)
            if number in self.taps:
                features.append(maps)
        return features


def _conv_norm(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.GELU(),
    )


class HubViT(nn.Module):
    """One of the paper's backbones from ``transformers``, cut after the last tap, patch tokens only."""

    def __init__(self, config: BackboneConfig, model: nn.Module, resolution: int) -> None:
        super().__init__()
        self.config = config
        grid = (config.native_resolution or resolution) // config.patch_size
        self.grid = grid
        blocks = _layers(model)
        self.blocks = nn.ModuleList(list(blocks)[: max(config.taps)])
        if config.kind == "sam":
            self.patch_embed: nn.Module = _get(model, "patch_embed.projection")
            position = _get(model, "pos_embed")  # [1, h, w, D]
            prefix = torch.zeros(1, 0, config.width)
            patch_position = position.detach().permute(0, 3, 1, 2)
        else:
            embeddings = _get(model, "embeddings")
            self.patch_embed = _get(embeddings, "patch_embeddings.projection")
            prefix, patch_position = _split_positions(config, embeddings)
        self.prefix = nn.Parameter(prefix, requires_grad=False)  # class and register tokens, positions included
        self.position = nn.Parameter(_resize_positions(patch_position, grid), requires_grad=False)  # [1, D, g, g]
        self.channels = (config.width,) * 4

    def forward(self, pixels: Tensor) -> list[Tensor]:
        size = self.config.native_resolution
        target = pixels.shape[-1] // self.config.patch_size
        if size is not None and pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
        maps = self.patch_embed(pixels) + self.position
        is_sam = self.config.kind == "sam"
        if is_sam:
            tokens = maps.permute(0, 2, 3, 1)
        else:
            tokens = maps.flatten(2).transpose(1, 2)
            tokens = torch.cat((self.prefix.expand(tokens.shape[0], -1, -1), tokens), 1)
        features = []
        for number, block in enumerate(self.blocks, 1):
            answer = block(tokens)
            tokens = answer[0] if isinstance(answer, tuple) else answer
            if number in self.config.taps:
                features.append(self._to_map(tokens, target if size is not None else self.grid))
        return features

    def _to_map(self, tokens: Tensor, target: int) -> Tensor:
        if self.config.kind == "sam":
            maps = tokens.permute(0, 3, 1, 2)
        else:
            maps = tokens[:, self.prefix.shape[1] :].transpose(1, 2)
            maps = maps.reshape(tokens.shape[0], -1, self.grid, self.grid)
        if maps.shape[-1] != target:  # SAM works at its own size; its features come back to ours
            maps = F.interpolate(maps, (target, target), mode="bilinear", align_corners=False)
        return maps


class Backbone(nn.Module):
    """Normalisation and the ViT: RGB in [0, 255] float [B, 3, S, S] -> F1..F4.

    When the configuration says frozen, it never gets a gradient and never leaves evaluation mode.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: BackboneConfig, vit: NanoViT | HubViT) -> None:
        super().__init__()
        self.config = config
        self.vit = vit
        self.register_buffer("mean", 255.0 * torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        if config.is_frozen:
            self.requires_grad_(False).eval()

    @property
    def channels(self) -> tuple[int, ...]:
        return self.vit.channels

    def forward(self, image: Tensor) -> list[Tensor]:
        pixels = (image - self.mean) / self.std
        if not self.config.is_frozen:
            return self.vit(pixels)
        with torch.no_grad():
            return self.vit(pixels)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode and not self.config.is_frozen)
        return self


class AbsentBackbone(Backbone):
    """Stands where a backbone is somebody else's: knows the shapes of its features, and computes nothing."""

    def __init__(self, config: BackboneConfig) -> None:
        nn.Module.__init__(self)
        self.config = config
        stem = config.stem_channels
        is_nano = config.kind == "nano_vit"
        self._channels = (stem[1], stem[2], config.width, config.width) if is_nano else (config.width,) * 4
        self.vit = nn.Identity()  # type: ignore[assignment]

    @property
    def channels(self) -> tuple[int, ...]:
        return self._channels

    def forward(self, image: Tensor) -> list[Tensor]:
        raise DataError(
            "Expected features of a backbone but got an image, and there is no backbone here; give features."
        )


def fingerprint(backbone: Backbone) -> str:
    """SHA-256 of what a backbone computes, whatever the resolution: kind, taps and weights (positions left out)."""
    digest = hashlib.sha256(f"{backbone.config.kind} {backbone.config.taps}".encode())
    for name, value in sorted(backbone.vit.state_dict().items()):
        if name != "position" and not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def build_backbone(
    config: BackboneConfig, resolution: int, weights: str | Path | None = None, is_random: bool = False
) -> Backbone:
    """Build a backbone for one resolution.

    Args:
        config: which one.
        resolution: S in px; a multiple of the patch size.
        weights: a hub name or a local folder as written by ``save_pretrained``; the configuration's public name if
        ``None``. is_random: random weights of the right shapes instead of loading any.

    Raises:
        DataError: the weights can be found neither on the hub nor in a folder.
    """
    if resolution % config.patch_size:
        raise DataError(
            f"Expected a resolution that is a multiple of the patch size {config.patch_size} px but got {resolution}; "
            "take 448."
        )
    if config.kind == "nano_vit":
        backbone = Backbone(config, NanoViT(config))
        if weights is not None:
            _load_nano(backbone, Path(weights))
        return backbone
    model = _random_model(config) if is_random else _load_model(config, weights)
    return Backbone(config, HubViT(config, model, resolution))


def _load_nano(backbone: Backbone, path: Path) -> None:
    """The backbone of a checkpoint, for a network that takes it as somebody else's."""
    from mmms_training.checkpoint import read_checkpoint

    weights = {
        name.removeprefix("backbone."): value
        for name, value in read_checkpoint(path).weights.items()
        if name.startswith("backbone.")
    }
    missing, unexpected = backbone.load_state_dict(weights, strict=False)
    if unexpected or [name for name in missing if not name.endswith("num_batches_tracked")]:
        raise DataError(
            f"Expected a checkpoint with a nano backbone in {str(path)!r} but it has none, or another; give one of "
            "`nano`."
        )


def _model_class(config: BackboneConfig) -> Any:
    import transformers

    names = {
        "dinov2_with_registers": "Dinov2WithRegistersModel",
        "vit_mae": "ViTModel",  # ViTMAEModel would shuffle and mask patches; the weights fit the plain ViT
        "sam": "SamVisionModel",
        "ijepa": "IJepaModel",
    }
    return getattr(transformers, names[config.kind])


def _random_model(config: BackboneConfig) -> nn.Module:
    cls = _model_class(config)
    sizes: dict[str, Any] = {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "patch_size": config.patch_size,
    }
    if config.kind == "sam":
        sizes |= {"image_size": 1024, "mlp_dim": 4 * config.width, "global_attn_indexes": [2, 5, 8, 11]}
    elif config.kind == "dinov2_with_registers":
        sizes |= {"image_size": 518, "mlp_ratio": 4, "num_register_tokens": 4}
    else:
        sizes |= {"image_size": 224, "intermediate_size": 4 * config.width}
    extra = {"add_pooling_layer": False} if config.kind in ("vit_mae", "ijepa") else {}
    return _inner(cls(cls.config_class(**sizes), **extra))


def _load_model(config: BackboneConfig, weights: str | Path | None) -> nn.Module:
    cls = _model_class(config)
    source = str(weights or config.hub_name)
    extra = {"add_pooling_layer": False} if config.kind in ("vit_mae", "ijepa") else {}
    try:
        return _inner(cls.from_pretrained(source, **extra))
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"Expected the weights of the backbone at {source!r} but could not load them: give the machine access to "
            f"the model hub (public name {config.hub_name}), or a local folder with --backbone-weights FOLDER; "
            "--random-weights runs without any."
        ) from error


def _inner(model: nn.Module) -> nn.Module:
    """SamVisionModel wraps the encoder that we need."""
    return getattr(model, "vision_encoder", model)


def _layers(model: nn.Module) -> Sequence[nn.Module]:
    for path in ("encoder.layer", "layers", "encoder.layers"):
        try:
            found = _get(model, path)
        except AttributeError:
            continue
        if isinstance(found, nn.ModuleList):
            return list(found)
    raise DataError(
        f"Expected a list of transformer blocks in {type(model).__name__} but found none; update `transformers`."
    )


def _get(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def _split_positions(config: BackboneConfig, embeddings: nn.Module) -> tuple[Tensor, Tensor]:
    """Prefix tokens with their positions [1, n, D], and patch positions as a map [1, D, g, g]."""
    position = _get(embeddings, "position_embeddings").detach()
    parts: list[Tensor] = []
    if config.kind != "ijepa":  # it has no class token
        parts.append(_get(embeddings, "cls_token").detach() + position[:, :1])
        position = position[:, 1:]
    if config.kind == "dinov2_with_registers":
        parts.append(_get(embeddings, "register_tokens").detach())
    prefix = torch.cat(parts, 1) if parts else torch.zeros(1, 0, config.width)
    side = round(position.shape[1] ** 0.5)
    return prefix, position.transpose(1, 2).reshape(1, config.width, side, side)


def _resize_positions(position: Tensor, grid: int) -> Tensor:
    """[1, D, g, g] to the grid of the export, bicubic and antialiased as in DINOv2's own code."""
    if position.shape[-1] == grid:
        return position.clone()
    return F.interpolate(position, (grid, grid), mode="bicubic", align_corners=False, antialias=True)
