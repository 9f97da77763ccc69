/**
 * What the page knows: everything the app has said, and what is chosen on this screen. Parts listen for the topics that
 * they draw.
 */

import { LabelMap } from "./label_map.js";
import { LevelOutlines } from "./outlines.js";
import { outlineOfProbabilities } from "./probability_outline.js";

/**
 * @typedef {{x: number, y: number, positive: boolean}} Click
 * @typedef {{id: number, name: string, class: string | null, colour: string, locked: boolean, visible: boolean,
 *   area_px: number, box: [number, number, number, number] | null, clicks: Click[], lost_px: number, lost_to: number[],
 *   edited: boolean}} Surface
 * @typedef {{image: number, revision: number, active: number | null, surfaces: Surface[], undo: string | null,
 *   redo: string | null}} Document
 * @typedef {{name: string, kind: "colour" | "scalar", unit: string | null, width: number, height: number, scale: number,
 *   offset: number, low: number, high: number, in_model: boolean, version: number,
 *   error?: string | null, alignment: {dx: number, dy: number, scale: number}}} Modality
 * @typedef {{index: number, name: string, width: number, height: number, version: number, modalities: Modality[],
 *   state: string, encoded: string, error?: string | null, notes?: string[]}} ImageAbout
 * @typedef {{index: number, name: string, state: string, encoded: string}} ImageRow
 * @typedef {{id: number | string, name: string, colour: string, key: string | null}} SurfaceClass
 * @typedef {{surface: number, kind: string, modality?: string, outline: import("./rings.js").Outline}} LiveMask
 */

const NOTABLE_PX = 16;
const NOTABLE_SHARE = 0.02;

/** Whether later surfaces took more than the seam that any two neighbours share. @param {Surface} surface */
export function isDamaged({ lost_px, area_px }) {
  return lost_px >= NOTABLE_PX && lost_px >= NOTABLE_SHARE * (area_px + lost_px);
}

/** What a person chose and finds again next time. */
export const DEFAULT_SETTINGS = {
  theme: "system",
  panel: "surfaces",
  preview: true,
  patterns: false,
  tags: true,
  fill: 0.34,
  byClass: false, // colours of classes instead of one per surface
  brushRadius: 12,
  /** @type {Record<string, import("./pictures.js").Window>} */
  windows: {},
};

export class State {
  constructor() {
    this.listeners = new Map();
    /** @type {Set<() => void>} */
    this.waitingDraws = new Set();
    this.isOpen = false;
    this.wasOpen = false;
    this.isFresh = true; // no hello yet on this connection
    /** @type {any} */
    this.hello = null;
    /** @type {SurfaceClass[]} */
    this.classes = [];
    /** @type {ImageRow[]} */
    this.images = [];
    this.settings = structuredClone(DEFAULT_SETTINGS);
    /** @type {Record<string, string>} */
    this.keys = {};
    this.server = { server: "", text: "", encoding: [], encoded_ahead: 0 };
    /** @type {ImageAbout | null} */
    this.image = null;
    /** @type {Document | null} */
    this.document = null;
    /** @type {LabelMap | null} */
    this.labels = null;
    /** @type {LevelOutlines[]} */
    this.outlines = [];
    /** @type {number | null} */
    this.activeId = null;
    /** @type {string | null} */
    this.activeClass = null;
    /** @type {LiveMask | null} */
    this.preview = null;
    /** @type {LiveMask | null} */
    this.without = null;
    /** @type {(Click & {surface: number | null})[]} */
    this.pending = [];
    this.repaintFrom = 0; // when the newest patch that is not on screen yet arrived
  }

  /** @param {string} topic @param {(payload?: any) => void} listener */
  on(topic, listener) {
    const list = this.listeners.get(topic) ?? [];
    this.listeners.set(topic, [...list, listener]);
  }

  /**
   * Draw a part of the window after the next frame, once for all that happened: the mask comes first.
   * @param {string[]} topics @param {() => void} draw
   */
  later(topics, draw) {
    for (const topic of topics) this.on(topic, () => this.schedule(draw));
  }

  /** @param {() => void} draw */
  schedule(draw) {
    this.waitingDraws.add(draw);
    if (this.waitingDraws.size === 1) requestAnimationFrame(() => setTimeout(() => this.drawWaiting()));
  }

  drawWaiting() {
    const draws = [...this.waitingDraws];
    this.waitingDraws.clear();
    for (const draw of draws) draw();
  }

  /** @param {string} topic @param {any} [payload] */
  tell(topic, payload) {
    for (const listener of this.listeners.get(topic) ?? []) listener(payload);
  }

  /** @param {import("./socket.js").Message} message */
  receive(message) {
    const take = {
      hello: this.takeHello,
      image: this.takeImage,
      document: this.takeDocument,
      patch: this.takePatch,
      mask: this.takeMask,
      status: this.takeStatus,
    }[message.type];
    take?.call(this, /** @type {any} */ (message));
  }

  /** @param {any} hello */
  takeHello(hello) {
    this.hello = hello;
    this.classes = hello.classes;
    this.images = hello.images;
    if (this.isFresh) {
      // The app says hello at other times, too: what was changed here since is newer.
      this.keys = hello.keys ?? {};
      this.settings = { ...structuredClone(DEFAULT_SETTINGS), ...hello.settings };
      this.isFresh = false;
    }
    if (hello.status) this.takeStatus(hello.status);
    if (this.activeClass === null || !this.classes.some((c) => c.name === this.activeClass)) {
      this.activeClass = this.classes[0]?.name ?? null;
    }
    this.tell("hello");
  }

  /** @param {ImageAbout} image */
  takeImage(image) {
    const isSame = this.image?.index === image.index && this.image.width === image.width && this.image.height === image.height;
    this.image = image;
    if (!isSame) {
      this.labels = new LabelMap(image.width, image.height);
      this.outlines = this.labels.levels.map((level, k) => new LevelOutlines(level, 2 ** k));
      this.document = null;
      this.activeId = null;
      this.pending = [];
    }
    this.preview = null;
    this.without = null;
    this.tell("image", { isSame });
  }

  /** @param {Document} document */
  takeDocument(document) {
    if (document.image !== this.image?.index) return;
    const isFirst = this.document === null;
    this.document = document;
    if (isFirst || (this.activeId !== null && !this.surface(this.activeId))) this.activeId = document.active;
    this.without = null;
    this.tell("document");
  }

  /** @param {{image: number, x: number, y: number, width: number, height: number, bytes: Uint8Array, receivedAt: number}} patch */
  takePatch(patch) {
    if (patch.image !== this.image?.index || !this.labels) return;
    const { buffer, byteOffset, byteLength } = patch.bytes;
    this.labels.apply(patch, new Uint16Array(buffer, byteOffset, byteLength / 2));
    for (const level of this.outlines) level.invalidate(patch);
    this.preview = null;
    this.repaintFrom ||= patch.receivedAt;
    this.tell("patch", patch);
  }

  /** @param {any} mask */
  takeMask(mask) {
    if (mask.image !== this.image?.index || !["preview", "without"].includes(mask.kind)) return;
    const live = { surface: mask.surface, kind: mask.kind, modality: mask.modality, ticket: mask.ticket, outline: outlineOfProbabilities(mask.bytes, mask) };
    if (mask.kind === "without") this.without = live;
    else if (mask.kind === "preview") this.tell("preview", live);
    this.tell("mask");
  }

  /** @param {any} status */
  takeStatus(status) {
    this.server = { ...this.server, ...status };
    for (const change of status.images ?? []) {
      const row = this.images.find((image) => image.index === change.index);
      if (row) Object.assign(row, change);
      if (this.image && this.image.index === change.index) Object.assign(this.image, { encoded: change.encoded, state: change.state });
    }
    this.tell("status");
  }

  get surfaces() {
    return this.document?.surfaces ?? [];
  }

  /** @param {number | null} id */
  surface(id) {
    return this.surfaces.find((surface) => surface.id === id) ?? null;
  }

  get active() {
    return this.surface(this.activeId);
  }

  /** The colour that a surface is drawn in. @param {Surface} surface */
  colourOf(surface) {
    const kind = this.settings.byClass && surface.class !== null ? this.classes.find((c) => c.name === surface.class) : null;
    return kind?.colour ?? surface.colour;
  }

  /** @param {number | null} id */
  activate(id) {
    if (this.activeId === id) return;
    this.activeId = id;
    this.preview = null;
    this.without = null;
    this.tell("active");
  }
}
