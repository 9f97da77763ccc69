"""What every format writes: images with surfaces and masks; and what a format cannot hold of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmms_client.boundary import Points, fill_centres, fill_corners, loops, simplify
from mmms_client.box_mask import BoxMask
from mmms_client.errors import OutputError
from mmms_client.events import Surface
from mmms_client.joint_mask import BACKGROUND, JointMap, Mask, empty_joint_map
from mmms_client.json_place import shown


class JointMasks(Mapping[int, Mask]):
    """The masks of a joint map, each made when it is asked for: hundreds of them at once do not fit into memory."""

    def __init__(self, joint: JointMap, ids: Sequence[int]) -> None:
        self.joint, self._ids = joint, dict.fromkeys(ids)

    def __getitem__(self, surface_id: int) -> Mask:
        if surface_id not in self._ids:
            raise KeyError(surface_id)
        return np.equal(self.joint, surface_id)

    def __iter__(self) -> Iterator[int]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)


class BoxMasks(Mapping[int, Mask]):
    """Masks that know their box, each made whole when it is asked for, for the same reason."""

    def __init__(self, masks: Mapping[int, BoxMask]) -> None:
        self._masks = dict(masks)

    def __getitem__(self, surface_id: int) -> Mask:
        return self._masks[surface_id].whole

    def __iter__(self) -> Iterator[int]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """The surfaces of one image with their masks.

    Attributes:
        name: of the image in the files that are written: a relative path with forward slashes.
        image_hw: size of the image in pixels.
        surfaces: in their order; where masks overlap, the later surface lies over the earlier.
        masks: bool [H, W] of each surface, by its id.
        classes: names that a session declares, whether a surface has them or not; they are numbered first.
        image_path: the image on this machine, for formats that point to it; ``None`` if it is not known.
    """

    name: str
    image_hw: tuple[int, int]
    surfaces: tuple[Surface, ...]
    masks: Mapping[int, Mask] = field(repr=False)
    classes: tuple[str, ...] = ()
    image_path: Path | None = None

    @classmethod
    def from_joint(cls, name: str, joint: JointMap, surfaces: Iterable[Surface], **more: Any) -> AnnotatedImage:
        """One image from its joint map uint16 [H, W]. An id in it that no surface has gets a surface without name."""
        known = tuple(surfaces)
        ids = {surface.surface_id for surface in known}
        found = (int(i) for i in np.unique(joint) if i != BACKGROUND)
        known += tuple(Surface(i, "") for i in found if i not in ids)
        height, width = joint.shape
        return cls(name, (height, width), known, JointMasks(joint, [s.surface_id for s in known]), **more)

    @property
    def joint(self) -> JointMap:
        """The joint map, uint16 [H, W]: at each pixel the id of the last surface that covers it, else 0."""
        if isinstance(self.masks, JointMasks):
            return self.masks.joint
        joint = empty_joint_map(self.image_hw)
        for surface in self.surfaces:
            joint[self.masks[surface.surface_id]] = surface.surface_id
        return joint

    @property
    def painted(self) -> tuple[tuple[Surface, Mask], ...]:
        """The surfaces that have a pixel, with their masks."""
        pairs = ((surface, self.masks[surface.surface_id]) for surface in self.surfaces)
        return tuple((surface, mask) for surface, mask in pairs if mask.any())

    def file_name(self, suffix: str) -> str:
        """The image's name with another suffix, such as ``.png``.

        Raises :class:`OutputError` for a name from somebody else's file that leads out of the folder.
        """
        path = PurePosixPath(self.name)
        if not path.name or path.is_absolute() or ".." in path.parts or not self.name.isprintable():
            raise OutputError(
                f"Expected the name of an image below the folder but got {shown(self.name)}; rename it in its file."
            )
        return path.with_suffix(suffix).as_posix()


@dataclass(frozen=True)
class Options:
    """How to write.

    Attributes:
        tolerance_px: polygons instead of masks where a format has both, none of the boundary's points farther
            than this from them; ``None`` for masks. Formats that have polygons only take ``None`` for 0.
        folder: where the files will lie, for formats that say where the image is from there.
    """

    tolerance_px: float | None = None
    folder: Path | None = None


DEFAULT = Options()


@dataclass(frozen=True)
class Loss:
    """One thing that a format does not hold.

    Attributes:
        image: name of the image.
        surface: what is concerned; ``None`` for the image as a whole.
        kind: ``overlap``, ``empty``, ``ids``, ``names``, ``parts``, ``holes`` or ``pixels``.
        detail: what happens to it, in words.
        changed_px: pixels of the surface that the file will have differently.
        iou: of the mask in the file with the surface's own, in [0, 1].
    """

    image: str
    surface: Surface | None
    kind: str
    detail: str
    changed_px: int = 0
    iou: float = 1.0

    def __str__(self) -> str:
        who = "" if self.surface is None else f"surface {self.surface.surface_id} {self.surface.name!r}: "
        measured = f" ({self.changed_px} px changed, IoU {self.iou:.4f})" if self.changed_px else ""
        return f"{self.image}: {who}{self.detail}{measured}"


def class_of(surface: Surface) -> str:
    """The class that a file gives a surface: its own, else its name, else ``surface``."""
    return surface.class_name or surface.name or "surface"


def class_numbers(images: Iterable[AnnotatedImage]) -> dict[str, int]:
    """The classes of some images with numbers from 0: declared ones first, then as surfaces come."""
    images = tuple(images)
    names = [name for image in images for name in image.classes]
    names += [class_of(surface) for image in images for surface in image.surfaces]
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def surface_entry(surface: Surface) -> dict[str, Any]:
    """A surface as JSON, for formats with room for more than they define."""
    entry = {"id": surface.surface_id, "name": surface.name, "class": surface.class_name, "colour": surface.colour}
    return {name: value for name, value in entry.items() if value is not None}


# What is lost -----------------------------------------------------------------------------------------
def empty_losses(image: AnnotatedImage) -> list[Loss]:
    """Surfaces without a pixel, for formats in which a surface is its pixels."""
    return [
        Loss(image.name, s, "empty", "has no pixels and is left out")
        for s in image.surfaces
        if not image.masks[s.surface_id].any()
    ]


def overlap_losses(image: AnnotatedImage) -> list[Loss]:
    """Pixels that later surfaces take from earlier ones, for formats with one value per pixel."""
    joint = image.joint
    found = []
    for surface, mask in image.painted:
        kept = np.equal(joint, surface.surface_id)
        if not np.array_equal(kept, mask):
            detail = "loses the pixels that later surfaces cover, too"
            found.append(measured(image, surface, "overlap", detail, kept))
    return found


def class_name_losses(image: AnnotatedImage, may_hold: Callable[[str], bool], what: str) -> list[Loss]:
    """Surfaces whose class or name a format cannot spell; ``what`` says why."""
    return [
        Loss(image.name, s, "names", f"{what} in its class or name are replaced by '_'")
        for s in image.surfaces
        if not (may_hold(class_of(s)) and may_hold(s.name))
    ]


def measured(image: AnnotatedImage, surface: Surface, kind: str, detail: str, kept: Mask) -> Loss:
    """A loss with the numbers of how ``kept``, bool [H, W], differs from the surface's mask."""
    mask = image.masks[surface.surface_id]
    union = int((mask | kept).sum())
    iou = int((mask & kept).sum()) / union if union else 1.0
    return Loss(image.name, surface, kind, detail, int((mask ^ kept).sum()), iou)


# Polygons ---------------------------------------------------------------------------------------------
def corner_parts(mask: Mask, tolerance_px: float) -> list[Points]:
    """The outer boundary of each part as a corner polygon; see :mod:`mmms_client.boundary`."""
    return [simplify(loop.corners, tolerance_px) for loop in loops(mask) if not loop.is_hole]


def centre_parts(mask: Mask, tolerance_px: float) -> list[Points]:
    """The outer boundary of each part as a centre polygon; see :mod:`mmms_client.boundary`."""
    return [simplify(loop.centres, tolerance_px) for loop in loops(mask) if not loop.is_hole]


def polygon_losses(image: AnnotatedImage, tolerance_px: float, is_centre: bool) -> list[Loss]:
    """What polygons without holes do to the masks: holes that are filled, and the tolerance."""
    found = []
    for surface, mask in image.painted:
        parts = centre_parts(mask, tolerance_px) if is_centre else corner_parts(mask, tolerance_px)
        kept = (fill_centres if is_centre else fill_corners)(parts, image.image_hw)
        holes = sum(loop.is_hole for loop in loops(mask))
        if holes:
            detail = f"{holes} hole{'s are' if holes > 1 else ' is'} filled: polygons have none"
            found.append(measured(image, surface, "holes", detail, kept))
        elif not np.array_equal(kept, mask):
            detail = f"its border moves by the tolerance of {tolerance_px:g} px"
            found.append(measured(image, surface, "pixels", detail, kept))
    return found


# Files ------------------------------------------------------------------------------------------------
def one_file_each(images: Sequence[AnnotatedImage], suffix: str) -> dict[str, AnnotatedImage]:
    """The images by the name of the file that each gets. Raises :class:`OutputError` if two get the same."""
    files: dict[str, AnnotatedImage] = {}
    for image in images:
        name = image.file_name(suffix)
        if name in files:
            raise OutputError(
                f"Expected a file of its own for each image but got {name!r} for both {files[name].name!r} and "
                f"{image.name!r}; rename one of the images, or export them to different folders."
            )
        files[name] = image
    return files


def box_of(mask: Mask) -> tuple[slice, slice]:
    """The rows and columns of the smallest box around a mask bool [H, W] that has a pixel."""
    rows: NDArray[np.int64] = np.flatnonzero(mask.any(1))
    columns: NDArray[np.int64] = np.flatnonzero(mask.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
