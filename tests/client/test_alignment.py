"""Modalities that do not simply lie over their image."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from mmms_client import alignment
from mmms_client.alignment import Alignment, align, homography, parse_align, read_homography
from mmms_client.errors import AlignmentError, UsageError
from mmms_client.geometry import check_aspect

IDENTITY = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def ramp(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return (x + 1000.0 * y).astype(np.float32)


def test_identity_changes_nothing() -> None:
    values = ramp(70, 90)
    for resampling in ("bilinear", "nearest"):
        assert np.allclose(align(values, homography(np.array(IDENTITY)), (70, 90), resampling), values)


def test_homography_moves_what_it_says() -> None:
    """A map half the size of the image, 10 px to the right of it: its pixel (x, y) is at (2x + 10, 2y) of the
    image.
    """
    values = ramp(100, 100)
    warped = align(values, homography(np.array([[2, 0, 10], [0, 2, 0], [0, 0, 1.0]])), (200, 200))
    assert warped.shape == (100, 100)
    assert np.isnan(warped[:, :4]).all() and np.isfinite(warped[:, 5:]).all()
    x_image = (60 + 0.5) * 2 - 0.5
    assert warped[30, 60] == pytest.approx((x_image - 10) / 2 + 1000 * (((30 + 0.5) * 2 - 0.5) / 2), rel=1e-5)


def test_scale_and_sign_of_the_matrix_do_not_matter() -> None:
    matrix = np.array([[1.1, 0.05, 3], [-0.02, 0.95, 2], [1e-4, 2e-4, 1]])
    one = align(ramp(80, 80), homography(matrix), (80, 80))
    other = align(ramp(80, 80), homography(-7 * matrix), (80, 80))
    assert np.allclose(one, other, equal_nan=True, rtol=1e-4) and np.isfinite(one).mean() > 0.7


@pytest.mark.parametrize("image_hw", [(480, 640), (1080, 1920), (100, 700), (30, 20)])
def test_stretch_covers_the_whole_image(image_hw) -> None:
    values = ramp(120, 100)
    warped = align(values, Alignment(), image_hw)
    check_aspect("thermal", warped.shape, image_hw)
    assert np.isfinite(warped).all() and warped.min() >= 0 and warped.max() <= values.max()
    assert np.all(np.diff(warped[0]) >= -1e-3)


@pytest.mark.parametrize("resampling", ["bilinear", "nearest"])
def test_a_matrix_that_asks_for_a_large_map_takes_memory_for_that_map_alone(resampling) -> None:
    small = homography(np.array([[0.001, 0.0, 0.0], [0.0, 0.001, 0.0], [0.0, 0.0, 1.0]]))
    tracemalloc.start()
    try:
        warped = align(ramp(12, 16), small, (12, 16), resampling)
        assert tracemalloc.get_traced_memory()[1] < 3 * warped.nbytes
    finally:
        tracemalloc.stop()
    assert warped.shape == (3072, 4096)


def test_strips_are_one_map(monkeypatch) -> None:
    matrix = homography(np.array([[1.1, 0.05, 3], [-0.02, 0.95, 2], [1e-4, 2e-4, 1]]))
    whole = align(ramp(80, 70), matrix, (80, 70))
    monkeypatch.setattr(alignment, "_STRIP_PX", 500)  # seven rows, and a last strip of fewer
    assert np.array_equal(align(ramp(80, 70), matrix, (80, 70)), whole, equal_nan=True)


def test_channels_missing_values_and_nearest() -> None:
    values = np.dstack([ramp(70, 70), np.full((70, 70), np.nan, np.float32), ramp(70, 70)])
    warped = align(values, Alignment(), (70, 140))
    assert warped.shape[2] == 3 and np.isnan(warped[..., 1]).all() and np.isfinite(warped[..., 0]).all()
    labels = np.where(np.indices((70, 70)).sum(0) % 2, 5.0, 0.0).astype(np.float32)
    assert set(np.unique(align(labels, Alignment(), (80, 140), "nearest"))) == {0.0, 5.0}


def test_no_overlap_is_an_error() -> None:
    shift = homography(np.array([[1, 0, 5000], [0, 1, 0], [0, 0, 1.0]]))
    with pytest.raises(AlignmentError) as caught:
        align(ramp(70, 70), shift, (70, 70), name="thermal")
    assert str(caught.value) == (
        "Expected the homography of 'thermal' to put it over its image of 70x70 px but got no overlap; it "
        "must map modality pixels to image pixels: invert it if it is the other way round."
    )


def test_files(tmp_path) -> None:
    expected = homography(np.array([[1, 0, 4], [0, 1, 5], [0, 0, 1.0]]))
    rows = [[1, 0, 4], [0, 1, 5], [0, 0, 1]]
    for name, text in {
        "a.json": json.dumps(rows),
        "b.json": json.dumps({"homography": rows}),
        "c.txt": "1 0 4\n0 1 5\n0 0 1\n",
        "d.txt": "1, 0, 4; 0, 1, 5; 0, 0, 1",
    }.items():
        (tmp_path / name).write_text(text)
        assert parse_align(f"thermal={tmp_path / name}") == ("thermal", expected)
    assert parse_align("thermal=stretch") == ("thermal", Alignment())


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "[[1,0,0],[0,1,0]]", "an array of shape (2, 3)"),
        ("a.json", "[[1,0,0],[0,0,0],[0,0,1]]", "a singular matrix"),
        ("a.json", "[[1,0,0],[0,1,0],[0,0,NaN]]", "NaN or inf among the numbers"),
        ("a.json", "", "Expecting value: line 1 column 1 (char 0)"),
        ("a.txt", "1 2 three", "could not convert string to float: 'three'"),
        ("a.txt", "x" * 5000, "could not convert string to float: '" + "x" * 23),
    ],
)
def test_broken_files(tmp_path, name, text, reason) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(AlignmentError) as caught:
        read_homography(path)
    got = repr(reason) if len(text) < 100 else repr(reason)[:-1] + "..."
    assert str(caught.value) == (
        f"Expected {str(path)!r} to hold a 3x3 homography (9 numbers, row by row) but got {got}; correct the file, or "
        "use stretch."
    )


def test_missing_file_and_bad_option(tmp_path) -> None:
    with pytest.raises(AlignmentError, match="but got 'No such file or directory'; correct the file, or use stretch"):
        parse_align(f"thermal={tmp_path / 'none.json'}")
    for text in ("thermal", "thermal=", "=stretch"):
        with pytest.raises(UsageError, match=r"^Expected --align NAME=stretch or NAME=homography\.json but got"):
            parse_align(text)
