/** A cursor that arrows move, for placing clicks without a pointer. The view follows it. */

const STEP_PX = 12;
const EDGE_PX = 40;

export class KeyboardCursor {
  /** @param {import("./scene.js").Scene} scene @param {(text: string) => void} say for screen readers */
  constructor(scene, say) {
    this.scene = scene;
    this.say = say;
  }

  /** @param {number} dx @param {number} dy @param {boolean} isFine by single image pixels */
  move(dx, dy, isFine) {
    const { scene } = this;
    const { image } = scene.state;
    if (!image) return;
    const step = isFine ? 1 : STEP_PX / scene.view.scale;
    const [x, y] = scene.cursor ?? [image.width / 2, image.height / 2];
    scene.cursor = [
      Math.min(Math.max(x + dx * step, 0), image.width - 1),
      Math.min(Math.max(y + dy * step, 0), image.height - 1),
    ];
    scene.isKeyboardCursor = true;
    this.follow();
    scene.invalidate();
    scene.state.tell("cursor");
    const under = scene.state.surface(scene.state.labels?.at(...scene.cursor) ?? 0);
    this.say(`${Math.round(scene.cursor[0])}, ${Math.round(scene.cursor[1])}${under ? `, on ${under.name}` : ""}`);
  }

  follow() {
    const { view, cursor } = this.scene;
    if (!cursor) return;
    const [sx, sy] = view.toScreen(...cursor);
    const dx = Math.min(Math.max(sx, EDGE_PX), view.paneWidth - EDGE_PX) - sx;
    const dy = Math.min(Math.max(sy, EDGE_PX), view.paneHeight - EDGE_PX) - sy;
    if ((dx || dy) && !view.isFitted) {
      view.pan(dx, dy);
      this.scene.moved();
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {import("./scene.js").Pane} pane */
  paint(context, pane) {
    const { scene } = this;
    if (!scene.cursor || (!scene.isKeyboardCursor && scene.layout.name !== "split")) return;
    const [sx, sy] = scene.view.toScreen(...scene.cursor);
    const [x, y] = [sx + pane.x, sy + pane.y];
    for (const [colour, width] of /** @type {[string, number][]} */ ([["rgb(0 0 0 / 0.8)", 4], ["#fff", 1.5]])) {
      context.beginPath();
      for (const [ax, ay] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(x + ax * 4, y + ay * 4);
        context.lineTo(x + ax * 16, y + ay * 16);
      }
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.lineCap = "round";
      context.stroke();
    }
  }
}
