"""Who may speak to the app, and what no address reaches."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket as sockets
import threading
import urllib.parse
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from app_client import RefusedError, origin_of, page_at
from mmms_client import DataError, OutputError, UsageError, edits
from mmms_client.annotate.images import find_images
from mmms_client.annotate.page import MAX_MESSAGE_BYTES
from mmms_client.annotate.pictures import Reading, read_pictures
from mmms_client.annotate.project import FolderLock, Project
from mmms_client.annotate.workplace import Workplace


async def raw(port: int, text: str) -> tuple[int, dict[str, str], bytes]:
    """A request spelled by hand: its status, headers and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.replace("\n", "\r\n").encode())
    data = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), dict(line.split(": ", 1) for line in lines[1:]), body


def test_strangers_get_nothing(app) -> None:
    """Wrong token, another host (a rebound name), another site: 404, and the same headers as everything."""

    async def scenario() -> None:
        async with app() as server:
            port, token = server.port, server.token
            own = f"127.0.0.1:{port}"

            async def ask(path: str, host: str = own, more: str = "") -> tuple[int, dict[str, str], bytes]:
                return await raw(port, f"GET {path} HTTP/1.1\nHost: {host}\n{more}Connection: close\n\n")

            picture = f"/{token}/api/images/0/thumbnail"
            status, headers, _ = await ask(picture)
            assert status == 200 and (await ask(picture, f"localhost:{port}"))[0] == 200
            assert headers["Content-Security-Policy"].startswith("default-src 'self';")
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert (
                "unsafe" not in headers["Content-Security-Policy"] and "http" not in headers["Content-Security-Policy"]
            )
            assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin" and headers["Cache-Control"] == "no-store"
            assert (await ask(picture, more=f"Origin: http://{own}\n"))[0] == 200
            refused = [
                await ask(f"/{'x' * len(token)}/api/images/0/thumbnail"),
                await ask(f"/{token[:-1]}/api/images/0/thumbnail"),
                await ask("/api/images/0/thumbnail"),
                await ask("/"),
                await ask(picture, "evil.example"),
                await ask(picture, f"evil.example:{port}"),
                await ask(picture, f"127.0.0.1:{port + 1}"),
                await ask(picture, more="Origin: http://evil.example\n"),
                await ask(picture, more="Origin: null\n"),
                await ask(picture, more=f"Origin: http://localhost:{port}\n"),
                await ask(picture, more="Sec-Fetch-Site: cross-site\n"),
                await ask(picture, more="Sec-Fetch-Site: same-site\n"),
                await ask(picture, more=f"Host: {own}\n"),
            ]
            assert [answer[0] for answer in refused[:-1]] == [404] * 12 and refused[-1][0] in (400, 404)
            assert all(answer[1]["X-Content-Type-Options"] == "nosniff" for answer in refused if answer[0] == 404)
            assert len({answer[2] for answer in refused[:-1]}) == 1, "a stranger cannot tell why"
            post = f"POST {picture} HTTP/1.1\nHost: {own}\nContent-Length: 0\nConnection: close\n\n"
            assert (await raw(port, post))[0] == 404, "nothing here changes by HTTP alone"

    asyncio.run(scenario())


def test_the_way_in_is_taken_once(app) -> None:
    """By a browser that comes from a file, which it calls cross-site; not by another host, and not again."""

    async def scenario() -> None:
        async with app() as server:
            page = server.way_in()
            path = re.findall(rf'url=http://127\.0\.0\.1:{server.port}(/open/[\w-]{{43}})"', page)[0]
            assert server.token not in page and not server.is_way_in_taken

            async def ask(path: str, host: str, more: str = "") -> tuple[int, dict[str, str], bytes]:
                return await raw(server.port, f"GET {path} HTTP/1.1\nHost: {host}\n{more}Connection: close\n\n")

            own, far = f"127.0.0.1:{server.port}", "Sec-Fetch-Site: cross-site\n"
            refused = [
                await ask(path, "evil.example"),
                await ask(path, own, "Origin: null\n"),
                await ask(path[:-1], own, far),
                await ask("/open/", own),
                await ask(path.removeprefix("/open") + "/", own),
                await ask(f"/open/{server.token}", own),
            ]
            status, headers, body = await ask(path, own, far)
            assert status == 200 and f'url={server.address}"'.encode() in body
            assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
            assert server.is_way_in_taken
            refused += [await ask(path, own, far), await ask("/open/", own), await ask(f"/{server.token}/", own, far)]
            assert [answer[0] for answer in refused] == [404] * 9
            assert (await ask(f"/{server.token}/", own, "Sec-Fetch-Site: same-origin\n"))[0] == 200

    asyncio.run(scenario())


def test_the_app_listens_on_this_machine_only(app) -> None:
    async def scenario() -> None:
        async with app() as server:
            assert server.address.startswith("http://127.0.0.1:") and len(server.token) >= 43
            for name in {sockets.gethostbyname(sockets.gethostname())} - {"127.0.0.1"}:
                with pytest.raises(OSError):
                    await asyncio.wait_for(asyncio.open_connection(name, server.port), 5)

    asyncio.run(scenario())


def test_a_socket_needs_its_own_origin_and_bounded_messages(app) -> None:
    async def scenario() -> None:
        async with app() as server, aiohttp.ClientSession() as http:
            address = server.address + "api/socket"
            for origin in (
                None,
                "http://evil.example",
                "null",
                origin_of(server.address).replace("127.0.0.1", "localhost"),
            ):
                with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                    await http.ws_connect(address, origin=origin)
                assert caught.value.status in (403, 404)
            async with http.ws_connect(address, origin=origin_of(address)) as socket:
                assert json.loads((await socket.receive()).data)["type"] == "hello"
                await socket.send_str(json.dumps({"seq": 1, "op": "keys", "keys": {"x": "y" * MAX_MESSAGE_BYTES}}))
                while (message := await asyncio.wait_for(socket.receive(), 20)).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert message.type is aiohttp.WSMsgType.CLOSE and message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
            async with page_at(server.address) as page:
                assert page.hello["keys"] == {}, "and the app goes on"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "secret",
    [
        "../server.py",
        "..%2fserver.py",
        "%2e%2e/server.py",
        "/etc/passwd",
        "..\\server.py",
        ".hidden.js",
        "x/../../server.py",
    ],
)
def test_no_address_leads_out_of_the_pages_files(app, secret) -> None:
    async def scenario() -> None:
        async with app() as server:
            path = f"/{server.token}/static/{secret}"
            status, _, body = await raw(
                server.port, f"GET {path} HTTP/1.1\nHost: 127.0.0.1:{server.port}\nConnection: close\n\n"
            )
            assert status in (400, 404) and b"import" not in body and b"root:" not in body

    asyncio.run(scenario())


def test_what_fails_is_one_line_with_the_headers(app, folder, caplog, monkeypatch) -> None:
    """A picture that is broken or gone since it was opened, a name that no file can have, a fault of ours."""

    async def scenario() -> None:
        async with app(folder / "rgb", {}, ahead=0) as server, page_at(server.address) as page:

            async def fails(path: str) -> tuple[int, str]:
                status, body, headers = await page.get(path)
                assert headers["Content-Security-Policy"] and headers["Cache-Control"] == "no-store"
                assert body.count(b"\n") == 1
                return status, body.decode()

            await page.op("open", index=0)
            for spoil, reason in ((lambda f: f.write_bytes(b"x" * 99), "broken"), (Path.unlink, "No such file")):
                spoil(folder / "rgb" / "a1.png")
                status, text = await fails("api/images/0/rgb")
                assert status == 422 and f"as it was when it was opened but got '{reason}" in text
            for name in ("a" * 300 + ".js", "a%00b.js"):
                assert (await fails(f"static/{name}"))[0] == 404
            assert not caplog.records
            monkeypatch.setattr("mmms_client.annotate.server.thumbnail_bytes", lambda *_: 1 // 0)
            assert (await fails("api/images/1/thumbnail"))[0] == 500
            (record,) = caplog.records
            assert "ZeroDivisionError" in record.getMessage() and record.exc_info is None

    asyncio.run(scenario())


def test_images_are_reached_by_number_only(app, folder) -> None:
    async def scenario() -> None:
        async with app(folder / "rgb", {"thermal": folder / "thermal"}) as server, page_at(server.address) as page:
            for path in (
                "5/rgb",
                "-1/rgb",
                "99999999999/rgb",
                "0/modality/depth",
                "0/modality/..%2f..",
                "0x1/rgb",
                "4/modality/thermal",
            ):
                assert (await page.get(f"api/images/{path}"))[0] == 404
            assert (await page.get("api/images/0/rgb"))[0] == 200

    asyncio.run(scenario())


def test_links_do_not_lead_out_of_the_folders(folder) -> None:
    outside = folder / "outside.png"
    Image.new("RGB", (8, 8)).save(outside)
    (folder / "rgb" / "link.png").symlink_to(outside)
    (folder / "rgb" / "inside.png").symlink_to(folder / "rgb" / "a1.png")
    (folder / "thermal" / "a2.png").unlink()
    (folder / "thermal" / "a2.png").symlink_to(outside)
    notes: list[str] = []
    images = find_images(str(folder / "rgb"), {"thermal": str(folder / "thermal")}, str(folder / "out"), notes)
    assert [i.name for i in images] == ["a1.png", "a2.png", "a10.png", "day/b.png", "day/c.png", "inside.png"]
    assert "thermal" not in images[1].modalities and len(notes) == 2 and all("it is a link out of" in n for n in notes)
    images[0].path.unlink()
    images[0].path.symlink_to(outside)  # after the list was made
    with pytest.raises(DataError, match="but it links elsewhere; copy the file"):
        read_pictures(images[0], None, Reading(roots=(folder / "rgb", folder / "thermal")), {})


def test_pipes_among_the_images_stop_nobody(app, folder, monkeypatch) -> None:
    """Those that lie there are left out; those that come later are refused. Even thumbnails that hang stop no work."""
    for n in range(8):
        os.mkfifo(folder / "rgb" / f"pipe{n}.png")
    (folder / "rgb" / "gone.png").symlink_to(folder / "rgb" / "nowhere.png")
    notes: list[str] = []
    images = find_images(str(folder / "rgb"), {}, str(folder / "out"), notes)
    assert [i.name for i in images] == ["a1.png", "a2.png", "a10.png", "day/b.png", "day/c.png"]
    assert len(notes) == 1 and notes[0].endswith("gone.png' (and 8 more) is left out: it is no file.")
    going_on = threading.Event()

    async def scenario() -> None:
        async with app(folder / "rgb", {}, ahead=0) as server, page_at(server.address) as page:
            await page.op("open", index=0)
            (folder / "rgb" / "a2.png").unlink()
            os.mkfifo(folder / "rgb" / "a2.png")
            status, body, _ = await asyncio.wait_for(page.get("api/images/1/thumbnail"), 20)
            assert status == 422 and b"but got a pipe" in body
            monkeypatch.setattr("mmms_client.annotate.server.thumbnail_bytes", lambda *_: bytes(going_on.wait(60)))
            asked = [asyncio.ensure_future(page.get("api/images/0/thumbnail")) for _ in range(40)]
            await asyncio.sleep(0.2)
            try:
                await asyncio.wait_for(page.op("add_surface", name="x"), 20)
            finally:
                going_on.set()
                await asyncio.gather(*asked)

    asyncio.run(scenario())


IN_RESULTS = ["journal.jsonl", "session.json", "joint.png", ".results.json"]
OF_RESULTS = [".lock", "project.json", "a1.png", *(f"a1.png/{name}" for name in IN_RESULTS), "export/coco"]


@pytest.mark.parametrize("name", OF_RESULTS)
def test_no_link_in_a_folder_of_results_is_written_through(folder, name) -> None:
    """A folder of results that somebody else sent: the app works in it, and changes nothing that its links lead to."""
    outside, link = folder / "outside", folder / "out" / name
    outside.mkdir()
    (outside / "file").write_text("mine")
    link.parent.mkdir(parents=True)
    link.symlink_to(outside if name in ("a1.png", "export/coco") else outside / "file")

    async def scenario() -> None:
        lock = FolderLock(folder / "out")
        try:
            images = find_images(str(folder / "rgb"), {}, str(folder / "out"), [])
            workplace = Workplace(Project.open(folder / "out", images), "127.0.0.1:9", Reading())
            image = await workplace.image(0)
            async with image.lock:
                await image.perform(edits.add(image.annotation, "x"))
            try:
                await workplace.export(["coco"], is_written=True, tolerance_px=None)
            finally:
                await workplace.close()
        finally:
            lock.release()

    with pytest.raises(DataError, match=r"^Expected [^\n]* but it links (to|elsewhere)[^\n]*; (remove|copy) the"):
        asyncio.run(scenario())
    assert [path.name for path in outside.iterdir()] == ["file"] and (outside / "file").read_text() == "mine"


NAMES = [
    "a b.png",
    "ünï ☃.png",
    "quote'\".png",
    "<img src=x onerror=alert(1)>.png",
    "-rf.png",
    "%2e%2e.png",
    "a&b;c.png",
    "#?.png",
]


def test_any_file_name_is_harmless(app, tmp_path) -> None:
    """Spaces, quotes, HTML: shown, opened, saved and exported like others."""
    (tmp_path / "rgb").mkdir()
    for name in (*NAMES, os.fsdecode(b"bytes\xff.png")):
        Image.new("RGB", (32, 24), (9, 99, 9)).save(tmp_path / "rgb" / name)

    async def scenario() -> None:
        async with app(tmp_path / "rgb", {}, ahead=0) as server, page_at(server.address) as page:
            shown = {image["name"] for image in page.hello["images"]}
            assert shown == set(NAMES), "bytes that are no text cannot stand in a session file"
            for index in range(len(NAMES)):
                await page.op("open", index=index)
                assert (await page.get(f"api/images/{index}/rgb"))[0] == 200
                await page.op("add_surface", name="<script>alert('x')</script> ☃")
                await page.op("brush", surface=1, points=[[9, 9]], radius=4)
            reply = await page.op("export", formats=["coco", "palette-png", "cvat", "yolo"], write=True)
            assert reply["written"]

    asyncio.run(scenario())
    for name in NAMES:
        assert (tmp_path / "out" / name / "session.json").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"rgb", "out"}, "nothing was written elsewhere"
    assert all(Path(p).resolve().is_relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*"))


def test_two_apps_do_not_share_a_folder(tmp_path) -> None:
    first = FolderLock(tmp_path / "out")
    first.say("process 1, port 2")
    with pytest.raises(
        UsageError,
        match=r"for this app alone but got another one at work there \(process 1, port 2\); close",
    ):
        FolderLock(tmp_path / "out")
    first.release()
    FolderLock(tmp_path / "out").release()


def test_a_lock_without_room_for_its_holder_says_so(tmp_path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        with pytest.raises(
            OutputError, match=r"^Expected to write the file '.*\.lock' but got 'File too large'; raise"
        ):
            FolderLock(tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    FolderLock(tmp_path / "out").release()


def test_a_page_that_asks_for_too_much_at_once_is_refused(app) -> None:
    async def scenario() -> None:
        async with app(url="127.0.0.1:9") as server, page_at(server.address) as page:
            await page.op("open", index=0)
            replies = [page.start("add_surface", name=str(n)) for n in range(400)]
            answers = await asyncio.gather(*replies)
            refused = [a for a in answers if not a["ok"]]
            assert refused and all("at a time" in a["error"] for a in refused)
            assert len(page.document["surfaces"]) == 400 - len(refused)
            with pytest.raises(RefusedError, match="up to 512 px"):
                await page.op("brush", surface=1, points=[[1, 1]], radius=1e9)

    asyncio.run(scenario())


def test_percent_signs_of_modality_names_are_decoded_once(app, folder) -> None:
    (folder / "thermal").rename(folder / "a b%41")

    async def scenario() -> None:
        async with app(folder / "rgb", {"a b%41": folder / "a b%41"}) as server, page_at(server.address) as page:
            await page.op("open", index=0)
            assert page.image["modalities"][0]["in_model"] is False
            status, _, _ = await page.get("api/images/0/modality/" + urllib.parse.quote("a b%41"))
            assert status == 200

    asyncio.run(scenario())
