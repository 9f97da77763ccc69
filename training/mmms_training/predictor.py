"""TorchPredictor: the eager fp32 network behind the :class:`Predictor` protocol. The reference for every engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.geometry import Region
from mmms_client.predictor import Encoded, Modalities, click_inputs, network_inputs
from mmms_training.model.mmms import MMMS, backbone_shapes, pyramid_shapes


def model_contract(
    model: MMMS, resolution: int, checkpoint: str, sha256: str, engine: str, precision: str
) -> ModelContract:
    """The contract of a network at one resolution."""
    return ModelContract(
        preset=model.config.preset,
        checkpoint=checkpoint,
        checkpoint_sha256=sha256,
        resolution=resolution,
        modalities=model.config.modalities,
        backbone_shapes=backbone_shapes(model.config, resolution),
        pyramid_shapes=pyramid_shapes(model.config, resolution),
        engine=engine,
        precision=precision,
    )


class TorchPredictor:
    """See :class:`mmms_client.predictor.Predictor`. Thread-safe: evaluation mode changes no state."""

    def __init__(self, model: MMMS, resolution: int, checkpoint: str = "in memory", sha256: str = "") -> None:
        self.model = model.eval()
        self._contract = model_contract(model, resolution, checkpoint, sha256, "pytorch", "fp32")

    @property
    def contract(self) -> ModelContract:
        return self._contract

    @torch.inference_mode()
    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        frame, present, tensors = network_inputs(self._contract, image, modalities, region)
        mixed = self.model.encode(
            self._tensor(tensors["image"]),
            [self._tensor(tensors[name]) for name in self._contract.modality_names],
            self._tensor(tensors["presence"]) if "presence" in tensors else None,
        )
        return Encoded(frame, present, mixed)

    @torch.inference_mode()
    def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        tensors = click_inputs(self._contract, encoded.frame, clicks, previous_mask)
        logits = self.model.click(
            encoded.payload,
            self._tensor(tensors["point_coords"]),
            torch.from_numpy(tensors["point_labels"]).to(self._device),
            self._tensor(tensors["previous_mask"]) / 255.0,
        )
        return np.asarray(torch.sigmoid(logits)[0, 0].float().cpu().numpy())

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device).float()
