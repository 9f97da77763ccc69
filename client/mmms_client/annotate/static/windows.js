/** Which part of a modality's range is shown: by drag, by percentiles, or typed in its unit. Remembered by modality. */

export class Windows {
  /** @param {import("./scene.js").Scene} scene @param {import("./commands.js").Commands} commands */
  constructor(scene, commands) {
    this.scene = scene;
    this.commands = commands;
    this.gallery = scene.gallery;
  }

  /** The scalar modality that keys and the panel work on: the one in front, else the other one that is shown. */
  get name() {
    const { layout } = this.scene;
    const shown = layout.name === "single" ? [layout.first] : [layout.second, layout.first];
    return shown.find((name) => this.gallery.scalar(name)) ?? "";
  }

  /** @param {import("./scene.js").Pane} pane @param {number} x @returns {string} */
  nameAt(pane, x) {
    const { layout } = this.scene;
    const under = layout.name === "swipe" && x > pane.width * layout.swipe ? layout.second : pane.picture;
    return this.gallery.scalar(under) ? under : this.name;
  }

  /** @param {string} name @param {Partial<import("./pictures.js").Window>} change @param {boolean} [isDragged] */
  set(name, change, isDragged = false) {
    const picture = this.gallery.scalar(name);
    if (!picture) return;
    picture.window = { ...picture.window, ...change };
    picture.isDragged = isDragged;
    this.scene.invalidate();
    this.scene.state.tell("window", name);
    if (!isDragged) this.settle(name);
  }

  /** @param {string} name @param {number} wider fraction @param {number} higher fraction of the window */
  drag(name, wider, higher) {
    const picture = this.gallery.scalar(name);
    if (!picture) return;
    const { low, high } = picture.window;
    const width = high - low;
    const middle = (low + high) / 2 + higher * width;
    const half = (width / 2) * Math.exp(wider * 2);
    this.set(name, { low: middle - half, high: middle + half }, true);
  }

  /** @param {string} name */
  settle(name) {
    const picture = this.gallery.scalar(name);
    if (!picture) return;
    picture.isDragged = false;
    this.scene.invalidate();
    this.commands.set({ windows: { ...this.scene.state.settings.windows, [name]: { ...picture.window } } });
  }

  /** @param {string} name @param {number} below @param {number} above percent */
  percentiles(name, below, above) {
    const picture = this.gallery.scalar(name);
    if (!picture) return;
    const [low, high] = picture.percentiles([below, above]);
    this.set(name, { low, high: high > low ? high : low + picture.scale });
  }

  /** By keys. @param {number} wider @param {number} higher */
  step(wider, higher) {
    const { name } = this;
    if (!name) return;
    this.drag(name, wider, higher);
    this.settle(name);
  }
}
