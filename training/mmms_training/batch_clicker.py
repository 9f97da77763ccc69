"""Targets and growing click lists of one batch, as the iterative part of the training needs them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click, encode_clicks
from mmms_client.contract import MAX_CLICKS
from mmms_training.click_sampling import initial_clicks, next_click
from mmms_training.config import TrainConfig
from mmms_training.data import choose_target, no_target


class BatchClicker:
    """Row ``r`` is one click sequence on image ``owners[r]``; there are ``surfaces_per_image`` for each image.

    What is drawn for an image depends on the run's seed and the image's number alone.
    """

    _pool = ThreadPoolExecutor(os.cpu_count() or 2)

    def __init__(self, labels: NDArray[np.int32], numbers: Sequence[int], config: TrainConfig) -> None:
        """``labels`` int32 [B, S, S] as in :class:`TrainingSamples`, ``numbers`` of the samples."""
        self.owners: list[int] = []
        self.clicks: list[list[Click]] = []
        self._rngs: list[np.random.Generator] = []
        targets: list[NDArray[np.bool_]] = []
        for index, (label_map, number) in enumerate(zip(labels, numbers, strict=True)):
            rng = np.random.default_rng((config.seed, 1, int(number)))
            for _ in range(config.surfaces_per_image):
                target = choose_target(label_map, config, rng)
                if target is None:
                    continue
                self.owners.append(index)
                targets.append(target)
                self.clicks.append(initial_clicks(label_map, target, config.clicks, rng))
                self._rngs += rng.spawn(1)
        if not targets:
            raise no_target(config, len(labels))
        self.targets = np.stack(targets)
        self.is_valid = np.stack([labels[i] >= 0 for i in self.owners])

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
