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
  brush: "M16.5 3.5c-3 1-6.5 4.5-8 7l1.5 1.5c2.500-1.500 6-5 6.500-8.500zM7.500 11.500c-2 0-2.500 1.500-2.700 2.700-.2 1.100-.8 1.800-1.800 2.300 3 .8 5.500.2 6-2.200z",
  eraser: "M11.500 4l4.500 4.500-7.500 7.500H6L3.500 13.500zM7.500 8l4.500 4.500M8.500 16H17",
  polygon: "M4 6l7-2.500 5.500 5-3 7.500-8-1.500z",
  window: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14M13 6.500v7M15.300 8.500v3",
  pan: "M10 2.500v15M2.500 10h15M10 2.500L8 4.500M10 2.500l2 2M10 17.500l-2-2M10 17.500l2-2M2.500 10l2-2M2.500 10l2 2M17.500 10l-2-2M17.500 10l-2 2",
  undo: "M7.500 4L3.500 8l4 4M3.500 8H12a4.500 4.500 0 0 1 0 9H9",
  redo: "M12.500 4l4 4-4 4M16.500 8H8a4.500 4.500 0 0 0 0 9h3",
  eye: "M2 10s3-5.500 8-5.500S18 10 18 10s-3 5.500-8 5.500S2 10 2 10zM10 8a2 2 0 1 0 0 4 2 2 0 0 0 0-4z",
  hidden: "M3 3l14 14M4.500 6.500C2.900 8 2 10 2 10s3 5.500 8 5.500c1.500 0 2.800-.5 4-1.100M8 4.800c.6-.2 1.300-.3 2-.3 5 0 8 5.500 8 5.500s-.6 1.200-1.800 2.500",
  lock: "M5 9h10v8H5zM7 9V6.500a3 3 0 0 1 6 0V9",
  unlocked: "M5 9h10v8H5zM7 9V6a3 3 0 0 1 5.800-1",
  sun: "M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM10 1.800v2M10 16.200v2M1.800 10h2M16.200 10h2M4.200 4.200l1.400 1.400M14.400 14.400l1.400 1.400M4.200 15.800l1.400-1.400M14.400 5.600l1.400-1.400",
  help: "M7.500 7.500a2.500 2.500 0 1 1 3.800 2.200c-.9.500-1.300 1-1.300 2M10 14.500v.2",
  save: "M10 3v9M6.500 8.500L10 12l3.500-3.500M3.500 13v3.500h13V13",
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
  actual: "M5 6v8M5 6L3.500 7.200M15 6v8M15 6l-1.500 1.200M10 8v.3M10 12v.3",
  pixels: "M3 3h14v14H3zM3 7.700h14M3 12.300h14M7.700 3v14M12.300 3v14",
  previous: "M12.500 4l-6 6 6 6",
  next: "M7.500 4l6 6-6 6",
  up: "M10 16V4.500M5 9.500l5-5 5 5",
  down: "M10 4v11.500M5 10.500l5 5 5-5",
  trash: "M4 5.500h12M8 5.500V3.500h4v2M5.500 5.500l.8 11.500h7.400l.8-11.500",
  plus: "M10 4v12M4 10h12",
  close: "M5 5l10 10M15 5L5 15",
  warning: "M10 3.500L18 16.500H2zM10 8.500v3.500M10 14.200v.2",
  refine: "M3 6V3h3M14 3h3v3M17 14v3h-3M6 17H3v-3M10 7v6M7 10h6",
  without: "M3 3l14 14M10 4.500c4 0 6.500 2.500 6.500 5.500 0 1-.3 2-.9 2.800M6.300 6C4.500 7 3.500 8.400 3.500 10c0 3 2.500 5.500 6.500 5.500 1.200 0 2.200-.2 3.100-.6",
  difference: "M7.500 5a5 5 0 1 0 0 10 5 5 0 0 0 0-10zM12.500 5a5 5 0 1 1 0 10 5 5 0 0 1 0-10z",
  align: "M10 3v14M3 10h14M6 6l8 8M14 6l-8 8",
  flip: "M3 7h12l-3-3M17 13H5l3 3",
  check: "M4 10.500l4 4 8-9",
  merge: "M5 3v4c0 3 5 3 5 6v4M15 3v4c0 3-5 3-5 6",
  split: "M10 17v-4c0-3-5-3-5-6V3M10 13c0-3 5-3 5-6V3",
  clean: "M5 15c0-5 3-9 5-12 2 3 5 7 5 12zM7.500 15v2M12.500 15v2",
  revisit: "M4 10a6 6 0 1 0 2-4.500L4 7.500M4 3.500v4h4",
  keyboard: "M2.500 5.500h15v9h-15zM5.500 8.500h.1M8.500 8.500h.1M11.500 8.500h.1M14.500 8.500h.1M6.500 11.800h7",
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
