"""Data sets of the benchmark. One more is a file with an ``open_...`` function and a line in ``DATASETS``."""

from __future__ import annotations

from collections.abc import Callable

from mmms_eval.datasets.deliver import open_deliver
from mmms_eval.datasets.fmb import open_fmb
from mmms_eval.datasets.folder import open_folder
from mmms_eval.datasets.mcubes import open_mcubes
from mmms_eval.datasets.mfnet import open_mfnet
from mmms_eval.datasets.sample import IGNORE, NO_SURFACE, Dataset, DatasetOptions, Sample, SurfaceTarget
from mmms_eval.datasets.synthetic import open_synthetic

DATASETS: dict[str, Callable[[DatasetOptions], Dataset]] = {
    "deliver": open_deliver,
    "fmb": open_fmb,
    "folder": open_folder,
    "mcubes": open_mcubes,
    "mfnet": open_mfnet,
    "synthetic": open_synthetic,
}

__all__ = ["DATASETS", "IGNORE", "NO_SURFACE", "Dataset", "DatasetOptions", "Sample", "SurfaceTarget"]
