/**
 * What the next click would do, while the mouse rests or moves slowly: only when the server has lately been fast, one
 * question at a time, and each newer one cancels the one before.
 */

const FAST_MS = 150; // the last click took at most this long
const REST_MS = 70;
const MOVED_PX = 2;

export class HoverPreview {
  /** @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands @param {() => void} changed */
  constructor(state, commands, changed) {
    this.state = state;
    this.commands = commands;
    this.changed = changed;
    this.ticket = 0;
    this.timer = 0;
    this.isAsked = false;
    this.lastClickMs = Infinity;
    this.x = this.y = -1e9;
    state.on("timing", (timing) => (this.lastClickMs = timing.total_ms ?? Infinity));
    state.on("preview", (mask) => this.show(mask));
    for (const topic of ["patch", "active", "image"]) state.on(topic, () => this.stop());
  }

  get isPossible() {
    const { state } = this;
    return state.settings.preview && state.isOpen && state.server.server === "ready" && this.lastClickMs <= FAST_MS && state.pending.length === 0;
  }

  /** @param {number} x @param {number} y @param {boolean} positive */
  at(x, y, positive) {
    const { image, preview } = this.state;
    if (!image || !this.isPossible || x < 0 || y < 0 || x > image.width - 1 || y > image.height - 1) return this.stop();
    if (Math.hypot(x - this.x, y - this.y) < MOVED_PX) return;
    [this.x, this.y] = [x, y];
    if (preview) {
      this.state.preview = null;
      this.changed();
    }
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.ask(x, y, positive), REST_MS);
  }

  /** @param {number} x @param {number} y @param {boolean} positive */
  ask(x, y, positive) {
    const region = this.commands.region();
    const rounded = (/** @type {number} */ v) => Math.round(v * 10) / 10;
    this.isAsked = true;
    const ticket = ++this.ticket;
    this.commands.socket
      .request("preview", { surface: this.state.activeId, x: rounded(x), y: rounded(y), positive, ...(region ? { region } : {}), ticket })
      .catch(() => undefined) // a preview that was cancelled or refused is no news
      .finally(() => {
        if (ticket === this.ticket) this.isAsked = false;
      });
  }

  /** @param {import("./state.js").LiveMask & {ticket: number}} mask */
  show(mask) {
    if (mask.ticket !== this.ticket) return;
    this.state.preview = mask;
    this.changed();
  }

  stop() {
    clearTimeout(this.timer);
    this.ticket++;
    this.x = this.y = -1e9;
    if (this.isAsked && this.state.isOpen) void this.commands.send("cancel");
    this.isAsked = false;
    if (!this.state.preview) return;
    this.state.preview = null;
    this.changed();
  }
}
