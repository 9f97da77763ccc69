"""The joint map as a 16-bit grey PNG: the value is the surface id, 0 background. Every id fits."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmms_client.export_masks.annotated import DEFAULT, AnnotatedImage, Loss, Options, overlap_losses
from mmms_client.export_masks.label_maps import with_sidecar
from mmms_client.export_masks.mask_png import read_samples
from mmms_client.files import png_bytes, write_bytes_atomically
from mmms_client.joint_mask import JointMap


def encode_instance_png(joint: JointMap) -> bytes:
    """A joint map uint16 [H, W] as the bytes of a 16-bit PNG."""
    return png_bytes(Image.fromarray(np.ascontiguousarray(joint, np.uint16)))


def write_instance_png(path: str | os.PathLike[str], joint: JointMap) -> None:
    """Write :func:`encode_instance_png` to a file, all or nothing. Raises :class:`OutputError`."""
    write_bytes_atomically(path, encode_instance_png(joint))


def read_instance_png(path: str | os.PathLike[str]) -> JointMap:
    """Read an instance PNG back as uint16 [H, W]. Raises :class:`ImageReadError`."""
    return read_samples(path, ("I;16", "I"), "a 16-bit instance PNG").astype(np.uint16)


def losses(image: AnnotatedImage, options: Options = DEFAULT) -> list[Loss]:
    """Overlaps; every id fits."""
    return overlap_losses(image)


def encode(images: Sequence[AnnotatedImage], options: Options = DEFAULT) -> dict[str, bytes]:
    """One 16-bit PNG per image, and ``surfaces.json``."""
    return with_sidecar(images, lambda image: encode_instance_png(image.joint))
