/**
 * From marching-squares segments to closed rings and paths.
 *
 * A pixel's index names it; the edge between it and its right neighbour has the key 2 * index, the edge down 2 * index + 1.
 * A border crosses each edge once, so a segment is two keys and a ring a list of keys.
 */

const TOLERANCE = 0.08; // pixels of the level that a simplified border may be off
const REACH = 5; // crossings to either side that smooth one
const WEIGHTS = Array.from({ length: 2 * REACH + 1 }, (_, k) => Math.exp(-((k - REACH) ** 2) / 10));
const MARGIN = 0.1; // how near to a pixel's centre a border may come

/** Edges of a cell (0 top, 1 right, 2 bottom, 3 left) as from, to; the surface is on the right hand. */
export const CASES = [
  [], [0, 3], [1, 0], [1, 3], [2, 1], [0, 3, 2, 1], [2, 0], [2, 3],
  [3, 2], [0, 2], [1, 0, 3, 2], [1, 2], [3, 1], [0, 1], [3, 0], [],
];

/** The two cases of opposite corners, held together by their middle. @type {Record<number, number[]>} */
export const JOINED = { 5: [0, 1, 2, 3], 10: [1, 2, 3, 0] };

/** @param {number} at the cell's top left pixel @param {number} stride @param {number} edge */
export function edgeKey(at, stride, edge) {
  if (edge === 0) return 2 * at;
  if (edge === 1) return 2 * (at + 1) + 1;
  if (edge === 2) return 2 * (at + stride);
  return 2 * at + 1;
}

/** @typedef {{path: Path2D, box: [number, number, number, number], points: number}} Outline box: x0, y0, x1, y1 in image pixels */

/**
 * @param {number[][]} lists of segments: edge from, edge to, and so on
 * @returns {number[][]} rings of edge keys
 */
export function chain(lists) {
  /** @type {Map<number, number>} */
  const next = new Map();
  for (const list of lists) for (let k = 0; k < list.length; k += 2) next.set(list[k], list[k + 1]);
  const rings = [];
  for (const first of next.keys()) {
    /** @type {number[]} */
    const ring = [];
    for (let key = first; next.has(key); ) {
      ring.push(key);
      const following = /** @type {number} */ (next.get(key));
      next.delete(key);
      key = following;
    }
    rings.push(ring);
  }
  return rings;
}

/**
 * Where a ring crosses its edges: each crossing slides along its edge towards the mean of its neighbours, so that a
 * staircase becomes a slope. It never leaves its edge, so no pixel's centre changes sides: what is drawn is what is in
 * the map.
 * @param {number[]} keys @param {number} stride
 * @returns {Float64Array} x, y, x, y ...
 */
export function slide(keys, stride) {
  const count = keys.length;
  const middle = new Float64Array(2 * count);
  for (let k = 0; k < count; k++) {
    const at = keys[k] >> 1;
    const isDown = keys[k] & 1;
    middle[2 * k] = (at % stride) + (isDown ? 0 : 0.5);
    middle[2 * k + 1] = Math.floor(at / stride) + (isDown ? 0.5 : 0);
  }
  const reach = Math.min(REACH, Math.floor(count / 6));
  if (reach < 1) return middle;
  const out = middle.slice();
  for (let k = 0; k < count; k++) {
    const axis = keys[k] & 1; // the coordinate along the edge: x on an edge to the right, y on one down
    let sum = 0;
    let weights = 0;
    for (let step = -reach; step <= reach; step++) {
      const weight = WEIGHTS[step + REACH];
      let other = k + step;
      if (other < 0) other += count;
      else if (other >= count) other -= count;
      sum += weight * middle[2 * other + axis];
      weights += weight;
    }
    const limit = 0.5 - MARGIN;
    const moved = sum / weights - middle[2 * k + axis];
    out[2 * k + axis] += Math.min(Math.max(moved, -limit), limit);
  }
  return out;
}

/**
 * Leave out points that lie within a tolerance of the line between those that stay (a cone from the last kept point
 * narrows with each point that passes).
 * @param {ArrayLike<number>} ring x, y, x, y ... closed
 * @returns {ArrayLike<number>}
 */
export function simplify(ring) {
  const tolerance = TOLERANCE;
  const count = ring.length / 2;
  if (count < 8) return ring;
  const out = [ring[0], ring[1]];
  let [ax, ay] = [ring[0], ring[1]];
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
 * @param {ArrayLike<number>[]} rings in pixels of a level @param {number} scale image pixels per pixel of the level
 * @param {number} shift from the rings' coordinates to those with the image's top left corner at (0, 0)
 * @returns {Outline}
 */
export function drawRings(rings, scale, shift) {
  const path = new Path2D();
  /** @type {[number, number, number, number]} */
  const box = [Infinity, Infinity, -Infinity, -Infinity];
  let points = 0;
  for (const ring of rings) {
    for (let k = 0; k < ring.length; k += 2) {
      const x = (ring[k] + shift) * scale;
      const y = (ring[k + 1] + shift) * scale;
      if (k === 0) path.moveTo(x, y);
      else path.lineTo(x, y);
      if (x < box[0]) box[0] = x;
      if (y < box[1]) box[1] = y;
      if (x > box[2]) box[2] = x;
      if (y > box[3]) box[3] = y;
    }
    path.closePath();
    points += ring.length / 2;
  }
  return { path, box, points };
}
