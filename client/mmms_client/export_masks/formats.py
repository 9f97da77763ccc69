"""The formats by name. Loading this loads none of them, so that the command line can list them for nothing."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from mmms_client.export_masks.annotated import AnnotatedImage, Loss, Options

MODULES = {
    "palette-png": "palette_png",
    "instance-png": "instance_png",
    "semantic-png": "semantic_png",
    "npz": "npz",
    "coco": "coco",
    "labelme": "labelme",
    "cvat": "cvat",
    "yolo": "yolo",
    "label-studio": "label_studio",
}


class Format(Protocol):
    """What the module of each format has."""

    def losses(self, image: AnnotatedImage, options: Options = ...) -> list[Loss]:
        """What the files would not hold of an image, measured, before anything is written."""

    def encode(self, images: Sequence[AnnotatedImage], options: Options = ...) -> dict[str, bytes]:
        """The files by their path below the export's folder. Raises :class:`mmms_client.errors.OutputError`."""


def load_format(name: str) -> Format:
    """A format of :data:`MODULES` by its name."""
    return cast(Format, importlib.import_module(f"mmms_client.export_masks.{MODULES[name]}"))
