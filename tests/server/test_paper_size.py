"""A network of the paper's size, served: the same answer as the eager network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmms_client import Click, TritonPredictor
from mmms_eval.synthetic import SceneConfig, render_scene
from mmms_export.exporter import export, load_source
from mmms_export.repository import Target
from mmms_server.process import ServerProcess
from mmms_training.predictor import TorchPredictor
from mmms_training.presets import preset

SIDE = 448


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_served_dinov2_with_one_modality_equals_the_eager_network(server_extra: None, tmp_path: Path) -> None:
    """Random weights: the exporter scales the last layer so that the mask spans the range."""
    source = load_source(None, preset("mmms_dinov2_b14", ["thermal"]), SIDE, None, random_weights=True)
    export(source, Target("cpu", "fp32"), SIDE, tmp_path / "repository", lambda _: None)
    eager = TorchPredictor(source.model, SIDE)
    scene = render_scene(4_000_000_100, SceneConfig(size_hw=(192, 256)), modalities=["thermal"])
    with (
        ServerProcess(tmp_path / "repository", tmp_path / "log") as server,
        TritonPredictor.connect(server.url) as served,
    ):
        for modalities in ({"thermal": scene.modalities["thermal"]}, {}):
            mask = None
            for clicks in ([Click(100.0, 60.0)], [Click(100.0, 60.0), Click(30.0, 150.0, False)]):
                answers = [p.predict(p.encode(scene.image, modalities), clicks, mask) for p in (served, eager)]
                assert np.abs(answers[0] - answers[1]).max() <= 2 / 255
                mask = answers[1]
            assert mask is not None and mask.max() > 0.95 and mask.min() < 0.05
