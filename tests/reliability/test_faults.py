"""Servers that hang, crawl or come back as another model; disks that are full or read-only; clocks that jump."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_client import AppProcess, RefusedError, page_at
from killing import Supervisor, bench_command, check_whole, family, finished_images, seen, stage_process
from mmms_client import AsyncTritonPredictor, Click, Session, TritonPredictor
from mmms_client.cli import run as client
from mmms_client.errors import DeadlineError, ModelReplacedError
from mmms_client.export_masks.instance_png import read_instance_png
from mmms_client.triton import TritonTransport
from mmms_server.process import ServerProcess
from served_repositories import REPOSITORY, contract_of, write_another_checkpoint

STREET = REPOSITORY.parent / "samples" / "street"
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else, or mount")


def small_image(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)


# Servers that hang or crawl -----------------------------------------------------------------------------
@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_hangs_ends_at_the_deadline_and_the_page_stays_alive(
    nano_server: ServerProcess, tmp_path: Path
) -> None:
    own_server = nano_server  # it goes on afterwards
    assert own_server.process is not None
    options = ("--out", tmp_path / "out", "--url", own_server.url, "--deadline", "20")

    async def scenario(address: str, pid: int) -> None:
        async with page_at(address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            before = seen(page)
            with frozen(pid):
                with pytest.raises(RefusedError, match=r"^Expected .* within \d+ s but none came; .* hangs: try again"):
                    await page.op("click", surface=1, x=100, y=460, positive=True)
                assert seen(page) == before
                waiting = page.start("click", surface=1, x=100, y=460, positive=True)
                await asyncio.sleep(0.5)  # as long as a person takes to think better of it
                assert (await page.op("undo"))["done"], "it takes back what waits"
                assert "nothing was changed" in (await waiting)["error"] and seen(page) == before
                assert (await page.op("undo"))["done"] and (await page.op("redo"))["done"]
                await page.op("brush", surface=1, points=[[20, 20]], radius=5)
                assert (await page.get("api/images/0/rgb"))[0] == 200
            await page.until(lambda: page.status["server"] == "ready")
            await page.op("click", surface=1, x=100, y=460, positive=True)
            assert len(page.surface(1)["clicks"]) >= 1

    with TritonPredictor.connect(own_server.url, "ensemble") as predictor:
        encoded = predictor.encode(small_image(0))
        answer = predictor.predict(encoded, [Click(5, 5)])
        predictor.deadline_s = 1.0
        with frozen(own_server.process.pid), pytest.raises(DeadlineError, match=r"within 1 s but none came"):
            predictor.predict(encoded, [Click(5, 5)])
        predictor.deadline_s = 30.0
        assert np.array_equal(predictor.predict(encoded, [Click(5, 5)]), answer)
    with AppProcess(STREET / "rgb.png", *options) as app:
        asyncio.run(scenario(app.address, own_server.process.pid))


@pytest.mark.slow
def test_a_server_that_crawls_gives_the_same_answers(nano_server: ServerProcess) -> None:
    """Nine tenths of its time are taken away, from the server and all its stages, at any point of what they do."""
    assert nano_server.process is not None
    pids, stop = family(nano_server.process.pid), threading.Event()

    def crawl() -> None:
        while not stop.is_set():
            for number, pause_s in ((signal.SIGSTOP, 0.09), (signal.SIGCONT, 0.01)):
                for pid in pids:
                    os.kill(pid, number)
                stop.wait(pause_s)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    def clicks(predictor: TritonPredictor, seed: int) -> bytes:
        session = Session(predictor, small_image(seed))
        surface = session.add_surface("it")
        for x, y in ((5, 5), (40, 30), (70, 50)):
            session.click(surface, x, y)
        return session.joint.tobytes()

    with TritonPredictor.connect(nano_server.url, deadline_s=120.0) as predictor:
        expected = [clicks(predictor, seed) for seed in range(2)]
        thread = threading.Thread(target=crawl)
        thread.start()
        try:
            assert [clicks(predictor, seed) for seed in range(2)] == expected
            clicks(predictor, 7)  # not in the cache
        finally:
            stop.set()
            thread.join()


# Another model ------------------------------------------------------------------------------------------
def restart(server: ServerProcess) -> None:
    server.stop()
    server.start()


@pytest.mark.timeout(600)
def test_another_checkpoint_in_the_folder_that_is_served_answers_nobody_who_began_with_the_old_one(
    server_extra: None, tmp_path: Path
) -> None:
    """Nothing changes until a stage dies and the server begins anew; then sessions by every path and the bench are
    refused with both hashes. The old checkpoint back, all go on with the same answers.
    """
    ours, clicks, json_file = contract_of(), [Click(30, 20)], tmp_path / "bench.json"
    shutil.copytree(REPOSITORY, tmp_path / "served")
    began = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(ServerProcess(tmp_path / "served", tmp_path / "log"))
        for path in ("ensemble", "shared-memory", "plain"):
            predictor = stack.enter_context(TritonPredictor.connect(server.url, path, patience_s=120.0))
            encoded = predictor.encode(small_image(1))
            began.append((predictor, encoded, predictor.predict(encoded, clicks)))
        command = bench_command(server.url, 60, json_file)
        bench = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        stack.callback(bench.kill)
        while finished_images(json_file) < 1 and bench.poll() is None:
            threading.Event().wait(0.05)
        theirs = write_another_checkpoint(tmp_path / "served")
        for predictor, encoded, answer in began:
            assert np.array_equal(predictor.predict(encoded, clicks), answer)
            assert np.array_equal(predictor.predict(predictor.encode(small_image(1)), clicks), answer)
        refused = asyncio.run(asked_over_the_change(server))
        both = [ours.checkpoint_sha256, theirs.checkpoint_sha256]
        assert [refused.index(sha) > 0 for sha in both] == [True, True] and "is served there now" in refused
        for predictor, encoded, _ in began:
            with pytest.raises(ModelReplacedError, match=re.escape(refused)):
                predictor.predict(encoded, clicks)
            with pytest.raises(ModelReplacedError, match=re.escape(refused)):
                predictor.encode(small_image(2))
        _, text = bench.communicate(timeout=120)
        assert bench.returncode == 1 and "kept:" in text and refused in text, text
        again = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert again.returncode == 2 and "model.checkpoint_sha256" in again.stderr, again.stderr
        with TritonPredictor.connect(server.url, "ensemble") as new:
            different = new.predict(new.encode(small_image(1)), clicks)
        server.repository = REPOSITORY
        restart(server)
        for predictor, encoded, answer in began:
            assert np.array_equal(predictor.predict(encoded, clicks), answer)
            assert np.abs(answer - different).mean() > 0.1, "a mixed answer could not be overlooked"


async def asked_over_the_change(server: ServerProcess) -> str:
    """Ask again and again while a stage dies, the server ends for it, and is started anew; what is refused at last."""
    assert server.process is not None
    async with await AsyncTritonPredictor.connect(server.url, patience_s=120.0) as predictor:
        encoded = await predictor.encode(small_image(1))
        answer = await predictor.predict(encoded, [Click(5, 5)])
        os.kill(stage_process(server, "csnet"), signal.SIGKILL)
        ended = asyncio.create_task(asyncio.to_thread(server.process.wait, 60))
        started = asyncio.create_task(asyncio.to_thread(lambda: (server.process.wait(60), restart(server))))
        with pytest.raises(ModelReplacedError) as caught:
            while True:
                assert np.array_equal(await predictor.predict(encoded, [Click(5, 5)]), answer)
        await ended
        await started
        async with await AsyncTritonPredictor.connect(server.url) as new:
            with pytest.raises(ModelReplacedError, match=r"but got one for another model .*; encode it again"):
                await new.predict(encoded, [Click(5, 5)])
    return str(caught.value)


def test_a_server_that_dies_while_a_client_looks_for_its_cache_is_asked_anew(
    server_extra: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the question went to a server whose cache and counter are gone: that is no server without a cache."""
    with (
        ServerProcess(REPOSITORY, tmp_path / "log") as server,
        Supervisor(server) as supervisor,
        TritonPredictor.connect(server.url, patience_s=120.0) as predictor,
    ):
        infer, asked = predictor.transport.infer, []

        def infer_while_it_dies(model: str, *arguments: Any, **options: Any) -> dict[str, np.ndarray]:
            asked.append(model)
            if len(asked) == 2:
                server.kill()
            return infer(model, *arguments, **options)

        monkeypatch.setattr(predictor.transport, "infer", infer_while_it_dies)
        predictor.encode(small_image(3))
        supervisor.until_started(1)
        assert predictor.description == "features: ensemble (the server's response cache answers)"


def test_a_stage_that_hangs_does_not_outlive_its_server(server_extra: None, tmp_path: Path) -> None:
    """It would keep its memory for good, and nobody would know of it."""
    with ServerProcess(REPOSITORY, tmp_path / "log") as server:
        stage = stage_process(server, "csnet")
        stage_file = os.pidfd_open(stage)
        os.kill(stage, signal.SIGSTOP)
        server.kill()
        assert select.select([stage_file], [], [], 60.0)[0], "it is still there"
    os.close(stage_file)
    assert "stage csnet waits for it and is ended" in server.log.read_text()


def test_a_version_that_is_not_loaded_answers_nobody(nano_server: ServerProcess) -> None:
    transport = TritonTransport(nano_server.url)
    contract = contract_of()
    tensors = {spec.name: np.zeros((1, *spec.shape), spec.numpy_dtype) for spec in contract.models()["mmms"].inputs}
    try:
        good = transport.infer("mmms", tensors, ("mask",), version=str(contract.model_version))
        assert good["mask"].shape == (1, 1, 448, 448)
        with pytest.raises(Exception, match=r"version 1 is not found"):
            transport.infer("mmms", tensors, ("mask",), version="1")
    finally:
        transport.close()


# Disks --------------------------------------------------------------------------------------------------
def test_a_disk_that_is_full_refuses_and_changes_nothing(nano_server: ServerProcess, tmp_path: Path) -> None:
    """The system ends a write of the running app after some bytes: half a line, then an error."""
    out = tmp_path / "out"
    arguments = (STREET / "rgb.png", "--out", out, "--url", nano_server.url)
    journal = out / "rgb.png/journal.jsonl"
    refusal = r"^Expected to write the file '.*' but got '.*'; .* choose another folder\.$"

    async def scenario(app: AppProcess) -> bytes:
        async with page_at(app.address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            before = seen(page)
            unlimited = resource.prlimit(app.process.pid, resource.RLIMIT_FSIZE)
            for more in (0, 1, 100):  # bytes that still fit
                size = journal.stat().st_size
                resource.prlimit(app.process.pid, resource.RLIMIT_FSIZE, (size + more, unlimited[1]))
                with pytest.raises(RefusedError, match=refusal):
                    await page.op("brush", surface=1, points=[[x, 2 * x] for x in range(200)], radius=9)
                assert seen(page) == before
                assert (await page.get("api/images/0/rgb"))[0] == 200
                resource.prlimit(app.process.pid, resource.RLIMIT_FSIZE, unlimited)
                assert journal.read_bytes().endswith(b"}\n") and journal.stat().st_size == size
            await page.op("brush", surface=1, points=[[50, 50]], radius=9)
            return seen(page)[1]

    with AppProcess(*arguments) as app:
        joint = asyncio.run(scenario(app))
        app.process.kill()
    check_whole(out)
    with AppProcess(*arguments) as app:
        asyncio.run(opened_again(app.address, joint))


async def opened_again(address: str, joint: bytes) -> None:
    async with page_at(address) as page:
        await page.op("open", index=0)
        assert seen(page)[1] == joint


@ROOT_ONLY
@pytest.mark.slow
def test_no_space_left_on_the_device(nano_server: ServerProcess, tmp_path: Path) -> None:
    """A real file system of 256 KiB: what does not fit is refused, what was acknowledged is there."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")

    async def scenario(address: str) -> bytes:
        async with page_at(address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            with pytest.raises(RefusedError, match="No space left on device'; free some space there"):
                for x in range(2000):
                    await page.op("brush", surface=1, points=[[x % 640, n % 480] for n in range(200)], radius=3)
            joint = seen(page)[1]
            with pytest.raises(RefusedError, match="No space left on device"):
                await page.op("export", formats=["instance-png", "coco", "npz"], write=True)
            assert seen(page)[1] == joint
            return joint

    arguments = (STREET / "rgb.png", "--out", disk / "out", "--url", nano_server.url)
    try:
        with AppProcess(*arguments) as app:
            joint = asyncio.run(scenario(app.address))
        assert "Traceback" not in "\n".join(app.lines)
        check_whole(disk)
        shutil.copytree(disk / "out", tmp_path / "copy")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    with AppProcess(STREET / "rgb.png", "--out", tmp_path / "copy", "--url", nano_server.url) as app:
        asyncio.run(opened_again(app.address, joint))


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A real file system that is mounted read-only, with an empty folder for results."""
    folder = tmp_path_factory.mktemp("read-only")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        (folder / "out").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@ROOT_ONLY
@pytest.mark.parametrize("command", ["app", "annotate", "bench", "replay", "export", "import", "bundle"])
def test_a_folder_that_is_read_only(
    command: str, read_only: Path, nano_server: ServerProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    url, image, session = ("--url", nano_server.url), str(STREET / "rgb.png"), str(STREET / "session.json")
    out = str(read_only / "out")
    arguments = {
        "app": ["annotate", image, "--out", out, "--no-browser", *url],
        "annotate": ["annotate", image, "--clicks", session, "--out", out, *url],
        "bench": bench_command(nano_server.url, 1, read_only / "b.json")[3:],
        "replay": ["replay", session, "--json", str(read_only / "r.json"), *url],
        "export": ["export", session, "--format", "npz", "--out", out],
        "import": ["import", str(STREET / "rgb.png"), "--image", image, "--out", str(read_only / "s.json")],
        "bundle": ["encode", image, "--bundle", out, *url],
    }[command]
    code = client(arguments)
    told = capfd.readouterr().err.strip().splitlines()
    assert code == 1 and "Traceback" not in "\n".join(told), told
    assert told[-1].startswith("mmms-client: error: Expected"), told
    assert [path.name for path in read_only.rglob("*")] == ["out"]


# Clocks -------------------------------------------------------------------------------------------------
def test_a_clock_that_is_set_back_hides_no_annotation_from_an_export(
    nano_server: ServerProcess, tmp_path: Path
) -> None:
    """Results from an hour that has not come yet are not of what was done since, whatever their times say."""
    out = tmp_path / "out"
    arguments = (STREET / "rgb.png", "--out", out, "--url", nano_server.url)

    async def work(address: str, x: int, ops: tuple[str, ...]) -> None:
        async with page_at(address) as page:
            await page.op("open", index=0)
            if not page.document["surfaces"]:
                await page.op("add_surface")
            await page.op("brush", surface=1, points=[[x, 50]], radius=5)
            for op in ops:
                await page.op(op, index=0)

    async def export(address: str) -> None:
        async with page_at(address) as page:
            await page.op("export", formats=["instance-png"], write=True)

    with AppProcess(*arguments) as app:
        asyncio.run(work(app.address, 50, ("open",)))
    later_s = (out / "rgb.png/session.json").stat().st_mtime + 3600
    for name in ("session.json", "joint.png"):
        os.utime(out / "rgb.png" / name, (later_s, later_s))
    with AppProcess(*arguments) as app:
        asyncio.run(work(app.address, 300, ()))
        app.process.kill()
    with AppProcess(*arguments) as app:
        asyncio.run(export(app.address))
    exported = read_instance_png(out / "export/instance-png/rgb.png")
    assert exported[50, 50] == 1 and exported[50, 300] == 1


@pytest.fixture(scope="module")
def clock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that shifts the clock of the day, but not the monotonic one, by the seconds in $CLOCK_SHIFT."""
    compiler, folder = shutil.which("cc"), tmp_path_factory.mktemp("clock")
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "clock.so"
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return library


@pytest.mark.slow
@pytest.mark.parametrize("shift_s", [-86400, 86400])
def test_a_clock_that_jumps_in_the_middle_of_a_session_changes_nothing(
    nano_server: ServerProcess, shift_s: int, clock: Path, tmp_path: Path
) -> None:
    """The clock of the client's process: deadlines, waits and answers stay."""
    shift = tmp_path / "shift"
    shift.write_bytes(struct.pack("<q", 0))
    program = str(Path(__file__).with_name("clock_client.py"))
    environment = os.environ | {"LD_PRELOAD": str(clock), "CLOCK_SHIFT": str(shift)}
    command = [sys.executable, program, nano_server.url, str(shift), str(shift_s)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(shift_s, abs=60)
