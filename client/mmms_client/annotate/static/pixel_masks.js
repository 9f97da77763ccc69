/** Masks as the map holds them, pixel by pixel: what is drawn while crisp pixels are wanted and can be told apart. */

import { APRON } from "./label_map.js";

/** @param {import("./scene.js").Scene} scene @param {import("./scene.js").Pane} pane */
export function paintPixelMasks(scene, pane) {
  const { context, state, view } = scene;
  if (!state.labels) return;
  const paths = pathsOf(state.labels.levels[0], view.visibleBox());
  context.save();
  context.translate(pane.x + view.x, pane.y + view.y);
  context.scale(view.scale, view.scale);
  for (const surface of state.surfaces) {
    const path = surface.visible ? paths.get(surface.id) : undefined;
    if (!path) continue;
    const isActive = surface.id === state.activeId;
    context.globalAlpha = state.settings.fill;
    context.fillStyle = state.colourOf(surface);
    context.fill(path.area);
    context.globalAlpha = 1;
    context.lineWidth = (isActive ? 4 : 3) / view.scale;
    context.strokeStyle = "rgb(0 0 0 / 0.75)";
    context.stroke(path.border);
    context.lineWidth = (isActive ? 2 : 1.5) / view.scale;
    context.strokeStyle = isActive ? "#fff" : state.colourOf(surface);
    context.stroke(path.border);
  }
  context.restore();
}

/**
 * @param {import("./label_map.js").Level} level @param {[number, number, number, number]} box
 * @returns {Map<number, {area: Path2D, border: Path2D}>} by surface, with the image's top left corner at (0, 0)
 */
function pathsOf({ labels, stride }, [x0, y0, width, height]) {
  /** @type {Map<number, {area: Path2D, border: Path2D}>} */
  const paths = new Map();
  for (let y = y0; y < y0 + height; y++) {
    for (let x = x0, at = (y + APRON) * stride + x0 + APRON; x < x0 + width; x++, at++) {
      const id = labels[at];
      if (!id) continue;
      let path = paths.get(id);
      if (!path) paths.set(id, (path = { area: new Path2D(), border: new Path2D() }));
      if (x === x0 || labels[at - 1] !== id) path.area.rect(x, y, runLength(labels, at, x0 + width - x), 1);
      if (labels[at - 1] !== id) line(path.border, x, y, x, y + 1);
      if (labels[at + 1] !== id) line(path.border, x + 1, y, x + 1, y + 1);
      if (labels[at - stride] !== id) line(path.border, x, y, x + 1, y);
      if (labels[at + stride] !== id) line(path.border, x, y + 1, x + 1, y + 1);
    }
  }
  return paths;
}

/** @param {Uint16Array} labels @param {number} at @param {number} most */
function runLength(labels, at, most) {
  let length = 1;
  while (length < most && labels[at + length] === labels[at]) length++;
  return length;
}

/** @param {Path2D} path @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
function line(path, x0, y0, x1, y1) {
  path.moveTo(x0, y0);
  path.lineTo(x1, y1);
}
