"""``mmms-client export`` and ``import``: from what ``annotate`` wrote to files, and from files to a session."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from killed_app import leave
from mmms_client import Session, cli, edits, headless, read_session, replay
from mmms_client.alignment import Nudge
from mmms_client.annotate.project import Project, ProjectClass
from mmms_client.annotation import Annotation
from mmms_client.clicks import Click
from mmms_client.event_json import event_entry
from mmms_client.events import ModalityAligned, Surface, SurfaceDeleted, Visit
from mmms_client.export_masks.coco import read_coco
from mmms_client.export_masks.formats import MODULES
from mmms_client.export_masks.instance_png import read_instance_png
from mmms_client.export_masks.palette_png import write_palette_png
from mmms_client.geometry import Frame
from mmms_client.journal import JOURNAL_FILE, Journal
from mmms_client.results import JOINT_FILE, RESULTS_FILE, SESSION_FILE
from mmms_client.session_file import SessionDocument, SurfaceClass, write_session

H, W = 48, 64
SURFACES = (Surface(1, "road", "ground"), Surface(2, "big door", None, "#ff8800"), Surface(5, "unseen"))


def joint() -> np.ndarray:
    labels = np.zeros((H, W), np.uint16)
    labels[20:, :40] = 1
    labels[30:35, 10:20] = 2
    return labels


def annotated(folder: Path, name: str, labels: np.ndarray | None = None) -> Path:
    """A folder as ``annotate --out`` leaves it, and its image beside it."""
    (folder / "images" / name).mkdir(parents=True)
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(folder / "images" / name / "rgb.png")
    out = folder / "out" / name
    out.mkdir(parents=True)
    visits = tuple(Visit(s.surface_id, n, (Click(3, 3, True),)) for n, s in enumerate(SURFACES))
    path = f"../../images/{name}/rgb.png"
    write_session(out / "session.json", SessionDocument(path, (H, W), SURFACES, visits))
    write_palette_png(out / "joint.png", joint() if labels is None else labels, SURFACES)
    return out


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    annotated(tmp_path, "one")
    annotated(tmp_path, "two", joint()[::-1])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def written(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_folder_of_annotations_becomes_one_data_set(folder, capsys) -> None:
    code, out, err = run(capsys, "export", "out", "-f", "coco", "-f", "instance-png", "--out", "data")
    assert (code, err) == (0, "")
    assert written(folder / "data") == [
        "coco/annotations.json",
        "instance-png/one/rgb.png",
        "instance-png/surfaces.json",
        "instance-png/two/rgb.png",
    ]
    images = read_coco("data/coco/annotations.json")
    assert [image.name for image in images] == ["one/rgb.png", "two/rgb.png"]
    assert np.array_equal(images[0].joint, joint()) and np.array_equal(images[1].joint, joint()[::-1])
    assert np.array_equal(read_instance_png("data/instance-png/two/rgb.png"), joint()[::-1])
    assert out.splitlines() == [
        "loss: coco: one/rgb.png: surface 5 'unseen': has no pixels and is left out",
        "loss: coco: two/rgb.png: surface 5 'unseen': has no pixels and is left out",
        "written to data: 2 image(s), 6 surface(s), 4 file(s)",
    ]


@pytest.mark.parametrize("name", MODULES)
def test_every_format_by_name(folder, capsys, name) -> None:
    code, out, err = run(capsys, "export", "out/one/session.json", "--format", name, "--polygons", 1, "--out", "data")
    assert (code, err) == (0, "") and written(folder / "data" / name)
    assert ("surface 1 'road': 1 hole is filled" in out) == (name in ("coco", "labelme", "yolo"))


def test_strict_writes_nothing_where_something_would_be_lost(folder, capsys) -> None:
    code, out, err = run(capsys, "export", "out/one", "-f", "npz", "-f", "yolo", "--out", "data", "--strict")
    assert code == 1 and not (folder / "data").exists()
    assert out.count("loss: yolo: rgb.png: ") == 3 and "px changed, IoU" in out and "loss: npz" not in out
    assert err == (
        "mmms-client: error: Expected an export without loss (--strict) but got 3 losses, named above; choose another "
        "format, or leave --strict out.\n"
    )
    assert run(capsys, "export", "out/one", "-f", "npz", "--out", "data", "--strict")[0] == 0


# After a kill -------------------------------------------------------------------------------------------
@pytest.fixture
def killed(tmp_path, monkeypatch, predictor) -> tuple[Path, Session]:
    """``work/day/a.png`` with results of its first three steps of seven, and all that was done."""
    monkeypatch.chdir(tmp_path)
    session = Session(predictor, np.zeros((H, W, 3), np.uint8))
    for number in (1, 2):
        session.add_surface(f"s{number}", "ground")
        session.click(number, 20 * number, 20)
        session.do(edits.brush(session, number, [(50, 10 * number)], 4, False))
    session.do(SurfaceDeleted(1))
    return leave(Path("work"), "day/a.png", "../../../a.png", session, written=3), session


def written_once(folder: Path) -> None:
    """A first session that was killed before its joint map, or an app that wrote no such file."""
    (folder / RESULTS_FILE).unlink()
    (folder / JOINT_FILE).unlink()


@pytest.mark.parametrize("spoil", [lambda _: None, written_once])
def test_what_a_killed_app_acknowledged_is_exported(killed, capsys, spoil) -> None:
    folder, session = killed
    spoil(folder)
    before = {path: path.read_bytes() for path in Path("work").rglob("*") if path.is_file()}
    assert run(capsys, "export", "work", "-f", "coco", "-f", "instance-png", "--out", "data")[0] == 0
    assert np.array_equal(read_instance_png("data/instance-png/a.png"), session.joint) and session.joint.any()
    assert {path: path.read_bytes() for path in Path("work").rglob("*") if path.is_file()} == before
    project = Project.read("work", [])
    project.set_classes([ProjectClass(1, "soil", "#808000")])  # with the app closed on another image
    run(capsys, "export", "work", "-f", "coco", "--out", "data")
    (image,) = read_coco("data/coco/annotations.json")
    assert [surface.class_name for surface in image.surfaces] == ["soil"]


def no_session(folder: Path) -> None:
    (folder / SESSION_FILE).unlink()


def taken_elsewhere(folder: Path) -> None:
    folder.rename("work/b.png")


def moved_modality(folder: Path) -> None:
    with Journal.open(folder / JOURNAL_FILE, "day/a.png", (H, W))[0] as journal:
        journal.append(event_entry(ModalityAligned("thermal", Nudge(3.0))))


@pytest.mark.parametrize("spoil", [no_session, taken_elsewhere, moved_modality])
def test_what_only_the_app_can_complete_is_refused(killed, capsys, spoil) -> None:
    spoil(killed[0])
    code, out, err = run(capsys, "export", "work", "-f", "coco", "--out", "data")
    assert (code, out) == (1, "") and err.count("\n") == 1 and err.endswith("; open the image in the app once.\n")
    assert re.search(
        r"Expected 'work/(day/a|b)\.png/session\.json' (to hold all of journal.jsonl|but got its journal)", err
    )


def test_sessions_that_no_journal_is_ahead_of_are_exported_as_they_are(folder, capsys) -> None:
    """An app that looked at what was recorded otherwise, or only looked; folders that were copied without dot files."""
    for name in ("one", "none"):
        Journal.open(folder / "out" / name / JOURNAL_FILE, name, (H, W))[0].close()
    Project.open("out", [])
    shutil.copy(leave(Path("work"), "a.png", "a.png", painted(), written=1) / JOURNAL_FILE, "out/two")
    assert run(capsys, "export", "out", "-f", "instance-png", "--out", "data")[0] == 0
    assert np.array_equal(read_instance_png("data/instance-png/one/rgb.png"), joint())
    assert np.array_equal(read_instance_png("data/instance-png/two/rgb.png"), joint()[::-1])


def painted() -> Annotation:
    annotation = Annotation(Frame.of((H, W), 1), 64)
    annotation.add_surface("a")
    annotation.do(edits.brush(annotation, 1, [(9, 9)], 3, False))
    return annotation


# Sources ------------------------------------------------------------------------------------------------
def no_joint(folder: Path) -> None:
    (folder / "out/one/joint.png").unlink()


def small_joint(folder: Path) -> None:
    write_palette_png(folder / "out/one/joint.png", joint()[:9])


def strange_joint(folder: Path) -> None:
    write_palette_png(folder / "out/one/joint.png", joint() + np.uint16(7))


@pytest.mark.parametrize(
    ("spoil", "source", "code", "message"),
    [
        (
            no_joint,
            "out",
            1,
            "Expected the masks of 'out/one/session.json' in 'out/one/joint.png' but got 'No such file': a session "
            "file holds clicks; run 'mmms-client annotate' with --clicks and --out, and export that folder.",
        ),
        (
            small_joint,
            "out/one",
            1,
            "Expected 'out/one/joint.png' to be of 64x48 px, as its session says, but got 64x9; run 'mmms-client "
            "annotate' again.",
        ),
        (
            strange_joint,
            "out/one",
            1,
            "Expected 'out/one/joint.png' to hold surfaces of 'out/one/session.json' only but got id 7; run "
            "'mmms-client annotate' again.",
        ),
        (
            lambda _: None,
            "images",
            1,
            "Expected session.json in 'images' or in its folders but got none; give what 'mmms-client annotate --out' "
            "wrote.",
        ),
        (lambda _: None, "none.json", 1, "Expected the session file 'none.json' but got 'No such file or directory'"),
    ],
)
def test_sources_that_are_none(folder, capsys, spoil, source, code, message) -> None:
    spoil(folder)
    found, out, err = run(capsys, "export", source, "-f", "coco", "--out", "data")
    assert err.startswith(f"mmms-client: error: {message}") and err.count("\n") == 1
    assert (found, out) == (code, "") and not (folder / "data").exists()


def test_one_image_twice(folder, capsys) -> None:
    (folder / "out/two/session.json").write_bytes(
        (folder / "out/one/session.json").read_bytes().replace(b"images/one", b"images/two")
    )
    (folder / "out/one/session.json").write_bytes((folder / "out/two/session.json").read_bytes())
    code, _, err = run(capsys, "export", "out", "-f", "coco", "--out", "data")
    assert code == 2 and "Expected one session for each image but got 'out/one/session.json' and 'out/two/" in err


def test_usage(folder, capsys) -> None:
    assert run(capsys, "export", "out", "--out", "data")[0] == 2
    code, _, err = run(capsys, "export", "out", "--format", "gif", "--out", "data")
    assert code == 2 and err.startswith("mmms-client: error: Invalid value for '--format' / '-f': 'gif' is not one of")
    code, _, err = run(capsys, "import", "masks.gif", "--image", "images/one/rgb.png", "--out", "s.json")
    assert (code, err) == (
        2,
        "mmms-client: error: Expected masks as a COCO .json or a label map .png but got 'masks.gif'; convert them to "
        "one of these.\n",
    )


@pytest.mark.parametrize("masks", ["coco/annotations.json", "palette-png/two/rgb.png", "instance-png/two/rgb.png"])
def test_what_was_exported_begins_a_session(folder, capsys, masks) -> None:
    run(capsys, "export", "out", *(f"-f{name}" for name in ("coco", "palette-png", "instance-png")), "--out", "data")
    image = "images/two/rgb.png"
    code, out, err = run(capsys, "import", f"data/{masks}", "--image", image, "--out", "new/session.json")
    assert (code, err) == (0, "") and out.startswith("written to new/session.json: ")
    document = read_session("new/session.json")
    assert document.image_path == "../images/two/rgb.png" and document.image_hw == (H, W)
    assert document.surfaces == (SURFACES if "png" in masks else SURFACES[:2])
    assert SurfaceClass("ground") in document.classes
    assert run(capsys, "export", "new/session.json", "-f", "instance-png", "--out", "again")[0] == 0
    assert np.array_equal(read_instance_png("again/instance-png/rgb.png"), joint()[::-1])


def test_clicks_correct_imported_masks(folder, capsys, predictor, monkeypatch) -> None:
    run(capsys, "export", "out/one", "-f", "coco", "--out", "data")
    run(capsys, "import", "data/coco/annotations.json", "--image", "images/one/rgb.png", "--out", "s.json")
    content = json.loads(Path("s.json").read_text())
    content["surfaces"][1]["visits"][0]["clicks"] = [{"x": 60, "y": 5, "positive": True}]
    Path("s.json").write_text(json.dumps(content))
    monkeypatch.setattr(headless.annotate, "__defaults__", (lambda *_: predictor,))
    code, _, err = run(capsys, "annotate", "images/one/rgb.png", "--clicks", "s.json", "--out", "out/new")
    assert (code, err) == (0, "")
    session = Session(predictor, np.zeros((H, W, 3), np.uint8))
    replay(read_session("s.json"), session)
    assert session.joint[5, 60] == 2 and session.joint[32, 15] == 2 and session.joint[45, 5] == 1


def test_label_maps_of_others(folder, capsys) -> None:
    labels = np.array([[0, 1, 255], [7, 7, 0]], np.uint8)
    Image.fromarray(labels).save("labels.png")
    Image.new("RGB", (3, 2)).save("x.png")
    assert run(capsys, "import", "labels.png", "--image", "x.png", "--out", "s.json")[0] == 0
    document = read_session("s.json")
    assert document.surfaces == (Surface(1, "surface 1"), Surface(7, "surface 7"))
    assert [visit.start_mask.tolist() for visit in document.visits if visit.start_mask is not None] == [
        [[False, True, False], [False, False, False]],
        [[False, False, False], [True, True, False]],
    ]


def test_masks_of_another_image(folder, capsys) -> None:
    run(capsys, "export", "out", "-f", "coco", "--out", "data")
    Image.new("RGB", (3, 2)).save("x.png")
    arguments = ("--image", "x.png", "--out", "s.json")
    code, _, err = run(capsys, "import", "data/coco/annotations.json", *arguments)
    assert (code, err) == (
        1,
        "mmms-client: error: Expected one image 'x.png' in 'data/coco/annotations.json' but got 0 among 2; give the "
        "image under the name that the file has for it.\n",
    )
    code, _, err = run(capsys, "import", "out/one/joint.png", *arguments)
    assert (code, err) == (
        1,
        "mmms-client: error: Expected masks of 3x2 px, as 'x.png', but got 64x48 in 'out/one/joint.png'; give the "
        "masks of this image.\n",
    )
    assert not Path("s.json").exists()


def test_no_room_on_disk_leaves_no_half_of_a_file(folder, capsys, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    code, _, err = run(capsys, "export", "out/one", "-f", "npz", "--out", "data")
    assert code == 1 and "Expected to write the file 'data/npz/rgb.npz' but got 'No space left on device'" in err
    assert not written(folder / "data")
