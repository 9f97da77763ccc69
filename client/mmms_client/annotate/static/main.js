/** Puts the parts together. */

import { listActions } from "./actions.js";
import { Aligning } from "./aligning.js";
import { ClassesBar } from "./classes_bar.js";
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
    const changed = () => this.scene?.invalidate();
    this.gallery = new Gallery(this.state, changed, toast);
    this.scene = new Scene(byId("canvas"), this.state, this.view, this.layout, this.gallery);
    this.isRefining = false;
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
    this.makeTools();
    this.makePanels();
    this.listen();
  }

  makeTools() {
    const { scene, commands } = this;
    const click = new ClickTool(scene, commands, this.preview);
    const all = [
      click,
      new BrushTool("brush", scene, commands),
      new BrushTool("eraser", scene, commands),
      new PolygonTool(scene, commands),
      new WindowTool(scene, this.windows),
      new PanTool(),
    ];
    this.tools = { all, click, current: /** @type {import("./tools.js").Tool} */ (click) };
    this.pointer = new Pointer(scene, { tool: () => this.tools.current, left: () => this.preview.stop() });
    scene.paintTool = (context, pane) => {
      this.tools.current.paint?.(context, pane);
      this.cursor.paint(context, pane);
    };
  }

  makePanels() {
    const { state, commands, scene } = this;
    this.goTo = (/** @type {number} */ id) => this.showSurface(id);
    this.surfaces = new SurfacesPanel(state, commands, this.goTo);
    this.images = new ImagesPanel(state, commands);
    this.viewPanel = new ViewPanel(scene, commands, this.windows, this.aligning);
    this.showPicture = (/** @type {string} */ name) => this.relayout(() => this.layout.show(name));
    this.arrange = (/** @type {string} */ name) => this.relayout(() => (this.layout.name = name));
    this.pictures = new PicturesBar(scene, this.showPicture, this.arrange);
    this.status = new StatusLine(scene);
    this.exporting = new ExportDialog(state, commands);
    this.chooseTool = (/** @type {string} */ name) => this.setTool(name);
    this.chooseSign = (/** @type {boolean} */ isNegative) => this.setSign(isNegative);
    this.togglePixels = () => this.setPixels(!scene.isCrisp);
    this.toggleRefine = () => this.setRefining(!this.isRefining);
    this.nextRegion = (/** @type {number} */ step) => this.moveFocus(step);
    this.showPanel = (/** @type {string} */ name) => commands.set({ panel: name });
    // The help needs the actions, and one of the actions opens the help.
    this.help = /** @type {HelpDialog} */ (/** @type {unknown} */ ({ open: () => this.helpDialog.open() }));
    this.keys = new Keys(listActions(this), state, commands, scene.canvas);
    this.helpDialog = new HelpDialog(this.keys, state);
    this.classes = new ClassesBar(state, commands, this.keys);
    this.toolbar = new Toolbar(this);
  }

  listen() {
    const { state, scene } = this;
    for (const topic of ["patch", "document", "active", "mask", "pending", "settings", "hello", "comparing"]) {
      state.on(topic, () => scene.invalidate());
    }
    state.on("cursor", () => this.layout.name === "split" && scene.invalidate());
    state.on("hello", () => void this.firstImage());
    state.on("image", (change) => {
      if (!change.isSame) this.view.setImage(state.image?.width ?? 1, state.image?.height ?? 1);
      this.relayout(() => this.layout.keepTo((state.image?.modalities ?? []).map((modality) => modality.name)));
      document.title = `${state.image?.name ?? ""} · annotate`;
    });
    state.on("toggle", (name) => this.commands.set({ [name]: !state.settings[/** @type {"tags"} */ (name)] }));
    state.on("cancelled", () => {
      this.aligning.stop();
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
    if (!isOpen) state.pending = [];
    state.tell("connection");
    state.tell("pending");
  }

  async firstImage() {
    const { state } = this;
    const index = state.image?.index ?? state.hello.first_image ?? 0;
    state.image = null; // the app may have come back with another document
    await this.commands.open(index);
  }

  /** @param {() => void} change of which pictures are shown */
  relayout(change) {
    change();
    this.scene.fitPanes();
    this.state.tell("layout");
    this.scene.invalidate();
  }

  /** @param {number} id */
  showSurface(id) {
    const box = this.state.surface(id)?.box;
    if (!box) return;
    this.view.showBox(box);
    this.scene.moved();
  }

  /** @param {string} name */
  setTool(name) {
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
  setSign(isNegative) {
    this.tools.click.isNegative = isNegative;
    this.preview.stop();
    this.state.tell("tool");
  }

  /** @param {boolean} isCrisp */
  setPixels(isCrisp) {
    this.scene.isCrisp = isCrisp;
    this.state.tell("tool");
    this.scene.invalidate();
  }

  /** @param {boolean} isRefining */
  setRefining(isRefining) {
    this.isRefining = isRefining;
    this.preview.stop();
    if (isRefining && this.view.showsAll) toast("Refine in view: zoom in, and the click model sees only what is in view.");
    this.state.tell("tool");
  }

  /** @param {number} step */
  moveFocus(step) {
    const at = REGIONS.findIndex((id) => byId(id).contains(document.activeElement));
    const next = byId(REGIONS[(at + step + REGIONS.length) % REGIONS.length]);
    const inside = next.matches("canvas") ? next : next.querySelector("[role=listbox]:not([hidden]), button:not([disabled]), input");
    (inside ?? next).focus();
  }
}

/** For tests and measurements, and for the curious in the console. */
Object.assign(window, { app: new App() });
