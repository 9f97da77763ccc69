"""Every format gives back what was written, pixel for pixel, to readers that are not ours, or says what is lost.

Where the program that a format belongs to reads it in Python, that code reads here too: pycocotools is in ``[dev]``;
labelme, cvat-sdk and label-studio-sdk are too heavy for it, so their tests are skipped unless they are installed.
For these there is a second reader below, written from the format's documentation.
"""

from __future__ import annotations

import base64
import importlib
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mmms_client import bounded
from mmms_client.errors import ImageReadError, OutputError, SessionFormatError
from mmms_client.events import Surface
from mmms_client.export_masks import formats
from mmms_client.export_masks.annotated import AnnotatedImage, Options
from mmms_client.export_masks.coco import compress_runs, decompress_runs, read_coco
from mmms_client.export_masks.cvat import read_cvat
from mmms_client.export_masks.instance_png import read_instance_png
from mmms_client.export_masks.label_maps import read_label_map
from mmms_client.export_masks.label_studio import decode_brush, encode_brush, read_label_studio
from mmms_client.export_masks.labelme import read_labelme
from mmms_client.export_masks.npz import read_npz
from mmms_client.export_masks.palette_png import read_palette_png
from mmms_client.export_masks.semantic_png import read_semantic_png
from mmms_client.export_masks.yolo import read_yolo
from mmms_client.files import write_bytes_atomically

cv2 = pytest.importorskip("cv2", reason="pip install 'mmms[bench]' for the second reader")
H, W = 37, 53
SURFACES = (
    Surface(1, "ring", "shape, round"),
    Surface(3, "two parts", "shape, round", "#102030"),
    Surface(7, "lines"),
    Surface(200, "corner", 'a "b" & <c>'),
    Surface(9, "nothing", "empty"),
)
SOLID = {"ring": False, "two parts": True, "lines": True, "corner": True}


def scene(name: str = "a/street.png") -> AnnotatedImage:
    """A ring, two parts, crossing lines of one pixel, single pixels at the border, and a surface without pixels."""
    joint = np.zeros((H, W), np.uint16)
    rows, columns = np.mgrid[:H, :W]
    distance = np.hypot(rows - 12, columns - 14)
    joint[(distance < 10) & (distance > 4)] = 1
    joint[25:33, 3:12] = joint[26:36, 20:21] = joint[36, 21:26] = 3
    joint[2, 28:50] = joint[2:30, 40] = 7
    joint[(rows + columns == 60) & (columns > 30)] = 7
    joint[0, 0] = joint[H - 1, W - 1] = joint[0, W - 1] = 200
    return AnnotatedImage.from_joint(name, joint, SURFACES, classes=("declared",))


def solid() -> AnnotatedImage:
    """The scene without the ring's hole: what polygons can hold."""
    image = scene()
    rows, columns = np.mgrid[:H, :W]
    joint = image.joint
    joint[np.hypot(rows - 12, columns - 14) <= 4] = 1
    return AnnotatedImage.from_joint(image.name, joint, SURFACES)


def write(folder: Path, name: str, *images: AnnotatedImage, tolerance_px: float | None = None) -> Path:
    files = formats.load_format(name).encode(images, Options(tolerance_px, folder))
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(folder / path, data)
    return folder


def painted(image: AnnotatedImage) -> dict[str, np.ndarray]:
    """Masks by surface name, of surfaces with pixels."""
    return {surface.name: mask for surface, mask in image.painted}


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert sorted(found) == sorted(expected)
    for name, mask in expected.items():
        assert np.array_equal(found[name], mask), name


def kinds(name: str, image: AnnotatedImage, tolerance_px: float | None = None) -> list[tuple[str, str]]:
    losses = formats.load_format(name).losses(image, Options(tolerance_px))
    return [(loss.kind, loss.surface.name) for loss in losses if loss.surface is not None]


# Label maps -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("name", "read"), [("palette-png", read_palette_png), ("instance-png", read_instance_png)])
def test_label_maps(tmp_path, name, read) -> None:
    image = scene()
    path = write(tmp_path, name, image) / "a/street.png"
    assert np.array_equal(read(path), image.joint)
    if name == "instance-png":
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), image.joint)
    back = read_label_map(path)
    assert back.surfaces == SURFACES and np.array_equal(back.joint, image.joint)
    assert kinds(name, image) == []


def test_semantic_png(tmp_path) -> None:
    image = scene()
    path = write(tmp_path, "semantic-png", image) / "a/street.png"
    names = json.loads((tmp_path / "classes.json").read_text())
    assert list(names.values()) == ["declared", "shape, round", "lines", 'a "b" & <c>', "empty"]
    with Image.open(path) as picture:
        indices = np.array(picture)
    expected = np.zeros((H, W), np.uint8)
    for surface in SURFACES:
        number = next(int(n) for n, c in names.items() if c == (surface.class_name or surface.name))
        expected[image.masks[surface.surface_id]] = number
    assert np.array_equal(indices, expected) and np.array_equal(read_semantic_png(path), expected)
    assert kinds("semantic-png", image) == [
        ("empty", "nothing"),
        ("names", "ring"),
        ("parts", "two parts"),
        ("names", "corner"),
        ("names", "nothing"),
    ]


def test_label_maps_hold_no_overlap_and_palettes_no_large_ids() -> None:
    masks = {1: np.zeros((4, 4), bool), 300: np.zeros((4, 4), bool)}
    masks[1][:3], masks[300][2:] = True, True
    image = AnnotatedImage("i.png", (4, 4), (Surface(1, "a"), Surface(300, "b")), masks)
    (loss,) = formats.load_format("instance-png").losses(image)
    assert str(loss) == (
        "i.png: surface 1 'a': loses the pixels that later surfaces cover, too (4 px changed, IoU 0.6667)"
    )
    assert kinds("palette-png", image) == [("overlap", "a"), ("ids", "b")]
    with pytest.raises(OutputError, match="Expected surface ids up to 254 for a palette PNG"):
        formats.load_format("palette-png").encode([image])
    for name in ("npz", "coco", "cvat", "labelme", "label-studio"):
        assert kinds(name, image) == []


def test_npz(tmp_path) -> None:
    image = scene()
    path = write(tmp_path, "npz", image) / "a/street.npz"
    with np.load(path) as arrays:
        assert np.array_equal(arrays["joint"], image.joint) and arrays["masks"].shape == (5, H, W)
        assert arrays["names"].tolist() == [s.name for s in SURFACES]
    back = read_npz(path)
    assert back.surfaces == SURFACES and back.name == image.name
    assert all(np.array_equal(back.masks[i], image.masks[i]) for i in image.masks)


@pytest.mark.parametrize("order", ["<", ">"])
def test_an_npz_with_characters_that_are_none(tmp_path, order) -> None:
    """NumPy makes texts of them that end in a SystemError wherever they are looked at."""
    path = write(tmp_path, "npz", scene()) / "a/street.npz"
    with np.load(path) as arrays:
        content = dict(arrays)
    content["image"] = np.array([0x110000], f"{order}u4").view(f"{order}U1")
    np.savez(path, **content)
    with pytest.raises(
        ImageReadError, match=r"to be an \.npz of this project but it cannot be read; export it again\.$"
    ):
        read_npz(path)


# COCO -------------------------------------------------------------------------------------------------
def by_pycocotools(path: Path) -> dict[str, np.ndarray]:
    coco = importlib.import_module("pycocotools.coco").COCO(str(path))
    return {
        annotation["attributes"]["surface"]["name"]: coco.annToMask(annotation).astype(bool)
        for annotation in coco.loadAnns(coco.getAnnIds())
    }


def test_coco(tmp_path) -> None:
    mask = pytest.importorskip("pycocotools.mask", reason="pip install 'mmms[dev]'")
    first, second = scene(), scene("b/street.png")
    path = write(tmp_path, "coco", first, second) / "annotations.json"
    assert_same(by_pycocotools(path), painted(first))
    content = json.loads(path.read_text())
    assert [image["file_name"] for image in content["images"]] == ["a/street.png", "b/street.png"]
    assert len(content["annotations"]) == 8
    for annotation in content["annotations"]:
        runs = annotation["segmentation"]
        assert annotation["area"] == mask.area(runs) and annotation["bbox"] == mask.toBbox(runs).tolist()
        assert annotation["iscrowd"] == 0
        bitmap = np.asfortranarray(mask.decode(runs))
        assert mask.encode(bitmap)["counts"].decode() == runs["counts"]
    back = read_coco(path)
    assert back[1].surfaces == SURFACES[:4] and np.array_equal(back[1].joint, first.joint)
    assert kinds("coco", first) == [("empty", "nothing")]


@pytest.mark.parametrize("tolerance_px", [0.0, 1.5])
def test_coco_polygons(tmp_path, tolerance_px) -> None:
    pytest.importorskip("pycocotools.coco", reason="pip install 'mmms[dev]'")
    image = solid()
    path = write(tmp_path, "coco", image, tolerance_px=tolerance_px) / "annotations.json"
    found, ours, expected = by_pycocotools(path), painted(read_coco(path)[0]), painted(image)
    losses = formats.load_format("coco").losses(image, Options(tolerance_px))
    changed = {loss.surface.name: loss.changed_px for loss in losses if loss.surface and loss.kind == "pixels"}
    assert {name: int((ours[name] ^ expected[name]).sum()) for name in changed} == changed
    assert bool(changed) == (tolerance_px > 0)
    for name in set(expected) - set(changed):
        assert np.array_equal(found[name], expected[name]), name
    assert ("holes", "ring") in kinds("coco", scene(), tolerance_px)


def test_coco_of_others(tmp_path) -> None:
    """Plain run lengths and polygons, without what only our files have."""
    content = {
        "images": [{"id": 5, "file_name": "x.jpg", "width": 4, "height": 3, "license": 1}],
        "categories": [{"id": 9, "name": "cat", "supercategory": "animal"}],
        "annotations": [
            {"image_id": 5, "category_id": 9, "segmentation": {"size": [3, 4], "counts": [0, 3, 9]}, "iscrowd": 1},
            {"image_id": 5, "category_id": 9, "segmentation": [[2, 0, 4, 0, 4, 2, 2, 2]], "attributes": {"x": 1}},
        ],
    }
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    (image,) = read_coco(path)
    assert image.surfaces == (Surface(1, "cat", "cat"), Surface(2, "cat", "cat"))
    assert image.joint.tolist() == [[1, 0, 2, 2], [1, 0, 2, 2], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "expected images to be a list (COCO instances) but got None"),
        (lambda c: c["annotations"][0].pop("segmentation"), "expected annotations[0].segmentation to be given"),
        (lambda c: c["annotations"][0].update(category_id=99), "annotations[0].category_id to be the id of a category"),
        (
            lambda c: c["annotations"][0]["segmentation"].update(counts="~"),
            "annotations[0].segmentation.counts to be run lengths that add up to 1961 but got '~'",
        ),
        (lambda c: c["annotations"][0]["segmentation"].update(size=[1, 2]), "the image's [height, width], [37, 53],"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2]]), "to be polygons of three or more points"),
    ],
)
def test_broken_coco(tmp_path, change, message) -> None:
    path = write(tmp_path, "coco", scene()) / "annotations.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SessionFormatError) as caught:
        read_coco(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("segmentation", [{"size": [30, 40], "counts": [0, 1200]}, [[0, 0, 40, 0, 40, 30, 0, 30]]])
def test_coco_masks_have_as_many_pixels_together_as_the_file_s_length_allows(
    tmp_path, monkeypatch, segmentation
) -> None:
    content = {
        "images": [{"id": 5, "file_name": "x.jpg", "width": 40, "height": 30}],
        "categories": [{"id": 9, "name": "cat"}],
        "annotations": [{"image_id": 5, "category_id": 9, "segmentation": segmentation} for _ in range(90)],
    }
    path = tmp_path / "c.json"
    path.write_text(json.dumps(content))
    (image,) = read_coco(path)
    assert all(image.masks[surface.surface_id].all() for surface in image.surfaces)
    monkeypatch.setattr(bounded, "_FREE_PX", 70 * 1200)
    monkeypatch.setattr(bounded, "_PX_PER_BYTE", 0)
    with pytest.raises(SessionFormatError, match="segmentation to be one of masks that have at most 84000 px together"):
        read_coco(path)


# labelme ----------------------------------------------------------------------------------------------
def labelme_by_documentation(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for shape in json.loads(path.read_text())["shapes"]:
        mask = np.zeros((H, W), np.uint8)
        if shape["shape_type"] == "mask":
            (x1, y1), (x2, y2) = shape["points"]
            box = cv2.imdecode(np.frombuffer(base64.b64decode(shape["mask"]), np.uint8), cv2.IMREAD_UNCHANGED)
            mask[y1 : y2 + 1, x1 : x2 + 1] = box
        else:
            picture = Image.new("1", (W, H))
            ImageDraw.Draw(picture).polygon([tuple(p) for p in shape["points"]], fill=1, outline=1)
            mask = np.array(picture)
        name = shape["description"]
        found[name] = found.get(name, False) | mask.astype(bool)
    return found


def labelme_by_labelme(path: Path) -> dict[str, np.ndarray]:
    labelme = pytest.importorskip("labelme", reason="too heavy for [dev]: pip install labelme")
    found: dict[str, np.ndarray] = {}
    for shape in labelme.LabelFile(str(path)).shapes:
        mask = np.zeros((H, W), bool)
        if shape["shape_type"] == "mask":
            (x1, y1), (x2, y2) = np.array(shape["points"], int)
            mask[y1 : y2 + 1, x1 : x2 + 1] = shape["mask"]
        else:
            mask = labelme.utils.shape_to_mask((H, W), shape["points"], shape["shape_type"])
        found[shape["description"]] = found.get(shape["description"], False) | mask
    return found


@pytest.mark.parametrize("read", [labelme_by_documentation, labelme_by_labelme])
@pytest.mark.parametrize("tolerance_px", [None, 0.0])
def test_labelme(tmp_path, read, tolerance_px) -> None:
    image = scene() if tolerance_px is None else solid()
    Image.new("RGB", (W, H)).save(tmp_path / "picture.png")
    image = AnnotatedImage(image.name, (H, W), image.surfaces, image.masks, (), tmp_path / "picture.png")
    path = write(tmp_path, "labelme", image, tolerance_px=tolerance_px) / "a/street.json"
    assert json.loads(path.read_text())["imagePath"] == "../picture.png"
    assert_same(read(path), painted(image))
    back = read_labelme(path)
    assert_same(painted(back), painted(image))
    assert [s.surface_id for s in back.surfaces] == [1, 3, 7, 200]
    assert ("holes", "ring") in kinds("labelme", scene(), 0.0) and kinds("labelme", scene()) == [("empty", "nothing")]


# CVAT -------------------------------------------------------------------------------------------------
def cvat_masks(path: Path, decode) -> dict[str, np.ndarray]:
    found = {}
    for shape in ElementTree.parse(path).getroot().iter("mask"):
        left, top, width, height = (int(shape.attrib[k]) for k in ("left", "top", "width", "height"))
        runs = [int(run) for run in shape.attrib["rle"].split(",")]
        found[shape.findtext("attribute[@name='surface_name']")] = decode(runs, left, top, width, height)
    return found


def cvat_by_documentation(runs, left, top, width, height) -> np.ndarray:
    box = [value % 2 for value, run in enumerate(runs) for _ in range(run)]
    mask = np.zeros((H, W), bool)
    mask[top : top + height, left : left + width] = np.array(box).reshape(height, width)
    return mask


def cvat_by_cvat(runs, left, top, width, height) -> np.ndarray:
    masks = pytest.importorskip("cvat_sdk.masks", reason="too heavy for [dev]: pip install cvat-sdk")
    encoded = [*runs, left, top, left + width - 1, top + height - 1]
    return masks.decode_mask(encoded, image_width=W, image_height=H)


@pytest.mark.parametrize("decode", [cvat_by_documentation, cvat_by_cvat])
def test_cvat(tmp_path, decode) -> None:
    image = scene()
    path = write(tmp_path, "cvat", image) / "annotations.xml"
    assert_same(cvat_masks(path, decode), painted(image))
    root = ElementTree.parse(path).getroot()
    assert [label.findtext("name") for label in root.iter("label")][1:3] == ["shape, round", "lines"]
    assert {shape.attrib["label"] for shape in root.iter("mask")} == {"shape, round", "lines", 'a "b" & <c>'}
    (back,) = read_cvat(path)
    assert_same(painted(back), painted(image))
    assert kinds("cvat", image) == [("empty", "nothing")]


def test_names_that_xml_has_not(tmp_path) -> None:
    image = AnnotatedImage("i.png", (2, 2), (Surface(1, "a\0b", "c\x1fd"),), {1: np.ones((2, 2), bool)})
    for name in ("cvat", "label-studio"):
        assert kinds(name, image) == [("names", "a\0b")]
        write(tmp_path, name, image)
    assert read_cvat(tmp_path / "annotations.xml")[0].surfaces == (Surface(1, "a_b", "c_d"),)
    assert read_label_studio(tmp_path / "tasks.json")[0].surfaces == (Surface(1, "a_b", "c_d"),)


# YOLO -------------------------------------------------------------------------------------------------
def yolo_by_opencv(path: Path) -> list[np.ndarray]:
    """As Ultralytics makes training masks: multiply, cut the fraction off, ``fillPoly``."""
    found = []
    for row in path.read_text().splitlines():
        points = np.array(row.split()[1:], np.float32).reshape(-1, 2) * np.array([W, H], np.float32)
        mask = np.zeros((H, W), np.uint8)
        cv2.fillPoly(mask, [points.astype(np.int32)], 1)
        found.append(mask.astype(bool))
    return found


def test_yolo(tmp_path) -> None:
    yaml = pytest.importorskip("yaml")
    image = solid()
    write(tmp_path, "yolo", image)
    path = tmp_path / "labels/a/street.txt"
    names = yaml.safe_load((tmp_path / "data.yaml").read_text("utf-8"))["names"]
    assert names == {0: "shape, round", 1: "lines", 2: 'a "b" & <c>', 3: "empty"}
    rows = yolo_by_opencv(path)
    assert len(rows) == 1 + 2 + 1 + 3
    ours = read_yolo(path, (H, W), list(names.values()))
    for (surface, mask), row in zip(ours.painted, rows, strict=True):
        assert np.array_equal(mask, row), surface
    for name in names.values():
        expected = [m for s, m in image.painted if (s.class_name or s.name) == name]
        found = [m for s, m in ours.painted if s.class_name == name]
        assert np.array_equal(np.any(found, 0), np.any(expected, 0)) or name == "empty"


def test_what_yolo_loses() -> None:
    losses = formats.load_format("yolo").losses(scene())
    hole = int((solid().masks[1] ^ scene().masks[1]).sum())
    (holes,) = [loss for loss in losses if loss.kind == "holes"]
    assert holes.changed_px == hole and holes.iou == pytest.approx(scene().masks[1].sum() / solid().masks[1].sum())
    assert str(holes) == (
        f"a/street.png: surface 1 'ring': 1 hole is filled: polygons have none ({hole} px changed, IoU {holes.iou:.4f})"
    )
    assert ("parts", "two parts") in kinds("yolo", scene()) and ("empty", "nothing") in kinds("yolo", scene())
    (moved,) = [loss for loss in formats.load_format("yolo").losses(solid(), Options(2.0)) if loss.kind == "pixels"][:1]
    assert 0 < moved.changed_px < 60 and 0.6 < moved.iou < 1


@pytest.mark.parametrize("name", ["a: b", "- x", "ü\U0001f600", "tab\there", "\x7f\x00", "yes", "", 'q"\\'])
def test_class_names_in_yaml(tmp_path, name) -> None:
    yaml = pytest.importorskip("yaml")
    image = AnnotatedImage("i.png", (2, 2), (Surface(1, "", name),), {1: np.ones((2, 2), bool)})
    write(tmp_path, "yolo", image)
    assert yaml.safe_load((tmp_path / "data.yaml").read_text("utf-8"))["names"] == {0: name or "surface"}


# Label Studio -----------------------------------------------------------------------------------------
def brush_by_documentation(rle: list[int]) -> np.ndarray:
    bits, out = "".join(f"{byte:08b}" for byte in rle), []
    stream = io.StringIO(bits)

    def read(count: int) -> int:
        return int(stream.read(count), 2)

    size, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    while len(out) < size:
        is_run = read(1)
        count = read(sizes[read(2)]) + 1
        out += [read(word)] * count if is_run else [read(word) for _ in range(count)]
    return np.array(out, np.uint8)


def brush_by_label_studio(rle: list[int]) -> np.ndarray:
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="too heavy for [dev]: pip install label-studio-sdk"
    )
    return brush.decode_rle(rle)


@pytest.mark.parametrize("decode", [brush_by_documentation, brush_by_label_studio])
def test_label_studio(tmp_path, decode) -> None:
    image = scene()
    write(tmp_path, "label-studio", image)
    (task,) = json.loads((tmp_path / "tasks.json").read_text())
    found = {}
    for result in task["annotations"][0]["result"]:
        pixels = decode(result["value"]["rle"]).reshape(result["original_height"], result["original_width"], 4)
        assert set(np.unique(pixels)) <= {0, 255} and (pixels == pixels[..., :1]).all()
        found[result["meta"]["text"][0]] = pixels[..., 3] > 0
    assert_same(found, painted(image))
    config = ElementTree.parse(tmp_path / "config.xml").getroot()
    assert [label.attrib["value"] for label in config.iter("Label")][1] == "shape, round"
    (back,) = read_label_studio(tmp_path / "tasks.json")
    assert back.surfaces[0] == SURFACES[0]
    assert_same(painted(back), painted(image))


def test_brush_masks_of_label_studio() -> None:
    """Its own encoder writes single values, too, and lengths of its choice."""
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="too heavy for [dev]: pip install label-studio-sdk"
    )
    for _, mask in scene().painted:
        assert np.array_equal(decode_brush(brush.mask2rle(mask.astype(np.uint8) * 255), (H, W)), mask)


def test_large_brush_masks() -> None:
    """Runs longer than 16 bits can count."""
    mask = np.zeros((300, 400), bool)
    mask[100:] = True
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)
    assert np.array_equal(brush_by_documentation(encode_brush(mask))[3::4].reshape(mask.shape) > 0, mask)


# All --------------------------------------------------------------------------------------------------
masks = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from((0, 0.3, 0.8, 1)))


def drawn(parameters: tuple[int, int, int, float]) -> np.ndarray:
    height, width, seed, share = parameters
    return np.random.default_rng(seed).random((height, width)) < share


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_any_mask_comes_back(tmp_path_factory, first, second) -> None:
    """Formats of masks hold any two masks of one image, whether they overlap or not; label maps the joint map."""
    folder = tmp_path_factory.mktemp("formats")
    one = drawn(first)
    two = drawn((*one.shape, *second[2:]))
    image = AnnotatedImage("i.png", one.shape, (Surface(4, "a", "x"), Surface(2, "b", "x")), {4: one, 2: two})
    readers = {
        "npz": lambda: read_npz(folder / "npz/i.npz"),
        "coco": lambda: read_coco(folder / "coco/annotations.json")[0],
        "labelme": lambda: read_labelme(folder / "labelme/i.json"),
        "cvat": lambda: read_cvat(folder / "cvat/annotations.xml")[0],
        "label-studio": lambda: read_label_studio(folder / "label-studio/tasks.json")[0],
    }
    for name, read in readers.items():
        write(folder / name, name, image)
        assert_same(painted(read()), painted(image))
    for name in ("palette-png", "instance-png"):
        write(folder / name, name, image)
        assert np.array_equal(read_label_map(folder / name / "i.png").joint, image.joint)


@settings(max_examples=60, deadline=None)
@given(masks, st.sampled_from((0.0, 1.0, 3.0)))
def test_polygon_losses_are_what_the_file_shows(tmp_path_factory, parameters, tolerance_px) -> None:
    """What a polygon format says it changes is what reading the file back finds; with tolerance 0 only holes."""
    folder, mask = tmp_path_factory.mktemp("polygons"), drawn(parameters)
    image = AnnotatedImage("i.png", mask.shape, (Surface(1, "a", "a"),), {1: mask})
    readers = {
        "coco": lambda: read_coco(folder / "coco/annotations.json")[0],
        "labelme": lambda: read_labelme(folder / "labelme/i.json"),
        "yolo": lambda: read_yolo(folder / "yolo/labels/i.txt", mask.shape),
    }
    for name, read in readers.items():
        write(folder / name, name, image, tolerance_px=tolerance_px)
        found = np.any([np.zeros(mask.shape, bool), *read().masks.values()], 0)
        losses = formats.load_format(name).losses(image, Options(tolerance_px))
        assert sum(loss.changed_px for loss in losses) == (found ^ mask).sum()
        if tolerance_px == 0:
            assert found[mask].all() and {loss.kind for loss in losses} <= {"holes", "parts", "empty"}


@settings(max_examples=100)
@given(st.lists(st.integers(0, 2**24), min_size=1, max_size=30))
def test_compressed_runs(counts) -> None:
    assert decompress_runs(compress_runs(counts)) == counts


@pytest.mark.parametrize("text", ["P", "~", "0é"])
def test_broken_compressed_runs(text) -> None:
    with pytest.raises(ValueError, match=r"the character|an end within"):
        decompress_runs(text)


def test_two_images_of_one_file_name() -> None:
    with pytest.raises(OutputError) as caught:
        formats.load_format("labelme").encode([scene("a.png"), scene("a.jpg")])
    assert str(caught.value) == (
        "Expected a file of its own for each image but got 'a.json' for both 'a.png' and 'a.jpg'; rename one of the "
        "images, or export them to different folders."
    )


@pytest.mark.parametrize(
    "read", [read_coco, read_labelme, read_cvat, read_label_studio, read_npz, lambda p: read_yolo(p, (2, 2))]
)
def test_missing_and_broken_files(tmp_path, read) -> None:
    with pytest.raises(ImageReadError, match=r"^Expected the file '.*x' but got 'No such file.*'; check the path\.$"):
        read(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"{ 1 x")
    with pytest.raises(ImageReadError, match=r"^Expected '.*x' to be .*\.$"):
        read(tmp_path / "x")
