"""Everything by keyboard, every key shown and changeable, and words for those who do not see the canvas."""

from __future__ import annotations

import numpy as np

from browser.screen import Screen


def test_a_surface_from_first_click_to_export_without_a_pointer(screen: Screen) -> None:
    screen.keys("Down", "Down", "Down", "Left")
    x, y = screen.js("return app.scene.cursor")
    assert screen.text("#spoken").startswith(f"{round(x)}, {round(y)}")
    screen.keys("Shift+Right")
    assert screen.js("return app.scene.cursor") == [x + 1, y]
    screen.keys("Enter")
    assert screen.surface(1)["clicks"] == [{"x": round(x + 1, 2), "y": round(y, 2), "positive": True}]
    screen.keys("Up", "Up", "Shift+Enter")
    assert [c["positive"] for c in screen.surface(1)["clicks"]] == [True, False]
    screen.keys("f", "Up", "Up", "Up", "Up", "Enter")
    assert screen.active == 2
    screen.keys("Tab")
    assert screen.active == 1
    screen.keys("Shift+Tab", "k")
    assert screen.surface(2)["locked"]
    screen.keys("k", "Shift+i")
    assert not screen.surface(2)["visible"]
    screen.keys("Shift+i", "Ctrl+Up")
    assert [s["id"] for s in screen.surfaces] == [2, 1]
    screen.keys("Delete")
    assert [s["id"] for s in screen.surfaces] == [1]
    screen.keys("Ctrl+s")
    assert screen.find("#export-dialog").get_attribute("open") is not None
    screen.wait("the loss report", lambda: screen.find("#export-write").is_enabled())
    screen.keys("Esc")
    assert screen.js("return document.activeElement.id") == "canvas"


def test_space_finishes_and_space_with_a_drag_pans(screen: Screen) -> None:
    screen.click(240, 420)
    assert screen.active == 1
    screen.keys("Space")
    assert screen.active is None
    x = screen.js("return app.view.x")
    screen.drag([(300, 300), (360, 300)], hold="\ue00d")
    assert screen.js("return app.view.x") > x + 40 and len(screen.surfaces) == 1


def test_help_lists_every_action_and_a_key_is_given_to_another(screen: Screen) -> None:
    screen.keys("h")
    listed = screen.js("return [...document.querySelectorAll('#shortcuts [data-action]')].map((e) => e.dataset.action)")
    assert sorted(listed) == sorted(screen.js("return app.keys.actions.map((a) => a.id)"))
    screen.find("#shortcuts [data-action='tool-brush']").click()
    screen.keys("q")
    assert screen.text("#shortcuts [data-action='tool-brush']") == "Q"
    screen.keys("h")
    assert screen.find("#help-dialog").get_attribute("open") is None
    screen.keys("q")
    assert screen.js("return app.tools.current.name") == "brush"
    screen.keys("c", "b")
    assert screen.js("return app.tools.current.name") == "click"  # the usual key is free now
    assert "(Q)" in screen.find("[data-action='tool-brush']").get_attribute("aria-label")
    index = screen.js("return app.state.image.index")
    screen.driver.refresh()
    screen.wait("the page again", lambda: screen.js("return Boolean(window.app?.state.document)"))
    screen.open(index)
    screen.keys("q")
    assert screen.js("return app.tools.current.name") == "brush"
    screen.keys("h")
    screen.press("#reset-keys")
    screen.keys("Esc")
    screen.keys("b", "c", "q")
    assert screen.js("return app.tools.current.name") == "click"


def test_typing_a_name_is_no_shortcut(screen: Screen) -> None:
    screen.click(240, 420)
    screen.keys("F2")
    assert screen.js("return document.activeElement.id") == "surface-name"
    field = screen.find("#surface-name")
    field.send_keys("bxz 12 dfh")
    assert screen.js("return [app.tools.current.name, app.layout.first]") == ["click", "rgb"]
    screen.keys("Enter")
    assert screen.surface(1)["name"] == "bxz 12 dfh"
    assert screen.js("return document.activeElement.id") == "canvas"


def test_f2_writes_over_the_name_from_the_list_and_before_anything_is_drawn(screen: Screen) -> None:
    screen.click(240, 420)
    screen.keys("f")
    screen.click(60, 60)
    chosen = """
    const field = document.getElementById("surface-name");
    return [document.activeElement === field, field.value, field.selectionStart, field.selectionEnd];
    """
    names = {number: screen.surface(number)["name"] for number in (1, 2)}
    for number, place in ((1, "#canvas"), (2, "#surfaces")):
        script = f"""
        document.getElementById("canvas").focus();
        app.state.activate({number});
        const key = new KeyboardEvent("keydown", {{ key: "F2", bubbles: true, cancelable: true }});
        document.querySelector("{place}").dispatchEvent(key);
        """
        assert screen.js(script + chosen) == [True, names[number], 0, len(names[number])]


def test_f6_goes_round_and_every_control_has_a_name(screen: Screen) -> None:
    script = """
    return ["tools", "tabs", "panel", "stage"].find((id) =>
      document.getElementById(id).contains(document.activeElement));
    """
    seen = []
    for _ in range(4):
        screen.keys("F6")
        seen.append(screen.js(script))
    assert seen == ["tools", "tabs", "panel", "stage"]
    nameless = screen.js("""
    return [...document.querySelectorAll("button, input, select, [role=listbox], canvas[tabindex]")]
      .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.getAttribute("aria-labelledby")))
      .map((e) => e.outerHTML);
    """)
    assert nameless == []


def test_the_list_is_a_listbox_that_arrows_walk(screen: Screen) -> None:
    for x in (60, 160, 260):
        screen.keys("g")
        for corner in ((x, 50), (x + 40, 50), (x + 40, 90)):
            screen.click(*corner)
        screen.keys("Enter", "f")
    screen.js("document.getElementById('surfaces').focus()")
    screen.keys("Home")
    assert screen.active == 1
    screen.keys("Down")
    assert screen.active == 2
    row = screen.find("#surfaces [aria-selected='true']")
    assert row.get_attribute("aria-posinset") == "2" and row.get_attribute("aria-setsize") == "3"
    assert "Surface 2" in row.get_attribute("aria-label")
    screen.keys("Enter")
    x, y, w, h = screen.js("return app.view.visibleBox()")
    ys, xs = np.nonzero(screen.joint == 2)
    assert x <= xs.min() and xs.max() < x + w and y <= ys.min() and ys.max() < y + h and w < 640


def test_a_class_is_renamed_coloured_and_chosen_by_its_key(screen: Screen) -> None:
    screen.click(240, 420)
    first = screen.surface(1)["class"]
    screen.keys("Shift+k")
    name, key = screen.js("return [...document.querySelectorAll('.class-row:first-child input[type=text]')]")
    assert name.get_attribute("value") == first
    name.clear()
    name.send_keys("van")
    key.send_keys("q")
    screen.press("#another-class")
    screen.driver.switch_to.active_element.send_keys("cloud")
    screen.press("#classes-form [type=submit]")
    screen.wait("the new name", lambda: screen.surface(1)["class"] == "van")
    assert [c["name"] for c in screen.js("return app.state.classes")][-1] == "cloud"
    screen.js("app.scene.canvas.focus()")
    screen.press("#classes .chip:last-child")
    assert screen.surface(1)["class"] == "cloud"
    screen.js("app.scene.canvas.focus()")
    screen.keys("q")
    assert screen.surface(1)["class"] == "van"
    screen.keys("u")
    van = screen.js("return app.state.classes[0].colour")
    assert screen.js("return app.state.colourOf(app.state.active)") == van
    screen.keys("u")
