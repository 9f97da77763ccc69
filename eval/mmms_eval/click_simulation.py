"""The simulated annotator: where the next click goes.

The rule is the one of RITM (Sofiiuk et al., "Reviving Iterative Training with Mask Guidance for Interactive
Segmentation"), which SimpleClick, SkipClick and the MMMS paper use too:

1. ``FN = target and not prediction``, ``FP = prediction and not target``, both without ignored pixels.
2. Pad both with one pixel of zeros, so that the image border counts as a boundary; exact Euclidean distance
   transform; strip the padding.
3. Pixels that were clicked before (exactly those, no disk around them) become 0.
4. The click is positive if ``max(FN distance) > max(FP distance)``; a tie gives a negative click.
5. It goes to the first pixel in row-major order that attains the maximum.

Where we differ: if both maxima are 0 (nothing is wrong, or every wrong pixel was clicked already), RITM
clicks negatively at pixel (0, 0). There is nothing left to say then, so :func:`next_click` returns ``None``.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from mmms_client.clicks import Click
from mmms_client.joint_mask import Mask


class _Deepest(NamedTuple):
    depth: float  # squared distance, px^2: a whole number
    y: int
    x: int


def next_click(
    target: Mask, prediction: Mask, valid: Mask | None = None, unclicked: Mask | None = None
) -> Click | None:
    """The click that a simulated annotator makes, or ``None`` when nothing is left to click.

    Args:
        target: ground truth of the surface, bool [H, W].
        prediction: the current mask, bool [H, W]; all ``False`` before the first click.
        valid: bool [H, W], ``False`` where the ground truth says "ignore"; everything counts by default.
        unclicked: bool [H, W], ``False`` at pixels that were clicked before; none by default.
    """
    missed, spilled = target & ~prediction, prediction & ~target
    if valid is not None:
        missed, spilled = missed & valid, spilled & valid
    positive, negative = _deepest(missed, unclicked), _deepest(spilled, unclicked)
    if positive.depth == negative.depth == 0.0:
        return None
    is_positive = positive.depth > negative.depth
    place = positive if is_positive else negative
    return Click(place.x, place.y, is_positive)


def _deepest(error: Mask, unclicked: Mask | None) -> _Deepest:
    """The unclicked pixel farthest from the outside of ``error``, the first one in row-major order.

    Only the bounding box of the error is transformed. This changes nothing: the ring of one pixel around the
    box lies outside the error, and moving any outside pixel beyond the ring to the nearest pixel of the ring
    brings it no farther from any pixel in the box. Row-major order within the box is that of the image.

    OpenCV's distances are off in the last bit, and not always the same way (7 or 7.0000005, whatever ran before in
    other threads). Squared ones are whole numbers: rounded to these, ties are ties, and every run clicks the same.
    """
    rows = np.flatnonzero(error.any(axis=1))
    if rows.size == 0:
        return _Deepest(0.0, 0, 0)
    columns = np.flatnonzero(error.any(axis=0))
    y0, x0 = int(rows[0]), int(columns[0])
    box = (slice(y0, int(rows[-1]) + 1), slice(x0, int(columns[-1]) + 1))
    padded = np.pad(error[box].astype(np.uint8), 1)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    depth = np.rint(np.square(distance, dtype=np.float64))
    if unclicked is not None:
        depth = depth * unclicked[box]
    y, x = np.unravel_index(int(depth.argmax()), depth.shape)
    return _Deepest(float(depth[y, x]), y0 + int(y), x0 + int(x))


class SimulatedAnnotator:
    """:func:`next_click` for one surface, with the memory of where it clicked.

    The memory outlives visits: a pixel that was clicked once is never clicked again for this surface.
    """

    def __init__(self, target: Mask, valid: Mask) -> None:
        self.target = target
        self.valid = valid
        self._unclicked: Mask = np.ones(target.shape, np.bool_)

    def next_click(self, prediction: Mask) -> Click | None:
        """The next click for a mask bool [H, W]; remembers it. ``None``: nothing left to click."""
        click = next_click(self.target, prediction, self.valid, self._unclicked)
        if click is not None:
            self.remember(click)
        return click

    def remember(self, click: Click) -> None:
        """Never click there again."""
        self._unclicked[int(click.y_px), int(click.x_px)] = False
