"""The joint map as an indexed PNG: the index is the surface id, 0 background, 255 "ignore"."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from mmms_client.errors import OutputError
from mmms_client.events import Surface
from mmms_client.export_masks.annotated import DEFAULT, AnnotatedImage, Loss, Options, overlap_losses
from mmms_client.export_masks.label_maps import with_sidecar
from mmms_client.export_masks.mask_png import read_samples
from mmms_client.files import png_bytes, write_bytes_atomically
from mmms_client.joint_mask import JointMap
from mmms_client.palette import palette, surface_colour

IGNORE_INDEX = 255
MAX_ID = 254


def encode_palette_png(joint: JointMap, surfaces: Iterable[Surface] = ()) -> bytes:
    """A joint map uint16 [H, W] as the bytes of an indexed PNG.

    ``surfaces`` bring colours of their own. Raises :class:`OutputError` for an id above 254.
    """
    highest = int(joint.max(initial=0))
    if highest > MAX_ID:
        raise OutputError(
            f"Expected surface ids up to {MAX_ID} for a palette PNG (255 means 'ignore') but got {highest}; "
            f"write the 16-bit instance PNG instead."
        )
    by_id = {surface.surface_id: surface for surface in surfaces}
    colours = [surface_colour(i, by_id) if 0 < i <= MAX_ID else colour for i, colour in enumerate(palette())]
    picture = Image.fromarray(joint.astype(np.uint8))
    picture.putpalette([channel for colour in colours for channel in colour])
    return png_bytes(picture)


def write_palette_png(path: str | os.PathLike[str], joint: JointMap, surfaces: Iterable[Surface] = ()) -> None:
    """Write :func:`encode_palette_png` to a file, all or nothing. Raises :class:`OutputError`."""
    write_bytes_atomically(path, encode_palette_png(joint, surfaces))


def read_palette_png(path: str | os.PathLike[str]) -> JointMap:
    """Read a palette PNG back as uint16 [H, W]; 255 stays 255. Raises :class:`ImageReadError`."""
    return read_samples(path, ("P",), "a palette PNG").astype(np.uint16)


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Overlaps, and ids above 254, with which nothing can be written."""
    beyond = [s for s in image.surfaces if s.surface_id > MAX_ID]
    detail = f"no palette PNG has an id above {MAX_ID}"
    return overlap_losses(image) + [Loss(image.name, s, "ids", detail) for s in beyond]


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """One palette PNG per image, and ``surfaces.json``. Raises :class:`OutputError` for an id above 254."""
    return with_sidecar(images, lambda image: encode_palette_png(image.joint, image.surfaces))
