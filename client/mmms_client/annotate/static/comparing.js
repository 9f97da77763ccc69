/** The mask without a modality: what the same clicks would give if that sensor were missing. */

import { RGB } from "./layout.js";

export class Comparing {
  /** @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands */
  constructor(scene, commands) {
    this.scene = scene;
    this.state = scene.state;
    this.commands = commands;
    this.isAsking = false;
    this.state.on("mask", () => this.changed());
  }

  /** The modality to leave out: one that is shown, else the first that the click model uses. */
  get modality() {
    const used = (this.state.image?.modalities ?? []).filter((modality) => modality.in_model).map((modality) => modality.name);
    const { layout } = this.scene;
    const shown = [layout.first, ...(layout.name === "single" ? [] : [layout.second])].filter((name) => name !== RGB);
    return shown.find((name) => used.includes(name)) ?? used[0] ?? null;
  }

  /** @param {boolean} isDifference the map of where they disagree, instead of the mask alone */
  async toggle(isDifference) {
    const { state, scene } = this;
    if (state.without && scene.isDifference === isDifference) return this.stop();
    scene.isDifference = isDifference;
    if (state.without) return this.changed();
    await this.ask(this.modality);
  }

  /** @param {string | null} modality */
  async ask(modality) {
    const { state } = this;
    if (!state.active) return this.commands.toast("Choose a surface with clicks first.");
    if (!modality) return this.commands.toast("The click model uses no modality of this image.");
    if (this.isAsking) return;
    this.isAsking = true;
    await this.commands.send("without", { surface: state.active.id, modality });
    this.isAsking = false;
    this.changed();
  }

  stop() {
    this.state.without = null;
    this.changed();
  }

  changed() {
    this.scene.invalidate();
    this.state.tell("comparing");
  }
}
