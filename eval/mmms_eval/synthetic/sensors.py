"""The other sensors: thermal, depth, near-infrared, events, lidar, HHA and polarisation."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmms_eval.synthetic.camera import Conditions, Optics, low, unit_ramp
from mmms_eval.synthetic.kinds import KINDS
from mmms_eval.synthetic.sampling import FAR_M, MOST_M, Layout, SceneObject
from mmms_eval.synthetic.scene import F32, U8
from mmms_eval.synthetic.textures import cut, texture_bank, white_noise
from mmms_eval.synthetic.visibility import Role

NEAREST_M = 0.35
_CROSS = np.ones((3, 3), np.uint8)


def _rim(mask: U8) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Rows and columns of up to about 100 pixels along the inner border of a mask."""
    points = cv2.findNonZero(cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, _CROSS) & mask)
    if points is None:
        points = cv2.findNonZero(mask)
    points = points[:: max(len(points) // 100, 1), 0]
    return points[:, 1], points[:, 0]


def _ramp(h: int, w: int, right: float, down: float) -> F32:
    fx, fy = unit_ramp(w)[None] * np.float32(right), unit_ramp(h)[:, None] * np.float32(down)
    return np.asarray(np.float32(1) + fx + fy, np.float32)


class Ranging:
    """True distance of everything that paints depth, float32 [H, W] metres; the sky is :data:`FAR_M`."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout, self.rng = layout, rng
        self.distance: F32 = np.full(layout.hw, FAR_M, np.float32)
        self._rows = np.arange(layout.hw[0], dtype=np.float32)

    def paint(self, made: SceneObject, role: Role) -> F32 | float:
        """Paints one object and returns its distance over its box (or one number), for fog."""
        shape, draws = made.shape, self.rng.uniform(size=6)
        h, w = shape.alpha.shape
        if made.distance_m >= FAR_M:
            return FAR_M
        canvas = self.distance[shape.box]
        distance: F32
        if made.floor and role.rgb:
            layout = self.layout
            rows = np.maximum(self._rows[shape.y0 : shape.y0 + h] - layout.horizon, 1.0)
            plane = np.clip(made.distance_m * (layout.hw[0] - layout.horizon) / rows, 0, MOST_M)
            distance = np.ascontiguousarray(np.broadcast_to(plane[:, None], (h, w)), np.float32)
        else:
            ys, xs = _rim(shape.mask)
            behind = np.sort(canvas[ys, xs])
            near = float(behind[len(behind) // 20]) if len(behind) else FAR_M
            ratio = 0.62 + 0.26 * float(draws[0])  # at least 12 % nearer than what it hides, where it must show
            z = min(made.distance_m, near * (ratio if not role.rgb else 0.98))
            if not role.rgb and z < NEAREST_M:  # no room in front: a hole instead
                z = max(float(behind[-1 - len(behind) // 20]), NEAREST_M) * 1.4
            z = float(np.clip(z, NEAREST_M, MOST_M))
            tilt = np.clip(made.slant, -0.03, 0.03) if not role.rgb else np.asarray(made.slant)
            distance = _ramp(h, w, float(tilt[0]), float(tilt[1])) * np.float32(z)
            if shape.round_ and role.rgb:
                lw, lh = low(h, w)
                body = cv2.resize(shape.mask, (lw, lh), interpolation=cv2.INTER_AREA).astype(np.float32)
                body = cv2.GaussianBlur(body, (0, 0), max(min(lw, lh) * 0.12, 0.8))
                bump = cv2.resize(body, (w, h)) * np.float32(0.06 * (0.3 + draws[1]) / 255)
                distance *= 1 - bump
        if role.depth:
            np.copyto(canvas, distance, where=shape.mask > 0)
        return distance

    def picture(self, rng: np.random.Generator) -> F32:
        """What a depth camera gives: float32 [H, W] m, noisier afar, NaN in holes and often in the sky."""
        h, w = self.layout.hw
        true = self.distance
        rate = float(np.exp(rng.uniform(np.log(0.0005), np.log(0.006))))
        limit = float(np.quantile(true[::8, ::8], 0.5))
        noise = white_noise(rng, h, w)
        depth = true + noise * true * np.minimum(true / np.float32(max(limit, 1.0)), 2.0) * np.float32(rate)
        depth = np.clip(depth, 0.3, MOST_M * 1.05).astype(np.float32)
        if rng.uniform() < 0.3:
            depth = cv2.medianBlur(depth, 3)
        holes = true >= FAR_M
        if rng.uniform() < 0.25:
            depth[holes] = 120.0
            holes = np.zeros_like(holes)
        if rng.uniform() < 0.6:  # specks without a return
            tile = cut(texture_bank()["noise"][int(rng.integers(6))], rng, h, w, rng.uniform(0.5, 1.5))
            holes = holes | (tile > rng.integers(225, 252))
        if rng.uniform() < 0.35:  # shadow of the projector at steps of distance
            shift = int(rng.integers(1, 4))
            step = np.zeros_like(holes)
            step[:, shift:] = true[:, :-shift] < true[:, shift:] * np.float32(0.8)
            holes = holes | step
        depth[holes] = np.nan
        return np.asarray(depth, np.float32)


class Warmth:
    """Temperature of everything that paints thermal, float32 [H, W] degrees Celsius."""

    def __init__(self, layout: Layout, conditions: Conditions, rng: np.random.Generator) -> None:
        self.layout, self.conditions, self.rng = layout, conditions, rng
        self.field: F32 = np.full(layout.hw, conditions.air_c, np.float32)
        self._known: dict[str, float] = {}
        self._spread = float(rng.uniform(0.5, 1.4))

    def paint(self, made: SceneObject, must_differ: bool) -> None:
        """Paints one object. ``must_differ``: no other sensor, or none but RGB, shows its border."""
        rng, shape, kind = self.rng, made.shape, KINDS[made.kind]
        draws, wobble = rng.uniform(size=6), rng.normal(size=4)
        h, w = shape.alpha.shape
        air, canvas = self.conditions.air_c, self.field[shape.box]
        warmth = kind.warmth[0] + (kind.warmth[1] - kind.warmth[0]) * float(draws[0])
        if kind.absolute:
            middle = warmth
        else:
            sun = kind.sunlit * self.conditions.sun_warmth + (1 - kind.sunlit)
            middle = air + warmth * self._spread * sun
        middle = self._known.setdefault(made.kind, middle) * 0.7 + middle * 0.3
        inner = 0.4 + 1.2 * float(draws[1])
        ys, xs = _rim(shape.mask)
        behind = np.sort(canvas[ys, xs]) if len(ys) else np.array([air], np.float32)
        if must_differ or draws[2] < 0.6:
            least = 3.0 + 7.0 * float(draws[3]) if must_differ else 1.0 + 2.0 * float(draws[3])
            middle = _clear_of(behind, middle, least, float(draws[4]))
            inner = min(inner, least / 6)
        tile = cut(texture_bank()["soft"][int(draws[5] * 4)], rng, *low(h, w)[::-1], 0.4)
        patch = cv2.resize((tile.astype(np.float32) - 128) * np.float32(inner / 90), (w, h))
        patch += (_ramp(h, w, wobble[0] * 0.4, wobble[1] * 0.4) - 1) * np.float32(inner)
        patch += np.float32(middle)
        if not must_differ and kind.hot_spots and rng.uniform() < kind.hot_spots:
            self._heat(patch, shape.zones, made.kind)
        if shape.zones.any() and not must_differ:
            parts = np.concatenate([[0.0], rng.normal(0, inner, 3)]).astype(np.float32)
            patch += parts[shape.zones]
        np.copyto(canvas, patch, where=shape.mask > 0)

    def _heat(self, patch: F32, zones: U8, kind: str) -> None:
        """Faces and hands, or an engine, a lamp, a brake."""
        h, w = patch.shape
        if kind == "person":
            clothed = zones != 2
            patch[clothed] -= np.float32(
                self.rng.uniform(0.2, 0.6) * max(float(patch.mean()) - self.conditions.air_c, 0)
            )
            return
        x, y, r = (
            self.rng.uniform(0, w),
            self.rng.uniform(0.3, 1) * h,
            self.rng.uniform(0.1, 0.35) * max(h, w),
        )
        gx = np.exp(-((np.arange(w, dtype=np.float32) - x) ** 2) / np.float32(2 * r * r))
        gy = np.exp(-((np.arange(h, dtype=np.float32) - y) ** 2) / np.float32(2 * r * r))
        patch += gy[:, None] * gx[None] * np.float32(self.rng.uniform(4, 25))

    def picture(self, rng: np.random.Generator) -> F32:
        """What a thermal camera gives, float32 [H, W] degrees Celsius: blurred, noisy, slightly uneven."""
        h, w = self.layout.hw
        scale = min(h, w) / 256
        field = cv2.GaussianBlur(self.field, (0, 0), float(rng.uniform(0.4, 1.3)) * max(scale, 0.6))
        field += white_noise(rng, h, w) * np.float32(np.exp(rng.uniform(np.log(0.03), np.log(0.35))))
        field += white_noise(rng, 1, w) * np.float32(rng.uniform(0, 0.15))
        uneven = cut(texture_bank()["soft"][3], rng, *low(h, w)[::-1], 0.3)
        field += cv2.resize(uneven.astype(np.float32) - 128, (w, h)) * np.float32(rng.uniform(0, 0.004))
        return np.asarray(field, np.float32)


def _clear_of(behind: F32, wish: float, least: float, draw: float) -> float:
    """The value nearest to a wish that is ``least`` away from nine tenths of what is behind."""
    tries = [wish]
    for level in (behind[len(behind) // 2], behind[len(behind) // 10], behind[-1 - len(behind) // 10]):
        tries += sorted((float(level) + least, float(level) - least), key=lambda v: abs(v - wish) * (0.5 + draw))
    scores = []
    for value in tries:
        gaps = np.sort(np.abs(behind - value))
        scores.append(float(gaps[len(gaps) // 10]))
        if scores[-1] >= least * 0.95:
            return value
    return tries[int(np.argmax(scores))]


def nir_picture(optics: Optics, light: F32, rng: np.random.Generator) -> F32:
    """Near-infrared, float32 [H, W] 0..1: bright leaves, black water; lit like the picture, without haze."""
    assert optics.nir is not None
    h, w = optics.layout.hw
    field = optics.nir * (np.float32(0.3) + np.float32(0.7) * light)
    field = field * np.float32(0.45 / max(float(field.mean()), 0.02))
    field = cv2.GaussianBlur(field, (0, 0), 0.7) + white_noise(rng, h, w) * np.float32(rng.uniform(0.004, 0.03))
    return np.asarray(np.clip(field, 0, 1), np.float32)


def event_picture(optics: Optics, light: F32, rng: np.random.Generator) -> F32:
    """Events as a picture, float32 [H, W, 3] 0..255: red where brighter, blue where darker, else black.

    The change follows from the gradient of the logarithm of brightness and a small motion of the camera.
    """
    h, w = optics.layout.hw
    grey = cv2.GaussianBlur(optics.colour[..., 1] * light, (0, 0), 0.8)
    shade = np.log(grey + np.float32(0.02))
    angle, zoom = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.6)
    near = np.sqrt(np.float32(8.0) / (optics.distance + np.float32(2.0)))
    fx = (np.float32(np.cos(angle)) + np.float32(zoom) * unit_ramp(w)[None]) * near
    fy = (np.float32(np.sin(angle)) + np.float32(zoom) * unit_ramp(h)[:, None]) * near
    change = cv2.Sobel(shade, cv2.CV_32F, 1, 0, scale=0.125) * fx + cv2.Sobel(shade, cv2.CV_32F, 0, 1, scale=0.125) * fy
    change += white_noise(rng, h, w) * np.float32(rng.uniform(0.005, 0.03))
    level = np.float32(max(float(np.quantile(np.abs(change[::4, ::4]), rng.uniform(0.75, 0.93))), 0.02))
    out = np.zeros((h, w, 3), np.float32)
    out[..., 0] = (change > level) * np.float32(255)
    out[..., 2] = (change < -level) * np.float32(255)
    return out


def lidar_picture(distance: F32, rng: np.random.Generator) -> F32:
    """Projected lidar points, float32 [H, W, 3] 0..255: scan lines, colour by distance, black elsewhere."""
    h, w = distance.shape
    lines = int(rng.choice([32, 48, 64, 96]))
    rows = np.unique((np.linspace(rng.uniform(0, 0.3), 1, lines) * (h - 1)).astype(int))
    step = int(rng.integers(1, 4))
    out = np.zeros((h, w, 3), np.float32)
    wave = (white_noise(rng, 1, w)[0] * 0.3).round().astype(int)
    columns = np.arange(int(rng.integers(step)), w, step)
    yy = np.clip(rows[:, None] + wave[None, columns], 0, h - 1)
    xx = np.broadcast_to(columns[None], yy.shape)
    z = distance[yy, xx]
    kept = (z < 120) & (rng.uniform(size=z.shape) > 0.08)
    near = np.clip(1 - np.log(np.maximum(z, 0.5) / 0.5) / np.log(240), 0, 1)
    colours = cv2.cvtColor(cv2.applyColorMap((near * 255).astype(np.uint8), cv2.COLORMAP_JET), cv2.COLOR_BGR2RGB)
    out[yy[kept], xx[kept]] = colours[kept]
    return out


def hha_picture(depth: F32, layout: Layout) -> F32:
    """Disparity, height above the lowest point and angle to gravity of a depth map, float32 [H, W, 3] 0..255.

    0 where the depth map has no value.
    """
    h = depth.shape[0]
    known = np.isfinite(depth)
    z = np.where(known, depth, np.float32(MOST_M)).astype(np.float32)
    smooth = cv2.blur(z, (5, 5))
    focal = np.float32(0.9 * h)
    rows = np.arange(h, dtype=np.float32)[:, None] - np.float32(max(layout.horizon, 0))
    height = -rows * smooth / focal
    floor = float(np.quantile(height[::4, ::4], 0.02))
    disparity = np.float32(255) / cv2.sqrt(np.maximum(z, 1.0))
    dx, dy = (
        cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125),
        cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125),
    )
    pixel = smooth / focal
    length = np.sqrt(dx * dx + dy * dy + pixel * pixel)
    across = np.sqrt(np.maximum(length * length - dy * dy, 0))
    angle = cv2.phase(-dy, across) * np.float32(255 / np.pi)
    out = cv2.merge([disparity, np.clip((height - np.float32(floor)) * 25, 0, 255), angle])
    out[~known] = 0
    return np.asarray(out, np.float32)


def polarisation(optics: Optics, rng: np.random.Generator) -> tuple[F32, F32]:
    """Angle of linear polarisation as (sin, cos), float32 [H, W, 2] with cos >= 0, and its degree.

    The degree is float32 [H, W] in 0..1.
    """
    assert optics.dolp is not None
    h, w = optics.layout.hw
    degree = cv2.min(cv2.max(optics.dolp + white_noise(rng, h, w) * np.float32(0.02), 0), 1)
    unsure = np.float32(0.04) / (degree + np.float32(0.05))
    angle = optics.aolp + white_noise(rng, h, w) * unsure
    cosine, sine = cv2.polarToCart(np.ones_like(angle), angle)
    sine[cosine < 0] *= -1  # the same line, named by the angle in [-90, 90] degrees
    return cv2.merge([sine, np.abs(cosine)]), np.asarray(degree, np.float32)
