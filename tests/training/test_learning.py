"""That training teaches something, and leaves alone what it must not touch."""

from __future__ import annotations

import copy
import dataclasses
import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmms_client.errors import DataError, OutputError, UsageError
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import evaluate
from mmms_eval.summary import Summary
from mmms_eval.synthetic import write_layout
from mmms_training import presets
from mmms_training.checkpoint import find_checkpoint, read_checkpoint
from mmms_training.cli import cli
from mmms_training.config import TrainConfig, override, read_recipe
from mmms_training.finetune import finetune
from mmms_training.loop import Trainer, computes_in_bf16
from mmms_training.predictor import TorchPredictor
from mmms_training.presets import BackboneConfig
from mmms_training.run_state import CHECKPOINT_NAME, STATE_NAME
from mmms_training.sources import open_validation

SHORT = [
    "resolution=64", "scene_px=64", "batch_size=8", "surfaces_per_image=3", "feature_steps=0", "workers=0",
    "min_area_px=40", "log_every=1", "warmup_steps=5", "learning_rate=0.003", "ema_decay=0.9", "modalities=thermal",
    "scene_reuse=8", "pictures_every=0", "crop_scale=[0.6,1.0]", "is_bf16=false",
]  # fmt: skip
PROTOCOL = EvaluationProtocol(stop_iou=0.95, n_max=10, mean_iou_after=(1, 3, 5), smallest_area_px=40)


def silent(_: str) -> None:
    pass


def short(*more: str) -> TrainConfig:
    return override(TrainConfig(), [*read_recipe("nano"), *SHORT, *more])


def measure(trainer: Trainer, images: int) -> Summary:
    """The averaged weights on scenes that no training sees."""
    model = copy.deepcopy(trainer.model)
    model.load_state_dict(trainer.ema, strict=False)
    config = dataclasses.replace(trainer.config, validation_images=images)
    dataset = open_validation(config, model.config.modalities)
    assert dataset is not None
    return evaluate(TorchPredictor(model, config.resolution), dataset, PROTOCOL, name="nano").summary


def losses(out: Path) -> list[float]:
    return [row["loss"] for row in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "loss" in row]


def learn(out: Path, steps: int, images: int) -> tuple[Summary, Summary, list[float]]:
    trainer = Trainer(short(f"steps={steps}"), out)
    before = measure(trainer, images)
    trainer.run(silent)
    return before, measure(trainer, images), losses(out)


def test_short_training_from_nothing_lowers_loss_and_clicks(tmp_path: Path) -> None:
    before, after, curve = learn(tmp_path, steps=20, images=2)
    assert np.mean(curve[-4:]) < 0.9 * np.mean(curve[:4])
    assert after.noc["60"] < before.noc["60"] - 0.5
    assert after.mean_iou_after["5"] > before.mean_iou_after["5"] + 0.2


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_minutes_from_nothing_lower_loss_and_clicks(tmp_path: Path) -> None:
    before, after, curve = learn(tmp_path, steps=160, images=12)
    assert np.mean(curve[-20:]) < 0.8 * np.mean(curve[:5])  # normalised: it never falls far
    assert after.noc["60"] < before.noc["60"] - 3 and after.noc["80"] < before.noc["80"] - 0.5


@pytest.fixture
def tiny_public_preset(monkeypatch: pytest.MonkeyPatch) -> str:
    """A preset with a frozen backbone of the public kind, small enough to train beside."""
    backbone = BackboneConfig("dinov2_with_registers", None, 16, 48, 4, 4, (1, 2, 3, 4))
    nano = presets.preset("nano", ["thermal"])
    monkeypatch.setitem(presets.PRESETS, "tiny", dataclasses.replace(nano, preset="tiny", backbone=backbone))
    return "tiny"


def test_no_gradient_reaches_the_backbone_and_its_weights_stay_to_the_bit(
    tiny_public_preset: str, tmp_path: Path
) -> None:
    config = short(f"preset={tiny_public_preset}", "is_backbone_random=true", "steps=3", "batch_size=2")
    trainer = Trainer(config, tmp_path)
    backbone = trainer.model.backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    others = {name: value.clone() for name, value in trainer.model.parallel_fpn.state_dict().items()}
    asked: list[bool] = []
    backbone.vit.register_forward_hook(lambda _, inputs, outputs: asked.extend(f.requires_grad for f in outputs))
    trainer.run(silent)
    assert asked and not any(asked)  # its features carry no graph to go back along
    assert not backbone.training and all(p.grad is None and not p.requires_grad for p in backbone.parameters())
    assert not {id(p) for p in backbone.parameters()} & {id(p) for p in trainer.trainable}
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert any(not torch.equal(others[n], v) for n, v in trainer.model.parallel_fpn.state_dict().items())
    assert not [name for name in read_checkpoint(tmp_path / CHECKPOINT_NAME).weights if name.startswith("backbone")]


def test_frozen_run_resumes_without_its_backbone_in_the_state(tiny_public_preset: str, tmp_path: Path) -> None:
    config = short(f"preset={tiny_public_preset}", "is_backbone_random=true", "steps=3", "batch_size=2")
    Trainer(config, tmp_path).run(silent, stop_after_s=0.0)
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    assert not [name for name in state["model"] if name.startswith("backbone.")]
    again = Trainer(config, tmp_path)
    assert again.resume() and again.step == 1


def test_log_has_curves_pictures_and_validation(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = short("steps=2", "batch_size=2", "pictures_every=1", "validation_images=1")
    Trainer(config, tmp_path).run(silent)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert {"loss", "lr", "val/NoC@80", "val/NoCMS", "val/mIoU@1"} <= set(events.Tags()["scalars"])
    (name,) = events.Tags()["images"]
    picture = Image.open(io.BytesIO(events.Images(name)[0].encoded_image_string))
    assert picture.size == (4 * 64, 64)  # RGB, thermal, target, answer


def own_pairs(root: Path, count: int) -> Path:
    """Pairs of another look: false colours, as no training scene has them."""
    write_layout(
        "folder", root, range(4_000_000, 4_000_000 + count), size_hw=(128, 128), modalities=["thermal", "depth"]
    )
    for file in (root / "rgb").rglob("*.png"):
        picture = np.asarray(Image.open(file))
        Image.fromarray(255 - picture[..., [1, 2, 0]]).save(file)
    return root


def finetune_config(root: Path, *more: str) -> TrainConfig:
    settings = [f"root={root}", "resolution=128", "workers=0", "pictures_every=0", "is_bf16=false"]
    return override(TrainConfig(), [*read_recipe("finetune"), *settings, *more])


def test_finetune_goes_on_with_the_shipped_checkpoint_and_says_what_it_gained(tmp_path: Path) -> None:
    data, lines = own_pairs(tmp_path / "data", 4), list[str]()
    config = finetune_config(data, "steps=1", "batch_size=2", "validation_images=1")
    before, after = finetune(find_checkpoint("nano"), config, tmp_path / "out", lines.append)
    assert json.loads((tmp_path / "out" / "gain.json").read_text()) == {"before": before, "after": after}
    assert any(line.startswith("on 1 held-out images: NoC@80") for line in lines)
    tuned, nano = (read_checkpoint(f) for f in (tmp_path / "out" / "tuned.safetensors", find_checkpoint("nano")))
    assert tuned.config == nano.config and tuned.training["started_from"].endswith("nano.safetensors")
    changed = [name for name in nano.weights if not torch.equal(nano.weights[name], tuned.weights[name])]
    assert len(changed) > 0.8 * len(nano.weights)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_finetuning_on_twenty_pairs_of_another_look_saves_clicks(tmp_path: Path) -> None:
    config = finetune_config(own_pairs(tmp_path / "data", 28), "steps=60", "validation_images=8")
    before, after = finetune(find_checkpoint("nano"), config, tmp_path / "out", silent)
    assert after["val/NoCMS"] < before["val/NoCMS"] - 0.2
    assert all(after[name] < before[name] for name in ("val/NoC@80", "val/NoC@90", "val/FRMS"))
    assert all(after[name] > before[name] + 0.01 for name in ("val/mIoU@1", "val/mIoU@5"))


def test_checkpoint_of_another_preset_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"preset 'nano' with thermal but .* holds 'nano' with thermal, depth"):
        Trainer(short("steps=1"), tmp_path / "run", find_checkpoint("nano"))
    assert not (tmp_path / "run").exists()


def test_rgb_network_starts_one_with_modalities(tmp_path: Path) -> None:
    rgb = Trainer(short("modalities=[]", "steps=1", "batch_size=2"), tmp_path / "rgb")
    rgb.run(silent)
    then = Trainer(short("steps=1", "batch_size=2"), tmp_path / "thermal", tmp_path / "rgb")
    weights = read_checkpoint(tmp_path / "rgb" / CHECKPOINT_NAME).weights
    state = then.model.state_dict()
    assert weights and all(torch.equal(state[name], value) for name, value in weights.items())
    assert any(name.startswith("mmfuser.") for name in set(state) - set(weights))


def test_full_disk_ends_a_run_in_one_line_with_the_state_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = short("steps=4", "batch_size=2", "checkpoint_every=2")
    Trainer(config, tmp_path).run(silent, stop_after_s=0.0)
    before = {name: (tmp_path / name).read_bytes() for name in (STATE_NAME, CHECKPOINT_NAME)}

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    trainer = Trainer(config, tmp_path)
    trainer.resume()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        OutputError, match=r"(log\.jsonl|state\.pt)' but got 'No space left on device'; free some space"
    ):
        trainer.run(silent)
    monkeypatch.undo()
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not list(tmp_path.glob(".*.part"))
    again = Trainer(config, tmp_path)
    assert again.resume() and again.step == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x", "--set", "learning_rat=1"], "did you mean 'learning_rate'"),
        (["--out", "x", "--recipe", "nanno"], r"Expected a recipe \(claim, finetune, nano\) or a file but got 'nanno'"),
        (["--out", "x", "--set", "schedule=linear"], "schedule to be one of drops, cosine"),
        (["--out", "x", "--preset", "nan"], "did you mean 'nano'"),
        (["finetune", "--checkpoint", "none-such", "--out", "x"], "checkpoint file, or a name in checkpoints/"),
        (["finetune", "--checkpoint", "nano", "--preset", "nano", "--out", "x"], "checkpoint to say preset"),
        (["claim", "--out", "x", "--only", "rgb,termal"], "networks out of rgb"),
        (["claim", "--out", "x", "--seeds", "a"], "--seeds as numbers such as 0,1 but got 'a'"),
        (["claim", "--out", "x", "--shares", "10"], "shares in percent with 25"),
        (["extract-features", "--out", "x", "--recipe", "nano"], "data set of files but got 'synthetic'"),
    ],
)
def test_command_line_refuses_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if arguments[0] == "extract-features":
        arguments = [*arguments, "--backbone-weights", str(find_checkpoint("nano"))]
    with pytest.raises((UsageError, DataError), match=message) as caught:
        cli.main(arguments, "mmms-train", standalone_mode=False)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_bf16_is_taken_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, expected in (({"avx2"}, False), ({"avx512_bf16"}, True), ({"amx_bf16", "amx_tile"}, True)):
        monkeypatch.setattr("mmms_training.loop._processor_flags", lambda flags=flags: flags)
        assert computes_in_bf16(torch.device("cpu")) is expected
