"""Makes the pictures of docs/app.md: the app in Chromium, synthetic scenes, a real server, the shipped model.

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
NUMBERS = (120, 1, 8, 103, 118, 108, 2)  # the first is annotated
SIZE_HW = (640, 960)
COLOURS = 256  # of a picture's palette
GOOD_IOU = 0.8  # what the model does not get to in five clicks is left out
CLASSES = "person #ff3b80\nroom #a066ff\nfurniture #ff9500\nobject #00a8ff\n"
CLASS_OF = {"person": "person", "floor": "room", "wall": "room", "window": "room"}
CLASS_OF |= {"furniture": "furniture", "lamp": "furniture", "cloth": "furniture"}


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
        camera_defects=False,
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

    def save(self, name: str, crop: tuple[int, int, int, int] | None = None, reduce: float = 1.0) -> None:
        """A picture of the window, or of a box of it, as a palette PNG."""
        self.screen.settle()
        still = "return performance.now() - app.scene.movedAt > 300 && !app.scene.isScheduled"
        self.screen.wait("stillness", lambda: self.screen.js(still))
        self.screen.js("document.querySelectorAll('.toast:not(.error)').forEach((t) => t.remove())")
        if self.wanted and name not in self.wanted:
            return
        shot = Image.open(io.BytesIO(self.screen.driver.get_screenshot_as_png())).convert("RGB")
        shot = shot.crop(crop) if crop else shot
        if reduce != 1.0:
            size = round(shot.width * reduce), round(shot.height * reduce)
            shot = shot.resize(size, Image.Resampling.LANCZOS)
        method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        reduced = shot.quantize(COLOURS, method=method, kmeans=3, dither=dither)
        data = io.BytesIO()
        reduced.save(data, "PNG", optimize=True)
        write_bytes_atomically(OUT / f"{name}.png", data.getvalue())
        print(f"{name}.png {len(data.getvalue()) / 1e3:.0f} kB")  # noqa: T201

    def element(self, selector: str, margin: int = 12) -> tuple[int, int, int, int]:
        """The box of an element in the window, with a margin."""
        script = "const b = document.querySelector(arguments[0]).getBoundingClientRect();"
        x0, y0, x1, y1 = self.screen.js(script + "return [b.left, b.top, b.right, b.bottom]", selector)
        width, height = self.screen.js("return [innerWidth, innerHeight]")
        lower, upper = (
            (max(0, round(x0) - margin), max(0, round(y0) - margin)),
            (round(x1) + margin, round(y1) + margin),
        )
        return (*lower, min(upper[0], width), min(upper[1], height))

    # States -------------------------------------------------------------------------------------------
    def open(self) -> None:
        screen = self.screen
        screen.driver.get(self.app.address)
        screen.wait("the page", lambda: screen.js("return Boolean(window.app?.state.document)"), 60)
        screen.open_name("indoor-001.png")
        ready = "return app.state.image.encoded === 'ready' && !app.state.server.encoding.length"
        screen.wait("features", lambda: screen.js(ready), 60)
        screen.js("app.commands.set({theme: 'dark', preview: false})")

    def overview(self) -> None:
        screen, scene = self.screen, self.scene
        ids, counts = np.unique(scene.labels[(scene.labels > 0) & (scene.labels < 255)], return_counts=True)
        order = [int(i) for i, n in sorted(zip(ids, counts, strict=True), key=lambda row: -row[1]) if n > 1500]
        for label in order:
            name = scene.names[label - 1]
            screen.js("app.state.activeClass = arguments[0]", CLASS_OF.get(name.split(" ")[0], "object"))
            if self.annotate(scene.labels == label) < GOOD_IOU:
                screen.js("void app.commands.remove(app.state.activeId)")
                screen.settle()
                screen.js("app.state.activate(null)")
                continue
            screen.js("void app.commands.update(app.state.activeId, {name: arguments[0]})", name)
            screen.settle()
            screen.keys("f")
        self.choose("person")
        self.save("overview")

    def annotate(self, target: NDArray[np.bool_], most: int = 5) -> float:
        """Click on the largest error until the surface is good or a person would give up; returns the IoU."""
        screen = self.screen
        annotator = SimulatedAnnotator(target, self.scene.labels != 255)
        prediction = np.zeros_like(target)
        for _ in range(most):
            click = annotator.next_click(prediction)
            if click is None or iou(prediction, target) > 0.93:
                break
            screen.js("void app.commands.click(...arguments)", click.x_px, click.y_px, click.is_positive)
            screen.settle()
            prediction = screen.joint == screen.active
        return float(iou(prediction, target))

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
        """The surface that changes most when thermal is left out."""
        screen = self.screen
        most = (-1.0, 0)
        for surface in screen.surfaces:
            screen.js("app.state.activate(arguments[0])", surface["id"])
            screen.keys("Shift+w")
            if screen.js("return app.state.without !== null"):
                x, y, w, h = surface["box"]
                box = screen.js("return app.state.without.outline.box")
                change = sum(abs(a - b) for a, b in zip(box, (x, y, x + w, y + h), strict=True) if b is not None)
                most = max(most, (change if w * h < 200_000 else 0.0, surface["id"]))
            screen.keys("Esc")
        screen.js("app.state.activate(arguments[0])", most[1])
        screen.keys("Shift+w")
        self.save("without")
        screen.keys("Esc")

    def details(self) -> None:
        screen = self.screen
        self.choose("person")
        screen.js("app.commands.set({preview: true})")
        screen.look_at(2.2, 820, 150)
        screen.keys("r")
        screen.js("app.preview.lastClickMs = 1")
        screen.point(866, 128)
        screen.wait("a preview", lambda: screen.js("return app.state.preview !== null"))
        self.save("refine")
        screen.keys("r", "p")
        ys, xs = np.nonzero(screen.joint == screen.active)
        at = len(ys) // 3
        screen.look_at(16, int(xs[at]), int(ys[at]))
        self.save("pixels", (48, 46, 688, 446))
        screen.keys("p", "0")
        self.choose("person")
        screen.js("app.commands.set({theme: 'light', patterns: true, preview: false})")
        self.save("patterns")
        screen.js("app.commands.set({theme: 'dark', patterns: false})")

    def panels(self) -> None:
        screen = self.screen
        rows = screen.js("return app.state.images")
        for row, state in zip(
            [r for r in rows if not r["name"].startswith("indoor-001")], ("done", "done", "skipped"), strict=False
        ):
            screen.js("void app.commands.send('mark', {index: arguments[0], state: arguments[1]})", row["index"], state)
        screen.js("app.showPanel('images')")
        shown = "return [...document.querySelectorAll('#images img')].every((i) => i.complete && i.naturalWidth > 0)"
        screen.wait("thumbnails", lambda: screen.js(shown))
        self.save("images", (790, 0, 1280, 560))
        screen.js("app.showPanel('surfaces')")
        screen.keys("h")
        self.save("help", self.element("#help-dialog"))
        screen.keys("Esc")
        screen.press("[data-action='export']")
        for name in ("coco", "yolo", "labelme"):
            screen.find(f"#formats input[value='{name}']").click()
        screen.wait("the losses", lambda: screen.find("#export-write").is_enabled())
        self.save("export", self.element("#export-dialog"))
        screen.keys("Esc")

    def small(self) -> None:
        screen = self.screen
        metrics = {"width": 820, "height": 1100, "deviceScaleFactor": 1, "mobile": False}
        screen.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        screen.js("app.view.fit(); app.scene.moved()")
        self.save("tablet", reduce=0.6)
        screen.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        screen.settle()

    def gone(self) -> None:
        screen = self.screen
        self.server.kill()
        screen.wait("gone", lambda: screen.js("return app.state.server.server === 'gone'"), 60)
        screen.js("app.view.fit(); app.scene.moved()")
        self.save("server-gone", (0, 560, 1280, 720))


if __name__ == "__main__":
    main()
