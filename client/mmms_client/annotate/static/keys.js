/**
 * Keys. A chord is written as "Ctrl+Shift+Z"; every action has its usual chords and may have one of the user's own.
 */

const NAMES = { " ": "Space", Escape: "Esc", ArrowLeft: "Left", ArrowRight: "Right", ArrowUp: "Up", ArrowDown: "Down", "+": "Plus" };
const MODIFIERS = ["Control", "Shift", "Alt", "Meta", "AltGraph"];

/** @typedef {{id: string, group: string, title: string, keys: string[], run: (event: KeyboardEvent) => void, on?: "canvas"}} Action */

/** The chord of a key press, or "" while only modifiers are held. @param {KeyboardEvent} event */
export function chordOf(event) {
  if (MODIFIERS.includes(event.key)) return "";
  const named = NAMES[/** @type {keyof typeof NAMES} */ (event.key)] ?? event.key;
  const digit = /^Digit(\d)$/.exec(event.code ?? "");
  const key = event.shiftKey && digit ? digit[1] : named.length === 1 ? named.toUpperCase() : named;
  // A shifted sign such as "{" already says so; letters, digits and named keys do not.
  const saysShift = event.shiftKey && (key.length > 1 || /[A-Z0-9]/.test(key));
  return [event.ctrlKey || event.metaKey ? "Ctrl" : "", event.altKey ? "Alt" : "", saysShift ? "Shift" : "", key].filter(Boolean).join("+");
}

export class Keys {
  /** @param {Action[]} actions @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands @param {HTMLElement} canvas */
  constructor(actions, state, commands, canvas) {
    this.actions = actions;
    this.state = state;
    this.commands = commands;
    this.canvas = canvas;
    document.addEventListener("keydown", (event) => this.press(event));
  }

  /** @param {Action} action @returns {string[]} */
  chords(action) {
    const own = this.state.keys[action.id];
    return own ? [own] : action.keys;
  }

  /** The first chord of an action, for tips. @param {string} id */
  shown(id) {
    const action = this.actions.find((a) => a.id === id);
    return action ? this.chords(action)[0] ?? "" : "";
  }

  /** @param {string} chord @returns {Action | undefined} */
  find(chord) {
    const own = this.actions.find((action) => this.state.keys[action.id] === chord);
    return own ?? this.actions.find((action) => this.chords(action).includes(chord));
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const chord = chordOf(event);
    const target = /** @type {HTMLElement} */ (event.target);
    if (!chord || document.querySelector("dialog[open]")) return;
    const isTyping = target.matches?.("input:not([type=checkbox]):not([type=range]), textarea, select");
    if (isTyping && !(event.ctrlKey && chord !== "Ctrl+Z" && chord !== "Ctrl+Y" && chord !== "Ctrl+Shift+Z")) return;
    const isControl = target.matches?.("button, input, select, a, summary, [role=listbox], [role=tab], [role=slider]");
    // A focused control keeps the keys that work it.
    if (isControl && ["Enter", "Space", "Left", "Right", "Up", "Down", "Tab", "Shift+Tab", "Home", "End"].includes(chord)) return;
    const action = this.find(chord) ?? this.classAction(chord);
    if (!action || (action.on === "canvas" && target !== this.canvas && target !== document.body)) return;
    event.preventDefault();
    action.run(event);
  }

  /** A class by its own key, alone where no action has it, else with Alt. @param {string} chord @returns {Action | undefined} */
  classAction(chord) {
    const found = this.state.classes.find((c) => c.key && (chord === c.key.toUpperCase() || chord === `Alt+${c.key.toUpperCase()}`));
    return found && { id: "class", group: "", title: found.name, keys: [], run: () => void this.commands.setClass(found.name) };
  }

  /** The chord that chooses a class. @param {import("./state.js").SurfaceClass} c */
  classChord(c) {
    if (!c.key) return "";
    const chord = c.key.toUpperCase();
    return this.find(chord) ? `Alt+${chord}` : chord;
  }

  /**
   * Give an action a chord of the user's own; "" for the usual ones again.
   * @param {string} id @param {string} chord
   */
  async remap(id, chord) {
    const keys = { ...this.state.keys };
    for (const [other, taken] of Object.entries(keys)) if (taken === chord) delete keys[other];
    if (chord) keys[id] = chord;
    else delete keys[id];
    if ((await this.commands.send("keys", { keys })) === null) return;
    this.state.keys = keys;
    this.state.tell("keys");
  }
}
