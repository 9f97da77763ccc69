"""One surface as a grey PNG of its own: 255 where it is, 0 elsewhere."""

from __future__ import annotations

import os
import re

import numpy as np
from PIL import Image

from mmms_client.events import Surface
from mmms_client.export_masks.mask_png import read_samples
from mmms_client.files import png_bytes, write_bytes_atomically
from mmms_client.joint_mask import Mask

_LONGEST_NAME_BYTES = 80
_NOT_IN_NAMES = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')


def encode_surface_png(mask: Mask) -> bytes:
    """A mask bool [H, W] as the bytes of an 8-bit PNG of 0 and 255."""
    return png_bytes(Image.fromarray(mask.astype(np.uint8) * np.uint8(255)))


def write_surface_png(path: str | os.PathLike[str], mask: Mask) -> None:
    """Write :func:`encode_surface_png` to a file, all or nothing. Raises :class:`OutputError`."""
    write_bytes_atomically(path, encode_surface_png(mask))


def read_surface_png(path: str | os.PathLike[str]) -> Mask:
    """Read a surface PNG back as bool [H, W]; every value but 0 counts. Raises :class:`ImageReadError`."""
    return np.not_equal(read_samples(path, ("L", "1"), "a surface PNG"), 0)


def surface_file_name(surface: Surface) -> str:
    """``3_front door.png``: the id keeps names apart, what no file system takes becomes ``_``."""
    name = _NOT_IN_NAMES.sub("_", surface.name).strip(" .")
    short = name.encode("utf-8")[:_LONGEST_NAME_BYTES].decode("utf-8", "ignore")
    return f"{surface.surface_id}_{short}.png" if short else f"{surface.surface_id}.png"
