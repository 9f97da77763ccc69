"""The page as a person has it: what can be seen, and what hands can do. It waits until things are so."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.mouse_button import MouseButton
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

WAIT_S = 20.0
T = TypeVar("T")

_JOINT = """
const {width, height, stride, labels} = app.state.labels.levels[0];
const rows = new Uint16Array(width * height);
for (let y = 0, at = stride + 1; y < height; y++, at += stride) rows.set(labels.subarray(at, at + width), y * width);
const bytes = new Uint8Array(rows.buffer);
let text = "";
for (let k = 0; k < bytes.length; k += 32768) text += String.fromCharCode(...bytes.subarray(k, k + 32768));
return [width, height, btoa(text)];
"""
_PIXELS = """
const [x, y, w, h] = arguments;
return Array.from(app.scene.context.getImageData(x, y, w, h).data);
"""
_QUIET = """
return app.state.isOpen && app.socket.waiting.size === 0 && app.state.pending.length === 0 && !app.scene.isScheduled &&
  app.state.waitingDraws.size === 0;
"""


class Screen:
    """A browser window with the page in it."""

    def __init__(self, driver: WebDriver) -> None:
        self.driver = driver

    # What is there ------------------------------------------------------------------------------------
    def js(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)  # type: ignore[no-untyped-call]

    def wait(self, what: str, look: Callable[[], T], timeout_s: float = WAIT_S) -> T:
        """Wait until ``look`` returns something true, and return it."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = look()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} did not happen in {timeout_s:g} s; the page says: {self.words()}")
            time.sleep(0.02)

    def words(self) -> str:
        return str(self.js("return document.body.innerText.slice(0, 1500)"))

    def settle(self) -> None:
        """Wait until every request was answered and the answer is painted."""
        self.wait("quiet", lambda: self.js(_QUIET))

    @property
    def surfaces(self) -> list[dict[str, Any]]:
        return list(self.js("return app.state.surfaces"))

    def surface(self, number: int) -> dict[str, Any]:
        return next(s for s in self.surfaces if s["id"] == number)

    @property
    def active(self) -> int | None:
        return self.js("return app.state.activeId")  # type: ignore[no-any-return]

    @property
    def joint(self) -> NDArray[np.uint16]:
        """The joint map that the page has, uint16 [H, W]."""
        width, height, text = self.js(_JOINT)
        return np.frombuffer(base64.b64decode(text), "<u2").reshape(height, width).copy()

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def pixels(self, x: float, y: float, radius: int = 0) -> NDArray[np.uint8]:
        """What is painted around an image position: uint8 [h, w, 4]."""
        sx, sy = (round(v) for v in self.on_canvas(x, y))
        side = 2 * radius + 1
        values = self.js(_PIXELS, sx - radius, sy - radius, side, side)
        return np.array(values, np.uint8).reshape(side, side, 4)

    def colour(self, x: float, y: float) -> tuple[int, int, int]:
        """The colour painted at an image position: red, green, blue."""
        r, g, b, _ = (int(v) for v in self.pixels(x, y)[0, 0])
        return r, g, b

    def value_at(self, name: str, x: float, y: float) -> float | None:
        """What the page says a sensor measured at an image position."""
        script = "return app.gallery.scalar(arguments[0]).valueAt(arguments[1], arguments[2])"
        width, height = self.js("return [app.state.image.width, app.state.image.height]")
        return self.js(script, name, (x + 0.5) / width, (y + 0.5) / height)  # type: ignore[no-any-return]

    def coloured(self, name: str, places: Sequence[tuple[int, int]]) -> list[list[int]]:
        """The colours that a sensor's window and colormap give at places, before any mask: red, green, blue."""
        script = """
        const context = app.gallery.scalar(arguments[0]).source(1).getContext("2d");
        return arguments[1].map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3));
        """
        return self.js(script, name, places)  # type: ignore[no-any-return]

    def look_at(self, scale: float, x: float, y: float) -> None:
        """Zoom, with an image position in the middle."""
        self.js("app.view.zoomTo(arguments[0], 0, 0); app.view.centreOn(arguments[1], arguments[2])", scale, x, y)
        self.js("app.scene.moved()")
        self.settle()

    # Hands --------------------------------------------------------------------------------------------
    def load(self, address: str) -> None:
        """Load the page, and wait until it shows an image and has a server."""
        self.driver.get(address)
        self.wait("the page", lambda: self.js("return Boolean(window.app?.state.document)"), 60)
        self.wait("a server", lambda: self.js("return app.state.server.server === 'ready'"), 60)
        self.settle()

    def open(self, index: int) -> None:
        """Open an image through the page."""
        self.js("void app.commands.open(arguments[0])", index)
        self.wait(
            f"image {index}",
            lambda: self.js("return app.state.image?.index === arguments[0] && app.state.document !== null", index),
        )
        self.wait("its picture", lambda: self.js("return app.gallery.picture('rgb') !== null"))
        self.settle()

    def open_name(self, name: str) -> None:
        """Open the image of a name."""
        self.open(self.js("return app.state.images.find((i) => i.name === arguments[0]).index", name))

    def on_canvas(self, x: float, y: float) -> tuple[float, float]:
        """Image pixels to CSS pixels of the canvas (its first pane)."""
        sx, sy = self.js("return app.view.toScreen(arguments[0], arguments[1])", x, y)
        return float(sx), float(sy)

    def in_window(self, x: float, y: float) -> tuple[int, int]:
        sx, sy = self.on_canvas(x, y)
        left, top = self.js("const b = app.scene.canvas.getBoundingClientRect(); return [b.left, b.top]")
        return round(sx + left), round(sy + top)

    def point(self, x: float, y: float) -> None:
        """Move the mouse to an image position."""
        self._pointer([("move", x, y)])

    def click(self, x: float, y: float, button: int = MouseButton.LEFT, hold: str | None = None) -> None:
        """Click on an image position and wait for the answer."""
        self._pointer([("move", x, y), ("down", button), ("up", button)], hold)
        self.settle()

    def drag(self, path: list[tuple[float, float]], button: int = MouseButton.LEFT, hold: str | None = None) -> None:
        """Drag over image positions and wait for what it does."""
        steps: list[Any] = [("move", *path[0]), ("down", button), *(("move", *p) for p in path[1:]), ("up", button)]
        self._pointer(steps, hold)
        self.settle()

    def _pointer(self, steps: list[Any], hold: str | None = None) -> None:
        actions = ActionBuilder(self.driver, duration=0)
        if hold:
            actions.key_action.key_down(hold)
            actions.pointer_action.pause(0)
        for step in steps:
            if step[0] == "move":
                actions.pointer_action.move_to_location(*self.in_window(step[1], step[2]))
            elif step[0] == "down":
                actions.pointer_action.pointer_down(step[1])
            else:
                actions.pointer_action.pointer_up(step[1])
            if hold:
                actions.key_action.pause(0)
        if hold:
            actions.key_action.key_up(hold)
        actions.perform()

    def keys(self, *chords: str) -> None:
        """Press keys, each alone or as "Shift+Tab", and wait for what they do."""
        names = {
            "Shift": Keys.SHIFT,
            "Ctrl": Keys.CONTROL,
            "Alt": Keys.ALT,
            "Tab": Keys.TAB,
            "Enter": Keys.ENTER,
            "Esc": Keys.ESCAPE,
        }
        names |= {"Left": Keys.LEFT, "Right": Keys.RIGHT, "Up": Keys.UP, "Down": Keys.DOWN, "Delete": Keys.DELETE}
        names |= {
            "Backspace": Keys.BACKSPACE,
            "Space": Keys.SPACE,
            "F6": Keys.F6,
            "F2": Keys.F2,
            "Home": Keys.HOME,
            "End": Keys.END,
        }
        for chord in chords:
            parts = [names.get(part, part) for part in chord.split("+")]
            actions = ActionBuilder(self.driver, duration=0)
            for part in parts:
                actions.key_action.key_down(part)
            for part in reversed(parts):
                actions.key_action.key_up(part)
            actions.perform()
        self.settle()

    def press(self, selector: str) -> None:
        """Click on an element of the page."""
        self.find(selector).click()
        self.settle()

    def fill(self, selector: str, text: str) -> None:
        """Type into a field and leave it with Enter."""
        field = self.find(selector)
        self.js("arguments[0].select()", field)
        field.send_keys(text, Keys.ENTER)
        self.js("app.scene.canvas.focus()")
        self.settle()

    def errors(self) -> list[str]:
        """Error messages on the page, and what the browser's console says went wrong."""
        toasts = self.js("return [...document.querySelectorAll('.toast.error')].map((e) => e.dataset.text)")
        logged = [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
        return [*toasts, *logged]
