"""The other sensors under the same mask: switching, layouts, window and level, lining up, zoom."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin

from browser.conftest import STREET
from browser.screen import Screen

CAR = (240, 420)
_WINDOW = "return app.gallery.scalar(arguments[0]).window"


def shown(screen: Screen, name: str) -> None:
    screen.wait(f"the picture {name}", lambda: screen.js("return app.gallery.picture(arguments[0]) !== null", name))
    screen.settle()


def test_every_modality_by_key_with_the_same_zoom_and_mask(screen: Screen) -> None:
    screen.click(*CAR)
    screen.look_at(2.5, 220, 420)
    view = screen.js("return [app.view.scale, app.view.x, app.view.y]")
    joint, colours = screen.joint, []
    screen.js("app.commands.set({fill: 0})")
    for key, name in (("2", "thermal"), ("3", "depth"), ("1", "rgb")):
        screen.keys(key)
        shown(screen, name)
        assert screen.js("return app.layout.first") == name
        assert screen.js("return [app.view.scale, app.view.x, app.view.y]") == view
        assert (screen.joint == joint).all()
        colours.append(screen.colour(200, 440))
    assert len(set(colours)) == 3
    screen.keys("v")
    assert screen.js("return app.layout.first") == "depth"
    screen.keys("v")
    assert screen.js("return app.layout.first") == "rgb"
    screen.js("app.commands.set({fill: 0.34})")


def test_window_typed_in_the_unit_by_percentile_and_by_drag(screen: Screen) -> None:
    screen.keys("3")
    shown(screen, "depth")
    screen.js("app.showPanel('view')")
    depth = np.asarray(Image.open(STREET / "depth.png")).astype(float) / 1000
    measured = depth[depth > 0]
    assert screen.text("#window-title") == "depth in m"
    assert screen.js(_WINDOW, "depth")["low"] == pytest.approx(np.percentile(measured, 1), abs=0.05)
    screen.fill("#window-low", "5")
    screen.fill("#window-high", "20")
    screen.js("arguments[0].value = 'grey'; arguments[0].dispatchEvent(new Event('change'))", screen.find("#colormap"))
    screen.settle()
    places = [(int(x), int(y)) for y, x in np.argwhere((depth > 7) & (depth < 18))[::4001]]
    assert len(places) > 3
    for x, y in places:
        assert screen.value_at("depth", x, y) == pytest.approx(depth[y, x], abs=0.01)
    greys = [pixel[0] for pixel in screen.coloured("depth", places)]
    order = np.argsort([depth[y, x] for x, y in places])
    assert (np.diff(np.array(greys)[order]) >= 0).all() and greys[order[-1]] > greys[order[0]]
    screen.press("#percentiles button:nth-child(4)")
    window = screen.js(_WINDOW, "depth")
    assert window["low"] == pytest.approx(np.percentile(measured, 5), abs=0.1)
    assert window["high"] == pytest.approx(np.percentile(measured, 95), abs=0.1)
    screen.keys("t")
    screen.drag([(200, 200), (320, 200)])
    assert screen.js(_WINDOW, "depth")["high"] > window["high"]
    screen.keys("[")
    saved = screen.js("return app.state.settings.windows.depth")
    assert saved == screen.js(_WINDOW, "depth")


def test_no_measurement_has_a_colour_of_its_own(screen: Screen) -> None:
    depth = np.asarray(Image.open(STREET / "depth.png"))
    y, x = (int(v) for v in np.argwhere(depth == 0)[100])
    screen.keys("3")
    shown(screen, "depth")
    assert screen.coloured("depth", [(x, y)]) == [[58, 60, 70]]
    screen.point(x, y)
    screen.wait("words", lambda: "no measurement" in screen.text("#place"))


def test_blend_swipe_and_side_by_side(screen: Screen) -> None:
    rgb = screen.colour(400, 60)
    screen.keys("2")
    shown(screen, "thermal")
    thermal = screen.colour(400, 60)
    screen.keys("1")
    screen.keys("m")
    assert screen.js("return app.layout.name") == "blend"
    screen.js("app.layout.blend = 0.5; app.scene.invalidate()")
    screen.settle()
    assert screen.colour(400, 60) == pytest.approx([(a + b) / 2 for a, b in zip(rgb, thermal, strict=True)], abs=3)
    screen.keys("m")
    screen.js("app.layout.swipe = 0.5; app.scene.invalidate()")
    screen.settle()
    assert screen.colour(400, 60) == thermal and screen.colour(200, 60) != thermal
    width = screen.js("return app.scene.canvas.clientWidth")
    middle = screen.js("return app.view.toImage(arguments[0], 300)", width / 2)
    screen.drag([(middle[0], middle[1]), (middle[0] + 150, middle[1])])
    assert screen.js("return app.layout.swipe") > 0.6 and not screen.surfaces
    assert screen.colour(400, 60) == rgb
    screen.keys("m")
    assert len(screen.js("return app.scene.panes()")) == 2
    screen.click(320, 420)  # in the first pane
    [surface] = screen.surfaces
    assert surface["clicks"][0]["x"] == pytest.approx(320, abs=2)
    screen.keys("m")


def test_zoom_keeps_what_is_under_the_pointer_and_a_drag_pans(screen: Screen) -> None:
    place = "return app.view.toScreen(100, 400)"
    x, y = screen.in_window(100, 400)
    script = "const b = app.scene.canvas.getBoundingClientRect();"
    under = script + "return app.scene.toImage(arguments[0] - b.left, arguments[1] - b.top)"
    before = screen.js(under, x, y)
    ActionChains(screen.driver, duration=0).scroll_from_origin(ScrollOrigin.from_viewport(x, y), 0, -700).perform()
    screen.settle()
    assert screen.js("return app.view.scale") > 2
    assert screen.js(under, x, y) == pytest.approx(before, abs=1e-6)
    before = screen.js(place)
    screen.drag([(100, 400), (130, 410)])
    moved = screen.js(place)
    assert moved[0] > before[0] + 30 and not screen.surfaces  # a drag is no click
    screen.keys("Shift+0")
    assert screen.js("return app.view.scale") == 1
    screen.keys("0")
    assert screen.js("return app.view.showsAll")


def test_the_pixel_view_is_crisp_and_shows_the_map_itself(screen: Screen) -> None:
    screen.keys("g")
    for corner in ((300, 300), (340, 300), (340, 340)):
        screen.click(*corner)
    screen.keys("Enter", "c")
    screen.js("app.state.activate(null); app.commands.set({fill: 1})")
    screen.look_at(16, 320, 320)
    screen.keys("p")
    joint = screen.joint
    picture = np.asarray(Image.open(STREET / "rgb.png").convert("RGB"))
    outside = next(
        (x, 322)
        for x in range(300, 340)
        if joint[322, x] == 0 and joint[322, x + 1] == 0 and joint[322, x - 1] == 0 and joint[321, x] == 0
    )
    patch = screen.pixels(*outside, radius=4)[..., :3].reshape(-1, 3)
    assert (patch == patch[0]).all()  # one flat square per pixel
    assert np.abs(patch[0].astype(int) - picture[outside[1], outside[0]].astype(int)).max() <= 2
    rows = joint[315:326, 310:331]
    inner = [(int(x) + 310, int(y) + 315) for y, x in np.argwhere(rows == 1)]
    assert len(inner) > 50
    assert {screen.colour(*place) for place in inner[::7]} == {(255, 149, 0)}
    screen.js("app.commands.set({fill: 0.34})")


def test_a_modality_is_nudged_by_arrows_and_saved(screen: Screen) -> None:
    screen.keys("2")
    shown(screen, "thermal")
    corner = (162, 218)  # the warm sign on its pole
    warmth = screen.value_at("thermal", *corner)
    screen.keys("l", "Right", "Right", "Shift+Down")
    assert screen.js("return app.gallery.nudge('thermal')") == [2, 10, 1]
    version = screen.js("return app.state.image.version")
    screen.keys("Enter")
    screen.wait(
        "the app's picture",
        lambda: (
            screen.js("return app.state.image.version") > version and screen.js("return app.gallery.moving === null")
        ),
    )
    modality = screen.js("return app.state.image.modalities.find((m) => m.name === 'thermal')")
    assert modality["alignment"] == {"dx": 2, "dy": 10, "scale": 1}
    moved = screen.value_at("thermal", corner[0] + 2, corner[1] + 10)
    assert moved == pytest.approx(warmth, abs=0.05)
    assert screen.js("return app.gallery.nudge('thermal')") == [0, 0, 1]
    screen.keys("z")
    screen.wait(
        "undone",
        lambda: screen.js("return app.state.image.modalities.find((m) => m.name === 'thermal').alignment.dy") == 0,
    )


def test_patterns_and_numbers_need_no_colour(screen: Screen) -> None:
    screen.keys("g")
    for corner in ((100, 100), (300, 100), (300, 300), (100, 300)):
        screen.click(*corner)
    screen.keys("Enter", "c")
    plain = screen.pixels(140, 140, radius=12)
    screen.keys("j")
    hatched = screen.pixels(140, 140, radius=12)
    assert np.ptp(hatched[..., 2].astype(int)) > np.ptp(plain[..., 2].astype(int)) + 40
    screen.keys("j", "Shift+j")
    assert screen.js("return app.state.settings.tags")
    middle = screen.pixels(200, 200, radius=12)
    assert (middle[..., :3].min(-1) > 240).any()  # the tag of the surface that is worked on is white
