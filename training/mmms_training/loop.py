"""The training loop: encode an image once, click on several of its surfaces, learn from the last answer.

One step: draw targets and first clicks; answer them a few times without gradients, each time adding a click on the
larger error (RITM); then one forward pass with gradients and the normalised focal loss. The image is encoded once for
all of its click sequences, as it is in serving.

Under ``torchrun`` every process works on its own samples and the gradients are averaged; ``batch_size`` counts per
process.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from mmms_client.clicks import Click, encode_clicks
from mmms_client.contract import MAX_CLICKS
from mmms_client.errors import DataError
from mmms_client.files import write_bytes_atomically
from mmms_training.affinity import AffinityLoss
from mmms_training.checkpoint import save_checkpoint, stored_weights
from mmms_training.click_sampling import initial_clicks, next_click
from mmms_training.config import TrainConfig, to_dict
from mmms_training.data import IGNORE_LABEL, SyntheticSamples, choose_target
from mmms_training.losses import normalized_focal_loss, soft_dice_loss
from mmms_training.model.mmms import MMMS, build_mmms
from mmms_training.parallel import ProcessGroup
from mmms_training.presets import preset

STATE_NAME = "state.pt"
CHECKPOINT_NAME = "checkpoint.safetensors"
Report = Callable[[str], None]


class Trainer:
    """State of one run: network, averaged weights, optimizer and the number of steps done."""

    def __init__(self, config: TrainConfig, out: Path, start: Path | None = None) -> None:
        self.config = config
        self.out = out
        self.group = ProcessGroup()
        self.device = self.group.device
        torch.manual_seed(config.seed)
        network = preset(config.preset, config.modalities)
        if config.has_lateral is not None:
            network = dataclasses.replace(network, has_lateral=config.has_lateral)
        self.model = build_mmms(network, config.resolution).to(self.device)
        self.affinity = AffinityLoss(self.model.config.pyramid_channels).to(self.device)
        if start is not None:
            _load_start(self.model, self.affinity, start)
        if config.is_encoder_frozen:
            self.model.freeze_encoder()
            self.affinity.requires_grad_(False)
        self.ema = {name: value.detach().clone() for name, value in stored_weights(self.model).items()}
        self.trainable = [p for m in (self.model, self.affinity) for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trainable, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.step = 0

    def run(self, report: Report, stop_after_s: float | None = None) -> None:
        """Train until ``config.steps``, or until ``stop_after_s`` seconds have passed; always ends with a
        checkpoint.
        """
        config, began = self.config, time.monotonic()
        losses: list[float] = []
        self.model.train()
        for batch in self._batches():
            losses.append(self._train_step(batch))
            self.step += 1
            if self.step % config.log_every == 0 and self.group.is_main:
                rate = len(losses) * config.batch_size * self.group.size / (time.monotonic() - began)
                left_min = (config.steps - self.step) * config.batch_size * self.group.size / max(rate, 1e-9) / 60
                loss = float(np.mean(losses[-config.log_every :]))
                report(f"step {self.step}/{config.steps} loss {loss:.4f} {rate:.1f} images/s {left_min:.0f} min left")
                self._log({"step": self.step, "loss": loss, "lr": self.optimizer.param_groups[0]["lr"]})
            if self.step % config.checkpoint_every == 0:
                self.save()
            if stop_after_s is not None and time.monotonic() - began > stop_after_s:
                break
        self.save()

    def save(self) -> None:
        """Write the state to resume from and the averaged weights, each atomically. Only the first process writes."""
        if not self.group.is_main:
            return
        buffer = io.BytesIO()
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "affinity": self.affinity.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "config": json.dumps(to_dict(self.config)),
        }
        torch.save(state, buffer)
        self.out.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(self.out / STATE_NAME, buffer.getvalue())
        training = {"settings": to_dict(self.config), "steps_done": self.step}
        save_checkpoint(self.out / CHECKPOINT_NAME, self.model.config, self.ema, training)

    def resume(self) -> bool:
        """Continue from the last state in the output folder, if there is one. Raises :class:`DataError` if it is
        another run's.
        """
        path = self.out / STATE_NAME
        if not path.is_file():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        if json.loads(state["config"]) != json.loads(json.dumps(to_dict(self.config))):
            raise DataError(
                f"Expected the run in {self.out} to have these settings but it was begun with others; "
                "give the same settings, or another --out."
            )
        self.model.load_state_dict(state["model"])
        self.ema = {name: value.to(self.device) for name, value in state["ema"].items()}
        self.affinity.load_state_dict(state["affinity"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        return True

    # ------------------------------------------------------------------------------------------------------------------
    def _batches(self) -> Iterator[dict[str, Any]]:
        config = self.config
        samples = SyntheticSamples(
            config,
            self.model.config.modalities,
            config.steps * config.batch_size,
            self.step * config.batch_size,
            self.group,
        )
        yield from DataLoader(
            samples,
            config.batch_size,
            num_workers=config.workers,
            prefetch_factor=8 if config.workers else None,
            worker_init_fn=_single_thread,
        )

    def _train_step(self, batch: dict[str, Any]) -> float:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, config)
        torch.manual_seed((config.seed * 1_000_003 + self.step) * 1_009 + self.group.rank)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=config.is_bf16):
            with torch.set_grad_enabled(not config.is_encoder_frozen):
                mixed = self.model.encode(
                    batch["image"].to(self.device).float(),
                    [m.to(self.device).float() for m in batch["modalities"]],
                    batch["presence"].to(self.device),
                )
            loss = torch.zeros((), device=self.device)
            if config.affinity_weight and not config.is_encoder_frozen:
                loss = config.affinity_weight * self.affinity(mixed, batch["labels"].to(self.device))
            if self.step >= config.feature_steps:
                loss = loss + self._click_loss(mixed, batch["labels"].numpy())
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.average_gradients(self.trainable)
        torch.nn.utils.clip_grad_norm_(self.trainable, config.gradient_clip)
        self.optimizer.step()
        self._average()
        return float(loss.detach())

    def _click_loss(self, mixed: list[Tensor], labels: NDArray[np.int16]) -> Tensor:
        """Loss of the last answer to a few clicks on several surfaces of each image."""
        config = self.config
        clicker = BatchClicker(labels, config, np.random.default_rng((config.seed, 1, self.step, self.group.rank)))
        owners = torch.as_tensor(clicker.owners, device=self.device)
        mixed = [maps.index_select(0, owners) for maps in mixed]
        previous = self._previous_answers(clicker, [m.detach() for m in mixed])
        logits = self.model.click(mixed, *self._points(clicker), previous)
        target, is_valid = (
            torch.as_tensor(a, device=self.device)[:, None].float() for a in (clicker.targets, clicker.is_valid)
        )
        loss = normalized_focal_loss(logits, target, is_valid)
        if config.dice_weight:
            loss = loss + config.dice_weight * soft_dice_loss(logits, target, is_valid)
        return loss

    @torch.no_grad()
    def _previous_answers(self, clicker: BatchClicker, mixed: list[Tensor]) -> Tensor:
        side = self.config.resolution
        previous = torch.zeros(len(clicker.owners), 1, side, side, device=self.device)
        self.model.eval()
        rounds = np.random.default_rng((self.config.seed, 2, self.step)).integers(self.config.clicks.max_next + 1)
        for _ in range(int(rounds)):  # the same for all processes, or the others would wait for the longest
            logits = self.model.click(mixed, *self._points(clicker), previous)
            # the served network returns and receives 8-bit probabilities
            previous = (torch.sigmoid(logits.float()) * 255.0).round() / 255.0
            clicker.add(previous[:, 0].cpu().numpy())
        self.model.train()
        return previous

    def _points(self, clicker: BatchClicker) -> tuple[Tensor, Tensor]:
        coords, labels = clicker.arrays()
        return torch.as_tensor(coords, device=self.device), torch.as_tensor(labels, device=self.device)

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        for name, value in stored_weights(self.model).items():
            self.ema[name].lerp_(value, 1.0 - decay)

    def _log(self, row: dict[str, float]) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(row) + "\n")


class BatchClicker:
    """Targets and growing click lists of one batch. Row ``r`` belongs to image ``owners[r]``."""

    _pool = ThreadPoolExecutor(2)

    def __init__(self, labels: NDArray[np.int16], config: TrainConfig, rng: np.random.Generator) -> None:
        self.owners: list[int] = []
        targets: list[NDArray[np.bool_]] = []
        self.clicks: list[list[Click]] = []
        for index, label_map in enumerate(labels):
            for _ in range(config.surfaces_per_image):
                target = choose_target(label_map, config, rng)
                if target is None:
                    continue
                self.owners.append(index)
                targets.append(target)
                self.clicks.append(initial_clicks(label_map, target, config.clicks, rng))
        if not targets:
            raise DataError(
                f"Expected at least one surface of {config.min_area_px} px in a batch but found none; lower "
                "min_area_px."
            )
        self.targets = np.stack(targets)
        self.is_valid = np.stack([labels[i] != IGNORE_LABEL for i in self.owners])
        self._rngs = rng.spawn(len(targets))

    def add(self, probabilities: NDArray[np.float32]) -> None:
        """One more click on each row, where the answer float32 [R, S, S] is wrong."""

        def click(row: int) -> Click | None:
            return next_click(probabilities[row], self.targets[row], self.is_valid[row], self._rngs[row])

        for clicks, new in zip(self.clicks, self._pool.map(click, range(len(self.clicks))), strict=True):
            if new is not None and len(clicks) < MAX_CLICKS:
                clicks.append(new)

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        coded = [encode_clicks(clicks, MAX_CLICKS) for clicks in self.clicks]
        return np.stack([c for c, _ in coded]), np.stack([label for _, label in coded])


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, then a cosine from the peak to ``final_share`` of it."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    length = config.schedule_steps or config.steps
    progress = (step - config.warmup_steps) / max(1, length - config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * (config.final_share + (1.0 - config.final_share) * cosine)


def _load_start(model: MMMS, affinity: AffinityLoss, path: Path) -> None:
    """Take over a checkpoint, or the folder of an earlier run with the heads of its auxiliary loss."""
    from mmms_training.checkpoint import read_checkpoint

    checkpoint = read_checkpoint(path / CHECKPOINT_NAME if path.is_dir() else path)
    # lateral connections begin at zero: a network without them starts one that has them, as the same function
    if dataclasses.replace(checkpoint.config, has_lateral=model.config.has_lateral) != model.config:
        raise DataError(
            f"Expected a checkpoint of preset {model.config.preset!r} with these modalities but {path} holds "
            f"{checkpoint.config.preset!r} with {', '.join(checkpoint.config.modality_names) or 'none'}; start from "
            "another."
        )
    model.load_state_dict(checkpoint.weights, strict=False)
    if (path / STATE_NAME).is_file():
        affinity.load_state_dict(torch.load(path / STATE_NAME, map_location="cpu", weights_only=True)["affinity"])


def _single_thread(_worker: int) -> None:
    import cv2

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
