"""The app in a real browser, next to a page that wants something from it: other origins, rebound names, the CSP.

The hostile page knows the whole address, token included: that is the worst that can leak (a shared screenshot, a
history). Its name is mapped to 127.0.0.1, so nothing but the app itself is in its way.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from browser.app_process import AppProcess
from browser.conftest import FLAGS
from browser.screen import Screen
from deploy.conftest import require
from mmms_server.process import ServerProcess

STREET = Path(__file__).resolve().parents[2] / "samples" / "street"
EVIL, REBOUND = "evil.test", "rebound.test"

pytestmark = [pytest.mark.browser, pytest.mark.server]

# Each way resolves to what came through: a text, or null for nothing.
WAYS = """
const [address, done] = arguments;
const later = (seconds) => new Promise((resolve) => setTimeout(() => resolve(null), 1000 * seconds));
const element = (tag, field, url) => new Promise((resolve) => {
  const made = document.createElement(tag);
  made.onload = () => resolve(tag + " loaded");
  made.onerror = () => resolve(null);
  if (tag === "link") made.rel = "stylesheet";
  made[field] = url;
  document.body.append(made);
});
const socketTo = (url) => new Promise((resolve) => {
  const socket = new WebSocket(url);
  socket.onmessage = (event) => resolve("socket said " + String(event.data).slice(0, 40));
  socket.onclose = () => resolve(null);
});
const frame = async (url) => {
  const made = document.createElement("iframe");
  const loaded = new Promise((resolve) => { made.onload = resolve; });
  made.src = url;
  document.body.append(made);
  await Promise.race([loaded, later(3)]);
  try { return made.contentDocument.getElementById("top") ? "frame is readable" : null; } catch { return null; }
};
const framed = async (url) => {
  const made = document.createElement("iframe");
  const loaded = new Promise((resolve) => { made.onload = resolve; });
  made.src = url;
  document.body.append(made);
  await Promise.race([loaded, later(3)]);
  return made.contentWindow.length ? "frame has frames" : null;
};
const opened = async (url) => {
  const made = window.open(url, "_blank");
  if (!made) return null;
  await later(1.5);
  try { return made.app || made.document.getElementById("top") ? "window is readable" : null; } catch { return null; }
  finally { made.close(); }
};
const fetched = async (url, options) => {
  try {
    const answer = await fetch(url, options);
    return answer.ok ? "fetched " + (await answer.text()).length : null;
  } catch { return null; }
};
const socket = address.replace("http:", "ws:") + "api/socket";
const picture = address + "api/images/0/thumbnail";
const ways = {
  "fetch": fetched(picture),
  "fetch with cookies": fetched(picture, { credentials: "include" }),
  "post": fetched(picture, { method: "POST", body: "x" }),
  "picture": element("img", "src", picture),
  "page's script": element("script", "src", address + "static/main.js"),
  "page's style": element("link", "href", address + "static/style.css"),
  "socket": socketTo(socket),
  "frame": frame(address),
  "frames in frame": framed(address),
  "window": opened(address),
};
(async () => {
  const found = {};
  for (const [name, way] of Object.entries(ways)) found[name] = await Promise.race([way, later(8)]);
  done(found);
})();
"""
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(event.effectiveDirective + " " + event.blockedURI);
});
"""
_BREAK = """
const done = arguments[arguments.length - 1];
const script = document.createElement("script");
script.textContent = "window.injected = true";
document.body.append(script);
const style = document.createElement("style");
style.textContent = "body { opacity: 0 }";
document.head.append(style);
const picture = document.createElement("img");
picture.src = "http://evil.test/x.png";
document.body.append(picture);
const button = document.createElement("button");
button.setAttribute("onclick", "window.injected = true");
document.body.append(button);
button.click();
const frame = document.createElement("iframe");
frame.src = "http://evil.test/";
document.body.append(frame);
fetch("http://evil.test/x").catch(() => 0);
let evaluated = null;  // later: what the driver itself runs may evaluate whatever the policy says
setTimeout(() => { try { evaluated = eval("1 + 1"); } catch { } }, 50);
setTimeout(() => done([window.injected === true, evaluated, window.violations]), 700);
"""


class _Page(BaseHTTPRequestHandler):
    """The hostile site: one empty page, at every path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>evil</title><body></body>")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Not into the tests' output."""


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """The port of the hostile site on 127.0.0.1."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Screen]:
    """A browser that takes the names of the hostile sites for 127.0.0.1, as after a rebinding."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    require("chromium", browser and shutil.which("chromedriver"))
    options = Options()
    options.binary_location = str(browser)
    names = f"MAP {EVIL} 127.0.0.1, MAP {REBOUND} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
    options.add_argument(f"--host-resolver-rules={names}")
    options.add_argument("--disable-popup-blocking")
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(60)
    yield Screen(driver)
    driver.quit()


@pytest.fixture(scope="module")
def app(nano_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    sensors = [text for name in ("thermal", "depth") for text in ("-m", f"{name}={STREET / f'{name}.png'}")]
    out = tmp_path_factory.mktemp("app") / "out"
    with AppProcess(out, nano_server.url, [str(STREET / "rgb.png"), *sensors]) as process:
        yield process


def ways(screen: Screen, address: str) -> dict[str, str | None]:
    """What the page in the browser gets out of the app at ``address``, by every way that a page has."""
    driver = screen.driver
    here = driver.current_window_handle
    found: dict[str, str | None] = driver.execute_async_script(WAYS, address)  # type: ignore[no-untyped-call]
    for other in set(driver.window_handles) - {here}:  # one that its opener lost sight of, and could not close
        driver.switch_to.window(other)
        driver.close()
    driver.switch_to.window(here)
    driver.execute_cdp_cmd("Page.bringToFront", {})
    return found


def test_a_page_of_another_origin_gets_nothing(screen: Screen, app: AppProcess, site: int, figures) -> None:
    screen.load(app.address)
    own = ways(screen, app.address)
    assert {name for name, got in own.items() if got} == {
        "fetch", "fetch with cookies", "picture", "page's script", "page's style", "socket", "window"
    }, own  # the ways work: what another page does not get is not for want of trying  # fmt: skip
    origins = [f"http://{host}:{site}" for host in (EVIL, "127.0.0.1", "localhost")]
    for origin in origins:
        screen.driver.get(f"{origin}/")
        got = ways(screen, app.address)
        assert len(got) == len(own) and not any(got.values()), f"{origin}: {got}"
        assert screen.js("return document.title") == "evil"
    screen.load(app.address)
    screen.click(240, 420)
    assert len(screen.surfaces) == 1, "and the app goes on"
    figures("exposure-origins", other_origins=len(origins), ways_tried_by_each=len(own), ways_that_got_something=0)


def test_a_rebound_name_is_a_stranger(screen: Screen, app: AppProcess) -> None:
    """A name that pointed elsewhere when its page was loaded, and points here now: the same origin for the browser."""
    rebound = app.address.replace("127.0.0.1", REBOUND)
    screen.driver.get(rebound)
    assert screen.js("return document.body.innerText").strip() == "404: Not Found"
    got = ways(screen, rebound)
    assert not any(got.values()), got


def test_a_link_on_another_site_does_not_open_the_app(screen: Screen, app: AppProcess, site: int) -> None:
    screen.driver.get(f"http://{EVIL}:{site}/")
    screen.js(
        "const a = document.createElement('a'); a.href = arguments[0]; document.body.append(a); a.click()", app.address
    )
    screen.wait("an answer", lambda: screen.driver.current_url.startswith(app.address))
    screen.wait("a refusal", lambda: "404: Not Found" in screen.js("return document.body.innerText"))


def test_all_work_is_done_under_the_policy(screen: Screen, app: AppProcess) -> None:
    """Clicks, tools, sensors, dialogs, themes and an export, and the policy was never in the way."""
    watch = screen.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
    screen.load(app.address)
    screen.errors()
    screen.click(240, 420)
    for key in ("f", "2", "3", "v", "m", "m", "m", "1", "w", "W", "w", "p", "p", "j", "j", "b", "e", "g", "c", "0"):
        screen.keys(key)
    screen.keys("r", "r", "l", "Esc", "h", "Esc")
    for panel in ("surfaces", "images", "view"):
        screen.js("app.showPanel(arguments[0])", panel)
    for _ in range(2):
        screen.press("[data-action='theme']")
    screen.press("[data-action='export']")
    screen.wait("the report", lambda: screen.find("#export-write").is_enabled())
    screen.press("#export-write")
    screen.wait("files", lambda: "Written" in screen.text("#written"))
    screen.keys("Esc")
    assert screen.js("return window.violations") == []
    assert not [line for line in screen.errors() if "Content Security Policy" in str(line)]
    screen.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", watch)


def test_the_policy_stops_what_is_injected(screen: Screen, app: AppProcess) -> None:
    watch = screen.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
    screen.load(app.address)
    was_run, evaluated, seen = screen.driver.execute_async_script(_BREAK)  # type: ignore[no-untyped-call]
    assert not was_run and evaluated is None
    stopped = {line.split()[0] for line in seen}
    assert {"script-src-elem", "script-src-attr", "style-src-elem", "img-src", "connect-src"} <= stopped
    assert {"default-src", "frame-src"} & stopped and "script-src" in stopped, seen
    screen.errors()
    screen.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", watch)
