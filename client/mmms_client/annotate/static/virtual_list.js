/**
 * A list of which only the rows in view are elements: a thousand surfaces cost as many nodes as ten. It is a listbox
 * with one tab stop; arrows, Home and End move along it.
 */

import { make } from "./dom.js";

const SPARE_ROWS = 2;

/** @template T */
export class VirtualList {
  /**
   * @param {HTMLElement} box that scrolls
   * @param {{label: string, rowHeight: number, fill: (row: HTMLElement, item: T) => void, key: (item: T) => number,
   *   choose: (item: T) => void, press?: (event: KeyboardEvent, item: T) => void}} about fill writes an item into a row
   */
  constructor(box, about) {
    this.box = box;
    this.about = about;
    /** @type {T[]} */
    this.items = [];
    /** @type {number | null} */
    this.selected = null;
    this.rows = /** @type {HTMLElement[]} */ ([]);
    this.sheet = make("div", { class: "sheet", role: "presentation" });
    box.append(this.sheet);
    for (const [name, value] of Object.entries({ role: "listbox", tabindex: "0", "aria-label": about.label })) box.setAttribute(name, value);
    box.addEventListener("scroll", () => this.draw());
    box.addEventListener("keydown", (event) => this.press(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  /** @param {T[]} items @param {number | null} selected key */
  show(items, selected) {
    const moved = selected !== this.selected;
    this.items = items;
    this.selected = selected;
    this.sheet.style.height = `${items.length * this.about.rowHeight}px`;
    if (moved) this.reveal();
    this.draw();
  }

  get at() {
    return this.items.findIndex((item) => this.about.key(item) === this.selected);
  }

  reveal() {
    const { at } = this;
    const { rowHeight } = this.about;
    if (at < 0) return;
    const top = at * rowHeight;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + rowHeight > this.box.scrollTop + this.box.clientHeight) this.box.scrollTop = top + rowHeight - this.box.clientHeight;
  }

  draw() {
    const { rowHeight, fill, key } = this.about;
    const first = Math.max(0, Math.floor(this.box.scrollTop / rowHeight) - SPARE_ROWS);
    const last = Math.min(this.items.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / rowHeight) + SPARE_ROWS);
    while (this.rows.length < last - first) this.addRow();
    this.rows.forEach((row, k) => {
      const item = this.items[first + k];
      row.hidden = first + k >= last;
      if (row.hidden || item === undefined) return;
      const isSelected = key(item) === this.selected;
      row.style.transform = `translateY(${(first + k) * rowHeight}px)`;
      row.id = `${this.box.id}-${key(item)}`;
      row.dataset.key = String(key(item));
      row.setAttribute("aria-selected", String(isSelected));
      row.setAttribute("aria-posinset", String(first + k + 1));
      row.setAttribute("aria-setsize", String(this.items.length));
      fill(row, item);
      if (isSelected) this.box.setAttribute("aria-activedescendant", row.id);
    });
    if (this.at < 0) this.box.removeAttribute("aria-activedescendant");
  }

  addRow() {
    const row = make("div", { class: "row", role: "option" });
    row.style.height = `${this.about.rowHeight}px`;
    row.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      if (event.defaultPrevented) return; // a button within the row had it
      const item = this.itemOf(row);
      if (item !== undefined) this.about.choose(item);
    });
    this.rows.push(row);
    this.sheet.append(row);
  }

  /** @param {HTMLElement} row */
  itemOf(row) {
    return this.items.find((item) => String(this.about.key(item)) === row.dataset.key);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const { at } = this;
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.items.length - 1 }[event.key];
    if (to === undefined) {
      if (this.items[at] !== undefined) this.about.press?.(event, this.items[at]);
      return;
    }
    event.preventDefault();
    event.stopPropagation();
    const item = this.items[Math.min(Math.max(to, 0), this.items.length - 1)];
    if (item !== undefined) this.about.choose(item);
  }
}
