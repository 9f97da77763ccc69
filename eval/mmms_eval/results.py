"""What one image gave, in a form that goes to JSON and back without losing a digit.

Everything here is deterministic: times are kept apart (:class:`ImageTiming`), so that two runs of the same
model on the same data can be compared byte by byte, and a resumed run with an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmms_client.clicks import Click
from mmms_client.json_place import Place
from mmms_client.typed_json import read_object, read_value
from mmms_eval.mist import MistAnnotation
from mmms_eval.nocms import JointSurface, Visit


@dataclass(frozen=True)
class SurfaceResult:
    """One surface: its NoC run, and its part in the joint annotation of the image."""

    surface_id: int
    name: str
    area_px: int
    clicks: tuple[Click, ...]
    ious: tuple[float, ...]  # after each click, in [0, 1]
    joint: JointSurface

    @classmethod
    def read(cls, place: Place) -> SurfaceResult:
        """Inverse of :meth:`to_json`. Raises :class:`mmms_client.errors.SessionFormatError`."""
        fields = place.fields(("surface_id", "name", "area_px", "clicks", "ious", "joint"))
        clicks: tuple[tuple[float, float, int], ...] = read_value(
            fields["clicks"], tuple[tuple[float, float, int], ...]
        )
        ious: tuple[float, ...] = read_value(fields["ious"], tuple[float, ...])
        if not clicks or len(clicks) != len(ious):
            fields["ious"].fail(f"one IoU for each of {len(clicks)} clicks")
        return cls(
            surface_id=fields["surface_id"].integer(0),
            name=fields["name"].text(may_be_empty=True),
            area_px=fields["area_px"].integer(1),
            clicks=tuple(Click(x, y, bool(positive)) for x, y, positive in clicks),
            ious=ious,
            joint=read_object(fields["joint"], JointSurface),
        )

    def to_json(self) -> dict[str, Any]:
        clicks = [[click.x_px, click.y_px, int(click.is_positive)] for click in self.clicks]
        return {**asdict(self), "clicks": clicks, "ious": list(self.ious)}


@dataclass(frozen=True)
class ImageResult:
    """One image: surfaces by ascending id, visits of the joint annotation in time order, MIST by strategy as asked for
    (nothing without MIST or without surfaces)."""

    key: str
    size_hw: tuple[int, int]
    modalities: tuple[str, ...]  # those that the model was given
    too_small: int  # surfaces below the protocol's smallest area, left out
    surfaces: tuple[SurfaceResult, ...]
    visits: tuple[Visit, ...]
    mist: tuple[MistAnnotation, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "key": self.key,
            "size_hw": list(self.size_hw),
            "modalities": list(self.modalities),
            "too_small": self.too_small,
            "surfaces": [surface.to_json() for surface in self.surfaces],
            "visits": [[visit.surface_id, visit.clicks, visit.iou] for visit in self.visits],
            "mist": [annotation.to_json() for annotation in self.mist],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ImageResult:
        """Inverse of :meth:`to_json`; errors as of :meth:`read`."""
        return cls.read(Place("the results", "", document))

    @classmethod
    def read(cls, place: Place) -> ImageResult:
        """Inverse of :meth:`to_json`; ``mist`` may be missing, as it is in older files.

        Raises :class:`mmms_client.errors.SessionFormatError` with the place of the nonsense.
        """
        fields = place.fields(("key", "size_hw", "modalities", "too_small", "surfaces", "visits"), ("mist",))
        visits: tuple[tuple[int, int, float], ...] = read_value(fields["visits"], tuple[tuple[int, int, float], ...])
        return cls(
            key=fields["key"].text(may_be_empty=True),
            size_hw=read_value(fields["size_hw"], tuple[int, int]),
            modalities=read_value(fields["modalities"], tuple[str, ...]),
            too_small=fields["too_small"].integer(0),
            surfaces=tuple(SurfaceResult.read(surface) for surface in fields["surfaces"].items()),
            visits=tuple(Visit(*row) for row in visits),
            mist=tuple(MistAnnotation.read(entry) for entry in fields["mist"].items()) if "mist" in fields else (),
        )


@dataclass(frozen=True)
class ImageTiming:
    """How long the model took on one image: milliseconds as the caller sees it (with client and network)."""

    key: str
    encode_ms: float
    click_ms: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        return {"key": self.key, "encode_ms": self.encode_ms, "click_ms": list(self.click_ms)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ImageTiming:
        """Inverse of :meth:`to_json`. Raises :class:`mmms_client.errors.SessionFormatError`."""
        return cls.read(Place("the times", "", document))

    @classmethod
    def read(cls, place: Place) -> ImageTiming:
        """The same, with the place of the nonsense."""
        return read_object(place, cls)
