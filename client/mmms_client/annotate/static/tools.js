/** What the pointer does on the canvas. */

/** @typedef {import("./pointer.js").Press} Press @typedef {import("./scene.js").Pane} Pane */

/**
 * A tool for taps leaves drags to panning; one that `drags` gets start, drag and end.
 * @typedef {object} Tool
 * @property {string} name
 * @property {string} title
 * @property {boolean} [drags]
 * @property {string} [pointer] the CSS cursor
 * @property {(press: Press) => void} [tap]
 * @property {(press: Press) => void} [twice]
 * @property {(press: Press) => void} [hover]
 * @property {(press: Press) => void} [start]
 * @property {(press: Press) => void} [drag]
 * @property {(press: Press) => void} [end]
 * @property {() => void} [cancel]
 * @property {() => boolean} [confirm] Enter; false when there was nothing to confirm
 * @property {() => boolean} [stepBack] Backspace; false when there was nothing to take back
 * @property {(context: CanvasRenderingContext2D, pane: Pane) => void} [paint]
 */

const MARK_PX = 9;

export class ClickTool {
  name = "click";
  title = "Click";
  pointer = "crosshair";

  /** @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands @param {import("./hover.js").HoverPreview} preview */
  constructor(scene, commands, preview) {
    this.scene = scene;
    this.commands = commands;
    this.preview = preview;
    this.isNegative = false; // what X toggles
  }

  /** @param {Press} press */
  tap(press) {
    const { scene } = this;
    const [x, y] = scene.toImage(press.x, press.y);
    if (press.ctrl || this.commands.merging !== null) return this.commands.choose(scene.state.labels?.at(x, y) || null);
    const mark = this.markAt(press);
    if (mark !== null && press.button === 0 && !press.shift) return void this.commands.removeClick(mark);
    this.place(x, y, this.isPositive(press));
  }

  /** @param {{button: number, shift: boolean}} press */
  isPositive({ button, shift }) {
    return (button === 2 || shift) === this.isNegative;
  }

  /** @param {number} x @param {number} y @param {boolean} positive */
  place(x, y, positive) {
    const { image } = this.scene.state;
    if (!image || x < -0.5 || y < -0.5 || x >= image.width - 0.5 || y >= image.height - 0.5) return;
    this.preview.stop();
    void this.commands.click(rounded(x), rounded(y), positive);
  }

  /** @param {Press} press @returns {number | null} */
  markAt({ x, y }) {
    const { scene } = this;
    const pane = scene.paneAt(x, y);
    const clicks = scene.areMasksHidden ? [] : scene.state.active?.clicks ?? [];
    for (let k = clicks.length - 1; k >= 0; k--) {
      const [sx, sy] = scene.view.toScreen(clicks[k].x, clicks[k].y);
      if (Math.hypot(sx + pane.x - x, sy + pane.y - y) < MARK_PX) return k;
    }
    return null;
  }

  /** @param {Press} press */
  hover(press) {
    const mark = this.markAt(press);
    this.pointer = mark === null ? "crosshair" : "pointer";
    if (mark !== this.scene.hoveredClick) {
      this.scene.hoveredClick = mark;
      this.scene.invalidate();
    }
    const [x, y] = this.scene.toImage(press.x, press.y);
    if (mark === null && !press.touch) this.preview.at(x, y, this.isPositive(press));
  }
}

/** Brush and eraser: a stroke with a round tip. */
export class BrushTool {
  drags = true;
  pointer = "none";

  /** @param {"brush" | "eraser"} name @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands */
  constructor(name, scene, commands) {
    this.name = name;
    this.title = name === "brush" ? "Brush" : "Eraser";
    this.scene = scene;
    this.commands = commands;
    /** @type {[number, number][]} */
    this.points = [];
    this.isErasing = name === "eraser";
  }

  get radius() {
    return this.scene.state.settings.brushRadius;
  }

  /** @param {Press} press */
  start(press) {
    this.isErasing = (this.name === "eraser") !== (press.button === 2 || press.shift);
    this.points = [];
    this.drag(press);
  }

  /** @param {Press} press */
  drag({ x, y }) {
    const [ix, iy] = this.scene.toImage(x, y);
    const last = this.points[this.points.length - 1];
    if (last && Math.hypot(last[0] - ix, last[1] - iy) < Math.max(0.4, this.radius / 8)) return;
    this.points.push([rounded(ix), rounded(iy)]);
    this.scene.invalidate();
  }

  /** @param {Press} press */
  end(press) {
    this.drag(press);
    const points = this.points;
    void this.commands.brush(points, this.radius, this.isErasing).then(() => {
      if (this.points === points) this.cancel(); // the stroke stays until the map has it
    });
  }

  cancel() {
    this.points = [];
    this.scene.invalidate();
  }

  hover() {
    this.isErasing = this.name === "eraser";
    this.scene.invalidate();
  }

  /** @param {CanvasRenderingContext2D} context @param {Pane} pane */
  paint(context, pane) {
    const { scene } = this;
    const { view, state } = scene;
    const radius = Math.max(this.radius * view.scale, 0.5);
    const colour = this.isErasing ? "#fff" : (state.active ? state.colourOf(state.active) : "#fff");
    if (this.points.length) {
      context.beginPath();
      this.points.forEach(([x, y], k) => {
        const [sx, sy] = view.toScreen(x, y);
        if (k) context.lineTo(sx + pane.x, sy + pane.y);
        else context.moveTo(sx + pane.x, sy + pane.y);
      });
      const [sx, sy] = view.toScreen(...this.points[this.points.length - 1]);
      context.lineTo(sx + pane.x + 0.01, sy + pane.y);
      context.lineCap = context.lineJoin = "round";
      context.globalAlpha = 0.5;
      context.strokeStyle = colour;
      context.lineWidth = radius * 2;
      context.stroke();
      context.globalAlpha = 1;
    }
    if (scene.cursor) ring(context, view.toScreen(...scene.cursor), pane, radius, this.isErasing);
  }
}

/** @param {CanvasRenderingContext2D} context @param {[number, number]} at @param {Pane} pane @param {number} radius @param {boolean} isErasing */
function ring(context, [x, y], pane, radius, isErasing) {
  for (const [colour, width] of /** @type {[string, number][]} */ ([["rgb(0 0 0 / 0.7)", 3], ["#fff", 1.25]])) {
    context.beginPath();
    context.arc(x + pane.x, y + pane.y, Math.max(radius, 2), 0, 7);
    context.lineWidth = width;
    context.strokeStyle = colour;
    if (isErasing && width < 2) context.setLineDash([4, 3]);
    context.stroke();
    context.setLineDash([]);
  }
}

export class PolygonTool {
  name = "polygon";
  title = "Polygon";
  pointer = "crosshair";

  /** @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands */
  constructor(scene, commands) {
    this.scene = scene;
    this.commands = commands;
    /** @type {[number, number][]} */
    this.points = [];
    this.isErasing = false;
  }

  /** @param {Press} press */
  tap(press) {
    const [x, y] = this.scene.toImage(press.x, press.y);
    if (this.points.length === 0) this.isErasing = press.button === 2 || press.shift;
    if (this.points.length > 2 && this.isFirst(press)) return void this.confirm();
    this.points.push([rounded(x), rounded(y)]);
    this.scene.invalidate();
  }

  /** @param {Press} press */
  isFirst({ x, y }) {
    const pane = this.scene.paneAt(x, y);
    const [sx, sy] = this.scene.view.toScreen(...this.points[0]);
    return Math.hypot(sx + pane.x - x, sy + pane.y - y) < MARK_PX;
  }

  twice() {
    this.points.pop(); // the second press of the double click
    this.confirm();
  }

  confirm() {
    if (this.points.length === 0) return false;
    const points = this.points;
    this.points = [];
    if (points.length > 2) void this.commands.polygon(points, this.isErasing);
    this.scene.invalidate();
    return true;
  }

  stepBack() {
    const had = this.points.pop() !== undefined;
    this.scene.invalidate();
    return had;
  }

  cancel() {
    this.points = [];
    this.scene.invalidate();
  }

  hover() {
    if (this.points.length) this.scene.invalidate();
  }

  /** @param {CanvasRenderingContext2D} context @param {Pane} pane */
  paint(context, pane) {
    if (this.points.length === 0) return;
    const { view, cursor, state } = this.scene;
    const points = (cursor ? [...this.points, cursor] : this.points).map(([x, y]) => {
      const [sx, sy] = view.toScreen(x, y);
      return [sx + pane.x, sy + pane.y];
    });
    context.beginPath();
    points.forEach(([x, y], k) => (k ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.globalAlpha = 0.25;
    context.fillStyle = this.isErasing ? "#000" : (state.active ? state.colourOf(state.active) : "#fff");
    context.fill();
    context.globalAlpha = 1;
    context.lineWidth = 3.5;
    context.strokeStyle = "rgb(0 0 0 / 0.7)";
    context.stroke();
    context.lineWidth = 1.5;
    context.strokeStyle = "#fff";
    if (this.isErasing) context.setLineDash([5, 4]);
    context.stroke();
    context.setLineDash([]);
    points.slice(0, this.points.length).forEach(([x, y], k) => {
      context.beginPath();
      context.arc(x, y, k === 0 ? 5.5 : 3.5, 0, 7);
      context.fillStyle = k === 0 ? "#12a150" : "#fff";
      context.fill();
      context.lineWidth = 1.5;
      context.strokeStyle = k === 0 ? "#fff" : "#14161b";
      context.stroke();
    });
  }
}

/** Window and level of the modality that is shown: drag across to widen, up and down to shift. */
export class WindowTool {
  name = "window";
  title = "Window";
  drags = true;
  pointer = "move";

  /** @param {import("./scene.js").Scene} scene @param {import("./windows.js").Windows} windows */
  constructor(scene, windows) {
    this.scene = scene;
    this.windows = windows;
    this.x = this.y = 0;
    this.target = "";
  }

  /** @param {Press} press */
  start({ x, y }) {
    this.target = this.windows.nameAt(this.scene.paneAt(x, y), x);
    [this.x, this.y] = [x, y];
  }

  /** @param {Press} press */
  drag({ x, y }) {
    this.windows.drag(this.target, (x - this.x) / 300, (this.y - y) / 300);
    [this.x, this.y] = [x, y];
  }

  end() {
    this.windows.settle(this.target);
  }

  cancel() {
    this.end();
  }
}

export class PanTool {
  name = "pan";
  title = "Pan";
  pointer = "grab";
}

/** @param {number} v hundredths of a pixel are enough */
function rounded(v) {
  return Math.round(v * 100) / 100;
}
