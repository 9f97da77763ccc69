"""Three ways to segment from clicks that no training needs: what any served network has to beat.

They are predictors like any other, so they get the same simulated clicks from the same code. Each is given a
fair
chance: the disk is run at several radii and the best one counts, Voronoi and GrabCut take the image border
for background until the first negative click says where the background is.

They look at RGB only (the disk and Voronoi not even at that) and work at the size of the image up to
``largest_side_px``, not at a network's size: ``Encoded.frame`` says which.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.geometry import Frame, Region
from mmms_client.predictor import Encoded, Modalities, network_inputs

LARGEST_SIDE_PX = 320
MAX_CLICKS = 64
DISK_RADII_PERCENT = (4, 7, 11, 16, 24)  # of the square root of the image area
GRABCUT_SEED_PX = 5  # the radius that click networks use, too
GRABCUT_ITERATIONS = 3

_Plane = NDArray[np.float32]


class Baseline:
    """What the three have in common: encoding is geometry only, and they take no modality."""

    def __init__(self, preset: str, largest_side_px: int = LARGEST_SIDE_PX) -> None:
        self._contract = ModelContract(
            preset=preset,
            checkpoint="none",
            checkpoint_sha256="",
            resolution=largest_side_px,
            modalities=(),
            backbone_shapes=(),
            pyramid_shapes=(),
            engine="in process",
            precision="fp32",
            max_clicks=MAX_CLICKS,
        )

    @property
    def contract(self) -> ModelContract:
        return self._contract

    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        frame, present, _ = network_inputs(self._contract, image, modalities, region)
        side = min(self._contract.resolution, max(frame.region.width, frame.region.height))
        frame = Frame(frame.image_hw, frame.region, side)
        return Encoded(frame, present, np.ascontiguousarray(frame.image_to_network(image).transpose(1, 2, 0)))

    def predict(self, encoded: Encoded, clicks: Sequence[Click], previous_mask: _Plane | None = None) -> _Plane:
        raise NotImplementedError


class DiskPredictor(Baseline):
    """A disk around each positive click, without the pixels that are nearer to a negative click.

    Taking whole disks around negative clicks away instead is worse by 2.6 clicks (NoC@80, three synthetic
    scenes): a negative click near the border then wipes out most of the surface.
    """

    def __init__(self, radius_percent: float, largest_side_px: int = LARGEST_SIDE_PX) -> None:
        super().__init__(f"disk {radius_percent:g} %", largest_side_px)
        self.radius_percent = radius_percent  # of the square root of the image area

    def predict(self, encoded: Encoded, clicks: Sequence[Click], previous_mask: _Plane | None = None) -> _Plane:
        region = encoded.frame.region
        radius_px = self.radius_percent / 100 * math.sqrt(region.width * region.height)
        to_surface = _distance_px(encoded.frame, clicks, is_positive=True)
        to_background = _distance_px(encoded.frame, clicks, is_positive=False)
        return ((to_surface <= radius_px) & (to_surface < to_background)).astype(np.float32)


class VoronoiPredictor(Baseline):
    """Each pixel belongs to the side of its nearest click; without negative ones, so is the border."""

    def __init__(self, largest_side_px: int = LARGEST_SIDE_PX) -> None:
        super().__init__("Voronoi", largest_side_px)

    def predict(self, encoded: Encoded, clicks: Sequence[Click], previous_mask: _Plane | None = None) -> _Plane:
        to_background = _distance_px(encoded.frame, clicks, is_positive=False)
        if all(click.is_positive for click in clicks):
            to_background = _border_distance_px(encoded.frame)
        return (_distance_px(encoded.frame, clicks, is_positive=True) < to_background).astype(np.float32)


class GrabCutPredictor(Baseline):
    """GrabCut (Rother et al. 2004), OpenCV's: disks around clicks are certain.

    Before the first answer, :class:`DiskPredictor` says what is probable. Of the beginnings tried on
    synthetic scenes (nothing, everything, Voronoi, disks) it gave the best IoUs; iterations beyond 3 gave none.
    """

    def __init__(self, iterations: int = GRABCUT_ITERATIONS, largest_side_px: int = LARGEST_SIDE_PX) -> None:
        super().__init__("GrabCut", largest_side_px)
        self.iterations = iterations

    def predict(self, encoded: Encoded, clicks: Sequence[Click], previous_mask: _Plane | None = None) -> _Plane:
        trimap = self._trimap(encoded.frame, clicks, previous_mask)
        background_model, foreground_model = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)  # of this thread: the answer must not depend on what ran here before
        with contextlib.suppress(cv2.error):  # one side has no pixel, or too few for a colour model
            cv2.grabCut(
                encoded.payload,
                trimap,
                (0, 0, 0, 0),
                background_model,
                foreground_model,
                self.iterations,
                cv2.GC_INIT_WITH_MASK,
            )
        return np.isin(trimap, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)

    def _trimap(self, frame: Frame, clicks: Sequence[Click], previous_mask: _Plane | None) -> NDArray[np.uint8]:
        side = frame.resolution
        trimap = np.full((side, side), cv2.GC_PR_BGD, np.uint8)
        if previous_mask is not None:
            trimap[previous_mask > 0.5] = cv2.GC_PR_FGD
        elif clicks:
            trimap[FIRST_GUESS.predict(Encoded(frame, (), None), clicks) > 0.5] = cv2.GC_PR_FGD
        if all(click.is_positive for click in clicks):
            trimap[[0, -1], :] = trimap[:, [0, -1]] = cv2.GC_BGD
        for click in clicks:
            place = frame.to_network(click)
            centre = (round(place.x_px), round(place.y_px))
            label = cv2.GC_FGD if click.is_positive else cv2.GC_BGD
            cv2.circle(trimap, centre, GRABCUT_SEED_PX, int(label), cv2.FILLED)
        return trimap


FIRST_GUESS = DiskPredictor(7)


def _pixel_centres_px(frame: Frame) -> tuple[_Plane, _Plane]:
    """Image coordinates of the network's pixel centres: y float32 [S, 1] and x float32 [1, S]."""
    r, centres = frame.region, np.arange(frame.resolution, dtype=np.float32) + 0.5
    y = r.y0 + centres * (r.height / frame.resolution) - 0.5
    x = r.x0 + centres * (r.width / frame.resolution) - 0.5
    return y[:, None].astype(np.float32), x[None, :].astype(np.float32)


def _distance_px(frame: Frame, clicks: Sequence[Click], is_positive: bool) -> _Plane:
    """Distance to the nearest click of one sign, float32 [S, S] in image pixels; inf if there is none."""
    y, x = _pixel_centres_px(frame)
    nearest = np.full((frame.resolution, frame.resolution), np.inf, np.float32)
    for click in clicks:
        if click.is_positive == is_positive:
            np.minimum(nearest, (x - click.x_px) ** 2 + (y - click.y_px) ** 2, out=nearest)
    return np.sqrt(nearest)


def _border_distance_px(frame: Frame) -> _Plane:
    """Distance to the nearest pixel outside of the region, float32 [S, S] in image pixels."""
    y, x = _pixel_centres_px(frame)
    r = frame.region
    vertical = np.minimum(y - (r.y0 - 1), r.y0 + r.height - y)
    horizontal = np.minimum(x - (r.x0 - 1), r.x0 + r.width - x)
    return np.minimum(vertical, horizontal)


BASELINES: tuple[Callable[[], Baseline], ...] = (
    *((lambda percent=percent: DiskPredictor(percent)) for percent in DISK_RADII_PERCENT),
    VoronoiPredictor,
    GrabCutPredictor,
)
