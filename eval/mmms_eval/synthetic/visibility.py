"""Which sensor sees which border: roles of objects, such that shares of border length come out as asked.

A border belongs to the upper of the two objects that meet there. An object that does not paint RGB makes its
borders invisible in RGB; one that paints only RGB makes them invisible to thermal and depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmms_eval.synthetic.sampling import SceneObject
from mmms_eval.synthetic.scene import IGNORE, U8, Bool, SceneConfig

_TOLERANCE = 0.3  # share of the objects on several others that may still be hidden like any other

I16 = NDArray[np.int16]


@dataclass(frozen=True)
class Role:
    """Which maps an object paints."""

    rgb: bool = True
    thermal: bool = True
    depth: bool = True


@dataclass(frozen=True)
class Borders:
    """Borders of a scene, bool [H, W] each, and their shares of all border pairs."""

    all: Bool
    invisible: Bool
    blind: Bool
    share_invisible: float
    share_blind: float
    rgb_top: I16  # [H, W] index of the object that RGB shows


def in_sight(objects: Sequence[SceneObject], top: I16) -> list[SceneObject]:
    """The objects that show at least one pixel, and the first one, in the same order."""
    areas = np.bincount(top.ravel(), minlength=len(objects))
    return [made for k, (made, area) in enumerate(zip(objects, areas, strict=True)) if area or k == 0]


def top_map(objects: Sequence[SceneObject], size_hw: tuple[int, int], paints: Sequence[bool]) -> I16:
    """Index of the last object that paints each pixel, int16 [H, W]."""
    top = np.zeros(size_hw, np.int16)
    for k, (made, use) in enumerate(zip(objects, paints, strict=True)):
        if use:
            np.copyto(top[made.shape.box], np.int16(k), where=made.shape.mask > 0)
    return top


def label_map(
    objects: Sequence[SceneObject], top: I16, unlabelled: str, config: SceneConfig
) -> tuple[U8, tuple[str, ...]]:
    """Surface ids, uint8 [H, W], and the names of 1..K in the order of the objects. Crumbs become 255."""
    areas = np.bincount(top.ravel(), minlength=len(objects))
    per_surface: dict[str, int] = {}
    for made, area in zip(objects, areas, strict=True):
        per_surface[made.surface] = per_surface.get(made.surface, 0) + int(area)
    smallest = config.min_surface_px * (config.size_hw[0] * config.size_hw[1]) / 65536
    names = [s for s, area in per_surface.items() if s != unlabelled and area >= smallest]
    ids = {s: k + 1 for k, s in enumerate(names)}
    table = np.array([0 if o.surface == unlabelled else ids.get(o.surface, IGNORE) for o in objects], np.uint8)
    return table[top], tuple(names)


def _pairs(labels: U8) -> tuple[Bool, Bool]:
    """Border pairs to the right [H, W-1] and down [H-1, W]."""
    keep = labels != IGNORE
    across = (labels[:, 1:] != labels[:, :-1]) & keep[:, 1:] & keep[:, :-1]
    down = (labels[1:] != labels[:-1]) & keep[1:] & keep[:-1]
    return across, down


def border_lengths(top: I16, labels: U8, count: int) -> NDArray[np.int64]:
    """Border pairs that belong to each object."""
    across, down = _pairs(labels)
    upper_across = np.maximum(top[:, 1:], top[:, :-1])[across]
    upper_down = np.maximum(top[1:], top[:-1])[down]
    return np.asarray(np.bincount(np.concatenate([upper_across, upper_down]), minlength=count), np.int64)


def _fill(order: Sequence[int], lengths: NDArray[np.int64], target: float, free: set[int]) -> list[int]:
    """Takes objects in order while the sum stays below the target, then the one that brings it nearest."""
    taken, gap = [], target
    for k in order:
        if k in free and 0 < lengths[k] <= gap:
            taken.append(k)
            gap -= float(lengths[k])
            free.discard(k)
    last = min((k for k in order if k in free and lengths[k]), key=lambda k: abs(gap - lengths[k]), default=None)
    if last is not None and abs(gap - lengths[last]) < gap:
        taken.append(last)
        free.discard(last)
    return taken


def choose_roles(
    rng: np.random.Generator, objects: Sequence[SceneObject], top: I16, labels: U8, config: SceneConfig
) -> tuple[list[Role], Borders]:
    """Roles of all objects: greedy in random order, objects before backgrounds; the first one stays visible.

    An object that a sensor does not see shows what it covers, borders of other objects included; so those
    that cover only one object come first. Where outlines coincide a share comes out short of the lengths
    taken, so a second round aims higher.
    """
    lengths = border_lengths(top, labels, len(objects))
    mixed = _mixed(objects, config.size_hw)
    shuffled = [int(k) for k in rng.permutation(len(objects))]
    draws = rng.uniform(size=len(objects)).tolist()
    order = sorted(shuffled, key=lambda k: 2 * objects[k].background + (mixed[k] and draws[k] > _TOLERANCE))
    flat_first = sorted(order, key=lambda k: not objects[k].flat)
    hidden_aim, blind_aim = config.invisible_share, config.modality_blind_share
    roles: list[Role] = []
    for _ in range(2):
        free = set(range(1, len(objects)))
        hidden = _fill(order, lengths, hidden_aim * float(lengths.sum()), free)
        blind = _fill(flat_first, lengths, blind_aim * float(lengths.sum()), free)
        roles = _roles(objects, hidden, blind, draws)
        found = measure(objects, roles, labels)
        hidden_aim += config.invisible_share - found.share_invisible
        blind_aim += config.modality_blind_share - found.share_blind
        if abs(config.invisible_share - found.share_invisible) < 0.01:
            break
    return roles, found


def _mixed(objects: Sequence[SceneObject], size_hw: tuple[int, int]) -> list[bool]:
    """Of each object, whether it lies on several others rather than (for nine tenths) on one."""
    top, found = np.zeros(size_hw, np.int16), []
    for k, made in enumerate(objects):
        view, inside = top[made.shape.box], made.shape.mask > 0
        counts = np.bincount(view[inside])
        found.append(bool(len(counts)) and float(counts.max()) < 0.9 * float(counts.sum()))
        np.copyto(view, np.int16(k), where=inside)
    return found


def _roles(objects: Sequence[SceneObject], hidden: list[int], blind: list[int], draws: list[float]) -> list[Role]:
    """Thermal only 30 %, depth only 30 %, both 40 % of the hidden ones."""
    roles = []
    for k, (made, draw) in enumerate(zip(objects, draws, strict=True)):
        if k in hidden:
            roles.append(Role(False, draw >= 0.3, draw < 0.3 or draw >= 0.6))
        elif k in blind:
            roles.append(Role(True, False, False))
        elif made.flat:
            roles.append(Role(True, True, False))
        else:
            roles.append(Role(True, draw >= 0.08, True))
    return roles


def measure(objects: Sequence[SceneObject], roles: Sequence[Role], labels: U8) -> Borders:
    """Measured borders.

    A pair is invisible where both pixels show the same object in RGB, blind where both have the same object
    in thermal and in depth.
    """
    size_hw = (int(labels.shape[0]), int(labels.shape[1]))
    rgb = top_map(objects, size_hw, [r.rgb for r in roles])
    warm = top_map(objects, size_hw, [r.thermal for r in roles])
    far = top_map(objects, size_hw, [r.depth for r in roles])
    maps = [np.zeros(size_hw, bool) for _ in range(3)]
    counts = [0, 0, 0]
    for pairs, a, b in zip(
        _pairs(labels),
        ((slice(None), slice(1, None)), (slice(1, None), slice(None))),
        ((slice(None), slice(None, -1)), (slice(None, -1), slice(None))),
        strict=True,
    ):
        same_rgb = rgb[a] == rgb[b]
        same_other = (warm[a] == warm[b]) & (far[a] == far[b])
        for k, chosen in enumerate((pairs, pairs & same_rgb & ~same_other, pairs & same_other & ~same_rgb)):
            maps[k][a] |= chosen
            maps[k][b] |= chosen
            counts[k] += int(np.count_nonzero(chosen))
    whole = max(counts[0], 1)
    return Borders(maps[0], maps[1], maps[2], counts[1] / whole, counts[2] / whole, rgb)
