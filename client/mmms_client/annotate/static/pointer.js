/**
 * Mouse, pen and fingers on the canvas. A tap is the tool's; two fingers zoom and pan; so do the middle button, Space with a
 * drag, and, for tools that only need taps, a drag with one finger or the left button.
 */

const TAP_PX = 5;
const TOUCH_TAP_PX = 10;
const DIVIDER_PX = 16;

/** @typedef {{x: number, y: number, button: number, shift: boolean, ctrl: boolean, alt: boolean, touch: boolean}} Press canvas coordinates */

export class Pointer {
  /**
   * @param {import("./scene.js").Scene} scene
   * @param {{tool: () => import("./tools.js").Tool, left: () => void}} owner
   */
  constructor(scene, owner) {
    this.scene = scene;
    this.owner = owner;
    /** @type {Map<number, {x: number, y: number}>} */
    this.touching = new Map();
    /** @type {{kind: "tap" | "tool" | "pan" | "pinch" | "divider", press: Press, x: number, y: number, id: number} | null} */
    this.gesture = null;
    this.isSpaceDown = false;
    this.didPanWithSpace = false;
    const { canvas } = scene;
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.up(event, true));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("dblclick", (event) => this.owner.tool().twice?.(this.pressOf(event)));
  }

  /** @param {MouseEvent} event @returns {Press} */
  pressOf(event) {
    const box = this.scene.canvas.getBoundingClientRect();
    return {
      x: event.clientX - box.left,
      y: event.clientY - box.top,
      button: event.button,
      shift: event.shiftKey,
      ctrl: event.ctrlKey || event.metaKey,
      alt: event.altKey,
      touch: event instanceof PointerEvent && event.pointerType === "touch",
    };
  }

  /** @param {PointerEvent} event */
  down(event) {
    const { canvas } = this.scene;
    canvas.focus({ preventScroll: true });
    try {
      canvas.setPointerCapture(event.pointerId);
    } catch {
      // the pointer is gone again already
    }
    const press = this.pressOf(event);
    this.scene.isKeyboardCursor = false;
    if (press.touch) {
      this.touching.set(event.pointerId, { x: press.x, y: press.y });
      if (this.touching.size === 2) return this.startPinch(press, event.pointerId);
    }
    if (this.gesture) return;
    this.gesture = { kind: this.kindOf(press), press, x: press.x, y: press.y, id: event.pointerId };
    if (this.gesture.kind === "tool") this.owner.tool().start?.(press);
    this.showCursor();
  }

  /** @param {Press} press */
  kindOf(press) {
    if (press.button === 1 || this.isSpaceDown) return "pan";
    if (this.isOnDivider(press)) return "divider";
    return this.owner.tool().drags ? "tool" : "tap";
  }

  /** @param {Press} press */
  isOnDivider({ x, y }) {
    const { layout, canvas } = this.scene;
    if (layout.name !== "swipe") return false;
    const distance = Math.abs(x - layout.swipe * canvas.clientWidth);
    return distance < 4 || (distance < DIVIDER_PX && Math.abs(y - canvas.clientHeight / 2) < DIVIDER_PX);
  }

  /** @param {Press} press @param {number} id */
  startPinch(press, id) {
    if (this.gesture?.kind === "tool") this.owner.tool().cancel?.();
    this.gesture = { kind: "pinch", press, x: press.x, y: press.y, id };
  }

  /** @param {PointerEvent} event */
  move(event) {
    const press = this.pressOf(event);
    const { scene, gesture } = this;
    scene.cursor = scene.state.image ? scene.toImage(press.x, press.y) : null;
    scene.isKeyboardCursor = false;
    if (press.touch && this.touching.has(event.pointerId)) {
      if (gesture?.kind === "pinch") this.pinch(event.pointerId, press);
      this.touching.set(event.pointerId, { x: press.x, y: press.y });
    }
    if (!gesture) this.owner.tool().hover?.(press);
    else if (gesture.id === event.pointerId) this.drag(gesture, press, event);
    scene.state.tell("cursor");
    this.showCursor(press);
  }

  /** @param {NonNullable<Pointer["gesture"]>} gesture @param {Press} press @param {PointerEvent} event */
  drag(gesture, press, event) {
    const far = Math.hypot(press.x - gesture.press.x, press.y - gesture.press.y) > (press.touch ? TOUCH_TAP_PX : TAP_PX);
    if (gesture.kind === "tap" && far && gesture.press.button === 0) gesture.kind = "pan";
    if (gesture.kind === "tool") {
      for (const part of event.getCoalescedEvents?.() ?? []) this.owner.tool().drag?.(this.pressOf(part));
      this.owner.tool().drag?.(press);
    } else if (gesture.kind === "pan") {
      this.didPanWithSpace ||= this.isSpaceDown;
      this.scene.view.pan(press.x - gesture.x, press.y - gesture.y);
      this.scene.moved();
    } else if (gesture.kind === "divider") {
      this.scene.layout.swipe = Math.min(Math.max(press.x / this.scene.canvas.clientWidth, 0.02), 0.98);
      this.scene.invalidate();
    }
    gesture.x = press.x;
    gesture.y = press.y;
  }

  /** @param {number} id @param {Press} press */
  pinch(id, press) {
    const before = this.touching.get(id);
    const other = [...this.touching].find(([key]) => key !== id)?.[1];
    if (!before || !other) return;
    const ratio = Math.hypot(press.x - other.x, press.y - other.y) / Math.max(1, Math.hypot(before.x - other.x, before.y - other.y));
    const [mx, my] = [(press.x + other.x) / 2, (press.y + other.y) / 2];
    this.scene.view.pan((press.x - before.x) / 2, (press.y - before.y) / 2);
    this.scene.zoomAt(ratio, mx, my);
  }

  /** @param {PointerEvent} event @param {boolean} [isCancelled] */
  up(event, isCancelled = false) {
    this.touching.delete(event.pointerId);
    const { gesture } = this;
    if (!gesture || (gesture.id !== event.pointerId && gesture.kind !== "pinch")) return;
    if (gesture.kind === "pinch" && this.touching.size > 0) return; // both fingers must be up before a tap counts again
    this.gesture = null;
    const press = { ...this.pressOf(event), button: gesture.press.button };
    if (gesture.kind === "tool") isCancelled ? this.owner.tool().cancel?.() : this.owner.tool().end?.(press);
    if (gesture.kind === "tap" && !isCancelled) this.owner.tool().tap?.(press);
    this.showCursor(press);
  }

  leave() {
    if (this.gesture) return;
    if (!this.scene.isKeyboardCursor) this.scene.cursor = null;
    this.scene.hoveredClick = null;
    this.owner.left();
    this.scene.invalidate();
  }

  /** @param {WheelEvent} event */
  wheel(event) {
    event.preventDefault();
    const { x, y } = this.pressOf(event);
    const lines = event.deltaMode === 1 ? 24 : 1;
    const speed = event.ctrlKey ? 0.01 : 0.0016; // a pinch on a touchpad comes as Ctrl and small steps
    this.scene.zoomAt(Math.exp(-event.deltaY * lines * speed), x, y);
  }

  /** @param {Press} [press] */
  showCursor(press) {
    const { canvas } = this.scene;
    const kind = this.gesture?.kind;
    if (kind === "pan" || kind === "pinch") canvas.style.cursor = "grabbing";
    else if (this.isSpaceDown) canvas.style.cursor = "grab";
    else if (press && this.isOnDivider(press)) canvas.style.cursor = "ew-resize";
    else canvas.style.cursor = this.owner.tool().pointer ?? "crosshair";
  }
}
