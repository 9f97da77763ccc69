"""Training that is interrupted, or spread over processes, is the same training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmms_client.errors import UsageError
from mmms_training.checkpoint import read_checkpoint
from mmms_training.config import TrainConfig, override, read_recipe
from mmms_training.loop import Trainer
from mmms_training.parallel import ProcessGroup
from mmms_training.run_state import CHECKPOINT_NAME

SETTINGS = [
    "resolution=64", "scene_px=64", "batch_size=2", "surfaces_per_image=1", "workers=0", "is_bf16=false",
    "min_area_px=8", "warmup_steps=2", "log_every=1", "feature_steps=0", "learning_rate=0.001", "pictures_every=0",
    "ema_decay=0",
]  # fmt: skip


def command(out: Path, *more: str) -> list[str]:
    settings = [f"--set={setting}" for setting in (*SETTINGS, *more)]
    return ["-m", "mmms_training", "--recipe", "nano", "--out", str(out), *settings]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=200, env=environment())
    assert done.returncode == 0, done.stderr[-2000:]


def train_here(out: Path, *more: str) -> None:
    trainer = Trainer(override(TrainConfig(), [*read_recipe("nano"), *SETTINGS, *more]), out)
    trainer.resume()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the other processes
    try:
        trainer.run(lambda _: None)
    finally:
        torch.set_num_threads(threads)


def losses(out: Path) -> list[float]:
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


def test_two_processes_train_what_one_process_trains_with_the_whole_batch(tmp_path: Path) -> None:
    """Loss, gradients, and statistics of batch normalisation. One step: Adam makes whole steps of rounding noise."""
    settings = ("steps=1", "gradient_clip=0")
    run(["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command(tmp_path / "two", *settings)])
    train_here(tmp_path / "one", *settings)
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    two, one = (read_checkpoint(tmp_path / name / CHECKPOINT_NAME).weights for name in ("two", "one"))
    for name, value in one.items():
        if "running" in name:  # of batch normalisation: each half of the batch has others
            assert torch.allclose(two[name], value, rtol=1e-4, atol=1e-5), name
    state_two, state_one = (
        torch.load(tmp_path / name / "state.pt", weights_only=True)["optimizer"]["state"] for name in ("two", "one")
    )
    for key, moments in state_one.items():  # the first moment is a mean of gradients
        gradient, expected = state_two[key]["exp_avg"], moments["exp_avg"]
        assert (gradient - expected).norm() <= 1e-3 * expected.norm() + 1e-6, key


def test_killed_run_goes_on_with_the_same_loss_curve(tmp_path: Path) -> None:
    settings = ("steps=8", "checkpoint_every=2")
    train_here(tmp_path / "whole", *settings)
    process = subprocess.Popen(
        [sys.executable, *command(tmp_path / "parts", *settings)], stdout=subprocess.DEVNULL, env=environment()
    )
    log, deadline = tmp_path / "parts" / "log.jsonl", time.monotonic() + 120
    while not (log.is_file() and log.read_text().count("\n") >= 5) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["step"]
    assert 0 < done < 8
    train_here(tmp_path / "parts", *settings)
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    parts, whole = (read_checkpoint(tmp_path / name / CHECKPOINT_NAME).weights for name in ("parts", "whole"))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_batch_that_cannot_be_shared_out_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    group = ProcessGroup()
    monkeypatch.setattr(group, "size", 3)
    with pytest.raises(UsageError, match="multiple of the 3 processes but got 8"):
        group.check_batch(TrainConfig().batch_size)
