"""Every reader of foreign bytes in ``mmms_eval``, with valid files to begin from."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from client_readers import CONTRACT, HW, RGB, coded, npy
from fuzz_readers import Reader
from scipy.io import savemat

from mmms_client.clicks import Click
from mmms_client.export_masks.coco import compress_runs
from mmms_client.run_length import encode_runs
from mmms_eval import compare_cli
from mmms_eval.compare import compare
from mmms_eval.datasets import DATASETS, DatasetOptions
from mmms_eval.nocms import JointSurface, Visit
from mmms_eval.progress_file import ProgressFile, run_settings
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.results import ImageResult, ImageTiming, SurfaceResult
from mmms_eval.stored import read_evaluation

LABELS = np.zeros(HW, np.uint8)
LABELS[2:6, 2:9], LABELS[8:11, 3:14] = 1, 2
THERMAL = (np.arange(HW[0] * HW[1]).reshape(HW) % 251).astype(np.uint8)


def put(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def sees(name: str, levels_up: int, **more: object) -> Callable[[Path], None]:
    """Opens the data set that a file belongs to, and reads what it has."""

    def read(path: Path) -> None:
        root = path.parents[levels_up]
        dataset = DATASETS[name](DatasetOptions(root=str(root), partial=name not in ("folder", "sessions"), **more))
        dataset.describe()
        for index in range(min(3, len(dataset))):
            dataset[index].surfaces()

    return read


# Data sets ----------------------------------------------------------------------------------------------
def folder_of(labels: str = "a.png") -> Callable[[Path], None]:
    def make(root: Path) -> None:
        put(root / "rgb" / "a.png", coded(RGB, "PNG"))
        put(root / "labels" / labels, coded(LABELS, "PNG") if labels.endswith("png") else npy(LABELS))
        put(root / "thermal" / "a.png", coded(THERMAL, "PNG"))
        put(root / "names.json", json.dumps({"1": "road", "2": "car"}).encode())

    return make


def file_in(make: Callable[[Path], None], name: str) -> Callable[[Path], list[bytes]]:
    """The file of a data set that is damaged; the others lie beside."""

    def seeds(root: Path) -> list[bytes]:
        make(root)
        return [(root / name).read_bytes()]

    return seeds


def mfnet(root: Path) -> None:
    put(root / "images" / "00001D.png", coded(np.dstack([RGB, THERMAL]), "PNG"))
    put(root / "labels" / "00001D.png", coded(LABELS, "PNG"))
    put(root / "test.txt", b"00001D 00001D_flip\n")


def coco(root: Path) -> None:
    put(root / "val2017" / "000000000001.jpg", coded(RGB, "JPEG"))
    box = {"id": 1, "image_id": 1, "category_id": 3, "iscrowd": 0, "segmentation": [[2.0, 2.0, 9.5, 2.0, 9.5, 6.0]]}
    runs = {"size": list(HW), "counts": compress_runs(encode_runs(LABELS == 2))}
    plain = {"size": list(HW), "counts": encode_runs(LABELS == 1)}
    document = {
        "images": [{"id": 1, "file_name": "000000000001.jpg", "height": HW[0], "width": HW[1]}],
        "categories": [{"id": 3, "name": "car"}],
        "annotations": [box, {**box, "id": 2, "segmentation": runs}, {**box, "id": 3, "segmentation": plain}],
    }
    put(root / "annotations" / "instances_val2017.json", json.dumps(document).encode())


def coco_lvis(root: Path) -> None:
    put(root / "val" / "images" / "000000000009.jpg", coded(RGB, "JPEG"))
    layer = np.frombuffer(coded(LABELS, "PNG"), np.uint8)
    put(root / "val" / "masks" / "000000000009.pickle", pickle.dumps(([layer], {0: (0, 1), 1: (0, 2)}), 2))
    annotation = {"num_instance_masks": 2, "hierarchy": {0: {"children": [1], "parent": None}}}
    put(root / "val" / "hannotation.pickle", pickle.dumps({"9": annotation}, 2))


def sbd(root: Path) -> None:
    put(root / "img" / "2008_000001.jpg", coded(RGB, "JPEG"))
    put(root / "val.txt", b"2008_000001\n")
    stream = io.BytesIO()
    savemat(stream, {"GTinst": {"Segmentation": LABELS, "Boundaries": 0}}, do_compression=True)
    put(root / "inst" / "2008_000001.mat", stream.getvalue())


def sessions(root: Path) -> None:
    visit = {"clicks": [{"x": 3, "y": 3, "positive": True}]}
    document = {
        "schema_version": 1,
        "image": {"path": "../rgb.png", "width": HW[1], "height": HW[0]},
        "modalities": {"thermal": "../thermal.png"},
        "surfaces": [{"id": n, "name": "", "visits": [visit]} for n in (1, 2)],
    }
    put(root / "rgb.png", coded(RGB, "PNG"))
    put(root / "thermal.png", coded(THERMAL, "PNG"))
    put(root / "one" / "joint.png", coded(LABELS, "PNG"))
    put(root / "one" / "session.json", json.dumps(document).encode())


# Results ------------------------------------------------------------------------------------------------
def image_result(key: str) -> ImageResult:
    joint = JointSurface(1, 1, 2, 2, 0.75, 0.0, False, False)
    clicks = (Click(3.0, 4.0), Click(1.0, 2.0, False))
    surface = SurfaceResult(1, "road", 28, clicks, (0.5, 0.75), joint)
    return ImageResult(key, HW, ("thermal",), 0, (surface,), (Visit(1, 2, 0.75),))


def results(folder: Path) -> list[bytes]:
    document = {
        "schema": "mmms-bench",
        "schema_version": 4,
        "created_utc": "2026-01-01T00:00:00Z",
        "protocol": EvaluationProtocol(n_max=2, mean_iou_after=(1, 2)).to_json(),
        "dataset": {"name": "folder", "images": 2},
        "evaluations": [
            {
                "name": "nano",
                "description": "",
                "model": {**CONTRACT.to_parameters(), "resolution": 32},
                "images": [image_result(key).to_json() for key in ("a", "b")],
            }
        ],
    }
    data = json.dumps(document).encode()
    put(folder / "other.json", data)
    return [data]


def see_results(path: Path) -> None:
    runs = read_evaluation(path), read_evaluation(path.with_name("other.json"))
    compared = compare(*runs, resamples=100, allow_different=True)
    compare_cli.difference_table(compared)
    json.dumps(compare_cli.document(*runs, compared))


class Scenes:
    """A data set for the settings of a run."""

    name, modality_names = "scenes", ()

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> object:
        raise IndexError(index)

    def __repr__(self) -> str:
        return "Scenes()"

    def describe(self) -> dict[str, object]:
        return {"name": "scenes"}


def settings() -> dict[str, object]:
    return run_settings(EvaluationProtocol(), Scenes(), CONTRACT)  # type: ignore[arg-type]


def progress(folder: Path) -> list[bytes]:
    with ProgressFile.open(folder / "out.json", settings()) as file:
        file.append("nano", 0, image_result("a"), ImageTiming("a", 1.0, (2.0, 3.0)))
        file.append("nano", 1, image_result("b"), None)
    return [(folder / "out.json.partial").read_bytes()]


def see_progress(path: Path) -> None:
    with ProgressFile.open(path.with_name("out.json"), settings()) as file:
        for result, timing in file.finished("nano").values():
            result.to_json()
            if timing is not None:
                timing.to_json()


RGBT, PARTIAL = "images/00001D.png", "out.json.partial"
COCO, LVIS = "annotations/instances_val2017.json", "val/hannotation.pickle"
LAYERS, MAT = "val/masks/000000000009.pickle", "inst/2008_000001.mat"
READERS = (
    Reader("labels as PNG", "labels/a.png", "binary", file_in(folder_of(), "labels/a.png"), sees("folder", 1)),
    Reader("labels as npy", "labels/a.npy", "binary", file_in(folder_of("a.npy"), "labels/a.npy"), sees("folder", 1)),
    Reader("names of surfaces", "names.json", "json", file_in(folder_of(), "names.json"), sees("folder", 0)),
    Reader(
        "four channels of MFNet", "images/00001D.png", "binary", file_in(mfnet, "images/00001D.png"), sees("mfnet", 1)
    ),
    Reader("list of MFNet", "test.txt", "text", file_in(mfnet, "test.txt"), sees("mfnet", 0)),
    Reader("instances of COCO", COCO, "json", file_in(coco, COCO), sees("coco", 1)),
    Reader("annotations of COCO+LVIS", LVIS, "binary", file_in(coco_lvis, LVIS), sees("coco_lvis", 1)),
    Reader("layers of COCO+LVIS", LAYERS, "binary", file_in(coco_lvis, LAYERS), sees("coco_lvis", 2)),
    Reader("instances of SBD", MAT, "binary", file_in(sbd, MAT), sees("sbd", 1)),
    Reader("list of SBD", "val.txt", "text", file_in(sbd, "val.txt"), sees("sbd", 0)),
    Reader("recorded session", "one/session.json", "json", file_in(sessions, "one/session.json"), sees("sessions", 1)),
    Reader("recorded joint map", "one/joint.png", "binary", file_in(sessions, "one/joint.png"), sees("sessions", 1)),
    Reader("results", "results.json", "json", results, see_results),
    Reader("progress of a run", PARTIAL, "lines", progress, see_progress),
)
