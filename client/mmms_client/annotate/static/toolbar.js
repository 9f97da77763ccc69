/** The buttons around the canvas: tools, sign, view, images, dialogs, panels. */

import { byId, icon, readable } from "./dom.js";

/** Put the icons into the buttons of the page that name one. */
export function drawIcons() {
  for (const element of document.querySelectorAll("[data-icon]")) {
    element.prepend(icon(/** @type {HTMLElement} */ (element).dataset.icon ?? ""));
  }
}

export class Toolbar {
  /** @param {import("./main.js").App} app */
  constructor(app) {
    this.app = app;
    const { state, scene } = app;
    for (const element of document.querySelectorAll("[data-action]")) {
      element.addEventListener("click", () => this.run(/** @type {HTMLElement} */ (element).dataset.action ?? ""));
    }
    for (const element of document.querySelectorAll("[role=tab]")) {
      element.addEventListener("click", () => app.showPanel(/** @type {HTMLElement} */ (element).dataset.panel ?? ""));
      element.addEventListener("keydown", (event) => this.moveTab(/** @type {KeyboardEvent} */ (event)));
    }
    byId("brush-radius").addEventListener("input", () => app.commands.set({ brushRadius: Number(byId("brush-radius").value) }));
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.querySelector(".close")?.addEventListener("click", () => dialog.close());
      dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
      dialog.addEventListener("close", () => scene.canvas.focus());
    }
    state.later(["tool", "hello", "settings", "document", "image", "comparing", "align", "status"], () => this.draw());
    state.on("keys", () => this.drawTips());
    state.on("hello", () => this.drawTips());
    this.drawTips();
    this.draw();
  }

  /** @param {string} id */
  run(id) {
    this.app.keys.actions.find((action) => action.id === id)?.run(new KeyboardEvent("keydown"));
  }

  /** @param {KeyboardEvent} event */
  moveTab(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const tabs = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[role=tab]")]);
    const next = tabs[(tabs.indexOf(/** @type {HTMLElement} */ (event.target)) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  }

  /** Names of the actions with their keys, as labels and tips. */
  drawTips() {
    for (const element of document.querySelectorAll("[data-action]")) {
      const { action: id = "", label } = /** @type {HTMLElement} */ (element).dataset;
      const action = this.app.keys.actions.find((one) => one.id === id);
      if (!action) continue;
      const chord = this.app.keys.shown(id);
      const words = `${label ?? action.title}${chord ? ` (${chord})` : ""}`;
      element.setAttribute("aria-label", words);
      element.setAttribute("title", words);
      const shown = element.querySelector("kbd");
      if (shown) shown.textContent = chord;
    }
  }

  draw() {
    const { app } = this;
    const { state, scene, tools } = app;
    const { settings } = state;
    const pressed = (/** @type {string} */ id, /** @type {boolean} */ on) =>
      document.querySelectorAll(`[data-action="${id}"]`).forEach((element) => element.setAttribute("aria-pressed", String(on)));
    for (const tool of tools.all) pressed(`tool-${tool.name}`, tool === tools.current);
    pressed("pixels", scene.isCrisp);
    pressed("refine", app.isRefining);
    pressed("without", Boolean(state.without) && !scene.isDifference);
    pressed("difference", Boolean(state.without) && scene.isDifference);
    pressed("align", app.aligning.isOn);
    pressed("done", state.image?.state === "done");
    byId("sign").dataset.sign = tools.click.isNegative ? "negative" : "positive";
    byId("sign").firstElementChild.textContent = tools.click.isNegative ? "−" : "+";
    byId("sign").hidden = tools.current.name !== "click";
    const isPainting = tools.current.name === "brush" || tools.current.name === "eraser";
    byId("brush-size").hidden = !isPainting;
    byId("brush-radius").value = settings.brushRadius;
    byId("brush-text").textContent = `${readable(settings.brushRadius, 3)} px`;
    byId("polygon-hint").hidden = tools.current.name !== "polygon";
    byId("merge-hint").hidden = app.commands.merging === null;
    byId("align-hint").hidden = !app.aligning.isOn;
    this.drawHistory();
    this.drawPanels();
    byId("image-name").textContent = byId("image-name").title = state.image?.name ?? "";
    byId("image-place").textContent = state.images.length > 1 && state.image ? `${state.images.findIndex((row) => row.index === state.image?.index) + 1} / ${state.images.length}` : "";
    const { model } = state.hello ?? {};
    byId("model").textContent = model ? `${model.preset} · ${model.resolution} px` : "";
    byId("model").title = model ? `Checkpoint ${model.checkpoint}, ${state.hello.url}` : "";
  }

  drawHistory() {
    const { document: current } = this.app.state;
    for (const name of /** @type {const} */ (["undo", "redo"])) {
      const what = current?.[name] ?? null;
      const element = byId(name);
      element.disabled = !what;
      byId(`${name}-what`).textContent = what ?? "";
      const chord = this.app.keys.shown(name);
      const words = what ? `${name === "undo" ? "Undo" : "Redo"}: ${what} (${chord})` : `Nothing to ${name}`;
      element.setAttribute("aria-label", words);
      element.title = words;
    }
  }

  drawPanels() {
    const { panel } = this.app.state.settings;
    for (const element of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[role=tab]"))) {
      const isChosen = element.dataset.panel === panel;
      element.setAttribute("aria-selected", String(isChosen));
      element.tabIndex = isChosen ? 0 : -1;
      const shown = byId(`panel-${element.dataset.panel}`);
      if (shown.hidden === isChosen) {
        shown.hidden = !isChosen;
        this.app.state.tell("panel");
        if (isChosen && panel === "view") this.app.viewPanel.draw();
      }
    }
  }
}
