"""Result files are whole or absent."""

from __future__ import annotations

import errno
import os
import stat

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import OutputError
from mmms_client.files import (
    make_folder,
    write_bytes_atomically,
    write_inside,
    write_png_atomically,
    write_text_atomically,
)


def test_writes_and_replaces(tmp_path) -> None:
    path = tmp_path / "ä file.txt"
    write_text_atomically(path, "eins\n")
    write_text_atomically(path, "zwei ✓\n")
    assert path.read_bytes() == "zwei ✓\n".encode()
    assert [p.name for p in tmp_path.iterdir()] == ["ä file.txt"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_png(tmp_path) -> None:
    write_png_atomically(tmp_path / "a.png", Image.fromarray(np.eye(4, dtype=np.uint8)))
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), np.eye(4))


def test_a_link_keeps_pointing_at_its_target(tmp_path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_bytes_atomically(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"x"


def test_a_result_is_not_written_through_a_link_out_of_its_folder(tmp_path) -> None:
    (tmp_path / "disk" / "out").mkdir(parents=True)
    root = tmp_path / "out"
    root.symlink_to(tmp_path / "disk" / "out")  # where the results lie is a person's choice
    write_inside(root, root / "coco" / "a.json", b"x")
    (root / "b.json").symlink_to(root / "coco" / "a.json")
    write_inside(root, root / "b.json", b"y")
    assert (root / "coco" / "a.json").read_bytes() == b"y"
    for link, target in (("c.json", "new"), ("yolo", "disk"), ("loop", "out/loop")):
        (root / link).symlink_to(tmp_path / target)
    before = sorted(tmp_path.rglob("*"))
    for name in ("c.json", "yolo/new.txt"):
        with pytest.raises(OutputError, match=r"inside '.*out' but it links to '.*/new(\.txt)?'; remove the link\.$"):
            write_inside(root, root / name, b"x")
    with pytest.raises(OutputError):
        write_inside(root, root / "loop" / "x", b"x")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "'No space left on device'; free some space there or choose another folder."),
        (errno.EACCES, "'Permission denied'; choose a folder that you may write to."),
        (errno.EROFS, "'Read-only file system'; choose a folder that is not read-only."),
        (errno.EIO, "'Input/output error'; choose another place."),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "open"])
def test_no_room_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, number, advice, call) -> None:
    path = tmp_path / "joint.png"
    path.write_bytes(b"old")

    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OutputError) as caught:
        write_bytes_atomically(path, b"new" * 1000)
    monkeypatch.undo()
    assert str(caught.value) == f"Expected to write the file {str(path)!r} but got {advice}"
    assert isinstance(caught.value.__cause__, OSError)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["joint.png"]


def test_interrupt_leaves_nothing(tmp_path, monkeypatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_bytes_atomically(tmp_path / "a", b"x")
    assert not list(tmp_path.iterdir())


def test_folders(tmp_path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        OutputError, match=r"Expected to write the folder '.*file' but got 'File exists'; remove what lies"
    ):
        make_folder(tmp_path / "file")
    with pytest.raises(OutputError, match="'No such file or directory'; create the folder first"):
        write_bytes_atomically(tmp_path / "none" / "x", b"")
    with pytest.raises(OutputError, match="'Is a directory'; give a file name, not a folder"):
        write_bytes_atomically(tmp_path / "a", b"")
