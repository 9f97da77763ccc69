"""A real browser on the real app in front of the real server: one of each for all tests, an image for each test."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from browser.app_process import AppProcess
from browser.screen import Screen
from mmms_client import Session, TritonPredictor, open_inputs
from mmms_server.process import ServerProcess

STREET = Path(__file__).resolve().parent.parent.parent / "samples" / "street"
HOSTILE = ["a b.png", "ümläut 雪.png", 'it\'s "quoted".png', "<img src=x onerror=alert(1)>.png", "100%25 &amp; #?.png"]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-device-scale-factor=1",
    "--window-size=1280,863",  # 1280 x 720 for the page
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).resolve().parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> tuple[str, str]:
    """The browser and its driver; without them a skip, or a failure where a server is required."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        message = "no Chromium with its chromedriver here: apt-get install chromium chromium-driver"
        if os.environ.get("MMMS_REQUIRE_SERVER"):
            pytest.fail(message)
        pytest.skip(message)
    return browser, driver


@pytest.fixture(scope="session")
def driver(chromium: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """The browser, with a profile of its own."""
    options = Options()
    options.binary_location = chromium[0]
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(chromium[1]))
    started.set_script_timeout(30)
    yield started
    started.quit()


@pytest.fixture
def tab(driver: webdriver.Chrome) -> Iterator[Screen]:
    """A tab of its own, for a test that starts an app of its own."""
    before = driver.current_window_handle
    driver.switch_to.new_window("tab")
    yield Screen(driver)
    driver.close()
    driver.switch_to.window(before)
    driver.get_log("browser")  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with thermal and depth beside it; the same street under many names."""
    root = tmp_path_factory.mktemp("images")
    names = [*HOSTILE, *(f"street {k}.png" for k in range(60))]
    for kind, source in (("rgb", "rgb.png"), ("thermal", "thermal.png"), ("depth", "depth.png")):
        (root / kind).mkdir()
        for name in names:
            shutil.copyfile(STREET / source, root / kind / name)
    shutil.copyfile(STREET / "modalities.json", root / "modalities.json")
    (root / "classes.txt").write_text("vehicle #ff9500\nbuilding #00a8ff\nplant\n")
    return root


def folder_arguments(images: Path) -> list[str]:
    """The command line for the folder of images."""
    modalities = [f"{name}={images / name}" for name in ("thermal", "depth")]
    return [
        str(images / "rgb"),
        "--modality",
        modalities[0],
        "--modality",
        modalities[1],
        "--classes",
        str(images / "classes.txt"),
    ]


@pytest.fixture(scope="session")
def app(
    chromium: tuple[str, str], images: Path, nano_server: ServerProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AppProcess]:
    with AppProcess(tmp_path_factory.mktemp("app") / "out", nano_server.url, folder_arguments(images)) as process:
        yield process


@pytest.fixture(scope="session")
def window(driver: webdriver.Chrome, app: AppProcess) -> Screen:
    """The page, on its first image."""
    screen = Screen(driver)
    screen.load(app.address)
    return screen


_numbers = itertools.count()
_AS_AT_FIRST = """
app.commands.set({panel: "surfaces", tags: false, patterns: false, preview: false, fill: 0.34, windows: {}});
app.chooseTool("click");
app.chooseSign(false);
app.gallery.loaded.clear();
if (app.scene.isCrisp) app.togglePixels();
if (app.isRefining) app.toggleRefine();
app.layout.first = "rgb";
app.arrange("single");
app.scene.areMasksHidden = false;
document.querySelectorAll("dialog[open]").forEach((dialog) => dialog.close());
document.querySelectorAll(".toast").forEach((toast) => toast.remove());
"""


@pytest.fixture
def screen(window: Screen) -> Iterator[Screen]:
    """The page on an image that no other test has touched, with everything as at first."""
    window.js(_AS_AT_FIRST)
    window.open_name(f"street {next(_numbers)}.png")
    window.js("app.view.fit(); app.scene.canvas.focus(); app.scene.invalidate()")
    window.errors()
    yield window
    assert window.errors() == []


@pytest.fixture(scope="session")
def session_of(nano_server: ServerProcess) -> Iterator[Callable[[], Session]]:
    """The same image through the Python API: what the page must show."""
    with TritonPredictor.connect(nano_server.url) as predictor:
        paths = {name: str(STREET / f"{name}.png") for name in ("thermal", "depth")}
        inputs = open_inputs(predictor.contract, str(STREET / "rgb.png"), paths)
        yield lambda: Session(predictor, inputs.image, inputs.modalities)


def differing(one: np.ndarray, other: np.ndarray) -> int:
    """How many pixels of two maps differ."""
    return int((one != other).sum())
