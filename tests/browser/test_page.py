"""What the page as a whole keeps: export, cost, foreign hosts, hostile names, small screens."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from PIL import Image

from browser.app_process import AppProcess
from browser.conftest import HOSTILE, STREET, differing
from browser.screen import Screen
from mmms_server.process import ServerProcess

_LISTEN = """
window.frames = [];
const receive = app.state.receive.bind(app.state);
app.state.receive = (m) => { if (m.type === "patch") frames.push([m.x, m.y, m.width, m.height]); receive(m); };
"""

_MANY = """
const done = arguments[arguments.length - 1];
(async () => {
  for (let first = 1; first < 200; first += 50) {
    const sent = [];
    for (let k = first; k < Math.min(first + 50, 200); k++) {
      const [x, y] = [5 + (k % 20) * 31, 5 + Math.floor(k / 20) * 45];
      sent.push(app.socket.request("add_surface", {}));
      sent.push(app.socket.request("polygon", { surface: k + 1, points: [[x, y], [x + 20, y], [x + 10, y + 25]] }));
    }
    await Promise.all(sent);
  }
  done(app.state.surfaces.length);
})();
"""


def square(screen: Screen, x: int, y: int, side: int) -> None:
    """A square surface by the polygon tool, as a person draws it; ``side`` + 1 pixels wide."""
    screen.keys("g")
    for corner in ((x, y), (x + side, y), (x + side, y + side), (x, y + side)):
        screen.click(*corner)
    screen.keys("Enter", "c", "f")


def test_export_says_what_is_lost_then_writes_what_is_on_the_screen(screen: Screen, app: AppProcess) -> None:
    screen.click(240, 420)
    screen.keys("f")
    screen.click(400, 240)
    screen.keys("f")
    square(screen, 20, 20, 60)
    screen.js("app.state.activate(3)")
    screen.keys("e")
    screen.drag([(50, 50), (52, 50)])  # a hole
    screen.keys("c")
    joint = screen.joint
    screen.press("[data-action='export']")
    screen.wait("the report", lambda: screen.find("#export-write").is_enabled())
    for name in ("palette-png", "instance-png", "coco", "yolo"):
        box = screen.find(f"#formats input[value='{name}']")
        if not box.is_selected():
            box.click()
    screen.wait("the losses", lambda: "yolo:" in screen.text("#losses") and screen.find("#export-write").is_enabled())
    assert not (app.out / "export").exists()  # nothing is written before it was said
    screen.press("#export-write")
    screen.wait("files", lambda: "Written" in screen.text("#written"))
    names = screen.js("return [...document.querySelectorAll('#written li')].map((e) => e.textContent)")
    assert names and all((app.out / name).is_file() for name in names)
    stem = Path(screen.js("return app.state.image.name")).stem
    [instance] = [app.out / name for name in names if "instance-png/" in name and Path(name).stem == stem]
    assert differing(np.asarray(Image.open(instance)), joint) == 0
    [palette] = [app.out / name for name in names if "palette-png/" in name and Path(name).stem == stem]
    assert differing(np.asarray(Image.open(palette)), joint) == 0
    [coco] = [app.out / name for name in names if name.startswith("export/coco/")]
    written = json.loads(coco.read_text())
    number = next(i["id"] for i in written["images"] if Path(i["file_name"]).stem == stem)
    areas = sorted(a["area"] for a in written["annotations"] if a["image_id"] == number)
    assert areas == sorted(int((joint == k).sum()) for k in (1, 2, 3))
    screen.keys("Esc")


def test_hostile_file_names_are_only_names(window: Screen, app: AppProcess) -> None:
    screen = window
    screen.js("app.showPanel('images')")
    names = screen.js("return app.state.images.map((i) => i.name)")
    assert set(HOSTILE) <= set(names)
    for name in HOSTILE:
        screen.open_name(name)
        screen.js("app.showPanel('surfaces'); app.chooseTool('click')")
        square(screen, 100, 100, 30)
        assert screen.text("#image-name") == name and (screen.joint == 1).sum() == 31 * 31
        assert screen.js("return document.querySelectorAll('img[src=x], #top img').length") == 0
    screen.js("app.showPanel('images')")
    screen.wait(
        "thumbnails",
        lambda: screen.js(
            "return [...document.querySelectorAll('#images img')].every((i) => i.complete && i.naturalWidth > 0)"
        ),
    )
    screen.js("app.showPanel('surfaces')")
    screen.keys("Tab", "F2")
    evil = "<b onclick=alert(1)>'\"&amp;</b>"
    screen.find("#surface-name").send_keys(evil)
    screen.keys("Enter")
    assert (
        screen.surface(1)["name"] == evil and screen.js("return document.querySelectorAll('#surfaces b').length") == 0
    )
    inside = {path.resolve() for path in app.out.rglob("*")}
    assert inside and all(path.is_relative_to(app.out.resolve()) for path in inside)
    assert screen.errors() == []


def test_nothing_is_loaded_from_anywhere_else(screen: Screen) -> None:
    screen.keys("2", "3", "h", "Esc", "1")
    entries = screen.js("return performance.getEntriesByType('resource').map((e) => e.name)")
    origin = screen.js("return location.origin")
    token = screen.js("return location.pathname")
    assert len(entries) > 30 and all(name.startswith(origin + token) for name in entries)
    assert (
        screen.js("return [...document.querySelectorAll('script:not([src]), style, [style*=url], [onclick]')].length")
        == 0
    )


def test_two_hundred_surfaces_are_no_two_hundred_elements(screen: Screen) -> None:
    count = "return document.querySelectorAll('*').length"
    square(screen, 5, 5, 10)
    screen.js("app.state.activate(1)")
    few = screen.js(count)
    assert screen.driver.execute_async_script(_MANY) == 200  # type: ignore[no-untyped-call]
    screen.settle()
    assert screen.js("return app.state.outlines[0].outlines.size") == 200  # all of them are painted
    rows = screen.js("return document.querySelectorAll('#surfaces .row').length")
    assert 5 < rows < 25
    assert screen.js(count) - few <= rows * 25  # what is in view of the list, and no more
    screen.js("document.getElementById('surfaces').focus()")
    screen.keys("End")
    assert screen.active == 200 and screen.find("#surfaces [aria-selected='true']").is_displayed()
    assert screen.js("return document.querySelectorAll('#surfaces .row').length") == rows
    screen.keys("Home")
    screen.js("app.commands.startMerge(1); app.scene.canvas.focus()")
    before = screen.joint
    screen.point(5 + 2 * 31 + 10, 12)
    screen.keys("s")  # the third one, by pointing
    assert len(screen.surfaces) == 199
    assert (screen.joint == 1).sum() == np.isin(before, (1, 3)).sum()


def test_only_the_changed_box_travels_and_is_looked_at_again(screen: Screen) -> None:
    square(screen, 100, 100, 40)
    square(screen, 400, 300, 100)
    screen.js(_LISTEN)
    screen.js("app.state.outlines[0].prepare(Infinity)")
    screen.js("""
    window.looked = 0;
    const outlines = app.state.outlines[0], scan = outlines.scan.bind(outlines);
    outlines.scan = (column, row) => { looked++; return scan(column, row); };
    """)
    kept = screen.js(
        "app.state.outlines[0].outline(1); window.before = app.state.outlines[0].outline(1); return before !== null"
    )
    screen.js("app.state.activate(2)")
    screen.keys("b")
    screen.drag([(520, 320), (530, 320)])
    [box] = screen.js("return frames")
    _, xs = np.nonzero(screen.joint == 2)
    x, y, width, height = box
    assert width <= 45 and height <= 30 and x >= 501 and y >= 305  # the stroke, and nothing of the rest
    assert xs.max() == x + width - 1
    assert 1 <= screen.js("return looked") <= 4
    assert kept and screen.js(
        "return app.state.outlines[0].outline(1) === before"
    )  # the other outline was not made again
    screen.keys("z")
    assert screen.js("return frames").pop() == box


def test_light_dark_and_a_tablet(screen: Screen) -> None:
    theme = screen.js("return document.documentElement.dataset.theme")
    screen.keys("Shift+t")
    assert screen.js("return document.documentElement.dataset.theme") != theme
    screen.keys("Shift+t")
    for width, height in ((1280, 720), (1024, 768), (768, 1024)):
        screen.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        screen.settle()
        outside = screen.js("""
        return [...document.querySelectorAll("#top button, #tools button, #tabs button, #bottom > span")]
          .map((e) => [e.getBoundingClientRect(), e.outerHTML])
          .filter(([b]) => b.width > 0 && (b.right > innerWidth + 1 || b.left < -1 || b.top < -1))
          .map(([, html]) => html);
        """)
        assert outside == [] and screen.js("return app.view.showsAll && app.scene.canvas.clientWidth > 400")
    screen.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    screen.settle()


def test_two_fingers_zoom_and_one_finger_taps(screen: Screen) -> None:
    def touch(kind: str, *points: tuple[float, float]) -> None:
        places = [screen.in_window(*p) for p in points]
        screen.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(places)]},
        )

    scale = screen.js("return app.view.scale")
    left, right = screen.in_window(300, 200), screen.in_window(340, 200)
    for kind, points in (
        ("touchStart", [left]),
        ("touchStart", [left, right]),
        *(("touchMove", [(left[0] - k * 8, left[1]), (right[0] + k * 8, right[1])]) for k in range(1, 8)),
        ("touchEnd", []),
    ):
        screen.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]},
        )
    screen.settle()
    assert screen.js("return app.view.scale") > 1.5 * scale and not screen.surfaces
    screen.keys("0")
    touch("touchStart", (240, 420))
    touch("touchEnd")
    screen.wait("a surface", lambda: len(screen.surfaces) == 1)
    screen.settle()
    assert screen.surface(1)["clicks"][0]["positive"]


def test_the_status_line_splits_the_time_of_a_click(screen: Screen) -> None:
    # While images are encoded ahead, or another client asks, the server's counters cannot be split.
    for k in range(8):
        screen.wait("an idle server", lambda: not screen.js("return app.state.server.encoding.length"))
        screen.click(100 + 60 * k, 420)
        title = screen.find("#timing").get_attribute("title")
        if "compute" in title:
            break
    parts = dict(re.findall(r"(\w+) (-?[\d.]+) ms", title))
    assert list(parts) == ["network", "queue", "compute", "app", "socket", "draw"]
    assert all(float(value) >= 0 for value in parts.values()) and float(parts["compute"]) > 1


def test_next_previous_and_done(screen: Screen) -> None:
    first = screen.js("return app.state.image.index")
    screen.js("app.scene.canvas.focus()")
    screen.keys("d")
    screen.wait("the next image", lambda: screen.js("return app.state.image.index") == first + 1)
    screen.keys("Shift+d")
    screen.wait("done", lambda: screen.js("return app.state.image.state") == "done")
    screen.keys("a")
    screen.wait("the image before", lambda: screen.js("return app.state.image.index") == first)
    screen.js("app.showPanel('images')")
    assert screen.text("#image-count").startswith("1 of")


def test_the_browser_is_started_without_the_token_where_all_can_read(
    tab: Screen, nano_server: ServerProcess, tmp_path: Path
) -> None:
    """A command line is public: it names a file of this account, which leads a browser to the page."""
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f"#!/bin/sh\necho \"$@\" > '{seen}.part' && mv '{seen}.part' '{seen}'\n")
    browser.chmod(0o755)
    (tmp_path / "out" / ".browser").mkdir(parents=True)  # an app that was killed left it
    with AppProcess(tmp_path / "out", nano_server.url, [str(STREET / "rgb.png")], browser=browser) as app:
        tab.wait("a browser", seen.exists)
        token, address = app.address.split("/")[-2], seen.read_text().strip()
        assert len(token) >= 43 and token not in address and address.startswith("file:///")
        file = Path(url2pathname(urlsplit(address).path))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        assert token not in file.read_text()
        tab.load(address)
        assert tab.driver.current_url == app.address
        tab.click(240, 420)
        assert len(tab.surfaces) == 1
    assert file.is_relative_to(tmp_path / "out") and not file.parent.exists()
