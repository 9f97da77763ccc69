"""Fixtures that several rooms share: a real Triton server on free ports, and what to do when there is none."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import no_network
from mmms_server.process import ServerProcess

no_network.watch()
ROOT = Path(__file__).resolve().parent.parent
REPOSITORY = ROOT / "model_repository"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use a server fixture carry the marker, so that `-m "not server"` finds them all."""
    for item in items:
        if "nano_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)


@pytest.fixture(autouse=True)
def stays_on_this_machine() -> Iterator[None]:
    """What a test, or a library that swallows the error, asked another machine."""
    no_network.tried.clear()
    yield
    assert not no_network.tried, f"this test speaks to other machines: {no_network.tried}"


@pytest.fixture(scope="session")
def server_extra() -> None:
    """Skip, or fail where a server is required, when the [server] extra is missing."""
    if importlib.util.find_spec("pytriton") is None:
        message = "no Triton server in this environment: pip install 'mmms[server]'"
        if os.environ.get("MMMS_REQUIRE_SERVER"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def nano_server(server_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """The committed model repository on a real server, started once."""
    with ServerProcess(REPOSITORY, tmp_path_factory.mktemp("server") / "triton.log") as server:
        yield server
