/** The border of one surface's probabilities at one half: as smooth as the network's answer. */

import { CASES, JOINED, chain, drawRings, edgeKey, simplify } from "./rings.js";

const HALF = 127.5;

/**
 * @param {Uint8Array} values row-major, 255 is certain @param {{x: number, y: number, width: number, height: number}} box
 *     where they lie in the image; outside of it the probability is zero
 * @returns {import("./rings.js").Outline}
 */
export function outlineOfProbabilities(values, { x, y, width, height }) {
  // A rim of zeros closes what touches the box's edge.
  const stride = width + 2;
  const padded = new Uint8Array(stride * (height + 2));
  for (let row = 0; row < height; row++) padded.set(values.subarray(row * width, (row + 1) * width), (row + 1) * stride + 1);
  /** @type {number[]} */
  const segments = [];
  for (let at = 0; at + stride + 1 < padded.length; at++) {
    if (at % stride === stride - 1) continue;
    const [a, b, c, d] = [padded[at], padded[at + 1], padded[at + stride + 1], padded[at + stride]];
    const bits = (a > HALF ? 1 : 0) | (b > HALF ? 2 : 0) | (c > HALF ? 4 : 0) | (d > HALF ? 8 : 0);
    if (bits === 0 || bits === 15) continue;
    const pairs = (bits === 5 || bits === 10) && a + b + c + d > 4 * HALF ? JOINED[bits] : CASES[bits];
    for (let k = 0; k < pairs.length; k += 2) segments.push(edgeKey(at, stride, pairs[k]), edgeKey(at, stride, pairs[k + 1]));
  }
  const rings = chain([segments]).map((keys) => simplify(crossings(keys, padded, stride, x - 1, y - 1)));
  return drawRings(rings, 1, 0.5);
}

/** @param {number[]} keys @param {Uint8Array} values @param {number} stride @param {number} x @param {number} y */
function crossings(keys, values, stride, x, y) {
  const ring = new Float64Array(2 * keys.length);
  keys.forEach((key, k) => {
    const at = key >> 1;
    const isDown = key & 1;
    const from = values[at];
    const t = (HALF - from) / (values[isDown ? at + stride : at + 1] - from);
    ring[2 * k] = x + (at % stride) + (isDown ? 0 : t);
    ring[2 * k + 1] = y + Math.floor(at / stride) + (isDown ? t : 0);
  });
  return ring;
}
