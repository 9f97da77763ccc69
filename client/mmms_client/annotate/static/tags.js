/** Each surface's number and name, drawn where its area is widest. */

import { APRON } from "./label_map.js";

/**
 * The pixel farthest from each surface's border, by the coarsest level of the map.
 * @param {import("./label_map.js").LabelMap} map
 * @returns {Map<number, {x: number, y: number, reach: number}>} image pixels
 */
export function widestPlaces(map) {
  const last = map.levels.length - 1;
  const { width, height, stride, labels } = map.levels[last];
  const scale = 2 ** last;
  const distance = new Uint16Array(labels.length);
  const neighbour = (/** @type {number} */ at, /** @type {number} */ other) => (labels[other] === labels[at] ? distance[other] : 0);
  for (let y = 0; y < height; y++) {
    for (let x = 0, at = (y + APRON) * stride + APRON; x < width; x++, at++) {
      if (labels[at]) distance[at] = 1 + Math.min(neighbour(at, at - 1), neighbour(at, at - stride));
    }
  }
  const places = new Map();
  for (let y = height - 1; y >= 0; y--) {
    for (let x = width - 1, at = (y + APRON) * stride + APRON + x; x >= 0; x--, at--) {
      const id = labels[at];
      if (!id) continue;
      const d = Math.min(distance[at], 1 + Math.min(neighbour(at, at + 1), neighbour(at, at + stride)));
      distance[at] = d;
      const best = places.get(id);
      if (!best || d > best.steps) places.set(id, { steps: d, x: (x + 0.5) * scale - 0.5, y: (y + 0.5) * scale - 0.5, reach: d * scale });
    }
  }
  return places;
}

/** @type {WeakMap<import("./label_map.js").LabelMap, {at: number, places: ReturnType<typeof widestPlaces>}>} */
const known = new WeakMap();

/** @param {import("./label_map.js").LabelMap} map */
function placesOf(map) {
  const entry = known.get(map);
  if (entry && entry.at === map.changedPixels) return entry.places;
  const places = widestPlaces(map);
  known.set(map, { at: map.changedPixels, places });
  return places;
}

/** @param {import("./scene.js").Scene} scene @param {import("./scene.js").Pane} pane @param {import("./state.js").Surface[]} surfaces */
export function paintTags({ context, state, view }, pane, surfaces) {
  if (!state.labels) return;
  const places = placesOf(state.labels);
  context.save();
  context.font = "600 11px system-ui, sans-serif";
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const surface of surfaces) {
    const place = places.get(surface.id);
    if (!place) continue;
    const room = place.reach * view.scale;
    if (room < 9) continue;
    const [x, y] = view.toScreen(place.x, place.y);
    const text = room > 34 ? `${surface.id}  ${shortened(surface.class ?? surface.name)}` : String(surface.id);
    const width = context.measureText(text).width + 18;
    if (x < 0 || y < 0 || x > pane.width || y > pane.height) continue;
    const left = Math.round(pane.x + Math.min(Math.max(x - width / 2, 4), pane.width - width - 4));
    const isCovered = surface.id === state.activeId && surface.clicks.some((click) => {
      const [cx, cy] = view.toScreen(click.x, click.y);
      return Math.abs(cx - x) < width / 2 + 8 && Math.abs(cy - y) < 18;
    });
    const top = Math.round(y + pane.y - 9) + (isCovered ? 22 : 0);
    context.fillStyle = surface.id === state.activeId ? "#fff" : "rgb(14 16 20 / 0.72)";
    context.beginPath();
    context.roundRect(left, top, width, 18, 9);
    context.fill();
    context.fillStyle = state.colourOf(surface);
    context.fillRect(left + 6, top + 5, 4, 8);
    context.fillStyle = surface.id === state.activeId ? "#14161b" : "#fff";
    context.fillText(text, left + 13, top + 9.5);
  }
  context.restore();
}

/** @param {string} text */
function shortened(text) {
  return text.length > 14 ? `${text.slice(0, 13)}…` : text;
}
