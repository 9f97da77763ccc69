"""Data sets of the benchmark. One more is a file with an ``open_...`` function and a line in ``DATASETS``."""

from __future__ import annotations

from collections.abc import Callable

from mmms_eval.datasets.folder import open_folder
from mmms_eval.datasets.sample import IGNORE, NO_SURFACE, Dataset, DatasetOptions, Sample, SurfaceTarget
from mmms_eval.datasets.synthetic import open_synthetic

DATASETS: dict[str, Callable[[DatasetOptions], Dataset]] = {
    "folder": open_folder,
    "synthetic": open_synthetic,
}

__all__ = ["DATASETS", "IGNORE", "NO_SURFACE", "Dataset", "DatasetOptions", "Sample", "SurfaceTarget"]
