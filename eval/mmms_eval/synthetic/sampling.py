"""What is in a scene: the list of its objects from far to near, and how to add to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmms_eval.synthetic import compounds, shapes
from mmms_eval.synthetic.compounds import COMPOUNDS
from mmms_eval.synthetic.scene import SceneConfig
from mmms_eval.synthetic.shapes import Shape

FAR_M = 1000.0  # distance of the sky inside the generator
MOST_M = 150.0  # of everything else


@dataclass(frozen=True)
class SceneObject:
    """One object: an instance (or a part of the background) of a surface."""

    surface: str  # "" where it gets id 0
    kind: str
    shape: Shape
    distance_m: float  # of its middle, or of its lowest row when `floor`
    floor: bool = False  # a plane that recedes to the horizon
    flat: bool = False  # lies on what it covers: paint, leaves, a window in its wall
    background: bool = False
    slant: tuple[float, float] = (0.0, 0.0)  # relative change of distance to the right and down


@dataclass
class Layout:
    """A scene under construction: objects in painting order."""

    rng: np.random.Generator
    config: SceneConfig
    horizon: float  # row; of the ground plane
    near_m: float  # distance of the ground at the lowest row
    instances: bool  # each instance is a surface of its own
    objects: list[SceneObject] = field(default_factory=list)
    _counts: dict[str, int] = field(default_factory=dict)
    _surfaces: set[str] = field(default_factory=set)

    @property
    def hw(self) -> tuple[int, int]:
        return self.config.size_hw

    @property
    def side(self) -> float:
        return float(min(self.config.size_hw))

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.uniform() < probability)

    def pick(self, *names: str) -> str:
        return names[int(self.rng.integers(len(names)))]

    def ground_m(self, y: float) -> float:
        """Distance of the ground plane at a row."""
        h = self.hw[0]
        return float(np.clip(self.near_m * (h - self.horizon) / max(y - self.horizon, 1.0), self.near_m, MOST_M))

    def add(
        self,
        kind: str,
        shape: Shape | None,
        distance_m: float,
        *,
        floor: bool = False,
        flat: bool = False,
        background: bool = False,
    ) -> SceneObject | None:
        """Puts an object in front of all others. Beyond the limit of surfaces it joins one that is there."""
        if shape is None:
            return None
        name = kind
        if (self.instances or kind == "object") and not background:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            name = f"{kind} {self._counts[kind]}"
        if name not in self._surfaces and len(self._surfaces) >= self.config.max_surfaces:
            same = [s for s in sorted(self._surfaces) if s.split(" ")[0] == kind]
            pool = same or sorted(o.surface for o in self.objects if not o.background) or [name]
            name = pool[int(self.rng.integers(len(pool)))]
            kind = name.split(" ")[0]
        self._surfaces.add(name)
        tilt = self.rng.normal(0, 0.06, 2)
        made = SceneObject(
            name, kind, shape, float(distance_m), floor, flat, background, (float(tilt[0]), float(tilt[1]))
        )
        self.objects.append(made)
        return made

    def free(self, kind: str, x: float, y: float, rx: float, ry: float, distance_m: float) -> None:
        """A free outline of some kind, now and then with a smaller surface on it."""
        shape = compounds.generic(self.rng, self.hw, x, y, rx, ry)
        made = self.add(kind, shape, distance_m)
        if made is not None and min(rx, ry) > 0.06 * self.side and self.chance(0.3):
            self.nest(
                self.pick("object", "sign", "cloth", "window"),
                x,
                y,
                min(rx, ry) * self.uniform(0.2, 0.55),
                made,
            )

    def nest(self, kind: str, x: float, y: float, r: float, parent: SceneObject) -> None:
        """A smaller surface on another one, cut to it."""
        inner = compounds.generic(self.rng, self.hw, x, y, r, r * self.uniform(0.5, 1.0))
        self.add(kind, inner and shapes.clipped(inner, parent.shape), parent.distance_m, flat=True)

    def stand(self, kind: str, x: float, y: float, size: float) -> None:
        """A compound whose feet are on the ground at (x, y)."""
        self.add(kind, COMPOUNDS[kind](self.rng, self.hw, x, y, size), self.ground_m(y))
