"""Shapes: outlines and compounds drawn with anti-aliasing into a box of the picture.

Points are float64 [N, 2] as (x, y) in px. A shape knows its parts (zones), because one surface
often has several colours: a coat, trousers and a face are one person.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mmms_eval.synthetic.scene import U8
from mmms_eval.synthetic.textures import cut, texture_bank

Points = NDArray[np.float64]
_SHIFT = 4  # sub-pixel bits of OpenCV's drawing


@dataclass(frozen=True)
class Shape:
    """A mask in a box of the picture: ``alpha`` uint8 [h, w] 0..255 whose top left pixel is (x0, y0)."""

    y0: int
    x0: int
    alpha: U8
    zones: U8  # [h, w] part of the surface, 0..3
    mask: U8  # [h, w] 0 or 255: the hard mask that labels, temperature and distance follow
    round_: bool = False  # shade it like a ball rather than a board

    @property
    def box(self) -> tuple[slice, slice]:
        h, w = self.alpha.shape
        return slice(self.y0, self.y0 + h), slice(self.x0, self.x0 + w)

    @property
    def base_y(self) -> int:
        """Row of the lowest pixel of the box."""
        return self.y0 + int(self.alpha.shape[0])


class Pen:
    """Collects polygons and lines, then draws them all into the smallest box that holds them."""

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.size_hw = size_hw
        self._items: list[tuple[Points, float, int]] = []  # points, line width (0: filled), zone (-1: hole)

    def fill(self, points: Points, zone: int = 0) -> Pen:
        self._items.append((points, 0.0, zone))
        return self

    def line(self, points: Points, width: float, zone: int = 0) -> Pen:
        self._items.append((points, max(width, 1.0), zone))
        return self

    def shape(self, round_: bool = False, margin: int = 1) -> Shape | None:
        """The drawn shape cut to the picture, or ``None`` where nothing of it is inside."""
        h, w = self.size_hw
        lo = np.min([p.min(0) - width for p, width, _ in self._items], 0) - margin
        hi = np.max([p.max(0) + width for p, width, _ in self._items], 0) + margin
        x0, y0 = max(int(lo[0]), 0), max(int(lo[1]), 0)
        x1, y1 = min(int(hi[0]) + 2, w), min(int(hi[1]) + 2, h)
        if x1 - x0 < 3 or y1 - y0 < 3:
            return None
        alpha = np.zeros((y1 - y0, x1 - x0), np.uint8)
        zones = np.zeros_like(alpha)
        for points, width, zone in self._items:
            moved = points - (x0, y0)
            fixed = np.round(np.clip(moved, -8000, 8000) * (1 << _SHIFT)).astype(np.int32)
            value = 0 if zone < 0 else 255
            if width > 0:
                thick = max(round(width), 1)
                cv2.polylines(alpha, [fixed], False, value, thick, cv2.LINE_AA, _SHIFT)
                if zone > 0:
                    cv2.polylines(zones, [fixed], False, zone, thick, cv2.LINE_8, _SHIFT)
            else:
                cv2.fillPoly(alpha, [fixed], value, cv2.LINE_AA, _SHIFT)
                if zone > 0:
                    cv2.fillPoly(zones, [fixed], zone, cv2.LINE_8, _SHIFT)
        return hard(Shape(y0, x0, alpha, zones, alpha, round_))


def hard(shape: Shape) -> Shape | None:
    """The same shape with its mask taken from alpha; ``None`` when the mask is empty."""
    mask = cv2.threshold(shape.alpha, 127, 255, cv2.THRESH_BINARY)[1]
    return replace(shape, mask=mask) if cv2.countNonZero(mask) > 4 else None


def turned(points: Points, x: float, y: float, angle: float) -> Points:
    """Points about the origin, turned by ``angle`` (radians) and moved to (x, y)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points @ np.array([[c, s], [-s, c]]) + (x, y), np.float64)


@lru_cache(maxsize=64)
def _circle(n: int) -> Points:
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return np.stack([np.cos(t), np.sin(t)], 1)


@lru_cache(maxsize=64)
def _waves(n: int) -> tuple[Points, Points]:
    """n steps from 0 to 1, [n, 1], and three standing waves over them, [n, 3]."""
    t = np.linspace(0, 1, n)[:, None]
    return t, np.sin(np.pi * t * (1, 2, 3))


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0, n: int = 40) -> Points:
    return turned(_circle(n) * (rx, ry), x, y, angle)


def rectangle(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> Points:
    return turned(np.array([[-rx, -ry], [rx, -ry], [rx, ry], [-rx, ry]], np.float64), x, y, angle)


def superellipse(x: float, y: float, rx: float, ry: float, power: float, angle: float = 0.0) -> Points:
    t = np.linspace(0, 2 * np.pi, 56, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    p = 2 / power
    return turned(np.stack([rx * np.sign(c) * abs(c) ** p, ry * np.sign(s) * abs(s) ** p], 1), x, y, angle)


@lru_cache(maxsize=4)
def _harmonics(n: int) -> Points:
    """Cosines and sines of orders 1..8 around a circle, [16, n]."""
    phase = np.outer(np.arange(1, 9), np.linspace(0, 2 * np.pi, n, endpoint=False))
    return np.concatenate([np.cos(phase), np.sin(phase)])


def blob(rng: np.random.Generator, x: float, y: float, rx: float, ry: float, rough: float = 0.35) -> Points:
    """A smooth closed outline: an ellipse whose radius is a random Fourier series of falling amplitude."""
    orders = np.arange(1, 9)
    gain = np.tile(rough / orders ** rng.uniform(0.8, 1.8), 2) * rng.standard_normal(16) * np.sqrt(0.5)
    radius = np.exp(gain @ _harmonics(90))[:, None]
    return turned(_circle(90) * radius * (rx, ry), x, y, rng.uniform(0, np.pi))


def polygon(rng: np.random.Generator, x: float, y: float, rx: float, ry: float) -> Points:
    """Three to nine corners around a centre; every second one may lie further in, as in a star."""
    n = int(rng.integers(3, 10))
    t = np.sort(rng.uniform(0, 2 * np.pi, n)) if rng.uniform() < 0.5 else np.arange(n) * 2 * np.pi / n
    radius = rng.uniform(0.7, 1.1, n)
    if n >= 6 and rng.uniform() < 0.35:
        radius[::2] *= rng.uniform(0.35, 0.7)
    return turned(np.stack([rx * radius * np.cos(t), ry * radius * np.sin(t)], 1), x, y, rng.uniform(0, np.pi))


def curve(rng: np.random.Generator, start: Points, end: Points, bend: float, n: int = 24) -> Points:
    """A smooth open line from start to end with a sideways wobble of ``bend`` times its length."""
    t, waves = _waves(n)
    along = end - start
    across = np.array([-along[1], along[0]])
    wave = (waves @ (rng.standard_normal(3) * bend / (1, 2, 3)))[:, None]
    return np.asarray(start + t * along + wave * across, np.float64)


def ribbon(line: Points, start_width: float, end_width: float) -> Points:
    """The outline of a band along a line, px wide at both ends as given."""
    step = np.gradient(line, axis=0)
    across = np.stack([-step[:, 1], step[:, 0]], 1) / np.maximum(np.hypot(*step.T), 1e-6)[:, None]
    half = np.linspace(start_width, end_width, len(line))[:, None] / 2
    return np.concatenate([line + across * half, (line - across * half)[::-1]])


# Filters on a drawn shape -----------------------------------------------------------------------------------


def padded(shape: Shape, margin: int, size_hw: tuple[int, int]) -> Shape:
    """The same shape in a box that is larger by up to ``margin`` px, within the picture."""
    h, w = shape.alpha.shape
    top, left = min(margin, shape.y0), min(margin, shape.x0)
    bottom, right = min(margin, size_hw[0] - shape.y0 - h), min(margin, size_hw[1] - shape.x0 - w)

    def grow(a: U8) -> U8:
        return np.asarray(cv2.copyMakeBorder(a, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0), np.uint8)

    return Shape(shape.y0 - top, shape.x0 - left, grow(shape.alpha), grow(shape.zones), grow(shape.mask), shape.round_)


def roughened(
    rng: np.random.Generator, shape: Shape, reach: float, size_hw: tuple[int, int], family: str
) -> Shape | None:
    """The outline eaten by a texture over ``reach`` px to both sides: bushes, rocks, torn paper."""
    big = padded(shape, int(reach) + 1, size_hw)
    grain = rng.uniform(0.5, 1.2) * max(reach / 8, 1.0) ** 0.5
    h, w = big.alpha.shape
    tiles = texture_bank()[family]
    tile = cut(tiles[int(rng.integers(len(tiles)))], rng, h, w, grain, rng.uniform(0, 2 * np.pi))
    soft = cv2.GaussianBlur(big.alpha, (0, 0), max(reach / 2, 0.7), borderType=cv2.BORDER_REPLICATE)
    mixed = soft.astype(np.float32) + (tile.astype(np.float32) - 128.0) * 0.9
    alpha = np.clip((mixed - 128.0) * 5.0 + 128.0, 0, 255)
    alpha *= (soft > 8).astype(np.float32)
    alpha = np.maximum(alpha, (soft > 247) * 255.0)
    return hard(replace(big, alpha=alpha.astype(np.uint8)))


def haired(rng: np.random.Generator, shape: Shape, length: float, size_hw: tuple[int, int]) -> Shape:
    """Thin strokes across the outline in alpha only; the hard mask stays, as in hand-made labels of fur."""
    big = padded(shape, int(length) + 2, size_hw)
    contours, _ = cv2.findContours(big.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points = np.concatenate(contours)[:, 0].astype(np.float64)
    points = points[rng.integers(0, len(points), min(len(points) * 2, 260))]
    centre = points.mean(0)
    away = (points - centre) / np.maximum(np.hypot(*(points - centre).T), 1)[:, None]
    drift = rng.normal(0, 0.5, 2)
    ends = points + (away + drift + rng.normal(0, 0.35, points.shape)) * rng.uniform(0.3, 1, (len(points), 1)) * (
        length
    )
    lines = np.stack([points, ends], 1)
    alpha = cv2.GaussianBlur(big.alpha, (0, 0), 0.8)
    cv2.polylines(alpha, list(np.round(lines * 16).astype(np.int32)), False, 200, 1, cv2.LINE_AA, shift=_SHIFT)
    return replace(big, alpha=alpha)


def speckled(rng: np.random.Generator, shape: Shape, share: float, family: str, zoom: float) -> Shape | None:
    """Only the brightest ``share`` of a texture inside the shape: leaves on a road, snow patches, rust."""
    h, w = shape.alpha.shape
    tiles = texture_bank()[family]
    tile = cut(tiles[int(rng.integers(len(tiles)))], rng, h, w, zoom, rng.uniform(0, 2 * np.pi))
    inside = tile[shape.mask > 0]
    level = float(np.quantile(inside, 1 - share)) if inside.size else 128.0
    cutout = np.clip((tile.astype(np.float32) - level) * 24 + 128, 0, 255) / 255.0
    return hard(replace(shape, alpha=(shape.alpha * cutout).astype(np.uint8)))


def zoned(rng: np.random.Generator, shape: Shape) -> Shape:
    """Cuts a shape into two or three parts of different colour: a band, a noise patch or a smaller self."""
    h, w = shape.alpha.shape
    zones = np.zeros((h, w), np.uint8)
    kind = rng.integers(4)
    if kind == 0:
        angle, at = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4, 2)
        x, y = np.linspace(-1, 1, w, dtype=np.float32)[None], np.linspace(-1, 1, h, dtype=np.float32)[:, None]
        t = np.cos(angle) * x + np.sin(angle) * y
        zones[t > at[0]] = 1
        if rng.uniform() < 0.5:
            zones[(t > at[0]) & (t < at[0] + rng.uniform(0.1, 0.5))] = 2
    elif kind == 1:
        tile = cut(texture_bank()["soft"][int(rng.integers(4))], rng, h, w, max(h, w) / 220 + 0.1)
        zones[tile > rng.integers(110, 165)] = 1
    elif kind == 2:
        steps = int(rng.integers(2, 7))
        line = (np.arange(h)[:, None] if rng.uniform() < 0.5 else np.arange(w)[None]) * steps
        zones[:] = (line // max(h if line.shape[1] == 1 else w, 1)) % 2
    else:
        cy, cx, r = int(rng.integers(h)), int(rng.integers(w)), int(rng.uniform(0.1, 0.4) * max(h, w)) + 1
        cv2.ellipse(zones, (cx, cy), (r, max(int(r * rng.uniform(0.3, 1)), 1)), rng.uniform(0, 180), 0, 360, 1, -1)
    return replace(shape, zones=zones)


# Whole pictures ---------------------------------------------------------------------------------------------


def from_mask(mask: U8, y0: int = 0, x0: int = 0) -> Shape | None:
    """A shape from a soft mask, uint8 [h, w] 0..255, cut to its own bounding box."""
    x, y, w, h = cv2.boundingRect(cv2.threshold(mask, 20, 255, cv2.THRESH_BINARY)[1])
    if w < 3 or h < 3:
        return None
    alpha = np.ascontiguousarray(mask[y : y + h, x : x + w])
    return hard(Shape(y0 + y, x0 + x, alpha, np.zeros_like(alpha), alpha))


def below_ridge(
    rng: np.random.Generator, size_hw: tuple[int, int], y: float, height: float, power: float
) -> Shape | None:
    """Everything below a skyline around row ``y``; ``power`` 0.8 is jagged, 2 rolling; 0 height flat."""
    h, w = size_hw
    n = np.arange(1, 40)
    gain = rng.normal(0, 1, 39) / n**power
    t = np.linspace(0, 1, w) * np.pi
    line = gain @ np.cos(np.outer(n, t) + rng.uniform(0, 2 * np.pi, 39)[:, None])
    line = y + height * (line - line.mean()) / max(float(np.abs(line).max()), 1e-6)
    line += rng.normal(0, 0.04) * (np.arange(w) - w / 2) * (height > 0)
    rows = np.arange(h, dtype=np.float32)[:, None]
    return from_mask(np.clip((rows - line[None] + 0.5) * 255, 0, 255).astype(np.uint8))


def half_plane(size_hw: tuple[int, int], x: float, y: float, angle: float) -> Shape | None:
    """The side of a straight line through (x, y) to which ``angle`` (radians) points."""
    h, w = size_hw
    xx, yy = np.arange(w, dtype=np.float32)[None], np.arange(h, dtype=np.float32)[:, None]
    t = (xx - x) * np.cos(angle) + (yy - y) * np.sin(angle)
    return from_mask(np.clip((t + 0.5) * 255, 0, 255).astype(np.uint8))


def noise_region(rng: np.random.Generator, size_hw: tuple[int, int], share: float, zoom: float) -> Shape | None:
    """A random region of about the given share of the picture with a natural, winding border."""
    h, w = size_hw
    family = "soft" if rng.uniform() < 0.7 else "marble"
    tiles = texture_bank()[family]
    tile = cut(tiles[int(rng.integers(len(tiles)))], rng, h, w, zoom, rng.uniform(0, 2 * np.pi))
    tile = cv2.GaussianBlur(tile, (0, 0), rng.uniform(0.8, 3.0))
    level = float(np.quantile(tile[::4, ::4], 1 - share))
    return from_mask(np.clip((tile.astype(np.float32) - level) * 30 + 128, 0, 255).astype(np.uint8))


def union(a: Shape, b: Shape) -> Shape | None:
    """Two shapes as one, ``b`` in front."""
    y0, x0 = min(a.y0, b.y0), min(a.x0, b.x0)
    h = max(s.y0 + s.alpha.shape[0] for s in (a, b)) - y0
    w = max(s.x0 + s.alpha.shape[1] for s in (a, b)) - x0
    alpha, zones = np.zeros((h, w), np.uint8), np.zeros((h, w), np.uint8)
    for s in (a, b):
        box = slice(s.y0 - y0, s.y0 - y0 + s.alpha.shape[0]), slice(s.x0 - x0, s.x0 - x0 + s.alpha.shape[1])
        np.maximum(alpha[box], s.alpha, out=alpha[box])
        zones[box] = np.where(s.mask > 0, s.zones, zones[box])
    return hard(Shape(y0, x0, alpha, zones, alpha, a.round_ or b.round_))


def clipped(inner: Shape, outer: Shape) -> Shape | None:
    """The part of ``inner`` that lies on ``outer``."""
    y0, x0 = max(inner.y0, outer.y0), max(inner.x0, outer.x0)
    y1 = min(inner.y0 + inner.alpha.shape[0], outer.y0 + outer.alpha.shape[0])
    x1 = min(inner.x0 + inner.alpha.shape[1], outer.x0 + outer.alpha.shape[1])
    if y1 - y0 < 3 or x1 - x0 < 3:
        return None
    a = slice(y0 - inner.y0, y1 - inner.y0), slice(x0 - inner.x0, x1 - inner.x0)
    b = slice(y0 - outer.y0, y1 - outer.y0), slice(x0 - outer.x0, x1 - outer.x0)
    alpha = np.minimum(inner.alpha[a], outer.mask[b])
    return hard(Shape(y0, x0, alpha, np.ascontiguousarray(inner.zones[a]), alpha, inner.round_))
