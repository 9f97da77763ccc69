"""kill -9 at random moments under load: of the server, of its stages, of the app and of the bench.

The short form kills a few; `make chaos` sets ``MMMS_KILLS`` and takes minutes.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app_client import AppProcess, PageClient, RefusedError, page_at
from bench_results import comparable
from killing import (
    STAGES,
    Supervisor,
    Survivor,
    bench_command,
    check_whole,
    drafts,
    finished_images,
    seen,
    stage_process,
)
from mmms_client import Session, TritonPredictor
from mmms_client.exporting import open_annotations
from mmms_client.journal import read_journal
from mmms_server.process import ServerProcess
from served_repositories import REPOSITORY

STREET = REPOSITORY.parent / "samples" / "street"
KILLS = int(os.environ.get("MMMS_KILLS", "4"))
SEED = int(os.environ.get("MMMS_SEED", "0"))
DEADLINE_S = 120.0
PATIENCE_S = 120.0  # of the sessions; the server is started again at once, but the machine may be busy
PATHS = ("ensemble", "shared-memory", "plain")
SHARED_MEMORY = Path("/dev/shm")


# Server and stages --------------------------------------------------------------------------------------
class Annotator:
    """A blocking session on a thread, again and again the same images and clicks: the same masks, or it has failed."""

    def __init__(self, url: str, features: str, seed: int) -> None:
        self.answers, self.error = 0, None
        self._url, self._features, self._seed = url, features, seed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            with TritonPredictor.connect(self._url, self._features, DEADLINE_S, PATIENCE_S) as predictor:
                expected: dict[int, list[bytes]] = {}
                for turn in count():
                    if not self._annotate(predictor, turn % 2, expected):
                        return
        except BaseException as error:  # noqa: BLE001 - told by whoever stops the thread
            self.error = error

    def _annotate(self, predictor: TritonPredictor, image: int, expected: dict[int, list[bytes]]) -> bool:
        rng = np.random.default_rng((self._seed, image))
        pixels = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
        session = Session(predictor, pixels, {"thermal": rng.random((120, 160), np.float32)})
        masks: list[bytes] = []
        surfaces = [session.add_surface("it") for _ in range(2)]
        for x, y in rng.integers(0, 120, (6, 2)):
            session.click(surfaces[len(masks) // 3], int(x), int(y))
            masks.append(session.joint.tobytes())
            self.answers += 1
            if self._stop.is_set():
                return False
        assert expected.setdefault(image, masks) == masks, "an answer differs from the one before"
        return True

    def __enter__(self) -> Annotator:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error


class Clicker:
    """A person at an app who clicks, and clicks again where the app says that a click was not taken."""

    def __init__(self, app: AppProcess) -> None:
        self.taken, self.error = 0, None
        self._app = app
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded)

    def _guarded(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - told by whoever stops the thread
            self.error = error

    async def _run(self) -> None:
        async with page_at(self._app.address) as page:
            await page.op("open", index=0)
            await page.op("add_surface")
            while not self._stop.is_set():
                await self._click(page)

    async def _click(self, page: PageClient) -> None:
        before = seen(page)
        try:
            await page.op("click", surface=1, x=17 * self.taken % 640, y=29 * self.taken % 480, positive=True)
        except RefusedError as error:
            assert "the click was not taken" in str(error), error
            assert seen(page) == before
            return
        self.taken += 1
        assert len(page.surface(1)["clicks"]) == 1 + (self.taken - 1) % 20
        if self.taken % 20 == 0:
            for _ in range(20):
                await page.op("undo")

    def __enter__(self) -> Clicker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error


@contextmanager
def bench_beside(url: str, json_file: Path, images: int) -> Iterator[subprocess.Popen[str]]:
    command = bench_command(url, images, json_file, "--patience", str(PATIENCE_S))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def progressed(workers: list[Any], what: Callable[[Any], int], deadline_s: float = 200.0) -> None:
    """Wait until each worker has gone on."""
    before, until_s = [what(worker) for worker in workers], time.monotonic() + deadline_s
    while any(what(worker) <= old for worker, old in zip(workers, before, strict=True)):
        assert time.monotonic() < until_s, "a worker did not go on"
        for worker in workers:
            assert worker.error is None, worker.error
        time.sleep(0.05)


@pytest.mark.timeout(3600)
def test_a_server_or_stage_that_is_killed_costs_nobody_an_answer(
    server_extra: None, tmp_path: Path, figures: Callable[..., None]
) -> None:
    """Sessions by all paths, an app and a bench go on; what comes after equals what came before."""
    random_, kills = random.Random(SEED), max(2, KILLS // 2)
    arguments = (STREET / "rgb.png", "-m", f"thermal={STREET / 'thermal.png'}", "--out", tmp_path / "out")
    with ExitStack() as stack:
        server = stack.enter_context(ServerProcess(REPOSITORY, tmp_path / "log"))
        supervisor = stack.enter_context(Supervisor(server))
        app = stack.enter_context(AppProcess(*arguments, "--url", server.url, "--deadline", "120"))
        bench = stack.enter_context(bench_beside(server.url, tmp_path / "bench.json", images=2 + kills // 2))
        annotators = [stack.enter_context(Annotator(server.url, path, n)) for n, path in enumerate(PATHS)]
        clicker = stack.enter_context(Clicker(app))
        progressed(annotators, lambda a: a.answers)
        for kill in range(kills):
            victim = STAGES[2] if kill == 1 else random_.choice(["server", "server", *STAGES])
            time.sleep(random_.uniform(0.0, 1.5))
            assert server.process is not None
            pid = server.process.pid if victim == "server" else stage_process(server, victim)
            os.kill(pid, signal.SIGKILL)
            supervisor.until_started(kill + 1)
            progressed([*annotators, clicker], lambda w: w.answers if isinstance(w, Annotator) else w.taken)
        output, _ = bench.communicate(timeout=600)
        assert bench.returncode == 0, output
        whole = tmp_path / "whole.json"
        subprocess.run(bench_command(server.url, 2 + kills // 2, whole), check=True, capture_output=True, timeout=600)
        assert comparable(tmp_path / "bench.json") == comparable(whole)
    assert read_journal(tmp_path / "out/rgb.png/journal.jsonl").state.surfaces
    assert not list(SHARED_MEMORY.glob(f"mmms-{os.getpid()}-*"))
    answers = sum(annotator.answers for annotator in annotators) + clicker.taken
    figures("chaos-server", kills=kills, answers=answers, clicks_lost=0, answers_that_differ=0, seed=SEED)


# The app ------------------------------------------------------------------------------------------------
@pytest.mark.timeout(3600)
def test_an_app_that_is_killed_loses_nothing_that_it_acknowledged(
    nano_server: ServerProcess, tmp_path: Path, figures: Callable[..., None]
) -> None:
    out, kills, person = tmp_path / "out", max(2, KILLS // 3), Survivor(SEED)
    arguments = (STREET / "rgb.png", "-m", f"thermal={STREET / 'thermal.png'}", "--out", out, "--url", nano_server.url)
    files = 0
    for _ in range(kills):
        with AppProcess(*arguments) as app:
            assert app.address, app.lines
            assert not drafts(out), "what the killed one had begun to write is gone"
            asyncio.run(person.live(app.address, app.process, 2.5))
        assert app.process.returncode == -signal.SIGKILL
        files += check_whole(out)
    with AppProcess(*arguments) as app:
        asyncio.run(undo_everything(app.address))
    assert app.process.returncode == 0, app.lines
    images = open_annotations([str(out)])
    history = read_journal(out / "rgb.png/journal.jsonl")
    assert {s.surface_id for s in images[0].surfaces} == {s.surface_id for s in history.state.surfaces}
    figures("chaos-app", kills=kills, acknowledged=person.acknowledged, lost=0, files_read_whole=files, seed=SEED)


async def undo_everything(address: str) -> None:
    """The whole history is there, over all lives: back to nothing, and forth again."""
    async with page_at(address) as page:
        await page.op("open", index=0)
        end = seen(page)[1]
        steps = 0
        while (await page.op("undo"))["done"]:
            steps += 1
        assert page.document["surfaces"] == [] and page.joint is not None and not page.joint.any()
        for _ in range(steps):
            assert (await page.op("redo"))["done"]
        assert seen(page)[1] == end


# The bench ----------------------------------------------------------------------------------------------
@pytest.mark.timeout(3600)
def test_a_bench_that_is_killed_again_and_again_gives_the_numbers_of_one_that_was_not(
    nano_server: ServerProcess, tmp_path: Path, figures: Callable[..., None]
) -> None:
    """With features in shared memory, of which nothing may stay behind on this host or in the server."""
    random_, kills = random.Random(SEED), max(1, KILLS // 6)
    images = 2 + kills
    killed, whole = tmp_path / "killed.json", tmp_path / "whole.json"
    command = bench_command(nano_server.url, images, killed, "--features", "shared-memory")
    done, most = 0, 0
    while done < kills:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_images(process, killed, min(done, images - 2))
        time.sleep(random_.uniform(0.0, 0.5))
        process.kill()
        if process.wait() != -signal.SIGKILL:  # it was faster: begin a new run, and kill that one
            killed.unlink()
            continue
        done, most = done + 1, max(most, finished_images(killed))
    last = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert last.returncode == 0, last.stderr
    assert most == 0 or "resumed:" in last.stderr
    command = bench_command(nano_server.url, images, whole, "--features", "shared-memory")
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    assert comparable(killed) == comparable(whole)
    assert not drafts(tmp_path) and not Path(f"{killed}.partial").exists()
    check_no_region_is_left(nano_server.url)
    figures("chaos-bench", kills=kills, images=images, numbers_that_differ=0, seed=SEED)


def wait_for_images(process: subprocess.Popen[bytes], json_file: Path, images: int) -> None:
    deadline_s = time.monotonic() + 240
    while process.poll() is None and finished_images(json_file) <= images and time.monotonic() < deadline_s:
        time.sleep(0.01)


def check_no_region_is_left(url: str) -> None:
    """Neither a name on this host, nor a registration in the server once the next client has come."""
    import tritonclient.grpc as grpcclient

    deadline_s = time.monotonic() + 20  # the system takes the names back a moment after a process has ended
    with TritonPredictor.connect(url, "shared-memory") as predictor:
        encoded = predictor.encode(np.zeros((40, 50, 3), np.uint8))
        with grpcclient.InferenceServerClient(url) as client:
            ours = {encoded.payload.place.region.name}
            while True:
                names = {path.name for path in SHARED_MEMORY.glob("mmms-*")}
                registered = set(client.get_system_shared_memory_status().regions)
                if registered == ours and not {n for n in names - ours if not is_of_a_living_process(n)}:
                    return
                assert time.monotonic() < deadline_s, (registered, names)
                time.sleep(0.2)


def is_of_a_living_process(name: str) -> bool:
    return Path(f"/proc/{name.split('-')[1]}").exists()
