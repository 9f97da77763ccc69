"""The learning rate of a step."""

from __future__ import annotations

import math

from mmms_training.config import TrainConfig, drops_of, steps_of, steps_per_epoch


def learning_rate(step: int, config: TrainConfig, images: int) -> float:
    """Linear warm-up; then either the paper's drops after some epochs, or a cosine from the peak to ``final_share``.

    ``images`` is the number of images of an epoch.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.schedule == "drops":
        epoch = step / steps_per_epoch(config, images)
        return config.learning_rate * config.drop_factor ** sum(epoch >= drop for drop in drops_of(config))
    length = config.schedule_steps or steps_of(config, images)
    progress = (step - config.warmup_steps) / max(1, length - config.warmup_steps)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return config.learning_rate * (config.final_share + (1.0 - config.final_share) * cosine)
