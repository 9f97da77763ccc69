"""Training in several processes: which one this is, and the average of all gradients.

A wrapper such as ``DistributedDataParallel`` wants one ``forward``; a click network has two entrances, of which the
second is also used without gradients in between. One all-reduce over all gradients after ``backward`` is simpler and,
for a small network, as fast.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn


class ProcessGroup:
    """The processes that ``torchrun`` started, or this one alone."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", "0"))
        self.size = int(os.environ.get("WORLD_SIZE", "1"))
        has_gpu = torch.cuda.is_available()
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if has_gpu else "cpu")
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if has_gpu else "gloo")

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def average_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes.

        A parameter without one is left alone, and not decayed by the optimizer; which these are depends on the phase
        of the training alone, so it is the same in all processes.
        """
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= self.size
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def close(self) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()
