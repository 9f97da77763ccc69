"""A page without a browser: speaks the app's socket, keeps what it was told, and an app as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

PATIENCE_S = 60.0


class RefusedError(Exception):
    """The app's error reply."""


class PageClient:
    """What a page knows: the document, the map from patches, and every message so far."""

    def __init__(self, http: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse, address: str) -> None:
        self.http, self.socket, self.address = http, socket, address
        self.messages: list[dict[str, Any]] = []
        self.masks: list[tuple[dict[str, Any], np.ndarray]] = []
        self.patches: list[dict[str, Any]] = []
        self.document: dict[str, Any] = {}
        self.image: dict[str, Any] = {}
        self.status: dict[str, Any] = {}
        self.hello: dict[str, Any] = {}
        self.joint: np.ndarray | None = None
        self.under_way = ""  # for whoever kills the app: what it was doing
        self._replies: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._seq = itertools.count(1)
        self._news = asyncio.Condition()
        self.listening = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        async for message in self.socket:
            if message.type is aiohttp.WSMsgType.BINARY:
                self._take_binary(message.data)
            else:
                self._take(json.loads(message.data))
            async with self._news:
                self._news.notify_all()
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ConnectionError("the app closed the socket"))
        async with self._news:
            self._news.notify_all()

    def _take(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        kind = message["type"]
        if kind in ("document", "image", "status", "hello"):
            setattr(self, kind, message)
        if kind == "hello":
            self.status = message["status"]
        if kind == "reply" and message["re"] in self._replies:
            self._replies[message["re"]].set_result(message)

    def _take_binary(self, data: bytes) -> None:
        (length,) = struct.unpack("<I", data[:4])
        head, body = json.loads(data[4 : 4 + length]), data[4 + length :]
        if head["coding"] == "deflate":
            body = zlib.decompress(body)
        x, y, width, height = (head[name] for name in ("x", "y", "width", "height"))
        if head["type"] == "patch":
            part = np.frombuffer(body, "<u2").reshape(height, width)
            if self.image["index"] == head["image"] and (self.joint is None or (width, height) == self.size):
                self.joint = np.zeros(self.size[::-1], np.uint16)
            self.joint[y : y + height, x : x + width] = part
            self.patches.append(head)
        else:
            self.masks.append((head, np.frombuffer(body, np.uint8).reshape(height, width)))

    @property
    def size(self) -> tuple[int, int]:
        return self.image["width"], self.image["height"]

    def start(self, op: str, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Send an op; the future is its reply, whatever it says."""
        seq = next(self._seq)
        reply = self._replies[seq] = asyncio.get_running_loop().create_future()
        self.sending = asyncio.ensure_future(self.socket.send_str(json.dumps({"seq": seq, "op": op, **fields})))
        return reply

    async def op(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send an op and wait for its reply. Raises :class:`RefusedError` with the app's text."""
        reply = await asyncio.wait_for(self.start(op, **fields), PATIENCE_S)
        if not reply["ok"]:
            raise RefusedError(reply["error"])
        return reply

    async def until(self, is_so: Any) -> None:
        """Wait until something holds that messages bring about."""

        async def wait() -> None:
            async with self._news:
                await self._news.wait_for(lambda: self.listening.done() or is_so())

        await asyncio.wait_for(wait(), PATIENCE_S)
        assert is_so()

    def surface(self, number: int) -> dict[str, Any]:
        return next(s for s in self.document["surfaces"] if s["id"] == number)

    async def get(self, path: str, **more: Any) -> tuple[int, bytes, Any]:
        async with self.http.get(self.address + path, **more) as response:
            return response.status, await response.read(), response.headers


def origin_of(address: str) -> str:
    found = re.match(r"http://[^/]+", address)
    assert found
    return found[0]


@asynccontextmanager
async def page_at(address: str) -> AsyncIterator[PageClient]:
    """A page that has said nothing but knows the hello."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(address + "api/socket", origin=origin_of(address), max_msg_size=0) as socket,
    ):
        page = PageClient(http, socket, address)
        await page.until(lambda: page.hello)
        yield page
        await socket.close()
        await page.listening


class AppProcess:
    """``mmms-client annotate`` as a process, so that it can be killed."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "mmms_client", "annotate", *(os.fspath(a) for a in arguments), "--no-browser"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self.address = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("open "):
                self.address = line.split()[1]
                break

    def __enter__(self) -> AppProcess:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        self.process.stdout.close()
