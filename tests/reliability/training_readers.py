"""Every reader of foreign bytes in ``mmms_training``, with valid files to begin from."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from fuzz_readers import Reader

from mmms_client.geometry import Region
from mmms_training import run_state
from mmms_training.checkpoint import load_model, read_checkpoint, save_checkpoint, stored_weights
from mmms_training.config import TrainConfig, drops_of, network_of, override, read_recipe, steps_of, to_dict
from mmms_training.feature_store import FeatureStore, StoredCut, StoreFacts
from mmms_training.model.mmms import build_mmms
from mmms_training.presets import preset
from mmms_training.run_log import RunLog

RESOLUTION = 64
_SMALL = dataclasses.replace(
    preset("nano", ("thermal",)),
    backbone=dataclasses.replace(
        preset("nano").backbone, width=10, depth=2, heads=2, taps=(1, 2), stem_channels=(2, 4, 4)
    ),
    pyramid_channels=(4, 4, 4, 4),
    heads=(1, 1, 1, 1),
    csnet_depths=(1, 1, 1, 1),
    head_width=8,
)


def checkpoints(folder: Path) -> list[bytes]:
    model = build_mmms(_SMALL, RESOLUTION)
    save_checkpoint(folder / "made", _SMALL, stored_weights(model), {"steps": 3}, torch.float16)
    data = (folder / "made").read_bytes()
    (folder / "made").unlink()
    return [data]


def see_checkpoint(path: Path) -> None:
    load_model(read_checkpoint(path), RESOLUTION)


def see_recipe(path: Path) -> None:
    config = override(TrainConfig(), read_recipe(str(path)))
    network_of(config)
    steps_of(config, 100)
    drops_of(config)
    json.dumps(to_dict(config))


def recipes(_: Path) -> list[bytes]:
    text = "preset=nano # which\nmodalities=thermal,depth\nsteps=100\nlearning_rate=1e-4\ncrop_scale=[0.5,0.9]\n"
    return [text.encode() + b"clicks.max_next=3\ndrops=1,2\nhas_mlp=none\ncontrol=grey\nbetas=0.9,0.99\nseed=1\n"]


FACTS = StoreFacts({"kind": "nano_vit", "hub_name": None, "taps": [3, 6]}, "0" * 64, 32, "folder", 1, 2, {"seed": 0})
MAPS = [np.ones((2, side, side), np.float16) for side in (8, 4, 2, 2)]


def stores(folder: Path) -> list[bytes]:
    store = FeatureStore.create(folder, FACTS)
    store.write(0, 0, StoredCut("a", Region(0, 0, 16, 12), False), MAPS)
    return [(folder / "store.json").read_bytes()]


def cuts(folder: Path) -> list[bytes]:
    stores(folder)
    return [(folder / "000000-0.safetensors").read_bytes()]


def see_store(path: Path) -> None:
    store = FeatureStore.open(path.parent)
    assert store.facts.cuts > 0 and store.facts.resolution > 0
    cut, features = store.read(0, 0)
    assert isinstance(cut.key, str) and isinstance(cut.is_mirrored, bool) and cut.region.width > 0
    assert [(f.dtype, f.ndim) for f in features] == [(np.float16, 3)] * 4


class Run:
    """What a trainer shows of itself to the reader of its state."""

    def __init__(self, out: Path) -> None:
        self.out, self.device, self.start, self.step = out, torch.device("cpu"), None, 0
        self.config, self.source = TrainConfig(), [0, 1]
        self.model = torch.nn.Linear(2, 2)
        self.model.config = SimpleNamespace(backbone=SimpleNamespace(is_frozen=False))
        self.ema = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.affinity = torch.nn.Linear(1, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        self.model(torch.ones(1, 2)).sum().backward()
        self.optimizer.step()


def states(folder: Path) -> list[bytes]:
    run = Run(folder)
    stream = io.BytesIO()
    state = {
        "step": 3,
        "images": 2,
        "model": run.model.state_dict(),
        "ema": run.ema,
        "affinity": run.affinity.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "config": run_state._settings(run),
    }
    torch.save(state, stream)
    return [stream.getvalue()]


def see_state(path: Path) -> None:
    run = Run(path.parent)
    run_state.read_state(run)
    run.optimizer.zero_grad()
    run.model(torch.ones(1, 2)).sum().backward()
    run.optimizer.step()


def logs(_: Path) -> list[bytes]:
    return [b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n']


def see_log(path: Path) -> None:
    before = path.read_bytes()
    log = RunLog.__new__(RunLog)
    log._file = path
    log._forget_after(1)
    path.write_bytes(before)


READERS = (
    Reader("checkpoint", "a.safetensors", "binary", checkpoints, see_checkpoint),
    Reader("recipe", "r.txt", "text", recipes, see_recipe),
    Reader("feature store", "store.json", "json", stores, see_store),
    Reader("cut of a feature store", "000000-0.safetensors", "binary", cuts, see_store),
    Reader("state of a run", run_state.STATE_NAME, "binary", states, see_state),
    Reader("log of a run", "log.jsonl", "lines", logs, see_log),
)
