"""``annotate --metrics``: the app's counters where Prometheus reads them."""

from __future__ import annotations

from aiohttp import web

from mmms_client.annotate.metrics import CONTENT_TYPE, Metrics
from mmms_client.errors import UsageError


class MetricsServer:
    """``/metrics`` on an address of its own: whoever scrapes needs no way into the app."""

    def __init__(self, metrics: Metrics, address: str) -> None:
        """Not listening yet. Raises :class:`UsageError` unless ``address`` is ``host:port``."""
        self.host, separator, port = address.rpartition(":")
        if not (separator and self.host and port.isdecimal() and int(port) < 1 << 16):
            raise UsageError(
                f"Expected --metrics HOST:PORT but got {address!r}; write for example --metrics 127.0.0.1:9464."
            )
        self.port = int(port)
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises :class:`UsageError` for an address that is taken or not ours."""
        app = web.Application()
        app.router.add_get("/metrics", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.host, self.port).start()
        except OSError as error:
            await self.close()
            raise UsageError(
                f"Expected {self.host}:{self.port} to be free for --metrics but got {error.strerror or error!s}; give "
                "another one."
            ) from error
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self._metrics.text().encode(), headers={"Content-Type": CONTENT_TYPE})
