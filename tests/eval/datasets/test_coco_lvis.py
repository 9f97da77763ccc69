"""COCO+LVIS in RITM's layout, whose pickles are read without running anything."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import DataError
from mmms_eval.datasets import DATASETS, DatasetOptions
from mmms_eval.datasets.coco_lvis import paint
from mmms_eval.datasets.plain_pickle import read_plain_pickle

PARENT = {"children": [1], "parent": None, "node_level": 0}
CHILD = {"children": [], "parent": 0, "node_level": 1}


def layer(*boxes: tuple[int, int, int, int, int]) -> Any:
    """A PNG-coded layer 40x30, as RITM's conversion stores it: boxes (x0, y0, x1, y1, local id)."""
    values = np.zeros((30, 40), np.uint8)
    for x0, y0, x1, y1, local in boxes:
        values[y0:y1, x0:x1] = local
    return cv2.imencode(".png", values)[1]


def write_tree(root: Path, protocol: int = 4) -> Path:
    """Two images: an object with a part, another object over it, and stuff behind."""
    folder = root / "train"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    layers = [layer((0, 0, 20, 20, 1), (30, 20, 40, 30, 2)), layer((5, 5, 10, 10, 1)), layer((15, 15, 40, 30, 7))]
    objects = {0: (0, 1), 1: (1, 1), 2: (0, 2), 3: (2, 7)}
    annotations = {}
    for key in ("000000000009", "000000000025"):
        Image.new("RGB", (40, 30), (90, 120, 60)).save(folder / "images" / f"{key}.jpg")
        (folder / "masks" / f"{key}.pickle").write_bytes(pickle.dumps((layers, objects), protocol))
        annotations[key] = {"num_instance_masks": 3, "hierarchy": {0: PARENT, 1: CHILD, 2: None, 3: None}}
    (folder / "hannotation.pickle").write_bytes(pickle.dumps(annotations, protocol))
    return root


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_objects_are_painted_without_their_parts(tmp_path: Path, protocol: int) -> None:
    data = DATASETS["coco_lvis"](DatasetOptions(root=str(write_tree(tmp_path, protocol)), split="train"))
    assert len(data) == 2 and data.modality_names == ()
    sample = data[0]
    assert sample.labels[0, 0] == 1 and sample.labels[6, 6] == 1  # the part belongs to its object
    assert sample.labels[29, 39] == 3 and sample.image.shape == (30, 40, 3)
    assert 2 not in sample.surface_ids()


def test_stuff_lies_below_what_is_smaller(tmp_path: Path) -> None:
    stored = pickle.loads((write_tree(tmp_path) / "train/masks/000000000009.pickle").read_bytes())
    annotation = {"num_instance_masks": 3, "hierarchy": {0: PARENT, 1: CHILD}}
    labels, names = paint(stored, annotation, (30, 40), True, tmp_path)
    assert labels[16, 16] == 4 and labels[29, 20] == 4  # 375 px of stuff reach over the corner of 400 px of object 0
    assert labels[29, 39] == 3 and names[4] == "stuff 3"
    assert 4 not in np.unique(paint(stored, annotation, (30, 40), False, tmp_path)[0])


class Hostile:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.target}",)


def hostile_files(target: Path) -> dict[str, bytes]:
    """Pickles that would leave a mark, or reach into this process."""
    command = f"touch {target}"
    through_numpy = pickle.dumps(np.array([Hostile(target)], object))
    return {
        "reduce": pickle.dumps({"000000000009": Hostile(target)}),
        "object array": through_numpy,
        "global": f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        "builtins": f'c__builtin__\neval\n(S\'__import__("os").system("{command}")\'\ntR.'.encode(),
        "instance": f"(S'{command}'\nios\nsystem\n.".encode(),
        "attribute of a stand-in": b"\x80\x02cnumpy\ndtype\n(X\x02\x00\x00\x00u1K\x00K\x01tR.",
        "state for a function": b"\x80\x02cnumpy\nndarray\nN}X\x09\x00\x00\x00_functionNs\x86b.",
        "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"Pfoo\n.",
        "huge": b"\x80\x04B" + struct.pack("<I", 2**31 - 1) + b"x.",
        "empty": b"",
        "text": b"hello",
    }


@pytest.mark.parametrize("kind", list(hostile_files(Path("x"))))
def test_hostile_pickle_runs_nothing_and_is_one_line(tmp_path: Path, kind: str) -> None:
    mark, file = tmp_path / "mark", tmp_path / "hannotation.pickle"
    file.write_bytes(hostile_files(mark)[kind])
    with pytest.raises(DataError, match=r"pickle of plain data .* nothing of it was run") as caught:
        read_plain_pickle(file)
    assert not mark.exists() and "\n" not in str(caught.value)


def test_array_of_another_type_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.pickle"
    file.write_bytes(pickle.dumps(np.zeros(3, np.float64)))
    with pytest.raises(DataError, match="does not hold bytes"):
        read_plain_pickle(file)


def test_arrays_of_bytes_come_back_as_they_were(tmp_path: Path) -> None:
    file = tmp_path / "a.pickle"
    values = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for protocol in (2, 3, 4, 5):
        file.write_bytes(pickle.dumps({"a": [values]}, protocol))
        assert np.array_equal(read_plain_pickle(file)["a"][0], values)


def test_broken_masks_are_one_line(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / "train/masks/000000000009.pickle").write_bytes(pickle.dumps(([], {0: (0, 1)})))
    data = DATASETS["coco_lvis"](DatasetOptions(root=str(root), split="train"))
    with pytest.raises(DataError, match=r"000000000009\.pickle.* with coded layers"):
        data[0]
