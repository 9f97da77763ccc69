/** The list of surfaces, and what can be done with the one that is worked on. */

import { byId, icon, make } from "./dom.js";
import { isDamaged } from "./state.js";
import { SurfaceCard, startRename } from "./surface_card.js";
import { VirtualList } from "./virtual_list.js";

const ROW_PX = 36;

export class SurfacesPanel {
  /**
   * @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands
   * @param {(id: number) => void} goTo shows a surface on the canvas
   */
  constructor(state, commands, goTo) {
    this.state = state;
    this.commands = commands;
    this.goTo = goTo;
    this.list = new VirtualList(byId("surfaces"), {
      label: "Surfaces",
      rowHeight: ROW_PX,
      key: (/** @type {import("./state.js").Surface} */ surface) => surface.id,
      fill: (row, surface) => this.fill(row, surface),
      choose: (surface) => commands.choose(surface.id),
      press: (event, surface) => this.press(event, surface),
    });
    this.card = new SurfaceCard(byId("surface-card"), state, commands, goTo);
    state.later(["document", "active", "image", "settings", "classes"], () => this.draw());
    byId("new-surface").addEventListener("click", () => void commands.finish());
  }

  draw() {
    const { surfaces, activeId } = this.state;
    this.list.show(surfaces, activeId);
    byId("surface-count").textContent = String(surfaces.length);
    byId("no-surfaces").hidden = surfaces.length > 0;
    const damaged = surfaces.filter(isDamaged).length;
    byId("damaged-count").textContent = damaged ? `${damaged} damaged` : "";
  }

  /** @param {HTMLElement} row @param {import("./state.js").Surface} surface */
  fill(row, surface) {
    if (!row.firstChild) this.build(row);
    const [swatch, number, name, damaged, area, lock, eye] = /** @type {any[]} */ ([...row.children]);
    swatch.style.background = this.state.colourOf(surface);
    number.textContent = String(surface.id);
    name.firstChild.textContent = surface.name;
    name.lastChild.textContent = surface.class ?? "";
    name.title = surface.class ? `${surface.name} (${surface.class})` : surface.name;
    damaged.hidden = !isDamaged(surface);
    damaged.title = damaged.ariaLabel = damageText(surface);
    area.textContent = areaText(surface.area_px);
    setToggle(lock, surface.locked ? "lock" : "unlocked", surface.locked, surface.locked ? "Unlock" : "Lock");
    setToggle(eye, surface.visible ? "eye" : "hidden", !surface.visible, surface.visible ? "Hide" : "Show");
    row.classList.toggle("off", !surface.visible);
    row.setAttribute("aria-label", [
      `Surface ${surface.id} ${surface.name}`, surface.class, `${surface.area_px} pixels`,
      surface.locked && "locked", !surface.visible && "hidden", isDamaged(surface) && damageText(surface),
    ].filter(Boolean).join(", "));
  }

  /** @param {HTMLElement} row */
  build(row) {
    const change = (/** @type {(s: import("./state.js").Surface) => object} */ of) => (/** @type {MouseEvent} */ event) => {
      event.preventDefault();
      const surface = this.list.itemOf(row);
      if (surface) void this.commands.update(surface.id, of(surface));
    };
    const revisit = (/** @type {MouseEvent} */ event) => {
      event.preventDefault();
      const surface = this.list.itemOf(row);
      if (!surface) return;
      this.state.activate(surface.id);
      this.goTo(surface.id);
    };
    row.append(
      make("span", { class: "swatch" }),
      make("span", { class: "number" }),
      make("span", { class: "name" }, [make("span"), make("small")]),
      make("button", { type: "button", class: "flag", tabindex: "-1", on: { click: revisit } }, [icon("warning")]),
      make("span", { class: "area" }),
      make("button", { type: "button", class: "mini", tabindex: "-1", on: { click: change((s) => ({ locked: !s.locked })) } }),
      make("button", { type: "button", class: "mini", tabindex: "-1", on: { click: change((s) => ({ visible: !s.visible })) } }),
    );
  }

  /** @param {KeyboardEvent} event @param {import("./state.js").Surface} surface */
  press(event, surface) {
    if (event.key === "Enter") this.goTo(surface.id);
    else if (event.key === "F2") startRename(this.state);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Another surface of the list. @param {number} step */
  cycle(step) {
    const { surfaces } = this.state;
    if (surfaces.length === 0) return;
    const at = this.list.at;
    const next = at < 0 ? (step > 0 ? 0 : surfaces.length - 1) : (at + step + surfaces.length) % surfaces.length;
    this.state.activate(surfaces[next].id);
  }
}

/** @param {HTMLElement} element @param {string} name @param {boolean} isPressed @param {string} label */
function setToggle(element, name, isPressed, label) {
  if (element.dataset.icon !== name) {
    element.replaceChildren(icon(name));
    element.dataset.icon = name;
  }
  element.setAttribute("aria-pressed", String(isPressed));
  element.setAttribute("aria-label", label);
  element.title = label;
}

/** @param {import("./state.js").Surface} surface */
export function damageText(surface) {
  return `Lost ${surface.lost_px} px to ${surface.lost_to.map((id) => `surface ${id}`).join(", ")}: revisit it`;
}

/** @param {number} px */
export function areaText(px) {
  if (px >= 1e6) return `${(px / 1e6).toFixed(2)} M`;
  return px >= 1e4 ? `${(px / 1e3).toFixed(1)} k` : String(px);
}
