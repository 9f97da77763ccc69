"""How one object appears to the colour camera.

A :class:`Look` is drawn from the object's kind, from the palette of the scene (natural photos repeat their
colours) or, for variety, from nothing but chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from mmms_eval.synthetic.kinds import ALL_FAMILIES, PALETTES, Kind
from mmms_eval.synthetic.scene import F32, U8
from mmms_eval.synthetic.textures import TILE, cut, plain_cut, texture_bank


@dataclass(frozen=True)
class Look:
    """The appearance of one object: two textures, mixed, coloured through one table per zone."""

    tiles: tuple[U8, U8]
    mix: float  # weight of the second, finer texture
    zooms: tuple[float, float]
    angle: float  # radians
    table: F32  # [4 * 256, 3] linear RGB: 256 colours for each of four zones
    sag: float  # perspective of a floor, 0 none

    def paint(self, rng: np.random.Generator, zones: U8) -> F32:
        """Linear RGB, float32 [h, w, 3], for a map of zones, uint8 [h, w] of 0..3."""
        h, w = zones.shape
        first = cut(self.tiles[0], rng, h, w, self.zooms[0], self.angle, self.sag)
        if 0.75 < self.zooms[1] < 1.35 and not self.sag and max(h, w) <= TILE:
            second = plain_cut(self.tiles[1], rng, h, w)
        else:
            second = cut(self.tiles[1], rng, h, w, self.zooms[1], self.angle * 0.5, self.sag)
        gain = 1.0 / float(np.hypot(1 - self.mix, self.mix))  # keeps the contrast of the mixture
        grey = cv2.addWeighted(first, (1 - self.mix) * gain, second, self.mix * gain, 128 * (1 - gain))
        index = grey.astype(np.int16) if not zones.any() else (zones.astype(np.int16) << 8) + grey
        return np.asarray(self.table.take(index, axis=0), np.float32)


def jittered(rng: np.random.Generator, rgb: tuple[int, int, int]) -> F32:
    """A colour near the given sRGB one, linear RGB in 0..1: brightness, saturation and hue moved a little."""
    draws = rng.standard_normal(5).tolist()
    level, saturation = math.exp(0.35 * draws[0]), min(max(1 + 0.25 * draws[1], 0.2), 2.0)
    linear = [(c / 255.0) ** 2 * level * math.exp(0.07 * d) for c, d in zip(rgb, draws[2:], strict=True)]
    grey = sum(linear) / 3
    return np.array([min(max(grey + (c - grey) * saturation, 0.004), 0.95) for c in linear], np.float32)


def wild_colour(rng: np.random.Generator) -> F32:
    """Any colour, dull ones more often than bright ones; linear RGB."""
    hsv = np.array([[[rng.uniform(0, 360), rng.beta(1.2, 2.6), rng.beta(1.6, 1.6)]]], np.float32)
    rgb: F32 = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return np.clip(rgb**2, 0.004, 0.95)


def colour_table(rng: np.random.Generator, colour: F32, contrast: float) -> F32:
    """256 colours from a dark to a light relative of one colour, linear RGB, float32 [256, 3]."""
    t = np.linspace(-2.4, 2.4, 256, dtype=np.float32)[:, None]
    tint = rng.normal(0, 0.12, 3).astype(np.float32)
    table = colour * np.exp(t * contrast * (0.85 + 0.6 * tint))
    if rng.uniform() < 0.3:  # a second colour in part of the texture
        other = colour * np.exp(rng.normal(0, 0.6 * contrast + 0.05, 3)).astype(np.float32)
        weight = 1 / (1 + np.exp(-(t - rng.normal(0, 0.8)) * rng.uniform(2, 12)))
        table = table * (1 - weight) + other * weight
    return np.asarray(np.minimum(np.maximum(table, 0.002), 1.2), np.float32)


def sample_look(
    rng: np.random.Generator, kind: Kind, wild: bool, palette: list[F32], scale: float, floor: bool = False
) -> Look:
    """A look for one object; ``scale`` is px per nominal texture px, ``palette`` the colours of the scene."""
    bank = texture_bank()
    families = ALL_FAMILIES if wild else kind.families

    def colour(names: tuple[str, ...]) -> F32:
        if wild:
            return wild_colour(rng) if rng.uniform() < 0.5 else palette[rng.integers(len(palette))].copy()
        anchors = PALETTES[names[rng.integers(len(names))]]
        return jittered(rng, anchors[rng.integers(len(anchors))])

    family = families[rng.integers(len(families))]
    tiles = bank[family]
    fine = bank[("grain", "noise", "noise", "marble")[rng.integers(4)]]
    low, high = (0.02, 0.8) if wild else kind.contrast
    contrast = low + (high - low) * rng.beta(1.3, 1.5)
    base = colour(kind.palettes)
    table = colour_table(rng, base, contrast)
    parts = [base]
    for zone in range(3):
        own = colour((kind.parts[zone],)) if len(kind.parts) == 3 and not wild else colour(kind.palettes)
        parts.append(base * np.float32(np.exp(rng.normal(0, 0.5))) if rng.uniform() < 0.35 else own)
    tables = (np.stack(parts) / base)[:, None] * table
    upright = family in ("bricks", "planks", "fibre", "checker", "brushed") and not wild
    return Look(
        tiles=(tiles[rng.integers(len(tiles))], fine[rng.integers(len(fine))]),
        mix=float(rng.uniform(0.1, 0.5)),
        zooms=(scale * float(np.exp(rng.uniform(-0.9, 0.7))), scale * float(np.exp(rng.uniform(-0.5, 0.4)))),
        angle=0.0 if upright else float(rng.uniform(0, 2 * np.pi)),
        table=np.minimum(tables.reshape(-1, 3), np.float32(1.2)),
        sag=float(rng.uniform(0.3, 0.75)) if floor else 0.0,
    )


def varied(rng: np.random.Generator, look: Look, amount: float = 0.25) -> Look:
    """The same look a little brighter or darker, turned and magnified differently."""
    gain = np.exp(rng.normal(0, amount, 3) * 0.4 + rng.normal(0, amount)).astype(np.float32)
    zoom = float(np.exp(rng.normal(0, 0.2)))
    return replace(
        look,
        table=np.clip(look.table * gain, 0.002, 1.2),
        zooms=(look.zooms[0] * zoom, look.zooms[1]),
        angle=look.angle + float(rng.normal(0, 0.1)),
    )
