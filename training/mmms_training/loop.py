"""The training loop: encode an image once, click on some of its surfaces, learn from the last answer.

One step: draw targets and first clicks; answer them a few times without gradients, each time adding a click on the
larger error (RITM); then one forward pass with gradients and the normalised focal loss. The image is encoded once for
all of its click sequences, as it is in serving.

Under ``torchrun`` every process works on its share of each batch; losses and gradients are sums over the processes, so
that the training is that of one process with the whole batch.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmms_client.errors import DataError
from mmms_training.affinity import AffinityLoss
from mmms_training.batch_clicker import BatchClicker
from mmms_training.checkpoint import read_checkpoint, stored_weights
from mmms_training.config import TrainConfig, network_of, steps_of
from mmms_training.data import TrainingSamples, batches, check_usable
from mmms_training.feature_store import StoredSamples, open_for_training
from mmms_training.losses import normalized_focal_loss, soft_dice_loss
from mmms_training.model.mmms import MMMS, build_mmms
from mmms_training.parallel import ProcessGroup
from mmms_training.pictures import training_picture
from mmms_training.run_log import Report, RunLog
from mmms_training.run_state import CHECKPOINT_NAME, STATE_NAME, load_state, read_state, write_state
from mmms_training.schedule import learning_rate
from mmms_training.sources import open_source
from mmms_training.validation import validate


class Trainer:
    """State of one run: network, averaged weights, optimizer and the number of steps done.

    Nothing is written before :meth:`run`. Raises :class:`UsageError` and :class:`DataError` for settings, data or
    weights that cannot work.
    """

    def __init__(self, config: TrainConfig, out: Path, start: Path | None = None) -> None:
        self.config = config
        self.out = out
        self.start = start
        self.group = ProcessGroup()
        self.group.check_batch(config.batch_size)
        self.device = self.group.device
        network = network_of(config)
        self.source = open_source(config, network.modalities)
        check_usable(config, self.source)
        self.store = None if config.store is None else open_for_training(Path(config.store), config, self.source)
        self.steps = steps_of(config, len(self.source))
        torch.manual_seed(config.seed)
        self.model = build_mmms(
            network, config.resolution, config.backbone_weights, config.is_backbone_random, config.store is None
        )
        self.affinity = AffinityLoss(network.pyramid_channels)
        if start is not None:
            load_start(self.model, self.affinity, start)
        self.model.to(self.device)
        self.affinity.to(self.device)
        if config.is_encoder_frozen:
            self.model.freeze_encoder()
            self.affinity.requires_grad_(False)
        self.group.share_batch_norm(self.model)
        self.ema = {name: value.detach().clone() for name, value in stored_weights(self.model).items()}
        self.trainable = [p for m in (self.model, self.affinity) for p in m.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self.trainable, config.learning_rate, betas=config.betas, weight_decay=config.weight_decay, fused=True
        )
        self.is_bf16 = computes_in_bf16(self.device) if config.is_bf16 is None else config.is_bf16
        self.step = 0
        self.validated: dict[str, float] = {}  # what the last validation measured

    def run(self, report: Report, stop_after_s: float | None = None) -> None:
        """Train to the end, or until ``stop_after_s`` seconds have passed; always ends with a checkpoint."""
        config, began = self.config, time.monotonic()
        first, losses = self.step, []
        samples = self._samples()
        self.model.train()
        with RunLog(self.out, self.step, self.steps, self.group.is_main, report) as log:
            for batch in batches(samples, samples.share, config.workers):
                losses.append(self._train_step(batch, log))
                self.step += 1
                log.advance()
                if self.step % config.log_every == 0:
                    self._tell(log, losses[-config.log_every :], (self.step - first) / (time.monotonic() - began))
                if self.step % config.checkpoint_every == 0:
                    self.save()
                if config.validate_every and self.step % config.validate_every == 0 and self.step < self.steps:
                    self._validate(log)
                if stop_after_s is not None and time.monotonic() - began > stop_after_s:
                    break
            self.save()
            if self.step >= self.steps:
                self._validate(log)
        self.group.wait()

    def _samples(self) -> TrainingSamples:
        rest = (self.config, self.model.config.modalities, self.source, self.steps, self.step, self.group)
        return TrainingSamples(*rest) if self.store is None else StoredSamples(self.store, *rest)

    def save(self) -> None:
        """Write the state to resume from and the weights, each atomically. Only the first process writes."""
        if self.group.is_main:
            write_state(self)

    def resume(self) -> bool:
        """Continue from the last state in the output folder, if there is one. Raises :class:`DataError` if it is
        another run's.
        """
        return read_state(self)

    # ------------------------------------------------------------------------------------------------------------------
    def _train_step(self, batch: dict[str, Any], log: RunLog) -> float:
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, config, len(self.source))
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        labels = batch["labels"].to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_bf16):
            with torch.set_grad_enabled(not config.is_encoder_frozen):
                mixed = self._encode(batch)
            loss = torch.zeros((), device=self.device)
            if config.affinity_weight and not config.is_encoder_frozen:
                share = len(labels) / config.batch_size  # losses of the processes are parts of one sum
                loss = config.affinity_weight * share * self.affinity(mixed, labels)
            if self.step >= config.feature_steps:
                loss = loss + self._click_loss(mixed, batch, log)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.group.sum_gradients(self.trainable)
        if config.gradient_clip:
            torch.nn.utils.clip_grad_norm_(self.trainable, config.gradient_clip)
        self.optimizer.step()
        self._average()
        return float(loss.detach())

    def _encode(self, batch: dict[str, Any]) -> list[Tensor]:
        """f_mix of a batch: the only place in which a run meets the backbone."""
        modalities = [m.to(self.device).float() for m in batch["modalities"]]
        presence = batch["presence"].to(self.device)
        if "features" in batch:
            features = [f.to(self.device).float() for f in batch["features"]]
            return self.model.fuse(features, modalities, presence, self.config.resolution)
        return self.model.encode(batch["image"].to(self.device).float(), modalities, presence)

    def _click_loss(self, mixed: list[Tensor], batch: dict[str, Any], log: RunLog) -> Tensor:
        """Loss of the last answer to a few clicks on some surfaces of each image."""
        config = self.config
        clicker = BatchClicker(batch["labels"].numpy(), batch["number"].tolist(), config)
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
        self._show(log, batch, clicker, logits)
        rows = len(clicker.owners)
        return loss * (rows / self.group.total(rows))

    @torch.no_grad()
    def _previous_answers(self, clicker: BatchClicker, mixed: list[Tensor]) -> Tensor:
        side = self.config.resolution
        previous = torch.zeros(len(clicker.owners), 1, side, side, device=self.device)
        self.model.eval()
        rounds = np.random.default_rng((self.config.seed, 2, self.step)).integers(self.config.clicks.max_next + 1)
        for _ in range(int(rounds)):  # drawn once per batch, the same in all processes
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

    def _tell(self, log: RunLog, losses: list[float], steps_per_s: float) -> None:
        """Loss and speed; every process takes part, because the loss is a sum over them."""
        loss = self.group.total(float(np.mean(losses)))
        left_min = (self.steps - self.step) / max(steps_per_s, 1e-9) / 60
        rate = steps_per_s * self.config.batch_size
        text = f"step {self.step}/{self.steps} loss {loss:.4f} {rate:.1f} images/s {left_min:.0f} min left"
        log.scalars(self.step, {"loss": loss, "lr": self.optimizer.param_groups[0]["lr"]}, text)

    def _show(self, log: RunLog, batch: dict[str, Any], clicker: BatchClicker, logits: Tensor) -> None:
        every, owner = self.config.pictures_every, clicker.owners[0]
        if not every or self.step % every or not self.group.is_main:
            return
        image = batch["image"][owner].numpy() if "image" in batch else np.zeros((3, 0, 0), np.uint8)
        modalities = [m[owner].float().numpy() for m in batch["modalities"]]
        probability = torch.sigmoid(logits[0, 0].detach().float()).cpu().numpy()
        picture = training_picture(image, modalities, clicker.targets[0], clicker.clicks[0], probability)
        log.picture(self.step, "image, modalities, target and clicks, answer", picture)

    def _validate(self, log: RunLog) -> None:
        """Measure the averaged weights by the code of the bench, in the first process; the others wait."""
        if self.group.is_main and self.config.validation_images:
            self.validated, told = validate(self.config, self.model, self.ema)
            log.scalars(self.step, self.validated, told)
        self.group.wait()


def computes_in_bf16(device: torch.device) -> bool:
    """Whether bf16 is arithmetic of the processor. Elsewhere it is emulated, and slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return "avx512_bf16" in _processor_flags() or "amx_bf16" in _processor_flags()


def _processor_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():
        return set()
    lines = cpuinfo.read_text("utf-8", errors="replace").splitlines()
    return {flag for line in lines if line.startswith("flags") for flag in line.partition(":")[2].split()}


def load_start(model: MMMS, affinity: AffinityLoss, path: Path) -> None:
    """Take over a checkpoint, or the folder of an earlier run with the heads of its auxiliary loss.

    What a network has beyond the one it starts from begins anew: lateral connections, which start at zero, and, after
    an RGB network, the whole MMFuser. An RGB network takes of any what has to do with the image and the clicks.
    Raises :class:`DataError` if the checkpoint is of another preset, or both have modalities and other ones.
    """
    checkpoint = read_checkpoint(path / CHECKPOINT_NAME if path.is_dir() else path)
    ours, theirs = model.config, checkpoint.config
    same = dataclasses.replace(
        theirs,
        has_lateral=ours.has_lateral,
        backbone=dataclasses.replace(theirs.backbone, is_frozen=ours.backbone.is_frozen),
    )
    if not (theirs.modalities and ours.modalities):
        same = dataclasses.replace(same, modalities=ours.modalities, has_effca=ours.has_effca, has_mlp=ours.has_mlp)
    if same != ours:
        raise DataError(
            f"Expected a checkpoint of preset {ours.preset!r} with {', '.join(ours.modality_names) or 'RGB alone'} but "
            f"{path} holds {theirs.preset!r} with {', '.join(theirs.modality_names) or 'RGB alone'}; start from "
            "another."
        )
    model.load_state_dict(checkpoint.weights, strict=False)
    if (path / STATE_NAME).is_file():
        affinity.load_state_dict(load_state(path / STATE_NAME, torch.device("cpu"))["affinity"])
