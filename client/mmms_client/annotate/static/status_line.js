/** What is happening: app, server, encoding; where the pointer is; where the time of the last click went. */

import { byId, readable } from "./dom.js";
import { RGB } from "./layout.js";
import { titleOf } from "./view_panel.js";

export class StatusLine {
  /** @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands */
  constructor(scene, commands) {
    this.scene = scene;
    byId("accept-model").addEventListener("click", () => void commands.send("accept_model"));
    this.state = scene.state;
    /** @type {any} */
    this.timing = null;
    this.drawMs = 0;
    this.state.later(["status", "connection", "image", "hello", "opening", "pending", "comparing", "document", "active"], () => this.draw());
    this.state.on("cursor", () => this.drawPlace());
    for (const topic of ["view", "layout"]) this.state.on(topic, () => this.drawZoom());
    this.state.on("timing", (timing) => {
      this.timing = timing;
      this.drawTiming();
    });
    this.state.on("repainted", (ms) => {
      this.drawMs = ms;
      this.drawTiming();
    });
  }

  draw() {
    const { kind, text, detail } = this.situation();
    const element = byId("situation");
    element.dataset.kind = kind;
    element.title = detail ? `${text} ${detail}` : text;
    if (byId("situation-text").textContent !== text) byId("situation-text").textContent = text;
    document.body.dataset.server = this.state.isOpen ? this.state.server.server : "no-app";
    byId("accept-model").hidden = !this.state.isOpen || this.state.server.server !== "replaced";
    const ahead = this.state.server.encoded_ahead;
    byId("ahead").textContent = this.state.images.length > 1 && ahead ? `${ahead} encoded ahead` : "";
  }

  /** @returns {{kind: string, text: string, detail?: string}} */
  situation() {
    const { state } = this;
    if (!state.isOpen) return state.wasOpen ? { kind: "bad", text: "App gone; reconnecting. Nothing is lost." } : { kind: "busy", text: "Connecting" };
    if (state.server.server === "gone") {
      return { kind: "bad", text: "Server gone; reconnecting. Your clicks are kept.", detail: state.server.text };
    }
    if (state.server.server === "replaced") return { kind: "warn", text: state.server.text || "Server replaced: another model answers now." };
    if (state.image?.encoded === "failed") return { kind: "bad", text: state.image.error ? `Encoding failed: ${state.image.error}` : state.server.text || "Encoding failed" };
    if (state.image?.encoded === "running") return { kind: "busy", text: "Encoding the image" };
    if (state.pending.length) return { kind: "busy", text: "Waiting for the mask" };
    if (state.without) return { kind: "warn", text: `Shown without ${state.without.modality}${this.scene.isDifference ? ": blue is lost, orange is gained" : ""}` };
    if (!state.image) return { kind: "busy", text: "Opening" };
    return { kind: "good", text: state.image.encoded === "ready" ? "Ready" : "Ready; the first click encodes the image" };
  }

  drawZoom() {
    byId("zoom").textContent = `${readable(this.scene.view.scale * 100, 3)} %`;
  }

  drawPlace() {
    const { scene, state } = this;
    const { cursor } = scene;
    const { image } = state;
    if (!cursor || !image || cursor[0] < -0.5 || cursor[1] < -0.5 || cursor[0] >= image.width - 0.5 || cursor[1] >= image.height - 0.5) {
      byId("place").textContent = "";
      return;
    }
    const parts = [`${Math.round(cursor[0])}, ${Math.round(cursor[1])}`];
    for (const name of new Set([scene.layout.first, scene.layout.second])) {
      if (name === RGB) continue;
      const about = image.modalities.find((modality) => modality.name === name);
      const picture = scene.gallery.loaded.get(name)?.picture;
      if (!about || !picture || !("valueAt" in picture)) continue;
      const value = picture.valueAt((cursor[0] + 0.5) / image.width, (cursor[1] + 0.5) / image.height);
      parts.push(`${titleOf(name)} ${value === null ? "no measurement" : `${readable(value)}${about.unit ? ` ${about.unit}` : ""}`}`);
    }
    byId("place").textContent = parts.join(" · ");
  }

  drawTiming() {
    const { timing } = this;
    if (!timing) return;
    const isSplit = typeof timing.compute_ms === "number";
    const server = isSplit
      ? [["network", timing.network_ms], ["queue", timing.queue_ms], ["compute", timing.compute_ms]]
      : [["server", timing.request_ms]]; // others asked it at the same time: its own counters tell nothing of this click
    const parts = /** @type {[string, number][]} */ ([
      ...server,
      ["app", timing.total_ms - timing.request_ms],
      ["socket", timing.roundtrip_ms - timing.total_ms],
      ["draw", this.drawMs],
    ]);
    const element = byId("timing");
    element.textContent = `click ${Math.round(timing.roundtrip_ms + this.drawMs)} ms`;
    element.title = element.ariaLabel = `Last click: ${parts.map(([name, ms]) => `${name} ${ms.toFixed(1)} ms`).join(", ")}`;
    const shown = parts.filter(([name]) => name !== "app" && name !== "socket");
    byId("timing-parts").textContent = shown.map(([name, ms]) => `${name} ${Math.round(ms)}`).join(" · ");
  }
}
