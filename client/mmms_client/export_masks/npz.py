"""NumPy: one ``.npz`` per image, read by ``numpy.load`` without pickles. Holds everything, overlaps too.

Arrays: ``joint`` uint16 [H, W]; ``masks`` bool [N, H, W], one per surface; ``ids`` uint16 [N]; ``names``, ``classes``
and ``colours`` text [N], empty for none; ``image``, the image's name.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmms_client.errors import ImageReadError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import DEFAULT, AnnotatedImage, Loss, Options, one_file_each


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
        with np.load(Path(path), allow_pickle=False) as arrays:
            ids, masks = arrays["ids"].tolist(), arrays["masks"]
            texts = [arrays[name].tolist() for name in ("names", "classes", "colours")]
            name = str(arrays["image"])
    except FileNotFoundError as error:
        raise ImageReadError(
            f"Expected the file {os.fspath(path)!r} but got 'No such file'; check the path."
        ) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ImageReadError(
            f"Expected {os.fspath(path)!r} to be an .npz of this project but it cannot be read; export it again."
        ) from error
    surfaces = tuple(Surface(number, n, c or None, k or None) for number, n, c, k in zip(ids, *texts, strict=True))
    return AnnotatedImage(name, masks.shape[1:], surfaces, dict(zip(ids, masks, strict=True)))
