"""Pictures of one surface for people: contours, a translucent prediction, clicks; as PNG inside the page.

A small surface is shown as a crop with some surroundings. All pictures of a surface show the same part.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmms_client.clicks import Click
from mmms_client.geometry import Region
from mmms_client.joint_mask import Mask
from mmms_client.overlay import modality_picture
from mmms_client.palette import RGB

LONG_SIDE_PX = 340
GROUND_TRUTH: RGB = (0, 220, 235)
PREDICTION: RGB = (255, 140, 0)
POSITIVE: RGB = (22, 163, 84)
NEGATIVE: RGB = (222, 46, 52)
OVERLAP: RGB = (255, 0, 200)
_WHITE, _DARK = (255, 255, 255), (16, 16, 18)
_SMALLEST_SHARE = 1 / 3  # of the sides of the image that a crop shows at least
_SURROUNDINGS = 0.35  # of the sides of what is shown, around it
_DOT_RADIUS_PX = 6

Picture = NDArray[np.uint8]  # RGB [h, w, 3]
Outline = tuple[Mask, RGB]


def part_to_show(mask: Mask, clicks: Sequence[Click] = ()) -> Region:
    """The part of an image, of its aspect ratio, that shows ``mask`` bool [H, W] and ``clicks`` with surroundings."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    y = [*rows[[0, -1]], *(click.y_px for click in clicks)] if rows.size else [0, height - 1]
    x = [*columns[[0, -1]], *(click.x_px for click in clicks)] if columns.size else [0, width - 1]
    needed = max((max(y) - min(y) + 1) / height, (max(x) - min(x) + 1) / width)
    share = min(1.0, max(_SMALLEST_SHARE, needed * (1 + 2 * _SURROUNDINGS)))
    if share > 0.9:
        return Region(0, 0, width, height)
    part_height, part_width = max(1, round(share * height)), max(1, round(share * width))
    y0 = round((min(y) + max(y) + 1 - part_height) / 2)
    x0 = round((min(x) + max(x) + 1 - part_width) / 2)
    return Region(
        int(np.clip(x0, 0, width - part_width)), int(np.clip(y0, 0, height - part_height)), part_width, part_height
    )


def modality_as_picture(values: NDArray[np.float32], size_hw: tuple[int, int]) -> Picture:
    """A modality float32 [h, w] or [h, w, C], NaN without measurement, as an RGB picture of the image's size."""
    picture, _, _ = modality_picture(values)
    return np.asarray(picture.resize((size_hw[1], size_hw[0]), Image.Resampling.BILINEAR))


def draw(
    image: Picture,
    part: Region,
    *,
    outlines: Sequence[Outline] = (),
    fill: Outline | None = None,
    clicks: Sequence[Click] = (),
) -> Picture:
    """The part of an image with a translucent area, outlines and clicks, at the size of the page.

    Args:
        image: RGB uint8 [H, W, 3].
        part: what to show.
        outlines: masks bool [H, W] with the colours of their contours.
        fill: a mask bool [H, W] and the colour to lay over it.
        clicks: in image pixels; positive ones get a plus, negative ones a minus.
    """
    scale = LONG_SIDE_PX / max(part.width, part.height)
    size = max(1, round(part.width * scale)), max(1, round(part.height * scale))
    box = (part.x0, part.y0, part.x0 + part.width, part.y0 + part.height)
    canvas = np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, box=box))
    if fill is not None:
        inside = _resize(fill[0], size, box)
        canvas[inside] = np.rint(0.55 * canvas[inside] + 0.45 * np.array(fill[1])).astype(np.uint8)
    for mask, colour in outlines:
        _outline(canvas, _resize(mask, size, box), colour)
    for click in clicks:
        place = round((click.x_px + 0.5 - part.x0) * scale), round((click.y_px + 0.5 - part.y0) * scale)
        _dot(canvas, place, click.is_positive)
    return canvas


def data_uri(picture: Picture) -> str:
    """A picture RGB uint8 [h, w, 3] as the address of an ``img``: PNG with a palette of 256 colours."""
    buffer = io.BytesIO()
    Image.fromarray(picture).quantize(256, Image.Quantize.FASTOCTREE).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _resize(mask: Mask, size: tuple[int, int], box: tuple[int, int, int, int]) -> Mask:
    shown = Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR, box=box)
    return np.asarray(shown) >= 0.5


def _outline(canvas: Picture, mask: Mask, colour: RGB) -> None:
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(canvas, contours, -1, _DARK, 3, cv2.LINE_AA)
    cv2.drawContours(canvas, contours, -1, colour, 1, cv2.LINE_AA)


def _dot(canvas: Picture, place: tuple[int, int], is_positive: bool) -> None:
    x, y = place
    radius, arm = _DOT_RADIUS_PX, _DOT_RADIUS_PX - 3
    cv2.circle(canvas, place, radius + 1, _WHITE, cv2.FILLED, cv2.LINE_AA)
    cv2.circle(canvas, place, radius, POSITIVE if is_positive else NEGATIVE, cv2.FILLED, cv2.LINE_AA)
    cv2.line(canvas, (x - arm, y), (x + arm, y), _WHITE, 2)
    if is_positive:
        cv2.line(canvas, (x, y - arm), (x, y + arm), _WHITE, 2)
