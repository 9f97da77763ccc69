"""Inputs for the parity check of a trained checkpoint: synthetic scenes with clicks where a person would click."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.predictor import click_inputs, network_inputs
from mmms_eval.click_simulation import next_click
from mmms_eval.synthetic import SceneConfig, render_scene

FIRST_SEED = 3_000_000_000  # neither trained on nor part of the benchmark


def scene_cases(contract: ModelContract, count: int = 8) -> list[dict[str, Tensor]]:
    """Inputs of ``mmms`` by tensor name: one positive click in the middle of the largest surface, one negative
    outside.
    """
    cases = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        scene = render_scene(seed, SceneConfig(size_hw=(256, 320)), modalities=contract.modality_names)
        rng = np.random.default_rng(seed)
        modalities = {name: scene.modalities[name] for name in contract.modality_names}
        frame, _, tensors = network_inputs(contract, scene.image, modalities)
        ids, counts = np.unique(scene.labels[(scene.labels > 0) & (scene.labels < 255)], return_counts=True)
        target = scene.labels == ids[counts.argmax()]
        first = next_click(target, np.zeros_like(target), np.ones_like(target))
        outside = np.argwhere(~target)
        y, x = outside[rng.integers(len(outside))]
        assert first is not None
        clicks = [first, Click(float(x), float(y), False)]
        tensors |= click_inputs(contract, frame, clicks, None)
        cases.append({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in tensors.items()})
    return cases
