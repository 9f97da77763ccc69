"""Metrics of one surface as pure functions. IoUs and thresholds are fractions in [0, 1].

Paper symbol -> our name: ``NoC@t`` -> :func:`noc` with ``threshold = t / 100``; ``N_max`` -> ``n_max``.

An *IoU trace* is the list of IoUs after click 1, 2, 3 ... of one surface. It may be shorter than ``n_max``
when the simulated annotator stopped early (nothing left to click, or a stop threshold); the last mask then
stays. NoCMS and FRMS need all surfaces of an image at once: see :mod:`mmms_eval.nocms`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from mmms_client.joint_mask import Mask


def iou(prediction: Mask, target: Mask, valid: Mask | None = None) -> float:
    """Intersection over union of two masks bool [H, W], over the pixels where ``valid`` is ``True``.

    Both empty gives 1: there was nothing to find and nothing was found. (RITM and DynaMITe get 0 / 0 there.)
    """
    intersection, union = prediction & target, prediction | target
    if valid is not None:
        intersection, union = intersection & valid, union & valid
    union_px = int(np.count_nonzero(union))
    return int(np.count_nonzero(intersection)) / union_px if union_px else 1.0


def first_reached(trace: Sequence[float], threshold: float, n_max: int) -> int | None:
    """The number of the first click, from 1 and at most ``n_max``, with an IoU of at least ``threshold``."""
    for number, value in enumerate(trace[:n_max], 1):
        if value >= threshold:
            return number
    return None


def noc(trace: Sequence[float], threshold: float, n_max: int) -> int:
    """NoC: clicks until the IoU is at least ``threshold``, ``n_max`` if it never is."""
    return first_reached(trace, threshold, n_max) or n_max


def is_failure(trace: Sequence[float], threshold: float, n_max: int) -> bool:
    """A true failure: not reached within ``n_max`` clicks. Success at click ``n_max`` is no failure."""
    return first_reached(trace, threshold, n_max) is None


def is_failure_ritm(trace: Sequence[float], threshold: float, n_max: int) -> bool:
    """RITM's ">= 20": NoC equals ``n_max``. Success exactly at click ``n_max`` counts as a failure, too."""
    return noc(trace, threshold, n_max) == n_max


def iou_after(trace: Sequence[float], clicks: int) -> float:
    """IoU after that many clicks; if the trace is shorter its last value, and 0 if it is empty."""
    return trace[min(clicks, len(trace)) - 1] if trace else 0.0


def mean(values: Iterable[float]) -> float:
    """Arithmetic mean that does not depend on the order of the values; NaN of nothing."""
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else math.nan


def percentage(flags: Iterable[bool]) -> float:
    """How many of 100 flags are set; NaN of nothing."""
    return 100.0 * mean(float(flag) for flag in flags)
