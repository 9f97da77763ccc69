"""Whole data sets: encoded ahead from the command line, begun with masks from elsewhere, replayed."""

from __future__ import annotations

import asyncio
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_client import RefusedError, page_at
from mmms_client import AsyncTritonPredictor, cli
from mmms_client.export_masks.instance_png import write_instance_png
from mmms_client.journal import read_journal
from mmms_server.process import ServerProcess

from .conftest import STREET

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


def run(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def counts(url: str) -> dict[str, int]:
    async def ask() -> dict[str, int]:
        async with await AsyncTritonPredictor.connect(url) as predictor:
            return {name: s.requests for name, s in (await predictor.transport.all_statistics()).items()}

    return asyncio.run(ask())


def test_what_was_encoded_ahead_is_not_encoded_again_by_the_app(app, folder, capsys, nano_server) -> None:
    """The app must send the same bytes as the command, alignments of the project included."""

    async def align() -> None:
        async with (
            app(folder / "rgb", {"thermal": folder / "thermal"}, ahead=0) as server,
            page_at(server.address) as page,
        ):
            await page.op("open", index=0)
            await page.op("align", modality="thermal", dx=2, dy=0, scale=1, scope="image")

    async def click_everywhere() -> None:
        async with (
            app(folder / "rgb", {"thermal": folder / "thermal"}, ahead=0) as server,
            page_at(server.address) as page,
        ):
            for index in range(5):
                await page.op("open", index=index)
                await page.op("click", surface=None, x=40, y=30, positive=True)

    asyncio.run(align())
    (folder / "rgb" / "broken.png").write_bytes(b"no picture")
    files = (folder / "rgb", "-m", f"thermal={folder / 'thermal'}", "--out", folder / "out", "--url", nano_server.url)
    code, out, err = run(capsys, "encode", *files)
    assert (code, err) == (0, "") and "encoded 5 of 6 image(s)" in out and "note: broken.png: Expected" in out
    assert "no longer has the first image" not in out
    (folder / "rgb" / "broken.png").unlink()
    before = counts(nano_server.url)["backbone"]
    asyncio.run(click_everywhere())
    assert counts(nano_server.url)["backbone"] == before


def test_a_cache_that_is_too_small_is_said(folder, capsys, tmp_path, server_extra) -> None:
    with ServerProcess(REPOSITORY, tmp_path / "log", ["--cache-config=local,size=3500000"]) as server:
        code, out, _ = run(capsys, "encode", folder / "rgb", "--url", server.url)
    assert code == 0 and "its cache is smaller than this data set" in out and "1.5 MB for each image" in out


def test_an_app_begins_with_masks_once_and_corrects_them(app, folder) -> None:
    masks = folder / "masks"
    (masks / "day").mkdir(parents=True)
    joint = np.zeros((60, 80), np.uint16)
    joint[5:20, 5:40], joint[30:50, 10:70] = 3, 700
    write_instance_png(masks / "a2.png", joint)
    write_instance_png(masks / "day/b.png", joint[:40])

    async def scenario() -> None:
        more = {"masks": str(masks), "ahead": 0}
        async with app(folder / "rgb", {}, **more) as server, page_at(server.address) as page:
            await page.op("open", index=1)
            assert np.array_equal(page.joint, joint) and page.document["undo"] == "import 2 surfaces"
            await page.op("click", surface=700, x=40, y=10, positive=True)
            await page.op("click", surface=700, x=40, y=25, positive=False)
            await page.op("open", index=0)
            assert page.document["surfaces"] == [], "no masks for this one"
            with pytest.raises(RefusedError, match="as the image, but got 80x40 px"):
                await page.op("open", index=3)
        async with app(folder / "rgb", {}, **more) as server, page_at(server.address) as page:
            await page.op("open", index=1)
            assert len(page.surface(700)["clicks"]) == 2 and len(page.document["surfaces"]) == 2

    asyncio.run(scenario())
    assert len(read_journal(folder / "out/a2.png/journal.jsonl").done) == 3


def test_the_masks_may_be_a_coco_file_of_the_whole_folder(app, folder) -> None:
    square = {"segmentation": [[5, 5, 20, 5, 20, 20, 5, 20]], "area": 225, "bbox": [5, 5, 15, 15], "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a2.png", "width": 80, "height": 60}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **square}],
        "categories": [{"id": 1, "name": "box"}],
    }
    (folder / "coco.json").write_text(json.dumps(content))

    async def scenario() -> None:
        masks = str(folder / "coco.json")
        async with app(folder / "rgb", {}, masks=masks, ahead=0) as server, page_at(server.address) as page:
            await page.op("open", index=1)
            assert [s["class"] for s in page.document["surfaces"]] == ["box"] and (page.joint > 0).sum() == 225
            await page.op("open", index=0)
            assert page.document["surfaces"] == []

    asyncio.run(scenario())


def test_a_recorded_session_replays_with_and_without_a_sensor(app, tmp_path, capsys, nano_server) -> None:
    async def record() -> None:
        async with app() as server, page_at(server.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            await page.op("click", surface=1, x=100, y=460, positive=True)
            await page.op("click", surface=None, x=200, y=300, positive=True)

    asyncio.run(record())
    session = tmp_path / "out" / "rgb.png"
    report = tmp_path / "report.json"
    code, out, err = run(capsys, "replay", session, "--url", nano_server.url, "--json", report)
    assert (code, err) == (0, "") and "mean IoU 1.0000 over 2 surface(s); 0.00% of the joint map differs" in out
    same = json.loads(report.read_text())
    assert [row["clicks"] for row in same["surfaces"]] == [2, 1] and all(row["ms"] > 0 for row in same["surfaces"])
    code, out, _ = run(capsys, "replay", session, "--url", nano_server.url, "--json", report, "--modalities", "depth")
    other = json.loads(report.read_text())
    assert code == 0 and "with depth" in out and other["mean_iou"] < 1
    code, out, _ = run(capsys, "bench", "--help")
    assert code == 0


def test_16_bit_float_and_colour_maps_keep_their_values(app, tmp_path, folder) -> None:
    (tmp_path / "maps").mkdir()
    values = np.linspace(-3.5, 900, 80 * 60).reshape(60, 80)
    values[3, 4] = np.nan
    np.save(tmp_path / "maps" / "a1.npy", values.astype(np.float32))
    (tmp_path / "maps" / "modalities.json").write_text('{"heat": {"unit": "degC", "invalid": "nan"}}')
    (tmp_path / "colour").mkdir()
    Image.fromarray(np.full((60, 80, 3), (9, 200, 30), np.uint8)).save(tmp_path / "colour" / "a1.png")

    async def scenario() -> None:
        files = {"heat": tmp_path / "maps", "event": tmp_path / "colour"}
        async with app(folder / "rgb", files, ahead=0) as server, page_at(server.address) as page:
            await page.op("open", index=0)
            heat, event = page.image["modalities"]
            assert heat["unit"] == "degC" and not heat["in_model"] and heat["error"] is None
            status, data, _ = await page.get("api/images/0/modality/heat")
            q = np.frombuffer(zlib.decompress(data), "<u2").reshape(60, 80)
            assert q[3, 4] == 0 and (q == 0).sum() == 1
            shown = (q - 1.0) * heat["scale"] + heat["offset"]
            assert np.nanmax(np.abs(shown - values)[q > 0]) <= heat["scale"]
            status, data, headers = await page.get("api/images/0/modality/event")
            assert status == 200 and headers["Content-Type"] == "image/png" and event["kind"] == "colour"
            (tmp_path / "picture.png").write_bytes(data)
            assert np.asarray(Image.open(tmp_path / "picture.png"))[5, 5].tolist() == [9, 200, 30]

    asyncio.run(scenario())


def test_a_map_that_cannot_be_used_is_said_and_the_rest_goes_on(app, tmp_path, folder) -> None:
    Image.fromarray(np.zeros((60, 60), np.uint16)).save(tmp_path / "square.png")

    async def scenario() -> None:
        files = {"thermal": tmp_path / "square.png", "depth": STREET / "depth.png"}
        async with app(folder / "rgb" / "a1.png", files) as server, page_at(server.address) as page:
            await page.op("open", index=0)
            thermal, depth = page.image["modalities"]
            assert thermal["error"].startswith("Expected modality 'thermal' with the aspect ratio of its image")
            assert thermal["width"] == 0 and depth["error"] is None
            assert (await page.get("api/images/0/modality/thermal"))[0] == 422
            await page.op("click", surface=None, x=40, y=30, positive=True)

    asyncio.run(scenario())
