"""An overlay picture for people: the image with its surfaces and clicks, a legend, and every modality beside
it.

The areas are translucent so that the image stays readable, outlines are opaque and two pixels wide, and the
modalities carry the same outlines, so that a border which only the other sensor sees can be judged there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mmms_client.clicks import Click
from mmms_client.events import Surface
from mmms_client.joint_mask import JointMap
from mmms_client.outlines import ids_in, tint
from mmms_client.palette import RGB, surface_colour

_PAPER, _INK, _FAINT = (20, 22, 27), (235, 237, 240), (150, 156, 165)
_POSITIVE, _NEGATIVE, _RIM = (22, 163, 84), (222, 46, 52), (255, 255, 255)
_NO_VALUE = (52, 55, 62)
_MARGIN_PX, _GAP_PX, _CAPTION_PX, _HEADER_PX, _ROW_PX = 24, 14, 26, 40, 30
_SMALLEST_PX, _LARGEST_PX, _USUAL_PX = 900, 1600, 1200  # long side of the main picture
_DOT_RADIUS_PX = 9
_FILL_OPACITY = 0.36
_FINE_SURFACES = 64  # beyond this many, borders are not antialiased: too slow
_HEAT = (
    (0, 0, 6),
    (58, 12, 94),
    (140, 35, 105),
    (212, 72, 66),
    (246, 140, 26),
    (250, 210, 80),
    (252, 252, 190),
)


@dataclass(frozen=True)
class _Box:
    x: int
    y: int
    width: int
    height: int

    @property
    def size(self) -> tuple[int, int]:
        return self.width, self.height


def render_overlay(
    image: NDArray[np.uint8],
    joint: JointMap,
    surfaces: Sequence[Surface],
    clicks: Mapping[int, Sequence[Click]],
    modalities: Mapping[str, NDArray[np.float32]] | None = None,
    units: Mapping[str, str | None] | None = None,
    title: str = "",
) -> Image.Image:
    """Draw the overlay.

    Args:
        image: RGB uint8 [H, W, 3].
        joint: the joint map, uint16 [H, W].
        surfaces: names and colours for the legend, in its order.
        clicks: by surface id, in image pixels.
        modalities: by name, float32 [h, w] or [h, w, C] of the image's aspect ratio, NaN without measurement.
        units: of the modalities, for their captions.
        title: above the picture.

    Returns:
        An RGB picture, whatever the size of the image: small ones are enlarged, large ones reduced.
    """
    by_id = {s.surface_id: s for s in surfaces}
    ids = {*by_id, *ids_in(joint)}
    colours = {i: surface_colour(i, by_id) for i in ids}
    height, width = joint.shape
    main = _Box(_MARGIN_PX, _MARGIN_PX + _HEADER_PX, *_main_size(width, height))
    maps = dict(modalities or {})
    panels = _panels(main, len(maps))
    total_width = (panels[0].x + panels[0].width if panels else main.x + main.width) + _MARGIN_PX
    rows = _legend_rows(surfaces, joint, clicks, total_width - 2 * _MARGIN_PX)
    legend_y = main.y + main.height + _GAP_PX + 4
    canvas = Image.new("RGB", (total_width, legend_y + len(rows) * _ROW_PX + _MARGIN_PX), _PAPER)
    _draw_header(canvas, title, total_width)
    is_fine = len(ids) <= _FINE_SURFACES
    picture = Image.fromarray(image).resize(main.size, Image.Resampling.LANCZOS)
    layer = tint(main.size, joint, colours, _FILL_OPACITY, is_fine=is_fine)
    canvas.paste(_over(picture, layer), (main.x, main.y))
    for surface_id in ids:
        for click in clicks.get(surface_id, ()):
            at = (
                main.x + (click.x_px + 0.5) * main.width / width,
                main.y + (click.y_px + 0.5) * main.height / height,
            )
            _draw_dot(canvas, at, click.is_positive, colours[surface_id])
    for (name, values), panel in zip(maps.items(), panels, strict=True):
        _draw_panel(canvas, panel, name, values, (units or {}).get(name), joint, colours, is_fine)
    _draw_legend(canvas, rows, legend_y, colours)
    return canvas


# Layout -----------------------------------------------------------------------------------------------
def _main_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the main picture: as it is where that is comfortable to look at."""
    long_side = max(width, height)
    is_small = long_side < _SMALLEST_PX
    scale = _USUAL_PX / long_side if is_small else min(1.0, _LARGEST_PX / long_side)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _panels(main: _Box, count: int) -> list[_Box]:
    """Where the modalities go: a column right of the main picture, no higher than it."""
    if not count:
        return []
    aspect = main.width / main.height
    free = main.height - count * _CAPTION_PX - (count - 1) * _GAP_PX
    height = max(60, min(free / count, 0.48 * main.width / aspect))
    width = max(1, round(height * aspect))
    step = round(height) + _CAPTION_PX + _GAP_PX
    x = main.x + main.width + _GAP_PX
    return [_Box(x, main.y + n * step, width, round(height)) for n in range(count)]


def _legend_rows(
    surfaces: Sequence[Surface], joint: JointMap, clicks: Mapping[int, Sequence[Click]], width: int
) -> list[list[tuple[int, str, str, int]]]:
    """Legend entries (id, name, detail, x offset) broken into rows of the given width."""
    rows: list[list[tuple[int, str, str, int]]] = []
    x = 0
    for surface in surfaces:
        share = float((joint == surface.surface_id).mean())
        given = len(clicks.get(surface.surface_id, ()))
        detail = f"{share:.1%}, {given} click{'' if given == 1 else 's'}"
        name = _shorten(surface.name or f"surface {surface.surface_id}", 40)
        needed = round(_font(17).getlength(name) + _font(14).getlength(detail)) + 70
        if not rows or x + needed > width:
            rows.append([])
            x = 0
        rows[-1].append((surface.surface_id, name, detail, x))
        x += needed
    return rows


# Drawing ----------------------------------------------------------------------------------------------
def _draw_header(canvas: Image.Image, title: str, width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    middle = _MARGIN_PX + _HEADER_PX // 2 - 8
    draw.text((_MARGIN_PX, middle), _shorten(title, 60), _INK, _font(20), anchor="lm")
    x = width - _MARGIN_PX
    for text, is_positive in (("negative", False), ("positive", True)):
        draw.text((x, middle), text, _FAINT, _font(15), anchor="rm")
        x -= round(_font(15).getlength(text)) + 18
        _draw_dot(canvas, (x, middle), is_positive, None)
        x -= 28


def _draw_panel(
    canvas: Image.Image,
    box: _Box,
    name: str,
    values: NDArray[np.float32],
    unit: str | None,
    joint: JointMap,
    colours: Mapping[int, RGB],
    is_fine: bool,
) -> None:
    picture, low, high = modality_picture(values)
    method = Image.Resampling.BILINEAR if picture.width >= box.width else Image.Resampling.BICUBIC
    layer = tint(box.size, joint, colours, 0.0, is_fine=is_fine)
    canvas.paste(_over(picture.resize(box.size, method), layer), (box.x, box.y))
    draw = ImageDraw.Draw(canvas)
    y = box.y + box.height + _CAPTION_PX // 2
    draw.text((box.x, y), name, _INK, _font(16), anchor="lm")
    if values.ndim == 2 or values.shape[2] == 1:
        text = f"{low:.4g} to {high:.4g}" + (f" {unit}" if unit else "")
        draw.text((box.x + box.width, y), text, _FAINT, _font(14), anchor="rm")


def modality_picture(values: NDArray[np.float32]) -> tuple[Image.Image, float, float]:
    """A map as an RGB picture, and the values that are its darkest and brightest (percentiles 1 and 99).

    One channel becomes a heat map, two or three become colours; pixels without measurement are grey.
    """
    planes = values[..., None] if values.ndim == 2 else values
    is_valid = np.isfinite(planes)
    finite = planes[is_valid]
    low, high = (float(v) for v in np.percentile(finite, (1, 99))) if finite.size else (0.0, 1.0)
    span = max(high - low, 1e-12)
    scaled = np.clip((np.where(is_valid, planes, low) - low) / span, 0.0, 1.0)
    if scaled.shape[2] == 1:
        stops = np.linspace(0.0, 1.0, len(_HEAT))
        heat = np.array(_HEAT, float)
        rgb = np.stack([np.interp(scaled[..., 0], stops, heat[:, c]) for c in range(3)], -1)
    else:
        rgb = np.zeros((*scaled.shape[:2], 3))
        rgb[..., : min(3, scaled.shape[2])] = scaled[..., :3] * 255.0
    rgb[~is_valid.all(-1)] = _NO_VALUE
    return Image.fromarray(np.rint(rgb).astype(np.uint8)), low, high


def _draw_dot(canvas: Image.Image, at: tuple[float, float], is_positive: bool, ring: RGB | None) -> None:
    """A click: a disk with a plus or minus, a white rim, and a ring in the colour of its surface."""
    fine = 4
    side = 2 * (_DOT_RADIUS_PX + 6)
    left, top = int(at[0]) - side // 2, int(at[1]) - side // 2
    cx, cy = (at[0] - left) * fine, (at[1] - top) * fine
    tile = Image.new("RGBA", (side * fine, side * fine), (0, 0, 0, 0))
    draw = ImageDraw.Draw(tile)

    def disk(radius_px: float, colour: tuple[int, ...]) -> None:
        r = radius_px * fine
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), colour)

    disk(_DOT_RADIUS_PX + 4.5, (0, 0, 0, 150))
    if ring is not None:
        disk(_DOT_RADIUS_PX + 3.5, ring)
    disk(_DOT_RADIUS_PX + 1.5, _RIM)
    disk(_DOT_RADIUS_PX - 0.5, _POSITIVE if is_positive else _NEGATIVE)
    arm, half = 4.6 * fine, 1.1 * fine
    draw.rectangle((cx - arm, cy - half, cx + arm, cy + half), _RIM)
    if is_positive:
        draw.rectangle((cx - half, cy - arm, cx + half, cy + arm), _RIM)
    small = tile.resize((side, side), Image.Resampling.BOX)
    canvas.paste(small, (left, top), small)


def _draw_legend(
    canvas: Image.Image,
    rows: list[list[tuple[int, str, str, int]]],
    top: int,
    colours: Mapping[int, RGB],
) -> None:
    draw = ImageDraw.Draw(canvas)
    for number, row in enumerate(rows):
        y = top + number * _ROW_PX + _ROW_PX // 2
        for surface_id, name, detail, offset in row:
            x = _MARGIN_PX + offset
            draw.rounded_rectangle((x, y - 8, x + 16, y + 8), 4, colours[surface_id])
            draw.text((x + 25, y), name, _INK, _font(17), anchor="lm")
            x += 25 + round(_font(17).getlength(name)) + 9
            draw.text((x, y + 1), detail, _FAINT, _font(14), anchor="lm")


def _over(picture: Image.Image, layer: Image.Image) -> Image.Image:
    return Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")


def _shorten(text: str, longest: int) -> str:
    """One line of at most ``longest`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font with more scripts where the system has one, else the one that comes with Pillow."""
    try:
        return ImageFont.truetype("DejaVuSans.ttf", size)
    except OSError:
        return ImageFont.load_default(size)
