"""What one image gave, in a form that goes to JSON and back without losing a digit.

Everything here is deterministic: times are kept apart (:class:`ImageTiming`), so that two runs of the same
model on the same data can be compared byte by byte, and a resumed run with an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mmms_client.clicks import Click
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
    def from_json(cls, document: Mapping[str, Any]) -> SurfaceResult:
        return cls(
            surface_id=document["surface_id"],
            name=document["name"],
            area_px=document["area_px"],
            clicks=tuple(Click(x, y, bool(positive)) for x, y, positive in document["clicks"]),
            ious=tuple(document["ious"]),
            joint=JointSurface(**document["joint"]),
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
        """Inverse of :meth:`to_json`; ``mist`` may be missing, as it is in older files.

        Raises ``KeyError``, ``TypeError`` or ``ValueError`` on nonsense.
        """
        height, width = document["size_hw"]
        return cls(
            key=document["key"],
            size_hw=(height, width),
            modalities=tuple(document["modalities"]),
            too_small=document["too_small"],
            surfaces=tuple(SurfaceResult.from_json(surface) for surface in document["surfaces"]),
            visits=tuple(Visit(*row) for row in document["visits"]),
            mist=tuple(MistAnnotation.from_json(annotation) for annotation in document.get("mist", ())),
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
        """Inverse of :meth:`to_json`. Raises ``KeyError`` or ``TypeError`` on nonsense."""
        return cls(document["key"], document["encode_ms"], tuple(document["click_ms"]))
