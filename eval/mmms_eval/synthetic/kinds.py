"""The catalogue: palettes, and what each kind of object is made of."""

from __future__ import annotations

from dataclasses import dataclass

# sRGB anchors, 0..255; a look takes one and jitters it
PALETTES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "sky": (
        (120, 165, 215),
        (175, 200, 225),
        (205, 210, 215),
        (150, 160, 175),
        (235, 200, 165),
        (90, 130, 190),
    ),
    "green": ((70, 90, 40), (50, 75, 35), (105, 120, 55), (90, 100, 60), (60, 85, 60), (130, 125, 60)),
    "autumn": ((150, 95, 40), (170, 130, 60), (120, 60, 35), (185, 150, 80), (95, 75, 50)),
    "asphalt": ((95, 95, 97), (120, 118, 115), (75, 76, 80), (140, 138, 132), (60, 60, 63)),
    "concrete": ((165, 160, 150), (190, 185, 175), (140, 135, 128), (205, 195, 180), (120, 118, 112)),
    "earth": ((130, 105, 75), (165, 140, 105), (100, 80, 60), (190, 165, 125), (85, 70, 55), (175, 150, 130)),
    "brick": ((150, 85, 65), (125, 70, 55), (170, 115, 90), (185, 150, 120), (110, 65, 60), (140, 125, 110)),
    "plaster": (
        (225, 215, 195),
        (205, 200, 195),
        (215, 190, 150),
        (180, 190, 195),
        (235, 230, 225),
        (190, 170, 160),
    ),
    "water": ((75, 105, 120), (100, 130, 135), (55, 75, 85), (130, 145, 150), (70, 90, 75)),
    "wood": ((140, 100, 65), (175, 135, 90), (95, 65, 45), (200, 165, 120), (120, 90, 70), (70, 50, 38)),
    "skin": ((205, 160, 130), (170, 120, 90), (120, 80, 60), (225, 185, 160)),
    "cloth": (
        (60, 65, 85),
        (40, 40, 45),
        (150, 60, 55),
        (190, 185, 175),
        (85, 100, 120),
        (110, 95, 75),
        (70, 90, 75),
        (160, 130, 100),
        (205, 120, 60),
        (120, 70, 95),
    ),
    "paint": (
        (200, 200, 202),
        (45, 45, 48),
        (130, 30, 30),
        (40, 60, 110),
        (150, 150, 155),
        (235, 235, 232),
        (70, 80, 75),
        (180, 160, 60),
        (110, 115, 120),
        (205, 90, 40),
    ),
    "metal": ((130, 132, 135), (90, 92, 95), (165, 165, 165), (60, 62, 66), (110, 100, 90)),
    "fur": ((150, 120, 85), (90, 70, 50), (200, 185, 165), (50, 45, 42), (120, 95, 75), (170, 100, 60)),
    "fruit": ((190, 60, 45), (215, 150, 50), (130, 145, 60), (200, 175, 90), (110, 50, 70), (220, 110, 90)),
    "dark": ((40, 40, 42), (55, 50, 48), (30, 35, 40), (65, 62, 60)),
    "glass": ((70, 85, 95), (45, 55, 65), (120, 140, 155), (165, 180, 190), (35, 40, 45)),
    "white": ((235, 232, 225), (215, 212, 205), (225, 200, 120), (200, 198, 195)),
}


@dataclass(frozen=True)
class Kind:
    """A kind of object. Temperatures in degrees Celsius; the rest in 0..1 unless said."""

    palettes: tuple[str, ...]
    families: tuple[str, ...]  # of the texture bank
    contrast: tuple[float, float]  # of the texture, relative to the colour
    warmth: tuple[float, float]  # mean above the air, by day
    absolute: bool = False  # warmth is the temperature itself (people, animals)
    sunlit: float = 1.0  # share of the warmth that turns into its opposite by night
    hot_spots: float = 0.0  # probability of a hot part (engine, lamp, face)
    nir: tuple[float, float] = (0.3, 0.6)
    dolp: tuple[float, float] = (0.02, 0.15)  # degree of linear polarisation
    parts: tuple[str, ...] = ()  # palettes of zones 1..3


ALL_FAMILIES = (
    "noise",
    "relief",
    "relief",
    "marble",
    "leaves",
    "fibre",
    "cells",
    "dots",
    "stripes",
    "brushed",
    "ridged",
    "planks",
    "checker",
    "bricks",
    "stones",
    "soft",
    "foliage",
    "grain",
)

KINDS: dict[str, Kind] = {
    "sky": Kind(
        ("sky",),
        ("soft", "marble", "soft"),
        (0.02, 0.2),
        (-45, -15),
        sunlit=0.2,
        nir=(0.1, 0.35),
        dolp=(0.02, 0.4),
    ),
    "building": Kind(
        ("plaster", "brick", "concrete"),
        ("bricks", "noise", "planks", "soft", "grain"),
        (0.04, 0.35),
        (-2, 8),
        sunlit=0.7,
    ),
    "wall": Kind(
        ("plaster", "concrete", "brick"), ("noise", "soft", "grain", "bricks", "planks"), (0.02, 0.2), (-2, 2)
    ),
    "ceiling": Kind(("white", "plaster"), ("soft", "grain", "checker"), (0.01, 0.08), (0, 3)),
    "floor": Kind(
        ("wood", "concrete", "earth", "cloth"),
        ("planks", "noise", "checker", "bricks", "grain", "marble"),
        (0.05, 0.35),
        (-4, 0),
        dolp=(0.1, 0.35),
    ),
    "road": Kind(("asphalt",), ("grain", "noise", "grain"), (0.06, 0.25), (2, 16), nir=(0.15, 0.3), dolp=(0.1, 0.35)),
    "sidewalk": Kind(("concrete", "brick", "asphalt"), ("bricks", "stones", "noise", "grain"), (0.06, 0.3), (1, 10)),
    "grass": Kind(
        ("green", "green", "autumn"),
        ("fibre", "fibre", "grain", "foliage", "noise"),
        (0.2, 0.6),
        (-5, 1),
        nir=(0.65, 0.95),
    ),
    "vegetation": Kind(
        ("green", "green", "green", "autumn"),
        ("foliage", "leaves", "noise", "foliage"),
        (0.4, 0.95),
        (-5, 1),
        nir=(0.65, 0.98),
        parts=("wood", "autumn", "green"),
    ),
    "soil": Kind(("earth",), ("noise", "grain", "ridged", "stones"), (0.12, 0.45), (0, 12)),
    "mountain": Kind(
        ("earth", "green", "asphalt", "sky"), ("ridged", "noise", "relief", "relief"), (0.15, 0.6), (-8, 3)
    ),
    "water": Kind(
        ("water", "water", "sky"),
        ("brushed", "marble", "soft", "stripes"),
        (0.05, 0.35),
        (-8, -1),
        sunlit=-0.3,
        nir=(0.02, 0.12),
        dolp=(0.3, 0.8),
    ),
    "tree": Kind(
        ("green", "green", "green", "autumn"),
        ("foliage", "leaves", "noise", "foliage"),
        (0.4, 0.95),
        (-4, 1),
        nir=(0.65, 0.98),
        parts=("wood", "autumn", "green"),
    ),
    "person": Kind(
        ("cloth",),
        ("grain", "noise", "relief", "relief", "stripes", "checker"),
        (0.05, 0.45),
        (26, 34),
        absolute=True,
        hot_spots=0.9,
        parts=("cloth", "skin", "dark"),
    ),
    "animal": Kind(
        ("fur",),
        ("fibre", "noise", "leaves", "fibre"),
        (0.15, 0.6),
        (28, 36),
        absolute=True,
        hot_spots=0.5,
        parts=("fur", "fur", "dark"),
    ),
    "car": Kind(
        ("paint",),
        ("soft", "soft", "grain"),
        (0.03, 0.25),
        (-3, 12),
        hot_spots=0.7,
        dolp=(0.1, 0.5),
        parts=("glass", "dark", "fruit"),
    ),
    "truck": Kind(
        ("paint",),
        ("soft", "grain", "stripes"),
        (0.03, 0.25),
        (-3, 12),
        hot_spots=0.6,
        dolp=(0.1, 0.4),
        parts=("glass", "dark", "paint"),
    ),
    "bicycle": Kind(("paint", "dark"), ("grain",), (0.03, 0.1), (-1, 6), parts=("dark", "dark", "metal")),
    "pole": Kind(("metal", "dark", "concrete", "wood"), ("brushed", "grain", "soft"), (0.03, 0.25), (-2, 9)),
    "wire": Kind(("dark", "metal"), ("grain",), (0.02, 0.1), (-4, 8)),
    "fence": Kind(("metal", "wood", "white", "dark"), ("grain", "brushed", "noise"), (0.05, 0.3), (-3, 8)),
    "sign": Kind(
        ("paint", "fruit", "white"),
        ("soft", "stripes", "dots", "checker"),
        (0.02, 0.5),
        (-3, 6),
        dolp=(0.05, 0.3),
        parts=("white", "dark", "paint"),
    ),
    "lamp": Kind(
        ("dark", "metal"),
        ("grain", "soft"),
        (0.02, 0.1),
        (0, 14),
        hot_spots=0.8,
        parts=("fruit", "white", "dark"),
    ),
    "window": Kind(
        ("glass",),
        ("soft", "marble", "leaves"),
        (0.1, 0.5),
        (-12, 4),
        sunlit=0.3,
        dolp=(0.2, 0.7),
        parts=("white", "dark", "cloth"),
    ),
    "door": Kind(
        ("wood", "paint"),
        ("planks", "brushed", "soft", "grain"),
        (0.05, 0.35),
        (-3, 4),
        parts=("glass", "metal", "dark"),
    ),
    "picture": Kind(
        ("cloth", "green", "fruit", "sky"),
        ("leaves", "marble", "cells", "checker"),
        (0.3, 0.9),
        (-1, 1),
        parts=("wood", "dark", "white"),
    ),
    "box": Kind(
        ("earth", "paint", "wood", "cloth"),
        ("grain", "noise", "stripes", "soft", "dots"),
        (0.03, 0.35),
        (-3, 6),
        parts=("earth", "wood", "paint"),
    ),
    "furniture": Kind(
        ("wood", "cloth", "metal"),
        ("planks", "brushed", "grain", "soft", "stripes"),
        (0.05, 0.4),
        (-2, 4),
        parts=("wood", "wood", "metal"),
    ),
    "cloth": Kind(
        ("cloth", "paint", "white"),
        ("stripes", "checker", "relief", "relief", "dots", "leaves"),
        (0.05, 0.6),
        (-1, 8),
    ),
    "rock": Kind(
        ("asphalt", "earth", "concrete"),
        ("ridged", "noise", "stones", "marble", "relief", "relief"),
        (0.15, 0.6),
        (-2, 14),
    ),
    "fruit": Kind(("fruit",), ("soft", "grain", "dots", "noise"), (0.03, 0.3), (-6, 3)),
    "leaves": Kind(("autumn", "green"), ("leaves", "foliage", "noise"), (0.2, 0.7), (-3, 3), nir=(0.5, 0.9)),
    "marking": Kind(("white",), ("grain", "noise"), (0.05, 0.3), (-2, 4)),
    "puddle": Kind(
        ("water", "glass", "asphalt"),
        ("soft", "marble"),
        (0.03, 0.3),
        (-9, -2),
        nir=(0.02, 0.15),
        dolp=(0.3, 0.85),
    ),
    "pipe": Kind(("metal", "paint", "white"), ("brushed", "soft"), (0.03, 0.2), (5, 40), sunlit=0.0),
    "plant": Kind(
        ("green",),
        ("soft", "fibre", "noise"),
        (0.15, 0.6),
        (-4, 1),
        nir=(0.6, 0.95),
        parts=("brick", "green", "wood"),
    ),
    "snow": Kind(("white", "sky"), ("soft", "noise", "ridged"), (0.03, 0.15), (-14, -5), sunlit=0.0, nir=(0.7, 0.95)),
    "bark": Kind(("wood", "earth", "dark"), ("ridged", "brushed", "fibre"), (0.2, 0.7), (-4, 4)),
    "object": Kind(tuple(PALETTES), ALL_FAMILIES, (0.02, 0.8), (-10, 14), parts=tuple(PALETTES)),
}
