/**
 * Pictures under the masks. Both kinds keep halved copies of themselves, so that drawing a large image from afar touches
 * about as many pixels as the screen has.
 */

import { NO_VALUE, colormap } from "./colormaps.js";
import { inflate } from "./socket.js";

const SMALLEST_SIDE = 256;
const QUICK_PIXELS = 1.5e6; // a window that is being dragged is drawn from a copy of at most this size

/** @param {number} scale device pixels per pixel of the picture @param {number} count of levels */
function levelFor(scale, count) {
  return Math.min(Math.max(Math.floor(Math.log2(1 / scale) + 0.2), 0), count - 1);
}

/** An RGB picture. */
export class ColourPicture {
  /** @param {ImageBitmap} bitmap */
  constructor(bitmap) {
    this.width = bitmap.width;
    this.height = bitmap.height;
    /** @type {ImageBitmap[]} */
    this.levels = [bitmap];
  }

  /** @param {string} address @param {AbortSignal} signal */
  static async load(address, signal) {
    const answer = await fetchChecked(address, signal);
    const picture = new ColourPicture(await createImageBitmap(await answer.blob()));
    picture.halve();
    return picture;
  }

  halve() {
    for (let last = this.levels[0]; Math.max(last.width, last.height) > 2 * SMALLEST_SIDE; ) {
      const canvas = new OffscreenCanvas(Math.ceil(last.width / 2), Math.ceil(last.height / 2));
      const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
      context.imageSmoothingEnabled = true;
      context.drawImage(last, 0, 0, canvas.width, canvas.height);
      last = canvas.transferToImageBitmap();
      this.levels.push(last);
    }
  }

  /** @param {number} scale */
  source(scale) {
    return this.levels[levelFor(scale, this.levels.length)];
  }
}

/** @typedef {{low: number, high: number, colormap: string, inverted: boolean}} Window low and high in the unit */

/** A map of numbers: value = (q - 1) * scale + offset for q >= 1; q = 0 is no measurement. */
export class ScalarPicture {
  /** @param {Uint16Array} values @param {{width: number, height: number, scale: number, offset: number}} about */
  constructor(values, { width, height, scale, offset }) {
    this.width = width;
    this.height = height;
    this.scale = scale;
    this.offset = offset;
    /** @type {{width: number, height: number, values: Uint16Array, canvas: OffscreenCanvas | null, painted: string}[]} */
    this.levels = [{ width, height, values, canvas: null, painted: "" }];
    /** @type {Window} */
    this.window = { low: 0, high: 1, colormap: "grey", inverted: false };
    this.isDragged = false;
    this.halve();
    this.colours = new Uint32Array(65536);
    this.coloursOf = "";
  }

  /** @param {string} address @param {AbortSignal} signal @param {{width: number, height: number, scale: number, offset: number}} about */
  static async load(address, signal, about) {
    const answer = await fetchChecked(address, signal);
    const bytes = await inflate(new Uint8Array(await answer.arrayBuffer()));
    return new ScalarPicture(new Uint16Array(bytes.buffer), about);
  }

  halve() {
    for (let last = this.levels[0]; Math.max(last.width, last.height) > 2 * SMALLEST_SIDE; ) {
      const [width, height] = [Math.ceil(last.width / 2), Math.ceil(last.height / 2)];
      const values = new Uint16Array(width * height);
      for (let y = 0; y < height; y++) {
        const top = 2 * y * last.width;
        const bottom = Math.min(2 * y + 1, last.height - 1) * last.width;
        for (let x = 0; x < width; x++) {
          const [left, right] = [2 * x, Math.min(2 * x + 1, last.width - 1)];
          values[y * width + x] = meanOfMeasured(
            last.values[top + left],
            last.values[top + right],
            last.values[bottom + left],
            last.values[bottom + right],
          );
        }
      }
      last = { width, height, values, canvas: null, painted: "" };
      this.levels.push(last);
    }
  }

  /** @param {number} scale @returns {CanvasImageSource & {width: number, height: number}} */
  source(scale) {
    let index = levelFor(scale, this.levels.length);
    const last = this.levels.length - 1;
    if (this.isDragged) {
      while (index < last && this.levels[index].width * this.levels[index].height > QUICK_PIXELS) index++;
    }
    const level = this.levels[index];
    const { low, high, colormap: name, inverted } = this.window;
    const wanted = `${low} ${high} ${name} ${inverted}`;
    if (level.canvas === null || level.painted !== wanted) {
      this.paint(level, wanted);
      level.painted = wanted;
    }
    return /** @type {OffscreenCanvas} */ (level.canvas);
  }

  /** @param {{width: number, height: number, values: Uint16Array, canvas: OffscreenCanvas | null}} level @param {string} wanted */
  paint(level, wanted) {
    if (this.coloursOf !== wanted) this.fillColours(wanted);
    level.canvas ??= new OffscreenCanvas(level.width, level.height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (level.canvas.getContext("2d", { alpha: false }));
    const data = new ImageData(level.width, level.height);
    const pixels = new Uint32Array(data.data.buffer);
    const { values } = level;
    const { colours } = this;
    for (let k = 0; k < pixels.length; k++) pixels[k] = colours[values[k]];
    context.putImageData(data, 0, 0);
  }

  /** @param {string} wanted */
  fillColours(wanted) {
    const map = colormap(this.window.colormap);
    const low = (this.window.low - this.offset) / this.scale + 1;
    const high = (this.window.high - this.offset) / this.scale + 1;
    const factor = 255 / (high - low || 1e-9);
    for (let q = 1; q < 65536; q++) {
      let k = Math.round((q - low) * factor);
      k = k < 0 ? 0 : k > 255 ? 255 : k;
      if (this.window.inverted) k = 255 - k;
      this.colours[q] = 0xff000000 | (map[3 * k + 2] << 16) | (map[3 * k + 1] << 8) | map[3 * k];
    }
    this.colours[0] = 0xff000000 | (NO_VALUE[2] << 16) | (NO_VALUE[1] << 8) | NO_VALUE[0];
    this.coloursOf = wanted;
  }

  /** The value at a place of the image, or null. @param {number} u 0 to 1 across @param {number} v 0 to 1 down */
  valueAt(u, v) {
    const x = Math.floor(u * this.width);
    const y = Math.floor(v * this.height);
    if (x < 0 || y < 0 || x >= this.width || y >= this.height) return null;
    const q = this.levels[0].values[y * this.width + x];
    return q === 0 ? null : (q - 1) * this.scale + this.offset;
  }

  /** How often each of `count` equal steps between the smallest and the largest value occurs. @param {number} count */
  histogram(count) {
    const { values } = this.levels[Math.min(1, this.levels.length - 1)];
    let [least, most] = [65535, 1];
    for (const q of values) {
      if (q === 0) continue;
      if (q < least) least = q;
      if (q > most) most = q;
    }
    const bins = new Float64Array(count);
    const factor = count / Math.max(1, most - least + 1);
    for (const q of values) if (q !== 0) bins[Math.floor((q - least) * factor)]++;
    const value = (/** @type {number} */ q) => (q - 1) * this.scale + this.offset;
    return { bins, least: value(least), most: value(most) };
  }

  /** Values below which these percentages of the measured pixels lie. @param {number[]} percents */
  percentiles(percents) {
    const { values } = this.levels[0];
    const counts = new Uint32Array(65536);
    for (const q of values) counts[q]++;
    const total = values.length - counts[0];
    return percents.map((percent) => {
      let below = 0;
      for (let q = 1; q < 65536; q++) {
        below += counts[q];
        if (below > 0 && below >= (total * percent) / 100) return (q - 1) * this.scale + this.offset;
      }
      return this.offset;
    });
  }
}

/** @param {number} a @param {number} b @param {number} c @param {number} d */
function meanOfMeasured(a, b, c, d) {
  if (a && b && c && d) return (a + b + c + d + 2) >> 2;
  const count = (a ? 1 : 0) + (b ? 1 : 0) + (c ? 1 : 0) + (d ? 1 : 0);
  return count ? Math.round((a + b + c + d) / count) : 0;
}

/** @param {string} address @param {AbortSignal} signal */
async function fetchChecked(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error(`Expected the picture ${address.split("?")[0]} but got status ${answer.status}; open the image again.`);
  return answer;
}
