"""Image and modality files as the model takes them and as the browser shows them.

The browser gets the image as PNG or JPEG, a modality of several channels as PNG, and one of a single channel as
16-bit numbers with a scale, so that window, level and colours are computed there from the values of the sensor.
"""

from __future__ import annotations

import functools
import io
import os
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmms_client.alignment import Alignment, Nudge, align, nudged
from mmms_client.annotate.images import ImageFile
from mmms_client.contract import ModalitySpec, ModelContract
from mmms_client.errors import ImageReadError, MMMSError
from mmms_client.files import png_bytes
from mmms_client.folders import check_inside, open_file
from mmms_client.geometry import check_aspect
from mmms_client.picture_file import open_picture
from mmms_client.readers import is_rotated_by_exif, read_image, read_modality, read_thumbnail
from mmms_client.units import ValueRule, apply_rule, find_rule

_STEPS = 65534  # of a scalar's range in uint16: 0 is kept for "no measurement"
_THUMBNAIL_PX = 160
_AS_STORED = {"PNG": "image/png", "JPEG": "image/jpeg"}


@dataclass(frozen=True)
class Reading:
    """How the command line says that modality files are read."""

    scales: Mapping[str, ValueRule] = field(default_factory=dict)
    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    roots: tuple[Path, ...] = ()  # folders outside of which no file is read


@dataclass(frozen=True, eq=False)
class ModalityPicture:
    """One modality of one image.

    Attributes:
        values: float32 [h, w] or [h, w, C] over the image, NaN without measurement; ``None`` if it cannot be used.
        unit: of the values, ``None`` if nobody knows.
        in_model: whether the model takes it.
        error: why it cannot be used.
        alignment: that was applied, with the nudge in it.
    """

    name: str
    values: NDArray[np.float32] | None
    unit: str | None = None
    in_model: bool = True
    error: str | None = None
    alignment: Alignment | None = None

    @property
    def is_colour(self) -> bool:
        return self.values is not None and self.values.ndim == 3

    @functools.cached_property
    def range(self) -> tuple[float, float]:
        """The smallest and the largest value; (0, 1) if there is none."""
        finite = self.values[np.isfinite(self.values)] if self.values is not None else np.zeros(0, np.float32)
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)

    @functools.cached_property
    def percentiles(self) -> tuple[float, float]:
        """The 1st and the 99th percentile of the values; (0, 1) if there is none."""
        finite = self.values[np.isfinite(self.values)] if self.values is not None else np.zeros(0, np.float32)
        if not finite.size:
            return 0.0, 1.0
        low, high = np.percentile(finite, (1.0, 99.0))
        return float(low), float(high)

    @property
    def step(self) -> tuple[float, float]:
        """``(scale, offset)`` with which value = (q - 1) * scale + offset for the q of :meth:`coded`."""
        low, high = self.range
        return ((high - low) / _STEPS if high > low else 1.0), low

    def coded(self) -> tuple[bytes, str]:
        """The bytes for the browser and their content type."""
        if self.values is None:
            raise ValueError(f"Expected modality {self.name!r} to be readable; {self.error}")
        if self.is_colour:
            return png_bytes(Image.fromarray(_as_colour(self.values), "RGB")), "image/png"
        scale, offset = self.step
        steps = np.rint((self.values.astype(np.float64) - offset) / scale) + 1
        q = np.where(np.isfinite(self.values), np.clip(steps, 1, _STEPS + 1), 0).astype("<u2")
        return zlib.compress(q.tobytes(), 1), "application/octet-stream"


@dataclass(frozen=True, eq=False)
class Pictures:
    """An image with its modalities, as the model takes them.

    ``image`` is RGB uint8 [H, W, 3]; ``notes`` is what a person should be told.
    """

    image: NDArray[np.uint8]
    modalities: tuple[ModalityPicture, ...]
    notes: tuple[str, ...] = ()

    @property
    def image_hw(self) -> tuple[int, int]:
        return self.image.shape[0], self.image.shape[1]

    @property
    def model_inputs(self) -> dict[str, NDArray[Any]]:
        """The modalities that the model takes, by name."""
        return {m.name: m.values for m in self.modalities if m.in_model and m.values is not None}


def read_pictures(
    file: ImageFile, contract: ModelContract | None, reading: Reading, nudges: Mapping[str, Nudge]
) -> Pictures:
    """Read an image and its modalities. Slow: call it in a thread.

    A modality that cannot be used is among them with the reason; a broken image raises
    :class:`mmms_client.errors.DataError`.
    """
    notes: list[str] = []
    _check(file.path, reading)
    image = read_image(file.path, notes)
    image_hw = (image.shape[0], image.shape[1])
    modalities = tuple(
        _modality(name, path, image_hw, contract, reading, nudges.get(name, Nudge()), notes)
        for name, path in file.modalities.items()
    )
    if is_rotated_by_exif(file.path):
        notes += [
            f"The image was turned by its EXIF data but {path.name!r} was not: check that they agree."
            for path in file.modalities.values()
            if not is_rotated_by_exif(path)
        ]
    return Pictures(image, modalities, tuple(notes))


def _check(path: Path, reading: Reading) -> None:
    root = next((root for root in reading.roots if path.absolute().is_relative_to(root.absolute())), None)
    if root is not None and root.is_dir():
        check_inside(path, root)


def _modality(
    name: str,
    path: Path,
    image_hw: tuple[int, int],
    contract: ModelContract | None,
    reading: Reading,
    nudge: Nudge,
    notes: list[str],
) -> ModalityPicture:
    in_model = contract is not None and name in contract.modality_names
    spec = contract.modality(name) if contract is not None and in_model else None
    try:
        _check(path, reading)
        raw = read_modality(path, spec.channels if spec else None, notes)
        rule = reading.scales.get(name) or find_rule(name, name, path)
        shown = spec or ModalitySpec(name, 1 if raw.ndim == 2 else raw.shape[2], "percentile", 1.0, 99.0, None)
        values = apply_rule(raw, rule, shown, path)
        hw = (values.shape[0], values.shape[1])
        alignment = nudged(reading.alignments.get(name), nudge, hw, image_hw)
        if alignment is None:
            check_aspect(name, hw, image_hw)
        else:
            values = align(values, alignment, image_hw, shown.resampling, name)
    except MMMSError as error:
        return ModalityPicture(name, None, in_model=in_model, error=str(error))
    unit = shown.unit or (rule.unit if rule else None) or None
    return ModalityPicture(name, values, unit, in_model, None, alignment)


def image_bytes(path: Path, image: NDArray[np.uint8], reading: Reading) -> tuple[bytes, str]:
    """The image for the browser: the file itself where that is an upright 8-bit PNG or JPEG, else a PNG.

    Raises :class:`mmms_client.errors.DataError` for a file that links elsewhere, is broken or gone by now.
    """
    _check(path, reading)
    try:
        stored = _stored_picture(path)
    except Exception as error:  # Pillow's decoders raise whatever the broken bytes lead them to
        reason = getattr(error, "strerror", None) or "broken bytes"
        raise ImageReadError(
            f"Expected the image {os.fspath(path)!r} as it was when it was opened but got {reason!r}; restore the file."
        ) from error
    if stored is not None:
        return stored
    stream_out = io.BytesIO()
    Image.fromarray(image, "RGB").save(stream_out, "PNG", compress_level=1)
    return stream_out.getvalue(), "image/png"


def _stored_picture(path: Path) -> tuple[bytes, str] | None:
    """A file's bytes and content type, if it is an upright 8-bit PNG or JPEG that browsers show as we read it."""
    with open_file(path) as stream, open_picture(stream) as picture:
        is_upright = picture.getexif().get(0x0112, 1) in (0, 1)
        is_plain = (
            picture.mode in ("RGB", "L")
            and not getattr(picture, "is_animated", False)
            and not picture.info.get("icc_profile")
        )
        kind = _AS_STORED.get(picture.format or "")
    return (_whole(path), kind) if kind and is_upright and is_plain else None


def _whole(path: Path) -> bytes:
    with open_file(path) as stream:
        return stream.read()


def thumbnail_bytes(path: Path, reading: Reading) -> bytes:
    """A small JPEG of an image. Raises :class:`mmms_client.errors.DataError`."""
    _check(path, reading)
    stream = io.BytesIO()
    read_thumbnail(path, _THUMBNAIL_PX).save(stream, "JPEG", quality=80)
    return stream.getvalue()


def _as_colour(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Several channels as RGB uint8 [h, w, 3]: as they are if they are colours, else each over its own range."""
    finite = np.isfinite(values)
    planes = np.where(finite, values, 0.0)
    low, high = float(planes.min()), float(planes.max())
    if not (low >= 0.0 and high <= 255.0 and high > 1.0):
        planes = (planes - low) / max(high - low, 1e-9) * 255.0
    shown = np.zeros((*values.shape[:2], 3), np.uint8)
    channels = min(3, values.shape[2])
    shown[..., :channels] = np.clip(np.rint(planes[..., :channels]), 0, 255)
    return shown
