"""Names and links from outside: none leads out of its folder, none ends a command, none speaks to the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmms_client import bundle_writing
from mmms_client.annotate.images import find_images
from mmms_client.cli import run
from mmms_client.errors import DataError, OutputError
from mmms_client.events import Surface
from mmms_client.export_masks import coco
from mmms_client.export_masks.annotated import AnnotatedImage
from mmms_client.export_masks.formats import MODULES, load_format
from mmms_eval.datasets import DATASETS, DatasetOptions
from served_repositories import contract_of

RGB = np.zeros((12, 16, 3), np.uint8)


def save(file: Path, array: np.ndarray = RGB) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(file)


def test_digits_that_are_none_do_not_end_the_app(tmp_path) -> None:
    for name in ("1²3", "a²", "①", "x10", "x9"):
        save(tmp_path / "rgb" / f"{name}.png")
    found = [image.name for image in find_images(str(tmp_path / "rgb"), {}, str(tmp_path / "out"), [])]
    assert found.index("x9.png") < found.index("x10.png") and len(found) == 5


@pytest.mark.parametrize("name", ["../../evil.png", "/tmp/evil.png", "a/../../b.png", "", "a\nb.png", "\x1b[2J.png"])
def test_no_export_is_written_outside_of_its_folder(name) -> None:
    """The name may come from a COCO file of somebody else."""
    joint = np.ones((4, 4), np.uint16)
    image = AnnotatedImage.from_joint(name, joint, [Surface(1, "a")])
    for kind in MODULES:
        try:
            files = load_format(kind).encode([image])
        except OutputError as error:
            assert str(error).isprintable()
            continue
        for file in files:
            assert not Path(file).is_absolute() and ".." not in Path(file).parts and file.isprintable()


def lists(root: Path, stem: str) -> str:
    (root / "val.txt").write_text(f"{stem}\n")
    return "sbd"


def annotations(root: Path, stem: str) -> str:
    content = coco.encode([AnnotatedImage.from_joint(f"{stem}.jpg", np.ones((12, 16), np.uint16), [Surface(1, "a")])])
    document = json.loads(content["annotations.json"])
    document["images"][0]["file_name"] = f"{stem}.jpg"
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(document))
    return "coco"


@pytest.mark.parametrize("kind", [lists, annotations])
def test_a_data_set_names_files_of_its_own_root(tmp_path, kind) -> None:
    for folder in ("img", "val2017"):
        save(tmp_path / "root" / folder / "inside.jpg")
    save(tmp_path / "outside.jpg")
    for stem in ("../../outside", str(tmp_path / "outside")):
        root = tmp_path / "root"
        for left in (*root.glob("annotations/*"), *root.glob("annotations")):
            left.unlink() if left.is_file() else left.rmdir()
        name = kind(root, "inside" if kind is annotations else stem)
        if kind is annotations:
            file = root / "annotations" / "instances_val2017.json"
            file.write_text(file.read_text().replace("inside.jpg", f"{stem}.jpg"))
        with pytest.raises(DataError) as caught:
            DATASETS[name](DatasetOptions(root=str(root), partial=True))
        assert "lies elsewhere" in str(caught.value) or "below the root" in str(caught.value)


def test_a_bundle_that_is_given_away_has_no_picture_from_elsewhere(tmp_path) -> None:
    data = tmp_path / "data"
    for name in ("rgb/a", "rgb/b", "thermal/a", "thermal/b", "store/c", "thermal/c"):
        save(data / f"{name}.png")
    save(tmp_path / "private" / "photo.png")
    for name in ("rgb/d.png", "rgb/e.png", "thermal/e.png"):
        (data / name).symlink_to(tmp_path / "private" / "photo.png")
    (data / "rgb" / "c.png").symlink_to(data / "store" / "c.png")  # as git-annex has it: inside of what was given
    (data / "rgb").rename(tmp_path / "disk")
    (data / "rgb").symlink_to(tmp_path / "disk")  # as a person mounts it
    notes: list[str] = []
    found = list(bundle_writing.find_images(data, contract_of(), notes))
    assert [(key, sorted(maps)) for key, _, maps in found] == [(key, ["thermal"]) for key in "abc"]
    assert len(notes) == 2 and all("is left out: it is a link out of" in note for note in notes)
    assert "rgb/d.png' (and 1 more)" in notes[1]


def test_a_name_of_a_file_does_not_speak_to_the_terminal(tmp_path, capsys) -> None:
    file = tmp_path / "\x1b]0;owned\x07\nsession.json"
    for content in ("{", '{"\\u001b[2J\\n": 1}', '{"schema_version": "\\u001b[2J\\n"}'):
        file.write_text(content)
        code = run(["export", str(file), "--format", "coco", "--out", str(tmp_path / "out")])
        said = capsys.readouterr().err
        assert code == 1 and said.endswith("\n") and said[:-1].isprintable(), repr(said)
