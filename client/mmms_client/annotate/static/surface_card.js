/** The surface that is worked on: its name, class, clicks, and what can be done with it as a whole. */

import { isDamaged } from "./state.js";
import { button, byId, icon, make } from "./dom.js";

/**
 * Begin to write over the name of the surface that is worked on, also before the card was drawn again for it.
 * @param {import("./state.js").State} state
 */
export function startRename({ active }) {
  if (!active) return;
  const name = /** @type {HTMLInputElement} */ (byId("surface-name"));
  Object.assign(name, { disabled: false, value: active.name });
  name.focus();
  name.select();
}

export class SurfaceCard {
  /**
   * @param {HTMLElement} box @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands
   * @param {(id: number) => void} goTo
   */
  constructor(box, state, commands, goTo) {
    this.box = box;
    this.state = state;
    this.commands = commands;
    this.goTo = goTo;
    this.build();
    state.later(["document", "active", "image", "classes", "hello"], () => this.draw());
  }

  build() {
    const { commands } = this;
    const act = (/** @type {(s: import("./state.js").Surface) => void} */ work) => () => {
      const { active } = this.state;
      if (active) work(active);
    };
    this.name = make("input", { id: "surface-name", type: "text", maxlength: "200", "aria-label": "Name of the surface", autocomplete: "off", spellcheck: "false" });
    this.name.addEventListener("change", act((s) => void commands.update(s.id, { name: this.name.value.trim() || s.name })));
    this.name.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && byId("canvas").focus());
    this.kind = make("select", { id: "surface-class", "aria-label": "Class of the surface" });
    this.kind.addEventListener("change", () => void commands.setClass(this.kind.value || null));
    this.clicks = make("div", { class: "chips", id: "clicks", role: "group", "aria-label": "Clicks of the surface" });
    this.damage = make("div", { class: "damage", role: "status" });
    this.box.append(
      make("div", { class: "pair" }, [this.name, this.kind]),
      this.damage,
      this.clicks,
      make("div", { class: "tools" }, [
        button({ icon: "revisit", label: "Show it on the canvas", run: act((s) => this.goTo(s.id)) }),
        button({ icon: "up", label: "Move up in the list", run: act((s) => void commands.move(s.id, -1)) }),
        button({ icon: "down", label: "Move down in the list", run: act((s) => void commands.move(s.id, 1)) }),
        button({ icon: "merge", label: "Merge another surface into it", run: act((s) => commands.startMerge(s.id)) }),
        button({ icon: "split", label: "Split into its parts", run: act((s) => void commands.send("split", { surface: s.id })) }),
        button({ icon: "clean", label: "Clean: fill small holes, drop small specks", run: act((s) => this.clean(s)) }),
        button({ icon: "trash", label: "Delete the surface", class: "danger", run: act((s) => void commands.remove(s.id)) }),
      ]),
      this.buildClean(),
    );
  }

  buildClean() {
    const number = (/** @type {string} */ id, /** @type {string} */ label) =>
      make("label", {}, [label, make("input", { id, type: "number", min: "0", max: "1000000", value: "64" }), "px"]);
    return make("div", { class: "clean", id: "clean", hidden: true }, [
      number("clean-holes", "Holes to"),
      number("clean-specks", "Specks to"),
      button({ text: "Clean", label: "Clean now", class: "primary", run: () => this.runClean() }),
    ]);
  }

  /** @param {import("./state.js").Surface} surface */
  clean(surface) {
    byId("clean").hidden = !byId("clean").hidden;
    if (!byId("clean").hidden && surface) byId("clean-holes").focus();
  }

  runClean() {
    const { active } = this.state;
    const pixels = (/** @type {string} */ id) => Math.max(0, Math.round(Number(byId(id).value) || 0));
    if (active) void this.commands.send("clean", { surface: active.id, holes_px: pixels("clean-holes"), specks_px: pixels("clean-specks") });
  }

  draw() {
    const { active, classes, activeClass } = this.state;
    this.box.classList.toggle("empty", !active);
    this.name.disabled = !active;
    if (document.activeElement !== this.name) this.name.value = active?.name ?? "";
    this.name.placeholder = "The next click makes a new surface";
    this.drawClasses(classes, active ? active.class : activeClass);
    this.damage.hidden = !active || !isDamaged(active);
    this.drawDamage(active);
    this.drawClicks(active);
    for (const element of this.box.querySelectorAll(".tools button")) /** @type {any} */ (element).disabled = !active;
    if (!active) byId("clean").hidden = true;
  }

  /** @param {import("./state.js").SurfaceClass[]} classes @param {string | null} chosen */
  drawClasses(classes, chosen) {
    const names = [...new Set([...classes.map((c) => c.name), ...(chosen ? [chosen] : [])])];
    this.kind.replaceChildren(make("option", { value: "", text: "no class" }), ...names.map((name) => make("option", { value: name, text: name })));
    this.kind.value = chosen ?? "";
  }

  /** @param {import("./state.js").Surface | null} active */
  drawDamage(active) {
    if (!active || !isDamaged(active)) return;
    this.damage.replaceChildren(
      icon("warning"),
      make("span", { text: `Lost ${active.lost_px} px to ${active.lost_to.map((id) => this.state.surface(id)?.name ?? id).join(", ")}. The next click revisits it.` }),
    );
  }

  /** @param {import("./state.js").Surface | null} active */
  drawClicks(active) {
    const chips = (active?.clicks ?? []).map(({ x, y, positive }, k) => {
      const words = `${positive ? "+" : "−"} ${Math.round(x)}, ${Math.round(y)}`;
      return button({
        text: words,
        icon: "close",
        class: positive ? "chip positive" : "chip negative",
        label: `Remove the ${positive ? "positive" : "negative"} click at ${Math.round(x)}, ${Math.round(y)}`,
        run: () => void this.commands.removeClick(k),
      });
    });
    this.clicks.replaceChildren(...chips);
    this.clicks.hidden = chips.length === 0;
  }
}
