"""Small trees in the layouts of published data sets."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmms_eval.datasets import DATASETS, Dataset, DatasetOptions
from mmms_eval.synthetic import write_layout

SIZES_HW = {"fmb": (30, 40), "mfnet": (24, 32), "deliver": (32, 32), "mcubes": (30, 192 + 40)}
SEEDS = tuple(range(3, 9))


@pytest.fixture(scope="session")
def masters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("masters")
    return {
        name: write_layout(name, folder / name, SEEDS, size_hw=size)  # type: ignore[arg-type]
        for name, size in SIZES_HW.items()
    }


@pytest.fixture
def tree(masters: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the layout by its name, to be damaged at will."""
    return lambda name: Path(shutil.copytree(masters[name], tmp_path / name))


def open_tree(name: str, root: Path, split: str | None = None, **choices: object) -> Dataset:
    """As ``bench --dataset NAME --root ROOT --partial`` does."""
    return DATASETS[name](DatasetOptions(root=str(root), split=split, **{"partial": True, **choices}))  # type: ignore[arg-type]


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.array(picture)


def save(path: Path, array: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def first(root: Path, pattern: str) -> Path:
    return sorted(root.glob(pattern))[0]
