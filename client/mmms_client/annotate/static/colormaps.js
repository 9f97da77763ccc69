/**
 * Perceptually uniform colormaps, computed: lightness (OKLab) rises in equal steps while hue and chroma follow a course.
 * Grey is the same with no chroma, so that equal steps of data look like equal steps in each of them.
 */

/** @typedef {{title: string, lightness: [number, number], hues: [number, number], chroma: number}} Course */

/** @type {Record<string, Course>} */
const COURSES = {
  grey: { title: "Grey", lightness: [0, 1], hues: [0, 0], chroma: 0 },
  heat: { title: "Heat", lightness: [0.12, 0.97], hues: [-70, 108], chroma: 0.19 },
  sea: { title: "Sea", lightness: [0.14, 0.97], hues: [295, 118], chroma: 0.15 },
  leaf: { title: "Leaf", lightness: [0.16, 0.97], hues: [262, 112], chroma: 0.13 },
  ice: { title: "Ice", lightness: [0.1, 0.98], hues: [285, 205], chroma: 0.12 },
};

export const COLORMAPS = Object.entries(COURSES).map(([name, { title }]) => ({ name, title }));

/** Pixels without a measurement: neither the darkest nor the lightest of any map. */
export const NO_VALUE = [58, 60, 70];

const cache = new Map();

/**
 * 256 colours.
 * @param {string} name @returns {Uint8Array} [256 * 3], red, green, blue
 */
export function colormap(name) {
  const known = cache.get(name);
  if (known) return known;
  const { lightness, hues, chroma } = COURSES[name] ?? COURSES.grey;
  const colours = new Uint8Array(256 * 3);
  for (let k = 0; k < 256; k++) {
    const t = k / 255;
    const l = lightness[0] + t * (lightness[1] - lightness[0]);
    const hue = ((hues[0] + t * (hues[1] - hues[0])) * Math.PI) / 180;
    // Chroma is a bow: none at the ends, where no colour is that dark or that light.
    const c = largestChroma(l, hue, chroma * Math.sin(Math.PI * Math.pow(t, 0.85)) ** 0.7);
    toSrgb(l, c * Math.cos(hue), c * Math.sin(hue)).forEach((v, channel) => {
      colours[3 * k + channel] = Math.round(Math.min(Math.max(v, 0), 1) * 255);
    });
  }
  cache.set(name, colours);
  return colours;
}

/** What of a wanted chroma the screen can show at this lightness and hue. @param {number} l @param {number} hue @param {number} wanted */
function largestChroma(l, hue, wanted) {
  let [low, high] = [0, wanted];
  const fits = (/** @type {number} */ c) =>
    toSrgb(l, c * Math.cos(hue), c * Math.sin(hue)).every((v) => v >= -0.001 && v <= 1.001);
  if (fits(high)) return high;
  for (let k = 0; k < 14; k++) {
    const middle = (low + high) / 2;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** OKLab to sRGB, 0 to 1. @param {number} l @param {number} a @param {number} b */
function toSrgb(l, a, b) {
  const p = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const q = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const r = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * p - 3.3077115913 * q + 0.2309699292 * r,
    -1.2684380046 * p + 2.6097574011 * q - 0.3413193965 * r,
    -0.0041960863 * p - 0.7034186147 * q + 1.707614701 * r,
  ].map((v) => (v <= 0.0031308 ? 12.92 * v : 1.055 * Math.max(v, 0) ** (1 / 2.4) - 0.055));
}
