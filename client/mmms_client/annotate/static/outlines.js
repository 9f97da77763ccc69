/**
 * Borders of all surfaces of a label map, at sub-pixel precision.
 *
 * Marching squares over the cells between four pixel centres. For each surface in a mixed cell, a smoothed membership
 * says where the border crosses the cell's edges: half the pixel's own label and half a 5x5 binomial mean, so a
 * staircase becomes a slope, and yet no pixel centre ever changes sides: what is drawn is what is in the map. Segments are kept per
 * tile; a patch invalidates the tiles that it touches and no others.
 */

import { APRON } from "./label_map.js";

const TILE = 64; // cells
const KERNEL = [1, 4, 6, 4, 1];
const TOLERANCE = 0.08; // pixels of the level that a simplified border may be off

/** Edges of a cell (0 top, 1 right, 2 bottom, 3 left) as from, to; the surface is on the right hand. */
const CASES = [
  [], [0, 3], [1, 0], [1, 3], [2, 1], [0, 3, 2, 1], [2, 0], [2, 3],
  [3, 2], [0, 2], [1, 0, 3, 2], [1, 2], [3, 1], [0, 1], [3, 0], [],
];
const JOINED = { 5: [0, 1, 2, 3], 10: [1, 2, 3, 0] };

/** @typedef {Map<number, number[]>} Segments by surface: from, to, x, y of "from", and so on */

export class LevelOutlines {
  /** @param {import("./label_map.js").Level} level @param {number} scale image pixels per pixel of the level */
  constructor(level, scale) {
    this.level = level;
    this.scale = scale;
    this.columns = Math.ceil((level.width + 1) / TILE);
    this.rows = Math.ceil((level.height + 1) / TILE);
    /** @type {(Segments | null)[]} null: to be looked at (again) */
    this.tiles = new Array(this.columns * this.rows).fill(null);
    this.dirtyTiles = new Set(this.tiles.keys());
    /** @type {Map<number, Set<number>>} tiles by surface */
    this.tilesOf = new Map();
    /** @type {Map<number, Outline>} */
    this.outlines = new Map();
  }

  /** A box of image pixels changed. @param {{x: number, y: number, width: number, height: number}} box */
  invalidate({ x, y, width, height }) {
    const reach = 4; // cells that a changed pixel can move, by the kernel
    const clamp = (/** @type {number} */ v, /** @type {number} */ n) => Math.min(Math.max(v, 0), n - 1);
    const x0 = clamp(Math.floor((x / this.scale - reach + 1) / TILE), this.columns);
    const y0 = clamp(Math.floor((y / this.scale - reach + 1) / TILE), this.rows);
    const x1 = clamp(Math.floor(((x + width) / this.scale + reach + 1) / TILE), this.columns);
    const y1 = clamp(Math.floor(((y + height) / this.scale + reach + 1) / TILE), this.rows);
    for (let row = y0; row <= y1; row++) {
      for (let column = x0; column <= x1; column++) this.forget(row * this.columns + column);
    }
  }

  /** @param {number} index */
  forget(index) {
    for (const id of this.tiles[index]?.keys() ?? []) {
      this.outlines.delete(id);
      this.tilesOf.get(id)?.delete(index);
    }
    this.tiles[index] = null;
    this.dirtyTiles.add(index);
  }

  /**
   * Look at tiles that changed, until all are done or the time is up.
   * @param {number} deadline by performance.now()
   * @returns {boolean} whether all are done
   */
  prepare(deadline) {
    for (const index of this.dirtyTiles) {
      if (performance.now() > deadline) return false;
      const segments = this.scan(index % this.columns, Math.floor(index / this.columns));
      this.tiles[index] = segments;
      this.dirtyTiles.delete(index);
      for (const id of segments.keys()) {
        this.outlines.delete(id);
        const tiles = this.tilesOf.get(id) ?? new Set();
        this.tilesOf.set(id, tiles.add(index));
      }
    }
    return true;
  }

  /** @param {number} column @param {number} row @returns {Segments} */
  scan(column, row) {
    const { width, height, stride, labels } = this.level;
    /** @type {Segments} */
    const segments = new Map();
    const x0 = column * TILE - 1;
    const y0 = row * TILE - 1;
    const x1 = Math.min(x0 + TILE, width);
    const y1 = Math.min(y0 + TILE, height);
    for (let y = y0; y < y1; y++) {
      let at = (y + APRON) * stride + x0 + APRON;
      for (let x = x0; x < x1; x++, at++) {
        const a = labels[at];
        const b = labels[at + 1];
        const c = labels[at + stride + 1];
        const d = labels[at + stride];
        if (a === b && a === c && a === d) continue;
        if (a) this.march(segments, a, at, x, y);
        if (b && b !== a) this.march(segments, b, at, x, y);
        if (c && c !== a && c !== b) this.march(segments, c, at, x, y);
        if (d && d !== a && d !== b && d !== c) this.march(segments, d, at, x, y);
      }
    }
    return segments;
  }

  /** @param {Segments} segments @param {number} id @param {number} at @param {number} x @param {number} y */
  march(segments, id, at, x, y) {
    const { labels, stride } = this.level;
    const [a, b, c, d] = [labels[at], labels[at + 1], labels[at + stride + 1], labels[at + stride]];
    const bits = (a === id ? 1 : 0) | (b === id ? 2 : 0) | (c === id ? 4 : 0) | (d === id ? 8 : 0);
    let pairs = CASES[bits];
    if ((bits === 5 && b + d === 0) || (bits === 10 && a + c === 0)) pairs = JOINED[bits]; // a thin diagonal line holds together
    let list = segments.get(id);
    if (!list) segments.set(id, (list = []));
    const key = 2 * at;
    for (let k = 0; k < pairs.length; k += 2) {
      const from = pairs[k];
      list.push(edgeKey(key, stride, from), edgeKey(key, stride, pairs[k + 1]));
      // Where the border crosses the "from" edge: only this end is stored, the other is the next segment's.
      if (from === 0) list.push(x + this.crossing(id, at, at + 1), y);
      else if (from === 1) list.push(x + 1, y + this.crossing(id, at + 1, at + stride + 1));
      else if (from === 2) list.push(x + this.crossing(id, at + stride, at + stride + 1), y + 1);
      else list.push(x, y + this.crossing(id, at, at + stride));
    }
  }

  /** @param {number} id @param {number} from @param {number} to */
  crossing(id, from, to) {
    const a = this.membership(id, from);
    const b = this.membership(id, to);
    return (0.5 - a) / (b - a);
  }

  /** @param {number} id @param {number} at */
  membership(id, at) {
    const { labels, stride } = this.level;
    let sum = 0;
    for (let dy = -2; dy <= 2; dy++) {
      const line = at + dy * stride;
      let part = 0;
      if (labels[line - 2] === id) part += 1;
      if (labels[line - 1] === id) part += 4;
      if (labels[line] === id) part += 6;
      if (labels[line + 1] === id) part += 4;
      if (labels[line + 2] === id) part += 1;
      sum += part * KERNEL[dy + 2];
    }
    return sum / 512 + (labels[at] === id ? 0.5 : 0);
  }

  /** The border of one surface; call after prepare. @param {number} id @returns {Outline | null} */
  outline(id) {
    const known = this.outlines.get(id);
    if (known) return known;
    const tiles = this.tilesOf.get(id);
    if (!tiles?.size) return null;
    const lists = [...tiles].map((index) => /** @type {Segments} */ (this.tiles[index]).get(id) ?? []);
    const outline = joinSegments(lists, this.scale);
    this.outlines.set(id, outline);
    return outline;
  }
}

/** @param {number} key @param {number} stride @param {number} edge */
function edgeKey(key, stride, edge) {
  if (edge === 0) return key; // horizontal edges are even, vertical ones odd
  if (edge === 1) return key + 2 + 1;
  if (edge === 2) return key + 2 * stride;
  return key + 1;
}

/** @typedef {{path: Path2D, box: [number, number, number, number], points: number}} Outline box: x0, y0, x1, y1 in image pixels */

/**
 * Chain segments to closed rings.
 * @param {number[][]} lists @param {number} scale
 * @returns {Outline} in image coordinates moved by half a pixel: the image's top left corner is (0, 0)
 */
function joinSegments(lists, scale) {
  const total = lists.reduce((sum, list) => sum + list.length, 0);
  const flat = new Float64Array(total);
  let offset = 0;
  for (const list of lists) {
    flat.set(list, offset);
    offset += list.length;
  }
  /** @type {Map<number, number>} */
  const startingAt = new Map();
  for (let k = 0; k < total; k += 4) startingAt.set(flat[k], k);
  const path = new Path2D();
  /** @type {[number, number, number, number]} */
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  let points = 0;
  for (const first of startingAt.keys()) {
    if (!startingAt.has(first)) continue;
    /** @type {number[]} */
    const ring = [];
    for (let key = first; startingAt.has(key); ) {
      const k = /** @type {number} */ (startingAt.get(key));
      startingAt.delete(key);
      ring.push(flat[k + 2], flat[k + 3]);
      key = flat[k + 1];
    }
    points += addRing(path, simplifyRing(ring, TOLERANCE), scale, box);
  }
  return { path, box, points };
}

/**
 * @param {Path2D} path @param {number[]} ring in pixels of a level @param {number} scale
 * @param {[number, number, number, number]} box grows
 */
function addRing(path, ring, scale, box) {
  for (let k = 0; k < ring.length; k += 2) {
    const x = (ring[k] + 0.5) * scale;
    const y = (ring[k + 1] + 0.5) * scale;
    if (k === 0) path.moveTo(x, y);
    else path.lineTo(x, y);
    if (x < box[0]) box[0] = x;
    if (y < box[1]) box[1] = y;
    if (x > box[2]) box[2] = x;
    if (y > box[3]) box[3] = y;
  }
  path.closePath();
  return ring.length / 2;
}

/**
 * Leave out points that lie within a tolerance of the line between those that stay (a cone from the last kept point
 * narrows with each point that passes).
 * @param {number[]} ring x, y, x, y ... closed @param {number} tolerance
 * @returns {number[]}
 */
export function simplifyRing(ring, tolerance) {
  const count = ring.length / 2;
  if (count < 8) return ring;
  const out = [ring[0], ring[1]];
  let [ax, ay] = ring;
  let [lx, ly, rx, ry] = [0, 0, 0, 0]; // the cone's limits; zero: open
  let isOpen = true;
  for (let k = 1; k < count; k++) {
    const dx = ring[2 * k] - ax;
    const dy = ring[2 * k + 1] - ay;
    const length = Math.hypot(dx, dy);
    const inside = isOpen || (lx * dy - ly * dx >= 0 && dx * ry - dy * rx >= 0);
    if (inside && length > tolerance) {
      const sine = tolerance / length;
      const cosine = Math.sqrt(1 - sine * sine);
      const [nlx, nly] = [dx * cosine + dy * sine, dy * cosine - dx * sine];
      const [nrx, nry] = [dx * cosine - dy * sine, dy * cosine + dx * sine];
      if (isOpen || lx * nly - ly * nlx > 0) [lx, ly] = [nlx, nly];
      if (isOpen || nrx * ry - nry * rx > 0) [rx, ry] = [nrx, nry];
      isOpen = false;
    } else if (!inside) {
      [ax, ay] = [ring[2 * k - 2], ring[2 * k - 1]];
      out.push(ax, ay);
      isOpen = true;
      k--; // this point opens the next cone
    }
  }
  return out;
}

/**
 * The border of a probability map at one half, between pixel centres.
 * @param {Uint8Array} values row-major, 255 is certain @param {{x: number, y: number, width: number, height: number}} box
 * @returns {Outline}
 */
export function outlineOfProbabilities(values, { x, y, width, height }) {
  const value = (/** @type {number} */ column, /** @type {number} */ row) =>
    column < 0 || row < 0 || column >= width || row >= height ? 0 : values[row * width + column];
  const half = 127.5;
  const stride = width + 2;
  /** @type {number[]} */
  const segments = [];
  const between = (/** @type {number} */ a, /** @type {number} */ b) => (half - a) / (b - a);
  for (let row = -1; row < height; row++) {
    for (let column = -1; column < width; column++) {
      const a = value(column, row);
      const b = value(column + 1, row);
      const c = value(column + 1, row + 1);
      const d = value(column, row + 1);
      const bits = (a > half ? 1 : 0) | (b > half ? 2 : 0) | (c > half ? 4 : 0) | (d > half ? 8 : 0);
      const key = 2 * ((row + 1) * stride + column + 1);
      const pairs = (bits === 5 || bits === 10) && a + b + c + d > 4 * half ? JOINED[bits] : CASES[bits];
      for (let k = 0; k < pairs.length; k += 2) {
        const from = pairs[k];
        segments.push(edgeKey(key, stride, from), edgeKey(key, stride, pairs[k + 1]));
        if (from === 0) segments.push(x + column + between(a, b), y + row);
        else if (from === 1) segments.push(x + column + 1, y + row + between(b, c));
        else if (from === 2) segments.push(x + column + between(d, c), y + row + 1);
        else segments.push(x + column, y + row + between(a, d));
      }
    }
  }
  return joinSegments([segments], 1);
}
