/** Lining up a modality that is a few pixels off: moved on the page at once, saved (and encoded again) when it fits. */

import { RGB } from "./layout.js";

export class Aligning {
  /** @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands */
  constructor(scene, commands) {
    this.scene = scene;
    this.gallery = scene.gallery;
    this.state = scene.state;
    this.commands = commands;
    this.isOn = false;
    this.scope = "image";
    this.name = "";
    this.state.on("image", (change) => {
      if (!change?.isSame) this.stop();
    });
  }

  /** The modality in front, else the other one that is shown. @returns {import("./state.js").Modality | null} */
  get about() {
    const { layout } = this.scene;
    const shown = layout.name === "single" ? [layout.first] : [layout.second, layout.first];
    const name = this.isOn ? this.name : shown.find((one) => one !== RGB);
    return this.state.image?.modalities.find((modality) => modality.name === name) ?? null;
  }

  toggle() {
    if (this.isOn) return this.stop();
    const about = this.about;
    if (!about) return this.commands.toast("Show a modality first: RGB is what the others are lined up with.");
    this.isOn = true;
    this.name = about.name;
    this.gallery.moving = { name: about.name, dx: 0, dy: 0, scale: 1 };
    this.changed();
  }

  stop() {
    if (!this.isOn) return;
    this.isOn = false;
    this.gallery.moving = null;
    this.changed();
  }

  /** What is saved and what is not yet, together. */
  get total() {
    const { about } = this;
    if (!about) return null;
    const { dx, dy, scale } = this.gallery.moving ?? { dx: 0, dy: 0, scale: 1 };
    return { dx: about.alignment.dx + dx, dy: about.alignment.dy + dy, scale: about.alignment.scale * scale };
  }

  /** @param {number} dx @param {number} dy image pixels */
  nudge(dx, dy) {
    const { moving } = this.gallery;
    if (!moving) return;
    moving.dx += dx;
    moving.dy += dy;
    this.changed();
  }

  /** @param {number} factor */
  grow(factor) {
    if (!this.gallery.moving) return;
    this.gallery.moving.scale *= factor;
    this.changed();
  }

  reset() {
    const { about } = this;
    const { moving } = this.gallery;
    if (!about || !moving) return;
    Object.assign(moving, { dx: -about.alignment.dx, dy: -about.alignment.dy, scale: 1 / about.alignment.scale });
    this.changed();
  }

  async save() {
    const { about, total } = this;
    if (!about || !total) return;
    const rounded = { dx: Math.round(total.dx * 100) / 100, dy: Math.round(total.dy * 100) / 100, scale: Math.round(total.scale * 1e4) / 1e4 };
    const reply = await this.commands.send("align", { modality: about.name, ...rounded, scope: this.scope });
    if (!reply) return;
    this.isOn = false; // the picture stays where it was put until the app's own has come
    this.changed();
    this.commands.toast(`Saved for ${this.scope === "folder" ? "all images of the folder" : "this image"}; the image is encoded again.`);
  }

  changed() {
    this.scene.invalidate();
    this.state.tell("align");
  }
}
