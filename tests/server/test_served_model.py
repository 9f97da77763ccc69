"""The committed nano on the real server: same masks as the eager network by every path, the cache works, faults are
one line.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mmms_client import AsyncTritonPredictor, Click, Session, TritonPredictor
from mmms_client.doctor import examine, run_doctor
from mmms_client.errors import (
    ClickError,
    ContractError,
    DeadlineError,
    ModalityError,
    ModelNotReadyError,
    ServerUnreachableError,
    UsageError,
)
from mmms_client.geometry import Region
from mmms_client.triton import TritonTransport
from mmms_eval.synthetic import Scene, SceneConfig, render_scene
from mmms_server.process import ServerProcess, free_ports
from mmms_training.checkpoint import load_model, read_checkpoint
from mmms_training.predictor import TorchPredictor

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "checkpoints" / "nano.safetensors"
PATHS = ("ensemble", "shared-memory", "plain")
NAMES = ("thermal", "depth")


def scene(seed: int) -> Scene:
    return render_scene(4_000_000_000 + seed, SceneConfig(size_hw=(192, 256)), modalities=NAMES)


def maps(s: Scene) -> dict[str, np.ndarray]:
    return {name: s.modalities[name] for name in NAMES}


def centre(s: Scene) -> Click:
    """A click inside the largest surface."""
    ids, counts = np.unique(s.labels[(s.labels > 0) & (s.labels < 255)], return_counts=True)
    y, x = np.argwhere(s.labels == ids[counts.argmax()])[counts.max() // 2]
    return Click(float(x), float(y))


@pytest.fixture(scope="module")
def predictor(nano_server: ServerProcess) -> Iterator[TritonPredictor]:
    with TritonPredictor.connect(nano_server.url) as p:
        yield p


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))


def test_served_masks_equal_the_eager_network(predictor: TritonPredictor) -> None:
    """Two clicks deep, so that the previous mask's way through the server counts too."""
    eager = TorchPredictor(
        load_model(read_checkpoint(CHECKPOINT), predictor.contract.resolution), predictor.contract.resolution
    )
    bound = 0.998 if predictor.contract.precision != "fp32" else 0.999
    scores = []
    for seed in range(4):
        s = scene(seed)
        pair = [p.encode(s.image, maps(s)) for p in (predictor, eager)]
        clicks, previous = [centre(s)], [None, None]
        for _ in range(2):
            previous = [p.predict(e, clicks, m) for p, e, m in zip((predictor, eager), pair, previous, strict=True)]
            clicks = [*clicks, Click(3.0, 3.0, False)]
            scores.append(iou(previous[0] > 0.5, previous[1] > 0.5))
    assert np.mean(scores) >= bound, scores


def test_every_feature_path_gives_the_same_bytes(nano_server: ServerProcess) -> None:
    s = scene(10)
    answers = []
    for path in PATHS:
        with TritonPredictor.connect(nano_server.url, features=path) as p:
            answers.append(p.predict(p.encode(s.image, maps(s)), [centre(s)]))
            assert path in p.description
    assert all((a == answers[0]).all() for a in answers)
    assert answers[0].max() > 0.5 > answers[0].min()


def test_auto_takes_the_cached_ensemble_and_says_so(nano_server: ServerProcess) -> None:
    with TritonPredictor.connect(nano_server.url) as p:
        s = scene(11)
        p.encode(s.image, maps(s))
        assert p.description == "features: ensemble (the server's response cache answers)"


def test_clicks_after_the_first_never_encode_again(predictor: TritonPredictor) -> None:
    s = scene(12)
    encoded = predictor.encode(s.image, maps(s))
    before = predictor.transport.statistics("backbone_fuser")
    for x in range(5):
        predictor.predict(encoded, [Click(float(x), 5.0)])
    after = predictor.transport.statistics("backbone_fuser")
    assert after.cache_hits - before.cache_hits == 5 and after.cache_misses == before.cache_misses


def test_clicks_get_the_cores_before_encodes(nano_server: ServerProcess) -> None:
    assert nano_server.process is not None
    found: dict[str, set[int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or os.getpgid(int(folder.name)) != nano_server.process.pid:
            continue
        command = (folder / "cmdline").read_bytes().decode(errors="replace")
        for stage in ("backbone", "fuser", "csnet"):
            is_stage = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) == nano_server.process.pid
            if is_stage and f"/{stage}/" in command and "/model.py" in command:
                stats = [(task / "stat").read_text().rsplit(")", 1)[1].split() for task in (folder / "task").iterdir()]
                found[stage] = {int(fields[16]) for fields in stats}
    assert found == {"backbone": {10}, "fuser": {10}, "csnet": {0}}


def test_leaving_out_a_modality_changes_the_answer(predictor: TritonPredictor) -> None:
    changed = dict.fromkeys(NAMES, 0)
    for seed in range(20, 26):
        s = scene(seed)
        full = predictor.predict(predictor.encode(s.image, maps(s)), [centre(s)])
        for name in NAMES:
            rest = {k: v for k, v in maps(s).items() if k != name}
            less = predictor.predict(predictor.encode(s.image, rest), [centre(s)])
            changed[name] += int(np.abs(full - less).max() > 0.04)  # five times what an engine may differ
    assert min(changed.values()) == 6, changed


def test_flipping_a_clicks_sign_changes_the_answer(predictor: TritonPredictor) -> None:
    s = scene(30)
    encoded, click = predictor.encode(s.image, maps(s)), centre(s)
    positive = predictor.predict(encoded, [click])
    negative = predictor.predict(encoded, [Click(click.x_px, click.y_px, False)])
    x, y = int((click.x_px + 0.5) * 448 / 256), int((click.y_px + 0.5) * 448 / 192)
    assert positive[y, x] > 0.5 > negative[y, x]


def test_region_of_a_large_image(predictor: TritonPredictor) -> None:
    s = scene(31)
    region = Region(64, 48, 128, 96)
    encoded = predictor.encode(s.image, maps(s), region)
    mask = encoded.frame.probabilities_to_image(predictor.predict(encoded, [Click(100.0, 90.0)]))
    assert mask.shape == (192, 256) and mask[:48].max() == 0 and mask[:, :64].max() == 0 and mask.max() > 0.3


def test_many_sessions_at_once_do_not_mix(nano_server: ServerProcess, predictor: TritonPredictor) -> None:
    scenes = [scene(seed) for seed in range(40, 46)]
    expected = [predictor.predict(predictor.encode(s.image, maps(s)), [centre(s)]) for s in scenes]

    async def run() -> list[np.ndarray]:
        async with await AsyncTritonPredictor.connect(nano_server.url) as p:
            encoded = await asyncio.gather(*(p.encode(s.image, maps(s)) for s in scenes))
            return await asyncio.gather(*(p.predict(e, [centre(s)]) for e, s in zip(encoded, scenes, strict=True)))

    for got, want in zip(asyncio.run(run()), expected, strict=True):
        assert (got == want).all()


def test_session_on_the_server_undoes_without_asking(predictor: TritonPredictor) -> None:
    s = scene(32)
    session = Session(predictor, s.image, maps(s))
    road = session.add_surface("road")
    session.click(road, int(centre(s).x_px), int(centre(s).y_px), True)
    first = session.joint.copy()
    session.click(road, 2, 2, False)
    before = predictor.transport.statistics("csnet").requests
    session.undo()
    assert (session.joint == first).all() and predictor.transport.statistics("csnet").requests == before
    assert first.any()


def test_nan_pixels_reach_the_server_as_no_value(predictor: TritonPredictor) -> None:
    s = scene(33)
    holes = maps(s)
    holes["depth"] = holes["depth"].copy()
    holes["depth"][:40] = np.nan
    answer = predictor.predict(predictor.encode(s.image, holes), [centre(s)])
    assert np.isfinite(answer).all()


# Doctor
# -----------------------------------------------------------------------------------------------------------------
def test_doctor_finds_nothing_wrong(nano_server: ServerProcess) -> None:
    lines: list[str] = []
    assert run_doctor(nano_server.url, 30.0, lines.append) == 0
    text = "\n".join(lines)
    assert "FAIL" not in text and "the second click hit it" in text and "mask has bytes" in text


def test_server_without_a_cache_is_told_of(
    server_extra: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ServerProcess(ROOT / "model_repository", tmp_path / "log", ["--cache-config=local,size=1048576"]) as server:
        findings = {f.subject: f for f in examine(server.url, 30.0)}
        assert not findings["cache"].is_ok and "does not fit" in findings["cache"].text
        s = scene(50)
        with TritonPredictor.connect(server.url) as p:
            answer = p.predict(p.encode(s.image, maps(s)), [centre(s)])
            assert p.description.startswith("features: shared-memory")
        assert answer.max() > 0.5
        assert "no working response cache" in caplog.text


# What bad input gets
# ----------------------------------------------------------------------------------------------------
def test_more_clicks_than_the_server_takes(predictor: TritonPredictor) -> None:
    encoded = predictor.encode(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ClickError, match="at most 64 clicks per surface but got 65"):
        predictor.predict(encoded, [Click(1.0, 1.0)] * 65)


def test_click_outside_the_image(predictor: TritonPredictor) -> None:
    encoded = predictor.encode(np.zeros((32, 40, 3), np.uint8))
    with pytest.raises(ClickError, match=r"inside the image of 40x32 px but got \(40, 3\)"):
        predictor.predict(encoded, [Click(40.0, 3.0)])


def test_unknown_modality_names_the_known_ones(predictor: TritonPredictor) -> None:
    with pytest.raises(ModalityError, match=r"\(thermal, depth\) but got 'sonar'"):
        predictor.encode(np.zeros((32, 32, 3), np.uint8), {"sonar": np.zeros((32, 32))})


def test_unknown_feature_path(nano_server: ServerProcess) -> None:
    with pytest.raises(UsageError, match="plain, provider=HOST:PORT, bundle=FOLDER but got 'telepathy'"):
        TritonPredictor.connect(nano_server.url, features="telepathy")


def test_nobody_at_the_address() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ServerUnreachableError, match=f"at 127.0.0.1:{port} but nothing answers there; start one with"):
        TritonPredictor.connect(f"127.0.0.1:{port}")


def test_http_port_instead_of_grpc(nano_server: ServerProcess) -> None:
    with pytest.raises((ContractError, ServerUnreachableError)) as caught:
        TritonPredictor.connect(f"127.0.0.1:{nano_server.http_port}")
    assert "\n" not in str(caught.value) and str(nano_server.http_port) in str(caught.value)


def test_deadline_passed(predictor: TritonPredictor) -> None:
    hasty = TritonPredictor(predictor.transport, "ensemble", deadline_s=0.001)
    with pytest.raises(DeadlineError, match=r"within 0\.001 s but none came; .* raise --deadline"):
        hasty.encode(np.zeros((64, 64, 3), np.uint8))


def test_server_that_hangs_ends_at_the_deadline() -> None:
    """Accepts connections and never speaks."""
    listener = socket.create_server(("127.0.0.1", 0))
    stop = threading.Event()

    def accept() -> None:
        listener.settimeout(0.2)
        held = []
        while not stop.is_set():
            try:
                held.append(listener.accept())
            except TimeoutError:
                continue
        for connection, _ in held:
            connection.close()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        with pytest.raises((DeadlineError, ServerUnreachableError)):
            TritonPredictor.connect(f"127.0.0.1:{listener.getsockname()[1]}")
    finally:
        stop.set()
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def changed_server(server_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Another contract version, and a `fuser` that cannot load."""
    root = tmp_path_factory.mktemp("changed")
    shutil.copytree(ROOT / "model_repository", root / "repository")
    config = root / "repository" / "mmms" / "config.pbtxt"
    config.write_text(
        config.read_text().replace(
            '"contract_version" value { string_value: "2" }', '"contract_version" value { string_value: "0" }'
        )
    )
    with ServerProcess(root / "repository", root / "log") as server:
        yield server


def test_contract_of_another_version(changed_server: ServerProcess) -> None:
    with pytest.raises(
        ContractError, match=r"contract version 2 at .* but got version '0'; export the checkpoint again"
    ):
        TritonPredictor.connect(changed_server.url)
    assert run_doctor(changed_server.url, 5.0, lambda _: None) == 1


@pytest.fixture(scope="module")
def foreign_server(server_extra: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A Triton server of somebody else: one model, none of ours."""
    root = tmp_path_factory.mktemp("foreign")
    (root / "repository" / "echo" / "1").mkdir(parents=True)
    (root / "repository" / "echo" / "config.pbtxt").write_text(
        'name: "echo"\nbackend: "python"\nmax_batch_size: 0\ninput [{ name: "x" data_type: TYPE_FP32 dims: [ 1 ] }]\n'
        'output [{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] }]\n'
    )
    (root / "repository" / "echo" / "1" / "model.py").write_text(
        "class TritonPythonModel:\n    def execute(self, requests):\n        return []\n"
    )
    with ServerProcess(root / "repository", root / "log") as server:
        yield server


def test_server_of_somebody_else(foreign_server: ServerProcess) -> None:
    with pytest.raises(ModelNotReadyError, match="model 'mmms' to be ready at"):
        TritonPredictor.connect(foreign_server.url)


def test_wrong_shape_is_refused_and_the_server_goes_on(nano_server: ServerProcess, predictor: TritonPredictor) -> None:
    transport = TritonTransport(nano_server.url)
    try:
        with pytest.raises(ContractError, match="refused"):
            transport.infer("csnet", {"features": np.zeros((1, 3), np.float16)}, ("mask",))
    finally:
        transport.close()
    s = scene(34)
    assert predictor.predict(predictor.encode(s.image, maps(s)), [centre(s)]).max() > 0.5


# The command line
# -------------------------------------------------------------------------------------------------------
def client(*arguments: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **({"TRITON_URL": url} if url else {})}
    command = [sys.executable, "-c", "from mmms_client.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)


def test_annotate_writes_what_it_says(nano_server: ServerProcess, tmp_path: Path) -> None:
    from PIL import Image

    sample = ROOT / "samples" / "street"
    out = tmp_path / "out"
    modalities = [f"--modality={n}={sample / n}.png" for n in NAMES]
    done = client(
        "annotate",
        str(sample / "rgb.png"),
        *modalities,
        "--clicks",
        str(sample / "session.json"),
        "--out",
        str(out),
        url=nano_server.url,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(out / "joint.png") as joint, Image.open(sample / "rgb.png") as image:
        assert joint.mode == "P" and joint.size == image.size
        assert len(np.unique(np.asarray(joint))) > 3
    assert {"overlay.png", "session.json", "joint.png", "surfaces"} <= {p.name for p in out.iterdir()}


def test_annotate_without_a_server_writes_nothing(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    sample, out = ROOT / "samples" / "street", tmp_path / "out"
    done = client(
        "annotate",
        str(sample / "rgb.png"),
        "--clicks",
        str(sample / "session.json"),
        "--out",
        str(out),
        "--url",
        f"127.0.0.1:{port}",
    )
    assert done.returncode == 1 and "nothing answers there" in done.stderr and not out.exists()
    assert done.stderr.count("\n") == 1


def test_doctor_command_exits_by_what_it_finds(nano_server: ServerProcess) -> None:
    good = client("doctor", url=nano_server.url)
    assert good.returncode == 0 and "FAIL" not in good.stdout, good.stdout + good.stderr
    (port,) = free_ports(1)
    bad = client("doctor", "--url", f"127.0.0.1:{port}")
    assert bad.returncode == 1 and "nothing answers there" in bad.stdout
