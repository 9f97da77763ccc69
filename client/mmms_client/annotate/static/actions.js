/** Everything that a key can do. Titles are what the help shows. */

import { startRename } from "./surface_card.js";
import { LAYOUTS, RGB } from "./layout.js";

/**
 * @param {import("./main.js").App} app
 * @returns {import("./keys.js").Action[]}
 */
export function listActions(app) {
  return [...clickActions(app), ...surfaceActions(app), ...toolActions(app), ...viewActions(app), ...pictureActions(app), ...otherActions(app)];
}

/** @param {string} group @param {[string, string, string[], (event: KeyboardEvent) => void, "canvas"?][]} rows @returns {import("./keys.js").Action[]} */
function inGroup(group, rows) {
  return rows.map(([id, title, keys, run, on]) => ({ id, group, title, keys, run, on }));
}

/** @param {import("./main.js").App} app */
function clickActions(app) {
  const { commands, cursor, scene, tools, aligning } = app;
  const arrow = (/** @type {number} */ dx, /** @type {number} */ dy, /** @type {boolean} */ fast) => () => {
    if (aligning.isOn) aligning.nudge(dx * (fast ? 10 : 1), dy * (fast ? 10 : 1));
    else cursor.move(dx, dy, fast);
  };
  const place = (/** @type {boolean} */ isOther) => () => {
    if (aligning.isOn) return void aligning.save();
    if (!isOther && tools.current.confirm?.()) return;
    if (scene.cursor) tools.click.place(...scene.cursor, tools.click.isPositive({ button: 0, shift: isOther }));
  };
  return inGroup("Clicks", [
    ["place", "Click at the cursor", ["Enter"], place(false), "canvas"],
    ["place-other", "Click of the other sign at the cursor", ["Shift+Enter"], place(true), "canvas"],
    ["left", "Cursor left", ["Left"], arrow(-1, 0, false), "canvas"],
    ["right", "Cursor right", ["Right"], arrow(1, 0, false), "canvas"],
    ["up", "Cursor up", ["Up"], arrow(0, -1, false), "canvas"],
    ["down", "Cursor down", ["Down"], arrow(0, 1, false), "canvas"],
    ["fine-left", "Cursor left by one pixel", ["Shift+Left"], arrow(-1, 0, true), "canvas"],
    ["fine-right", "Cursor right by one pixel", ["Shift+Right"], arrow(1, 0, true), "canvas"],
    ["fine-up", "Cursor up by one pixel", ["Shift+Up"], arrow(0, -1, true), "canvas"],
    ["fine-down", "Cursor down by one pixel", ["Shift+Down"], arrow(0, 1, true), "canvas"],
    ["sign", "Switch between positive and negative", ["X"], () => app.chooseSign(!tools.click.isNegative)],
    ["back", "Remove the last click or corner", ["Backspace"], () => {
      const { active } = scene.state;
      if (!tools.current.stepBack?.() && active?.clicks.length) void commands.removeClick(active.clicks.length - 1);
    }],
    ["undo", "Undo", ["Z", "Ctrl+Z"], () => void commands.undo()],
    ["redo", "Redo", ["Ctrl+Shift+Z", "Ctrl+Y", "Y"], () => void commands.redo()],
  ]);
}

/** @param {import("./main.js").App} app */
function surfaceActions(app) {
  const { commands, state, scene, surfaces } = app;
  const active = (/** @type {(s: import("./state.js").Surface) => void} */ work) => () => {
    if (state.active) work(state.active);
    else commands.toast("Choose a surface first.");
  };
  return inGroup("Surfaces", [
    ["finish", "Finish: the next click makes a new surface", ["F", "N"], () => void commands.finish()],
    ["next-surface", "Next surface", ["Tab"], () => surfaces.cycle(1), "canvas"],
    ["previous-surface", "Previous surface", ["Shift+Tab"], () => surfaces.cycle(-1), "canvas"],
    ["pick", "Choose the surface under the cursor", ["S"], () => commands.choose((scene.cursor && state.labels?.at(...scene.cursor)) || null)],
    ["go-to", "Show the surface", ["Shift+F"], active((s) => app.goTo(s.id))],
    ["rename", "Rename the surface", ["F2"], active(() => startRename(state))],
    ["lock", "Lock or unlock the surface", ["K"], active((s) => void commands.update(s.id, { locked: !s.locked }))],
    ["visible", "Hide or show the surface", ["Shift+I"], active((s) => void commands.update(s.id, { visible: !s.visible }))],
    ["raise", "Move the surface up in the list", ["Ctrl+Up"], active((s) => void commands.move(s.id, -1))],
    ["lower", "Move the surface down in the list", ["Ctrl+Down"], active((s) => void commands.move(s.id, 1))],
    ["merge", "Merge another surface into it: choose it next", ["Shift+M"], active((s) => commands.startMerge(s.id))],
    ["split", "Split the surface into its parts", ["Shift+S"], active((s) => void commands.send("split", { surface: s.id }))],
    ["clean", "Fill small holes, drop small specks", ["Shift+C"], active((s) => surfaces.card.clean(s))],
    ["delete", "Delete the surface", ["Delete"], active((s) => void commands.remove(s.id))],
  ]);
}

/** @param {import("./main.js").App} app */
function toolActions(app) {
  const { tools, commands, state, windows } = app;
  const isPainting = () => ["brush", "eraser"].includes(tools.current.name);
  const resize = (/** @type {number} */ factor) => {
    const radius = Math.min(Math.max(state.settings.brushRadius * factor, 0.5), 500);
    commands.set({ brushRadius: Math.round(radius * 10) / 10 });
  };
  return inGroup("Tools", [
    ["tool-click", "Click", ["C"], () => app.chooseTool("click")],
    ["tool-brush", "Brush", ["B"], () => app.chooseTool("brush")],
    ["tool-eraser", "Eraser", ["E"], () => app.chooseTool("eraser")],
    ["tool-polygon", "Polygon", ["G"], () => app.chooseTool("polygon")],
    ["tool-window", "Window and level by drag", ["T"], () => app.chooseTool("window")],
    ["tool-pan", "Pan", ["Shift+P"], () => app.chooseTool("pan")],
    ["narrower", "Narrower window; smaller brush", ["["], () => (isPainting() ? resize(1 / 1.2) : windows.step(-0.1, 0))],
    ["wider", "Wider window; larger brush", ["]"], () => (isPainting() ? resize(1.2) : windows.step(0.1, 0))],
    ["lower-level", "Lower level", ["{"], () => windows.step(0, -0.06)],
    ["higher-level", "Higher level", ["}"], () => windows.step(0, 0.06)],
    ["cancel", "Cancel what was begun", ["Esc"], () => {
      tools.current.cancel?.();
      state.tell("cancelled");
    }],
  ]);
}

/** @param {import("./main.js").App} app */
function viewActions(app) {
  const { scene, aligning } = app;
  const { view } = scene;
  const zoom = (/** @type {number} */ direction) => () => {
    if (aligning.isOn) return aligning.grow(1.001 ** direction);
    view.step(direction);
    scene.moved();
  };
  const then = (/** @type {() => void} */ work) => () => {
    work();
    scene.moved();
  };
  return inGroup("View", [
    ["zoom-in", "Zoom in", ["Plus", "="], zoom(1)],
    ["zoom-out", "Zoom out", ["-"], zoom(-1)],
    ["fit", "Fit the image", ["0"], then(() => view.fit())],
    ["actual", "One pixel to one pixel", ["Shift+0"], then(() => view.actualSize())],
    ["pixels", "Crisp pixels", ["P"], () => app.togglePixels()],
    ["refine", "Refine in view: the click model sees what is in view", ["R"], () => app.toggleRefine()],
    ["masks", "Hide or show all masks", ["I"], then(() => (scene.areMasksHidden = !scene.areMasksHidden))],
    ["patterns", "Patterns on or off", ["J"], () => scene.state.tell("toggle", "patterns")],
    ["by-class", "Colours of the classes or of the surfaces", ["U"], () => scene.state.tell("toggle", "byClass")],
    ["tags", "Numbers and names on or off", ["Shift+J"], () => scene.state.tell("toggle", "tags")],
  ]);
}

/** @param {import("./main.js").App} app */
function pictureActions(app) {
  const { scene, state, comparing, aligning } = app;
  const names = () => [RGB, ...(state.image?.modalities ?? []).map((modality) => modality.name)];
  const { layout } = scene;
  const blend = (/** @type {number} */ step) => {
    const key = layout.name === "swipe" ? "swipe" : "blend";
    layout[key] = Math.min(Math.max(layout[key] + step, 0.02), 0.98);
    state.tell("layout");
    scene.invalidate();
  };
  return inGroup("Pictures", [
    ...Array.from({ length: 9 }, (_, k) => /** @type {[string, string, string[], () => void]} */ ([
      `picture-${k + 1}`, k === 0 ? "RGB" : `Modality ${k}`, [String(k + 1)], () => names()[k] && app.showPicture(names()[k]),
    ])),
    ["flip", "Flip between the last two pictures", ["V"], () => app.showPicture(layout.second)],
    ["layout", "Next layout: one, blend, swipe, side by side", ["M"], () => {
      const at = LAYOUTS.findIndex((one) => one.name === layout.name);
      app.arrange(LAYOUTS[(at + 1) % LAYOUTS.length].name);
    }],
    ["blend-less", "Blend or divider to the left", [","], () => blend(-0.05)],
    ["blend-more", "Blend or divider to the right", ["."], () => blend(0.05)],
    ["without", "The mask without a modality", ["W"], () => void comparing.toggle(false)],
    ["difference", "Where the mask with and without it disagree", ["Shift+W"], () => void comparing.toggle(true)],
    ["align", "Line up a modality (arrows, + and -, Enter saves)", ["L"], () => aligning.toggle()],
  ]);
}

/** @param {import("./main.js").App} app */
function otherActions(app) {
  const { commands, state, exporting, theme } = app;
  const mark = (/** @type {string} */ value) => async () => {
    if (!state.image) return;
    const next = state.image.state === value ? "todo" : value;
    await commands.send("mark", { index: state.image.index, state: next });
  };
  return inGroup("Images and the rest", [
    ["next-image", "Next image", ["D"], () => void commands.openNext(1)],
    ["previous-image", "Previous image", ["A"], () => void commands.openNext(-1)],
    ["done", "Mark the image as done, or not", ["Shift+D"], mark("done")],
    ["skip", "Mark the image as skipped, or not", ["Shift+A"], mark("skipped")],
    ["classes", "Classes", ["Shift+K"], () => app.classesDialog.open()],
    ["export", "Export", ["Ctrl+S"], () => exporting.open()],
    ["help", "This help", ["H", "?"], () => app.help.open()],
    ["theme", "Light or dark", ["Shift+T"], () => theme.toggle()],
    ["panel-surfaces", "Surfaces panel", ["Alt+1"], () => app.showPanel("surfaces")],
    ["panel-images", "Images panel", ["Alt+2"], () => app.showPanel("images")],
    ["panel-view", "View panel", ["Alt+3"], () => app.showPanel("view")],
    ["region", "Next part of the window: canvas, tools, panel", ["F6"], () => app.nextRegion(1)],
    ["region-back", "Previous part of the window", ["Shift+F6"], () => app.nextRegion(-1)],
  ]);
}
