"""The app's web server: addresses, who may speak to it, and the files of the page.

It listens on 127.0.0.1 only, and still trusts nobody there: every address begins with a random token, the Host
header must be its own (a page of another site that rebinds its name to 127.0.0.1 sends another), and so must the
Origin of whoever sends one; the socket must have one. The browser that the app starts comes in by an address that is
good for one visit (:mod:`mmms_client.annotate.way_in`).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import PurePosixPath

from aiohttp import web

from mmms_client.annotate.page import MAX_MESSAGE_BYTES, Page
from mmms_client.annotate.pictures import image_bytes, thumbnail_bytes
from mmms_client.annotate.way_in import page_leading_to
from mmms_client.annotate.workplace import Workplace
from mmms_client.errors import DataError, MMMSError, UsageError, printable

HOST = "127.0.0.1"
_TOKEN_BYTES = 32
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
_log = logging.getLogger("mmms_client")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AnnotateServer:
    """The app on a port of 127.0.0.1."""

    def __init__(self, workplace: Workplace, port: int = 0) -> None:
        self.workplace, self.port = workplace, port
        self.token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._code = ""  # of the way in that was not taken yet
        self._runner: web.AppRunner | None = None
        self._thumbnails = ThreadPoolExecutor(1, "thumbnails")  # each takes the memory of a whole picture
        self._sockets: set[web.WebSocketResponse] = set()

    @property
    def address(self) -> str:
        return f"http://{HOST}:{self.port}/{self.token}/"

    def way_in(self) -> str:
        """A page that brings one browser here, once; keep it where nobody else can read it."""
        self._code = secrets.token_urlsafe(_TOKEN_BYTES)
        return page_leading_to(f"http://{HOST}:{self.port}/open/{self._code}")

    @property
    def is_way_in_taken(self) -> bool:
        return not self._code

    async def start(self) -> None:
        """Listen, connect, encode. Raises :class:`UsageError` for a port that is taken."""
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=2.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise UsageError(
                f"Expected port {self.port} of {HOST} to be free but got {error.strerror or error!s}; give another "
                f"--port, or none."
            ) from error
        self.port = int(self._runner.addresses[0][1])
        self.workplace.start()

    async def close(self) -> None:
        """Say goodbye to the pages, write the results, stop."""
        for socket in list(self._sockets):
            await socket.close(code=1001)
        await self.workplace.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._thumbnails.shutdown(wait=False, cancel_futures=True)

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_MESSAGE_BYTES)
        app.router.add_get("/open/{code}", self._open)
        app.router.add_get("/{token}/", self._index)
        app.router.add_get("/{token}/static/{name:.+}", self._static)
        app.router.add_get(r"/{token}/api/images/{index:\d{1,9}}/rgb", self._rgb)
        app.router.add_get(r"/{token}/api/images/{index:\d{1,9}}/thumbnail", self._thumbnail)
        app.router.add_get(r"/{token}/api/images/{index:\d{1,9}}/modality/{name}", self._modality)
        app.router.add_get("/{token}/api/socket", self._socket)
        return app

    # Who may speak ------------------------------------------------------------------------------------
    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse strangers; put the headers on every answer."""
        try:
            if not self._is_ours(request):
                raise web.HTTPNotFound
            response = await handler(request)
        except web.HTTPException as refusal:
            response = web.Response(status=refusal.status, text=f"{refusal.status}: {refusal.reason}\n")
        except MMMSError as error:
            response = web.Response(status=422, text=f"{error}\n")
        except Exception as error:  # noqa: BLE001 - a fault of ours leaves no answer without the headers
            _log_fault(error)
            response = web.Response(status=500, text="500: a fault in mmms; the terminal says which.\n")
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _is_ours(self, request: web.Request) -> bool:
        hosts = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        origin = request.headers.get("Origin")
        return (
            request.headers.getall("Host", []) in [[host] for host in hosts]
            and (origin is None or origin == f"http://{request.headers['Host']}")
            and (self._knows_token(request) or self._knows_code(request))
        )

    def _knows_token(self, request: web.Request) -> bool:
        is_own = request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        return is_own and _are_same(request.match_info.get("token", ""), self.token)

    def _knows_code(self, request: web.Request) -> bool:
        """Comes from our file. What a file leads to is cross-site for a browser, so that is no reason to refuse it."""
        return bool(self._code) and _are_same(request.match_info.get("code", ""), self._code)

    async def _open(self, request: web.Request) -> web.Response:
        """Exchange the code for the token, once."""
        self._code = ""
        return web.Response(text=page_leading_to(self.address), content_type="text/html")

    # Files of the page --------------------------------------------------------------------------------
    async def _index(self, request: web.Request) -> web.Response:
        return _page_file("index.html")

    async def _static(self, request: web.Request) -> web.Response:
        return _page_file(request.match_info["name"])

    # Pictures -----------------------------------------------------------------------------------------
    async def _rgb(self, request: web.Request) -> web.Response:
        image = await self.workplace.image(self._index_of(request))
        data, kind = await asyncio.to_thread(image_bytes, image.file.path, image.pictures.image, self.workplace.reading)
        return web.Response(body=data, content_type=kind)

    async def _thumbnail(self, request: web.Request) -> web.Response:
        file = self.workplace.project.images[self._index_of(request)]
        work = functools.partial(thumbnail_bytes, file.path, self.workplace.reading)
        data = await asyncio.get_running_loop().run_in_executor(self._thumbnails, work)
        return web.Response(body=data, content_type="image/jpeg")

    async def _modality(self, request: web.Request) -> web.Response:
        image = await self.workplace.image(self._index_of(request))
        for modality in image.pictures.modalities:
            if modality.name == request.match_info["name"]:
                if modality.values is None:
                    raise DataError(modality.error or "")
                data, kind = await asyncio.to_thread(modality.coded)
                return web.Response(body=data, content_type=kind)
        raise web.HTTPNotFound

    def _index_of(self, request: web.Request) -> int:
        index = int(request.match_info["index"])
        if index >= len(self.workplace.project.images):
            raise web.HTTPNotFound
        return index

    # The socket ---------------------------------------------------------------------------------------
    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if "Origin" not in request.headers:
            raise web.HTTPForbidden
        socket = web.WebSocketResponse(max_msg_size=MAX_MESSAGE_BYTES, heartbeat=20.0, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await Page(self.workplace, socket).serve()
        except Exception as error:  # noqa: BLE001 - an open socket takes no other answer any more
            _log_fault(error)
        finally:
            self._sockets.discard(socket)
        return socket


def _log_fault(error: Exception) -> None:
    _log.error("a request failed: %s: %s; this is a fault in mmms", type(error).__name__, printable(str(error)))


def _are_same(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), secret.encode("ascii"))


def _page_file(name: str) -> web.Response:
    """A file that ships with the page, by its path below ``static``; nothing else has a name here."""
    root = resources.files("mmms_client.annotate") / "static"
    parts = PurePosixPath(name).parts
    kind = _TYPES.get(PurePosixPath(name).suffix)
    if kind is None or any(part in ("..", "/", "") or "\\" in part or part.startswith(".") for part in parts):
        raise web.HTTPNotFound
    file = root.joinpath(*parts)
    try:
        is_there = file.is_file()
    except (OSError, ValueError):  # a name that no file can have
        is_there = False
    if not is_there:
        raise web.HTTPNotFound
    text = kind.startswith("text/") or kind in ("application/json", "image/svg+xml")
    return web.Response(body=file.read_bytes(), content_type=kind, charset="utf-8" if text else None)
