"""The kinds of scenes: street, landscape, room, close-up, view from above and pure chance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmms_eval.synthetic import compounds, shapes
from mmms_eval.synthetic.compounds import COMPOUNDS
from mmms_eval.synthetic.furnishing import SIZES_M, ground_patches, spread, thin_things, windows
from mmms_eval.synthetic.kinds import KINDS
from mmms_eval.synthetic.sampling import FAR_M, MOST_M, Layout
from mmms_eval.synthetic.scene import SceneConfig
from mmms_eval.synthetic.shapes import Pen


def _street(layout: Layout, count: int) -> None:
    h, w = layout.hw
    rng = layout.rng
    layout.horizon = layout.uniform(0.3, 0.6) * h
    layout.near_m = layout.uniform(2.0, 7.0)
    layout.add("sky", shapes.half_plane(layout.hw, 0, -5, np.pi / 2), FAR_M, background=True)
    if layout.chance(0.6):
        kind = layout.pick("vegetation", "mountain", "building")
        ridge = shapes.below_ridge(
            rng,
            layout.hw,
            layout.horizon - 0.08 * h,
            layout.uniform(0.02, 0.12) * h,
            layout.uniform(0.6, 1.6),
        )
        layout.add(kind, ridge, layout.uniform(80, MOST_M), background=True)
    for _ in range(int(rng.integers(0, 5))):
        x, half, z = layout.uniform(0, w), layout.uniform(0.08, 0.4) * w, layout.uniform(15, 70)
        top = layout.horizon - layout.uniform(0.1, 0.9) * layout.horizon * (1.2 - z / 100)
        drop = rng.normal(0, 0.15) * half
        pen = Pen(layout.hw).fill(
            np.array([[x - half, top + drop], [x + half, top - drop], [x + half, h], [x - half, h]])
        )
        if layout.chance(0.4):
            pen.fill(np.array([[x - half * 1.1, top], [x, top - 0.5 * half], [x + half * 1.1, top]]), 1)
        if layout.add(layout.pick("building", "building", "wall"), pen.shape(), z, background=True) and layout.chance(
            0.75
        ):
            windows(layout, x - half * 0.9, top + 0.05 * h, x + half * 0.9, layout.horizon, z)
    kind = layout.pick("road", "road", "sidewalk", "grass", "soil")
    ground = shapes.below_ridge(rng, layout.hw, layout.horizon, layout.uniform(0, 0.02) * h, 1.5)
    layout.add(kind, ground, layout.near_m, floor=True, background=True)
    for _ in range(int(rng.integers(0, 3))):
        vx = w / 2 + rng.normal(0, 0.25) * w
        a, b = np.sort(rng.uniform(-0.6, 1.6, 2)) * w
        wedge = np.array([[vx - 2, layout.horizon + 1], [vx + 2, layout.horizon + 1], [b, h + 2], [a, h + 2]])
        layout.add(
            layout.pick("road", "sidewalk", "grass", "soil"),
            Pen(layout.hw).fill(wedge).shape(),
            layout.near_m,
            floor=True,
            background=True,
        )
    ground_patches(layout, ("marking", "marking", "puddle", "leaves", "snow", "marking"), int(rng.integers(0, 4)))
    thin_things(layout)
    kinds = (
        "person",
        "person",
        "car",
        "car",
        "truck",
        "tree",
        "vegetation",
        "bicycle",
        "box",
        "animal",
        "object",
    )
    spread(layout, kinds, count, SIZES_M)
    if layout.chance(0.4):
        thin_things(layout)


def _landscape(layout: Layout, count: int) -> None:
    h, w = layout.hw
    rng = layout.rng
    layout.horizon = layout.uniform(0.15, 0.65) * h
    layout.near_m = layout.uniform(1.0, 6.0)
    layout.add("sky", shapes.half_plane(layout.hw, 0, -5, np.pi / 2), FAR_M, background=True)
    for k in range(int(rng.integers(0, 4))):
        kind = layout.pick("mountain", "vegetation", "mountain", "snow", "rock")
        y = layout.horizon - layout.uniform(-0.02, 0.25) * h * (1 - 0.25 * k)
        ridge = shapes.below_ridge(rng, layout.hw, y, layout.uniform(0.03, 0.2) * h, layout.uniform(0.8, 1.8))
        if ridge is not None and kind == "vegetation":
            ridge = shapes.roughened(rng, ridge, layout.uniform(2, 8) * h / 256, layout.hw, "foliage")
        layout.add(kind, ridge, layout.uniform(110, MOST_M) / (1 + k), background=True)
    kinds = ("grass", "soil", "water", "snow", "rock", "grass")
    y = layout.horizon
    for _ in range(int(rng.integers(1, 4))):
        ridge = shapes.below_ridge(rng, layout.hw, y, layout.uniform(0, 0.06) * h, layout.uniform(0.8, 1.8))
        if ridge is not None and layout.chance(0.4):
            ridge = shapes.roughened(
                rng, ridge, layout.uniform(2, 8) * h / 256, layout.hw, layout.pick("noise", "foliage")
            )
        layout.add(layout.pick(*kinds), ridge, layout.near_m, floor=True, background=True)
        y += layout.uniform(0.08, 0.4) * (h - y)
    if layout.chance(0.5):
        start, end = (
            np.array([layout.uniform(0, w), h + 5.0]),
            np.array([layout.uniform(0, w), layout.horizon + 3]),
        )
        path = shapes.ribbon(shapes.curve(rng, start, end, 0.15), layout.uniform(0.1, 0.5) * w, 2.0)
        layout.add(layout.pick("soil", "water", "road"), Pen(layout.hw).fill(path).shape(), layout.near_m, floor=True)
    ground_patches(layout, ("leaves", "snow", "grass", "puddle"), int(rng.integers(0, 4)))
    if layout.chance(0.3):
        thin_things(layout)
    names = (
        "animal",
        "animal",
        "tree",
        "tree",
        "vegetation",
        "rock",
        "rock",
        "person",
        "bark",
        "plant",
        "object",
    )
    spread(layout, names, count, SIZES_M)


def _indoor(layout: Layout, count: int) -> None:
    h, w = layout.hw
    rng = layout.rng
    layout.horizon = layout.uniform(0.1, 0.45) * h
    layout.near_m = layout.uniform(0.8, 2.0)
    far = layout.uniform(2.5, 7.0)
    layout.add("wall", shapes.half_plane(layout.hw, 0, -5, np.pi / 2), far, background=True)
    corner = layout.uniform(-0.2, 1.2) * w
    if layout.chance(0.6):
        layout.add(
            layout.pick("wall", "cloth", "door"),
            shapes.half_plane(layout.hw, corner, 0, rng.normal(0, 0.04)),
            far * 0.8,
            background=True,
        )
    if layout.chance(0.35):
        layout.add(
            "ceiling",
            shapes.half_plane(layout.hw, w / 2, layout.uniform(0.04, 0.2) * h, -np.pi / 2 + rng.normal(0, 0.15)),
            far * 0.7,
            background=True,
        )
    foot = layout.horizon + (h - layout.horizon) * layout.near_m / far + 0.12 * h
    layout.add(
        "floor",
        shapes.half_plane(layout.hw, corner, foot, np.pi / 2 + rng.normal(0, 0.12)),
        layout.near_m,
        floor=True,
        background=True,
    )
    for _ in range(int(rng.integers(1, 6))):
        kind = layout.pick("window", "picture", "picture", "door", "cloth", "pipe", "furniture", "lamp")
        x, y = layout.uniform(0, w), layout.uniform(0.1, 0.5) * h
        rx, ry = layout.uniform(0.04, 0.2) * w, layout.uniform(0.04, 0.22) * h
        if kind == "pipe":
            line = np.array([[x, -3], [x, y], [x + layout.uniform(-0.6, 0.6) * w, y]])
            layout.add(kind, Pen(layout.hw).line(line, layout.uniform(0.01, 0.04) * h).shape(True), far * 0.95)
            continue
        if kind in ("door", "cloth"):
            y, ry = foot - ry * 1.8, ry * 1.8
        pen = Pen(layout.hw).fill(shapes.rectangle(x, y, rx, ry))
        if kind in ("picture", "window"):
            pen = (
                Pen(layout.hw)
                .fill(shapes.rectangle(x, y, rx, ry), 1)
                .fill(shapes.rectangle(x, y, rx * 0.85, ry * 0.85), 0)
            )
        layout.add(kind, pen.shape(), far * 0.98, flat=layout.chance(0.6))
    ground_patches(layout, ("cloth", "leaves", "puddle"), int(rng.integers(0, 2)))
    names = (
        "furniture",
        "furniture",
        "box",
        "box",
        "person",
        "plant",
        "animal",
        "cloth",
        "fruit",
        "object",
        "object",
    )
    spread(layout, names, count, SIZES_M | {"furniture": (0.5, 1.3), "plant": (0.4, 1.3), "animal": (0.2, 0.6)})


def _closeup(layout: Layout, count: int) -> None:
    h, w = layout.hw
    rng, side = layout.rng, layout.side
    far = layout.uniform(0.8, 6.0)
    names = tuple(k for k in KINDS if k not in ("sky", "wire", "pole", "marking"))
    layout.add(layout.pick(*names), shapes.half_plane(layout.hw, 0, -5, np.pi / 2), far, background=True)
    for _ in range(int(rng.integers(0, 3))):
        z = far * layout.uniform(0.6, 0.95)
        region = (
            shapes.noise_region(rng, layout.hw, layout.uniform(0.15, 0.6), layout.uniform(0.7, 2.0))
            if layout.chance(0.5)
            else shapes.half_plane(
                layout.hw, layout.uniform(0.2, 0.8) * w, layout.uniform(0.2, 0.8) * h, layout.uniform(0, 6.28)
            )
        )
        layout.add(layout.pick(*names), region, z, background=True)
    for k in range(max(count // 2, 3)):
        kind = layout.pick(
            "object", "object", "fruit", "animal", "rock", "box", "vegetation", "cloth", "person", "leaves"
        )
        z = far * 0.8 * layout.uniform(0.7, 1.0) ** (k + 1) + 0.3
        size = side * float(np.exp(rng.uniform(np.log(0.05), np.log(0.45))))
        x, y = layout.uniform(0.05, 0.95) * w, layout.uniform(0.1, 0.95) * h
        if kind in COMPOUNDS and layout.chance(0.7):
            layout.add(kind, COMPOUNDS[kind](rng, layout.hw, x, y + size, 2 * size), z)
        else:
            layout.free(kind, x, y, size, size * layout.uniform(0.4, 1.0), z)


def _aerial(layout: Layout, count: int) -> None:
    h, w = layout.hw
    rng, side = layout.rng, layout.side
    layout.horizon, layout.near_m = -4.0 * h, layout.uniform(15, 100)
    z = layout.near_m
    kinds = ("grass", "soil", "vegetation", "grass", "road", "water", "sidewalk", "rock")
    layout.add(layout.pick(*kinds), shapes.half_plane(layout.hw, 0, -5, np.pi / 2), z, floor=True, background=True)
    angle = layout.uniform(0, np.pi)
    for _ in range(int(rng.integers(1, 5))):
        if layout.chance(0.5):
            region = shapes.noise_region(rng, layout.hw, layout.uniform(0.1, 0.45), layout.uniform(0.5, 1.5))
        else:
            x, y = layout.uniform(0, w), layout.uniform(0, h)
            field_ = shapes.rectangle(
                x, y, layout.uniform(0.15, 0.5) * w, layout.uniform(0.1, 0.4) * h, angle + rng.normal(0, 0.05)
            )
            region = Pen(layout.hw).fill(field_).shape()
        layout.add(layout.pick(*kinds), region, z * 0.99, floor=True, background=True)
    for _ in range(int(rng.integers(0, 3))):
        a, b = rng.uniform(0, 1, (2, 2)) * (w, h)
        d = (b - a) / max(float(np.hypot(*(b - a))), 1.0) * 1.5 * side
        line = shapes.curve(rng, (a + b) / 2 - d, (a + b) / 2 + d, 0.05)
        wide = layout.uniform(0.03, 0.14) * side
        layout.add(
            layout.pick("road", "water", "road", "soil"),
            Pen(layout.hw).fill(shapes.ribbon(line, wide, wide)).shape(),
            z * 0.99,
            flat=True,
        )
    for _ in range(count):
        x, y = layout.uniform(0, w), layout.uniform(0, h)
        kind = layout.pick("building", "building", "vegetation", "vegetation", "car", "car", "rock", "object")
        size = side * layout.uniform(0.02, 0.14)
        if kind in ("building", "car"):
            size *= 0.35 if kind == "car" else 1
            pen = Pen(layout.hw).fill(
                shapes.rectangle(x, y, size, size * layout.uniform(0.4, 1), angle + (np.pi / 2) * int(rng.integers(2)))
            )
            shape = pen.shape()
            shape = shape and shapes.zoned(rng, shape)
        else:
            shape = compounds.generic(rng, layout.hw, x, y, size, size * layout.uniform(0.6, 1))
            if shape is not None and kind == "vegetation":
                shape = shapes.roughened(rng, shape, 0.2 * size + 1, layout.hw, "foliage")
        layout.add(kind, shape, z * layout.uniform(0.6, 0.9))


def _abstract(layout: Layout, count: int) -> None:
    h, w = layout.hw
    rng, side = layout.rng, layout.side
    names = tuple(KINDS)
    layout.add(
        layout.pick(*names),
        shapes.half_plane(layout.hw, 0, -5, np.pi / 2),
        MOST_M * layout.uniform(0.1, 0.9),
        background=True,
    )
    z = layout.objects[0].distance_m
    for k in range(count + 2):
        z *= layout.uniform(0.75, 0.99)
        low = 0.03 if k > 3 else 0.2
        r = side * float((low**-1 + layout.uniform(0, 1) * (0.6**-1 - low**-1)) ** -1)
        x, y = layout.uniform(0, w), layout.uniform(0, h)
        style = layout.uniform(0, 1)
        kind = layout.pick("object", *names)
        if style < 0.7:
            layout.free(kind, x, y, r, r * layout.uniform(0.3, 1), max(z, 0.4))
        elif style < 0.8:
            region = shapes.noise_region(rng, layout.hw, layout.uniform(0.05, 0.3), layout.uniform(0.4, 1.5))
            layout.add(kind, region, max(z, 0.4))
        elif style < 0.9:
            compound = layout.pick(*COMPOUNDS)
            layout.add(compound, COMPOUNDS[compound](rng, layout.hw, x, y, 2 * r), max(z, 0.4))
        else:
            line = shapes.curve(rng, rng.uniform(-0.1, 1.1, 2) * (w, h), rng.uniform(-0.1, 1.1, 2) * (w, h), 0.2)
            layout.add(kind, Pen(layout.hw).line(line, layout.uniform(1.5, 7) * side / 256).shape(), max(z, 0.4))


LAYOUTS: dict[str, Callable[[Layout, int], None]] = {
    "street": _street, "landscape": _landscape, "indoor": _indoor,
    "closeup": _closeup, "aerial": _aerial, "abstract": _abstract,
}  # fmt: skip


def sample_layout(rng: np.random.Generator, config: SceneConfig) -> tuple[str, Layout]:
    """Draws the kind of scene and its objects. Returns the kind and the layout."""
    scene_type = config.scene_types[int(rng.integers(len(config.scene_types)))]
    instances = bool(rng.uniform() < config.instance_probability)
    layout = Layout(rng, config, 0.4 * config.size_hw[0], 3.0, instances)
    LAYOUTS[scene_type](layout, int(rng.integers(config.objects[0], config.objects[1] + 1)))
    return scene_type, layout
