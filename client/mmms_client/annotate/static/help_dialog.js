/** All shortcuts, each of which can be given a key of one's own. */

import { button, byId, make } from "./dom.js";
import { chordOf } from "./keys.js";

const POINTER_HINTS = [
  ["Left click", "Positive click"],
  ["Right click, Shift+click", "Negative click"],
  ["Click on a mark", "Remove that click"],
  ["Ctrl+click", "Choose a surface"],
  ["Wheel, pinch", "Zoom to the pointer"],
  ["Drag, Space+drag", "Pan"],
  ["Space", "Finish the surface"],
];

export class HelpDialog {
  /** @param {import("./keys.js").Keys} keys @param {import("./state.js").State} state */
  constructor(keys, state) {
    this.keys = keys;
    this.state = state;
    this.dialog = byId("help-dialog");
    /** @type {{id: string, element: HTMLElement} | null} */
    this.listening = null;
    this.dialog.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => this.press(event), true);
    this.dialog.addEventListener("close", () => (this.listening = null));
    byId("reset-keys").addEventListener("click", () => void this.reset());
  }

  open() {
    if (this.dialog.open) return;
    this.draw();
    this.dialog.showModal();
  }

  draw() {
    /** @type {Map<string, import("./keys.js").Action[]>} */
    const groups = new Map();
    for (const action of this.keys.actions) groups.set(action.group, [...(groups.get(action.group) ?? []), action]);
    const pointer = make("section", {}, [
      make("h3", { text: "Pointer" }),
      make("dl", {}, POINTER_HINTS.flatMap(([keys, words]) => [make("dt", { text: words }), make("dd", {}, [make("span", { class: "gesture", text: keys })])])),
    ]);
    byId("shortcuts").replaceChildren(
      pointer,
      ...[...groups].map(([group, actions]) =>
        make("section", {}, [make("h3", { text: group }), make("dl", {}, actions.flatMap((action) => this.row(action)))]),
      ),
    );
  }

  /** @param {import("./keys.js").Action} action */
  row(action) {
    const own = this.state.keys[action.id];
    const element = button({
      text: this.keys.chords(action).join("  ") || "none",
      label: `${action.title}: ${this.keys.chords(action).join(" or ") || "no key"}. Press to give it another key`,
      class: own ? "key own" : "key",
      run: () => this.listen(action.id, element),
    });
    element.dataset.action = action.id;
    return [make("dt", { text: action.title }), make("dd", {}, [element])];
  }

  /** @param {string} id @param {HTMLElement} element */
  listen(id, element) {
    if (this.listening) this.draw();
    const current = this.dialog.querySelector(`[data-action="${id}"]`) ?? element;
    this.listening = { id, element: current };
    current.textContent = "press a key…";
    current.classList.add("listening");
    current.focus();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (!this.listening) {
      if (chordOf(event) === this.keys.shown("help")) {
        event.preventDefault();
        event.stopPropagation(); // or the key would open it again
        this.dialog.close();
      }
      return;
    }
    const chord = chordOf(event);
    if (!chord) return;
    event.preventDefault();
    event.stopPropagation();
    const { id } = this.listening;
    this.listening = null;
    if (chord === "Esc") return this.redraw(id);
    const taken = this.keys.find(chord);
    byId("remap-note").textContent = taken && taken.id !== id ? `${chord} was “${taken.title}” and is taken from it.` : "";
    void this.keys.remap(id, chord).then(() => this.redraw(id));
  }

  /** Draw again with the focus where it was, or no key would reach the dialog. @param {string} id */
  redraw(id) {
    this.draw();
    this.dialog.querySelector(`[data-action="${id}"]`)?.focus();
  }

  async reset() {
    if ((await this.keys.commands.send("keys", { keys: {} })) === null) return;
    this.state.keys = {};
    this.state.tell("keys");
    this.draw();
  }
}
