"""Makes the pictures of docs/app.md: the app in Chromium, on synthetic scenes, with a real server and the shipped model.

    python docs/make_pictures.py [NAME ...]

A simulated person clicks on the largest error of each surface, through the page. Pictures are reduced to a palette.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browser.app_process import AppProcess  # noqa: E402
from browser.conftest import FLAGS  # noqa: E402
from browser.screen import Screen  # noqa: E402
from mmms_client.files import make_folder, write_bytes_atomically, write_text_atomically  # noqa: E402
from mmms_eval.click_simulation import SimulatedAnnotator  # noqa: E402
from mmms_eval.metrics import iou  # noqa: E402
from mmms_eval.synthetic import Scene, SceneConfig, render_scene  # noqa: E402
from mmms_server.process import ServerProcess  # noqa: E402

OUT = ROOT / "docs" / "app"
FIRST_SEED = 7_000_000_000  # scenes that no model was trained on
NUMBERS = (1, 2, 8, 9, 10, 5, 6)
SIZE_HW = (640, 960)
COLOURS = 96  # of a picture's palette
CLASSES = "vehicle #ff9500\nbuilding #00a8ff\nplant #4cd964\nperson #ff3b80\nground #a066ff\nother #ffdd33\n"
CLASS_OF = {
    "truck": "vehicle",
    "car": "vehicle",
    "bicycle": "vehicle",
    "tree": "plant",
    "bush": "plant",
    "person": "person",
}
CLASS_OF |= {"building": "building", "wall": "building", "house": "building", "road": "ground", "ground": "ground"}


def main() -> None:
    wanted = set(sys.argv[1:])
    make_folder(OUT)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = write_scenes(folder)
        with ServerProcess(ROOT / "model_repository", folder / "triton.log") as server:
            driver = browser(folder)
            try:
                with AppProcess(folder / "out", server.url, arguments(folder)) as app:
                    Pictures(Screen(driver), app, server, scenes[0], wanted).take()
            finally:
                driver.quit()
    total = sum(path.stat().st_size for path in OUT.glob("*.png"))
    print(f"{OUT}: {total / 1e6:.2f} MB")  # noqa: T201 - a script for people


def write_scenes(folder: Path) -> list[Scene]:
    """A folder of street and other scenes with thermal (centikelvin) and depth (millimetres) beside it."""
    quiet = SceneConfig(
        size_hw=SIZE_HW,
        night_probability=0,
        fog_probability=0,
        grey_probability=0,
        wild_look_probability=0.1,
        jpeg_probability=0,
    )
    scenes = []
    for kind in ("rgb", "thermal", "depth"):
        make_folder(folder / kind)
    for k, number in enumerate(NUMBERS):
        scene = render_scene(FIRST_SEED + number, quiet, modalities=("thermal", "depth"))
        name = f"{scene.scene_type}-{k + 1:03d}.png"
        thermal, depth = scene.modalities["thermal"], scene.modalities["depth"]
        millimetres = np.where(np.isfinite(depth) & (depth < 65), depth * 1000, 0).round()
        Image.fromarray(scene.image).save(folder / "rgb" / name)
        Image.fromarray(((thermal + 273.15) * 100).round().astype(np.uint16)).save(folder / "thermal" / name)
        Image.fromarray(millimetres.astype(np.uint16)).save(folder / "depth" / name)
        scenes.append(scene)
    units = '{"thermal": {"unit": "K", "scale": 0.01}, "depth": {"unit": "m", "scale": 0.001, "invalid": 0}}\n'
    write_text_atomically(folder / "modalities.json", units)
    write_text_atomically(folder / "classes.txt", CLASSES)
    return scenes


def arguments(folder: Path) -> list[str]:
    result = [str(folder / "rgb"), "--classes", str(folder / "classes.txt")]
    for name in ("thermal", "depth"):
        result += ["--modality", f"{name}={folder / name}"]
    return result


def browser(folder: Path) -> webdriver.Chrome:
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in [*FLAGS, f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    return webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))


class Pictures:
    """One picture after the other, each from the state that the one before left."""

    def __init__(self, screen: Screen, app: AppProcess, server: ServerProcess, scene: Scene, wanted: set[str]) -> None:
        self.screen, self.app, self.server, self.scene, self.wanted = screen, app, server, scene, wanted

    def take(self) -> None:
        self.open()
        self.overview()
        self.sensors()
        self.without()
        self.details()
        self.panels()
        self.small()
        self.gone()

    def save(self, name: str) -> None:
        """A picture of the window, as a palette PNG."""
        self.screen.settle()
        self.screen.js("document.querySelectorAll('.toast:not(.error)').forEach((t) => t.remove())")
        if self.wanted and name not in self.wanted:
            return
        shot = Image.open(io.BytesIO(self.screen.driver.get_screenshot_as_png())).convert("RGB")
        reduced = shot.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        data = io.BytesIO()
        reduced.save(data, "PNG", optimize=True)
        write_bytes_atomically(OUT / f"{name}.png", data.getvalue())
        print(f"{name}.png {len(data.getvalue()) / 1e3:.0f} kB")  # noqa: T201

    # States -------------------------------------------------------------------------------------------
    def open(self) -> None:
        screen = self.screen
        screen.driver.get(self.app.address)
        screen.wait("the page", lambda: screen.js("return Boolean(window.app?.state.document)"), 60)
        screen.open_name("street-001.png")
        ready = "return app.state.image.encoded === 'ready' && !app.state.server.encoding.length"
        screen.wait("features", lambda: screen.js(ready), 60)
        screen.js("app.commands.set({theme: 'dark', preview: false})")

    def overview(self) -> None:
        screen, scene = self.screen, self.scene
        ids, counts = np.unique(scene.labels[(scene.labels > 0) & (scene.labels < 255)], return_counts=True)
        order = [int(i) for i, n in sorted(zip(ids, counts, strict=True), key=lambda row: -row[1]) if n > 1500]
        for label in order:
            name = scene.names[label - 1]
            screen.js("app.state.activeClass = arguments[0]", CLASS_OF.get(name.split(" ")[0], "other"))
            self.annotate(scene.labels == label)
            screen.js("void app.commands.update(app.state.activeId, {name: arguments[0]})", name)
            screen.settle()
            screen.keys("f")
        self.choose("truck", "car", "building")
        self.save("overview")

    def annotate(self, target: NDArray[np.bool_], most: int = 5) -> None:
        """Click on the largest error until the surface is good or a person would give up."""
        screen = self.screen
        annotator = SimulatedAnnotator(target, self.scene.labels != 255)
        prediction = np.zeros_like(target)
        for _ in range(most):
            click = annotator.next_click(prediction)
            if click is None or iou(prediction, target) > 0.92:
                return
            screen.js("void app.commands.click(...arguments)", click.x_px, click.y_px, click.is_positive)
            screen.settle()
            prediction = screen.joint == screen.active

    def choose(self, *names: str) -> None:
        """Work on the first of these surfaces that there is."""
        for name in names:
            found = [s for s in self.screen.surfaces if s["name"].startswith(name)]
            if found:
                self.screen.js("app.state.activate(arguments[0])", found[0]["id"])
                return self.screen.settle()

    def sensors(self) -> None:
        screen = self.screen
        screen.js("app.showPanel('view')")
        screen.keys("2")
        screen.wait("thermal", lambda: screen.js("return app.gallery.picture('thermal') !== null"))
        self.save("thermal")
        screen.keys("1", "m", "m")
        screen.js(
            "app.layout.first = 'rgb'; app.layout.second = 'thermal'; app.layout.swipe = 0.52; app.state.tell('layout')"
        )
        screen.js("app.showPanel('surfaces'); app.scene.invalidate()")
        self.save("swipe")
        screen.keys("m")
        screen.js(
            "app.layout.second = 'depth'; app.state.tell('layout'); app.showPanel('view'); app.scene.invalidate()"
        )
        screen.wait("depth", lambda: screen.js("return app.gallery.picture('depth') !== null"))
        screen.js("app.windows.set('depth', {colormap: 'sea'})")
        screen.point(500, 330)
        self.save("side-by-side")
        screen.keys("m")
        screen.js("app.layout.first = 'rgb'; app.arrange('single'); app.showPanel('surfaces')")

    def without(self) -> None:
        screen = self.screen
        best, most = 0, -1
        for surface in screen.surfaces:
            if not surface["clicks"]:
                continue
            screen.js("app.state.activate(arguments[0])", surface["id"])
            screen.keys("Shift+w")
            box = screen.js("return app.state.without?.outline.box ?? [0, 0, 0, 0]")
            own = surface["box"]
            change = sum(
                abs(a - b) for a, b in zip(box, (own[0], own[1], own[0] + own[2], own[1] + own[3]), strict=True)
            )
            if (np.isfinite(change) and 0 < most < change) or most < 0:
                best, most = surface["id"], change
            screen.keys("Esc")
        screen.js("app.state.activate(arguments[0])", best)
        screen.keys("Shift+w")
        self.save("without")
        screen.keys("Esc")

    def details(self) -> None:
        screen = self.screen
        self.choose("car", "truck")
        screen.js("app.commands.set({preview: true}); app.goTo(app.state.activeId)")
        screen.keys("r")
        self.save("refine")
        screen.keys("r", "p")
        x, y, w, h = screen.js("return app.state.active.box")
        screen.look_at(14, x + 4, y + h // 2)
        self.save("pixels")
        screen.keys("p", "0")
        screen.js("app.commands.set({theme: 'light', patterns: true, preview: false})")
        self.save("patterns")
        screen.js("app.commands.set({theme: 'dark', patterns: false})")
        screen.keys("b")
        screen.js("app.commands.set({brushRadius: 16})")
        screen.point(x + w / 2, y + h / 2)
        self.save("brush")
        screen.keys("c")

    def panels(self) -> None:
        screen = self.screen
        for name in ("street-003.png", "indoor-002.png"):
            index = screen.js("return app.state.images.find((i) => i.name === arguments[0])?.index ?? -1", name)
            if index >= 0:
                screen.js("void app.commands.send('mark', {index: arguments[0], state: 'done'})", index)
        screen.js("app.showPanel('images')")
        shown = "return [...document.querySelectorAll('#images img')].every((i) => i.complete && i.naturalWidth > 0)"
        screen.wait("thumbnails", lambda: screen.js(shown))
        self.save("images")
        screen.js("app.showPanel('surfaces')")
        screen.keys("h")
        self.save("help")
        screen.keys("Esc")
        screen.press("[data-action='export']")
        for name in ("coco", "yolo", "labelme"):
            screen.find(f"#formats input[value='{name}']").click()
        screen.wait("the losses", lambda: screen.find("#export-write").is_enabled())
        self.save("export")
        screen.keys("Esc")

    def small(self) -> None:
        screen = self.screen
        metrics = {"width": 820, "height": 1100, "deviceScaleFactor": 1, "mobile": False}
        screen.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        screen.js("app.view.fit(); app.scene.invalidate()")
        self.save("tablet")
        screen.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        screen.settle()

    def gone(self) -> None:
        screen = self.screen
        self.server.kill()
        screen.wait("gone", lambda: screen.js("return app.state.server.server === 'gone'"), 60)
        screen.js("app.view.fit(); app.scene.invalidate()")
        self.save("server-gone")


if __name__ == "__main__":
    main()
