"""Validation of a run: the bench's own code on images that the run does not train on."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor

from mmms_client.errors import UsageError
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import evaluate
from mmms_training.config import TrainConfig
from mmms_training.model.mmms import MMMS
from mmms_training.predictor import TorchPredictor
from mmms_training.sources import open_validation

PROTOCOL = EvaluationProtocol(stop_iou=0.95)  # changes no NoC, and is a third of the time


def validate(config: TrainConfig, model: MMMS, weights: Mapping[str, Tensor]) -> tuple[dict[str, float], str]:
    """NoC, NoCMS, FRMS and mean IoU of ``weights``, by name, and as a line of text."""
    dataset = open_validation(config, model.config.modalities)
    assert dataset is not None
    if config.store is not None:
        raise UsageError(
            "Expected a backbone for validation_images but the run trains from stored features; set it to 0, and "
            "measure the served network with bench."
        )
    averaged = copy.deepcopy(model)
    averaged.load_state_dict(dict(weights), strict=False)
    predictor = TorchPredictor(averaged, config.resolution)
    summary = evaluate(predictor, dataset, PROTOCOL, name=config.preset).summary
    values = {
        "val/NoC@80": summary.noc["80"],
        "val/NoC@90": summary.noc["90"],
        "val/NoCMS": summary.nocms,
        "val/FRMS": summary.frms_percent,
        "val/mIoU@1": summary.mean_iou_after["1"],
        "val/mIoU@5": summary.mean_iou_after["5"],
    }
    told = ", ".join(f"{name.removeprefix('val/')} {value:.2f}" for name, value in values.items())
    return values, f"validation on {summary.images} images: {told}"
