"""What is drawn is what is in the map: outlines, levels, colours, by the page's own modules in the real browser."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from numpy.typing import NDArray

from browser.screen import Screen

_OUTLINES = """
const [width, height, text, done] = arguments;
(async () => {
  const { LabelMap } = await import("./static/label_map.js");
  const { LevelOutlines } = await import("./static/outlines.js");
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const values = new Uint16Array(bytes.buffer);
  const map = new LabelMap(width, height);
  map.apply({ x: 0, y: 0, width, height }, values);
  const outlines = new LevelOutlines(map.levels[0], 1);
  outlines.prepare(Infinity);
  const context = new OffscreenCanvas(1, 1).getContext("2d");
  const drawn = new Uint16Array(width * height);
  let points = 0;
  for (const id of new Set(values)) {
    if (!id) continue;
    const { path, points: count } = outlines.outline(id);
    points += count;
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        if (context.isPointInPath(path, x + 0.5, y + 0.5, "evenodd")) drawn[y * width + x] += id;
      }
    }
  }
  done([Array.from(drawn), points]);
})();
"""
_COLOURS = """
const done = arguments[0];
import("./static/colormaps.js").then(({ COLORMAPS, colormap }) =>
  done(COLORMAPS.map(({ name }) => [name, Array.from(colormap(name))])));
"""


def drawn(screen: Screen, joint: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], int]:
    """The map that the outlines' inside gives back, sampled at pixel centres, and how many points they have."""
    height, width = joint.shape
    text = base64.b64encode(joint.astype("<u2").tobytes()).decode()
    values, points = screen.driver.execute_async_script(_OUTLINES, width, height, text)  # type: ignore[no-untyped-call]
    return np.array(values, np.uint16).reshape(height, width), points


def test_no_pixel_centre_changes_sides(window: Screen) -> None:
    """Blobs side by side, staircases, holes, thin lines, single pixels, diagonals, everything at the image's edge."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:96, :128]
    joint = np.zeros((96, 128), np.uint16)
    for k in range(1, 9):
        cx, cy, r = rng.uniform(0, 128), rng.uniform(0, 96), rng.uniform(8, 30)
        angle = np.arctan2(y - cy, x - cx)
        joint[np.hypot(x - cx, y - cy) < r * (1 + 0.3 * np.sin(5 * angle + k))] = k
    joint[np.hypot(x - 60, y - 50) < 6] = 0
    joint[y == np.round(x / 9) + 20] = 9
    joint[40, 10:90] = 10
    joint[rng.random(joint.shape) < 0.01] = 11
    joint[(x == y) & (x < 40)] = 12
    result, _ = drawn(window, joint)
    assert (result != joint).sum() == 0


def test_a_staircase_is_drawn_as_a_slope_with_few_points(window: Screen) -> None:
    y, x = np.mgrid[:100, :100]
    joint = ((y > 20 + x / 4) & (y < 90) & (x > 5) & (x < 95)).astype(np.uint16)
    result, points = drawn(window, joint)
    assert (result == joint).all()
    assert points < 90  # the staircase alone has 22 steps of 4 pixels, and the border 340 crossings


def test_colormaps_rise_in_equal_steps_of_lightness(window: Screen) -> None:
    for name, flat in window.driver.execute_async_script(_COLOURS):  # type: ignore[no-untyped-call]
        v = np.array(flat, float).reshape(256, 3) / 255
        linear = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
        lms = (
            linear
            @ np.array(
                [
                    [0.4122214708, 0.5363325363, 0.0514459929],
                    [0.2119034982, 0.6806995451, 0.1073969566],
                    [0.0883024619, 0.2817188376, 0.6299787005],
                ]
            ).T
        )
        lightness = np.cbrt(lms) @ np.array([0.2104542553, 0.793617785, -0.0040720468])
        steps = np.diff(lightness[::15])
        assert lightness[-1] - lightness[0] > 0.75, name
        assert steps == pytest.approx(np.full(len(steps), steps.mean()), abs=0.014), name
