"""One page's socket: what it asks, in order; what it is told, in order; and what nobody waits for any more."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from functools import partial
from typing import Any

from aiohttp import WSMsgType, web

from mmms_client.annotate.document import Message
from mmms_client.annotate.open_image import OpenImage
from mmms_client.annotate.operations import Operations, read_op
from mmms_client.annotate.workplace import Workplace
from mmms_client.errors import MMMSError, UsageError
from mmms_client.json_text import parse_json

MAX_MESSAGE_BYTES = 1 << 20
_MOST_WAITING = 2000  # messages that a page has not taken yet, before it is given up
_MOST_RUNNING = 200  # ops of one page under way
_IDLE_OPS = ("preview", "without")  # that a click or a newer one of the same kind makes pointless
_STOPPERS = ("click", "cancel", "undo", "redo", "open")
_log = logging.getLogger("mmms_client")


class Page:
    """A page as the workplace sees it."""

    def __init__(self, workplace: Workplace, socket: web.WebSocketResponse) -> None:
        self.image: OpenImage | None = None
        self._workplace, self._socket = workplace, socket
        self._operations = Operations(workplace, self)
        self._outbox: asyncio.Queue[Message | bytes | None] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._idle: dict[str, asyncio.Task[None]] = {}

    def send(self, message: Message | bytes) -> None:
        """Queue a message. A page that takes none for long is given up; it comes back and asks for all of it."""
        if self._outbox.qsize() < _MOST_WAITING:
            self._outbox.put_nowait(message)
        elif not self._socket.closed:
            asyncio.ensure_future(self._socket.close(code=1013))  # noqa: RUF006 - the socket itself keeps it

    async def serve(self) -> None:
        """Answer until the page is gone."""
        writer = asyncio.ensure_future(self._write())
        self._workplace.pages.add(self)
        try:
            self.send(self._workplace.hello())
            async for message in self._socket:
                if message.type is WSMsgType.TEXT:
                    self._take(message.data)
                elif message.type is not WSMsgType.BINARY:
                    break
        finally:
            self._workplace.pages.discard(self)
            for task in self._idle.values():
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer

    async def _write(self) -> None:
        while True:
            message = await self._outbox.get()
            with contextlib.suppress(ConnectionError, RuntimeError):
                if isinstance(message, bytes):
                    await self._socket.send_bytes(message)
                elif message is not None:
                    await self._socket.send_str(json.dumps(message))

    def _take(self, text: str) -> None:
        """Begin an op; ops on an image wait for each other there, in this order."""
        content: Any = None
        try:
            content = parse_json(text)
            name, fields = read_op(content)
            if len(self._running) >= _MOST_RUNNING:
                raise UsageError(f"Expected at most {_MOST_RUNNING} ops at a time but got more; wait for some replies.")
        except (MMMSError, ValueError) as error:
            self._refuse(content, error)
            return
        if name in _STOPPERS:
            for task in self._idle.values():
                task.cancel()
        elif name in self._idle:
            self._idle[name].cancel()
        task = asyncio.ensure_future(self._run(name, fields))
        self._running.add(task)
        task.add_done_callback(partial(self._ended, fields["seq"].value))
        if name in _IDLE_OPS:
            self._idle[name] = task

    def _ended(self, seq: Any, task: asyncio.Task[None]) -> None:
        """A task that is cancelled before its first step never runs, so its reply is sent here."""
        self._running.discard(task)
        if task.cancelled():
            text = "cancelled: a newer request came"
            self.send({"type": "reply", "re": seq, "ok": False, "cancelled": True, "error": text})

    async def _run(self, name: str, fields: dict[str, Any]) -> None:
        seq = fields["seq"].value
        try:
            result = await self._operations.run(name, fields)
        except MMMSError as error:
            self._refuse({"seq": seq}, error)
        except Exception as error:  # noqa: BLE001 - one op must not end the page; the fault is said and logged
            _log.exception("op %s failed", name)
            self._refuse(
                {"seq": seq}, UsageError(f"{type(error).__name__}: {error}; this is a fault in mmms: please report it.")
            )
        else:
            self.send({"type": "reply", "re": seq, "ok": True, **result})

    def _refuse(self, content: Any, error: Exception) -> None:
        seq = content.get("seq") if isinstance(content, dict) else None
        text = " ".join(str(error).split())
        if not isinstance(error, MMMSError):
            text = f"Expected a message in JSON but got {text!r}; load the page again."
        self.send({"type": "reply", "re": seq, "ok": False, "error": text, "kind": type(error).__name__})
