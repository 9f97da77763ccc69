"""``mmms-client``: one-line errors, exit codes, and the headless run from files to files."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from killed_app import leave
from mmms_client import Session, cli, headless, read_session, replay, replay_run
from mmms_client.endpoint import Endpoint
from mmms_client.errors import UsageError
from mmms_client.export_masks.palette_png import read_palette_png, write_palette_png
from mmms_client.export_masks.surface_png import read_surface_png

DOCUMENT = {
    "schema_version": 1,
    "image": {"path": "image.png", "width": 64, "height": 48},
    "modalities": {"thermal": "thermal.png"},
    "surfaces": [
        {
            "id": 1,
            "name": "road",
            "class": "ground",
            "visits": [
                {
                    "order": 0,
                    "clicks": [{"x": 20, "y": 20, "positive": True}, {"x": 40, "y": 20, "positive": True}],
                }
            ],
        },
        {
            "id": 2,
            "name": "big door",
            "visits": [{"order": 1, "clicks": [{"x": 30, "y": 22, "positive": True}]}],
        },
    ],
}


@pytest.fixture
def folder(tmp_path, image, monkeypatch, predictor):
    """A folder with an image, its thermal twin and a session; the server is the predictor in memory."""
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)).save(tmp_path / "thermal.png")
    Image.fromarray(np.full((48, 64), 2500, np.uint16)).save(tmp_path / "depth.png")
    (tmp_path / "session.json").write_text(json.dumps(DOCUMENT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRITON_URL", raising=False)
    asked: list[tuple] = []

    def connect(*arguments):
        asked.append(arguments)
        return predictor

    monkeypatch.setattr(headless.annotate, "__defaults__", (connect,))
    predictor.asked = asked
    return tmp_path


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    code = cli.run([str(a) for a in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def annotate(capsys, *arguments: str) -> tuple[int, str, str]:
    return run(capsys, "annotate", "image.png", "--clicks", "session.json", "--out", "out", *arguments)


def test_the_whole_run(folder, capsys, predictor, image) -> None:
    code, out, err = annotate(capsys, "--modality", "thermal=thermal.png")
    assert (code, err) == (0, "")
    written = sorted(p.relative_to(folder / "out").as_posix() for p in (folder / "out").rglob("*") if p.is_file())
    assert written == [
        "joint.png",
        "overlay.png",
        "session.json",
        "surfaces/1_road.png",
        "surfaces/2_big door.png",
    ]
    session = Session(predictor, image)
    replay(read_session("session.json"), session)
    assert np.array_equal(read_palette_png("out/joint.png"), session.joint)
    for file, number in (("1_road.png", 1), ("2_big door.png", 2)):
        assert np.array_equal(read_surface_png(f"out/surfaces/{file}"), session.mask(number))
    saved = json.loads(Path("out/session.json").read_text())
    assert saved["image"]["path"] == "../image.png" and saved["modalities"] == {"thermal": "../thermal.png"}
    assert saved["surfaces"][1]["visits"] == DOCUMENT["surfaces"][1]["visits"]
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["id", "clicks", "area", "ms/click", "surface"]
    assert rows[1][:2] == ["1", "2"] and rows[1][-2:] == ["road", "(ground)"] and rows[2][:2] == ["2", "1"]
    assert rows[3][:3] == ["written", "to", "out:"]
    assert predictor.asked == [(Endpoint("localhost:8001"), "auto", 30.0)]


def test_what_a_run_wrote_can_be_run_again(folder, capsys) -> None:
    annotate(capsys)
    arguments = ("annotate", "image.png", "--clicks", "out/session.json", "--out", "again")
    assert run(capsys, *arguments)[0] == 0
    for name in ("joint.png", "overlay.png", "surfaces/1_road.png"):
        assert (folder / "out" / name).read_bytes() == (folder / "again" / name).read_bytes()


def test_options_reach_what_they_are_for(folder, capsys, predictor) -> None:
    (folder / "h.json").write_text("[[1,0,0],[0,1,0],[0,0,1]]")
    code, _, err = annotate(
        capsys,
        "-m",
        "lwir=thermal.png",
        "-m",
        "tof=depth.png",
        "--map",
        "lwir=thermal",
        "--map",
        "tof=depth",
        "--scale",
        "tof=0.001:0:0",
        "--align",
        "lwir=h.json",
        "--modalities",
        "thermal, depth",
        "--url",
        "grpc://h:9001/",
        "--deadline",
        "5",
        "--features",
        "plain",
        "--threshold",
        "0.25",
    )
    assert (code, err) == (0, "") and predictor.asked == [(Endpoint("h:9001"), "plain", 5.0)]
    saved = json.loads(Path("out/session.json").read_text())
    assert saved["alignment"] == {"thermal": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]}
    assert sorted(saved["modalities"]) == ["depth", "thermal"]


def test_triton_url(folder, capsys, predictor, monkeypatch) -> None:
    monkeypatch.setenv("TRITON_URL", "grpc://triton:1234")
    assert annotate(capsys)[0] == 0 and str(predictor.asked[0][0]) == "triton:1234"


def edited(**changes: object) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    document.update(changes)
    Path("session.json").write_text(json.dumps(document))


def with_clicks(*clicks: tuple[float, float]) -> list:
    visits = [{"clicks": [{"x": x, "y": y, "positive": True} for x, y in clicks]}]
    return [{"id": 1, "name": "a", "visits": visits}]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["-m", "thermal"],
            2,
            "Expected --modality NAME=PATH but got 'thermal'; write both sides of the '='.",
        ),
        (
            ["-m", "thermal=a", "-m", "thermal=b"],
            2,
            "Expected --modality once per name but got 'thermal' twice; drop one of them.",
        ),
        (
            ["-m", "infrared=thermal.png"],
            2,
            "Expected a modality of the model (thermal, depth, event) but got 'infrared'; rename it "
            "with --map infrared=MODEL_NAME or leave it out with --modalities.",
        ),
        (
            ["--modalities", "depth"],
            2,
            "Expected a file for modality 'depth' because --modalities selects it but got only none; add "
            "--modality depth=PATH or take it out of --modalities.",
        ),
        (
            ["-m", "depth=depth.png"],
            2,
            "Expected the unit of 'depth.png' because the model wants 'depth' in m but got none; say it with "
            '--scale depth=FACTOR[:OFFSET[:INVALID]], or in modalities.json beside the file as {"depth": '
            '{"unit": "m"}}.',
        ),
        (
            ["--url", "http://host:8000"],
            2,
            "Expected --url host:port of the server's gRPC port (usually 8001) but got "
            "'http://host:8000'; write for example --url host:8001.",
        ),
        (
            ["--url", "host"],
            2,
            "Expected --url host:port of the server's gRPC port but got 'host'; write for example --url "
            "localhost:8001.",
        ),
        (["--threshold", "2"], 2, "Invalid value for '--threshold': 2.0 is not in the range 0<x<1."),
        (
            ["-m", "thermal=none.png"],
            1,
            "Expected the file 'none.png' but got 'No such file'; check the path (from {cwd!r}).",
        ),
        (
            ["--align", "thermal=none.json"],
            1,
            "Expected 'none.json' to hold a 3x3 homography (9 numbers, row by row) but got 'No such "
            "file or directory'; correct the file, or use stretch.",
        ),
    ],
)
def test_bad_options(folder, capsys, arguments, code, message) -> None:
    found, out, err = annotate(capsys, *arguments)
    assert err == f"mmms-client: error: {message.replace('{cwd!r}', repr(str(folder)))}\n"
    assert (found, out) == (code, "") and not (folder / "out").exists()


def test_an_unknown_option_is_named(folder, capsys) -> None:
    """In the words of the installed version of click."""
    found, out, err = annotate(capsys, "--nope")
    assert re.fullmatch(r"mmms-client: error: No such option:? '?--nope'?\.?\n", err)
    assert (found, out) == (2, "") and not (folder / "out").exists()


@pytest.mark.parametrize(
    ("surfaces", "code", "message"),
    [
        (
            with_clicks((64, 3)),
            2,
            "Expected a click inside the image of 64x48 px but got (64, 3); x runs from 0 to 63 and y from 0 to 47.",
        ),
        (
            with_clicks(*[(3, 3)] * 6),
            2,
            "Expected at most 5 clicks per surface but got 6: the server takes no more; finish the surface "
            "with fewer clicks, or export the model with a larger click list.",
        ),
        (
            [],
            1,
            "session.json: expected at least one surface with a click but got none; add clicks to the file.",
        ),
        (
            with_clicks(),
            1,
            "session.json: expected at least one surface with a click but got none; add clicks to the file.",
        ),
        (3, 1, "session.json: expected surfaces to be a list but got 3; correct the file."),
    ],
)
def test_bad_sessions(folder, capsys, surfaces, code, message) -> None:
    edited(surfaces=surfaces)
    found, out, err = annotate(capsys)
    assert err == f"mmms-client: error: {message}\n"
    assert (found, out) == (code, "") and not (folder / "out").exists()


def test_empty_session_and_other_image(folder, capsys) -> None:
    edited(image={"path": "a", "width": 10, "height": 10})
    assert annotate(capsys)[2] == (
        "mmms-client: error: Expected an image of 10x10 px, as in the session, but got 64x48 px; give the "
        "image on which the clicks were made.\n"
    )
    Path("session.json").write_text("")
    assert annotate(capsys)[2] == (
        "mmms-client: error: session.json: expected a session in JSON but got an empty file; save the session again.\n"
    )


def test_truncated_image_and_nan_and_channels(folder, capsys) -> None:
    np.save("nan.npy", np.array([[1.0, np.nan], [2.0, 3.0]]).repeat(24, 0).repeat(32, 1))
    _, _, err = annotate(capsys, "-m", "thermal=nan.npy")
    assert err == (
        "mmms-client: error: Expected finite numbers in 'nan.npy' but got NaN or inf in 768 of 3072; repair "
        "them, or declare them as 'no measurement' with --scale thermal=1:0:nan.\n"
    )
    assert annotate(capsys, "-m", "thermal=nan.npy", "--scale", "thermal=1:0:nan")[0] == 0
    assert "with 3 channel(s) but got 1 (shape 48x64)" in annotate(capsys, "-m", "event=thermal.png")[2]
    Path("image.png").write_bytes(Path("image.png").read_bytes()[:2000])
    code, _, err = annotate(capsys)
    assert code == 1 and "Expected 'image.png' to be a whole image but got 'image file is truncated'" in err


def test_no_room_on_disk(folder, capsys, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", fail)
    code, out, err = annotate(capsys)
    assert (
        code == 1
        and out == ""
        and err
        == (
            "mmms-client: error: Expected to write the file 'out/joint.png' but got 'No space left on "
            "device'; free some space there or choose another folder.\n"
        )
    )
    assert not [p for p in (folder / "out").rglob("*") if p.is_file()]


def test_what_the_app_is_told_wrongly_is_said_before_it_starts(folder, capsys) -> None:
    def line(*arguments: str) -> str:
        code, _, err = run(capsys, "annotate", *arguments, "--no-browser")
        assert code in (1, 2) and err.count("\n") == 1
        return err.removeprefix("mmms-client: error: ")

    (folder / "empty.txt").write_text("\n")
    (folder / "twice.txt").write_text("road #808080\nroad\n")
    (folder / "pictures").mkdir()
    assert line("nothing.png", "-o", "out").startswith("Expected an image or a folder of images but got 'nothing.png'")
    assert line("pictures", "-o", "out").startswith("Expected images in 'pictures' but got none")
    assert line(".", "-o", ".").startswith("Expected --out to be another folder than the images'")
    assert line(".", "-o", "out", "-m", "thermal=thermal.png").startswith("Expected a folder for modality 'thermal'")
    assert line("image.png", "-o", "out", "--classes", "empty.txt").startswith("Expected at least one class in")
    assert line("image.png", "-o", "out", "--classes", "twice.txt").startswith(
        "twice.txt: expected class 2 to be a name of"
    )
    assert line("image.png", "-o", "out", "-m", "t=thermal.png", "--scale", "x=1").startswith(
        "Expected --scale for a modality"
    )
    with pytest.raises(
        UsageError, match=r"Expected --clicks SESSION\.json, the surfaces and clicks to answer, but got none"
    ):
        headless.annotate(headless.AnnotateRequest("image.png", None, "out", "localhost:1"), print)


def test_the_app_without_its_packages_says_how_to_get_them(folder) -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from mmms_client import cli; cli.main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "annotate", "image.png", "-o", "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.endswith("run: pip install 'mmms[annotate]'\n") and not (folder / "out").exists()


def test_a_session_replays_on_another_model_and_says_the_difference(folder, capsys, predictor, monkeypatch) -> None:
    annotate(capsys, "--modality", "thermal=thermal.png")
    monkeypatch.setattr(replay_run.replay_session, "__defaults__", (None, lambda *_: predictor))
    code, out, err = run(capsys, "replay", "out", "--json", "report.json")
    assert (code, err) == (0, "") and "with thermal" in out
    rows = [line.split() for line in out.splitlines()]
    assert rows[2][:4] == ["1", "2", "1.0000", "0"] and rows[3][:3] == ["2", "1", "1.0000"]
    assert rows[-1][:3] == ["mean", "IoU", "1.0000"]
    joint = read_palette_png("out/joint.png")
    joint[:, :20] = 0
    write_palette_png("out/joint.png", joint)
    code, out, _ = run(capsys, "replay", "out/session.json", "--json", "report.json")
    report = json.loads(Path("report.json").read_text())
    row = report["surfaces"][0]
    assert code == 0 and row["iou"] == row["recorded_px"] / row["replayed_px"] < 1 and row["clicks"] == 2
    assert report["different"] == row["changed_px"] / (48 * 64)
    code, _, err = run(capsys, "replay", "out", "--modality", "radar=thermal.png")
    assert code == 2 and "Expected a modality of the model" in err
    code, _, err = run(capsys, "replay", "out/surfaces")
    assert code == 1 and err.startswith("mmms-client: error: Expected session.json in 'out/surfaces' but got none")


def test_clicks_of_an_app_that_was_killed_are_replayed_and_answered(folder, capsys, predictor, monkeypatch) -> None:
    session = Session(predictor, np.zeros((48, 64, 3), np.uint8))
    for x in (10, 30, 50):
        session.click(session.add_surface(f"at {x}"), x, 20)
    image_folder = leave(folder / "work", "image.png", "../../image.png", session, written=2)
    monkeypatch.setattr(replay_run.replay_session, "__defaults__", (None, lambda *_: predictor))
    code, out, _ = run(capsys, "replay", image_folder)
    assert code == 0 and "replayed 3 click(s)" in out
    assert "mean IoU 1.0000 over 3 surface(s); 0.00% of the joint map differs" in out
    arguments = ("annotate", "image.png", "--clicks", image_folder / "session.json", "--out", "again")
    assert run(capsys, *map(str, arguments))[0] == 0
    assert np.array_equal(read_palette_png("again/joint.png"), session.joint)


def test_interrupts_and_faults_of_ours(folder, capsys, predictor) -> None:
    predictor.error = KeyboardInterrupt()
    code, _, err = annotate(capsys)
    assert code == 130 and err.strip().endswith("mmms-client: error: interrupted")
    predictor.error = ZeroDivisionError("1/0")
    code, _, err = annotate(capsys)
    assert code == 1 and err.startswith("mmms-client: error: ZeroDivisionError: 1/0; this is a fault in mmms")
    assert "Traceback" not in err and err.count("\n") == 1
    code, _, err = run(capsys, "--debug", "annotate", "image.png", "--clicks", "session.json", "--out", "out")
    assert code == 1 and "Traceback" in err


def test_help_and_no_arguments(capsys) -> None:
    assert run(capsys, "--help")[0] == 0
    code, out, err = run(capsys)
    assert "annotate" in out + err and "doctor" in out + err and code in (0, 2)
    assert run(capsys, "nope")[2] == "mmms-client: error: No such command 'nope'.\n"


def plugin(monkeypatch, name: str, value: str) -> None:
    point = importlib.metadata.EntryPoint(name, value, cli.COMMANDS_GROUP)
    monkeypatch.setattr(cli, "entry_points", lambda group: [point])


def test_a_missing_extra_prints_the_pip_line(monkeypatch, capsys) -> None:
    plugin(monkeypatch, "bench", "no_such_package.cli:bench")
    code, _, err = run(capsys, "bench", "--dataset", "synthetic", "--help")
    assert code == 2 and err == (
        "mmms-client: error: Expected the packages of the 'bench' command but got \"No module named "
        "'no_such_package'\"; run: pip install 'mmms[bench]'\n"
    )
    code, out, _ = run(capsys, "--help")
    assert code == 0 and "(not installed: pip install 'mmms[bench]')" in out
    plugin(monkeypatch, "compare", "no_such_package.cli:compare [bench]")
    assert run(capsys, "compare", "a.json", "b.json")[2].endswith("run: pip install 'mmms[bench]'\n")


@click.command()
@click.option("--answer", type=int)
def extra(answer: int) -> None:
    """A plugin."""
    raise UsageError(f"Expected nothing but got {answer}; fine.")


def test_a_plugin_runs(monkeypatch, capsys) -> None:
    plugin(monkeypatch, "extra", "tests:extra")
    monkeypatch.setattr(importlib.metadata.EntryPoint, "load", lambda self: extra)
    assert run(capsys, "extra", "--answer", "42")[::2] == (
        2,
        "mmms-client: error: Expected nothing but got 42; fine.\n",
    )


@pytest.mark.parametrize(
    "url", ["localhost:8001", "grpc://localhost:8001", "grpc://localhost:8001/", "GRPC://localhost:8001"]
)
def test_addresses(url) -> None:
    assert Endpoint.parse(url).address == "localhost:8001"
    assert Endpoint.parse("[::1]:8001").address == "[::1]:8001"


@pytest.mark.parametrize(
    "url", ["", "http://x", "https://x:8000/v2", "x:", ":8001", "x:1:2", "grpc://", "a b:1", "x:port"]
)
def test_other_addresses(url) -> None:
    with pytest.raises(UsageError, match=r"^Expected --url host:port of the server's gRPC port"):
        Endpoint.parse(url)
