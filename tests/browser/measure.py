"""How fast the page is, measured in Chromium against the real app and a real server; nothing is asserted.

    python tests/browser/measure.py --json out/app-speed.json

Zooming: an image of 4000x3000 with 200 surfaces, the wheel turned once per frame from the whole image to four times its
pixels and back, the time between frames. Clicks: an image of 640x480, from the release of the button to the end of the
frame with the new mask, without what the server took. Both in a window whose page has 1280x720, software rendering.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browser.app_process import AppProcess  # noqa: E402
from browser.conftest import FLAGS, STREET  # noqa: E402
from browser.screen import Screen  # noqa: E402
from mmms_server.process import ServerProcess  # noqa: E402

SIZE = (4000, 3000)
SURFACES = 200
CLICKS = 30
_SURFACES = """
const [count, done] = arguments;
const blob = (cx, cy, k) => Array.from({ length: 90 }, (_, n) => {
  const a = (n / 90) * 2 * Math.PI, r = 80 * (1 + 0.25 * Math.sin((3 + (k % 5)) * a) + 0.04 * Math.sin(23 * a + k));
  return [cx + r * Math.cos(a), cy + 1.3 * r * Math.sin(a)];
});
(async () => {
  for (let k = 0; k < count; k++) {
    const { surface } = await app.socket.request("add_surface", {});
    const [x, y] = [(k % 20) * 200 + 100, Math.floor(k / 20) * 300 + 150];
    await app.socket.request("polygon", { surface, points: blob(x, y, k) });
  }
  done(app.state.surfaces.length);
})();
"""
_ZOOM = """
const done = arguments[arguments.length - 1], canvas = app.scene.canvas, box = canvas.getBoundingClientRect();
const frames = [], paints = [], paint = app.scene.paint;
app.scene.paint = function () { const t = performance.now(); paint.call(this); paints.push(performance.now() - t); };
app.view.fit();
let last = 0, count = 0;
const turn = (now) => {
  if (last) frames.push(now - last);
  last = now;
  if (count++ === 400) { app.scene.paint = paint; return done([frames, paints]); }
  const isIn = count % 200 < 100;
  const [clientX, clientY] = [box.left + box.width * 0.4, box.top + box.height * 0.45];
  canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: isIn ? -18 : 18, clientX, clientY, cancelable: true }));
  requestAnimationFrame(turn);
};
requestAnimationFrame(turn);
"""
_CLICK = """
const [x, y, done] = arguments, canvas = app.scene.canvas, box = canvas.getBoundingClientRect();
const [sx, sy] = app.view.toScreen(x, y);
const at = { clientX: sx + box.left, clientY: sy + box.top, button: 0, pointerId: 1, bubbles: true };
window.marks = {};
const finish = () => {
  if (!marks.timing || !marks.repainted || marks.said) return;
  marks.said = true;
  done([marks.repainted - marks.began, marks.timing]);
};
window.onTiming = (timing) => { marks.timing = timing; finish(); };
window.onRepainted = () => { marks.repainted = performance.now(); finish(); };
canvas.dispatchEvent(new PointerEvent("pointerdown", at));
marks.began = performance.now();
canvas.dispatchEvent(new PointerEvent("pointerup", at));
"""
_LISTEN = """
app.state.on("timing", (t) => window.onTiming?.(t));
app.state.on("repainted", () => window.onRepainted?.());
app.commands.set({ preview: false });
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    repository = ROOT / "model_repository"
    with tempfile.TemporaryDirectory() as folder, ServerProcess(repository, Path(folder) / "log") as server:
        driver = browser(Path(folder))
        try:
            result = {"load_before": os.getloadavg()[0], "browser": driver.capabilities["browserVersion"]}
            result["zoom_4000x3000_200_surfaces"] = zooming(driver, Path(folder), server.url)
            result["click_640x480"] = clicking(driver, Path(folder), server.url)
            result["load_after"] = os.getloadavg()[0]
        finally:
            driver.quit()
    text = json.dumps(result, indent=2)
    print(text)  # noqa: T201 - a script for people
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(text + "\n")


def browser(folder: Path) -> webdriver.Chrome:
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for flag in [*FLAGS, f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(300)
    return driver


def page(driver: webdriver.Chrome, app: AppProcess) -> Screen:
    screen = Screen(driver)
    driver.get(app.address)
    screen.wait("the page", lambda: screen.js("return Boolean(window.app?.state.document)"), 60)
    screen.wait("the picture", lambda: screen.js("return app.gallery.picture('rgb') !== null"), 60)
    idle = "return app.state.server.server === 'ready' && !app.state.server.encoding.length"
    screen.wait("an idle server", lambda: screen.js(idle), 120)
    screen.js(_LISTEN)
    return screen


def zooming(driver: webdriver.Chrome, folder: Path, url: str) -> dict[str, Any]:
    large = Image.open(STREET / "rgb.png").convert("RGB").resize(SIZE, Image.Resampling.BICUBIC)
    noise = np.random.default_rng(0).integers(-12, 13, (SIZE[1], SIZE[0], 1))
    Image.fromarray(np.clip(np.asarray(large, np.int16) + noise, 0, 255).astype(np.uint8)).save(folder / "large.png")
    with AppProcess(folder / "large", url, [str(folder / "large.png")]) as app:
        screen = page(driver, app)
        assert driver.execute_async_script(_SURFACES, SURFACES) == SURFACES  # type: ignore[no-untyped-call]
        screen.js("app.state.activate(100)")
        screen.settle()
        runs = {}
        for name in ("first", "again"):
            frames, paints = driver.execute_async_script(_ZOOM)  # type: ignore[no-untyped-call]
            runs[name] = {"frame_ms": quantiles(frames), "paint_script_ms": quantiles(paints)}
        return {"window": screen.js("return [innerWidth, innerHeight]"), "frames": len(frames), **runs}


def clicking(driver: webdriver.Chrome, folder: Path, url: str) -> dict[str, Any]:
    arguments = [str(STREET / "rgb.png")]
    for name in ("thermal", "depth"):
        arguments += ["--modality", f"{name}={STREET / f'{name}.png'}"]
    with AppProcess(folder / "small", url, arguments) as app:
        screen = page(driver, app)
        rng = np.random.default_rng(1)
        without_server, without_app, total = [], [], []
        for k in range(CLICKS + 2):
            x, y = (int(v) for v in rng.integers((60, 60), (580, 420)))
            elapsed, timing = driver.execute_async_script(_CLICK, x, y)  # type: ignore[no-untyped-call]
            screen.settle()
            if k % 4 == 3:
                screen.keys("f")
            if k >= 2:  # the first ones load code
                total.append(elapsed)
                without_server.append(elapsed - timing["request_ms"])
                without_app.append(elapsed - timing["total_ms"])
        return {
            "clicks": len(total),
            "all_ms": quantiles(total),
            "without_the_server_ms": quantiles(without_server),
            "without_server_and_app_ms": quantiles(without_app),
        }


def quantiles(values: list[float]) -> dict[str, float]:
    p50, p95, p99 = (round(float(np.percentile(values, q)), 1) for q in (50, 95, 99))
    return {"p50": p50, "p95": p95, "p99": p99}


if __name__ == "__main__":
    main()
