"""SBD, the semantic boundaries data set: RGB photographs of PASCAL VOC with all instances (Hariharan et al., 2011).

Each instance is a surface, so that the pooled NoC is that over (image, instance) pairs, as published. Instance maps
are MATLAB files; reading them takes SciPy.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import DataError, UsageError
from mmms_client.json_place import shown
from mmms_eval.datasets.mat_sizes import checked_bytes
from mmms_eval.datasets.paired import Card, Entry, PairedDataset, choose_split, find_root, read_list
from mmms_eval.datasets.sample import DatasetOptions

CARD = Card(
    name="sbd",
    folders=("SBD", "benchmark_RELEASE/dataset"),
    tree="ROOT/img/NAME.jpg, ROOT/inst/NAME.mat and ROOT/{train,val}.txt",
    page=None,
    splits=("train", "val"),
    default_split="val",
    counts={"train": 8498, "val": 2857},
    ids={},
    label_rule="instances 1 to K are the surfaces, 0 is background, nothing is ignored",
)


class SBD(PairedDataset):
    """All instances of an image; no modality."""

    def _labels(self, entry: Entry) -> NDArray[np.int32]:
        return read_instances(entry.files["labels"])


def read_instances(file: Path) -> NDArray[np.int32]:
    """The instance map of a ``.mat`` file as int32 [H, W], 0 background.

    Raises :class:`DataError` for a file that is missing, broken or of another structure, :class:`UsageError` without
    SciPy.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise UsageError("Expected SciPy to read SBD's .mat files but got none; run: pip install scipy") from error
    try:
        instances = np.asarray(loadmat(io.BytesIO(checked_bytes(file.read_bytes())))["GTinst"][0][0][0])
        if instances.ndim != 2 or instances.dtype.kind not in "iu":
            raise ValueError(f"{instances.dtype} of shape {instances.shape}")
    except Exception as error:  # SciPy raises whatever the broken bytes lead it to
        reason = shown(" ".join(str(error).split()) or type(error).__name__)
        raise DataError(
            f"Expected {str(file)!r} to hold GTinst with an instance map but got {reason}; copy it again."
        ) from error
    return instances.astype(np.int32)


def open_sbd(options: DatasetOptions) -> SBD:
    """Read the lists and find their files. Raises as :func:`find_root`, :func:`choose_split`, ``open`` do."""
    root, split = find_root(CARD, options), choose_split(CARD, options)
    stems = [stem for name in split.names for stem in read_list(CARD, root / f"{name}.txt")]
    entries = [
        Entry(stem, {"image": root / "img" / f"{stem}.jpg", "labels": root / "inst" / f"{stem}.mat"}) for stem in stems
    ]
    return SBD.open(CARD, options, root, split, entries)
