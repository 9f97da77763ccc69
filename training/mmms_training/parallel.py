"""Training in several processes, such that it is the same training: which process this is, sums over all of them, and
batch normalisation over the whole batch.

A wrapper such as ``DistributedDataParallel`` wants one ``forward``; a click network has two entrances, of which the
second is also used without gradients in between. One all-reduce over all gradients after ``backward`` is simpler and,
for a small network, as fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mmms_client.errors import UsageError

_PATIENCE = timedelta(hours=24)  # the others wait while the first process measures


class ProcessGroup:
    """The processes that ``torchrun`` started, or this one alone."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        has_gpu = torch.cuda.is_available()
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if has_gpu else "cpu")
        if has_gpu:
            torch.cuda.set_device(self.device)
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if has_gpu else "gloo", timeout=_PATIENCE)

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def check_batch(self, batch_size: int) -> None:
        """Raise :class:`UsageError` unless every process gets as many images of a step as the others."""
        if batch_size % self.size or batch_size < self.size:
            raise UsageError(
                f"Expected a batch_size that is a multiple of the {self.size} processes but got {batch_size}; change "
                "one of the two."
            )

    def total(self, number: float) -> float:
        """The sum of a number over the processes."""
        if self.size == 1:
            return number
        value = torch.tensor([number], dtype=torch.float64, device=self.device)
        dist.all_reduce(value)
        return float(value)

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes.

        A parameter without one is left alone, and not decayed by the optimizer; which these are depends on the phase
        of the training alone, so it is the same in all processes.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        for gradient, summed in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(summed.view_as(gradient))

    def share_batch_norm(self, model: nn.Module) -> None:
        """Let batch normalisation in ``model`` see the images of all processes. The weights keep their names."""
        if self.size == 1:
            return
        for module in list(model.modules()):
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SharedBatchNorm

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            dist.barrier()

    def close(self) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the images of all processes; torch's own ``SyncBatchNorm`` needs GPUs.

    Assumes that the losses of the processes are parts of one sum.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        maps = input.float()
        count = maps.new_tensor([maps.numel() / maps.shape[1]], dtype=torch.float64)
        wide = maps.double()
        parts = torch.cat((wide.sum((0, 2, 3)), (wide * wide).sum((0, 2, 3)), count))
        sums: Tensor = _SumOverProcesses.apply(parts)  # type: ignore[no-untyped-call]
        total, squares, count = torch.split(sums, [maps.shape[1], maps.shape[1], 1])
        mean = total / count
        variance = squares / count - mean * mean
        with torch.no_grad():
            unbiased = variance * count / (count - 1)
            self.running_mean.lerp_(mean.to(self.running_mean), self.momentum)
            self.running_var.lerp_(unbiased.to(self.running_var), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        gain = self.weight * torch.rsqrt(variance + self.eps).float()
        offset = self.bias - mean.float() * gain
        return (maps * gain[:, None, None] + offset[:, None, None]).to(input.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """Sum forwards; backwards too, because each process's part of the loss depends on every process's input."""

    @staticmethod
    def forward(_: Any, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        dist.all_reduce(gradient)
        return gradient
