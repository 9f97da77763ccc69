/**
 * Draws the panes: pictures, masks, clicks, what a tool shows. One requestAnimationFrame loop that sleeps while nothing
 * is dirty.
 */

import { paintClicks, paintMasks } from "./overlay.js";
import { paintPixelMasks } from "./pixel_masks.js";
import { RGB } from "./layout.js";

const MOVING_MS = 140; // so long after the last zoom or pan the picture counts as moving
const OUTLINE_BUDGET_MS = 7;
const PIXELS_FROM_SCALE = 4; // crisp pixels are told apart from here on

/** @typedef {{x: number, y: number, width: number, height: number, picture: string}} Pane */

export class Scene {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {import("./state.js").State} state
   * @param {import("./view.js").View} view
   * @param {import("./layout.js").Layout} layout
   * @param {import("./gallery.js").Gallery} gallery
   */
  constructor(canvas, state, view, layout, gallery) {
    this.canvas = canvas;
    this.context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { alpha: false }));
    this.state = state;
    this.view = view;
    this.layout = layout;
    this.gallery = gallery;
    this.isCrisp = false; // pixel view
    this.areMasksHidden = false;
    this.isDifference = false;
    this.isScheduled = false;
    this.movedAt = -Infinity;
    this.frames = 0;
    /** @type {[number, number] | null} where the pointer or the keyboard cursor is, in image pixels */
    this.cursor = null;
    this.isKeyboardCursor = false;
    /** @type {number | null} index of the active surface's click under the pointer */
    this.hoveredClick = null;
    /** @type {(context: CanvasRenderingContext2D, pane: Pane) => void} */
    this.paintTool = () => {};
    this.dpr = 1;
    this.afterFrame = 0;
    this.frameEnd = new MessageChannel();
    this.frameEnd.port1.onmessage = () => state.tell("repainted", performance.now() - this.afterFrame);
    this.resize();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  resize() {
    const { clientWidth, clientHeight } = this.canvas;
    this.dpr = Math.min(window.devicePixelRatio || 1, 2);
    this.canvas.width = Math.max(1, Math.round(clientWidth * this.dpr));
    this.canvas.height = Math.max(1, Math.round(clientHeight * this.dpr));
    this.fitPanes();
    this.isScheduled = true;
    this.paint(); // at once: a resized canvas is empty until it is painted
  }

  fitPanes() {
    const [pane] = this.panes();
    this.view.setPane(pane.width, pane.height);
  }

  panes() {
    return this.layout.panes(this.canvas.clientWidth, this.canvas.clientHeight);
  }

  /** Something changed: paint with the next frame. */
  invalidate() {
    if (this.isScheduled) return;
    this.isScheduled = true;
    requestAnimationFrame(() => this.paint());
  }

  /** The view moved. */
  moved() {
    this.movedAt = performance.now();
    this.invalidate();
    this.state.tell("view");
  }

  get isMoving() {
    return performance.now() - this.movedAt < MOVING_MS;
  }

  paint() {
    this.isScheduled = false;
    this.frames++;
    const { context, dpr, state } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = getComputedStyle(this.canvas).getPropertyValue("--canvas") || "#16181d";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (state.image) {
      const level = this.outlines();
      for (const pane of this.panes()) {
        context.save();
        context.setTransform(dpr, 0, 0, dpr, 0, 0);
        context.beginPath();
        context.rect(pane.x, pane.y, pane.width, pane.height);
        context.clip();
        this.paintPane(pane, level);
        context.restore();
      }
      context.setTransform(dpr, 0, 0, dpr, 0, 0);
      this.paintDivider();
    }
    if (this.isMoving) setTimeout(() => this.invalidate(), MOVING_MS + 10);
    this.reportRepaint();
  }

  /** The outlines to draw with: those of the level that fits the zoom, or coarser ones until they are ready. */
  outlines() {
    const { outlines } = this.state;
    const coarser = this.isMoving ? 1 : 0.4; // in motion, borders of half the precision do
    const wanted = Math.max(0, Math.floor(Math.log2(1 / (this.view.scale * this.dpr)) + coarser));
    for (let k = Math.min(wanted, outlines.length - 1); k < outlines.length; k++) {
      const isLast = k === outlines.length - 1;
      if (outlines[k].prepare(isLast ? Infinity : performance.now() + OUTLINE_BUDGET_MS)) return outlines[k];
      this.isScheduled || setTimeout(() => this.invalidate());
    }
    return null;
  }

  /** @param {Pane} pane @param {import("./outlines.js").LevelOutlines | null} level */
  paintPane(pane, level) {
    const { layout, context } = this;
    this.paintPicture(pane, pane.picture, 1);
    if (layout.name === "blend") this.paintPicture(pane, layout.second, layout.blend);
    if (layout.name === "swipe") {
      context.save();
      context.beginPath();
      const x = pane.width * layout.swipe;
      context.rect(x, 0, pane.width - x, pane.height);
      context.clip();
      context.fillStyle = getComputedStyle(this.canvas).getPropertyValue("--canvas");
      context.fillRect(x, 0, pane.width - x, pane.height);
      this.paintPicture(pane, layout.second, 1);
      context.restore();
    }
    if (level && !this.areMasksHidden) {
      if (this.showsPixels) paintPixelMasks(this, pane);
      paintMasks(this, pane, level);
      paintClicks(this, pane);
    }
    this.paintTool(context, pane);
    if (layout.name !== "single") this.paintCaptions(pane);
  }

  /** Whether the map is drawn pixel by pixel. */
  get showsPixels() {
    return this.isCrisp && this.view.scale >= PIXELS_FROM_SCALE;
  }

  /** Which picture is where. @param {Pane} pane */
  paintCaptions(pane) {
    const { layout } = this;
    const title = (/** @type {string} */ name) => (name === RGB ? "RGB" : name);
    if (layout.name === "blend") return this.paintCaption(`${title(layout.first)} + ${title(layout.second)}`, pane.x + 10, "left");
    if (layout.name === "split") return this.paintCaption(title(pane.picture), pane.x + 10, "left");
    const x = pane.width * layout.swipe;
    this.paintCaption(title(layout.first), x - 12, "right");
    this.paintCaption(title(layout.second), x + 12, "left");
  }

  /** @param {string} text @param {number} x @param {"left" | "right"} side */
  paintCaption(text, x, side) {
    const { context } = this;
    context.font = "600 12px system-ui, sans-serif";
    const width = context.measureText(text).width + 16;
    const left = side === "left" ? x : x - width;
    context.fillStyle = "rgb(14 16 20 / 0.72)";
    context.beginPath();
    context.roundRect(left, 10, width, 22, 6);
    context.fill();
    context.fillStyle = "#fff";
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(text, left + 8, 21.5);
  }

  /** @param {Pane} pane @param {string} name @param {number} alpha */
  paintPicture(pane, name, alpha) {
    const { context, view, state } = this;
    const picture = this.gallery.picture(name);
    if (!picture || !state.image) return;
    const { width, height } = state.image;
    const [dx, dy, grow] = this.gallery.nudge(name);
    const device = (view.scale * this.dpr * width) / picture.width;
    const source = picture.source(device);
    context.imageSmoothingEnabled = !(this.isCrisp && view.scale >= 1);
    context.imageSmoothingQuality = "low"; // the halved copies do the averaging
    context.globalAlpha = alpha;
    const w = width * view.scale * grow;
    const h = height * view.scale * grow;
    const x = pane.x + view.x + dx * view.scale + (width * view.scale - w) / 2;
    const y = pane.y + view.y + dy * view.scale + (height * view.scale - h) / 2;
    context.drawImage(source, x, y, w, h);
    context.globalAlpha = 1;
  }

  paintDivider() {
    const { context, layout } = this;
    const { clientWidth, clientHeight } = this.canvas;
    if (layout.name === "split") {
      context.fillStyle = "#000";
      context.fillRect(Math.floor(clientWidth / 2) - 1, 0, 2, clientHeight);
    }
    if (layout.name !== "swipe") return;
    const x = clientWidth * layout.swipe;
    context.fillStyle = "rgb(0 0 0 / 0.55)";
    context.fillRect(x - 2, 0, 4, clientHeight);
    context.fillStyle = "#fff";
    context.fillRect(x - 1, 0, 2, clientHeight);
    context.beginPath();
    context.arc(x, clientHeight / 2, 14, 0, 7);
    context.fill();
    context.strokeStyle = "#20242c";
    context.lineWidth = 2;
    context.lineCap = context.lineJoin = "round";
    for (const side of [-1, 1]) {
      context.beginPath();
      context.moveTo(x + side * 4, clientHeight / 2 - 5);
      context.lineTo(x + side * 9, clientHeight / 2);
      context.lineTo(x + side * 4, clientHeight / 2 + 5);
      context.stroke();
    }
  }

  /** Say how long it took from the arrival of a patch until its frame was done. */
  reportRepaint() {
    const since = this.state.repaintFrom;
    if (!since) return;
    this.state.repaintFrom = 0;
    this.afterFrame = since;
    this.frameEnd.port2.postMessage(null); // comes back when the browser has done its part of the frame
  }

  /** The pane under a point of the canvas. @param {number} x @param {number} y @returns {Pane} */
  paneAt(x, y) {
    const panes = this.panes();
    return panes.find((pane) => x >= pane.x && x < pane.x + pane.width && y >= pane.y) ?? panes[panes.length - 1];
  }

  /** Canvas coordinates to image pixels. @param {number} x @param {number} y @returns {[number, number]} */
  toImage(x, y) {
    const pane = this.paneAt(x, y);
    return this.view.toImage(x - pane.x, y - pane.y);
  }

  /** Zoom with the point of the canvas staying where it is. @param {number} factor @param {number} x @param {number} y */
  zoomAt(factor, x, y) {
    const pane = this.paneAt(x, y);
    this.view.zoomTo(this.view.scale * factor, x - pane.x, y - pane.y);
    this.moved();
  }
}
