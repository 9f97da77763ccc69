"""The app against the real server: what a page asks for, what it is told, and what lies on the disk afterwards."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app_client import RefusedError, page_at
from mmms_client import Session, TritonPredictor, open_inputs, read_session, replay
from mmms_client.annotate import server as server_module
from mmms_client.annotate.pictures import thumbnail_bytes
from mmms_client.export_masks.mask_png import read_samples
from mmms_client.export_masks.palette_png import read_palette_png
from mmms_client.journal import read_journal

from .conftest import STREET


def test_clicks_draw_undo_and_a_second_surface(app, tmp_path) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            assert [c["name"] for c in page.hello["classes"]] == ["ground", "vehicle"] and page.hello["formats"][
                0
            ] == "palette-png"
            await page.op("open", index=0)
            assert page.size == (640, 480) and page.joint is not None and not page.joint.any()
            await page.until(lambda: any(i["encoded"] == "ready" for i in page.status["images"]))
            thermal, depth = page.image["modalities"]
            assert (thermal["kind"], thermal["unit"], thermal["in_model"]) == ("scalar", "K", True) and depth[
                "unit"
            ] == "m"
            reply = await page.op("click", surface=None, x=320, y=430, positive=True)
            road = reply["surface"]
            assert reply["timing"]["total_ms"] >= reply["timing"]["request_ms"] > 0
            first = page.joint.copy()
            assert first[430, 320] == road and page.surface(road)["area_px"] == (first == road).sum() > 1000
            assert page.surface(road)["class"] == "ground" and page.document["undo"] == "click on ground 1"
            timing = (await page.op("click", surface=road, x=100, y=460, positive=True))["timing"]
            parts = timing["network_ms"] + timing["queue_ms"] + timing["compute_ms"]
            assert parts == pytest.approx(timing["request_ms"], abs=0.01) and timing["compute_ms"] > 0
            second = page.joint.copy()
            await page.op("undo")
            assert np.array_equal(page.joint, first) and page.document["redo"] == "click on ground 1"
            await page.op("redo")
            assert np.array_equal(page.joint, second)
            car = (await page.op("add_surface", **{"class": "vehicle"}))["surface"]
            patches = len(page.patches)
            await page.op("brush", surface=car, points=[[300, 420], [340, 440]], radius=10)
            patch = page.patches[patches]
            assert (patch["x"], patch["y"], patch["width"], patch["height"]) == (290, 410, 61, 41), (
                "only the changed box"
            )
            assert page.surface(road)["lost_to"] == [car] and page.surface(road)["lost_px"] > 500
            assert page.surface(car)["edited"]
            await page.op("click", surface=car, x=320, y=430, positive=True)
            assert not page.surface(car)["edited"]
            await page.op("click", surface=road, x=320, y=470, positive=True)
            assert page.surface(road)["lost_px"] == 0 and len(page.surface(road)["clicks"]) == 3
            await page.op("finish", surface=road)
            assert np.array_equal(read_palette_png(tmp_path / "out/rgb.png/joint.png"), page.joint)
        assert read_session(tmp_path / "out/rgb.png/session.json").click_count == 4

    asyncio.run(scenario())


def test_what_the_app_recorded_replays_to_the_same_map(app, tmp_path, nano_server) -> None:
    """The session file says all that the map depends on: regions, locks, drawings and revisits with it."""

    async def scenario() -> np.ndarray:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            await page.op("click", surface=None, x=200, y=300, positive=True, **{"class": "vehicle"})
            await page.op("click", surface=2, x=240, y=310, positive=True, region=[100, 200, 300, 240])
            await page.op("click", surface=2, x=220, y=250, positive=False, region=[100, 200, 300, 240])
            await page.op("update_surface", surface=2, locked=True, name="car", colour="#123456")
            await page.op("polygon", surface=1, points=[[0, 400], [300, 400], [300, 479], [0, 479]])
            await page.op("click", surface=1, x=50, y=440, positive=True)
            await page.op("click", surface=1, x=500, y=300, positive=False)
            await page.op("remove_click", surface=1, index=2)
            return page.joint

    joint = asyncio.run(scenario())
    document = read_session(tmp_path / "out/rgb.png/session.json")
    assert document.surfaces[1].name == "car" and document.surfaces[1].is_locked
    with TritonPredictor.connect(nano_server.url) as predictor:
        files = {name: STREET / f"{name}.png" for name in ("thermal", "depth")}
        inputs = open_inputs(predictor.contract, STREET / "rgb.png", files)
        session = Session(predictor, inputs.image, inputs.modalities)
        replay(document, session)
    assert np.array_equal(session.joint, joint)
    assert session.surfaces == document.surfaces


def test_reopening_goes_on_with_undo_and_asks_no_model(app, tmp_path) -> None:
    async def work() -> tuple:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            before = page.joint.copy()
            await page.op("click", surface=1, x=320, y=300, positive=True)
            await page.op("undo")
            await page.op("mark", state="done")
            await page.op("settings", settings={"theme": "dark"})
            await page.op("keys", keys={"undo": "u"})
            return before, page.document

    async def reopen(before: np.ndarray, document: dict) -> None:
        async with app(url="127.0.0.1:9") as server, page_at(server.address) as page:
            assert page.hello["images"][0]["state"] == "done" and page.hello["settings"] == {"theme": "dark"}
            assert page.hello["keys"] == {"undo": "u"} and page.hello["model"] is None
            await page.op("open", index=0)
            assert np.array_equal(page.joint, before)
            assert {**page.document, "revision": 0} == {**document, "revision": 0}
            await page.op("redo")
            assert len(page.surface(1)["clicks"]) == 2
            await page.op("undo"), await page.op("undo")
            assert page.document["surfaces"] == [] and not page.joint.any(), "a new surface goes with its first click"
            await page.op("redo")
            assert len(page.surface(1)["clicks"]) == 1 and np.array_equal(page.joint, before)
            await page.op("undo")
            assert not (await page.op("undo"))["done"]
            await page.op("brush", surface=(await page.op("add_surface"))["surface"], points=[[9, 9]], radius=4)
            assert page.joint[9, 9] == 1, "drawing needs no server"

    asyncio.run(reopen(*asyncio.run(work())))


def test_without_a_modality_and_preview_send_masks_and_change_nothing(app) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            await page.op("click", surface=1, x=120, y=440, positive=True)
            joint, document = page.joint.copy(), page.document
            await page.op("without", surface=1, modality="thermal")
            head, without = page.masks[-1]
            assert (head["kind"], head["modality"], head["surface"]) == ("without", "thermal", 1)
            await page.op("without", surface=1, modality="depth")
            assert not np.array_equal(without, page.masks[-1][1]), "the sensors do something"
            await page.op("preview", surface=1, x=500, y=440, positive=True, ticket=17)
            head, preview = page.masks[-1]
            assert (head["kind"], head["ticket"]) == ("preview", 17)
            assert np.array_equal(page.joint, joint) and page.document["revision"] == document["revision"]
            await page.op("click", surface=1, x=500, y=440, positive=True)
            shown = np.zeros(joint.shape, bool)
            x, y = head["x"], head["y"]
            shown[y : y + head["height"], x : x + head["width"]] = preview > 127
            differ = (shown ^ (page.joint == 1)).sum()
            assert differ <= 0.01 * shown.sum(), "the preview is what the click gives, but for rounding"
            await page.op("preview", surface=None, x=500, y=100, positive=True, ticket="t")
            for surface, modality, text in (
                (1, "radar", "Expected a modality that the model gets"),
                (9, "depth", "Expected the id of a"),
            ):
                with pytest.raises(RefusedError, match=text):
                    await page.op("without", surface=surface, modality=modality)

    asyncio.run(scenario())


def test_pictures_are_what_the_annotation_sees(app) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            status, data, headers = await page.get("api/images/0/rgb")
            assert (
                status == 200 and headers["Content-Type"] == "image/png" and data == (STREET / "rgb.png").read_bytes()
            )
            depth = next(m for m in page.image["modalities"] if m["name"] == "depth")
            status, data, _ = await page.get(f"api/images/0/modality/depth?v={depth['version']}")
            q = np.frombuffer(zlib.decompress(data), "<u2").reshape(depth["height"], depth["width"]).astype(np.float64)
            raw = np.asarray(Image.open(STREET / "depth.png")).astype(np.float64)
            assert np.array_equal(q == 0, raw == 0), "no measurement stays none"
            assert np.abs((q - 1) * depth["scale"] + depth["offset"] - raw / 1000)[raw > 0].max() <= depth["scale"]
            assert depth["low"] < depth["high"]
            status, data, headers = await page.get("api/images/0/thumbnail")
            assert headers["Content-Type"] == "image/jpeg" and len(data) < 20_000

    asyncio.run(scenario())


def test_thumbnails_are_made_one_at_a_time(app, monkeypatch) -> None:
    """Each takes the memory of a whole picture, and one of the threads that clicks need."""
    at_work: list[int] = []
    most = []

    def slow(*given: Any) -> bytes:
        at_work.append(1)
        most.append(len(at_work))
        time.sleep(0.05)
        made = thumbnail_bytes(*given)
        at_work.pop()
        return made

    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            answers = await asyncio.gather(*(page.get("api/images/0/thumbnail") for _ in range(6)))
            assert [status for status, _, _ in answers] == [200] * 6

    monkeypatch.setattr(server_module, "thumbnail_bytes", slow)
    asyncio.run(scenario())
    assert most == [1] * 6


def test_a_nudge_moves_the_modality_and_what_the_model_sees(app, tmp_path) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            old = next(m for m in page.image["modalities"] if m["name"] == "thermal")
            await page.op("align", modality="thermal", dx=12, dy=-4, scale=1.02, scope="image")
            new = next(m for m in page.image["modalities"] if m["name"] == "thermal")
            assert new["alignment"] == {"dx": 12.0, "dy": -4.0, "scale": 1.02} and new["version"] != old["version"]
            await page.op("click", surface=None, x=320, y=300, positive=True)
            moved = page.joint.copy()
            await page.op("undo"), await page.op("undo")
            assert next(m for m in page.image["modalities"] if m["name"] == "thermal")["alignment"]["dx"] == 0
            await page.op("click", surface=None, x=320, y=300, positive=True)
            assert not np.array_equal(moved, page.joint), "the model got the moved map"
            await page.op("align", modality="thermal", dx=3, dy=0, scale=1, scope="folder")
            with pytest.raises(RefusedError, match="Expected a modality of this image but got 'radar'"):
                await page.op("align", modality="radar", dx=3, dy=0, scale=1, scope="folder")
            with pytest.raises(RefusedError, match="Expected a shift up to"):
                await page.op("align", modality="depth", dx=3, dy=0, scale=0, scope="image")
        saved = json.loads((tmp_path / "out/rgb.png/session.json").read_text())
        assert saved["alignment"]["thermal"][0] == [1.0, 0.0, 3.0]
        assert json.loads((tmp_path / "out/project.json").read_text())["nudges"] == {"thermal": [3.0, 0.0, 1.0]}

    asyncio.run(scenario())


def test_a_folder_has_states_and_the_next_images_are_encoded_ahead(app, folder) -> None:
    async def scenario() -> None:
        async with app(folder / "rgb", {"thermal": folder / "thermal"}) as server, page_at(server.address) as page:
            names = [image["name"] for image in page.hello["images"]]
            assert names == ["a1.png", "a2.png", "a10.png", "day/b.png", "day/c.png"], "as people count"
            await page.op("open", index=1)
            assert [m["name"] for m in page.image["modalities"]] == ["thermal"]
            await page.until(lambda: page.status["encoded_ahead"] == 2)
            encoded = {i["index"]: i["encoded"] for m in page.messages if m["type"] == "status" for i in m["images"]}
            assert encoded == {1: "ready", 2: "ready", 3: "ready"}
            await page.op("click", surface=None, x=40, y=30, positive=True)
            await page.op("open", index=4)
            assert page.image["modalities"] == [] and not page.joint.any()
            await page.op("mark", index=2, state="skipped")
            assert page.status["images"] == [{"index": 2, "state": "skipped", "encoded": "ready"}]
            with pytest.raises(RefusedError, match=r"Expected a state \(todo, done, skipped\) but got 'lost'"):
                await page.op("mark", index=2, state="lost")
            with pytest.raises(RefusedError, match="Expected an image from 0 to 4 but got 5"):
                await page.op("open", index=5)
            reply = await page.op("export", formats=["coco", "yolo"], write=False)
            assert reply["written"] == [] and all(line.startswith(("coco: ", "yolo: ")) for line in reply["losses"])
            reply = await page.op("export", formats=["coco"], write=True)
            assert reply["written"] == ["export/coco/annotations.json"]
        coco = json.loads((folder / "out/export/coco/annotations.json").read_text())
        assert len(coco["annotations"]) == 1
        assert (folder / "out/a2.png/journal.jsonl").is_file()

    asyncio.run(scenario())


def test_every_page_gets_every_change(app) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as one, page_at(server.address) as two:
            await one.op("open", index=0), await two.op("open", index=0)
            await one.op("click", surface=None, x=320, y=430, positive=True)
            await two.until(lambda: two.document["revision"] == one.document["revision"])
            assert np.array_equal(one.joint, two.joint) and one.joint.any()
            await two.op("undo")
            await one.until(lambda: one.document["redo"] is not None)
            assert not one.joint.any()

    asyncio.run(scenario())


def test_a_renamed_class_is_renamed_in_every_image(app, tmp_path) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            await page.op("add_surface", name="x", **{"class": "ground"})
            rows = [{"id": 1, "name": "road", "colour": "#010203", "key": "r"}, {"name": "tree"}]
            reply = await page.op("classes", classes=rows)
            assert [(c["id"], c["name"]) for c in reply["classes"]] == [(1, "road"), (3, "tree")]
            assert page.surface(1)["class"] == "road" and page.hello["classes"] == reply["classes"]
            with pytest.raises(RefusedError, match="of the classes 'road, tree' but got 'ground'"):
                await page.op("update_surface", surface=1, **{"class": "ground"})
            with pytest.raises(RefusedError) as refused:
                await page.op("update_surface", surface=1, **{"class": 3000 * "x"})
            assert len(str(refused.value)) < 300
            with pytest.raises(RefusedError, match="each name once"):
                await page.op("classes", classes=[{"name": "a"}, {"name": "a"}])
            with pytest.raises(RefusedError, match="up to 1000 classes but got 12000; send fewer"):
                await page.op("classes", classes=[{"name": f"c{n}"} for n in range(12_000)])
            await page.op("update_surface", surface=1, **{"class": "tree"})
            await page.op("undo")
            assert page.surface(1)["class"] == "road"
            await page.op("finish", surface=1)
            await page.op("classes", classes=[{"id": 1, "name": "street"}, {"id": 3, "name": "tree"}])
        saved = read_session(tmp_path / "out/rgb.png/session.json")
        assert saved.surfaces[0].class_name == "street" and {c.name for c in saved.classes} == {"street", "tree"}
        assert read_journal(tmp_path / "out/rgb.png/journal.jsonl").state.surfaces[0].class_name == "ground"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"op": "fly"}, "expected the content to be a message with an op of this app but got"),
        ({"op": "undo", "force": True}, "but got 'force'"),
        ({"op": "click", "surface": 1, "x": 1, "positive": True}, "expected y to be given"),
        ({"op": "click", "surface": None, "x": "1", "y": 1, "positive": True}, "expected x to be a number but got '1'"),
        ({"op": "click", "surface": None, "x": 9999, "y": 1, "positive": True}, "Expected a click inside the image of"),
        (
            {"op": "click", "surface": 77, "x": 1, "y": 1, "positive": True},
            "Expected the id of a surface (none yet) but got 77",
        ),
        ({"op": "brush", "surface": 1, "points": [[1, 2, 3]], "radius": 3}, "to be a point [x, y]"),
        (
            {"op": "click", "surface": None, "x": 1, "y": 1, "positive": True, "region": [1, 2]},
            "a region [x, y, width, height]",
        ),
        ({"op": "settings", "settings": {"a": "x" * 70_000}}, "Expected settings of up to 65536 characters"),
        ({"op": "export", "formats": ["gif"], "write": True}, "Expected a format (palette-png"),
        ({"op": "open", "index": "../../etc"}, "expected index to be a whole number"),
    ],
)
def test_a_malformed_op_is_refused_in_one_line_and_changes_nothing(app, tmp_path, message, text) -> None:
    async def scenario() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            before = (tmp_path / "out/rgb.png/journal.jsonl").read_bytes()
            with pytest.raises(RefusedError) as caught:
                await page.op(**message)
            assert text in str(caught.value) and "\n" not in str(caught.value)
            assert page.document["surfaces"] == [] and page.document["undo"] is None
            after = (tmp_path / "out/rgb.png/journal.jsonl").read_bytes()
            kinds = [json.loads(line).get("do") for line in after[len(before) :].splitlines()]
            assert kinds in ([], ["add", "undo"]), "a surface that its first click would have made is taken back"
            await page.socket.send_str("{nonsense")
            await page.until(lambda: page.messages[-1].get("re", 0) is None)
            assert page.messages[-1]["error"].startswith("Expected a message in JSON but got")

    asyncio.run(scenario())


def test_a_session_from_before_the_app_is_gone_on_with_and_kept(app, tmp_path) -> None:
    """What `annotate --clicks` or a program recorded has no journal. The app used to write an empty session over it."""
    out = tmp_path / "out" / "rgb.png"

    async def record() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            await page.op("add_surface", name="sign", **{"class": "vehicle"})
            await page.op("brush", surface=2, points=[[10, 10], [60, 40]], radius=5)
            await page.op("add_surface", name="empty")

    async def look() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            assert [page.surface(n)["name"] for n in (2, 3)] == ["sign", "empty"]
            assert page.surface(2)["class"] == "vehicle"

    asyncio.run(record())
    before, joint = (out / "session.json").read_bytes(), read_samples(out / "joint.png", ("P",), "a joint map")
    assert read_session(out / "session.json").click_count == 1 and set(np.unique(joint)) == {0, 1, 2}
    for name in ("journal.jsonl", ".results.json"):
        (out / name).unlink()
    asyncio.run(look())
    after = read_session(out / "session.json")
    assert [(s.surface_id, s.name) for s in after.surfaces][1:] == [(2, "sign"), (3, "empty")]
    assert np.array_equal(read_samples(out / "joint.png", ("P",), "a joint map"), joint)
    assert (out / "session.recorded.json").read_bytes() == before
    asyncio.run(look())  # from the journal now
    assert np.array_equal(read_samples(out / "joint.png", ("P",), "a joint map"), joint)
