"""Every format against arrays written by other libraries, and every way in which a file can be broken."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from mmms_client.errors import ImageReadError
from mmms_client.readers import is_rotated_by_exif, read_image, read_modality, read_thumbnail

RNG = np.random.default_rng(0)
RGB8 = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
RGB16 = RNG.integers(0, 65536, (20, 30, 3), dtype=np.uint16)
FLOATS = RNG.normal(20, 5, (20, 30)).astype(np.float32)


def png16(samples: np.ndarray) -> bytes:
    """A 16-bit RGB PNG by the book (Pillow cannot write one)."""
    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(path, array: np.ndarray, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_colour_is_read_as_it_was_written(tmp_path, suffix) -> None:
    notes: list[str] = []
    image = read_image(saved(tmp_path / f"a.{suffix}", RGB8), notes)
    assert image.dtype == np.uint8 and np.array_equal(image, RGB8) and not notes
    image[0] = 0  # ours to change


def test_jpeg(tmp_path) -> None:
    smooth = np.dstack([np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))] * 3)
    image = read_image(saved(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(image.astype(int) - smooth).max() <= 4


def test_grey_alpha_and_palette_become_rgb(tmp_path) -> None:
    grey = RGB8[..., 0]
    assert np.array_equal(read_image(saved(tmp_path / "g.png", grey)), np.dstack([grey] * 3))
    rgba = np.dstack([RGB8, RGB8[..., 0]])
    assert np.array_equal(read_image(saved(tmp_path / "a.png", rgba)), RGB8)
    indices = RNG.integers(0, 3, (20, 30), dtype=np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    picture.save(tmp_path / "p.png", transparency=b"\x00\x80\xff")
    colours = np.array([[10, 20, 30], [40, 50, 60], [70, 80, 90]], np.uint8)
    assert np.array_equal(read_image(tmp_path / "p.png"), colours[indices])
    saved(tmp_path / "one.png", indices > 0)
    assert set(np.unique(read_image(tmp_path / "one.png"))) == {0, 255}


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.npy", "grey.png", "big_endian.tif"])
def test_16_bit_pictures_keep_the_high_byte_and_say_so(tmp_path, name) -> None:
    path, notes = tmp_path / name, []
    samples = np.dstack([GREY16] * 3) if name in ("grey.png", "big_endian.tif") else RGB16
    if name == "a.png":
        path.write_bytes(png16(RGB16))
    elif name == "a.tif":
        tifffile.imwrite(path, RGB16, photometric="rgb")
    elif name == "a.npy":
        np.save(path, RGB16)
    elif name == "grey.png":
        saved(path, GREY16)
    else:
        tifffile.imwrite(path, GREY16, byteorder=">")
    assert np.array_equal(read_image(path, notes), samples >> 8)
    assert notes == [f"{name} has 16 bits per colour; the high 8 are used."]


def test_dark_16_bit_picture_is_pointed_out(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(png16(RGB16 >> 4))
    notes: list[str] = []
    read_image(tmp_path / "a.png", notes)
    assert "nearly black now: its sensor seems to use fewer than 16 bits" in notes[0]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize(("orientation", "turn"), [(3, 2), (6, 3), (8, 1)])
def test_exif_rotation(tmp_path, suffix, orientation, turn) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    block = np.kron(RNG.integers(0, 256, (3, 4), dtype=np.uint8), np.ones((8, 8), np.uint8))
    path, notes = saved(tmp_path / f"a.{suffix}", block, exif=exif), []
    upright = np.rot90(block, turn).astype(int)
    assert np.abs(read_modality(path, 1) - upright).max() <= 12
    assert np.abs(read_image(path, notes)[..., 0].astype(int) - upright).max() <= 12
    assert notes == [f"a.{suffix} was turned upright as its EXIF data says."]
    assert is_rotated_by_exif(path) and not is_rotated_by_exif(tmp_path / "none.png")


def test_exif_rotation_of_16_bit_and_float(tmp_path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(read_modality(saved(tmp_path / "a.png", GREY16, exif=exif)), np.rot90(GREY16, 3))
    for array in (GREY16, FLOATS):
        assert np.array_equal(read_modality(saved(tmp_path / "a.tif", array, exif=exif)), np.rot90(array, 3))


NUMBERS = {
    "u8": GREY16.astype(np.uint8),
    "u16": GREY16,
    "i16": GREY16.astype(np.int16),
    "u32": GREY16.astype(np.uint32) * 60000,
    "i32": GREY16.astype(np.int32) - 40000,
    "f32": FLOATS,
}
LAYOUTS = {"plain": {}, "big endian": {"byteorder": ">"}, "packed": {"compression": "zlib"}}
READABLE = [(n, k) for n in NUMBERS for k in LAYOUTS if (n, k) != ("u32", "big endian")]  # Pillow lacks that one


@pytest.mark.parametrize(("numbers", "layout"), READABLE)
def test_tiff_numbers_are_read_as_they_are(tmp_path, numbers, layout) -> None:
    array, options = NUMBERS[numbers], LAYOUTS[layout]
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    values = read_modality(tmp_path / "a.tif", 1)
    assert values.dtype == np.float32 and np.array_equal(values, array.astype(np.float32))


def test_other_modality_formats(tmp_path) -> None:
    assert np.array_equal(read_modality(saved(tmp_path / "a.png", GREY16)), GREY16)
    assert np.array_equal(read_modality(saved(tmp_path / "b.png", RGB8), 3), RGB8)
    for dtype in (np.float64, np.float16, np.int64, np.bool_):
        np.save(tmp_path / "a.npy", FLOATS.astype(dtype))
        assert np.array_equal(read_modality(tmp_path / "a.npy"), FLOATS.astype(dtype).astype(np.float32))
    np.save(tmp_path / "a.npy", np.dstack([FLOATS, FLOATS]))
    assert read_modality(tmp_path / "a.npy", 2).shape == (20, 30, 2)
    np.save(tmp_path / "a.npy", FLOATS[..., None])
    assert read_modality(tmp_path / "a.npy", 1).shape == (20, 30)


def test_channel_counts(tmp_path) -> None:
    grey = RGB8[..., :1]
    assert np.array_equal(read_modality(saved(tmp_path / "g.png", np.repeat(grey, 3, 2)), 1), grey[..., 0])
    path = saved(tmp_path / "a.png", RGB8)
    with pytest.raises(ImageReadError) as caught:
        read_modality(path, 1)
    assert str(caught.value) == (
        f"Expected modality file {str(path)!r} with 1 channel(s) but got 3 (shape 20x30x3); save the "
        f"sensor's numbers, not a false-colour picture of them."
    )
    with pytest.raises(
        ImageReadError, match=r"with 3 channel\(s\) but got 1 \(shape 20x30\); save all of its channels\."
    ):
        read_modality(saved(tmp_path / "b.png", GREY16), 3)


def test_16_bit_colour_is_no_measurement(tmp_path) -> None:
    (tmp_path / "a.png").write_bytes(png16(RGB16))
    with pytest.raises(
        ImageReadError, match=r"but got 16-bit colour, of which only 8 bits can be read; save it as .npy"
    ):
        read_modality(tmp_path / "a.png", 3)


def test_several_pages_are_said(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GREY16, GREY16]))
    notes: list[str] = []
    read_modality(tmp_path / "a.tif", 1, notes)
    assert notes == ["a.tif has several pages; the first one is used."]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "npy"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16"])
def test_thumbnails_show_what_is_read(tmp_path, suffix, mode) -> None:
    """Turned, too; a JPEG is decoded small, which rounds differently."""
    if (suffix, mode) in (("jpg", "RGBA"), ("jpg", "P"), ("bmp", "I;16"), ("jpg", "I;16")):
        return
    ramp = np.add.outer(np.arange(300), np.arange(400)).astype(np.uint16)
    colour = Image.fromarray(np.dstack([ramp // 3, ramp // 4, 200 - ramp // 6]).astype(np.uint8), "RGB")
    picture = Image.fromarray(ramp * 90) if mode == "I;16" else colour.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, np.array(colour))
    else:
        picture.save(path, exif=exif)
    whole = Image.fromarray(read_image(path), "RGB")
    whole.thumbnail((100, 100), Image.Resampling.BILINEAR, reducing_gap=2.0)
    small = read_thumbnail(path, 100)
    assert (small.mode, small.size) == ("RGB", whole.size)
    assert np.abs(np.asarray(small, int) - np.asarray(whole, int)).mean() < (3 if mode != "1" else 12)


SMALL_OF_LARGE = """
import io, resource, sys
from pathlib import Path
from mmms_client.readers import read_thumbnail
read_thumbnail(sys.argv[2], 160)  # loads what is loaded late
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 130_000_000, resource.RLIM_INFINITY))
print(read_thumbnail(sys.argv[1], 160).size)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is limited as on Linux")
def test_a_thumbnail_takes_the_memory_of_one_picture(tmp_path) -> None:
    """25 megapixels are 100 MB in Pillow."""
    for name, side in (("large", 5000), ("small", 300)):
        Image.new("RGB", (side, side)).save(tmp_path / f"{name}.png", compress_level=1)
    command = [sys.executable, "-c", SMALL_OF_LARGE, str(tmp_path / "large.png"), str(tmp_path / "small.png")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "(160, 160)\n", done.stderr


@pytest.mark.parametrize("read", [read_image, lambda path: read_thumbnail(path, 9)])
def test_truncated_pictures_have_no_thumbnail_either(tmp_path, read) -> None:
    (tmp_path / "a.png").write_bytes(png16(RGB16)[:-200])
    with pytest.raises(ImageReadError, match=r"a.png' to be a whole image but got .*copy or export it again"):
        read(tmp_path / "a.png")
    with pytest.raises(ImageReadError, match="but got the folder"):
        read(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "npy"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
@pytest.mark.parametrize("read", [read_image, read_modality])
def test_truncated_files(tmp_path, suffix, share, read) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npy":
        np.save(path, RGB8)
    else:
        saved(path, np.tile(RGB8, (10, 10, 1)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ImageReadError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"Expected {str(path)!r}") and " but " in message and "; " in message
    assert "\n" not in message


def test_truncated_png_by_the_text(tmp_path) -> None:
    path = saved(tmp_path / "a.png", RGB8)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"Expected {str(path)!r} to be a whole image but got 'image file is truncated': it is truncated or "
        f"damaged; copy or export it again."
    )


def test_files_that_are_none(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases = {
        "none.png": f"Expected the file 'none.png' but got 'No such file'; check the path (from {str(tmp_path)!r}).",
        ".": "Expected a file but got the folder '.'; give one image file.",
        "text.png": "Expected 'text.png' to be an image (PNG, JPEG, TIFF, BMP or NPY) but got something "
        "else; convert it, or check the path.",
        "empty.jpg": "Expected 'empty.jpg' to be an image (PNG, JPEG, TIFF, BMP or NPY) but got an empty "
        "file; copy or export it again.",
        "three.tif": "Expected 'three.tif' to be a TIFF with 1 channel (8, 16 or 32 bit, integer or float) "
        "or 8/16-bit RGB but got another layout, or a damaged file; save it as .npy.",
        "object.npy": "Expected 'object.npy' to be a whole NPY file of numbers but got 'pickled objects or "
        "no array'; write it again with numpy.save.",
    }
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.jpg").write_bytes(b"")
    tifffile.imwrite(tmp_path / "three.tif", RGB8.astype(np.float32), photometric="rgb")
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    for name, message in cases.items():
        for read in (read_image, read_modality):
            with pytest.raises(ImageReadError) as caught:
                read(name)
            assert str(caught.value) == message


@pytest.mark.parametrize("name", ["pipe.png", "pipe.npy"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name) -> None:
    os.mkfifo(tmp_path / name)
    for read in (read_image, read_modality):
        with pytest.raises(ImageReadError, match=r"^Expected a file but got a pipe, .*; give a copy that is a file\.$"):
            read(tmp_path / name)
    assert not is_rotated_by_exif(tmp_path / name)


def test_pictures_that_hold_measurements(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", FLOATS)
    with pytest.raises(
        ImageReadError, match=r"to hold 8- or 16-bit colours but got float32 values from .* save it as 8-bit"
    ):
        read_image(tmp_path / "a.tif")
    np.save(tmp_path / "a.npy", np.zeros((3, 20, 30), np.uint8))
    with pytest.raises(ImageReadError, match=r"to be height x width x 3 but got an array of shape \(3, 20, 30\)"):
        read_image(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros(5))
    with pytest.raises(ImageReadError, match=r"of real numbers but got float64 of shape \(5,\)"):
        read_modality(tmp_path / "a.npy")


def test_measurements_that_float32_does_not_have(tmp_path) -> None:
    """Numbers beyond it, and a NaN that signals: both are read without a word of NumPy's."""
    values = np.array([[1e300, 0.0]])
    values.view(np.uint64)[0, 1] = 0x7FF0000000000001
    np.save(tmp_path / "a.npy", values)
    read = read_modality(tmp_path / "a.npy")
    assert np.isinf(read[0, 0]) and np.isnan(read[0, 1])


@pytest.mark.parametrize("limit", [100, 500])
def test_decompression_bombs(tmp_path, monkeypatch, limit) -> None:
    path = saved(tmp_path / "a.png", RGB8)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert str(caught.value) == (
        f"Expected {str(path)!r} of at most {limit} px but got a larger picture; cut it into tiles, or raise "
        "PIL.Image.MAX_IMAGE_PIXELS if you trust it."
    )


def test_npy_that_promises_too_much(tmp_path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(1))
    data = stream.getvalue().replace(b"(1,), }" + b" " * 15, b"(1000000000000000,), }")
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(ImageReadError, match=r"Expected .*a.npy"):
        read_modality(tmp_path / "a.npy")
