/** The classes: one press chooses the class of the surface that is worked on and of the next ones. */

import { button, byId, make } from "./dom.js";

export class ClassesBar {
  /** @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands @param {import("./keys.js").Keys} keys */
  constructor(state, commands, keys) {
    this.state = state;
    this.commands = commands;
    this.keys = keys;
    this.box = byId("classes");
    this.shape = ""; // what is drawn
    state.later(["hello", "document", "active", "classes", "keys"], () => this.draw());
  }

  draw() {
    const { classes, active, activeClass } = this.state;
    const chosen = active ? active.class : activeClass;
    const shape = JSON.stringify([classes, chosen]);
    if (shape === this.shape) return;
    this.shape = shape;
    this.box.replaceChildren(...classes.map((c) => this.chip(c, c.name === chosen)));
    this.box.hidden = classes.length === 0;
  }

  /** @param {import("./state.js").SurfaceClass} c @param {boolean} isChosen */
  chip(c, isChosen) {
    const chord = this.keys.classChord(c);
    const element = button({
      text: c.name,
      label: chord ? `Class ${c.name} (${chord})` : `Class ${c.name}`,
      class: "chip",
      pressed: isChosen,
      run: () => void this.commands.setClass(isChosen ? null : c.name),
    });
    const swatch = make("i", { class: "swatch" });
    swatch.style.background = c.colour;
    element.prepend(swatch);
    if (chord) element.append(make("kbd", { text: chord }));
    return element;
  }
}
