/**
 * The joint map: which surface owns each pixel, with halved copies of itself for drawing from afar.
 *
 * Each level is a Uint16Array with an apron of zeros, so that what looks at neighbours needs no bounds. Only the
 * boxes that change are written, on every level.
 */

export const APRON = 1;

/** @typedef {{width: number, height: number, stride: number, labels: Uint16Array}} Level */

export class LabelMap {
  /** @param {number} width @param {number} height */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    /** @type {Level[]} */
    this.levels = [];
    for (let w = width, h = height; ; w = Math.ceil(w / 2), h = Math.ceil(h / 2)) {
      const stride = w + 2 * APRON;
      this.levels.push({ width: w, height: h, stride, labels: new Uint16Array(stride * (h + 2 * APRON)) });
      if (Math.max(w, h) <= 160) break;
    }
    this.changedPixels = 0; // how many pixels all patches so far have carried: for tests and measurements
  }

  /** The surface at an image position, 0 outside. @param {number} x @param {number} y */
  at(x, y) {
    const column = Math.round(x);
    const row = Math.round(y);
    if (column < 0 || row < 0 || column >= this.width || row >= this.height) return 0;
    const { labels, stride } = this.levels[0];
    return labels[(row + APRON) * stride + column + APRON];
  }

  /**
   * Write a box.
   * @param {{x: number, y: number, width: number, height: number}} box
   * @param {Uint16Array} values row-major
   */
  apply({ x, y, width, height }, values) {
    const { labels, stride } = this.levels[0];
    for (let row = 0; row < height; row++) {
      labels.set(values.subarray(row * width, (row + 1) * width), (y + row + APRON) * stride + x + APRON);
    }
    this.changedPixels += width * height;
    let [x0, y0, x1, y1] = [x, y, x + width, y + height];
    for (let k = 1; k < this.levels.length; k++) {
      [x0, y0, x1, y1] = [x0 >> 1, y0 >> 1, (x1 + 1) >> 1, (y1 + 1) >> 1];
      halve(this.levels[k - 1], this.levels[k], x0, y0, x1, y1);
    }
  }
}

/**
 * The commonest of four labels, for each pixel of a box of the smaller level; a surface wins a draw with the background,
 * so that thin ones do not vanish.
 * @param {Level} from @param {Level} to @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1
 */
function halve(from, to, x0, y0, x1, y1) {
  const lastColumn = from.width - 1;
  const lastRow = from.height - 1;
  for (let y = y0; y < y1; y++) {
    const top = (2 * y + APRON) * from.stride + APRON;
    const bottom = (Math.min(2 * y + 1, lastRow) + APRON) * from.stride + APRON;
    const out = (y + APRON) * to.stride + APRON;
    for (let x = x0; x < x1; x++) {
      const left = 2 * x;
      const right = left < lastColumn ? left + 1 : left;
      const a = from.labels[top + left];
      const b = from.labels[top + right];
      const c = from.labels[bottom + left];
      const d = from.labels[bottom + right];
      to.labels[out + x] = a === b && a === c && a === d ? a : commonest(a, b, c, d);
    }
  }
}

/** @param {number} a @param {number} b @param {number} c @param {number} d */
function commonest(a, b, c, d) {
  if (a === b || a === c || a === d) {
    if (a !== 0 || (a === b ? 1 : 0) + (a === c ? 1 : 0) + (a === d ? 1 : 0) === 2) return a;
    return b || c || d; // background twice against two others
  }
  if (b === c || b === d) return b || a || c || d;
  if (c === d) return c || a || b;
  return a || b || c || d;
}
