"""Training runs: settings, checkpoints, resuming, and that the loss falls."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mmms_client.errors import DataError, OutputError, UsageError
from mmms_training.checkpoint import load_model, read_checkpoint, save_checkpoint, stored_weights
from mmms_training.config import TrainConfig, network_of, override, read_recipe, steps_of
from mmms_training.data import TrainingSamples, choose_target
from mmms_training.loop import Trainer
from mmms_training.model.mmms import build_mmms
from mmms_training.presets import preset
from mmms_training.run_state import CHECKPOINT_NAME, STATE_NAME, load_state
from mmms_training.schedule import learning_rate
from mmms_training.sources import open_source

ROOT = Path(__file__).parents[2]
SMALL = [
    "resolution=64", "scene_px=64", "batch_size=2", "surfaces_per_image=2", "steps=6", "workers=0", "is_bf16=false",
    "min_area_px=8", "warmup_steps=2", "checkpoint_every=2", "log_every=1", "feature_steps=0", "learning_rate=0.001",
    "pictures_every=0",
]  # fmt: skip


def small(*more: str) -> TrainConfig:
    return override(TrainConfig(), [*read_recipe("nano"), *SMALL, *more])


def samples_of(config: TrainConfig, length: int = 8, first: int = 0) -> TrainingSamples:
    modalities = network_of(config).modalities
    return TrainingSamples(config, modalities, open_source(config, modalities), length, first)


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


def silent(_: str) -> None:
    pass


def test_resumed_run_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    whole = Trainer(small(), tmp_path / "whole")
    whole.run(silent)
    Trainer(small(), tmp_path / "parts").run(silent, stop_after_s=0.0)
    again = Trainer(small(), tmp_path / "parts")
    assert again.resume() and again.step == 1
    again.run(silent)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    a, b = (read_checkpoint(tmp_path / d / CHECKPOINT_NAME).weights for d in ("whole", "parts"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_run_with_other_settings_is_not_continued(tmp_path: Path) -> None:
    Trainer(small(), tmp_path).run(silent, stop_after_s=0.0)
    with pytest.raises(DataError, match="was begun with others; give the same settings, or another --out"):
        Trainer(small("learning_rate=0.5"), tmp_path).resume()


def test_a_state_brings_moments_and_no_settings_of_the_optimizer(tmp_path: Path) -> None:
    """Settings are the configuration's; steps below zero are no state of any run."""
    trainer = Trainer(small(), tmp_path)
    trainer.run(silent, stop_after_s=0.0)
    state = torch.load(tmp_path / STATE_NAME, weights_only=True)
    state["optimizer"]["param_groups"][0] |= {"betas": (1.0, 1.0), "fused": None}
    torch.save(state, tmp_path / STATE_NAME)
    again = Trainer(small(), tmp_path)
    assert again.resume()
    rest = [
        {k: v for k, v in t.optimizer.param_groups[0].items() if k not in ("params", "lr")} for t in (trainer, again)
    ]
    assert rest[0] == rest[1]
    next(iter(state["optimizer"]["state"].values()))["step"] -= 2
    torch.save(state, tmp_path / STATE_NAME)
    with pytest.raises(DataError, match=r"a step that cannot be.*; remove it to begin anew"):
        Trainer(small(), tmp_path).resume()


def test_a_state_that_declares_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    """PyTorch inflates members to a thousand times the file's size, and a stride of 0 repeats a number without end."""
    many = torch.zeros(1, dtype=torch.float16).expand(1 << 40)
    state = {"step": 3, "images": 2, "model": {}, "ema": {}, "affinity": {}, "config": "{}", "optimizer": {}}
    path, deflated = tmp_path / STATE_NAME, tmp_path / "deflated.pt"
    torch.save(state, path)
    assert load_state(path, torch.device("cpu"))["step"] == 3
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(deflated, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.infolist():
            target.writestr(member.filename, source.read(member))
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({**state, "optimizer": {"state": [{"exp_avg": many}]}}, tmp_path / "repeated.pt")
    for name, reason in (
        ("deflated", "deflated, or too"),
        ("old", "not a zip"),
        ("repeated", "more numbers than there"),
    ):
        with pytest.raises(DataError, match=f"^Expected the state of a run in .* but got .*{reason}.*; remove it"):
            load_state(tmp_path / f"{name}.pt", torch.device("cpu"))


@pytest.mark.parametrize("phase", ["feature_steps=40", "is_encoder_frozen=true"])
def test_loss_falls_in_a_short_training(tmp_path: Path, phase: str) -> None:
    config = small("steps=40", "warmup_steps=5", "checkpoint_every=1000", "learning_rate=0.003", phase)
    Trainer(config, tmp_path).run(silent)
    curve = losses(tmp_path)
    assert np.mean(curve[-8:]) < 0.9 * np.mean(curve[:4])


def test_frozen_encoder_stays_while_the_click_network_learns(tmp_path: Path) -> None:
    """BatchNorm's running statistics belong to what must stay."""
    trainer = Trainer(small("is_encoder_frozen=true", "steps=3"), tmp_path)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run(silent)
    changed = {
        name.split(".")[0] for name, value in trainer.model.state_dict().items() if (value != before[name]).any()
    }
    assert changed == {"ms_patch_embed", "csnet"}


def test_next_phase_takes_weights_and_auxiliary_heads_of_the_run_before(tmp_path: Path) -> None:
    first = Trainer(small("feature_steps=6"), tmp_path / "features")
    first.run(silent)
    then = Trainer(small("is_encoder_frozen=true", "steps=2"), tmp_path / "clicks", start=tmp_path / "features")
    weights = read_checkpoint(tmp_path / "features" / CHECKPOINT_NAME).weights
    assert all(torch.equal(value, weights[name]) for name, value in stored_weights(then.model).items())
    heads = first.affinity.state_dict()
    assert all(torch.equal(value, heads[name]) for name, value in then.affinity.state_dict().items())
    then.run(silent)
    assert all(torch.equal(value, heads[name]) for name, value in then.affinity.state_dict().items())


def test_network_without_lateral_connections_starts_one_that_has_them(tmp_path: Path) -> None:
    first = Trainer(small("has_lateral=false", "steps=1"), tmp_path / "a")
    first.run(silent)
    then = Trainer(small("has_lateral=true", "steps=2"), tmp_path / "b", start=tmp_path / "a")
    before = read_checkpoint(tmp_path / "a" / CHECKPOINT_NAME)
    assert not before.config.has_lateral and then.model.config.has_lateral
    assert all(torch.equal(stored_weights(then.model)[name], value) for name, value in before.weights.items())
    then.run(silent)
    assert any(value.any() for name, value in then.model.state_dict().items() if name.endswith("laterals.0.weight"))


def test_command_line_trains_and_publishes(tmp_path: Path) -> None:
    settings = [f"--set={s}" for s in small_settings("steps=2")]
    command = [sys.executable, "-c", "from mmms_training.cli import main; main()", "--recipe", "nano"]
    out, published = tmp_path / "run", tmp_path / "nano.safetensors"
    done = subprocess.run(
        [*command, "--out", str(out), "--publish", str(published), *settings],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    checkpoint = read_checkpoint(published)
    assert checkpoint.training["steps_done"] == 2 and checkpoint.config == preset("nano")
    assert load_model(checkpoint, 64).training is False


def small_settings(*more: str) -> list[str]:
    return [*(s for s in SMALL if s.split("=")[0] not in {m.split("=")[0] for m in more}), *more]


def test_unknown_setting_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="'learning_rat'; did you mean 'learning_rate'"):
        override(TrainConfig(), ["learning_rat=1"])
    with pytest.raises(UsageError, match="'max_nxt'; did you mean 'max_next'"):
        override(TrainConfig(), ["clicks.max_nxt=1"])


def test_recipe_of_nano_has_settings_that_exist_and_phases_that_follow_each_other() -> None:
    text = (ROOT / "training" / "recipes" / "nano.sh").read_text().replace("\\\n", " ")
    before = "nothing"
    for _, name, start, *settings in (shlex.split(line) for line in text.splitlines() if re.match(r"phase \d", line)):
        assert start == before
        config = override(TrainConfig(), [*read_recipe("nano"), *settings])
        assert config.steps > 0 and config.resolution % 32 == 0
        before = name
    assert f'cp "$out/{before}/nano.safetensors" "$out/nano.safetensors"' in text  # what is shipped is the last phase


def test_setting_of_another_type_is_refused() -> None:
    with pytest.raises(UsageError, match=r"steps to be int \(now \d+\) but got 'many'"):
        override(TrainConfig(), ["steps=many"])


def test_settings_reach_nested_values() -> None:
    config = override(TrainConfig(), ["clicks.max_next=7", "crop_scale=[0.5,0.9]", "learning_rate=1"])
    assert config.clicks.max_next == 7 and config.crop_scale == (0.5, 0.9) and config.learning_rate == 1


def test_learning_rate_warms_up_and_ends_low() -> None:
    settings = ["warmup_steps=10", "steps=100", "learning_rate=1.0", "final_share=0.1", "schedule=cosine"]
    config = override(TrainConfig(), settings)
    assert learning_rate(0, config, 1) == pytest.approx(0.1)
    assert learning_rate(9, config, 1) == pytest.approx(1.0)
    assert learning_rate(100, config, 1) == pytest.approx(0.1)
    longer = override(config, ["schedule_steps=190"])
    assert learning_rate(100, longer, 1) == pytest.approx(0.55)  # half way down


@pytest.mark.parametrize(
    ("dataset", "images", "epochs", "drop"),
    [("mfnet", 784, 100, 95), ("deliver", 3983, 100, 95), ("fmb", 1220, 400, 390)],
)
def test_papers_schedule_is_the_default(dataset: str, images: int, epochs: int, drop: int) -> None:
    config = TrainConfig(dataset=dataset)
    assert steps_of(config, images) == round(epochs * images / 8)
    before, after = (round(epoch * images / 8) for epoch in (drop - 0.1, drop + 0.1))
    assert learning_rate(before, config, images) == pytest.approx(5e-5)
    assert learning_rate(after, config, images) == pytest.approx(5e-6)


def test_samples_depend_on_seed_and_number_alone() -> None:
    one = samples_of(small()).sample(7)
    again = samples_of(small(), first=2)  # two images per step
    other = again[3]
    assert isinstance(other, dict) and again.numbers[3] == 7
    assert all(np.array_equal(one[k], other[k]) for k in ("image", "labels", "presence"))
    assert one["image"].shape == (3, 64, 64) and one["image"].dtype == np.uint8
    assert [m.shape for m in one["modalities"]] == [(1, 64, 64), (1, 64, 64)]


def test_absent_modality_is_all_zeros_in_a_sample() -> None:
    sample = samples_of(small("modality_dropout=1.0")).sample(0)
    assert sample["presence"].sum() == 0 and all(not m.any() for m in sample["modalities"])


def test_image_dropout_leaves_the_other_sensors_to_learn_from() -> None:
    clear = samples_of(small("modality_dropout=0.0"))
    dark = samples_of(small("modality_dropout=0.0", "image_dropout=1.0"))
    for a, b in ((clear.sample(i), dark.sample(i)) for i in range(8)):
        assert b["image"].astype(np.float32).std(axis=(1, 2)).max() < 0.6 * a["image"].astype(np.float32).std()
        assert all(np.array_equal(x, y) for x, y in zip(a["modalities"], b["modalities"], strict=True))


def test_targets_are_never_smaller_than_asked() -> None:
    labels = np.zeros((32, 32), np.int16)
    labels[:2, :2], labels[10:, 10:] = 1, 2
    labels[5, 5] = -1
    rng = np.random.default_rng(0)
    for _ in range(50):
        target = choose_target(labels, small("min_area_px=8"), rng)
        assert target is not None and target.sum() >= 8 and not target[5, 5]
    assert choose_target(np.zeros((32, 32), np.int16), small(), rng) is None


def test_checkpoint_round_trip_in_half_precision(tmp_path: Path) -> None:
    model = build_mmms(preset("nano"), 64).eval()
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, model.config, stored_weights(model), {"steps_done": 0}, torch.float16)
    read = read_checkpoint(path)
    assert read.config == model.config and len(read.sha256) == 64
    loaded = load_model(read, 64)
    for name, value in stored_weights(model).items():
        assert torch.equal(loaded.state_dict()[name], value.half().float())


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file; train one"), (b"", "is broken"), (b"\x80\x04not a tensor file", "is broken")],
)
def test_broken_checkpoint_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "broken.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_checkpoint_of_another_format(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "other.safetensors"
    save_file({"w": torch.zeros(1)}, str(path))
    with pytest.raises(DataError, match=r"format mmms-checkpoint-1 .* but got None"):
        read_checkpoint(path)


def test_checkpoint_whose_weights_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, preset("nano"), {"csnet.nonsense": torch.zeros(1)}, {})
    with pytest.raises(DataError, match="Expected the weights of preset 'nano'"):
        load_model(read_checkpoint(path), 64)


def test_full_disk_leaves_the_checkpoint_before_untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import os

    path = tmp_path / "a.safetensors"
    save_checkpoint(path, preset("nano"), {"w": torch.zeros(1)}, {})
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"a\.safetensors"):
        save_checkpoint(path, preset("nano"), {"w": torch.ones(1)}, {})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
