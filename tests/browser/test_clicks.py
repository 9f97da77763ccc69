"""Clicks on the page: masks in place, undo, several surfaces, editing by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from selenium.webdriver.common.actions.mouse_button import MouseButton

from browser.conftest import differing
from browser.screen import Screen
from mmms_client import Session
from mmms_client.geometry import Region

CAR, WHEEL, WALL, SKY = (240, 420), (118, 465), (400, 240), (320, 60)


def replay(session: Session, screen: Screen) -> np.ndarray:
    """The joint map of the page's clicks through the Python API, one visit per surface in their order."""
    for surface in screen.surfaces:
        number = session.add_surface(surface["name"])
        for click in surface["clicks"]:
            session.click(number, click["x"], click["y"], click["positive"])
    return session.joint


def test_a_click_shows_the_mask_that_the_python_client_gets(screen: Screen, session_of: Callable[[], Session]) -> None:
    before = screen.colour(*CAR)
    screen.click(*CAR)
    [surface] = screen.surfaces
    assert surface["area_px"] > 2000 and surface["clicks"][0]["positive"]
    assert differing(screen.joint, replay(session_of(), screen)) == 0
    beside = (CAR[0] + 60, CAR[1])
    assert screen.joint[beside[1], beside[0]] == 1
    r, g, b = screen.colour(*beside)
    assert r > g > b and (r, g, b) != before  # the first colour of the palette, orange, lies over the dark car


def test_right_click_and_shift_click_are_negative_and_x_switches(
    screen: Screen, session_of: Callable[[], Session]
) -> None:
    screen.click(*CAR)
    screen.click(*WHEEL, button=MouseButton.RIGHT)
    screen.click(*SKY, hold="\ue008")  # Shift
    screen.keys("x")
    screen.click(330, 465)
    screen.keys("x")
    assert [c["positive"] for c in screen.surface(1)["clicks"]] == [True, False, False, False]
    assert screen.joint[WHEEL[1], WHEEL[0]] == 0
    assert differing(screen.joint, replay(session_of(), screen)) == 0


def test_undo_and_redo_go_click_by_click_and_say_what(screen: Screen) -> None:
    maps = []
    for place in (CAR, (100, 455), WHEEL):
        screen.click(*place)
        maps.append(screen.joint)
    assert "click" in screen.find("#undo").get_attribute("aria-label")
    for expected in (maps[1], maps[0]):
        screen.keys("z")
        assert differing(screen.joint, expected) == 0
    assert len(screen.surface(1)["clicks"]) == 1
    screen.keys("Ctrl+Shift+z", "y")
    assert differing(screen.joint, maps[2]) == 0
    for _ in range(5):
        screen.keys("Ctrl+z")
    assert not screen.joint.any() and screen.find("#undo").get_attribute("disabled")


def test_clicking_on_a_mark_removes_that_click(screen: Screen, session_of: Callable[[], Session]) -> None:
    for place in (CAR, WHEEL, (330, 465)):
        screen.click(*place)
    screen.click(*WHEEL)
    assert [round(c["x"]) for c in screen.surface(1)["clicks"]] == [CAR[0], 330]
    assert differing(screen.joint, replay(session_of(), screen)) == 0


def test_a_second_surface_takes_pixels_the_first_is_flagged_and_revisited(screen: Screen) -> None:
    screen.click(*CAR)
    first = screen.joint == 1
    screen.keys("f")
    assert screen.active is None
    screen.click(*CAR)  # the same place again: it overlaps
    assert screen.active == 2
    lost = int((first & (screen.joint == 2)).sum())
    assert lost > 0 and screen.surface(1)["lost_px"] == lost and screen.surface(1)["lost_to"] == [2]
    flag = screen.find("#surfaces .row .flag")
    assert flag.is_displayed() and "revisit" in flag.get_attribute("title")
    flag.click()
    assert screen.active == 1
    screen.click(CAR[0] + 20, CAR[1])
    assert len(screen.surface(1)["clicks"]) == 2  # the earlier click stayed
    assert (screen.joint == 1).sum() > first.sum() - lost and screen.surface(1)["lost_px"] == 0
    assert screen.surface(2)["lost_px"] > 0


def test_brush_then_click_starts_from_the_painted_mask(screen: Screen, session_of: Callable[[], Session]) -> None:
    screen.click(*WALL)
    screen.keys("b")
    stroke = [(500, 60), (560, 60), (560, 90)]
    screen.drag(stroke)
    painted = screen.joint
    assert all(painted[y, x] == 1 for x, y in stroke) and painted[75, 530] == 0
    assert painted[60 + 11, 530] == 1 and painted[60 + 14, 530] == 0  # the radius is 12 px
    assert screen.surface(1)["edited"]
    screen.keys("e")
    screen.drag([(500, 60), (510, 60)])
    assert screen.joint[60, 503] == 0
    screen.keys("c")
    screen.click(440, 250)
    assert len(screen.surface(1)["clicks"]) == 2
    fresh = session_of()
    fresh.click(fresh.add_surface("wall"), 440, 250)
    assert differing(screen.joint, fresh.joint) > 0  # the same click from nothing gives something else
    screen.keys("z", "z")
    assert differing(screen.joint, painted) == 0


def test_a_polygon_is_closed_by_enter_and_erases_with_shift(screen: Screen) -> None:
    screen.keys("g")
    for corner in ((100, 50), (200, 50), (200, 150)):
        screen.click(*corner)
    assert not screen.surfaces
    screen.keys("Backspace")
    screen.click(200, 150)
    screen.click(100, 150)
    screen.keys("Enter")
    assert screen.active == 1
    ys, xs = np.nonzero(screen.joint == 1)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (100, 200, 50, 150) and len(xs) == 101 * 101
    screen.click(120, 70, hold="\ue008")
    for corner in ((140, 70), (140, 90), (120, 90), (120, 70)):  # the last is the first: it closes
        screen.click(*corner)
    assert screen.joint[80, 130] == 0 and screen.joint[60, 110] == 1
    holes = screen.surface(1)["area_px"]
    screen.press("[aria-label^='Clean']")
    screen.fill("#clean-holes", "1000")
    screen.press("#clean button")
    assert screen.surface(1)["area_px"] == 101 * 101 > holes


def test_refine_in_view_asks_about_what_is_in_view(screen: Screen, session_of: Callable[[], Session]) -> None:
    screen.look_at(4, 514, 270)
    screen.keys("r")
    x, y, width, height = screen.js("return app.view.visibleBox()")
    screen.click(514, 265)
    joint = screen.joint
    inside = np.zeros_like(joint, bool)
    inside[y : y + height, x : x + width] = True
    assert (joint > 0).any() and not (joint[~inside] > 0).any()
    session = session_of()
    click = screen.surface(1)["clicks"][0]
    session.click(session.add_surface("tree"), click["x"], click["y"], region=Region(x, y, width, height))
    assert differing(joint, session.joint) == 0


def test_the_mask_without_a_modality_and_where_they_disagree(screen: Screen) -> None:
    screen.click(*WALL)
    screen.keys("2", "w")
    assert screen.js("return app.state.without.modality") == "thermal"
    assert "without thermal" in screen.text("#situation")
    box = screen.js("return app.state.without.outline.box")
    assert box[2] - box[0] > 20
    alone = screen.js("return app.scene.canvas.toDataURL().length")
    screen.keys("Shift+w")
    assert screen.js("return app.scene.isDifference && app.state.without !== null")
    assert screen.js("return app.scene.canvas.toDataURL().length") != alone
    screen.keys("Shift+w")
    assert screen.js("return app.state.without") is None and screen.text("#situation") == "Ready"
    screen.keys("w")
    screen.click(WALL[0] + 40, WALL[1])  # a click goes on with all modalities
    assert screen.js("return app.state.without") is None


def test_the_preview_follows_a_mouse_that_rests_and_is_no_click(screen: Screen) -> None:
    screen.js("app.commands.set({preview: true}); app.preview.lastClickMs = 1")
    screen.click(*CAR)
    screen.js("app.preview.lastClickMs = 1")  # as on a machine that is fast enough
    joint = screen.joint
    screen.point(*WALL)
    screen.wait("a preview", lambda: screen.js("return app.state.preview !== null"))
    assert len(screen.surface(1)["clicks"]) == 1 and differing(screen.joint, joint) == 0
    screen.point(WALL[0] + 50, WALL[1])
    assert screen.js("return app.preview.ticket") > 1
    screen.click(WALL[0] + 50, WALL[1])
    assert screen.js("return app.state.preview") is None and len(screen.surface(1)["clicks"]) == 2
