"""``mmms-client import MASKS --image IMAGE``: masks from elsewhere as a session, whose clicks then correct them.

Each surface gets one visit that begins with its mask. Masks that overlap keep their own pixels in the file; in the
joint map later ones lie over earlier ones.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mmms_client.box_mask import BoxMask
from mmms_client.errors import DataError, UsageError
from mmms_client.events import Visit
from mmms_client.export_masks.annotated import AnnotatedImage, overlap_losses
from mmms_client.export_masks.coco import read_coco
from mmms_client.export_masks.label_maps import read_label_map
from mmms_client.files import make_folder
from mmms_client.readers import read_image
from mmms_client.session_file import SessionDocument, SurfaceClass, write_session


@dataclass(frozen=True)
class ImportRequest:
    """The command line of ``import``; names as in its help."""

    masks: str
    image: str
    out: str


def import_masks(request: ImportRequest, say: Callable[[str], None]) -> Path:
    """Write a session file whose surfaces begin with masks from a COCO JSON or a label map PNG.

    Args:
        request: what to do.
        say: gets each line for the person at the terminal.

    Returns:
        The session file.

    Raises:
        UsageError: the masks are in no format that is read here.
        DataError: a file is missing or broken, or the masks are not of this image.
    """
    masks = _read(request)
    height, width = read_image(request.image).shape[:2]
    if masks.image_hw != (height, width):
        raise DataError(
            f"Expected masks of {width}x{height} px, as {request.image!r}, but got "
            f"{masks.image_hw[1]}x{masks.image_hw[0]} in {request.masks!r}; give the masks of this image."
        )
    if not masks.surfaces:
        raise DataError(
            f"Expected at least one surface in {request.masks!r} but got none for {masks.name!r}; check the file."
        )
    for loss in overlap_losses(masks):
        say(f"note: {loss}")
    out = Path(request.out)
    make_folder(out.parent)
    write_session(out, _document(masks, request.image, out))
    say(f"written to {out}: {len(masks.surfaces)} surface(s); add clicks to it for 'mmms-client annotate --clicks'")
    return out


def _read(request: ImportRequest) -> AnnotatedImage:
    suffix = Path(request.masks).suffix.lower()
    if suffix == ".png":
        return read_label_map(request.masks)
    if suffix == ".json":
        images = read_coco(request.masks)
        found = _images_of(images, request)
        if len(found) != 1:
            raise DataError(
                f"Expected one image {Path(request.image).name!r} in {request.masks!r} but got {len(found)} among "
                f"{len(images)}; give the image under the name that the file has for it."
            )
        return found[0]
    raise UsageError(
        f"Expected masks as a COCO .json or a label map .png but got {request.masks!r}; convert them to one of these."
    )


def find_masks(masks: str, image: str, name: str) -> AnnotatedImage | None:
    """The masks of one image of many; ``None`` if there are none for it.

    Args:
        masks: a COCO file, a label map, or a folder of label maps with the names of the images.
        image: the image's file.
        name: its path below the folder of images, with forward slashes.

    Raises:
        UsageError: the masks are in no format that is read here.
        DataError: a file is missing or broken.
    """
    folder = Path(masks)
    if folder.is_dir():
        file = (folder / name).with_suffix(".png")
        return read_label_map(file) if file.is_file() else None
    request = ImportRequest(masks, image, "")
    if folder.suffix.lower() != ".json":
        return _read(request)
    found = _images_of(read_coco(masks), request)
    return found[0] if len(found) == 1 else None


def _images_of(images: list[AnnotatedImage], request: ImportRequest) -> list[AnnotatedImage]:
    """The entries of a COCO file that may be the image: ``file_name`` ends its path, and no longer one does."""
    parts = Path(os.path.normpath(Path(request.image).absolute())).parts
    fitting = []
    for image in images:
        name = Path(image.name).parts
        if parts[-len(name) :] == name:
            fitting.append((len(name), image))
    if not fitting:
        fitting = [(1, image) for image in images if Path(image.name).name == parts[-1]]
    return [image for length, image in fitting if length == max(length for length, _ in fitting)]


def _document(masks: AnnotatedImage, image: str, out: Path) -> SessionDocument:
    try:
        path = Path(os.path.relpath(image, out.parent)).as_posix()
    except ValueError:  # another drive
        path = Path(image).absolute().as_posix()
    visits = tuple(
        Visit(s.surface_id, n, (), BoxMask.of(masks.masks[s.surface_id])) for n, s in enumerate(masks.surfaces)
    )
    classes = dict.fromkeys([*masks.classes, *(s.class_name for s in masks.surfaces if s.class_name)])
    return SessionDocument(
        path, masks.image_hw, masks.surfaces, visits, classes=tuple(SurfaceClass(name) for name in classes)
    )
