"""Two real servers behind the real nginx."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from mmms_client.contract import ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.transport import ModelStatistics
from mmms_client.triton import TritonTransport
from mmms_client.triton_predictor import read_contract
from mmms_server.process import ServerProcess

from . import proxy_process
from .proxy_process import ProxyProcess

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


def require(what: str, found: object) -> None:
    """Skip without a program; fail where CI must have it."""
    if not found:
        message = f"no {what} on this machine: apt-get install {what}"
        if os.environ.get("MMMS_REQUIRE_SERVER"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def nginx() -> None:
    require("nginx", proxy_process.nginx())
    require("openssl", shutil.which("openssl"))


@dataclass
class Fleet:
    """Servers, and the way to them."""

    servers: list[ServerProcess]
    proxy: ProxyProcess

    @cached_property
    def contract(self) -> ModelContract:
        transport = TritonTransport(self.servers[0].url)
        try:
            return read_contract(transport)
        finally:
            transport.close()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint.parse(self.proxy.url, str(self.proxy.certificate), str(self.proxy.token_file))

    def count(self, model: str = "backbone_fuser") -> list[ModelStatistics]:
        """What each server counted, asked without the proxy."""
        return [self.count_of(server, model) for server in self.servers]

    def count_of(self, server: ServerProcess, model: str = "backbone_fuser") -> ModelStatistics:
        transport = TritonTransport(server.url)
        try:
            return transport.statistics(model)
        finally:
            transport.close()

    def lookups(self) -> Callable[[], list[tuple[int, int]]]:
        """Hits and misses of each server's cache from now on."""
        before = self.count()

        def since() -> list[tuple[int, int]]:
            pairs = zip(before, self.count(), strict=True)
            return [(b.cache_hits - a.cache_hits, b.cache_misses - a.cache_misses) for a, b in pairs]

        return since


@pytest.fixture(scope="module")
def fleet(server_extra: None, nginx: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    servers = [ServerProcess(REPOSITORY, folder / f"triton-{n}.log") for n in range(2)]
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(ServerProcess.start, servers))
        with ProxyProcess(folder, [server.url for server in servers]) as proxy:
            yield Fleet(servers, proxy)
    finally:
        for server in servers:
            server.stop()
