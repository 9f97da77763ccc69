/** Puts the parts together. */

import { listActions } from "./actions.js";
import { Aligning } from "./aligning.js";
import { ClassesBar } from "./classes_bar.js";
import { ClassesDialog } from "./classes_dialog.js";
import { Commands } from "./commands.js";
import { Comparing } from "./comparing.js";
import { byId } from "./dom.js";
import { ExportDialog } from "./export_dialog.js";
import { Gallery } from "./gallery.js";
import { HelpDialog } from "./help_dialog.js";
import { HoverPreview } from "./hover.js";
import { ImagesPanel } from "./images_panel.js";
import { KeyboardCursor } from "./keyboard_cursor.js";
import { Keys } from "./keys.js";
import { Layout } from "./layout.js";
import { Pointer } from "./pointer.js";
import { Scene } from "./scene.js";
import { AppSocket } from "./socket.js";
import { State } from "./state.js";
import { StatusLine } from "./status_line.js";
import { SurfacesPanel } from "./surfaces_panel.js";
import { Theme } from "./theme.js";
import { toast } from "./toasts.js";
import { Toolbar, drawIcons } from "./toolbar.js";
import { BrushTool, ClickTool, PanTool, PolygonTool, WindowTool } from "./tools.js";
import { View } from "./view.js";
import { PicturesBar, ViewPanel } from "./view_panel.js";
import { Windows } from "./windows.js";

const REGIONS = ["canvas", "tools", "tabs", "panel"];

/**
 * @param {Scene} scene @param {Commands} commands @param {HoverPreview} preview @param {Windows} windows
 */
function makeTools(scene, commands, preview, windows) {
  const click = new ClickTool(scene, commands, preview);
  const brush = new BrushTool("brush", scene, commands);
  const eraser = new BrushTool("eraser", scene, commands);
  /** @type {import("./tools.js").Tool[]} */
  const all = [click, brush, eraser, new PolygonTool(scene, commands), new WindowTool(scene, windows), new PanTool()];
  return { all, click, current: all[0] };
}

export class App {
  constructor() {
    drawIcons();
    this.state = new State();
    const address = new URL("api/socket", document.baseURI);
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new AppSocket(address, {
      message: (message) => this.state.receive(message),
      state: (isOpen) => this.connection(isOpen),
    });
    this.commands = new Commands(this.state, this.socket, toast);
    this.view = new View();
    this.layout = new Layout();
    const changed = () => this.scene.invalidate();
    this.gallery = new Gallery(this.state, changed, toast);
    this.scene = new Scene(byId("canvas"), this.state, this.view, this.layout, this.gallery);
    this.isRefining = false;
    this.needsImage = true;
    this.commands.region = () => (this.isRefining && !this.view.showsAll ? this.view.visibleBox() : undefined);
    this.windows = new Windows(this.scene, this.commands);
    this.aligning = new Aligning(this.scene, this.commands);
    this.comparing = new Comparing(this.scene, this.commands);
    this.preview = new HoverPreview(this.state, this.commands, changed);
    this.cursor = new KeyboardCursor(this.scene, (text) => (byId("spoken").textContent = text));
    this.theme = new Theme(this.state, this.commands, () => {
      changed();
      this.state.tell("window");
    });
    this.tools = makeTools(this.scene, this.commands, this.preview, this.windows);
    this.pointer = new Pointer(this.scene, { tool: () => this.tools.current, left: () => this.preview.stop() });
    this.scene.paintTool = (context, pane) => {
      this.tools.current.paint?.(context, pane);
      this.cursor.paint(context, pane);
    };
    this.surfaces = new SurfacesPanel(this.state, this.commands, (id) => this.goTo(id));
    this.images = new ImagesPanel(this.state, this.commands);
    this.viewPanel = new ViewPanel(this.scene, this.commands, this.windows, this.aligning);
    this.pictures = new PicturesBar(this.scene, (name) => this.showPicture(name), (name) => this.arrange(name));
    this.status = new StatusLine(this.scene, this.commands);
    this.exporting = new ExportDialog(this.state, this.commands);
    this.keys = new Keys(listActions(this), this.state, this.commands, this.scene.canvas);
    this.help = new HelpDialog(this.keys, this.state);
    this.classes = new ClassesBar(this.state, this.commands, this.keys);
    this.classesDialog = new ClassesDialog(this.state, this.commands);
    this.toolbar = new Toolbar(this);
    this.listen();
  }

  listen() {
    const { state, scene } = this;
    for (const topic of ["patch", "document", "active", "mask", "pending", "settings", "hello", "comparing"]) {
      state.on(topic, () => scene.invalidate());
    }
    state.on("cursor", () => this.layout.name === "split" && scene.invalidate());
    state.on("hello", () => this.needsImage && void this.firstImage());
    state.on("image", (change) => {
      if (!change.isSame) this.view.setImage(state.image?.width ?? 1, state.image?.height ?? 1);
      this.relayout(() => this.layout.keepTo((state.image?.modalities ?? []).map((modality) => modality.name)));
      if (!change.isSame) for (const note of state.image?.notes ?? []) toast(note);
      document.title = `${state.image?.name ?? ""} · annotate`;
    });
    state.on("toggle", (name) => this.commands.set({ [name]: !state.settings[/** @type {"tags"} */ (name)] }));
    state.on("cancelled", () => {
      this.aligning.stop();
      this.commands.stopMerge();
      if (state.without) this.comparing.stop();
      scene.isKeyboardCursor = false;
      scene.invalidate();
    });
    this.listenForSpace();
  }

  /** Space held pans with a drag; a short press finishes the surface. */
  listenForSpace() {
    const isFree = (/** @type {KeyboardEvent} */ event) => event.target === this.scene.canvas || event.target === document.body;
    document.addEventListener("keydown", (event) => {
      if (event.key !== " " || event.repeat || !isFree(event) || document.querySelector("dialog[open]")) return;
      event.preventDefault();
      this.pointer.isSpaceDown = true;
      this.pointer.didPanWithSpace = false;
      this.pointer.showCursor();
    });
    document.addEventListener("keyup", (event) => {
      if (event.key !== " " || !this.pointer.isSpaceDown) return;
      this.pointer.isSpaceDown = false;
      this.pointer.showCursor();
      if (!this.pointer.didPanWithSpace) void this.commands.finish();
    });
  }

  /** @param {boolean} isOpen */
  connection(isOpen) {
    const { state } = this;
    state.wasOpen ||= state.isOpen;
    state.isOpen = isOpen;
    this.needsImage = state.isFresh = true;
    if (!isOpen) state.pending = [];
    state.tell("connection");
    state.tell("pending");
  }

  async firstImage() {
    const { state } = this;
    this.needsImage = false;
    const index = state.image?.index ?? state.hello.first_image ?? 0;
    state.image = null; // the app may have come back with another document
    await this.commands.open(index);
  }

  /** @param {string} name */
  showPicture(name) {
    this.relayout(() => this.layout.show(name));
  }

  /** @param {string} name of a layout */
  arrange(name) {
    this.relayout(() => (this.layout.name = name));
  }

  /** @param {string} name */
  showPanel(name) {
    this.commands.set({ panel: name });
  }

  /** @param {() => void} change of which pictures are shown */
  relayout(change) {
    change();
    this.scene.fitPanes();
    this.state.tell("layout");
    this.scene.invalidate();
  }

  /** Show a surface on the canvas. @param {number} id */
  goTo(id) {
    const box = this.state.surface(id)?.box;
    if (!box) return;
    this.view.showBox(box);
    this.scene.moved();
  }

  /** @param {string} name */
  chooseTool(name) {
    const tool = this.tools.all.find((one) => one.name === name);
    if (!tool) return;
    this.tools.current.cancel?.();
    this.preview.stop();
    this.tools.current = tool;
    this.pointer.showCursor();
    this.state.tell("tool");
    this.scene.invalidate();
  }

  /** @param {boolean} isNegative */
  chooseSign(isNegative) {
    this.tools.click.isNegative = isNegative;
    this.preview.stop();
    this.state.tell("tool");
  }

  togglePixels() {
    this.scene.isCrisp = !this.scene.isCrisp;
    this.state.tell("tool");
    this.scene.invalidate();
  }

  toggleRefine() {
    this.isRefining = !this.isRefining;
    this.preview.stop();
    if (this.isRefining && this.view.showsAll) toast("Refine in view: zoom in, and the click model sees only what is in view.");
    this.state.tell("tool");
  }

  /** Move the focus to another part of the window. @param {number} step */
  nextRegion(step) {
    const at = REGIONS.findIndex((id) => byId(id).contains(document.activeElement));
    const next = byId(REGIONS[(at + step + REGIONS.length) % REGIONS.length]);
    const inside = next.matches("canvas") ? next : next.querySelector("[role=listbox]:not([hidden]), button:not([disabled]), input");
    (inside ?? next).focus();
  }
}

/** For tests and measurements, and for the curious in the console. */
Object.assign(window, { app: new App() });
