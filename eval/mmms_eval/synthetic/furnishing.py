"""What stands and lies in many kinds of scenes: compounds on the ground, windows, thin things, patches."""

from __future__ import annotations

import numpy as np

from mmms_eval.synthetic import compounds, shapes
from mmms_eval.synthetic.compounds import COMPOUNDS
from mmms_eval.synthetic.sampling import Layout
from mmms_eval.synthetic.shapes import Pen


def spread(layout: Layout, kinds: tuple[str, ...], count: int, size_m: dict[str, tuple[float, float]]) -> None:
    """Compounds on the ground plane, far ones first; sizes in metres follow from the distance."""
    h, w = layout.hw
    focal = 0.9 * h
    rows = np.sort(layout.horizon + (h * 1.08 - layout.horizon) * layout.rng.beta(1.1, 1.3, count))
    for y in rows:
        kind = layout.pick(*kinds)
        low, high = size_m.get(kind, (0.5, 2.0))
        size = np.clip(focal * layout.uniform(low, high) / layout.ground_m(float(y)), 0.03 * h, 1.1 * h)
        x = layout.uniform(-0.05, 1.05) * w
        if kind in COMPOUNDS:
            layout.stand(kind, x, float(y), float(size))
        elif kind == "bark":
            layout.add(
                kind,
                compounds.branches(layout.rng, layout.hw, x, float(y), float(size)),
                layout.ground_m(float(y)),
            )
        else:
            layout.free(
                kind,
                x,
                float(y) - size / 2,
                size * layout.uniform(0.3, 0.8),
                size / 2,
                layout.ground_m(float(y)),
            )


SIZES_M = {
    "person": (1.5, 2.0), "car": (1.3, 1.8), "truck": (2.6, 3.6), "tree": (4, 9), "bicycle": (1.0, 1.3),
    "animal": (0.5, 2.0), "plant": (0.5, 1.6), "box": (0.3, 1.2), "furniture": (0.5, 1.2), "rock": (0.3, 2.0),
    "vegetation": (0.6, 3.0), "bark": (4, 8), "fruit": (0.1, 0.4), "cloth": (0.3, 1.2), "object": (0.3, 1.6),
}  # fmt: skip


def windows(layout: Layout, x0: float, y0: float, x1: float, y1: float, distance_m: float) -> None:
    """A grid of windows as one disconnected surface on a wall."""
    columns, rows = int(layout.rng.integers(1, 6)), int(layout.rng.integers(1, 5))
    pen, fx, fy = Pen(layout.hw), layout.uniform(0.2, 0.38), layout.uniform(0.2, 0.38)
    cw, ch = (x1 - x0) / columns, (y1 - y0) / rows
    if min(cw * fx, ch * fy) < 2.0:
        return
    for i in range(columns):
        for j in range(rows):
            cx, cy = x0 + (i + 0.5) * cw, y0 + (j + 0.5) * ch
            pen.fill(shapes.rectangle(cx, cy, cw * fx, ch * fy))
            if layout.chance(0.4):
                pen.fill(shapes.rectangle(cx, cy + ch * fy * 0.4, cw * fx, ch * fy * 0.5), 1)
    layout.add("window", pen.shape(), distance_m, flat=True)


def thin_things(layout: Layout) -> None:
    """Poles, wires, signs and fences."""
    h, w = layout.hw
    rng, side = layout.rng, layout.side
    for _ in range(int(rng.integers(0, 4))):
        y = layout.uniform(max(layout.horizon, 0.35 * h), 1.05 * h)
        x, z = layout.uniform(0, w), layout.ground_m(y)
        high = float(np.clip(0.9 * h * layout.uniform(2.5, 7) / z, 0.15 * h, 1.5 * h))
        width = max(high * layout.uniform(0.012, 0.035), 1.6)
        pole = Pen(layout.hw).line(np.array([[x, y], [x + rng.normal(0, 0.01) * high, y - high]]), width)
        if layout.chance(0.4):
            arm = float(rng.choice([-1, 1])) * high * layout.uniform(0.1, 0.3)
            pole.line(np.array([[x, y - high], [x + arm, y - high * 1.02]]), width * 0.8)
        layout.add("pole", pole.shape(), z)
        if layout.chance(0.5):
            r = max(high * layout.uniform(0.05, 0.1), 3.5)
            kind = layout.pick("sign", "sign", "lamp")
            n = int(rng.choice([3, 4, 8, 24]))
            outline = shapes.ellipse(x, y - high * layout.uniform(0.7, 1), r, r * layout.uniform(0.7, 1.4), 0.0, n)
            made = Pen(layout.hw).fill(outline).shape()
            layout.add(kind, made and shapes.zoned(rng, made), z * 0.97)
    if layout.chance(0.3):
        pen, y = Pen(layout.hw), layout.uniform(0.02, 0.4) * h
        for _ in range(int(rng.integers(1, 5))):
            ends = np.array([[-5.0, y + rng.normal(0, 0.05) * h], [w + 5.0, y + rng.normal(0, 0.15) * h]])
            t = np.linspace(0, 1, 30)[:, None]
            sag = np.array([[0.0, layout.uniform(0.02, 0.15) * h]])
            pen.line(
                ends[0] + t * (ends[1] - ends[0]) + 4 * t * (1 - t) * sag,
                layout.uniform(1.0, 2.4) * side / 256,
            )
        layout.add("wire", pen.shape(), layout.uniform(5, 30))
    if layout.chance(0.3):
        y = layout.uniform(max(layout.horizon, 0.4 * h), h)
        rx, ry = layout.uniform(0.15, 0.6) * w, layout.uniform(0.05, 0.2) * h
        layout.add(
            "fence",
            compounds.lattice(rng, layout.hw, layout.uniform(0, w), y - ry, rx, ry),
            layout.ground_m(y),
        )


def ground_patches(layout: Layout, kinds: tuple[str, ...], count: int) -> None:
    """Flat things on the ground: puddles, leaves, markings, snow."""
    h, w = layout.hw
    for _ in range(count):
        kind = layout.pick(*kinds)
        y = layout.uniform(layout.horizon + 0.15 * (h - layout.horizon), h)
        x, size = (
            layout.uniform(0, w),
            layout.uniform(0.06, 0.4) * w * (y - layout.horizon) / max(h - layout.horizon, 1),
        )
        pen = Pen(layout.hw)
        if kind == "marking":
            top = max(layout.horizon + 2, y - layout.uniform(0.2, 0.9) * (h - layout.horizon))
            vx = w / 2 + layout.rng.normal(0, 0.2) * w
            line = np.array([[x, y], [vx + (x - vx) * (top - layout.horizon) / max(y - layout.horizon, 1), top]])
            wide = max(size * 0.15, 1.6)
            pieces = int(layout.rng.integers(1, 5))
            for k in range(pieces):
                a, b = k / pieces, (k + layout.uniform(0.4, 0.95)) / pieces
                piece = line[0] + np.linspace(a, b, 6)[:, None] * (line[1] - line[0])
                pen.fill(shapes.ribbon(piece, wide * (1.05 - 0.8 * a), wide * (1.05 - 0.8 * b)))
            shape = pen.shape()
        else:
            shape = pen.fill(shapes.blob(layout.rng, x, y, size, size * layout.uniform(0.2, 0.5), 0.4)).shape()
            if shape is not None and kind in ("leaves", "snow", "grass"):
                shape = shapes.speckled(
                    layout.rng,
                    shape,
                    layout.uniform(0.35, 0.8),
                    layout.pick("leaves", "noise", "foliage"),
                    layout.uniform(0.5, 1.0),
                )
        layout.add(kind, shape, layout.ground_m(y), flat=True)
