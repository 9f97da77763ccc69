"""NumPy: one ``.npz`` per image, read by ``numpy.load`` without pickles. Holds everything, overlaps too.

Arrays: ``joint`` uint16 [H, W]; ``masks`` bool [N, H, W], one per surface; ``ids`` uint16 [N]; ``names``, ``classes``
and ``colours`` text [N], empty for none; ``image``, the image's name.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.annotation import MAX_SURFACES
from mmms_client.bounded import MOST_INFLATED, check_pixels, read_npy, read_npy_header
from mmms_client.box_mask import BoxMask
from mmms_client.errors import ImageReadError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import DEFAULT, AnnotatedImage, BoxMasks, Loss, Options, one_file_each

_MOST_BYTES = 1 << 27  # of ids or names: of as many surfaces as there can be, names of 500 characters


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Nothing is lost, but for NUL characters at the end of a name, which NumPy takes for padding."""
    ends = [s for s in image.surfaces if any(t.endswith("\0") for t in (s.name, s.class_name or ""))]
    return [Loss(image.name, s, "names", "NUL characters at the end of its class or name go") for s in ends]


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """One compressed ``.npz`` per image."""
    return {name: _encode(image) for name, image in one_file_each(images, ".npz").items()}


def _encode(image: AnnotatedImage) -> bytes:
    height, width = image.image_hw
    masks = [image.masks[s.surface_id] for s in image.surfaces]
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        joint=image.joint,
        masks=np.array(masks, bool).reshape(len(masks), height, width),
        ids=np.array([s.surface_id for s in image.surfaces], np.uint16),
        names=np.array([s.name for s in image.surfaces], str),
        classes=np.array([s.class_name or "" for s in image.surfaces], str),
        colours=np.array([s.colour or "" for s in image.surfaces], str),
        image=np.array(image.name),
    )
    return stream.getvalue()


def read_npz(path: str | os.PathLike[str]) -> AnnotatedImage:
    """Read such a file back. Raises :class:`ImageReadError`."""
    try:
        with zipfile.ZipFile(Path(path)) as archive:
            ids = [int(number) for number in _array(archive, "ids", "iu")]
            texts = [[str(text) for text in _array(archive, name, "U")] for name in ("names", "classes", "colours")]
            (name,) = _array(archive, "image", "U")
            size, masks = _masks(archive, len(ids))
            if len(set(ids)) < len(ids) or not all(1 <= number <= MAX_SURFACES for number in ids):
                raise ValueError("ids that are none")
            rows = zip(ids, *texts, strict=True)
            surfaces = tuple(Surface(number, n, c or None, k or None) for number, n, c, k in rows)
    except FileNotFoundError as error:
        raise ImageReadError(
            f"Expected the file {os.fspath(path)!r} but got 'No such file'; check the path."
        ) from error
    except Exception as error:  # zipfile raises whatever the broken bytes lead it to
        raise ImageReadError(
            f"Expected {os.fspath(path)!r} to be an .npz of this project but it cannot be read; export it again."
        ) from error
    return AnnotatedImage(str(name), size, surfaces, BoxMasks(dict(zip(ids, masks, strict=True))))


def _array(archive: zipfile.ZipFile, name: str, kinds: str) -> NDArray[Any]:
    """A small array of one dimension at most. Raises ``ValueError``, and what ``zipfile`` raises."""
    info = _member(archive, name)
    if info.file_size > _MOST_BYTES:
        raise ValueError(f"{info.file_size} bytes of {name}")
    with archive.open(info) as stream:
        array = read_npy(stream, info.file_size)
    if array.ndim > 1 or array.size > MAX_SURFACES or array.dtype.kind not in kinds:
        raise ValueError(f"{array.dtype} of shape {array.shape}")
    flat = array.reshape(-1)
    if array.dtype.kind == "U" and array.dtype.itemsize:
        codes = flat.view(np.dtype(f"{array.dtype.byteorder}u4"))
        if codes.size and codes.max() > sys.maxunicode:  # NumPy would make texts of it that break the interpreter
            raise ValueError("characters that are none")
    return flat


def _masks(archive: zipfile.ZipFile, count: int) -> tuple[tuple[int, int], list[BoxMask]]:
    """Size (H, W) and masks, of which one at a time is whole in memory."""
    info = _member(archive, "masks")
    with archive.open(info) as stream:
        shape, dtype = read_npy_header(stream)
        if len(shape) != 3 or shape[0] != count or dtype != np.bool_:
            raise ValueError(f"masks {dtype} of shape {shape}")
        size = (shape[1], shape[2])
        check_pixels(*size)
        parts = (stream.read(size[0] * size[1]) for _ in range(count))
        return size, [BoxMask.of(np.frombuffer(part, np.uint8).reshape(size) > 0) for part in parts]


def _member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """One member, of no more bytes than deflate can have made of it."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("another compression")
    held = min(info.compress_size, _length(archive))
    if info.file_size > held * MOST_INFLATED:
        raise ValueError(f"{info.file_size} bytes in {held}")
    return info


def _length(archive: zipfile.ZipFile) -> int:
    """Bytes of the file; its directory may say what it likes."""
    assert archive.fp is not None
    return archive.fp.seek(0, os.SEEK_END)
