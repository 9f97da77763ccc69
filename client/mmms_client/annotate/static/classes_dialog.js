/** The classes: name, colour and key of each; surfaces keep their class when it is renamed. */

import { button, byId, make } from "./dom.js";

const COLOURS = ["#ff9500", "#00a8ff", "#4cd964", "#ff3b80", "#a066ff", "#ffdd33", "#00c7be", "#de3c32"];

export class ClassesDialog {
  /** @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands */
  constructor(state, commands) {
    this.state = state;
    this.commands = commands;
    this.dialog = byId("classes-dialog");
    byId("edit-classes").addEventListener("click", () => this.open());
    byId("another-class").addEventListener("click", () => this.addRow({ name: "", colour: this.freeColour, key: null }).focus());
    byId("classes-form").addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      void this.save();
    });
  }

  get rows() {
    return /** @type {HTMLElement[]} */ ([...byId("class-rows").children]);
  }

  get freeColour() {
    return COLOURS[this.rows.length % COLOURS.length];
  }

  open() {
    byId("class-rows").replaceChildren();
    for (const one of this.state.classes) this.addRow(one);
    if (this.rows.length === 0) this.addRow({ name: "", colour: this.freeColour, key: null });
    this.dialog.showModal();
  }

  /** @param {{id?: number | string, name: string, colour: string, key: string | null}} one @returns {HTMLInputElement} its name */
  addRow({ id, name, colour, key }) {
    const field = make("input", { type: "text", maxlength: "100", "aria-label": "Name", placeholder: "Name", autocomplete: "off" });
    field.value = name;
    const tint = make("input", { type: "color", "aria-label": "Colour" });
    tint.value = colour;
    const letter = make("input", { type: "text", maxlength: "1", class: "letter", "aria-label": "Key", placeholder: "key", autocomplete: "off" });
    letter.value = key ?? "";
    const row = make("div", { class: "class-row" }, [
      tint,
      field,
      letter,
      button({ icon: "trash", label: "Remove the class", class: "mini", run: () => row.remove() }),
    ]);
    if (id !== undefined) row.dataset.id = String(id);
    byId("class-rows").append(row);
    return field;
  }

  async save() {
    const classes = this.rows
      .map((row) => {
        const [tint, field, letter] = /** @type {HTMLInputElement[]} */ ([...row.querySelectorAll("input")]);
        const id = row.dataset.id ? { id: Number(row.dataset.id) } : {};
        return { ...id, name: field.value.trim(), colour: tint.value, key: letter.value || null };
      })
      .filter(({ name }) => name);
    if (await this.commands.send("classes", { classes })) this.dialog.close();
  }
}
