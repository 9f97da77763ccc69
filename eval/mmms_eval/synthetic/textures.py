"""A bank of grey textures, made once per process from a fixed seed, and crops of them.

Each tile is uint8 [512, 512] with its mean near 128. Colour comes later, through a table of 256 per object.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from mmms_eval.synthetic.scene import F32, U8

TILE = 512
_SEED = 20250912
_INVERSE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def _levels(field: F32, spread: float = 50.0) -> U8:
    """Any field to uint8 with mean 128 and the given standard deviation."""
    centred = field - field.mean()
    scaled = centred * (spread / max(float(centred.std()), 1e-6)) + 128.0
    return np.asarray(np.clip(scaled, 0, 255), np.uint8)


def power_noise(rng: np.random.Generator, alpha: float, stretch: float = 1.0, angle: float = 0.0) -> F32:
    """Gaussian noise with amplitude ~ 1/f^alpha, float32 [512, 512], tileable, drawn out by ``stretch``."""
    fy, fx = np.meshgrid(np.fft.fftfreq(TILE), np.fft.rfftfreq(TILE), indexing="ij")
    c, s = np.cos(angle), np.sin(angle)
    u, v = (c * fx + s * fy) * stretch, -s * fx + c * fy
    radius = np.sqrt(u * u + v * v)
    radius[0, 0] = 1.0
    amplitude = np.maximum(radius, 1.5 / TILE) ** -alpha
    amplitude[0, 0] = 0.0
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE))) * amplitude
    return np.asarray(np.fft.irfft2(spectrum, s=(TILE, TILE)), np.float32)


def _cells(rng: np.random.Generator, count: int, mode: str) -> F32:
    """Voronoi cells of random seeds, tileable by padding: flat greys, borders or bumps."""
    points = rng.integers(0, TILE, (count, 2))
    pad = TILE // 4
    canvas = np.full((TILE, TILE), 255, np.uint8)
    canvas[points[:, 1], points[:, 0]] = 0
    canvas = cv2.copyMakeBorder(canvas, pad, pad, pad, pad, cv2.BORDER_WRAP)
    distance, ids = cv2.distanceTransformWithLabels(canvas, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    greys = rng.uniform(0, 1, int(ids.max()) + 1).astype(np.float32)
    distance = distance / np.sqrt(TILE * TILE / count)
    flat = greys[ids]
    edges = (ids != np.roll(ids, 1, 0)) | (ids != np.roll(ids, 1, 1))
    gaps = cv2.GaussianBlur(edges.astype(np.float32), (0, 0), 1.2)
    out = {"flat": flat, "bump": flat * 0.5 - distance, "gaps": flat * 0.4 - 2.0 * gaps - 0.3 * distance}[mode]
    return np.asarray(out[pad:-pad, pad:-pad], np.float32)


def _dead_leaves(rng: np.random.Generator, count: int, smallest: float, largest: float) -> F32:
    """Overlapping shapes with sizes ~ r^-3: the occlusion statistics of natural photos."""
    canvas = np.full((TILE, TILE), 128, np.uint8)
    low, high = smallest**-2, largest**-2
    for _ in range(count):
        r = float((low + rng.uniform() * (high - low)) ** -0.5)
        x, y, angle = rng.uniform(0, TILE), rng.uniform(0, TILE), rng.uniform(0, 180)
        axes = (max(int(r), 1), max(int(r * rng.uniform(0.3, 1)), 1))
        cv2.ellipse(canvas, (int(x), int(y)), axes, angle, 0, 360, int(rng.uniform(0, 255)), -1, cv2.LINE_AA)
    return canvas.astype(np.float32)


def _strokes(rng: np.random.Generator, count: int, length: float, angle: float, jitter: float) -> F32:
    """Many thin strokes along one direction: grass, fur, straw."""
    canvas = np.full((TILE, TILE), 110, np.uint8)
    x, y = rng.uniform(0, TILE, (2, count))
    a = angle + rng.normal(0, jitter, count)
    n = length * rng.uniform(0.4, 1.3, count)
    greys = np.clip(rng.normal(128, 55, count), 0, 255)
    ends = np.stack([x + n * np.cos(a), y + n * np.sin(a)], 1)
    for start, end, grey in zip(np.stack([x, y], 1), ends, greys, strict=True):
        cv2.line(canvas, tuple(map(int, start)), tuple(map(int, end)), int(grey), 1, cv2.LINE_AA)
    return canvas.astype(np.float32)


def _foliage(rng: np.random.Generator, count: int, size: float) -> F32:
    """Small leaves, lit from above, over dark gaps."""
    canvas = np.full((TILE, TILE), 30, np.uint8)
    clumps = power_noise(rng, 1.6)
    clumps = (clumps - clumps.min()) / (clumps.max() - clumps.min())
    for k in range(count):
        x, y = int(rng.integers(TILE)), int(rng.integers(TILE))
        light = 40 + 120 * float(clumps[y, x]) + 70 * k / count * rng.uniform()
        axes = (max(int(size * rng.uniform(0.5, 1.3)), 1), max(int(size * rng.uniform(0.2, 0.6)), 1))
        cv2.ellipse(canvas, (x, y), axes, rng.uniform(0, 180), 0, 360, int(min(light, 255)), -1, cv2.LINE_AA)
    return canvas.astype(np.float32)


def _bricks(rng: np.random.Generator, width: int, height: int, joint: int, offset: bool) -> F32:
    canvas = np.zeros((TILE, TILE), np.float32)
    for row, y in enumerate(range(0, TILE, height)):
        shift = (width // 2) * (row % 2) if offset else 0
        for x in range(-shift, TILE, width):
            canvas[y + joint : y + height, max(x + joint, 0) : max(x + width, 0)] = rng.uniform(0.55, 1.0)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 0.8) + 0.15 * _unit(power_noise(rng, 0.9)), np.float32)


def _unit(field: F32) -> F32:
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def _stripes(rng: np.random.Generator, period: float, duty: float, wobble: float) -> F32:
    yy = np.arange(TILE, dtype=np.float32)[:, None] / period
    phase = yy + wobble * _unit(power_noise(rng, 2.0))
    return ((phase % 1.0) < duty).astype(np.float32) + 0.08 * _unit(power_noise(rng, 1.0))


def _warped(rng: np.random.Generator, alpha: float, strength: float) -> F32:
    """Noise displaced by noise: marble, clouds, rust."""
    base = power_noise(rng, alpha)
    yy, xx = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    dx, dy = (_unit(power_noise(rng, 2.0)) * strength for _ in range(2))
    moved = cv2.remap(base, xx + dx, yy + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(moved, np.float32)


def _relief(rng: np.random.Generator, alpha: float, warp: float, angle: float) -> F32:
    """A rough surface lit from the side: rock, crumpled paper, folds of cloth."""
    height = cv2.GaussianBlur(_warped(rng, alpha, warp), (0, 0), 1.0, borderType=cv2.BORDER_REFLECT)
    slope = np.cos(angle) * cv2.Sobel(height, cv2.CV_32F, 1, 0) + np.sin(angle) * cv2.Sobel(height, cv2.CV_32F, 0, 1)
    slope = _unit(slope)
    return np.asarray(slope - 0.15 * slope * np.abs(slope), np.float32)


def _checker(size: int) -> F32:
    yy, xx = np.mgrid[0:TILE, 0:TILE] // size
    return np.asarray((yy + xx) % 2, np.float32)


@lru_cache(maxsize=1)
def texture_bank() -> dict[str, tuple[U8, ...]]:
    """Tiles by family. Made on first use (about two seconds), the same in every process."""
    rng = np.random.default_rng(_SEED)
    half_pi = np.pi / 2
    bank: dict[str, list[F32]] = {
        "grain": [power_noise(rng, a) for a in (0.0, 0.3, 0.6, 0.8)],
        "noise": [power_noise(rng, a) for a in (0.9, 1.0, 1.1, 1.2, 1.3, 1.45)],
        "soft": [power_noise(rng, a) for a in (1.7, 1.9, 2.2, 2.5)],
        "brushed": [power_noise(rng, a, s, t) for a, s, t in ((0.9, 8, 0), (1.1, 20, 0), (1.2, 5, 0.4))],
        "marble": [_warped(rng, a, s) for a, s in ((1.2, 25), (1.4, 50), (1.0, 15))],
        "ridged": [-np.abs(_unit(power_noise(rng, a))) for a in (1.2, 1.5, 1.8)],
        "cells": [_cells(rng, n, m) for n, m in ((250, "flat"), (900, "flat"), (3000, "flat"))],
        "stones": [_cells(rng, n, m) for n, m in ((150, "gaps"), (500, "gaps"), (1800, "bump"), (500, "bump"))],
        "leaves": [_dead_leaves(rng, n, a, b) for n, a, b in ((5000, 3, 60), (3000, 6, 120), (9000, 2, 25))],
        "foliage": [_foliage(rng, n, s) for n, s in ((9000, 5), (5000, 8), (15000, 3), (2500, 13))],
        "fibre": [
            _strokes(rng, n, s, t, j)
            for n, s, t, j in ((14000, 14, half_pi, 0.35), (9000, 26, half_pi, 0.2), (12000, 18, 0, 0.8))
        ],
        "bricks": [_bricks(rng, *spec) for spec in ((32, 12, 1, True), (64, 24, 2, True), (48, 48, 2, False))],
        "planks": [_bricks(rng, 512, h, 2, False) + 0.15 * _unit(power_noise(rng, 1.1, 14)) for h in (32, 64)],
        "stripes": [_stripes(rng, p, d, w) for p, d, w in ((20, 0.5, 0), (42, 0.4, 0.05), (30, 0.5, 0.35))],
        "relief": [
            _relief(rng, a, w, t) for a, w, t in ((1.5, 10, 2.0), (1.9, 25, 2.3), (2.3, 40, 2.0), (2.6, 60, 1.0))
        ],
        "checker": [
            _checker(32) + 0.1 * _unit(power_noise(rng, 1.0)),
            _stripes(rng, 32, 0.5, 0) + _stripes(rng, 32, 0.5, 0).T,
        ],
    }
    dots = np.zeros((TILE, TILE), np.uint8)
    for x, y, r in zip(*rng.integers(0, TILE, (2, 700)), rng.integers(2, 9, 700), strict=True):
        cv2.circle(dots, (int(x), int(y)), int(r), int(rng.integers(120, 255)), -1, cv2.LINE_AA)
    bank["dots"] = [dots.astype(np.float32)]
    return {family: tuple(_levels(tile, 48.0) for tile in tiles) for family, tiles in bank.items()}


@lru_cache(maxsize=1)
def noise_planes() -> F32:
    """White noise, float32 [1024, 1024] with mean 0 and deviation 1, to be cut by the sensors."""
    return np.random.default_rng(_SEED + 1).standard_normal((1024, 1024), np.float32)


def white_noise(rng: np.random.Generator, h: int, w: int) -> F32:
    """float32 [h, w], mean 0, deviation 1: a cut of the noise plane where it fits, fresh noise where not."""
    if h > 1024 or w > 1024:
        return rng.standard_normal((h, w), np.float32)
    plane = noise_planes()
    y, x = int(rng.integers(0, 1025 - h)), int(rng.integers(0, 1025 - w))
    cut = plane[y : y + h, x : x + w]
    flip = int(rng.integers(0, 4))
    return np.ascontiguousarray(cut[:: 1 - 2 * (flip & 1), :: 1 - (flip & 2)])


def cut(
    tile: U8,
    rng: np.random.Generator,
    h: int,
    w: int,
    zoom: float = 1.0,
    angle: float = 0.0,
    sag: float = 0.0,
) -> U8:
    """A piece of a tile, uint8 [h, w], magnified by ``zoom`` and turned by ``angle`` (radians).

    ``sag`` in [0, 1) shrinks the texture towards the top, as on a floor seen at a slant.
    """
    ox, oy = rng.uniform(0, TILE, 2)
    if sag > 0:
        matrix = np.array([[1 / zoom, 0, ox], [0, 1 / zoom, oy], [0, 0, 1]], np.float64)
        slant = np.array([[1, 0, 0], [0, 1, 0], [0, sag / (1 - sag) / h, 1]], np.float64)
        centre = np.array([[1, 0, -w / 2], [0, 1, 0], [0, 0, 1]], np.float64)
        stretch = np.diag([1 / (1 - sag), 1 / (1 - sag) ** 2, 1])
        m = matrix @ stretch @ slant @ centre
        piece = cv2.warpPerspective(tile, m, (w, h), flags=_INVERSE, borderMode=cv2.BORDER_WRAP)
        return np.asarray(piece, np.uint8)
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    affine = np.array([[c, -s, ox], [s, c, oy]], np.float64)
    return np.asarray(cv2.warpAffine(tile, affine, (w, h), flags=_INVERSE, borderMode=cv2.BORDER_WRAP), np.uint8)


def plain_cut(tile: U8, rng: np.random.Generator, h: int, w: int) -> U8:
    """A piece of a tile at its own scale, uint8 [h, w], at most 512 px: a view, hence fast."""
    y, x = (int(v) for v in rng.integers(0, (TILE - h + 1, TILE - w + 1)))
    return tile[y : y + h, x : x + w]
