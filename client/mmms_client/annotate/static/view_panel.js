/** Which pictures are shown, and how: layout, blend, window, colormap, lining up. */

import { button, byId, make, readable } from "./dom.js";
import { COLORMAPS } from "./colormaps.js";
import { Histogram } from "./histogram.js";
import { LAYOUTS, RGB } from "./layout.js";

export class ViewPanel {
  /**
   * @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands
   * @param {import("./windows.js").Windows} windows @param {import("./aligning.js").Aligning} aligning
   */
  constructor(scene, commands, windows, aligning) {
    this.scene = scene;
    this.state = scene.state;
    this.commands = commands;
    this.windows = windows;
    this.aligning = aligning;
    this.histogram = new Histogram(byId("histogram"), windows);
    this.buildWindow();
    this.buildAlign();
    this.buildMarks();
    this.state.later(["image", "layout", "picture", "window", "settings", "hello", "align"], () => this.draw());
  }

  buildWindow() {
    const { windows } = this;
    for (const edge of ["low", "high"]) {
      byId(`window-${edge}`).addEventListener("change", (/** @type {Event} */ event) => {
        const value = Number(/** @type {HTMLInputElement} */ (event.target).value);
        if (Number.isFinite(value)) windows.set(windows.name, { [edge]: value });
      });
    }
    for (const percent of [0, 1, 2, 5]) {
      byId("percentiles").append(
        button({ text: percent ? `${percent}–${100 - percent} %` : "All", label: percent ? `Window from percentile ${percent} to ${100 - percent}` : "Window over all values", run: () => windows.percentiles(windows.name, percent, 100 - percent) }),
      );
    }
    const maps = byId("colormap");
    maps.append(...COLORMAPS.map(({ name, title }) => make("option", { value: name, text: title })));
    maps.addEventListener("change", () => windows.set(windows.name, { colormap: maps.value }));
    byId("inverted").addEventListener("change", () => windows.set(windows.name, { inverted: byId("inverted").checked }));
    byId("blend").addEventListener("input", () => {
      this.scene.layout.blend = byId("blend").value / 100;
      this.scene.invalidate();
      this.draw();
    });
  }

  buildAlign() {
    const { aligning } = this;
    byId("align-scope").addEventListener("change", () => (aligning.scope = byId("align-scope").value));
    byId("align-start").addEventListener("click", () => aligning.toggle());
    byId("align-save").addEventListener("click", () => void aligning.save());
    byId("align-cancel").addEventListener("click", () => aligning.stop());
    byId("align-reset").addEventListener("click", () => aligning.reset());
    for (const [id, dx, dy] of /** @type {[string, number, number][]} */ ([["align-left", -1, 0], ["align-right", 1, 0], ["align-up", 0, -1], ["align-down", 0, 1]])) {
      byId(id).addEventListener("click", (/** @type {MouseEvent} */ event) => aligning.nudge(dx * (event.shiftKey ? 10 : 1), dy * (event.shiftKey ? 10 : 1)));
    }
    byId("align-smaller").addEventListener("click", () => aligning.grow(1 / 1.002));
    byId("align-larger").addEventListener("click", () => aligning.grow(1.002));
  }

  buildMarks() {
    const { commands } = this;
    byId("fill").addEventListener("input", () => commands.set({ fill: byId("fill").value / 100 }));
    byId("by-class").addEventListener("change", () => commands.set({ byClass: byId("by-class").checked }));
    for (const name of ["tags", "patterns", "preview"]) {
      byId(`show-${name}`).addEventListener("change", () => commands.set({ [name]: byId(`show-${name}`).checked }));
    }
  }

  draw() {
    const { layout } = this.scene;
    const { settings, image } = this.state;
    byId("blend-row").hidden = layout.name !== "blend";
    byId("blend").value = Math.round(layout.blend * 100);
    byId("blend-names").textContent = `${titleOf(layout.first)} → ${titleOf(layout.second)}`;
    const picture = this.windows.name ? this.scene.gallery.scalar(this.windows.name) : null;
    byId("window").hidden = !picture;
    byId("no-window").hidden = Boolean(picture) || !image?.modalities.length;
    if (picture) this.drawWindow(picture);
    byId("align").hidden = !image?.modalities.length;
    this.drawAlign();
    byId("by-class").checked = settings.byClass;
    byId("fill").value = Math.round(settings.fill * 100);
    for (const name of /** @type {const} */ (["tags", "patterns", "preview"])) byId(`show-${name}`).checked = settings[name];
  }

  /** @param {import("./pictures.js").ScalarPicture} picture */
  drawWindow(picture) {
    const about = this.state.image?.modalities.find((modality) => modality.name === this.windows.name);
    byId("window-title").textContent = `${titleOf(this.windows.name)}${about?.unit ? ` in ${about.unit}` : ""}`;
    for (const edge of /** @type {const} */ (["low", "high"])) {
      const field = byId(`window-${edge}`);
      if (document.activeElement !== field) field.value = readable(picture.window[edge], 5);
    }
    byId("colormap").value = picture.window.colormap;
    byId("inverted").checked = picture.window.inverted;
    this.histogram.show(this.windows.name, picture);
  }

  drawAlign() {
    const { aligning } = this;
    const about = aligning.about;
    byId("align-name").textContent = about ? titleOf(about.name) : "";
    byId("align-controls").hidden = !aligning.isOn;
    byId("align-start").setAttribute("aria-pressed", String(aligning.isOn));
    byId("align-start").disabled = !about;
    const at = aligning.total;
    byId("align-values").textContent = at ? `${signed(at.dx)}, ${signed(at.dy)} px · × ${at.scale.toFixed(3)}` : "";
  }
}

/** @param {number} value */
function signed(value) {
  return `${value < 0 ? "−" : "+"}${readable(Math.abs(value), 4)}`;
}

/** What a picture is called. @param {string} name */
export function titleOf(name) {
  return name === RGB ? "RGB" : name;
}

/** The buttons above the canvas that choose pictures and layout. */
export class PicturesBar {
  /** @param {import("./scene.js").Scene} scene @param {(name: string) => void} show @param {(name: string) => void} arrange */
  constructor(scene, show, arrange) {
    this.scene = scene;
    this.show = show;
    this.arrange = arrange;
    scene.state.later(["image", "layout"], () => this.draw());
  }

  draw() {
    const { layout, state } = this.scene;
    const names = [RGB, ...(state.image?.modalities ?? []).map((modality) => modality.name)];
    const shown = layout.name === "single" ? [layout.first] : [layout.first, layout.second];
    byId("pictures").replaceChildren(
      ...names.map((name, k) => {
        const about = state.image?.modalities.find((modality) => modality.name === name);
        const element = button({
          text: titleOf(name),
          label: `Show ${titleOf(name)} (${k + 1})${about?.error ? `; ${about.error}` : about && !about.in_model ? "; the click model does not use it" : ""}`,
          class: about && (about.error || !about.in_model) ? "outside" : "",
          pressed: shown.includes(name),
          run: () => this.show(name),
        });
        if (k < 9) element.prepend(make("kbd", { text: String(k + 1) }));
        return element;
      }),
    );
    const icons = /** @type {Record<string, string>} */ ({ single: "▢", blend: "◐", swipe: "◫", split: "▥" });
    byId("layouts").replaceChildren(
      ...LAYOUTS.map(({ name, title }) =>
        button({ text: icons[name], label: title, class: "glyph", pressed: layout.name === name, run: () => this.arrange(name) }),
      ),
    );
    byId("layouts").hidden = names.length < 2;
  }
}
