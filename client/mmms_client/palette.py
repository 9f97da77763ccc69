"""Colours of surfaces: distinct from each other, readable over pictures, and the same in every output.

The first few are chosen by hand; each further one is the candidate that lies farthest, in CIELAB, from all
before it.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from mmms_client.events import Surface

RGB = tuple[int, int, int]
IGNORE_COLOUR: RGB = (255, 255, 255)
_BACKGROUND: RGB = (0, 0, 0)
_CHOSEN: tuple[RGB, ...] = (
    (255, 149, 0),
    (0, 168, 255),
    (76, 217, 100),
    (255, 59, 128),
    (160, 102, 255),
    (255, 221, 51),
    (0, 199, 190),
    (222, 60, 50),
)
_STEPS = 18  # candidates per colour channel


@functools.lru_cache(maxsize=1)
def palette() -> tuple[RGB, ...]:
    """256 colours: 0 is background (black), 255 is ignore (white), the rest are for surfaces 1 to 254."""
    levels = np.linspace(0, 255, _STEPS)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(-1, 3)
    lab = _to_lab(candidates)
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    is_readable = (lab[:, 0] > 38) & (lab[:, 0] < 88) & (chroma > 25)
    candidates, lab = candidates[is_readable], lab[is_readable]
    colours = [*_CHOSEN]
    distance = np.full(len(lab), np.inf)
    for colour in (_BACKGROUND, IGNORE_COLOUR, *_CHOSEN):
        distance = np.minimum(distance, ((lab - _to_lab(np.array([colour], float))) ** 2).sum(1))
    while len(colours) < 254:
        best = int(distance.argmax())
        r, g, b = (round(float(v)) for v in candidates[best])
        colours.append((r, g, b))
        distance = np.minimum(distance, ((lab - lab[best]) ** 2).sum(1))
    return (_BACKGROUND, *colours, IGNORE_COLOUR)


def surface_colour(surface_id: int, surfaces: Mapping[int, Surface]) -> RGB:
    """The colour of a surface: its own if it has one, else that of its id. Ids above 254 begin again at 1."""
    surface = surfaces.get(surface_id)
    if surface is not None and surface.colour is not None:
        return parse_colour(surface.colour)
    return palette()[(surface_id - 1) % 254 + 1]


def parse_colour(text: str) -> RGB:
    """``#rrggbb`` to three numbers from 0 to 255."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """sRGB 0..255 [N, 3] to CIELAB (D65) [N, 3]."""
    v = rgb / 255.0
    linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16.0 / 116.0)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)
