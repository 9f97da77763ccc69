/**
 * Borders of all surfaces of a label map.
 *
 * Marching squares over the cells between four pixel centres: in each mixed cell, segments from edge to edge for each
 * surface in it. Segments are kept per tile; a patch invalidates the tiles that it touches and no others.
 */

import { APRON } from "./label_map.js";
import { CASES, JOINED, chain, drawRings, edgeKey, simplify, slide } from "./rings.js";

const TILE = 64; // cells

/** @typedef {Map<number, number[]>} Segments by surface: edge from, edge to, and so on */

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
    /** @type {Map<number, import("./rings.js").Outline>} */
    this.outlines = new Map();
  }

  /** A box of image pixels changed. @param {{x: number, y: number, width: number, height: number}} box */
  invalidate({ x, y, width, height }) {
    const reach = 1; // a pixel is a corner of the cells around it
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
        if (a) this.march(segments, a, at);
        if (b && b !== a) this.march(segments, b, at);
        if (c && c !== a && c !== b) this.march(segments, c, at);
        if (d && d !== a && d !== b && d !== c) this.march(segments, d, at);
      }
    }
    return segments;
  }

  /** @param {Segments} segments @param {number} id @param {number} at the cell's top left pixel */
  march(segments, id, at) {
    const { labels, stride } = this.level;
    const [a, b, c, d] = [labels[at], labels[at + 1], labels[at + stride + 1], labels[at + stride]];
    const bits = (a === id ? 1 : 0) | (b === id ? 2 : 0) | (c === id ? 4 : 0) | (d === id ? 8 : 0);
    let pairs = CASES[bits];
    if ((bits === 5 && b + d === 0) || (bits === 10 && a + c === 0)) pairs = JOINED[bits]; // a thin diagonal line holds together
    let list = segments.get(id);
    if (!list) segments.set(id, (list = []));
    for (let k = 0; k < pairs.length; k += 2) {
      list.push(edgeKey(at, stride, pairs[k]), edgeKey(at, stride, pairs[k + 1]));
    }
  }

  /** The border of one surface; call after prepare. @param {number} id @returns {import("./rings.js").Outline | null} */
  outline(id) {
    const known = this.outlines.get(id);
    if (known) return known;
    const tiles = this.tilesOf.get(id);
    if (!tiles?.size) return null;
    const lists = [...tiles].map((index) => /** @type {Segments} */ (this.tiles[index]).get(id) ?? []);
    const outline = this.join(lists);
    this.outlines.set(id, outline);
    return outline;
  }

  /** @param {number[][]} lists of segments @returns {import("./rings.js").Outline} */
  join(lists) {
    const { stride } = this.level;
    const rings = chain(lists).map((keys) => simplify(slide(keys, stride)));
    return drawRings(rings, this.scale, 0.5 - APRON);
  }
}
