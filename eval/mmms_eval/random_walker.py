"""Random walker (Grady 2006), scikit-image's, behind the predictor protocol: a classical opponent beside GrabCut.

Kept apart from :mod:`mmms_eval.baselines`, because it needs scikit-image and about a second per click.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.predictor import Encoded
from mmms_eval.baselines import LARGEST_SIDE_PX, Baseline

SEED_PX = 5  # the radius that click networks and GrabCut use, too
_ERODED_PX = 8  # how far inside (outside) the answer before a pixel has to be to count as probable
_NONE, _SURFACE, _BACKGROUND = 0, 1, 2


class RandomWalkerPredictor(Baseline):
    """Each pixel belongs to the seeds that a random walker from there reaches first; edges in RGB are hard to cross.

    Seeds are disks around clicks, the border of the image until the first negative click, and what lies well inside
    or outside the answer before: the method knows no "probable" label, so the middle of that answer stands for it,
    as long as no click contradicts it.
    """

    def __init__(self, beta: float, largest_side_px: int = LARGEST_SIDE_PX, keeps_answer: bool = True) -> None:
        super().__init__("random walker", largest_side_px)
        self.beta = beta  # how much a difference of colour counts
        self.keeps_answer = keeps_answer

    def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        from skimage.segmentation import random_walker

        seeds = self._seeds(encoded, clicks, previous_mask)
        if set(np.unique(seeds)) != {_NONE, _SURFACE, _BACKGROUND}:  # nothing to walk to, or nothing left to decide
            return (seeds == _SURFACE).astype(np.float32)
        image = encoded.payload.astype(np.float64) / 255.0
        found = random_walker(
            image,
            seeds,
            beta=self.beta,
            mode="cg_j",
            tol=1e-2,
            channel_axis=-1,
            return_full_prob=True,
            prob_tol=np.inf,  # no warning: what the tolerance leaves outside of [0, 1] is cut below
        )
        return np.clip(found[0], 0.0, 1.0).astype(np.float32)

    def _seeds(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None
    ) -> NDArray[np.int32]:
        side = encoded.frame.resolution
        seeds = np.zeros((side, side), np.int32)
        if previous_mask is not None and self.keeps_answer:
            inside = (previous_mask > 0.5).astype(np.uint8)
            for label, region in ((_SURFACE, inside), (_BACKGROUND, 1 - inside)):
                distance = cv2.distanceTransform(np.pad(region, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
                seeds[distance > _ERODED_PX] = label
        if all(click.is_positive for click in clicks):
            seeds[[0, -1], :] = seeds[:, [0, -1]] = _BACKGROUND
        for click in clicks:
            place = encoded.frame.to_network(click)
            centre = (round(place.x_px), round(place.y_px))
            if self.keeps_answer:  # what the answer before said around a click is what the click corrects
                cv2.circle(seeds, centre, 4 * SEED_PX, _NONE, cv2.FILLED)
        for click in clicks:
            place = encoded.frame.to_network(click)
            centre = (round(place.x_px), round(place.y_px))
            cv2.circle(seeds, centre, SEED_PX, _SURFACE if click.is_positive else _BACKGROUND, cv2.FILLED)
        return seeds
