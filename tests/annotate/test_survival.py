"""Servers that go, come back or change, requests that nobody wants any more, and apps that end. Kills at random
moments: tests/reliability."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest

from app_client import AppProcess, RefusedError, page_at
from mmms_client import AsyncTritonPredictor, Click
from mmms_client.export_masks.instance_png import read_instance_png
from mmms_client.exporting import open_annotations
from mmms_server.process import ServerProcess
from served_repositories import REPOSITORY, contract_of, write_another_checkpoint

from .conftest import STREET


async def settled(predictor: AsyncTritonPredictor) -> dict[str, int]:
    """How many requests each model has answered, once the server is at rest."""
    before: dict[str, int] = {}
    while True:
        counts = {name: s.requests for name, s in (await predictor.transport.all_statistics()).items()}
        if counts == before:
            return counts
        before = counts
        await asyncio.sleep(1.0)


# Nobody waits for it ------------------------------------------------------------------------------------
def test_a_cancelled_encode_stops_on_the_server(nano_server) -> None:
    """Triton looks between the steps of an ensemble: what was cancelled in the first never reaches the last."""

    async def scenario() -> None:
        async with await AsyncTritonPredictor.connect(nano_server.url) as predictor:
            image = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            encoded = predictor.prepare(image)
            before = await settled(predictor)
            task = asyncio.ensure_future(predictor.fill_cache(encoded))
            await asyncio.sleep(0.03)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            after = await settled(predictor)
            assert after["csnet"] == before["csnet"] and after["mmms"] == before["mmms"]
            answer = await predictor.predict(encoded, [Click(20, 20)])
            assert answer.shape == (448, 448), "and the same image can be asked for again"

    asyncio.run(scenario())


def test_previews_that_a_newer_one_overtakes_are_never_computed(app, nano_server) -> None:
    async def scenario() -> None:
        async with (
            app(ahead=0) as server,
            page_at(server.address) as page,
            await AsyncTritonPredictor.connect(nano_server.url) as predictor,
        ):
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            before = await settled(predictor)
            previews = [page.start("preview", surface=1, x=100 + n, y=400, positive=True, ticket=n) for n in range(40)]
            replies = await asyncio.wait_for(asyncio.gather(*previews), 60)
            assert replies[-1]["ok"] and all(r.get("cancelled") for r in replies if not r["ok"])
            assert page.masks[-1][0]["ticket"] == 39
            after = await settled(predictor)
            answered = sum(reply["ok"] for reply in replies)
            assert after["csnet"] - before["csnet"] <= answered + 1 < 20
            stopped = page.start("preview", surface=1, x=50, y=400, positive=True, ticket=99)
            await page.op("click", surface=1, x=100, y=400, positive=True)
            assert (await stopped).get("cancelled"), "a click is more than a preview"
            last = page.start("preview", surface=1, x=50, y=400, positive=True, ticket=100)
            await page.op("cancel")
            assert (await last).get("cancelled")

    asyncio.run(scenario())


def test_clicks_that_overtake_the_encode_do_not_make_it_begin_again_and_again(app, nano_server) -> None:
    async def scenario() -> None:
        async with (
            app(ahead=0) as server,
            page_at(server.address) as page,
            await AsyncTritonPredictor.connect(nano_server.url) as predictor,
        ):
            await page.until(lambda: page.status["server"] == "ready")
            before = await settled(predictor)
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            for n in range(8):
                await page.op("click", surface=1, x=20 * n, y=430, positive=True)
            after = await settled(predictor)
            assert 9 <= after["csnet"] - before["csnet"] <= 11

    asyncio.run(scenario())


def test_undo_while_a_click_is_being_answered_takes_that_click_back(app) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            joint = page.joint.copy()
            image = server.workplace._images[0]
            click = page.start("click", surface=1, x=100, y=460, positive=True)
            while image._asking is None and not click.done():
                await asyncio.sleep(0.001)
            assert (await page.op("undo"))["done"]
            reply = await click
            assert not reply["ok"] and "nothing was changed" in reply["error"]
            assert np.array_equal(page.joint, joint) and len(page.surface(1)["clicks"]) == 1

    asyncio.run(scenario())


# Servers that go ----------------------------------------------------------------------------------------
def test_a_server_that_dies_loses_no_click_and_is_found_again(app, tmp_path, server_extra) -> None:
    server = ServerProcess(REPOSITORY, tmp_path / "log").start()

    async def scenario() -> None:
        async with app(url=server.url) as own, page_at(own.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            server.kill()
            waiting = page.start("click", surface=1, x=100, y=460, positive=True)
            await page.until(lambda: page.status["server"] == "gone")
            assert not waiting.done() and len(page.surface(1)["clicks"]) == 1
            await page.op("settings", settings={"still": "there"})
            assert (await page.get("api/images/0/rgb"))[0] == 200
            await page.op("brush", surface=1, points=[[10, 10]], radius=5)
            reply = await waiting
            assert not reply["ok"] and "nothing was changed" in reply["error"], "what comes later does not wait for it"
            joint = page.joint.copy()
            own.workplace.link.patience_s = 60.0  # a start may take longer than a person waits, on a busy machine
            waiting = page.start("click", surface=1, x=100, y=460, positive=True)
            server.stop()
            await asyncio.to_thread(server.start)
            reply = await asyncio.wait_for(waiting, 60)
            assert reply["ok"] and len(page.surface(1)["clicks"]) == 2 and not np.array_equal(page.joint, joint)
            assert page.status["server"] == "ready"
            server.kill()
            own.workplace.link.patience_s = 0.5
            with pytest.raises(
                RefusedError, match=r"^Expected a server at .* but got none .*; the click was not taken"
            ):
                await page.op("click", surface=1, x=200, y=460, positive=True)
            await page.op("undo"), await page.op("undo"), await page.op("undo")
            assert page.document["surfaces"] == [] and not page.joint.any()

    try:
        asyncio.run(scenario())
    finally:
        server.stop()


def test_another_model_at_the_address_answers_nothing_until_a_person_agrees(app, tmp_path, server_extra) -> None:
    other = tmp_path / "other"
    old, new = contract_of().checkpoint_sha256, write_another_checkpoint(other).checkpoint_sha256
    first = ServerProcess(REPOSITORY, tmp_path / "log").start()
    second = ServerProcess(other, tmp_path / "log2")
    second.http_port, second.grpc_port, second.metrics_port = first.http_port, first.grpc_port, first.metrics_port

    async def scenario() -> None:
        async with app(url=first.url) as own, page_at(own.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            first.stop()
            await asyncio.to_thread(second.start)
            await page.until(lambda: page.status["server"] == "replaced")
            with pytest.raises(RefusedError) as caught:
                await page.op("click", surface=1, x=100, y=460, positive=True)
            assert old in str(caught.value) and new in str(caught.value), "both are named"
            assert len(page.surface(1)["clicks"]) == 1
            await page.op("accept_model")
            await page.op("click", surface=1, x=100, y=460, positive=True)
            assert page.status["server"] == "ready" and page.hello["model"]["sha256"] == new
        journal = tmp_path / "out/rgb.png/journal.jsonl"
        rows = [json.loads(line) for line in journal.read_text().splitlines()]
        assert [row["sha256"] for row in rows if row.get("do") == "model"] == [old, new]
        assert set(json.loads((tmp_path / "out/project.json").read_text())["models"]) == {old, new}

    try:
        asyncio.run(scenario())
    finally:
        first.stop()
        second.stop()


# Apps that are killed -----------------------------------------------------------------------------------
def test_an_export_after_a_crash_has_what_was_not_opened_since(app, nano_server, tmp_path, folder) -> None:
    """session.json and joint.png are made of the journal, also for images that nobody looked at again."""
    out = folder / "out"

    async def work(address: str) -> None:
        async with page_at(address) as page:
            for index in (0, 1):
                await page.op("open", index=index)
                await page.op("add_surface", **{"class": None})
                await page.op("brush", surface=1, points=[[20, 20]], radius=5)
            await page.op("open", index=0)
            await page.op("brush", surface=1, points=[[60, 40]], radius=5)

    with AppProcess(folder / "rgb", "--out", out, "--url", nano_server.url) as process:
        asyncio.run(work(process.address))
        process.process.kill()

    async def export() -> None:
        async with app(folder / "rgb", {}, out=out) as server, page_at(server.address) as page:
            await page.op("open", index=2)
            await page.op("export", formats=["instance-png"], write=True)

    asyncio.run(export())
    images = {image.name: image.joint for image in open_annotations([str(out)])}
    assert set(images) == {"a1.png", "a2.png"} and images["a1.png"][40, 60] == images["a2.png"][20, 20] == 1
    exported = read_instance_png(out / "export/instance-png/a1.png")
    assert np.array_equal(exported, images["a1.png"])


def test_a_second_app_on_the_same_folder_says_who_is_there(nano_server, tmp_path) -> None:
    arguments = (STREET / "rgb.png", "--out", tmp_path / "out", "--url", nano_server.url)
    with AppProcess(*arguments) as first:
        with AppProcess(*arguments) as second:
            assert second.process.wait(30) == 2
        assert f"(process {first.process.pid}, port " in second.lines[0] and "for this app alone" in second.lines[0]
