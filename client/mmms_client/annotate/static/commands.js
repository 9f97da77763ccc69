/** What a person can do, as requests to the app. Each refusal is shown, none is thrown. */

import { GoneError } from "./socket.js";

export class Commands {
  /**
   * @param {import("./state.js").State} state
   * @param {import("./socket.js").AppSocket} socket
   * @param {(text: string, kind?: string) => void} toast
   */
  constructor(state, socket, toast) {
    this.state = state;
    this.socket = socket;
    this.toast = toast;
    /** @type {number | null} the surface that another one is to be merged into */
    this.merging = null;
    /** @type {Promise<unknown>} */
    this.line = Promise.resolve();
    /** @type {() => number[] | undefined} */
    this.region = () => undefined;
    this.saveSettings = debounced(() => void this.send("settings", { settings: state.settings }), 400);
  }

  /**
   * @param {string} op @param {object} [fields]
   * @returns {Promise<import("./socket.js").Message | null>} null when it was refused
   */
  async send(op, fields = {}) {
    try {
      return await this.socket.request(op, fields);
    } catch (error) {
      if (!(error instanceof GoneError) || !["settings", "preview", "cancel"].includes(op)) {
        this.toast(/** @type {Error} */ (error).message, "error");
      }
      return null;
    }
  }

  /** @param {number} index */
  async open(index) {
    if (!this.state.images.some((image) => image.index === index)) return;
    this.state.tell("opening", index);
    await this.send("open", { index });
  }

  /** @param {number} step */
  async openNext(step) {
    const { images, image } = this.state;
    const at = images.findIndex((row) => row.index === image?.index);
    const next = images[at + step];
    if (next) await this.open(next.index);
    else this.toast(step > 0 ? "This is the last image." : "This is the first image.");
  }

  /**
   * Work that depends on which surface is worked on, or changes it: one after the other, in the order of the hands.
   * @template T @param {() => Promise<T>} work @returns {Promise<T>}
   */
  inTurn(work) {
    const done = this.line.then(work);
    this.line = done.catch(() => undefined);
    return done;
  }

  /** @param {number} x @param {number} y @param {boolean} positive */
  async click(x, y, positive) {
    const { state } = this;
    const pending = { x, y, positive, surface: state.activeId };
    const region = this.region();
    state.pending.push(pending);
    state.tell("pending");
    await this.inTurn(() => this.sendClick(pending, region));
    state.pending = state.pending.filter((other) => other !== pending);
    state.tell("pending");
  }

  /** @param {import("./state.js").Click} click @param {number[] | undefined} region */
  async sendClick({ x, y, positive }, region) {
    const { state } = this;
    const surface = state.activeId;
    const startedAt = performance.now();
    const fields = { surface, x, y, positive, ...(region ? { region } : {}), ...(surface === null ? { class: state.activeClass } : {}) };
    const reply = await this.send("click", fields);
    if (!reply) return;
    if (surface === null) state.activate(reply.surface);
    state.tell("timing", { ...reply.timing, roundtrip_ms: performance.now() - startedAt });
  }

  /** After what changes which surface is worked on. */
  adoptActive() {
    this.state.activate(this.state.document?.active ?? null);
  }

  async undo() {
    await this.inTurn(async () => {
      if (await this.send("undo")) this.adoptActive();
    });
  }

  async redo() {
    await this.inTurn(async () => {
      if (await this.send("redo")) this.adoptActive();
    });
  }

  /** @param {number} index */
  async removeClick(index) {
    const { active } = this.state;
    if (active) await this.inTurn(() => this.send("remove_click", { surface: active.id, index }));
  }

  /** The next click makes a new surface. */
  async finish() {
    await this.inTurn(async () => {
      const { activeId } = this.state;
      if (activeId === null) return;
      this.state.activate(null);
      await this.send("finish", { surface: activeId });
    });
  }

  /** A surface to paint on: the active one, or a new one. @returns {Promise<number | null>} */
  async surfaceToEdit() {
    if (this.state.activeId !== null) return this.state.activeId;
    const reply = await this.send("add_surface", { class: this.state.activeClass });
    if (!reply) return null;
    this.state.activate(reply.surface);
    return reply.surface;
  }

  /** @param {[number, number][]} points @param {number} radius @param {boolean} erase */
  async brush(points, radius, erase) {
    await this.draw("brush", { points, radius, erase });
  }

  /** @param {[number, number][]} points @param {boolean} erase */
  async polygon(points, erase) {
    await this.draw("polygon", { points, erase });
  }

  /** @param {string} op @param {{erase: boolean, points: [number, number][], radius?: number}} fields */
  async draw(op, fields) {
    await this.inTurn(async () => {
      if (fields.erase && this.state.activeId === null) {
        return this.toast("Choose a surface first: there is nothing to erase from.");
      }
      const surface = await this.surfaceToEdit();
      if (surface !== null) await this.send(op, { surface, ...fields });
    });
  }

  /** @param {number} id @param {object} change name, class, colour, locked or visible */
  async update(id, change) {
    await this.send("update_surface", { surface: id, ...change });
  }

  /** @param {number} id */
  async remove(id) {
    await this.send("delete_surface", { surface: id });
  }

  /** The surface that is chosen next becomes part of this one. @param {number} id */
  startMerge(id) {
    this.merging = id;
    this.state.tell("tool");
  }

  stopMerge() {
    this.merging = null;
    this.state.tell("tool");
  }

  /** A surface was pointed at, in the list or in the image. @param {number | null} id */
  choose(id) {
    const into = this.merging;
    if (into === null) return this.state.activate(id);
    if (id === null || id === into) return;
    this.stopMerge();
    void this.inTurn(() => this.send("merge", { into, from: id }));
  }

  /** Move a surface in the list. @param {number} id @param {number} step */
  async move(id, step) {
    const ids = this.state.surfaces.map((surface) => surface.id);
    const at = ids.indexOf(id);
    const to = at + step;
    if (at < 0 || to < 0 || to >= ids.length) return;
    ids.splice(to, 0, ...ids.splice(at, 1));
    await this.send("reorder", { surfaces: ids });
  }

  /** @param {string | null} name */
  async setClass(name) {
    this.state.activeClass = name;
    if (this.state.activeId !== null) await this.update(this.state.activeId, { class: name });
    this.state.tell("classes");
  }

  /** Change what is remembered. @param {object} change */
  set(change) {
    Object.assign(this.state.settings, change);
    this.state.tell("settings");
    this.saveSettings();
  }
}

/** @param {() => void} work @param {number} waitMs */
function debounced(work, waitMs) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = window.setTimeout(work, waitMs);
  };
}
