"""Test-time policies of the field as predictors around a predictor: mirrored second look, and zoom.

What is wrapped may be any :class:`mmms_client.predictor.Predictor`, and so is the result; both are stateless.

- :class:`FlipPredictor` after RITM's horizontal flip (Sofiiuk et al. 2021), which averages logits where this averages
  probabilities: those are all that a served model gives away.
- :class:`ZoomPredictor` after RITM's zoom-in (taken over by SimpleClick), for networks of a fixed input size: the first
  click sees the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.errors import UsageError
from mmms_client.geometry import Frame, Region, resize_float
from mmms_client.joint_mask import Mask
from mmms_client.predictor import Encoded, Modalities, Predictor
from mmms_eval.protocol import EvaluationProtocol

EXPANSION = 1.4  # of the bounding box, per side
SMALLEST_SIDE_PX = 200  # of a region, before it is cut at the border of the image
KEEP_IOU = 0.5  # of the new region with the one in use, below which the new one is taken
INSIDE = 0.5  # a pixel belongs to the predicted mask if its probability is greater

_Plane = NDArray[np.float32]
_Scalar = TypeVar("_Scalar", bound=np.generic)


def with_policies(predictor: Predictor, protocol: EvaluationProtocol) -> Predictor:
    """``predictor`` as ``protocol.flip`` and ``protocol.zoom`` want it used; itself if both are off."""
    if protocol.flip:
        predictor = FlipPredictor(predictor)
    if protocol.zoom == "ritm":
        predictor = ZoomPredictor(predictor)
    return predictor


# Flip -----------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _BothWays:
    plain: Encoded
    mirrored: Encoded


class FlipPredictor:
    """The mean of the probabilities of the image and of its mirror image, clicks and previous mask mirrored too.

    Maps are mirrored as pictures, as in training: values that mean a direction (``aolp``) are not turned.
    """

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner

    @property
    def contract(self) -> ModelContract:
        return self._inner.contract

    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        """Encode both. See :meth:`mmms_client.predictor.Predictor.encode`."""
        plain = self._inner.encode(image, modalities, region)
        mirrored_maps = {name: _mirror(values) for name, values in (modalities or {}).items()}
        r, width = plain.frame.region, image.shape[1]
        mirrored_region = None if region is None else Region(width - r.x0 - r.width, r.y0, r.width, r.height)
        mirrored = self._inner.encode(_mirror(image), mirrored_maps, mirrored_region)
        return Encoded(plain.frame, plain.present, _BothWays(plain, mirrored))

    def predict(self, encoded: Encoded, clicks: Sequence[Click], previous_mask: _Plane | None = None) -> _Plane:
        """Ask twice. See :meth:`mmms_client.predictor.Predictor.predict`."""
        both: _BothWays = encoded.payload
        last_px = encoded.frame.image_hw[1] - 1
        mirrored_clicks = [Click(last_px - click.x_px, click.y_px, click.is_positive) for click in clicks]
        mirrored_previous = None if previous_mask is None else _mirror(previous_mask)
        plain = self._inner.predict(both.plain, clicks, previous_mask)
        mirrored = self._inner.predict(both.mirrored, mirrored_clicks, mirrored_previous)
        return (plain + _mirror(mirrored)) * np.float32(0.5)


def _mirror(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """[H, W] or [H, W, C] with the columns in reverse order."""
    return np.ascontiguousarray(array[:, ::-1])


# Zoom -----------------------------------------------------------------------------------------------------------------
class ImageFrame(Frame):
    """The frame of a predictor that answers at the size of the image: masks and probabilities pass as they are."""

    def mask_to_network(self, mask: Mask) -> _Plane:
        """A mask bool [H, W] to float32 [H, W], 0 or 1."""
        return mask.astype(np.float32)

    def probabilities_to_image(self, probabilities: _Plane) -> _Plane:
        """Probabilities float32 [H, W] as they are."""
        return probabilities


class ZoomedAnswer(np.ndarray[Any, np.dtype[np.float32]]):
    """Probabilities float32 [H, W] that know the encoded region they come from.

    The zoom's next step depends on the region in use; travelling with the previous mask it needs no other memory.
    """

    encoded: Encoded | None = None
    seen: _Plane | None = None  # float32 [S, S]: the answer as the network gave it

    @classmethod
    def of(cls, encoded: Encoded, seen: _Plane) -> ZoomedAnswer:
        answer = encoded.frame.probabilities_to_image(seen).view(cls)
        answer.encoded, answer.seen = encoded, seen
        return answer


@dataclass(frozen=True)
class _Zoomable:
    image: NDArray[np.uint8] = field(repr=False)
    modalities: Modalities = field(repr=False)
    whole: Encoded


class ZoomPredictor:
    """After the first click, the region around the predicted mask is encoded again and answers instead of the image.

    The region is that of :func:`object_region`; one in use stays until :func:`next_region` lets it go. Answers have the
    size of the image and are 0 outside the region. The previous mask is cut to a new region. Negative clicks outside
    the region are left out; RITM gives their coordinates to the network all the same, where a disk just beyond the
    border reaches up to 5 px into the picture. Positive ones are never outside. A first answer that comes without a
    previous mask, or with one from elsewhere (a revisit), starts from the whole image.
    """

    def __init__(self, inner: Predictor) -> None:
        self._inner = inner

    @property
    def contract(self) -> ModelContract:
        return self._inner.contract

    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        """Encode the whole image. See :meth:`mmms_client.predictor.Predictor.encode`.

        Raises :class:`UsageError` if a region is given: the zoom chooses it.
        """
        if region is not None:
            raise UsageError(
                f"Expected the whole image for the zoom but got {region}; leave out the region or the zoom."
            )
        whole = self._inner.encode(image, modalities)
        frame = ImageFrame(whole.frame.image_hw, whole.frame.region, whole.frame.resolution)
        return Encoded(frame, whole.present, _Zoomable(image, modalities or {}, whole))

    def predict(self, encoded: Encoded, clicks: Sequence[Click], previous_mask: _Plane | None = None) -> ZoomedAnswer:
        """Answer with the region that fits the previous mask. See :meth:`mmms_client.predictor.Predictor.predict`.

        Args:
            encoded: from :meth:`encode`.
            clicks: of the surface so far, in image pixels.
            previous_mask: float32 [H, W], as returned here or by the frame's ``mask_to_network``.

        Returns:
            Probabilities in [0, 1], float32 [H, W] of the image.
        """
        zoomable: _Zoomable = encoded.payload
        if previous_mask is None:
            return self._answer(zoomable.whole, clicks, None)
        in_use, seen = zoomable.whole, None
        if isinstance(previous_mask, ZoomedAnswer) and previous_mask.encoded is not None:
            in_use, seen = previous_mask.encoded, previous_mask.seen
        previous = np.asarray(previous_mask)
        region = next_region(in_use.frame.region, previous, clicks)
        if region == in_use.frame.region:
            return self._answer(in_use, clicks, _cut(previous, in_use.frame) if seen is None else seen)
        if region == zoomable.whole.frame.region:
            taken = zoomable.whole
        else:
            taken = self._inner.encode(zoomable.image, zoomable.modalities, region)
        return self._answer(taken, clicks, _cut(previous, taken.frame))

    def _answer(self, encoded: Encoded, clicks: Sequence[Click], previous: _Plane | None) -> ZoomedAnswer:
        inside = [click for click in clicks if click.is_positive or _is_inside(click, encoded.frame.region)]
        return ZoomedAnswer.of(encoded, self._inner.predict(encoded, inside, previous))


def next_region(in_use: Region, probabilities: _Plane, clicks: Sequence[Click]) -> Region:
    """The region that answers next.

    It is ``in_use`` unless a positive click lies outside of that, or its IoU with the new region is below
    :data:`KEEP_IOU`. As in RITM, the last row and the last column of ``in_use`` count as outside.

    Args:
        in_use: the region of the answer before.
        probabilities: of that answer, float32 [H, W] of the image.
        clicks: of the surface so far, the new one included, in image pixels.
    """
    new = object_region(probabilities > INSIDE, clicks)
    last_x, last_y = in_use.x0 + in_use.width - 1, in_use.y0 + in_use.height - 1
    has_all = all(
        in_use.x0 <= click.x_px < last_x and in_use.y0 <= click.y_px < last_y for click in clicks if click.is_positive
    )
    return in_use if has_all and region_iou(new, in_use) >= KEEP_IOU else new


def object_region(mask: Mask, clicks: Sequence[Click]) -> Region:
    """The bounding box of ``mask`` bool [H, W] and the positive clicks, :data:`EXPANSION` times as large about its
    centre, at least :data:`SMALLEST_SIDE_PX` per side, cut at the border. The whole image if the mask is empty.
    """
    height, width = mask.shape
    if not mask.any():
        return Region(0, 0, width, height)
    positive = [click for click in clicks if click.is_positive]
    rows = [*np.flatnonzero(mask.any(axis=1))[[0, -1]].tolist(), *(int(click.y_px) for click in positive)]
    columns = [*np.flatnonzero(mask.any(axis=0))[[0, -1]].tolist(), *(int(click.x_px) for click in positive)]
    y0, y1 = _expand(min(rows), max(rows), height)
    x0, x1 = _expand(min(columns), max(columns), width)
    return Region(x0, y0, x1 - x0 + 1, y1 - y0 + 1)


def region_iou(a: Region, b: Region) -> float:
    """Intersection over union per axis, multiplied: RITM's, which is not quite that of the areas."""
    return _span_iou(a.x0, a.width, b.x0, b.width) * _span_iou(a.y0, a.height, b.y0, b.height)


def _expand(first: int, last: int, size: int) -> tuple[int, int]:
    """First and last pixel of a span after it has grown and was cut to ``0 .. size - 1``."""
    centre, half = 0.5 * (first + last), 0.5 * max(EXPANSION * (last - first + 1), SMALLEST_SIDE_PX)
    return max(0, round(centre - half)), min(size - 1, round(centre + half))


def _span_iou(a0: int, a_length: int, b0: int, b_length: int) -> float:
    common = min(a0 + a_length, b0 + b_length) - max(a0, b0)
    return max(0, common) / (max(a0 + a_length, b0 + b_length) - min(a0, b0))


def _is_inside(click: Click, region: Region) -> bool:
    x, y = click.x_px - region.x0, click.y_px - region.y0
    return -0.5 <= x <= region.width - 0.5 and -0.5 <= y <= region.height - 0.5


def _cut(probabilities: _Plane, frame: Frame) -> _Plane:
    """The region of probabilities float32 [H, W] of the image, as float32 [S, S]."""
    r = frame.region
    part = probabilities[r.y0 : r.y0 + r.height, r.x0 : r.x0 + r.width]
    return resize_float(part, (frame.resolution, frame.resolution))
