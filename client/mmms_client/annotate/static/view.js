/**
 * Where the image lies on the screen. Image coordinates have pixel centres at integers, so pixel 0 covers -0.5 to 0.5;
 * screen coordinates are CSS pixels from the top left corner of a pane.
 */

const LARGEST_SCALE = 64;
const STEPS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64];

export class View {
  constructor() {
    this.scale = 1;
    this.x = 0; // screen position of the image's left edge
    this.y = 0;
    this.paneWidth = 1;
    this.paneHeight = 1;
    this.imageWidth = 1;
    this.imageHeight = 1;
    this.isFitted = true; // follows the pane's size until a person moves it
  }

  /** @param {number} width @param {number} height */
  setImage(width, height) {
    this.imageWidth = width;
    this.imageHeight = height;
    this.fit();
  }

  /** @param {number} width @param {number} height */
  setPane(width, height) {
    if (width === this.paneWidth && height === this.paneHeight) return;
    const [x, y] = this.toImage(this.paneWidth / 2, this.paneHeight / 2);
    this.paneWidth = Math.max(1, width);
    this.paneHeight = Math.max(1, height);
    if (this.isFitted) this.fit();
    else this.centreOn(x, y);
  }

  get fitScale() {
    return Math.min(this.paneWidth / this.imageWidth, this.paneHeight / this.imageHeight);
  }

  fit() {
    this.scale = Math.min(this.fitScale * 0.98, LARGEST_SCALE);
    this.x = (this.paneWidth - this.imageWidth * this.scale) / 2;
    this.y = (this.paneHeight - this.imageHeight * this.scale) / 2;
    this.isFitted = true;
  }

  /** One image pixel is one CSS pixel, around the middle of the pane. */
  actualSize() {
    this.zoomTo(1, this.paneWidth / 2, this.paneHeight / 2);
  }

  /**
   * Zoom so that what is under the screen point stays there.
   * @param {number} scale @param {number} sx @param {number} sy
   */
  zoomTo(scale, sx, sy) {
    const smallest = Math.min(this.fitScale * 0.5, 1);
    const next = Math.min(Math.max(scale, smallest), LARGEST_SCALE);
    const ratio = next / this.scale;
    this.x = sx - (sx - this.x) * ratio;
    this.y = sy - (sy - this.y) * ratio;
    this.scale = next;
    this.isFitted = false;
    this.keepInReach();
  }

  /** The next whole step up (1) or down (-1), around the middle. @param {number} direction */
  step(direction) {
    const steps = [...new Set([this.fitScale * 0.5, this.fitScale * 0.98, 0.25, 0.5, ...STEPS])].sort((a, b) => a - b);
    const next =
      direction > 0
        ? steps.find((s) => s > this.scale * 1.01)
        : steps.reverse().find((s) => s < this.scale * 0.99);
    if (next !== undefined) this.zoomTo(next, this.paneWidth / 2, this.paneHeight / 2);
  }

  /** @param {number} dx @param {number} dy */
  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.isFitted = false;
    this.keepInReach();
  }

  /** @param {number} x @param {number} y */
  centreOn(x, y) {
    this.x = this.paneWidth / 2 - (x + 0.5) * this.scale;
    this.y = this.paneHeight / 2 - (y + 0.5) * this.scale;
    this.isFitted = false;
    this.keepInReach();
  }

  /** A box of image pixels in the middle of the pane. @param {number[]} box x, y, width, height */
  showBox([x, y, width, height]) {
    const scale = Math.min(this.paneWidth / (width * 1.5), this.paneHeight / (height * 1.5));
    this.scale = Math.min(Math.max(scale, this.fitScale), 16);
    this.centreOn(x + width / 2, y + height / 2);
  }

  /** The image never leaves the pane altogether. */
  keepInReach() {
    const reach = 48;
    const w = this.imageWidth * this.scale;
    const h = this.imageHeight * this.scale;
    this.x = Math.min(Math.max(this.x, reach - w), this.paneWidth - reach);
    this.y = Math.min(Math.max(this.y, reach - h), this.paneHeight - reach);
  }

  /** @param {number} sx @param {number} sy @returns {[number, number]} */
  toImage(sx, sy) {
    return [(sx - this.x) / this.scale - 0.5, (sy - this.y) / this.scale - 0.5];
  }

  /** @param {number} x @param {number} y @returns {[number, number]} */
  toScreen(x, y) {
    return [(x + 0.5) * this.scale + this.x, (y + 0.5) * this.scale + this.y];
  }

  /** The part of the image in view, whole pixels. @returns {[number, number, number, number]} x, y, width, height */
  visibleBox() {
    const x0 = Math.max(0, Math.floor(-this.x / this.scale));
    const y0 = Math.max(0, Math.floor(-this.y / this.scale));
    const x1 = Math.min(this.imageWidth, Math.ceil((this.paneWidth - this.x) / this.scale));
    const y1 = Math.min(this.imageHeight, Math.ceil((this.paneHeight - this.y) / this.scale));
    return [x0, y0, Math.max(1, x1 - x0), Math.max(1, y1 - y0)];
  }

  /** Whether all of the image is in view. */
  get showsAll() {
    const [, , width, height] = this.visibleBox();
    return width === this.imageWidth && height === this.imageHeight;
  }
}
