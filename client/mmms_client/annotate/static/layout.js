/** Which pictures are shown and how: one, two blended, two with a divider, two side by side. */

export const LAYOUTS = [
  { name: "single", title: "One picture" },
  { name: "blend", title: "Blend" },
  { name: "swipe", title: "Swipe" },
  { name: "split", title: "Side by side" },
];
export const RGB = "rgb";

export class Layout {
  constructor() {
    this.name = "single";
    this.first = RGB;
    this.second = RGB; // the last picture that was shown besides the first
    this.blend = 0.5;
    this.swipe = 0.5;
  }

  /** @param {string[]} names of the modalities of an image that is opened */
  keepTo(names) {
    const all = [RGB, ...names];
    if (!all.includes(this.first)) this.first = RGB;
    if (!all.includes(this.second) || this.second === this.first) this.second = all.find((name) => name !== this.first) ?? RGB;
    if (all.length === 1) this.name = "single";
  }

  /** @param {string} name */
  show(name) {
    if (name === this.first) return this.flip();
    if (this.name === "single") [this.first, this.second] = [name, this.first];
    else if (name === this.second) this.flip();
    else this.second = name;
  }

  flip() {
    [this.first, this.second] = [this.second, this.first];
  }

  /**
   * Panes in CSS pixels.
   * @param {number} width @param {number} height
   * @returns {{x: number, y: number, width: number, height: number, picture: string}[]}
   */
  panes(width, height) {
    if (this.name !== "split") return [{ x: 0, y: 0, width, height, picture: this.first }];
    const half = Math.floor(width / 2);
    return [
      { x: 0, y: 0, width: half - 1, height, picture: this.first },
      { x: half + 1, y: 0, width: width - half - 1, height, picture: this.second },
    ];
  }
}
