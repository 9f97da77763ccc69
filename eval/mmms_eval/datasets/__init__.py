"""Data sets of the benchmark. One more is a file with an ``open_...`` function and a line in ``DATASETS``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mmms_eval.datasets.coco import open_coco
from mmms_eval.datasets.coco_lvis import open_coco_lvis
from mmms_eval.datasets.davis17 import open_davis17
from mmms_eval.datasets.deliver import open_deliver
from mmms_eval.datasets.fmb import open_fmb
from mmms_eval.datasets.folder import open_folder
from mmms_eval.datasets.hqseg44k import open_hqseg44k
from mmms_eval.datasets.mcubes import open_mcubes
from mmms_eval.datasets.mfnet import open_mfnet
from mmms_eval.datasets.sample import IGNORE, NO_SURFACE, Dataset, DatasetOptions, Sample, SurfaceTarget
from mmms_eval.datasets.sbd import open_sbd
from mmms_eval.datasets.sessions import open_sessions
from mmms_eval.datasets.single_object import LAYOUTS, open_single_object
from mmms_eval.datasets.synthetic import open_synthetic
from mmms_eval.datasets.winter_sports import open_shseg, open_wseseg

DATASETS: dict[str, Callable[[DatasetOptions], Dataset]] = {
    "coco": open_coco,
    "coco_lvis": open_coco_lvis,
    "davis17": open_davis17,
    "deliver": open_deliver,
    "fmb": open_fmb,
    "folder": open_folder,
    "hqseg44k": open_hqseg44k,
    "mcubes": open_mcubes,
    "mfnet": open_mfnet,
    "sbd": open_sbd,
    "sessions": open_sessions,
    "shseg": open_shseg,
    "synthetic": open_synthetic,
    "wseseg": open_wseseg,
    **{name: partial(open_single_object, name) for name in LAYOUTS},
}

__all__ = ["DATASETS", "IGNORE", "NO_SURFACE", "Dataset", "DatasetOptions", "Sample", "SurfaceTarget"]
