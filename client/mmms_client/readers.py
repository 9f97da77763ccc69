"""Image and modality files to arrays.

Two doors: :func:`read_image` gives what a person sees (RGB, 8 bit), :func:`read_modality` gives what a sensor
measured (raw numbers, whatever their depth). Both turn every way in which a file can be broken into one line.

Pillow reads 16-bit colour as 8 bit without a word: it keeps the high byte. That is the right scaling for a
picture, which is therefore said in a note, and a silent change of unit for a measurement, which is therefore
refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from mmms_client.bounded import read_npy
from mmms_client.errors import ImageReadError
from mmms_client.folders import open_file
from mmms_client.picture_file import open_picture

FORMATS = "PNG, JPEG, TIFF, BMP or NPY"
_TIFF_BITS_PER_SAMPLE, _TIFF_SAMPLE_FORMAT, _EXIF_ORIENTATION = 258, 339, 0x0112
_SIGNED = 2  # value of the TIFF sample format tag
_PLAIN_MODES = ("L", "RGB", "RGBA", "LA", "F", "I")
_NEARLY_BLACK = 32  # of 255


@dataclass(frozen=True)
class _Raw:
    """Samples as stored: [H, W] or [H, W, C], turned upright, and what the file said of itself."""

    samples: NDArray[Any]
    bits: int  # per sample in the file; more than the dtype of ``samples`` has where Pillow dropped some
    is_rotated: bool
    has_more_pages: bool  # than the first; to count them takes quadratic time in Pillow


def read_image(path: str | os.PathLike[str], notes: list[str] | None = None) -> NDArray[np.uint8]:
    """Read a picture as RGB uint8 [H, W, 3].

    8- and 16-bit PNG, JPEG, TIFF, BMP, and NPY of uint8 or uint16 [H, W], [H, W, 3] or [H, W, 4]. EXIF
    rotation is applied, grey becomes RGB, a palette is looked up, alpha is dropped. 16 bits become 8 by
    keeping the high byte.

    Args:
        path: the file.
        notes: gets one line for each thing that a person should be told, such as the loss of bits.

    Raises:
        ImageReadError: the file is missing, truncated, too large, not an image, or holds floats.
    """
    raw = _read(path, want_colour=True)
    samples = raw.samples
    if samples.ndim == 2:
        samples = samples[..., None]
    if samples.ndim != 3 or samples.shape[2] not in (1, 2, 3, 4):
        raise ImageReadError(
            f"Expected image {_name(path)} to be height x width x 3 but got an array of shape {samples.shape}; save it "
            "as RGB."
        )
    samples = samples[..., :3] if samples.shape[2] >= 3 else np.repeat(samples[..., :1], 3, axis=2)
    if samples.dtype == np.bool_:
        samples = samples.astype(np.uint8) * 255
    if samples.dtype.kind not in "iu" or samples.size == 0 or samples.min() < 0 or samples.max() > 65535:
        raise ImageReadError(
            f"Expected image {_name(path)} to hold 8- or 16-bit colours but got {_describe(samples)}; save "
            f"it as 8-bit RGB, or give it with --modality NAME=PATH if it is a measurement."
        )
    if samples.dtype.itemsize > 1:
        samples = samples >> 8
    image = np.array(samples, np.uint8, order="C")  # a copy: what Pillow lends is read-only
    if notes is not None:
        notes.extend(_image_notes(path, raw, image))
    return image


def read_thumbnail(path: str | os.PathLike[str], side_px: int) -> Image.Image:
    """What :func:`read_image` reads, as an RGB picture of at most ``side_px`` by ``side_px``; errors are the same.

    Plain 8-bit pictures are made small before anything else, so that memory is taken once, and a JPEG is not even
    decoded whole.
    """
    file, size = Path(path), (side_px, side_px)
    with _translated(path):
        if file.suffix.lower() != ".npy":
            with open_file(file) as stream, open_picture(stream) as picture:
                if picture.mode in ("L", "RGB"):
                    picture.thumbnail(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
                    return ImageOps.exif_transpose(picture).convert("RGB")
    small = Image.fromarray(read_image(path), "RGB")
    small.thumbnail(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
    return small


def read_modality(
    path: str | os.PathLike[str], channels: int | None = None, notes: list[str] | None = None
) -> NDArray[np.float32]:
    """Read the raw numbers of a sensor as float32 [H, W] (one channel) or [H, W, C].

    8- and 16-bit PNG, JPEG, TIFF with one channel of 8, 16 or 32 bits (integer or float) or 8-bit colour,
    BMP, and NPY of any real dtype, [H, W] or [H, W, C]. EXIF rotation is applied. Values are as stored: no
    unit, no scaling, and NaN or inf stay; :mod:`mmms_client.units` says what they mean.

    Args:
        path: the file.
        channels: how many the model wants. Three equal channels are taken as one; alpha is dropped anyway.
        notes: as for :func:`read_image`.

    Raises:
        ImageReadError: the file is missing, truncated, too large, not an image, has another channel count, or
            holds 16-bit colour in a format of which only 8 bits can be read.
    """
    raw = _read(path, want_colour=False)
    samples = raw.samples
    if raw.bits > samples.dtype.itemsize * 8:
        raise ImageReadError(
            f"Expected modality file {_name(path)} with one 16-bit channel or 8-bit colour but got {raw.bits}-bit "
            "colour, of which only 8 bits can be read; save it as .npy."
        )
    if samples.ndim not in (2, 3) or samples.size == 0 or samples.dtype.kind not in "biuf":
        raise ImageReadError(
            f"Expected modality file {_name(path)} to be height x width or height x width x channels of real "
            f"numbers but got {samples.dtype} of shape {samples.shape}; save it in that form."
        )
    samples = _pick_channels(path, samples, channels)
    if notes is not None and raw.has_more_pages:
        notes.append(f"{Path(path).name} has several pages; the first one is used.")
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32; signalling NaN
        values = np.ascontiguousarray(samples, np.float32)
    return values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values


def is_rotated_by_exif(path: str | os.PathLike[str]) -> bool:
    """Whether reading the file turns or mirrors it. False where the file cannot be read."""
    try:
        with open_file(path) as stream, open_picture(stream) as picture:
            return picture.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
    except Exception:  # noqa: BLE001 - Pillow's readers raise whatever the broken bytes lead them to
        return False


def _pick_channels(path: str | os.PathLike[str], samples: NDArray[Any], wanted: int | None) -> NDArray[Any]:
    """Take grey that is stored as colour for one channel; refuse any other difference."""
    have = 1 if samples.ndim == 2 else samples.shape[2]
    if wanted is None or have == wanted:
        return samples
    if wanted == 1 and have == 3 and bool((samples == samples[..., :1]).all()):
        return samples[..., 0]
    hint = (
        "save the sensor's numbers, not a false-colour picture of them" if wanted == 1 else "save all of its channels"
    )
    raise ImageReadError(
        f"Expected modality file {_name(path)} with {wanted} channel(s) but got {have} "
        f"(shape {'x'.join(map(str, samples.shape))}); {hint}."
    )


def _read(path: str | os.PathLike[str], want_colour: bool) -> _Raw:
    file = Path(path)
    with _translated(path):
        if file.suffix.lower() == ".npy":
            samples = _load_npy(file)
            return _Raw(samples, samples.dtype.itemsize * 8, is_rotated=False, has_more_pages=False)
        # A stream, not a path: an uncompressed TIFF known by its path is mapped into memory, and Pillow then turns
        # it with its width and height already swapped.
        with open_file(file) as stream, open_picture(stream) as picture:
            return _decode(picture, file, want_colour)


@contextmanager
def _translated(path: str | os.PathLike[str]) -> Iterator[None]:
    """Make :class:`ImageReadError` of everything that reading a picture raises."""
    file = Path(path)
    if file.is_dir():
        raise ImageReadError(f"Expected a file but got the folder {_name(path)}; give one image file.")
    try:
        yield
    except ImageReadError:
        raise
    except FileNotFoundError as error:
        raise ImageReadError(
            f"Expected the file {_name(path)} but got 'No such file'; check the path (from {str(Path.cwd())!r})."
        ) from error
    except PermissionError as error:
        raise ImageReadError(
            f"Expected to read {_name(path)} but got 'Permission denied'; allow reading it."
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageReadError(
            f"Expected {_name(path)} of at most {Image.MAX_IMAGE_PIXELS} px but got a larger picture; cut it "
            f"into tiles, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it."
        ) from error
    except MemoryError as error:
        raise ImageReadError(
            f"Expected {_name(path)} to fit into memory but it does not; cut it into tiles."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageReadError(_unknown_format_message(file)) from error
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageReadError(
            f"Expected {_name(path)} to be a whole image but got {reason!r}: it is truncated or damaged; "
            f"copy or export it again."
        ) from error


def _decode(picture: Image.Image, file: Path, want_colour: bool) -> _Raw:
    """Samples of an opened picture; ``want_colour`` makes 0 and 255 of a 1-bit one."""
    bits = _declared_bits(picture, file)
    tags = getattr(picture, "tag_v2", {})
    is_unsigned = tags.get(_TIFF_SAMPLE_FORMAT, (1,))[0] != _SIGNED
    is_rotated = picture.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
    has_more_pages = bool(getattr(picture, "is_animated", False))
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")
    if upright.mode == "1" and want_colour:
        upright = upright.convert("L")
    if upright.mode not in (*_PLAIN_MODES, "1") and not upright.mode.startswith("I;16"):
        upright = upright.convert("RGB")
    samples = np.asarray(upright)
    if upright.mode in ("LA", "RGBA"):
        samples = samples[..., :-1]
    if samples.dtype == np.int32 and bits == 32 and tags and is_unsigned:
        samples = samples.view(np.uint32)
    if samples.dtype.byteorder == ">":
        samples = samples.astype(samples.dtype.newbyteorder("="))
    return _Raw(samples, bits, is_rotated, has_more_pages)


def _declared_bits(picture: Image.Image, file: Path) -> int:
    """Bits per sample as the file states them, which Pillow's mode does not always tell."""
    if picture.format == "PNG":
        with open_file(file) as stream:
            header = stream.read(25)
        return header[24]  # signature, chunk length, "IHDR", width, height, then the depth
    tags = getattr(picture, "tag_v2", None)
    if tags is not None:
        return int(max(tags.get(_TIFF_BITS_PER_SAMPLE, (1,))))
    return 8


def _load_npy(file: Path) -> NDArray[Any]:
    try:
        with open_file(file) as stream:
            return read_npy(stream, file.stat().st_size)
    except ValueError as error:
        raise ImageReadError(
            f"Expected {_name(file)} to be a whole NPY file of numbers but got {str(error)!r}; write it again "
            f"with numpy.save."
        ) from error


def _unknown_format_message(file: Path) -> str:
    if file.stat().st_size == 0:
        return f"Expected {_name(file)} to be an image ({FORMATS}) but got an empty file; copy or export it again."
    if file.suffix.lower() in (".tif", ".tiff"):
        return (
            f"Expected {_name(file)} to be a TIFF with 1 channel (8, 16 or 32 bit, integer or float) or "
            f"8/16-bit RGB but got another layout, or a damaged file; save it as .npy."
        )
    return f"Expected {_name(file)} to be an image ({FORMATS}) but got something else; convert it, or check the path."


def _image_notes(path: str | os.PathLike[str], raw: _Raw, image: NDArray[np.uint8]) -> list[str]:
    lines, name = [], Path(path).name
    if raw.bits >= 16:
        dark = ""
        if image.max() < _NEARLY_BLACK:
            dark = " It is nearly black now: its sensor seems to use fewer than 16 bits; stretch it before."
        lines.append(f"{name} has {raw.bits} bits per colour; the high 8 are used.{dark}")
    if raw.has_more_pages:
        lines.append(f"{name} has several pages; the first one is used.")
    if raw.is_rotated:
        lines.append(f"{name} was turned upright as its EXIF data says.")
    return lines


def _describe(samples: NDArray[Any]) -> str:
    if samples.size == 0:
        return f"an empty array of shape {samples.shape}"
    return f"{samples.dtype} values from {samples.min():g} to {samples.max():g}"


def _name(path: str | os.PathLike[str]) -> str:
    return repr(os.fspath(path))
