/** Light or dark: the system's choice until a person makes one. */

export class Theme {
  /** @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands @param {() => void} changed */
  constructor(state, commands, changed) {
    this.state = state;
    this.commands = commands;
    this.changed = changed;
    this.system = window.matchMedia("(prefers-color-scheme: light)");
    this.system.addEventListener("change", () => this.apply());
    for (const topic of ["hello", "settings"]) state.on(topic, () => this.apply());
    this.apply();
  }

  get name() {
    const { theme } = this.state.settings;
    if (theme === "light" || theme === "dark") return theme;
    return this.system.matches ? "light" : "dark";
  }

  toggle() {
    this.commands.set({ theme: this.name === "dark" ? "light" : "dark" });
  }

  apply() {
    if (document.documentElement.dataset.theme === this.name) return;
    document.documentElement.dataset.theme = this.name;
    this.changed();
  }
}
