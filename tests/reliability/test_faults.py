"""Servers that hang, crawl or come back as another model; disks that are full or read-only; clocks that jump."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app_client import AppProcess, RefusedError, page_at
from killing import bench_command, check_whole, family, finished_images, seen, stage_process
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


@pytest.fixture
def own_server(server_extra: None, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that a test may stop, freeze or replace."""
    with ServerProcess(REPOSITORY, tmp_path / "log") as server:
        yield server


def replace(server: ServerProcess, repository: Path) -> None:
    """The same address, another repository."""
    server.stop()
    server.repository = repository
    server.start()


# Servers that hang or crawl -----------------------------------------------------------------------------
@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_server_that_hangs_ends_at_the_deadline_and_the_page_stays_alive(
    own_server: ServerProcess, tmp_path: Path
) -> None:
    assert own_server.process is not None
    options = ("--out", tmp_path / "out", "--url", own_server.url, "--deadline", "2")

    async def scenario(address: str, pid: int) -> None:
        async with page_at(address) as page:
            await page.op("open", index=0)
            await page.op("click", surface=None, x=320, y=430, positive=True)
            before = seen(page)
            with frozen(pid):
                with pytest.raises(
                    RefusedError, match=r"^Expected .* within [23] s but none came; .* hangs: try again"
                ):
                    await page.op("click", surface=1, x=100, y=460, positive=True)
                assert seen(page) == before
                waiting = page.start("click", surface=1, x=100, y=460, positive=True)
                await asyncio.sleep(0.5)  # as long as a person takes to think better of it
                assert (await page.op("undo"))["done"] and (await page.op("redo"))["done"]
                assert "nothing was changed" in (await waiting)["error"]
                await page.op("brush", surface=1, points=[[20, 20]], radius=5)
                assert (await page.get("api/images/0/rgb"))[0] == 200
            await page.until(lambda: page.status["server"] == "ready")
            await page.op("click", surface=1, x=100, y=460, positive=True)
            assert len(page.surface(1)["clicks"]) >= 1

    with TritonPredictor.connect(own_server.url, "ensemble", deadline_s=1.0) as predictor:
        encoded = predictor.encode(small_image(0))
        answer = predictor.predict(encoded, [Click(5, 5)])
        with frozen(own_server.process.pid), pytest.raises(DeadlineError, match=r"within 1 s but none came"):
            predictor.predict(encoded, [Click(5, 5)])
        assert np.array_equal(predictor.predict(encoded, [Click(5, 5)]), answer)
    with AppProcess(STREET / "rgb.png", *options) as app:
        asyncio.run(scenario(app.address, own_server.process.pid))


def test_a_server_that_crawls_gives_the_same_answers(own_server: ServerProcess) -> None:
    """Nine tenths of its time are taken away, from the server and all its stages, at any point of what they do."""
    assert own_server.process is not None
    pids, stop = family(own_server.process.pid), threading.Event()

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

    with TritonPredictor.connect(own_server.url, deadline_s=120.0) as predictor:
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
def test_a_server_that_comes_back_as_another_model_answers_nobody_who_began_with_the_old_one(
    own_server: ServerProcess, tmp_path: Path
) -> None:
    """Blocking by every path, asynchronous, and the bench: refused with both hashes. The old one back: all goes on."""
    ours, theirs = contract_of(), write_another_checkpoint(tmp_path / "other")
    json_file, whole = tmp_path / "bench.json", tmp_path / "whole.json"
    both = (
        rf"^Expected the checkpoint {ours.checkpoint_sha256} .* but {theirs.checkpoint_sha256} .* is served there now"
    )
    clicks = [Click(30, 20)]
    with contextlib.ExitStack() as stack:
        began = []
        for path in ("ensemble", "shared-memory", "plain"):
            predictor = stack.enter_context(TritonPredictor.connect(own_server.url, path, patience_s=60.0))
            encoded = predictor.encode(small_image(1))
            began.append((predictor, encoded, predictor.predict(encoded, clicks)))
        bench = subprocess.Popen(
            bench_command(own_server.url, 60, json_file), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        stack.callback(bench.kill)
        while finished_images(json_file) < 1 and bench.poll() is None:
            threading.Event().wait(0.05)
        replace(own_server, tmp_path / "other")
        for predictor, encoded, _ in began:
            with pytest.raises(ModelReplacedError, match=both):
                predictor.predict(encoded, clicks)
            with pytest.raises(ModelReplacedError, match=both):
                predictor.encode(small_image(2))
        _, text = bench.communicate(timeout=120)
        assert bench.returncode == 1 and "kept:" in text, text
        [line] = [line for line in text.splitlines() if "is served there now" in line]
        assert ours.checkpoint_sha256 in line and theirs.checkpoint_sha256 in line
        again = subprocess.run(
            bench_command(own_server.url, 60, json_file), capture_output=True, text=True, timeout=120
        )
        assert again.returncode == 2 and "model.checkpoint_sha256" in again.stderr, again.stderr
        with TritonPredictor.connect(own_server.url, "ensemble") as new:
            different = new.predict(new.encode(small_image(1)), clicks)
        replace(own_server, REPOSITORY)
        for predictor, encoded, answer in began:
            assert np.array_equal(predictor.predict(encoded, clicks), answer)
            assert np.abs(answer - different).mean() > 0.2, "a mixed answer could not be overlooked"
    finished = finished_images(json_file)
    short = [word if word != "60" else str(finished) for word in bench_command(own_server.url, 60, json_file)]
    assert client(short[3:]) == 2, "the number of images belongs to the settings"
    assert finished and not whole.exists()


def test_an_asynchronous_predictor_refuses_another_model(own_server: ServerProcess, tmp_path: Path) -> None:
    ours, theirs = contract_of(), write_another_checkpoint(tmp_path / "other")

    async def scenario() -> None:
        async with await AsyncTritonPredictor.connect(own_server.url, patience_s=60.0) as predictor:
            encoded = await predictor.encode(small_image(1))
            answer = await predictor.predict(encoded, [Click(5, 5)])
            waiting = asyncio.create_task(asyncio.to_thread(replace, own_server, tmp_path / "other"))
            with pytest.raises(ModelReplacedError) as caught:
                while True:
                    assert np.array_equal(await predictor.predict(encoded, [Click(5, 5)]), answer)
            assert ours.checkpoint_sha256 in str(caught.value) and theirs.checkpoint_sha256 in str(caught.value)
            await waiting
            async with await AsyncTritonPredictor.connect(own_server.url) as new:
                with pytest.raises(ModelReplacedError, match=r"but got one for another model .*; encode it again"):
                    await new.predict(encoded, [Click(5, 5)])

    asyncio.run(scenario())


def test_an_export_into_the_folder_of_a_running_server_changes_nothing_until_it_is_started_anew(
    server_extra: None, tmp_path: Path
) -> None:
    shutil.copytree(REPOSITORY, tmp_path / "served")
    with (
        ServerProcess(tmp_path / "served", tmp_path / "log") as server,
        TritonPredictor.connect(server.url, "ensemble", patience_s=60.0) as predictor,
    ):
        encoded = predictor.encode(small_image(1))
        answer = predictor.predict(encoded, [Click(5, 5)])
        theirs = write_another_checkpoint(tmp_path / "served")
        assert np.array_equal(predictor.predict(encoded, [Click(5, 5)]), answer)
        os.kill(stage_process(server, "csnet"), signal.SIGKILL)
        assert server.process is not None
        server.process.wait(60)  # with a dead stage it would answer with errors only: it ends
        server.stop()
        server.start()
        with pytest.raises(ModelReplacedError, match=theirs.checkpoint_sha256):
            predictor.predict(encoded, [Click(5, 5)])
        with TritonPredictor.connect(server.url) as new:
            assert new.contract.checkpoint_sha256 == theirs.checkpoint_sha256


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


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@ROOT_ONLY
@pytest.mark.parametrize("command", ["app", "annotate", "bench", "replay", "export", "import"])
def test_a_folder_that_is_read_only(
    command: str,
    nano_server: ServerProcess,
    tmp_path_factory: pytest.TempPathFactory,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path_factory.mktemp("read-only")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)
    url, image, session = ("--url", nano_server.url), str(STREET / "rgb.png"), str(STREET / "session.json")
    out = str(folder / "out")
    arguments = {
        "app": ["annotate", image, "--out", out, "--no-browser", *url],
        "annotate": ["annotate", image, "--clicks", session, "--out", out, *url],
        "bench": bench_command(nano_server.url, 1, folder / "b.json")[3:],
        "replay": ["replay", session, "--json", str(folder / "r.json"), *url],
        "export": ["export", session, "--format", "npz", "--out", out],
        "import": ["import", str(folder / "m.png"), "--image", image, "--out", str(folder / "s.json")],
    }[command]
    if command == "import":
        shutil.copy(STREET / "rgb.png", folder / "m.png")
    with as_nobody():
        code = client(arguments)
    told = capfd.readouterr().err.strip().splitlines()
    assert code == 1 and "Traceback" not in "\n".join(told), told
    assert told[-1].startswith("mmms-client: error: Expected") or "Expected" in told[-1], told
    assert {path.name for path in folder.iterdir()} <= {"m.png"}


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


@pytest.mark.parametrize("shift_s", [-86400, 86400])
def test_a_clock_that_jumps_in_the_middle_of_a_session_changes_nothing(
    nano_server: ServerProcess, shift_s: int
) -> None:
    """In a process of its own, whose clock of the day jumps in the middle: deadlines, waits and answers stay."""
    program = f"""
import threading, time
import numpy as np
from mmms_client import Session, TritonPredictor
real = time.time
with TritonPredictor.connect({nano_server.url!r}, deadline_s=20.0) as predictor:
    def masks():
        session = Session(predictor, np.arange(14400, dtype=np.uint8).reshape(60, 80, 3))
        surface = session.add_surface("it")
        return [session.click(surface, x, 20) and session.joint.tobytes() for x in (5, 30, 60)]
    before = masks()
    jump = threading.Timer(0.05, lambda: setattr(time, "time", lambda: real() + {shift_s}))
    jump.start()
    for _ in range(5):
        assert masks() == before
    jump.join()
    assert abs(time.time() - real()) > 80000
    assert masks() == before
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
