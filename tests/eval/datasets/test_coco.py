"""COCO: instances that overlap, crowds, and polygons to the pixel of COCO's own tools."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from pycocotools import mask as coco_tools

import mmms_client
from mmms_client.bounded import PixelBudget
from mmms_client.box_mask import BoxMask
from mmms_client.errors import DataError
from mmms_eval.cli import bench
from mmms_eval.datasets.coco import Instance, Picture
from mmms_eval.datasets.coco_polygons import fill_polygons
from mmms_eval.datasets.paired import Entry

from .conftest import open_tree, save

SIZE_HW = (20, 30)


def box(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    return [x0, y0, x1, y0, x1, y1, x0, y1]


def instance(image: int, category: int, segmentation: Any, **others: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **others}


CROWD = {"size": list(SIZE_HW), "counts": [0, 600]}
RUNS = {"size": list(SIZE_HW), "counts": [590, 10]}
CONTENT: dict[str, Any] = {
    "images": [
        {"id": 7, "file_name": "000000000007.jpg", "width": 30, "height": 20},
        {"id": 3, "file_name": "000000000003.jpg", "width": 30, "height": 20},
    ],
    "categories": [{"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}],
    "annotations": [
        instance(7, 90, [box(5, 5, 10, 10)]),  # on the person, although it comes before
        instance(7, 1, [box(0, 0, 20, 18), box(22, 0, 24, 18)]),
        instance(7, 1, [box(6, 6, 8, 8)]),
        instance(7, 90, [box(7, 6, 7, 6), [1, 2, 3, 4]]),  # covers no pixel
        instance(7, 1, CROWD, iscrowd=1),
        instance(7, 1, RUNS),
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for image in CONTENT["images"]:
        save(tmp_path / "val2017" / image["file_name"], np.full((*SIZE_HW, 3), 90, np.uint8))
    write(tmp_path, CONTENT)
    return tmp_path


def write(root: Path, content: Any) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(content))


def test_smaller_instances_lie_over_larger_ones(root: Path) -> None:
    dataset = open_tree("coco", root)
    assert [dataset[i].key for i in range(2)] == ["val/000000000003", "val/000000000007"]
    surfaces = {s.id: s for s in dataset[1].surfaces()}
    assert {i: (s.name, s.area_px) for i, s in surfaces.items()} == {
        1: ("toothbrush", 25 - 4),
        2: ("person", 20 * 18 + 2 * 18 - 25),
        3: ("person", 4),
        5: ("person", 10),
    }
    assert surfaces[3].mask[6:8, 6:8].all() and surfaces[5].mask[10:, 29].all()
    assert dataset[0].surfaces() == []  # 48 images of val are like this


def test_crowds_are_background_and_counted(root: Path) -> None:
    dataset = open_tree("coco", root)
    assert dataset[1].labels[19, 0] == 0
    described = dataset.describe()
    assert (described["crowds_left_out"], described["instances_in_split"], described["images_published"]) == (
        1,
        5,
        5000,
    )
    with pytest.raises(DataError, match=r"Expected 5000 images of 'coco', 'val', in .* but got 2"):
        open_tree("coco", root, partial=False)


def test_mist_is_measured_on_what_is_visible(
    root: Path, thermal_predictor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = type("Connector", (), {"connect": staticmethod(lambda url, **options: thermal_predictor)})
    monkeypatch.setitem(vars(mmms_client), "TritonPredictor", connector)
    file = root / "bench.json"
    arguments = ["--dataset", "coco", "--root", str(root), "--partial", "--n-max", "2", "--json", str(file)]
    request = [*arguments, "--mist", "worst", "--mist-clicks", "2"]
    assert CliRunner().invoke(bench, request, catch_exceptions=False).exit_code == 0
    evaluation = json.loads(file.read_text())["evaluations"][0]
    images = {image["key"]: image["mist"] for image in evaluation["images"]}
    assert images["val/000000000003"] == []
    (run,) = images["val/000000000007"]
    assert run["budget"] == 8  # the instance without a pixel adds nothing
    assert [click[2] for click in run["clicks"][:4]] == [1, 2, 3, 5]
    assert evaluation["summary"]["mist"]["worst"]["images"] == 1


def polygons() -> list[tuple[NDArray[np.float64], tuple[int, int]]]:
    rng = np.random.default_rng(5)
    drawn = []
    for k in range(600):
        size = (int(rng.integers(1, 60)), int(rng.integers(1, 60)))
        points = rng.uniform(-6, 66, (rng.integers(3, 12), 2))
        if k % 2:
            points = np.round(points, k % 3)
        if k % 5 == 0:
            points = np.clip(points, 0, size[::-1])  # along the border, as most of them in COCO
        if k % 7 == 0:
            points[1] = points[0]
        drawn.append((points, size))
    return drawn


def test_polygons_cover_the_pixels_that_cocos_tools_say() -> None:
    for points, (height, width) in polygons():
        polygon = points.ravel().tolist()
        theirs = coco_tools.decode(coco_tools.frPyObjects([polygon], height, width))[..., 0]
        found = fill_polygons([polygon], (height, width), PixelBudget(0))
        assert np.array_equal(found.whole, theirs) and found.box == BoxMask.of(theirs > 0).box, polygon


def test_polygons_with_points_far_outside() -> None:
    """Long edges, steep and flat ones, as exact as short ones."""
    rng = np.random.default_rng(6)
    for k in range(200):
        points = rng.uniform(-9000, 9000, (4, 2)) * [1, 10.0 ** -(k % 4)] + [20, 15]
        polygon = np.clip(points[:, :: 1 if k % 3 else -1], -9999, 9999).ravel().tolist()
        theirs = coco_tools.decode(coco_tools.frPyObjects([polygon], 40, 50))[..., 0]
        assert np.array_equal(fill_polygons([polygon], (40, 50), PixelBudget(0)).whole, theirs), polygon


def test_masks_of_an_image_are_not_all_in_memory_at_once(root: Path) -> None:
    """A mask of a whole image is a few characters: 40 of them at 3000 px would be 360 MB."""
    side = 3000
    instances = tuple(Instance("a", {"size": [side, side], "counts": [n, side * side - n]}) for n in range(40))
    picture = Picture(root / "a.json", (side, side), instances)
    dataset = replace(open_tree("coco", root), pictures={"a": picture})
    tracemalloc.start()
    try:
        labels = dataset._labels(Entry("a", {}))
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert labels[5, 0] == 6 and labels[-1, -1] == 40
    assert most_bytes < 120_000_000, "labels are 36 MB"


def test_images_without_file_are_listed_and_others_sizes_named(root: Path) -> None:
    save(root / "val2017" / "000000000003.jpg", np.full((30, 20, 3), 90, np.uint8))
    with pytest.raises(DataError, match=r"3.jpg' of 30x20 px, as in instances_val2017.json, but got 20x30 px; get"):
        open_tree("coco", root)[0]
    (root / "val2017" / "000000000003.jpg").unlink()
    with pytest.raises(DataError, match=r"but got none at val2017/000000000003\.jpg; unpack"):
        open_tree("coco", root)


@pytest.mark.parametrize(
    "segmentation", [{"size": [20, 30], "counts": [3]}, {"size": [20, 30]}, [[1, "a", 3, 4, 5, 6]]]
)
def test_masks_that_are_none(root: Path, segmentation: Any) -> None:
    write(root, {**CONTENT, "annotations": [instance(7, 1, segmentation)]})
    dataset = open_tree("coco", root)
    assert len(dataset[0].surfaces()) == 0
    with pytest.raises(
        DataError, match=r"Expected polygons or run lengths for 'val/000000000007' in '.*' but got .*; get the"
    ):
        dataset[1]


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"images": []},
        {**CONTENT, "categories": []},
        {**CONTENT, "images": []},
        {**CONTENT, "images": [{"id": 3, "file_name": "3.jpg", "width": 30, "height": 1e999}]},
    ],
)
def test_annotation_files_that_are_none(root: Path, content: Any) -> None:
    write(root, content)
    with pytest.raises(DataError, match=r"Expected the annotations '.*val2017.json' but got .*; arrange the tree ROOT"):
        open_tree("coco", root)
