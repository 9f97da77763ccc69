/** The images of the folder, with what has been done and what is encoded. */

import { byId, icon, make } from "./dom.js";
import { VirtualList } from "./virtual_list.js";

const STATES = { todo: "to do", done: "done", skipped: "skipped" };
const ENCODED = { running: "encoding", ready: "encoded", failed: "encoding failed" };

export class ImagesPanel {
  /** @param {import("./state.js").State} state @param {import("./commands.js").Commands} commands */
  constructor(state, commands) {
    this.state = state;
    this.list = new VirtualList(byId("images"), {
      label: "Images",
      rowHeight: 58,
      key: (/** @type {import("./state.js").ImageRow} */ row) => row.index,
      fill: (row, image) => this.fill(row, image),
      choose: (image) => void commands.open(image.index),
    });
    state.later(["hello", "image", "status", "panel"], () => this.draw());
  }

  draw() {
    const { images, image } = this.state;
    this.list.show(images, image?.index ?? null);
    const done = images.filter((row) => row.state === "done").length;
    byId("image-count").textContent = `${done} of ${images.length} done`;
    byId("images-done").max = Math.max(images.length, 1);
    byId("images-done").value = done;
  }

  /** @param {HTMLElement} row @param {import("./state.js").ImageRow} image */
  fill(row, image) {
    if (!row.firstChild) {
      row.append(make("img", { class: "thumbnail", alt: "", loading: "lazy", width: "64", height: "48" }), make("span", { class: "name" }, [make("span"), make("small")]), make("span", { class: "state" }));
    }
    const [thumbnail, name, state] = /** @type {any[]} */ ([...row.children]);
    const address = `api/images/${image.index}/thumbnail`;
    if (thumbnail.getAttribute("src") !== address) thumbnail.setAttribute("src", address);
    name.firstChild.textContent = image.name;
    name.title = image.name;
    const words = [STATES[/** @type {keyof typeof STATES} */ (image.state)] ?? image.state, ENCODED[/** @type {keyof typeof ENCODED} */ (image.encoded)]];
    name.lastChild.textContent = words.filter(Boolean).join(" · ");
    if (state.dataset.state !== image.state) {
      state.replaceChildren(...(image.state === "done" ? [icon("check")] : image.state === "skipped" ? [icon("close")] : []));
      state.dataset.state = image.state;
    }
    row.setAttribute("aria-label", [image.name, ...words].filter(Boolean).join(", "));
  }
}
