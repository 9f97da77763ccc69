/** How often each value occurs, in the colours that it is shown with; the window's edges can be dragged. */

import { colormap } from "./colormaps.js";

const BINS = 128;
const GRIP_PX = 14;

export class Histogram {
  /** @param {HTMLCanvasElement} canvas @param {import("./windows.js").Windows} windows */
  constructor(canvas, windows) {
    this.canvas = canvas;
    this.windows = windows;
    this.name = "";
    /** @type {import("./pictures.js").ScalarPicture | null} */
    this.picture = null;
    this.edge = "";
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.drag(event));
    canvas.addEventListener("pointerup", () => this.up());
    canvas.addEventListener("pointercancel", () => this.up());
  }

  /** @param {string} name @param {import("./pictures.js").ScalarPicture} picture */
  show(name, picture) {
    this.name = name;
    if (this.picture !== picture) this.counts = picture.histogram(BINS);
    this.picture = picture;
    this.draw();
  }

  /** The values at the left and the right end: all that occur, and the window. */
  get range() {
    const { counts, picture } = this;
    if (!counts || !picture) return [0, 1];
    const low = Math.min(counts.least, picture.window.low);
    const high = Math.max(counts.most, picture.window.high);
    return [low, high > low ? high : low + 1];
  }

  draw() {
    const { canvas, counts, picture } = this;
    if (!counts || !picture) return;
    const dpr = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth || 256, canvas.clientHeight || 64];
    canvas.width = width * dpr;
    canvas.height = height * dpr;
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.scale(dpr, dpr);
    const style = getComputedStyle(canvas);
    const [from, to] = this.range;
    const x = (/** @type {number} */ value) => ((value - from) / (to - from)) * width;
    this.drawBars(context, x, height);
    context.fillStyle = style.getPropertyValue("--ink");
    for (const edge of [picture.window.low, picture.window.high]) {
      context.fillRect(Math.min(Math.max(x(edge) - 1, 0), width - 2), 0, 2, height);
      context.beginPath();
      context.roundRect(Math.min(Math.max(x(edge) - 4, 0), width - 8), height / 2 - 9, 8, 18, 4);
      context.fill();
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {(value: number) => number} x @param {number} height */
  drawBars(context, x, height) {
    const { counts, picture } = this;
    if (!counts || !picture) return;
    const { low, high, colormap: name, inverted } = picture.window;
    const map = colormap(name);
    const most = Math.max(...counts.bins, 1);
    const step = (counts.most - counts.least) / BINS;
    counts.bins.forEach((count, k) => {
      const value = counts.least + k * step;
      let t = Math.min(Math.max((value + step / 2 - low) / (high - low || 1e-9), 0), 1);
      if (inverted) t = 1 - t;
      const c = 3 * Math.round(t * 255);
      const h = Math.pow(count / most, 0.4) * (height - 4);
      context.fillStyle = `rgb(${map[c]} ${map[c + 1]} ${map[c + 2]})`;
      context.fillRect(x(value), height - h, Math.max(x(value + step) - x(value) + 0.5, 1), h);
    });
  }

  /** @param {PointerEvent} event */
  valueAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [from, to] = this.range;
    return from + ((event.clientX - box.left) / box.width) * (to - from);
  }

  /** @param {PointerEvent} event */
  down(event) {
    if (!this.picture) return;
    const { low, high } = this.picture.window;
    const [from, to] = this.range;
    const grip = ((to - from) * GRIP_PX) / this.canvas.clientWidth;
    const value = this.valueAt(event);
    const [toLow, toHigh] = [Math.abs(value - low), Math.abs(value - high)];
    this.edge = Math.min(toLow, toHigh) < grip ? (toLow < toHigh ? "low" : "high") : "both";
    this.last = value;
    this.canvas.setPointerCapture(event.pointerId);
  }

  /** @param {PointerEvent} event */
  drag(event) {
    if (!this.edge || !this.picture) return;
    const value = this.valueAt(event);
    const { low, high } = this.picture.window;
    const step = value - (this.last ?? value);
    this.last = value;
    if (this.edge === "both") this.windows.set(this.name, { low: low + step, high: high + step }, true);
    else if (this.edge === "low") this.windows.set(this.name, { low: Math.min(value, high - this.picture.scale) }, true);
    else this.windows.set(this.name, { high: Math.max(value, low + this.picture.scale) }, true);
  }

  up() {
    if (!this.edge) return;
    this.edge = "";
    this.windows.settle(this.name);
  }
}
