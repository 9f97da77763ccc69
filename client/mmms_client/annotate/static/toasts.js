/** Short messages. Errors stay until they are closed or a while has passed; each is read out. */

import { button, byId, icon, make } from "./dom.js";

const STAY_MS = { info: 4000, error: 12000 };
const MOST = 4;

/** @param {string} text @param {string} [kind] "info" or "error" */
export function toast(text, kind = "info") {
  const box = byId("toasts");
  const last = /** @type {HTMLElement | null} */ (box.lastElementChild);
  if (last?.dataset.text === text) last.remove(); // the same again: shown once, anew
  const element = make("div", { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status" }, [
    icon(kind === "error" ? "warning" : "check"),
    make("p", { text }),
    button({ icon: "close", label: "Close the message", class: "mini", run: () => element.remove() }),
  ]);
  element.dataset.text = text;
  box.append(element);
  while (box.children.length > MOST) box.firstElementChild?.remove();
  setTimeout(() => element.remove(), STAY_MS[/** @type {keyof typeof STAY_MS} */ (kind)] ?? STAY_MS.info);
}
