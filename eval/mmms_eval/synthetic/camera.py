"""The colour camera: what objects look like, how they are lit, and what lens and chip make of it.

Everything here follows only the objects that paint RGB, fog included: an object that hides from the camera
leaves no trace in it. Colours are linear RGB float32, about 0..1, until the last step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from mmms_eval.synthetic.kinds import KINDS, PALETTES
from mmms_eval.synthetic.materials import Look, jittered, sample_look, varied, wild_colour
from mmms_eval.synthetic.sampling import FAR_M, Layout, SceneObject
from mmms_eval.synthetic.scene import F32, U8, SceneConfig
from mmms_eval.synthetic.textures import cut, texture_bank, white_noise
from mmms_eval.synthetic.visibility import I16


@dataclass(frozen=True)
class Conditions:
    """Light, weather and the state of the camera for one scene."""

    night: bool
    sun_xy: tuple[float, float]  # direction of light in the picture, length 0 (overcast) .. 1
    fog_per_m: float
    air_c: float  # temperature of the air
    sun_warmth: float  # -1 (clear night) .. 1 (sunny noon): sign and size of sun-driven temperature differences
    exposure: float  # mean brightness aimed at, linear
    defects: bool


def sample_conditions(rng: np.random.Generator, config: SceneConfig, scene_type: str) -> Conditions:
    """Draws light, weather and camera settings."""
    night = bool(rng.uniform() < config.night_probability) and config.camera_defects
    angle = rng.uniform(0, 2 * np.pi)
    strength = rng.uniform(0.1, 1.0)
    foggy = bool(rng.uniform() < config.fog_probability) and config.camera_defects
    reach = float(np.exp(rng.uniform(np.log(15), np.log(150))))
    outdoor = scene_type in ("street", "landscape")
    air = float(rng.uniform(-5, 30)) if outdoor else float(rng.uniform(10, 28))
    return Conditions(
        night=night,
        sun_xy=(float(strength * np.cos(angle)), float(-abs(strength * np.sin(angle)))),
        fog_per_m=1 / reach if foggy else float(outdoor) * float(rng.uniform(0, 0.002)),
        air_c=air,
        sun_warmth=float(rng.uniform(-0.8, -0.2)) if night else float(rng.uniform(-0.3, 1.0)),
        exposure=float(np.exp(rng.normal(np.log(0.2), 0.4))),
        defects=config.camera_defects,
    )


@lru_cache(maxsize=4096)
def unit_ramp(n: int) -> F32:
    """float32 [n] from -1 to 1; shared, so never written to."""
    return np.linspace(-1, 1, n, dtype=np.float32)


def low(h: int, w: int) -> tuple[int, int]:
    """Size (w, h) of a quarter-resolution field, for things that change slowly."""
    return max(w // 4, 2), max(h // 4, 2)


class Optics:
    """The canvas of everything that follows light: colour, near-infrared, polarisation, optical distance."""

    def __init__(
        self,
        layout: Layout,
        conditions: Conditions,
        config: SceneConfig,
        rng: np.random.Generator,
        top: I16,
        wanted: set[str],
    ) -> None:
        h, w = layout.hw
        self.layout, self.conditions, self.config, self.rng, self.top = layout, conditions, config, rng, top
        self.colour: F32 = np.full((h, w, 3), 0.2, np.float32)
        self.distance: F32 = np.full((h, w), FAR_M, np.float32)
        self.nir: F32 | None = np.full((h, w), 0.4, np.float32) if "nir" in wanted else None
        self.dolp: F32 | None = np.zeros((h, w), np.float32) if wanted & {"aolp", "dolp"} else None
        self.aolp: F32 = np.zeros((h, w) if self.dolp is not None else (1, 1), np.float32)
        self._looks: dict[str, Look] = {}
        self._wild: dict[str, bool] = {}
        names = list(PALETTES)
        self._palette: list[F32] = []
        for _ in range(int(rng.integers(3, 7))):
            anchors = PALETTES[names[rng.integers(len(names))]]
            self._palette.append(
                wild_colour(rng) if rng.uniform() < 0.3 else jittered(rng, anchors[rng.integers(len(anchors))])
            )
        self._scale = layout.side / 256 * float(np.exp(rng.uniform(-0.2, 0.5)))

    def paint(self, index: int, made: SceneObject, distance: F32 | float) -> None:
        """Paints one object, in the part of its box that stays in sight."""
        rng, shape = self.rng, made.shape
        look = self._look(made)
        draws = rng.uniform(size=8)
        seen = (self.top[shape.box] == index).view(np.uint8)
        x, y, w, h = cv2.boundingRect(seen)
        if not w:
            return
        full_h, full_w = shape.alpha.shape
        x0, y0, x1, y1 = max(x - 6, 0), max(y - 6, 0), min(x + w + 6, full_w), min(y + h + 6, full_h)
        part = slice(y0, y1), slice(x0, x1)
        box = slice(shape.y0 + y0, shape.y0 + y1), slice(shape.x0 + x0, shape.x0 + x1)
        alpha, zones, mask = shape.alpha[part], shape.zones[part], shape.mask[part]
        if not made.flat and not made.background and draws[0] < 0.6:
            self._shadow(made, float(draws[1]))
        look = self._apart(look, box, mask, float(draws[2]))
        patch = look.paint(rng, zones)
        patch *= self._shade(made, part, draws)[..., None]
        self._polarise(made, box, mask, patch, look)
        canvas = self.colour[box]
        weight = alpha.astype(np.float32) * np.float32(1 / 255)
        patch -= canvas
        patch *= weight[..., None]
        canvas += patch
        np.copyto(self.distance[box], distance if isinstance(distance, float) else distance[part], where=mask > 0)

    def _look(self, made: SceneObject) -> Look:
        rng, kind = self.rng, KINDS[made.kind]
        own = made.kind in ("person", "car", "truck", "box", "object", "cloth", "picture", "fruit", "sign")
        known = self._looks.get(made.surface if own else made.kind)
        if known is not None and rng.uniform() < (0.3 if own else 0.8):
            return varied(rng, known)
        wild = self._wild.setdefault(made.kind, bool(rng.uniform() < self.config.wild_look_probability))
        look = sample_look(rng, kind, wild, self._palette, self._scale, made.floor and self.layout.horizon >= 0)
        self._looks[made.surface if own else made.kind] = look
        return look

    def _apart(self, look: Look, box: tuple[slice, slice], mask: U8, draw: float) -> Look:
        """Brightens or darkens a look that would vanish before what it covers."""
        under = cv2.mean(self.colour[box], mask)[:3]
        if draw < self.config.low_contrast_probability:
            return look
        own = look.table[64:192:8].mean(0)
        behind = np.sqrt(np.asarray(under, np.float32) + 1e-4)
        least = 0.09 + 0.1 * draw
        if float(np.linalg.norm(np.sqrt(own) - behind)) >= least * 1.7:
            return look
        level, now = float(behind.mean()), float(np.sqrt(own).mean())
        up = now >= level if 0.25 < level < 0.7 else level <= 0.25
        aim = level + least if up else max(level - least, 0.04)
        gain = (aim / max(now, 0.02)) ** 2
        return Look(
            look.tiles,
            look.mix,
            look.zooms,
            look.angle,
            np.clip(look.table * np.float32(gain), 0.001, 1.5),
            look.sag,
        )

    def _shade(self, made: SceneObject, part: tuple[slice, slice], draws: NDArray[np.float64]) -> F32:
        """Light on one object: a ramp, the turn of a round body and slow stains; float32 [h, w] around 1."""
        shape, rng = made.shape, self.rng
        h, w = part[0].stop - part[0].start, part[1].stop - part[1].start
        lw, lh = low(h, w)
        fx, fy = unit_ramp(lw)[None], unit_ramp(lh)[:, None]
        a, b = rng.normal(0, 0.2, 2)
        tiles = texture_bank()[("soft", "relief", "relief", "marble", "noise")[int(draws[3] * 50) % 5]]
        stain = cut(tiles[int(draws[3] * len(tiles))], rng, lh, lw, 0.25 + 0.5 * float(draws[4]))
        field = 1 + np.float32(a) * fx + np.float32(b) * fy
        field = field + (stain.astype(np.float32) - 128) * np.float32(0.0075 * draws[5] * draws[5])
        if shape.round_ and not made.flat:
            body = cv2.resize(shape.mask[part], (lw, lh), interpolation=cv2.INTER_AREA).astype(np.float32)
            sigma = max(min(lw, lh) * (0.08 + 0.12 * float(draws[6])), 0.8)
            body = cv2.GaussianBlur(body, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
            sx, sy = self.conditions.sun_xy
            gain = np.float32(sigma * (0.6 + 1.6 * draws[7]) / 255)
            dx, dy = (
                cv2.Sobel(body, cv2.CV_32F, 1, 0, scale=0.25),
                cv2.Sobel(body, cv2.CV_32F, 0, 1, scale=0.25),
            )
            field = field - gain * (np.float32(sx) * dx + np.float32(sy - 0.3) * dy)
        return np.asarray(cv2.resize(np.clip(field, 0.2, 2.2), (w, h)), np.float32)

    def _shadow(self, made: SceneObject, draw: float) -> None:
        """The shadow of an object on what is behind it: its mask moved away from the light, soft."""
        shape, side = made.shape, self.layout.side
        h, w = shape.alpha.shape
        sx, sy = self.conditions.sun_xy
        reach = (0.1 + 0.5 * draw) * min(h, w) * 0.5
        dx, dy = -sx * reach, abs(sy) * reach * 0.6 + 0.01 * side
        margin = int(reach) + 6
        H, W = self.layout.hw
        x0, y0 = max(shape.x0 - margin, 0), max(shape.y0 - margin, 0)
        x1, y1 = min(shape.x0 + w + margin, W), min(shape.y0 + h + margin, H)
        lw, lh = low(y1 - y0, x1 - x0)
        move = np.array([[0.25, 0, (shape.x0 - x0 + dx) * 0.25], [0, 0.25, (shape.y0 - y0 + dy) * 0.25]])
        small = cv2.warpAffine(shape.mask, move, (lw, lh), flags=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 0.6 + 0.03 * reach)
        dark = cv2.resize(small, (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR)
        depth = (0.2 + 0.5 * draw) * (0.4 if self.conditions.night else 1.0) / 255
        self.colour[y0:y1, x0:x1] *= (1 - dark.astype(np.float32) * np.float32(depth))[..., None]

    def _polarise(self, made: SceneObject, box: tuple[slice, slice], mask: U8, patch: F32, look: Look) -> None:
        """Near-infrared, degree and angle of polarisation, by material; drawn always, painted where asked."""
        kind, (a, b, c, d) = KINDS[made.kind], self.rng.uniform(size=4)
        inside = mask > 0
        if self.nir is not None:
            grey = patch[..., 1]
            mean = max(float(look.table[64:192:8, 1].mean()), 0.02)
            level = kind.nir[0] + (kind.nir[1] - kind.nir[0]) * a
            np.copyto(
                self.nir[box],
                np.float32(level) * (np.float32(0.45) + np.float32(0.55 / mean) * grey),
                where=inside,
            )
        if self.dolp is not None:
            level = kind.dolp[0] + (kind.dolp[1] - kind.dolp[0]) * b
            angle = (0.5 + 0.1 * (c - 0.5)) * np.pi if made.floor else c * np.pi
            h = mask.shape[0]
            ramp = unit_ramp(h)[:, None] * np.float32((d - 0.5) * 0.4)
            np.copyto(self.dolp[box], np.float32(level) / (np.float32(0.5) + patch[..., 1] * 2), where=inside)
            np.copyto(self.aolp[box], np.float32(angle) + ramp, where=inside)


def _illumination(rng: np.random.Generator, hw: tuple[int, int], night: bool) -> F32:
    """Light on the scene, float32 [H, W]: shadows and patches that cross objects, or lamps by night."""
    h, w = hw
    side = min(hw)
    field = np.ones(hw, np.float32)
    for _ in range(int(rng.choice([0, 1, 1, 2, 3]))):
        patch = np.zeros(hw, np.uint8)
        kind = int(rng.integers(3))
        centre = rng.uniform(0, 1, 2) * (w, h)
        if kind == 0:
            tile = texture_bank()["soft" if rng.uniform() < 0.5 else "leaves"][int(rng.integers(3))]
            piece = cut(tile, rng, h, w, rng.uniform(0.7, 2.0) * side / 256, rng.uniform(0, 6.28))
            patch = cv2.threshold(piece, rng.integers(100, 165), 255, cv2.THRESH_BINARY)[1]
        else:
            n = int(rng.integers(3, 6))
            t = np.sort(rng.uniform(0, 2 * np.pi, n))
            r = side * rng.uniform(0.2, 0.9, n) * (1.5 if kind == 1 else 0.6)
            corners = np.stack([centre[0] + r * np.cos(t), centre[1] + r * np.sin(t)], 1)
            cv2.fillPoly(patch, [np.round(corners).astype(np.int32)], 255)
        sigma = float(np.exp(rng.uniform(np.log(0.6), np.log(0.06 * side))))
        if sigma < 3:
            soft = cv2.GaussianBlur(patch, (0, 0), sigma)
        else:
            small = cv2.resize(patch, low(h, w), interpolation=cv2.INTER_AREA)
            soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), (w, h))
        gain = rng.uniform(-0.65, -0.15) if rng.uniform() < 0.7 else rng.uniform(0.2, 1.2)
        field *= 1 + soft.astype(np.float32) * np.float32(gain / 255)
    if night:
        field *= np.float32(rng.uniform(0.03, 0.3))
        yy, xx = np.arange(h, dtype=np.float32)[:, None], np.arange(w, dtype=np.float32)[None]
        for _ in range(int(rng.integers(1, 5))):
            x, y, reach = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0.08, 0.5) * side
            across = np.exp(-((xx - x) ** 2) / np.float32(2 * reach * reach))
            spot = across * np.exp(-((yy - y) ** 2) / np.float32(reach * reach))
            field += spot * np.float32(rng.uniform(0.1, 1.2))
    return field


def _motion_kernel(rng: np.random.Generator, length: float) -> F32:
    n = int(length) | 1
    kernel = np.zeros((n, n), np.uint8)
    a, c = rng.uniform(0, np.pi), n // 2
    d = np.array([np.cos(a), np.sin(a)]) * c
    cv2.line(
        kernel,
        tuple(np.round(c - d).astype(int).tolist()),
        tuple(np.round(c + d).astype(int).tolist()),
        255,
        1,
        cv2.LINE_AA,
    )
    return np.asarray(kernel / max(float(kernel.sum()), 1.0), np.float32)


def take_picture(optics: Optics, conditions: Conditions, rng: np.random.Generator) -> tuple[U8, F32]:
    """The finished picture, uint8 [H, W, 3] RGB, and the light that fell on the scene, float32 [H, W]."""
    config, hw = optics.config, optics.layout.hw
    h, w = hw
    side = min(hw)
    light = _illumination(rng, hw, conditions.night)
    colour = optics.colour * light[..., None]
    if conditions.fog_per_m > 0:
        through = np.exp(optics.distance * np.float32(-conditions.fog_per_m))[..., None]
        air = np.array([0.55, 0.58, 0.62], np.float32) * np.float32(
            rng.uniform(0.6, 1.2) * (0.08 if conditions.night else 1.0)
        )
        colour = colour * through + air * (1 - through)
    if not conditions.defects:
        colour *= np.float32(0.22 / max(float(colour.mean()), 1e-3))
        return np.clip(np.sqrt(np.clip(colour, 0, 1)) * 255 + 0.5, 0, 255).astype(np.uint8), light

    blur = rng.uniform()
    scale = side / 256
    colour = cv2.GaussianBlur(colour, (0, 0), float(rng.uniform(0.3, 0.6)) * max(scale, 0.6))
    if blur < 0.06:
        colour = cv2.filter2D(colour, -1, _motion_kernel(rng, rng.uniform(4, 11) * scale))
    elif blur < 0.14:
        colour = cv2.GaussianBlur(colour, (0, 0), float(rng.uniform(0.8, 2.2)) * scale)
    mean = max(float(colour.mean()), 1e-3)
    colour *= np.float32(conditions.exposure * (0.45 if conditions.night else 1.0) / mean)
    cast = np.exp(
        rng.normal(0, 0.08, 3) + (np.array([-0.1, 0, 0.15]) if conditions.night and rng.uniform() < 0.5 else 0)
    )
    colour *= cast.astype(np.float32)
    if rng.uniform() < 0.3:
        yy = np.linspace(-1, 1, h, dtype=np.float32)[:, None] ** 2
        xx = np.linspace(-1, 1, w, dtype=np.float32)[None] ** 2
        colour *= (1 - np.float32(rng.uniform(0.1, 0.45)) * (yy + xx) / 2)[..., None]
    np.maximum(colour, 0, out=colour)
    if rng.uniform() < 0.7:  # shoulder of a film curve rather than a hard clip
        colour = colour * (1 + colour * np.float32(0.25)) / (1 + colour)
        colour *= np.float32(1.25)
    shown = cv2.sqrt(np.minimum(colour, 1.0, out=colour))
    grain = float(np.exp(rng.uniform(np.log(0.002), np.log(0.022)))) * (2.0 if conditions.night else 1.0)
    noise = cv2.merge([white_noise(rng, h, w) for _ in range(3)])
    common = white_noise(rng, h, w)
    if rng.uniform() < 0.5:
        noise = cv2.GaussianBlur(noise, (0, 0), 0.7) * np.float32(2.0)
    shown += (noise * np.float32(0.6) + common[..., None] * np.float32(0.8)) * np.float32(grain)
    if rng.uniform() < 0.5:  # sharpening in the camera
        soft = cv2.GaussianBlur(shown, (0, 0), 1.0 * max(scale, 0.7))
        shown = shown + (shown - soft) * np.float32(rng.uniform(0.3, 1.2))
    stretch = float(rng.uniform(0, 1))  # automatic levels, all the way to none
    dark, bright = np.quantile(shown[::8, ::8], (0.02, 0.98))
    gain = (0.92 / max(float(bright - dark), 0.25)) ** stretch
    pivot = np.float32(dark)
    shown = (shown - pivot) * np.float32(gain) + pivot * np.float32(1 - stretch) + np.float32(0.03 * stretch)
    image = np.clip(shown * 255 + 0.5, 0, 255).astype(np.uint8)
    if rng.uniform() < config.grey_probability:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.uniform() < config.jpeg_probability:
        quality = int(rng.integers(30, 95))
        image = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return image, light
