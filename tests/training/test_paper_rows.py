"""Each row of the paper is a documented command, and the network of each can be built."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import pytest
import torch

from mmms_client.errors import DataError
from mmms_training.cli import cli, make_config
from mmms_training.config import drops_of, epochs_of, network_of
from mmms_training.model.backbone import _random_model, build_backbone
from mmms_training.model.mmms import MMMS
from mmms_training.paper_rows import PRESETS, SENSORS, paper_rows, rows_page
from mmms_training.presets import PRESETS as KNOWN

PAGE = Path(__file__).parents[2] / "docs" / "paper-rows.md"
ROWS = list(paper_rows())
COMMANDS = [line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("mmms-train --")]


def test_page_is_what_the_program_prints_and_has_every_row() -> None:
    assert PAGE.read_text("utf-8") == rows_page()
    assert len(COMMANDS) == len(set(COMMANDS)) == len(ROWS) == len(PRESETS) * (8 + 2 + 2 + 8 + 1) + 4
    for dataset, sensors in SENSORS.items():
        for wanted in {"none", ",".join(sensors) or "none"}:
            assert sum(f"--dataset {dataset} --modalities {wanted} " in line for line in COMMANDS) >= len(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_network_of_every_row_is_built(preset: str) -> None:
    """By the command line's own parser, without memory for weights. The sizes are those of the modalities asked for."""
    sizes: dict[tuple[object, ...], int] = {}
    backbone = None
    for command in COMMANDS:
        if f"--preset {preset} " not in command:
            continue
        run = cli.commands["run"]
        options = dict(run.make_context("run", shlex.split(command)[1:]).params)
        for name in ("out", "start", "stop_after", "publish"):
            options.pop(name)
        config = make_config(options)
        assert config.resolution == 448 and config.batch_size == 8 and config.learning_rate == 5e-5
        assert not (config.photometric or config.modality_dropout or config.dice_weight or config.affinity_weight)
        assert (epochs_of(config), drops_of(config)[0]) in {(100, 95), (400, 390), (55, 50)}
        network = network_of(config)
        key = (network.modalities, network.has_effca, network.has_mlp)
        if key not in sizes:
            with torch.device("meta"):
                backbone = backbone or build_backbone(network.backbone, config.resolution, is_random=True)
                model = MMMS(network, backbone)
            assert not any(p.requires_grad for p in model.backbone.parameters())
            sizes[key] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert len(sizes) >= 8 + 1 + 7  # sets of DeLiVER, thermal, sets of MCubeS but for RGB
    rgb = next(size for (modalities, *_), size in sizes.items() if not modalities)
    assert all(size > rgb for (modalities, *_), size in sizes.items() if modalities)


def test_public_backbone_comes_from_a_local_folder(tmp_path: Path) -> None:
    """As `save_pretrained` writes it; a folder without weights is one line."""
    config = dataclasses.replace(KNOWN["mmms_dinov2_b14"].backbone, width=32, depth=2, heads=2, taps=(1, 1, 2, 2))
    model = _random_model(config)
    model.save_pretrained(str(tmp_path / "weights"))
    backbone = build_backbone(config, 56, tmp_path / "weights")
    stored = dict(model.state_dict())
    assert torch.equal(
        backbone.vit.state_dict()["patch_embed.weight"], stored["embeddings.patch_embeddings.projection.weight"]
    )
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text(json.dumps({}))
    with pytest.raises(DataError, match="Expected the weights of the backbone at"):
        build_backbone(config, 56, tmp_path / "empty")
