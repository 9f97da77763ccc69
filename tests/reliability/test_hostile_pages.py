"""Messages to the app that no page of ours sends: each gets a reply or closes one socket; the work stays whole.

``MMMS_FUZZ`` is the number of messages (``make fuzz`` takes 10,000).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from app_client import PageClient, origin_of, page_at
from mmms_client.annotate.images import find_images
from mmms_client.annotate.operations import OPS
from mmms_client.annotate.pictures import Reading
from mmms_client.annotate.project import Project, ProjectClass
from mmms_client.annotate.server import AnnotateServer
from mmms_client.annotate.workplace import Workplace
from mmms_client.annotation import Annotation
from mmms_client.geometry import Frame
from mmms_client.journal import read_journal

from .mutations import ODD_VALUES

COUNT = int(os.environ.get("MMMS_FUZZ", "250"))
SEED = int(os.environ.get("MMMS_FUZZ_SEED", "0"))
HONEST_EVERY, WORKING, PATIENCE_S = 50, 40, 120.0
HW = (60, 80)
PLAIN = {
    "index": ("0", "1"),
    "surface": ("1", "2", "3", "null"),
    "x": ("10", "40.5"),
    "y": ("20", "3"),
    "positive": ("true",),
    "region": ("null", "[10, 10, 40, 40]"),
    "class": ("null", '"ground"'),
    "name": ('"a"',),
    "colour": ('"#102030"',),
    "locked": ("true", "false"),
    "visible": ("true",),
    "surfaces": ("[1, 2]", "[2, 1]"),
    "into": ("1",),
    "from": ("2",),
    "points": ("[[1, 1], [30, 20], [5, 40]]", "[[3, 3]]"),
    "radius": ("2", "5.5"),
    "erase": ("false",),
    "holes_px": ("9",),
    "specks_px": ("9",),
    "ticket": ("1",),
    "modality": ('"thermal"',),
    "dx": ("1",),
    "dy": ("0",),
    "scale": ("1.1",),
    "scope": ('"image"', '"folder"'),
    "classes": ('[{"id": 1, "name": "ground"}, {"name": "sky"}]',),
    "settings": ("{}",),
    "keys": ('{"a": "b"}',),
    "state": ('"done"', '"todo"'),
    "formats": ('["coco"]',),
    "write": ("false", "true"),
    "polygons": ("null", "0"),
}


def message(draw: random.Random, number: int) -> str | bytes:
    """An op with odd fields, or anything."""
    kind = draw.random()
    if kind < 0.04:
        return draw.choice((*ODD_VALUES, "", "{", "\x00", '{"op": "click"', "[" * 100000))
    if kind < 0.06:
        return bytes(draw.randrange(256) for _ in range(draw.randrange(200)))
    op = draw.choice(list(OPS))
    required, optional, _ = OPS[op]
    names = [*required, *(name for name in optional if draw.random() < 0.5)]
    fields = {"seq": str(number), "op": json.dumps(op), **{name: draw.choice(PLAIN[name]) for name in names}}
    for _ in range(draw.choice((0, 0, 1, 1, 2))):
        fields[draw.choice([*names, "seq", "op", "more"])] = draw.choice(ODD_VALUES)
    if draw.random() < 0.03 and names:
        del fields[draw.choice(names)]
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in fields.items()) + "}"


def pictures(folder: Path) -> AnnotateServer | Any:
    rng = np.random.default_rng(0)
    for name, shape in (("rgb", (*HW, 3)), ("thermal", HW)):
        (folder / name).mkdir()
        for stem in "ab":
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / name / f"{stem}.png")
    return {name: str(folder / name) for name in ("rgb", "thermal")}


async def one_socket(address: str, draw: random.Random, numbers: range, faults: list[str]) -> None:
    """A page that sends hostile messages until the app closes its socket, or it has sent enough."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(address + "api/socket", origin=origin_of(address), max_msg_size=0) as socket,
    ):
        await socket.send_str('{"seq": 0, "op": "open", "index": 0}')
        for number in numbers:
            text = message(draw, number)
            try:
                await (socket.send_bytes(text) if isinstance(text, bytes) else socket.send_str(text))
            except (ConnectionError, UnicodeEncodeError):
                break
        await socket.send_str('{"seq": "last", "op": "cancel"}')
        async with asyncio.timeout(PATIENCE_S):
            async for received in socket:
                if received.type is not aiohttp.WSMsgType.TEXT:
                    continue
                reply = json.loads(received.data)
                if "fault in mmms" in str(reply.get("error")):
                    faults.append(str(reply))
                if len(str(reply.get("error", ""))) > 2000:
                    faults.append("an endless message")
                if reply.get("re") == "last":
                    break


async def honest(address: str) -> PageClient:
    """What a person does meanwhile is done: a surface, a click, undo of it."""
    async with page_at(address) as page:
        await page.op("open", index=1)
        before = len(page.document["surfaces"])
        added = await page.op("click", surface=None, x=40, y=30, positive=True)
        assert added["ok"]
        await page.op("undo")
        await page.op("mark", state="todo", index=1)
        assert len(page.document["surfaces"]) == before
        return page


@pytest.mark.timeout(0 if COUNT >= 300 else 300)
def test_the_app_and_its_journal_survive_any_message(nano_server, tmp_path, figures) -> None:
    roots = pictures(tmp_path)
    images = find_images(roots["rgb"], {"thermal": roots["thermal"]}, str(tmp_path / "out"), [])
    project = Project.open(tmp_path / "out", images, [ProjectClass(1, "ground", "#808000")])
    reading = Reading(roots=tuple(Path(root) for root in roots.values()))
    faults: list[str] = []

    async def scenario() -> None:
        workplace = Workplace(project, nano_server.url, reading, ahead=0)
        server = AnnotateServer(workplace)
        await server.start()
        try:
            draw = random.Random(SEED)
            for begin in range(1, COUNT + 1, HONEST_EVERY):
                await one_socket(server.address, draw, range(begin, begin + HONEST_EVERY), faults)
                await honest(server.address)
            assert not faults, "\n".join(dict.fromkeys(faults[:20]))
            for image in workplace._images.values():
                history = read_journal(workplace.project.folder(image.file) / "journal.jsonl")
                again = Annotation(Frame.of(history.image_hw, image.annotation.frame.resolution), 64)
                history.restore(again)
                assert np.array_equal(again.joint, image.annotation.joint), "the journal says something else"
                assert again.surfaces == image.annotation.surfaces
        finally:
            await server.close()

    asyncio.run(scenario())
    Project.read(tmp_path / "out", images)
    outside = {path.name for path in tmp_path.iterdir()} - {"rgb", "thermal", "out"}
    assert not outside
    figures("hostile-messages", messages=COUNT, faults=0, seed=SEED)
