"""Things made of several pieces, and free outlines.

A compound is drawn by (random numbers, picture size, x of its middle, y of its base, height), all in px.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mmms_eval.synthetic.shapes import (
    Pen,
    Shape,
    blob,
    curve,
    ellipse,
    haired,
    polygon,
    rectangle,
    ribbon,
    roughened,
    superellipse,
    union,
    zoned,
)

Compound = Callable[[np.random.Generator, tuple[int, int], float, float, float], "Shape | None"]


def person(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """Head, trunk, arms and legs; zones: 0 coat, 1 trousers, 2 skin, 3 hair."""
    pen, lean, stride = Pen(hw), rng.normal(0, 0.04) * size, rng.uniform(0.02, 0.16) * size
    wide = rng.uniform(0.11, 0.16) * size
    hip, neck, head = y - 0.48 * size, y - 0.83 * size, y - 0.92 * size
    for side in (-1, 1):
        knee = x + side * stride * rng.uniform(0.2, 1.2)
        leg = np.array([[x + side * 0.04 * size, hip], [knee, y - 0.25 * size], [x + side * stride, y]])
        pen.line(leg, 0.09 * size, 1)
        hand = [x + lean + side * rng.uniform(0.1, 0.28) * size, hip - rng.uniform(-0.08, 0.2) * size]
        elbow = [x + lean + side * (wide + 0.03 * size), neck + 0.17 * size]
        pen.line(np.array([[x + lean + side * wide * 0.8, neck + 0.05 * size], elbow, hand]), 0.06 * size, 0)
        pen.fill(ellipse(hand[0], hand[1], 0.025 * size, 0.03 * size, n=10), 2)
    trunk = [[-wide, 0.04], [-0.6 * wide, 0], [0.6 * wide, 0], [wide, 0.04]]
    top = [[x + lean + px, neck + py * size] for px, py in trunk]
    flare = rng.uniform(0.7, 1.2) * wide
    pen.fill(np.array([*top, [x + flare, hip + 0.05 * size], [x - flare, hip + 0.05 * size]]), 0)
    pen.fill(ellipse(x + lean, head, 0.055 * size, 0.075 * size, n=20), 2)
    pen.fill(ellipse(x + lean, head - 0.035 * size, 0.06 * size, 0.05 * size, n=16), 3)
    return pen.shape(round_=True)


def car(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """Side or rear view; zones: 0 paint, 1 glass, 2 rubber, 3 lamps."""
    pen = Pen(hw)
    if rng.uniform() < 0.6:
        length, flip = size * rng.uniform(2.2, 3.2), rng.choice([-1.0, 1.0])
        roof = np.array([[-0.5, 0.25], [-0.5, 0.55], [-0.33, 0.6], [-0.2, 1.0], [0.18, 1.0], [0.33, 0.62], [0.5, 0.5]])
        roof[3:5, 0] += rng.normal(0, 0.06, 2)
        body = np.concatenate([roof, [[0.5, 0.2], [-0.5, 0.2]]])
        pen.fill(np.stack([x + flip * body[:, 0] * length, y - body[:, 1] * size], 1), 0)
        glass = np.array([[-0.27, 0.64], [-0.17, 0.92], [0.15, 0.92], [0.25, 0.64]])
        pen.fill(np.stack([x + flip * glass[:, 0] * length, y - glass[:, 1] * size], 1), 1)
        for at in (-0.3, 0.3):
            pen.fill(ellipse(x + at * length, y - 0.2 * size, 0.2 * size, 0.2 * size, n=22), 2)
        pen.fill(rectangle(x + flip * 0.47 * length, y - 0.42 * size, 0.025 * length, 0.06 * size), 3)
        return pen.shape()
    half = size * rng.uniform(0.5, 0.75)
    for side in (-1, 1):
        pen.fill(rectangle(x + side * half * 0.75, y - 0.1 * size, 0.14 * half, 0.1 * size), 2)
    pen.fill(superellipse(x, y - 0.35 * size, half, 0.25 * size, 4), 0)
    cabin = np.array([[-0.85, 0.5], [-0.62, 1.0], [0.62, 1.0], [0.85, 0.5]])
    pen.fill(np.stack([x + cabin[:, 0] * half, y - cabin[:, 1] * size], 1), 0)
    pen.fill(np.stack([x + cabin[:, 0] * half * 0.85, y - (cabin[:, 1] * 0.85 + 0.1) * size], 1), 1)
    for side in (-1, 1):
        pen.fill(rectangle(x + side * half * 0.8, y - 0.42 * size, 0.12 * half, 0.05 * size), 3)
    return pen.shape()


def truck(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """A long box with a cabin or a row of windows; zones: 0 box, 1 glass, 2 rubber, 3 cabin."""
    pen, half, side = Pen(hw), size * rng.uniform(0.8, 1.3), float(rng.choice([-1.0, 1.0]))
    pen.fill(rectangle(x, y - 0.57 * size, half, 0.43 * size), 0)
    if rng.uniform() < 0.5:
        n = int(rng.integers(3, 8))
        for k in range(n):
            at = x + half * (2 * (k + 0.5) / n - 1)
            pen.fill(rectangle(at, y - 0.7 * size, 0.75 * half / n, 0.14 * size), 1)
    else:
        cab = x + side * (half + 0.2 * size)
        pen.fill(rectangle(cab, y - 0.43 * size, 0.22 * size, 0.32 * size), 3)
        pen.fill(rectangle(cab + side * 0.03 * size, y - 0.55 * size, 0.15 * size, 0.12 * size), 1)
    for at in (-0.7, 0.6, 0.85):
        pen.fill(ellipse(x + at * half, y - 0.11 * size, 0.13 * size, 0.13 * size, n=20), 2)
    return pen.shape()


def tree(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """A trunk (zone 1) and a crown of many blobs with an outline eaten by leaves."""
    pen, wide = Pen(hw), rng.uniform(0.015, 0.05) * size
    crown_y, spread = y - 0.68 * size, rng.uniform(0.14, 0.32) * size
    for _ in range(int(rng.integers(4, 10))):
        cx, cy = x + rng.normal(0, spread * 0.55), crown_y + rng.normal(0, 0.13 * size)
        pen.fill(blob(rng, cx, cy, rng.uniform(0.35, 0.7) * spread, rng.uniform(0.3, 0.6) * spread))
    shape = pen.shape(round_=True)
    crown = shape and roughened(rng, shape, 0.06 * size + 1, hw, "foliage")
    line = curve(rng, np.array([x, y]), np.array([x, crown_y]), 0.03)
    trunk = Pen(hw).fill(ribbon(line, wide * 1.5 + 1.5, wide * 0.7 + 1.0), 1).shape()
    if crown is None or trunk is None:
        return crown or trunk
    return union(trunk, crown)


def bicycle(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """Two thin wheels and a frame."""
    pen, r, width = Pen(hw), 0.3 * size, max(0.035 * size, 1.3)
    left, right, seat, bar = (
        np.add(p, (x, y))
        for p in (
            [-0.45 * size, -r],
            [0.45 * size, -r],
            [-0.15 * size, -0.75 * size],
            [0.3 * size, -0.8 * size],
        )
    )
    for centre in (left, right):
        ring = ellipse(centre[0], centre[1], r, r, n=28)
        pen.line(np.concatenate([ring, ring[:1]]), width, 1)
    pen.line(np.array([left, seat, bar, right]), width).line(np.array([seat, (left + right) / 2, bar]), width)
    pen.line(np.array([bar, np.add(bar, (0.1 * size, -0.05 * size))]), width)
    pen.fill(ellipse(seat[0], seat[1] - 0.03 * size, 0.12 * size, 0.035 * size, n=14), 2)
    return pen.shape()


def animal(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """Trunk, neck, head, four legs and a tail in one outline; often hairy."""
    pen, flip, long = Pen(hw), float(rng.choice([-1.0, 1.0])), rng.uniform(0.5, 0.9) * size
    back = y - rng.uniform(0.5, 0.7) * size
    pen.fill(blob(rng, x, back, long * 0.75, 0.24 * size, 0.12) * 1.0)
    pen.fill(ellipse(x, back, long * 0.75, 0.22 * size))
    for at in (-0.6, -0.45, 0.45, 0.6):
        foot = x + at * long + rng.normal(0, 0.05) * size
        pen.line(np.array([[x + at * long, back], [foot, y - 0.2 * size], [foot, y]]), 0.09 * size, 0)
    head = np.array([x + flip * (long * 0.95), back - rng.uniform(0.0, 0.35) * size])
    pen.line(np.array([[x + flip * long * 0.6, back], head]), 0.17 * size, 0)
    pen.fill(ellipse(head[0], head[1], 0.16 * size, 0.1 * size, flip * rng.uniform(0, 0.6)), 1)
    tail = curve(
        rng,
        np.array([x - flip * long * 0.7, back]),
        np.array([x - flip * long * 1.05, back + 0.2 * size]),
        0.2,
    )
    pen.line(tail, 0.05 * size, 0)
    shape = pen.shape(round_=True)
    if shape is not None and rng.uniform() < 0.6:
        return haired(rng, shape, 0.05 * size + 1, hw)
    return shape


def plant(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """Long leaves from one root, now and then in a pot (zone 1)."""
    pen, root = Pen(hw), np.array([x, y - 0.25 * size])
    for _ in range(int(rng.integers(6, 18))):
        tip = np.add(root, (rng.normal(0, 0.3) * size, -abs(rng.normal(0.45, 0.2)) * size))
        line = curve(rng, root, tip, 0.15, 10)
        pen.fill(ribbon(line, rng.uniform(0.03, 0.1) * size, 0.5))
    if rng.uniform() < 0.7:
        pot = np.array([[-0.17, -0.27], [0.17, -0.27], [0.12, 0], [-0.12, 0]]) * size + (x, y)
        pen.fill(pot, 1)
    return pen.shape()


def box(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """A cuboid seen from above the edge; zones are its three faces."""
    wide, deep = rng.uniform(0.3, 0.9) * size, rng.uniform(0.1, 0.4) * size
    slant, split = rng.uniform(-0.3, 0.3) * size, rng.uniform(-0.6, 0.6) * wide
    high = size - deep
    top = np.array([[x - wide, y - high], [x + split, y - high + 0.1 * size], [x + wide, y - high]])
    back = np.array([[x - split + slant, y - high - deep]])
    down = np.array([[0.0, high * 0.95]])
    pen = Pen(hw).fill(np.concatenate([top, back]), 0)
    pen.fill(np.concatenate([top[:2], (top[:2] + down)[::-1]]), 1)
    pen.fill(np.concatenate([top[1:], (top[1:] + down)[::-1]]), 2)
    return pen.shape()


def seat(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """Chair, table or bed frame: boards (zones 0, 1) and thin legs."""
    pen, half, plate = Pen(hw), rng.uniform(0.35, 1.0) * size, y - rng.uniform(0.35, 0.7) * size
    slant = rng.uniform(0.05, 0.25) * size
    for at in (-0.9, 0.9):
        for dy in (0, -slant):
            pen.line(np.array([[x + at * half, plate + dy * 0.5], [x + at * half * 0.97, y + dy]]), 0.05 * size, 2)
    if rng.uniform() < 0.6:
        pen.fill(rectangle(x, y - 0.8 * size, half * 0.9, 0.2 * size), 1)
    quad = np.array([[-1, 0], [1, 0], [0.85, -1], [-0.85, -1]]) * (half, slant) + (x, plate)
    pen.fill(quad, 0).line(quad[:2], 0.06 * size, 1)
    return pen.shape()


COMPOUNDS: dict[str, Compound] = {
    "person": person, "car": car, "truck": truck, "tree": tree, "bicycle": bicycle, "animal": animal,
    "plant": plant, "box": box, "furniture": seat,
}  # fmt: skip


def generic(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, rx: float, ry: float) -> Shape | None:
    """Any single outline around (x, y) with half sizes rx, ry: blob, polygon, ellipse, ring, lumps, band."""
    angle = rng.uniform(0, np.pi)
    pen, pick = Pen(hw), float(rng.uniform())
    round_ = bool(rng.uniform() < 0.6)
    if pick < 0.28:
        pen.fill(blob(rng, x, y, rx, ry, rng.uniform(0.15, 0.7)))
    elif pick < 0.42:
        pen.fill(polygon(rng, x, y, rx, ry))
        round_ = False
    elif pick < 0.54:
        pen.fill(ellipse(x, y, rx, ry, angle))
    elif pick < 0.66:
        pen.fill(superellipse(x, y, rx, ry, rng.uniform(2.5, 9), angle * 0.3))
    elif pick < 0.74:
        pen.fill(ellipse(x, y, rx, ry, angle))
        pen.fill(ellipse(x, y, rx * rng.uniform(0.3, 0.8), ry * rng.uniform(0.3, 0.8), angle), -1)
    elif pick < 0.88:
        at = np.array([x, y])
        for _ in range(int(rng.integers(2, 6))):
            to = np.array([x, y]) + rng.normal(0, 0.6, 2) * (rx, ry)
            pen.line(np.array([at, to]), rng.uniform(0.15, 0.4) * min(rx, ry))
            pen.fill(
                blob(rng, to[0], to[1], rng.uniform(0.25, 0.6) * rx, rng.uniform(0.25, 0.6) * ry, 0.3),
                int(rng.uniform() < 0.25),
            )
            at = to
    else:
        d = np.array([np.cos(angle) * rx, np.sin(angle) * ry]) * 1.4
        line = curve(rng, np.array([x, y]) - d, np.array([x, y]) + d, 0.25)
        width = rng.uniform(0.15, 0.5) * min(rx, ry) + 1.5
        pen.fill(ribbon(line, width, width * rng.uniform(0.2, 1.2)))
    shape = pen.shape(round_)
    if shape is None:
        return None
    extra = rng.uniform()
    if extra < 0.15:
        families = ("noise", "foliage", "leaves")
        return roughened(rng, shape, rng.uniform(0.05, 0.25) * min(rx, ry) + 1, hw, families[rng.integers(3)])
    if extra < 0.25:
        shape = haired(rng, shape, rng.uniform(0.05, 0.2) * min(rx, ry) + 1.5, hw)
    return zoned(rng, shape) if rng.uniform() < 0.3 and not np.any(shape.zones) else shape


def lattice(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, rx: float, ry: float) -> Shape | None:
    """A fence: thin bars, upright, crossed or both."""
    pen, n, width = Pen(hw), int(rng.integers(4, 14)), max(rng.uniform(0.01, 0.03) * rx, 1.2)
    style = rng.integers(3)
    for k in range(n + 1):
        at = x - rx + 2 * rx * k / n
        if style == 2:
            pen.line(np.array([[at, y - ry], [at + 2 * ry * 0.6, y + ry]]), 1.2)
            pen.line(np.array([[at, y - ry], [at - 2 * ry * 0.6, y + ry]]), 1.2)
        else:
            pen.line(np.array([[at, y - ry], [at, y + ry]]), width * (1 + style))
    for at in (-1.0, 0.7) if style < 2 else (-1.0, 1.0):
        pen.line(np.array([[x - rx, y + at * ry], [x + rx, y + at * ry]]), width * 1.5)
    return pen.shape()


def branches(rng: np.random.Generator, hw: tuple[int, int], x: float, y: float, size: float) -> Shape | None:
    """A bare tree: lines that fork and get thinner."""
    pen = Pen(hw)
    todo: list[Any] = [(np.array([x, y]), -np.pi / 2 + rng.normal(0, 0.1), size * 0.35, size * 0.06, 0)]
    while todo:
        start, angle, length, width, depth = todo.pop()
        end = start + length * np.array([np.cos(angle), np.sin(angle)])
        pen.line(curve(rng, start, end, 0.06, 6), width)
        if depth < 4 and width > 0.6:
            for _ in range(int(rng.integers(2, 4))):
                turn = angle + rng.normal(0, 0.5)
                todo.append((end, turn, length * rng.uniform(0.55, 0.85), width * 0.62, depth + 1))
    return pen.shape()
