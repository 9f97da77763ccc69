"""What must not lose work: the app killed, the server gone, the browser gone, requests refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.app_process import AppProcess
from browser.conftest import STREET, differing, folder_arguments
from browser.screen import Screen
from mmms_server.process import ServerProcess

REPOSITORY = STREET.parent.parent / "model_repository"


def test_kill_9_of_the_app_loses_nothing(tab: Screen, images: Path, nano_server: ServerProcess, tmp_path: Path) -> None:
    with AppProcess(tmp_path / "out", nano_server.url, folder_arguments(images)) as app:
        screen = tab
        screen.load(app.address)
        screen.click(240, 420)
        screen.click(118, 465)
        screen.keys("f")
        screen.click(400, 240)
        screen.keys("b")
        screen.drag([(300, 60), (360, 60)])
        screen.keys("z", "y")
        joint, surfaces = screen.joint, screen.surfaces
        app.kill()
        screen.wait("a word about it", lambda: "App gone" in screen.text("#situation"))
        assert differing(screen.joint, joint) == 0  # still to be seen
        app.start()
        screen.load(app.address)
        assert differing(screen.joint, joint) == 0
        assert screen.surfaces == surfaces
        screen.js("app.scene.canvas.focus()")
        screen.keys("z", "z")
        assert [surface["id"] for surface in screen.surfaces] == [1]  # undo goes on from before


@pytest.fixture
def own_server(server_extra: None, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that this test may end."""
    with ServerProcess(REPOSITORY, tmp_path / "triton.log") as server:
        yield server


def test_a_server_that_goes_and_comes_back(tab: Screen, own_server: ServerProcess, tmp_path: Path) -> None:
    arguments = [
        str(STREET / "rgb.png"),
        "--modality",
        f"thermal={STREET / 'thermal.png'}",
        "--modality",
        f"depth={STREET / 'depth.png'}",
    ]
    with AppProcess(tmp_path / "out", own_server.url, arguments) as app:
        screen = tab
        screen.load(app.address)
        screen.click(240, 420)
        joint = screen.joint
        own_server.kill()
        screen.wait("a word about it", lambda: screen.js("return app.state.server.server === 'gone'"), 60)
        screen.wait("it on the page", lambda: screen.find("#situation").get_attribute("data-kind") == "bad")
        assert differing(screen.joint, joint) == 0
        screen.keys("z", "y")  # undo needs no server
        assert differing(screen.joint, joint) == 0
        own_server.stop()
        own_server.start()
        screen.wait("the server again", lambda: screen.js("return app.state.server.server === 'ready'"), 60)
        screen.click(118, 465)
        assert len(screen.surface(1)["clicks"]) == 2 and differing(screen.joint, joint) > 0


def test_what_the_app_refuses_is_said_and_nothing_changes(
    tab: Screen, images: Path, nano_server: ServerProcess, tmp_path: Path
) -> None:
    with AppProcess(tmp_path / "out", nano_server.url, folder_arguments(images)) as app:
        screen = tab
        screen.load(app.address)
        screen.click(240, 420)
        screen.keys("k")
        joint = screen.joint
        screen.click(118, 465)
        [words] = screen.js("return [...document.querySelectorAll('.toast.error')].map((e) => e.dataset.text)")
        assert words.startswith("Expected") and "lock" in words
        assert differing(screen.joint, joint) == 0 and len(screen.surface(1)["clicks"]) == 1
        assert screen.find(".toast.error").get_attribute("role") == "alert"
        screen.press(".toast.error button")
        assert screen.js("return document.querySelectorAll('.toast').length") == 0
