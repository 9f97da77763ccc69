/** Export: what each chosen format would lose is said before anything is written. */

import { byId, make } from "./dom.js";

export class ExportDialog {
  /** @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands */
  constructor(state, commands) {
    this.state = state;
    this.commands = commands;
    this.dialog = byId("export-dialog");
    byId("export-write").addEventListener("click", () => void this.write());
    for (const id of ["export-polygons", "export-tolerance"]) byId(id).addEventListener("change", () => void this.check());
    this.turn = 0;
  }

  open() {
    if (this.dialog.open) return;
    const formats = this.state.hello?.formats ?? [];
    const chosen = new Set(this.chosen.length ? this.chosen : formats.slice(0, 1).map(nameOf));
    byId("formats").replaceChildren(
      make("legend", { text: "Formats" }),
      ...formats.map((/** @type {any} */ format) => {
        const name = nameOf(format);
        const box = make("input", { type: "checkbox", value: name, checked: chosen.has(name) });
        box.addEventListener("change", () => void this.check());
        return make("label", { class: "choice" }, [box, make("span", { text: format.title ?? name })]);
      }),
    );
    byId("written").replaceChildren();
    this.dialog.showModal();
    void this.check();
  }

  get chosen() {
    return [...byId("formats").querySelectorAll("input:checked")].map((box) => /** @type {HTMLInputElement} */ (box).value);
  }

  get fields() {
    const tolerance = Math.max(0, Number(byId("export-tolerance").value) || 0);
    return { formats: this.chosen, ...(byId("export-polygons").checked ? { polygons: tolerance } : {}) };
  }

  async check() {
    const turn = ++this.turn;
    byId("export-write").disabled = true;
    byId("written").replaceChildren();
    if (this.chosen.length === 0) return this.report(["Choose a format."], "info");
    this.report(["Looking at what would be lost…"], "info");
    const reply = await this.commands.send("export", { ...this.fields, write: false });
    if (turn !== this.turn) return;
    if (!reply) return this.report(["The app could not say; see the message."], "info");
    byId("export-write").disabled = false;
    if (reply.losses.length) this.report(reply.losses, "loss");
    else this.report(["Nothing is lost: what is on the screen is what is written."], "good");
  }

  /** @param {string[]} lines @param {string} kind */
  report(lines, kind) {
    byId("losses").dataset.kind = kind;
    byId("losses").replaceChildren(...lines.map((line) => make("li", { text: line })));
  }

  async write() {
    byId("export-write").disabled = true;
    const reply = await this.commands.send("export", { ...this.fields, write: true });
    byId("export-write").disabled = false;
    if (!reply) return;
    byId("written").replaceChildren(
      make("p", { class: "good", text: `Written: ${reply.written.length} file${reply.written.length === 1 ? "" : "s"}.` }),
      make("ul", {}, reply.written.map((/** @type {string} */ path) => make("li", { text: path }))),
    );
  }
}

/** @param {any} format */
function nameOf(format) {
  return typeof format === "string" ? format : format.name;
}
