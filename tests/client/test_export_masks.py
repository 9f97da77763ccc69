"""Mask files hold what was written, by their own reader and by another library's."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mmms_client.errors import ImageReadError, OutputError
from mmms_client.events import Surface
from mmms_client.export_masks.instance_png import read_instance_png, write_instance_png
from mmms_client.export_masks.palette_png import read_palette_png, write_palette_png
from mmms_client.export_masks.surface_png import read_surface_png, surface_file_name, write_surface_png
from mmms_client.palette import palette, surface_colour

cv2 = pytest.importorskip("cv2", reason="pip install 'mmms[bench]' for the second reader")
JOINT = np.random.default_rng(0).integers(0, 255, (33, 47)).astype(np.uint16)


def test_palette_png(tmp_path) -> None:
    write_palette_png(tmp_path / "j.png", JOINT, [Surface(5, "a", colour="#010203")])
    assert np.array_equal(read_palette_png(tmp_path / "j.png"), JOINT)
    colours = np.array(palette(), np.uint8)
    colours[5] = (1, 2, 3)
    assert np.array_equal(cv2.imread(str(tmp_path / "j.png"))[..., ::-1], colours[JOINT])


def test_too_many_surfaces_for_a_palette(tmp_path) -> None:
    with pytest.raises(OutputError) as caught:
        write_palette_png(tmp_path / "j.png", np.full((2, 2), 255, np.uint16))
    assert str(caught.value) == (
        "Expected surface ids up to 254 for a palette PNG (255 means 'ignore') but got 255; write the 16-bit "
        "instance PNG instead."
    )
    assert not list(tmp_path.iterdir())


def test_instance_png(tmp_path) -> None:
    joint = (JOINT * 257).astype(np.uint16)
    write_instance_png(tmp_path / "j.png", joint)
    assert np.array_equal(read_instance_png(tmp_path / "j.png"), joint)
    assert np.array_equal(cv2.imread(str(tmp_path / "j.png"), cv2.IMREAD_UNCHANGED), joint)


def test_surface_png(tmp_path) -> None:
    write_surface_png(tmp_path / "s.png", JOINT > 99)
    assert np.array_equal(read_surface_png(tmp_path / "s.png"), JOINT > 99)
    assert np.array_equal(cv2.imread(str(tmp_path / "s.png"), cv2.IMREAD_UNCHANGED), np.where(JOINT > 99, 255, 0))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("road", "3_road.png"),
        ("Tür 2", "3_Tür 2.png"),
        ("../../etc/x", "3__.._etc_x.png"),
        ("", "3.png"),
        ("..", "3.png"),
        ('a<b>"|?*\n\0', "3_a_b_.png"),
        ("ü" * 200, "3_" + "ü" * 40 + ".png"),
    ],
)
def test_file_names_are_harmless(tmp_path, name, file) -> None:
    found = surface_file_name(Surface(3, name))
    assert found == file or found.replace(" ", "") == file.replace(" ", "")
    (tmp_path / found).write_bytes(b"")
    assert [p.name for p in tmp_path.iterdir()] == [found]


def test_other_files_are_refused(tmp_path) -> None:
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "rgb.png")
    with pytest.raises(
        ImageReadError, match="to be a palette PNG but got a picture of mode 'RGB'; give the file as it"
    ):
        read_palette_png(tmp_path / "rgb.png")
    (tmp_path / "x.png").write_bytes(b"x")
    with pytest.raises(ImageReadError, match="to be a 16-bit instance PNG but it cannot be read; write it again"):
        read_instance_png(tmp_path / "x.png")
    with pytest.raises(ImageReadError, match=r"Expected the file '.*none.png' but got 'No such file'"):
        read_surface_png(tmp_path / "none.png")


def test_palette_is_distinct_and_stable() -> None:
    colours = palette()
    assert len(colours) == len(set(colours)) == 256 and colours[0] == (0, 0, 0) and colours[255] == (255, 255, 255)
    first = np.array(colours[1:31], int)
    nearest = np.abs(first[:, None] - first[None]).sum(-1) + 999 * np.eye(30, dtype=int)
    assert nearest.min() > 40
    assert surface_colour(255, {}) == colours[1] and surface_colour(2, {2: Surface(2, "a", colour="#FF0080")}) == (
        255,
        0,
        128,
    )
