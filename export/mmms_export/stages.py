"""The three graphs that are served: everything between the tensors of the contract, nothing outside.

Each stage wraps a part of the network and speaks the contract's names, dtypes and packing, so that the ONNX graph
holds all normalisation, the disks of the clicks and the folded head. Inside a stage the arithmetic is fp32; engines
reduce it if asked.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmms_client.contract import ModelContract, TensorSpec
from mmms_training.model.csnet import FoldedHead, MLPHead
from mmms_training.model.mmms import MMMS
from mmms_training.model.ms_patch_embed import draw_disks

STAGE_NAMES = ("backbone", "fuser", "csnet")


class BackboneStage(nn.Module):
    """``image`` -> ``F1`` .. ``F4``."""

    def __init__(self, model: MMMS) -> None:
        super().__init__()
        self.backbone = model.backbone

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(maps.half() for maps in self.backbone(image.float()))


class FuserStage(nn.Module):
    """``F1`` .. ``F4``, the modalities and ``presence`` -> ``features``."""

    def __init__(self, model: MMMS, resolution: int) -> None:
        super().__init__()
        self.parallel_fpn = model.parallel_fpn
        self.mmfuser = model.mmfuser
        self.resolution = resolution

    def forward(self, f1: Tensor, f2: Tensor, f3: Tensor, f4: Tensor, *rest: Tensor) -> Tensor:
        pyramid = self.parallel_fpn([f.float() for f in (f1, f2, f3, f4)], self.resolution)
        modalities, presence = ([m.float() for m in rest[:-1]], rest[-1]) if rest else ([], None)
        mixed = self.mmfuser(pyramid, modalities, presence)
        return torch.cat([maps.flatten(1) for maps in mixed], 1).half()


class CSNetStage(nn.Module):
    """``features``, points and ``previous_mask`` -> ``mask``."""

    def __init__(self, model: MMMS, contract: ModelContract) -> None:
        super().__init__()
        self.ms_patch_embed = model.ms_patch_embed
        self.csnet = copy.deepcopy(model.csnet)
        if isinstance(self.csnet.head, MLPHead):
            self.csnet.head = FoldedHead(self.csnet.head)
        self.shapes = contract.pyramid_shapes
        self.resolution = contract.resolution
        self.radius_px = model.config.disk_radius_px

    def forward(self, features: Tensor, point_coords: Tensor, point_labels: Tensor, previous_mask: Tensor) -> Tensor:
        mixed = unpack(features.float(), self.shapes)
        disks = draw_disks(point_coords, point_labels, self.resolution, self.radius_px)
        interaction = torch.cat((previous_mask.float() * (1.0 / 255.0), disks), 1)
        logits = self.csnet(mixed, self.ms_patch_embed(interaction))
        logits = F.interpolate(logits, (self.resolution, self.resolution), mode="bilinear", align_corners=False)
        return (torch.sigmoid(logits) * 255.0 + 0.5).clamp(0.0, 255.0).to(torch.uint8)


def unpack(features: Tensor, shapes: Sequence[tuple[int, int, int]]) -> list[Tensor]:
    """``features`` [B, F] to maps [B, C, H, W] of the given shapes."""
    maps, start = [], 0
    for shape in shapes:
        length = math.prod(shape)
        maps.append(features[:, start : start + length].reshape(-1, *shape))
        start += length
    return maps


def build_stages(model: MMMS, contract: ModelContract, names: Sequence[str] = STAGE_NAMES) -> dict[str, nn.Module]:
    """Stages of a network in evaluation mode, by name; all of them, or some."""
    stages = {
        "backbone": BackboneStage(model).eval(),
        "fuser": FuserStage(model, contract.resolution).eval(),
        "csnet": CSNetStage(model, contract).eval(),
    }
    return {name: stages[name] for name in names}


def example_inputs(
    specs: Sequence[TensorSpec], contract: ModelContract, seed: int, batch: int = 1
) -> dict[str, Tensor]:
    """Plausible inputs for tracing and for parity: a smooth picture, some invalid modality pixels, a few clicks."""
    generator = torch.Generator().manual_seed(seed)
    inputs: dict[str, Tensor] = {}
    for spec in specs:
        shape = (batch, *spec.shape)
        if spec.name == "point_coords":
            value = torch.rand(shape, generator=generator) * (contract.resolution - 1)
        elif spec.name == "point_labels":
            value = torch.full(shape, -1, dtype=torch.int32)
            value[:, :5] = torch.tensor([1, 0, 1, 1, 0], dtype=torch.int32)
        elif spec.name == "presence":
            value = torch.ones(shape)
        elif spec.name in ("image", "previous_mask"):
            value = (_smooth(shape, generator) * 255.0).to(torch.uint8)
        elif spec.name in contract.modality_names:
            value = _smooth(shape, generator)
            value = torch.where(_smooth(shape, generator) < 0.1, torch.full_like(value, -1.0), value).half()
        else:
            value = torch.randn(shape, generator=generator).half()
        inputs[spec.name] = value
    return inputs


def _smooth(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Noise at several scales in [0, 1], of the given shape [B, C, H, W]."""
    total = torch.zeros(*shape)
    for cells in (4, 16, 64):
        noise = torch.rand(shape[0], shape[1], cells, cells, generator=generator)
        total += F.interpolate(noise, (shape[2], shape[3]), mode="bicubic", align_corners=False) / math.sqrt(cells)
    low, high = total.min(), total.max()
    return (total - low) / (high - low)
