/** Elements, made from text that is never taken for HTML. */

/**
 * @param {string} tag
 * @param {Record<string, any>} [properties] "class", "text", "on" (listeners), "aria-..." and other attributes
 * @param {(Node | string | null | undefined)[]} [children]
 * @returns {any}
 */
export function make(tag, properties = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** @param {string} id @returns {any} */
export function byId(id) {
  return document.getElementById(id);
}

const SVG = "http://www.w3.org/2000/svg";

/** Strokes on a 20 x 20 sheet. */
const ICONS = {
  click: "M10 2v4M10 14v4M2 10h4M14 10h4M10 9.2v1.6M9.2 10h1.6",
  brush: "M16.5 3.5c-3 1-6.5 4.5-8 7l1.5 1.5c2.5-1.5 6-5 6.5-8.5zM7.5 11.5c-2 0-2.5 1.5-2.7 2.7-.2 1.1-.8 1.8-1.8 2.3 3 .8 5.5.2 6-2.2z",
  eraser: "M11.5 4l4.5 4.5-7.5 7.5H6L3.5 13.5zM7.5 8l4.5 4.5M8.5 16H17",
  polygon: "M4 6l7-2.5 5.5 5-3 7.5-8-1.5z",
  window: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14M13 6.5v7M15.3 8.5v3",
  pan: "M10 2.5v15M2.5 10h15M10 2.5L8 4.5M10 2.5l2 2M10 17.5l-2-2M10 17.5l2-2M2.5 10l2-2M2.5 10l2 2M17.5 10l-2-2M17.5 10l-2 2",
  undo: "M7.5 4L3.5 8l4 4M3.5 8H12a4.5 4.5 0 0 1 0 9H9",
  redo: "M12.5 4l4 4-4 4M16.5 8H8a4.5 4.5 0 0 0 0 9h3",
  eye: "M2 10s3-5.5 8-5.5S18 10 18 10s-3 5.5-8 5.5S2 10 2 10zM10 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  hidden: "M3 3l14 14M4.5 6.5C2.9 8 2 10 2 10s3 5.5 8 5.5c1.5 0 2.8-.5 4-1.1M8 4.8c.6-.2 1.3-.3 2-.3 5 0 8 5.5 8 5.5s-.6 1.2-1.8 2.5",
  lock: "M5 9h10v8H5zM7 9V6.5a3 3 0 0 1 6 0V9",
  unlocked: "M5 9h10v8H5zM7 9V6a3 3 0 0 1 5.8-1",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 1.8v2M10 16.2v2M1.8 10h2M16.2 10h2M4.2 4.2l1.4 1.4M14.4 14.4l1.4 1.4M4.2 15.8l1.4-1.4M14.4 5.6l1.4-1.4",
  help: "M7.5 7.5a2.5 2.5 0 1 1 3.8 2.2c-.9.5-1.3 1-1.3 2M10 14.5v.2",
  save: "M10 3v9M6.5 8.5L10 12l3.5-3.5M3.5 13v3.5h13V13",
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
  actual: "M5 6v8M5 6L3.5 7.2M15 6v8M15 6l-1.5 1.2M10 8v.3M10 12v.3",
  pixels: "M3 3h14v14H3zM3 7.7h14M3 12.3h14M7.7 3v14M12.3 3v14",
  previous: "M12.5 4l-6 6 6 6",
  next: "M7.5 4l6 6-6 6",
  up: "M10 16V4.5M5 9.5l5-5 5 5",
  down: "M10 4v11.5M5 10.5l5 5 5-5",
  trash: "M4 5.5h12M8 5.5V3.5h4v2M5.5 5.5l.8 11.5h7.4l.8-11.5",
  plus: "M10 4v12M4 10h12",
  close: "M5 5l10 10M15 5L5 15",
  warning: "M10 3.5L18 16.5H2zM10 8.5v3.5M10 14.2v.2",
  refine: "M3 6V3h3M14 3h3v3M17 14v3h-3M6 17H3v-3M10 7v6M7 10h6",
  without: "M3 3l14 14M10 4.5c4 0 6.5 2.5 6.5 5.5 0 1-.3 2-.9 2.8M6.3 6C4.5 7 3.5 8.4 3.5 10c0 3 2.5 5.5 6.5 5.5 1.2 0 2.2-.2 3.1-.6",
  difference: "M7.5 5a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM12.5 5a5 5 0 1 1 0 10 5 5 0 0 1 0-10z",
  align: "M10 3v14M3 10h14M6 6l8 8M14 6l-8 8",
  flip: "M3 7h12l-3-3M17 13H5l3 3",
  check: "M4 10.5l4 4 8-9",
  merge: "M5 3v4c0 3 5 3 5 6v4M15 3v4c0 3-5 3-5 6M7.8 14.8l2.2 2.2 2.2-2.2",
  split: "M10 3v4c0 3-5 3-5 6v4M10 7c0 3 5 3 5 6v4M2.8 14.8L5 17l2.2-2.2M12.8 14.8L15 17l2.2-2.2",
  clean: "M5 15c0-5 3-9 5-12 2 3 5 7 5 12zM7.5 15v2M12.5 15v2",
  revisit: "M4 10a6 6 0 1 0 2-4.5L4 7.5M4 3.5v4h4",
  keyboard: "M2.5 5.5h15v9h-15zM5.5 8.5h.1M8.5 8.5h.1M11.5 8.5h.1M14.5 8.5h.1M6.5 11.8h7",
};

/** @param {string} name @returns {SVGElement} */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 20 20", class: "icon", "aria-hidden": "true", focusable: "false" })) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[/** @type {keyof typeof ICONS} */ (name)] ?? "");
  svg.append(path);
  return svg;
}

/**
 * A button with an icon, its words, or both.
 * @param {{icon?: string, text?: string, label: string, class?: string, pressed?: boolean, run: (event: MouseEvent) => void}} about
 * @returns {HTMLButtonElement}
 */
export function button({ icon: name, text, label, class: kind = "", pressed, run }) {
  return make(
    "button",
    { type: "button", class: kind, "aria-label": label, title: label, "aria-pressed": pressed === undefined ? undefined : String(pressed), on: { click: run } },
    [name ? icon(name) : null, text ? make("span", { text }) : null],
  );
}

/** A number for people: 3 significant digits, no needless zeros. @param {number} value @param {number} [digits] */
export function readable(value, digits = 4) {
  return String(Number(value.toPrecision(digits)));
}
