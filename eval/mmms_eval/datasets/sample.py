"""What every data set hands out: one image with its modalities and its surfaces.

Label rule for all loaders: surface ids are 1 .. 65535 (a surface of a semantic data set is a whole class,
never a connected component), 0 is "no surface" and counts as background, -1 is "ignore" and counts for
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mmms_client.contract import KNOWN_MODALITIES, ModalitySpec
from mmms_client.errors import UsageError, printable
from mmms_client.joint_mask import Mask
from mmms_client.units import ValueRule

IGNORE = -1
NO_SURFACE = 0
_LISTED = 5  # names in a message; the rest is counted


def shorten(names: Iterable[str]) -> str:
    """The first names and the number of the others, for a message."""
    listed = list(names)
    rest = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return printable(", ".join(listed[:_LISTED])) + rest


@dataclass(frozen=True)
class SurfaceTarget:
    """Ground truth of one surface."""

    id: int
    name: str
    mask: Mask = field(repr=False)  # bool [H, W]
    area_px: int


@dataclass(frozen=True)
class Sample:
    """One image of a data set.

    Attributes:
        key: unique within the data set and stable over runs; results are stored under it.
        image: RGB uint8 [H, W, 3].
        modalities: by the model's name, float32 [h, w] or [h, w, C] in the unit of the model's contract, NaN
            where the sensor has no value.
        labels: int32 [H, W]; see the rule at the top of this module.
        names: surface id -> name; an id without a name is called by its number.
    """

    key: str
    image: NDArray[np.uint8] = field(repr=False)
    modalities: Mapping[str, NDArray[np.float32]] = field(repr=False)
    labels: NDArray[np.int32] = field(repr=False)
    names: Mapping[int, str] = field(default_factory=dict)

    @property
    def valid(self) -> Mask:
        """bool [H, W], ``False`` at ignored pixels."""
        return np.asarray(self.labels != IGNORE)

    def surface_ids(self) -> list[int]:
        """Ids that own at least one pixel, ascending."""
        return [int(i) for i in np.unique(self.labels) if i > NO_SURFACE]

    def surfaces(self, smallest_area_px: int = 1) -> list[SurfaceTarget]:
        """The surfaces with at least ``smallest_area_px`` pixels, by ascending id."""
        found = []
        for surface_id in self.surface_ids():
            mask = np.asarray(self.labels == surface_id)
            area_px = int(np.count_nonzero(mask))
            if area_px >= smallest_area_px:
                found.append(SurfaceTarget(surface_id, self.names.get(surface_id, str(surface_id)), mask, area_px))
        return found


class Dataset(Protocol):
    """A sequence of samples. ``__getitem__`` is called from several threads at once."""

    @property
    def name(self) -> str: ...

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The modalities that the samples have, whether or not a model uses them."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...

    def describe(self) -> dict[str, Any]:
        """What is stored with the results: split, seeds, label rule ... JSON values only."""
        ...


@dataclass(frozen=True)
class DatasetOptions:
    """What the command line says about a data set; each loader takes what it needs.

    Attributes:
        root: folder of the data; ``None`` if not given.
        max_images: take the first so many; ``None`` takes all (a generator then takes its default number).
        side_px: side of generated images.
        seed: shifts the seeds of generated images.
        modalities: read only these; ``None`` reads all that ``specs`` has.
        specs: what the model wants of each modality; files are converted to its units. Modalities that are
            not in here are counted by ``modality_names`` and not read.
        rules: by modality, what the numbers in files mean; wins over a ``modalities.json`` beside them.
        ignore_ids: label values on disk that mean "ignore".
        split: of a published data set; ``None`` takes its default.
        keep_going: files that are missing do not stop the opening; reading their image raises.
        partial: accept another number of images, or another size, than published.
        include_unlabelled: make a surface of the pixels that a data set leaves unlabelled.
    """

    root: str | None = None
    max_images: int | None = None
    side_px: int = 256
    seed: int = 0
    modalities: tuple[str, ...] | None = None
    specs: tuple[ModalitySpec, ...] = tuple(known.spec for known in KNOWN_MODALITIES.values())
    rules: Mapping[str, ValueRule] = field(default_factory=dict)
    ignore_ids: tuple[int, ...] = (255,)
    split: str | None = None
    keep_going: bool = False
    partial: bool = False
    include_unlabelled: bool = False

    def refuse_splits(self, name: str) -> None:
        """Raise :class:`UsageError` if options were given that only published data sets have."""
        for option, value in (
            ("--split", self.split), ("--partial", self.partial), ("--include-unlabelled", self.include_unlabelled),
        ):  # fmt: skip
            if value:
                raise UsageError(f"Expected {option} with a published data set but got {name!r}; drop the option.")

    def readable(self, found: Iterable[str]) -> tuple[str, ...]:
        """Of the modalities found in the data: those to read, in the model's order."""
        wanted = set(found if self.modalities is None else self.modalities) & set(found)
        return tuple(spec.name for spec in self.specs if spec.name in wanted)
