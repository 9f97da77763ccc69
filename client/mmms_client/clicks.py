"""Clicks, and their coding into the arrays of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import ClickError

PADDING_LABEL = -1


@dataclass(frozen=True)
class Click:
    """One click, in image pixels with pixel centres at integers: the top left pixel is (0, 0)."""

    x_px: float
    y_px: float
    is_positive: bool = True


def encode_clicks(clicks: Sequence[Click], max_clicks: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Code clicks (already in network pixels) into fixed-size arrays.

    Returns ``point_coords`` float32 [max_clicks, 2] as (x, y) in pixels, zeros where padded, and
    ``point_labels`` int32 [max_clicks]: 1 positive, 0 negative, -1 padding.

    Raises :class:`ClickError` when there are more clicks than ``max_clicks``.
    """
    if len(clicks) > max_clicks:
        raise ClickError(
            f"Expected at most {max_clicks} clicks per surface but got {len(clicks)}: the server takes no "
            f"more; finish the surface with fewer clicks, or export the model with a larger click list."
        )
    coords = np.zeros((max_clicks, 2), np.float32)
    labels = np.full((max_clicks,), PADDING_LABEL, np.int32)
    for row, click in enumerate(clicks):
        coords[row] = (click.x_px, click.y_px)
        labels[row] = int(click.is_positive)
    return coords, labels
