/** Masks and clicks over a picture. Nothing here needs colour to be told apart: outlines, numbers and patterns do it too. */

import { hatch } from "./hatch.js";
import { paintTags } from "./tags.js";

const RIM = "rgb(0 0 0 / 0.75)";
const POSITIVE = "#12a150";
const NEGATIVE = "#dc2f3c";

/** @typedef {import("./scene.js").Scene} Scene @typedef {import("./scene.js").Pane} Pane */

/**
 * @param {Scene} scene @param {Pane} pane @param {import("./outlines.js").LevelOutlines} level
 */
export function paintMasks(scene, pane, level) {
  const { context, state, view } = scene;
  const [x0, y0, w, h] = view.visibleBox();
  const shown = [];
  for (const surface of state.surfaces) {
    if (!surface.visible) continue;
    const outline = level.outline(surface.id);
    if (!outline) continue;
    const [bx0, by0, bx1, by1] = outline.box;
    if (bx1 < x0 || by1 < y0 || bx0 > x0 + w || by0 > y0 + h) continue;
    shown.push({ surface, outline });
  }
  context.save();
  toImageSpace(scene, pane);
  if (scene.showsPixels) shown.length = 0; // they are drawn pixel by pixel already
  const comparing = state.without && state.without.surface === state.activeId ? state.without : null;
  fillMasks(scene, shown, comparing !== null);
  strokeMasks(scene, shown, comparing !== null);
  const active = shown.find(({ surface }) => surface.id === state.activeId);
  if (comparing) paintWithout(scene, comparing.outline, active?.outline ?? null);
  else if (active) strokeActive(scene, active);
  if (state.preview && !comparing) paintPreview(scene, state.preview.outline);
  context.restore();
  if (state.settings.tags && !scene.isMoving) paintTags(scene, pane, shown.map(({ surface }) => surface));
}

/** Image coordinates with the image's corner at (0, 0). @param {Scene} scene @param {Pane} pane */
function toImageSpace(scene, pane) {
  const { context, view } = scene;
  context.translate(pane.x + view.x, pane.y + view.y);
  context.scale(view.scale, view.scale);
}

/** @typedef {{surface: import("./state.js").Surface, outline: import("./rings.js").Outline}} Shown */

/** @param {Scene} scene @param {Shown[]} shown @param {boolean} isComparing */
function fillMasks(scene, shown, isComparing) {
  const { context, state, view } = scene;
  const { fill, patterns } = state.settings;
  for (const { surface, outline } of shown) {
    if (isComparing && surface.id === state.activeId) continue;
    const isActive = surface.id === state.activeId;
    context.globalAlpha = isActive ? Math.min(fill * 1.25, 1) : fill;
    context.fillStyle = state.colourOf(surface);
    context.fill(outline.path, "evenodd");
    if (patterns && !scene.isMoving) {
      context.globalAlpha = 0.85;
      context.fillStyle = hatch(context, surface.id, "#fff", view.scale);
      context.fill(outline.path, "evenodd");
    }
  }
  context.globalAlpha = 1;
}

/** @param {Scene} scene @param {Shown[]} shown @param {boolean} isComparing */
function strokeMasks(scene, shown, isComparing) {
  const { context, state, view } = scene;
  // A line of one device pixel is drawn much faster than a wider one: in motion that counts.
  context.lineWidth = (scene.isMoving ? 1 / scene.dpr : 1.5) / view.scale;
  context.lineJoin = "bevel";
  for (const { surface, outline } of shown) {
    if (surface.id === state.activeId) continue;
    context.globalAlpha = isComparing ? 0.5 : 1;
    context.strokeStyle = state.colourOf(surface);
    if (surface.locked) context.setLineDash([2 / view.scale, 3 / view.scale]);
    context.stroke(outline.path);
    if (surface.locked) context.setLineDash([]);
  }
  context.globalAlpha = 1;
}

/** @param {Scene} scene @param {Shown} active */
function strokeActive({ context, state, view }, { surface, outline }) {
  context.lineJoin = "round";
  context.lineWidth = 4.5 / view.scale;
  context.strokeStyle = RIM;
  context.stroke(outline.path);
  context.lineWidth = 2.75 / view.scale;
  context.strokeStyle = state.colourOf(surface);
  context.stroke(outline.path);
  context.lineWidth = 1 / view.scale;
  context.strokeStyle = "#fff";
  context.stroke(outline.path);
}

/** @param {Scene} scene @param {import("./rings.js").Outline} outline */
function paintPreview({ context, view }, outline) {
  context.fillStyle = "rgb(255 255 255 / 0.16)";
  context.fill(outline.path, "evenodd");
  dashed(context, outline.path, "#fff", view.scale);
}

/** @param {CanvasRenderingContext2D} context @param {Path2D} path @param {string} colour @param {number} scale */
function dashed(context, path, colour, scale) {
  context.lineWidth = 3.5 / scale;
  context.strokeStyle = RIM;
  context.stroke(path);
  context.setLineDash([6 / scale, 4 / scale]);
  context.lineWidth = 1.75 / scale;
  context.strokeStyle = colour;
  context.stroke(path);
  context.setLineDash([]);
}

/**
 * The mask without a modality: by itself, or where it disagrees with the mask that uses all of them.
 * @param {Scene} scene @param {import("./rings.js").Outline} without @param {import("./rings.js").Outline | null} all
 */
function paintWithout(scene, without, all) {
  const { context, view, state } = scene;
  const colour = (state.active ? state.colourOf(state.active) : "#fff");
  if (!scene.isDifference || !all) {
    context.globalAlpha = state.settings.fill * 1.25;
    context.fillStyle = colour;
    context.fill(without.path, "evenodd");
    context.globalAlpha = 1;
    dashed(context, without.path, colour, view.scale);
    return;
  }
  fillDifference(scene, all.path, without.path, "#2b8cff", 0);
  fillDifference(scene, without.path, all.path, "#ff9f1a", 3);
  context.lineWidth = 2 / view.scale;
  context.strokeStyle = "#fff";
  context.stroke(all.path);
  dashed(context, without.path, "#fff", view.scale);
}

/** What one area has and the other has not. @param {Scene} scene @param {Path2D} here @param {Path2D} there @param {string} colour @param {number} pattern */
function fillDifference({ context, view }, here, there, colour, pattern) {
  const either = new Path2D(here);
  either.addPath(there);
  context.save();
  context.clip(here, "evenodd");
  context.globalAlpha = 0.62;
  context.fillStyle = colour;
  context.fill(either, "evenodd");
  context.globalAlpha = 0.9;
  context.fillStyle = hatch(context, pattern, "#fff", view.scale);
  context.fill(either, "evenodd");
  context.restore();
}

/** @param {Scene} scene @param {Pane} pane */
export function paintClicks(scene, pane) {
  const { context, state, view } = scene;
  const at = (/** @type {{x: number, y: number}} */ { x, y }) => {
    const [sx, sy] = view.toScreen(x, y);
    return /** @type {[number, number]} */ ([sx + pane.x, sy + pane.y]);
  };
  for (const [index, click] of (state.active?.clicks ?? []).entries()) {
    paintClick(context, at(click), click.positive, index === scene.hoveredClick ? "hovered" : "set");
  }
  for (const click of state.pending) paintClick(context, at(click), click.positive, "pending");
}

/** @param {CanvasRenderingContext2D} context @param {[number, number]} at @param {boolean} positive @param {string} how */
function paintClick(context, [x, y], positive, how) {
  const radius = how === "hovered" ? 10 : 7;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fillStyle = positive ? POSITIVE : NEGATIVE;
  context.globalAlpha = how === "pending" ? 0.65 : 1;
  context.fill();
  context.globalAlpha = 1;
  context.lineWidth = 3.5;
  context.strokeStyle = RIM;
  context.stroke();
  context.lineWidth = 1.75;
  context.strokeStyle = "#fff";
  if (how === "pending") context.setLineDash([3, 3]);
  context.stroke();
  context.setLineDash([]);
  context.beginPath();
  context.lineWidth = 2;
  if (how === "hovered") {
    context.moveTo(x - 3.5, y - 3.5);
    context.lineTo(x + 3.5, y + 3.5);
    context.moveTo(x + 3.5, y - 3.5);
    context.lineTo(x - 3.5, y + 3.5);
  } else {
    context.moveTo(x - 3.5, y);
    context.lineTo(x + 3.5, y);
    if (positive) {
      context.moveTo(x, y - 3.5);
      context.lineTo(x, y + 3.5);
    }
  }
  context.stroke();
}
