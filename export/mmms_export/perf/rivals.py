"""What others would cost on the same cores: networks of their published sizes with random weights, in OpenVINO as ours.

- SAM-B (Kirillov et al. 2023, from ``transformers``): one encode at 1024 px per image, a light decoder per click.
- A SimpleClick-B-sized network (Liu et al. 2023): ViT-B/16 at 448 px runs in full for every click; a convolution on the
  clicks and the mask before the first block, and an all-MLP head on four scales behind the last one. Built here from
  public parts: it has the size and the cost of that network, not its weights.

Times depend on sizes alone; such masks mean nothing.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmms_export.engines import served_engines
from mmms_export.perf.rows import Row, make_row

SIMPLE_CLICK_PX = 448


class SimpleClickSized(nn.Module):
    """One forward pass per click: image and two disk maps with the previous mask in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import ViTConfig, ViTModel

        config = ViTConfig(image_size=SIMPLE_CLICK_PX, patch_size=16)
        self.backbone = ViTModel(config, add_pooling_layer=False)
        width = config.hidden_size
        self.clicks = nn.Conv2d(3, width, 16, 16)
        self.scales = nn.ModuleList(
            [
                nn.Sequential(
                    nn.ConvTranspose2d(width, width // 2, 2, 2), nn.GELU(), nn.ConvTranspose2d(width // 2, 128, 2, 2)
                ),
                nn.ConvTranspose2d(width, 256, 2, 2),
                nn.Conv2d(width, 512, 1),
                nn.Conv2d(width, 1024, 2, 2),
            ]
        )
        self.heads = nn.ModuleList([nn.Conv2d(channels, 256, 1) for channels in (128, 256, 512, 1024)])
        self.classify = nn.Sequential(nn.Conv2d(1024, 256, 1), nn.ReLU(), nn.Conv2d(256, 1, 1))

    def forward(self, image: Tensor, clicks: Tensor) -> Tensor:
        """``image`` float [1, 3, 448, 448] and ``clicks`` float [1, 3, 448, 448] to logits float [1, 1, 448, 448]."""
        tokens = self.backbone.embeddings(image)
        extra = self.clicks(clicks).flatten(2).transpose(1, 2)
        tokens = tokens + torch.cat([torch.zeros_like(tokens[:, :1]), extra], dim=1)
        for block in self.backbone.layers if hasattr(self.backbone, "layers") else self.backbone.encoder.layer:
            answer = block(tokens)
            tokens = answer[0] if isinstance(answer, tuple) else answer
        side = SIMPLE_CLICK_PX // 16
        grid = tokens[:, 1:].transpose(1, 2).reshape(1, -1, side, side)
        size = (SIMPLE_CLICK_PX // 4, SIMPLE_CLICK_PX // 4)
        maps = [
            nn.functional.interpolate(head(scale(grid)), size, mode="bilinear")
            for scale, head in zip(self.scales, self.heads, strict=True)
        ]
        logits: Tensor = nn.functional.interpolate(
            self.classify(torch.cat(maps, dim=1)), SIMPLE_CLICK_PX, mode="bilinear"
        )
        return logits


class SamDecoder(nn.Module):
    """SAM's answer to one click on an encoded image."""

    def __init__(self, sam: nn.Module) -> None:
        super().__init__()
        self.sam = sam

    def forward(self, embeddings: Tensor, points: Tensor) -> Tensor:
        """``embeddings`` float [1, 256, 64, 64] and one point float [1, 1, 1, 2] to a mask."""
        labels = torch.ones(points.shape[:-1], dtype=torch.int64)
        answer = self.sam(image_embeddings=embeddings, input_points=points, input_labels=labels, multimask_output=False)
        masks: Tensor = answer.pred_masks
        return masks


class SamEncoder(nn.Module):
    """SAM's image encoder."""

    def __init__(self, sam: Any) -> None:
        super().__init__()
        self.encoder = sam.vision_encoder

    def forward(self, image: Tensor) -> Tensor:
        """``image`` float [1, 3, 1024, 1024] to embeddings float [1, 256, 64, 64]."""
        embeddings: Tensor = self.encoder(image)[0]
        return embeddings


def measure_rivals(encodes: int, clicks: int, report: Callable[[str], None]) -> list[Row]:
    """Encode and click of SAM-B, and the click of a SimpleClick-B-sized network."""
    from transformers import SamConfig, SamModel

    torch.manual_seed(0)
    sam = SamModel(SamConfig()).eval()
    report(f"SAM-B: {_millions(sam):.1f} M parameters")
    image, embeddings = torch.rand(1, 3, 1024, 1024), torch.rand(1, 256, 64, 64)
    points = torch.rand(1, 1, 1, 2) * 1000
    how = "OpenVINO, in process"
    rows = [
        make_row("SAM-B", "encode", how, _time(SamEncoder(sam), (image,), encodes)),
        make_row("SAM-B", "click", how, _time(SamDecoder(sam), (embeddings, points), clicks)),
    ]
    del sam
    simple = SimpleClickSized().eval()
    report(f"SimpleClick-B-sized: {_millions(simple):.1f} M parameters")
    side = SIMPLE_CLICK_PX
    inputs = (torch.rand(1, 3, side, side), torch.rand(1, 3, side, side))
    rows.append(make_row("SimpleClick-B-sized", "click", how, _time(simple, inputs, max(3, clicks // 4))))
    return rows


def _millions(network: nn.Module) -> float:
    return sum(p.numel() for p in network.parameters()) / 1e6


def _time(network: nn.Module, inputs: tuple[Tensor, ...], count: int, warm_up: int = 2) -> list[float]:
    """Milliseconds of ``count`` calls of the compiled network, each on other numbers."""
    openvino = served_engines().import_openvino()
    network.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what tracing thinks of fixed sizes
        model = openvino.convert_model(network, example_input=inputs, input=[list(t.shape) for t in inputs])
    request = openvino.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    rng = np.random.default_rng(0)
    spent = []
    for number in range(warm_up + count):
        arrays = [(t.numpy() * rng.uniform(0.9, 1.0)).astype(np.float32) for t in inputs]
        began = time.perf_counter()
        request.infer(arrays, share_inputs=True, share_outputs=True)
        if number >= warm_up:
            spent.append(1e3 * (time.perf_counter() - began))
    return spent
