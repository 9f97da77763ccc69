/** The pictures of the open image: RGB and its modalities, each loaded when it is first wanted, and how each is shown. */

import { RGB } from "./layout.js";
import { ColourPicture, ScalarPicture } from "./pictures.js";

/** @typedef {ColourPicture | ScalarPicture} Picture */

export class Gallery {
  /** @param {import("./state.js").State} state @param {() => void} changed @param {(text: string, kind: string) => void} toast */
  constructor(state, changed, toast) {
    this.state = state;
    this.changed = changed;
    this.toast = toast;
    /** @type {Map<string, {key: string, picture: Picture | null, stop: AbortController}>} */
    this.loaded = new Map();
    /** @type {{name: string, dx: number, dy: number, scale: number} | null} a modality being lined up: what is not saved yet */
    this.moving = null;
  }

  /** Loaded, or null while it is on its way. @param {string} name @returns {Picture | null} */
  picture(name) {
    const { image } = this.state;
    if (!image) return null;
    const about = image.modalities.find((modality) => modality.name === name);
    if (name !== RGB && !about) return null;
    const key = `${image.index}/${about ? about.version : 0}`;
    if (about?.error) return null;
    const known = this.loaded.get(name);
    if (known?.key === key) return known.picture;
    const isSameImage = known?.key.split("/")[0] === String(image.index);
    known?.stop.abort();
    const entry = { key, picture: isSameImage ? known?.picture ?? null : null, stop: new AbortController() };
    this.loaded.set(name, entry);
    void this.load(name, about ?? null, entry);
    return entry.picture;
  }

  /** @param {string} name @param {import("./state.js").Modality | null} about @param {{picture: Picture | null, stop: AbortController}} entry */
  async load(name, about, entry) {
    const index = this.state.image?.index;
    const { signal } = entry.stop;
    const address = about ? `api/images/${index}/modality/${encodeURIComponent(name)}?v=${about.version}` : `api/images/${index}/rgb`;
    try {
      if (about?.kind === "scalar") {
        const picture = await ScalarPicture.load(address, signal, about);
        picture.window = this.windowOf(about);
        entry.picture = picture;
      } else {
        entry.picture = await ColourPicture.load(address, signal);
      }
      if (this.moving?.name === name) this.moving = null; // what was lined up is in the picture now
      this.changed();
      this.state.tell("picture", name);
    } catch (error) {
      if (!signal.aborted) this.toast(/** @type {Error} */ (error).message, "error");
    }
  }

  /** @param {import("./state.js").Modality} about @returns {import("./pictures.js").Window} */
  windowOf(about) {
    const saved = this.state.settings.windows[about.name];
    return saved ? { ...saved } : { low: about.low, high: about.high, colormap: "heat", inverted: false };
  }

  /** @param {string} name @returns {ScalarPicture | null} */
  scalar(name) {
    const picture = this.picture(name);
    return picture instanceof ScalarPicture ? picture : null;
  }

  /** Pixels right, pixels down, factor: of what is not saved yet. @param {string} name @returns {[number, number, number]} */
  nudge(name) {
    return this.moving?.name === name ? [this.moving.dx, this.moving.dy, this.moving.scale] : [0, 0, 1];
  }
}
