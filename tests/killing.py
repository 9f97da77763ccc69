"""Apps, benches and servers that are killed at a random moment, and what must hold after it."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from PIL import Image

from app_client import PageClient, page_at
from mmms_client.journal import read_journal
from mmms_client.session_file import read_session
from mmms_server.process import ServerProcess

STAGES = ("backbone", "fuser", "csnet")
Seen = tuple[str, bytes]


# The app ------------------------------------------------------------------------------------------------
async def something(page: PageClient, random_: random.Random) -> None:
    """One op as a person might do it; returns when it is acknowledged. ``page.under_way`` names it meanwhile."""
    ids = [s["id"] for s in page.document["surfaces"]]
    kinds = ["add", "brush", "brush", "polygon", "click", "update", "undo", "undo", "redo", "delete", "finish"]
    kind = page.under_way = random_.choice(kinds) if ids else "add"
    x, y = random_.randrange(640), random_.randrange(480)
    if kind == "add":
        await page.op("add_surface")
    elif kind == "brush":
        points = [[x, y], [random_.randrange(640), random_.randrange(480)]]
        await page.op("brush", surface=random_.choice(ids), points=points, radius=random_.randrange(1, 30))
    elif kind == "polygon":
        await page.op("polygon", surface=random_.choice(ids), points=[[x, y], [x + 50, y], [x, y + 50]])
    elif kind == "click":
        await page.op("click", surface=random_.choice(ids), x=x, y=y, positive=random_.random() < 0.8)
    elif kind == "update":
        await page.op("update_surface", surface=random_.choice(ids), name=f"n{x}")
    elif kind == "delete":
        await page.op("delete_surface", surface=ids[0])
    elif kind == "finish":
        await page.op("finish", surface=random_.choice(ids))
        await page.op("open", index=0)  # writes session.json and joint.png
    else:
        await page.op(kind)


def seen(page: PageClient) -> Seen:
    """What a person sees."""
    assert page.joint is not None
    return json.dumps({**page.document, "revision": 0}, sort_keys=True), page.joint.tobytes()


def is_same(a: Seen, b: Seen) -> bool:
    """Whether two are of the same surfaces; what undo and redo would do next may differ."""
    return a[1] == b[1] and json.loads(a[0])["surfaces"] == json.loads(b[0])["surfaces"]


class Survivor:
    """A person at an app that is killed again and again. Fails if something acknowledged is lost."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.acknowledged = 0
        self._last: Seen | None = None
        self._under_way = ""

    async def live(self, address: str, process: subprocess.Popen[str], longest_s: float) -> None:
        """Look whether all is there, work, and be killed at a random moment."""
        async with page_at(address) as page:
            await page.op("open", index=0)
            await self._compare(page)
            moment_s = self.random.uniform(0.0, longest_s)
            killer = asyncio.get_running_loop().call_later(moment_s, process.kill)
            try:
                while True:
                    page.under_way = ""
                    await something(page, self.random)
                    self.acknowledged += 1
                    self._last = seen(page)
            except ConnectionError:
                self._under_way = page.under_way
            finally:
                killer.cancel()

    async def _compare(self, page: PageClient) -> None:
        """The op that was under way may be there, too, whole: then one step back is what was acknowledged."""
        now = seen(page)
        if self._last is not None and not is_same(now, self._last):
            back, forth = ("redo", "undo") if self._under_way == "undo" else ("undo", "redo")
            assert (await page.op(back))["done"]
            assert is_same(seen(page), self._last), f"{self._under_way} was under way"
            assert (await page.op(forth))["done"]
            assert is_same(seen(page), now)
        self._last = seen(page)


def check_whole(out: Path) -> int:
    """Every file of an app's folder of results can be read, whatever happened; returns how many there are."""
    checked = 0
    for file in out.rglob("*"):
        if file.name == "journal.jsonl":
            if b"\n" in file.read_bytes():
                read_journal(file)
        elif file.name == "session.json":
            read_session(file)
        elif file.suffix == ".json":
            json.loads(file.read_text("utf-8"))
        elif file.suffix == ".png" and file.is_file():
            with Image.open(file) as picture:
                picture.load()
        else:
            continue
        checked += 1
    return checked


def drafts(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


# The bench ----------------------------------------------------------------------------------------------
def bench_command(url: str, images: int, json_file: Path, *more: str) -> list[str]:
    data = ["--dataset", "synthetic", "--images", str(images), "--size", "128", "--min-area", "600"]
    command = [sys.executable, "-m", "mmms_client", "bench", *data]
    return [*command, "--n-max", "2", "--url", url, "--json", str(json_file), "--deadline", "120", *more]


def finished_images(json_file: Path) -> int:
    """Images that an unfinished run has on disk."""
    partial = Path(f"{json_file}.partial")
    try:
        return max(0, partial.read_bytes().count(b"\n") - 1)  # the first line is the header
    except FileNotFoundError:
        return 0


# The server ---------------------------------------------------------------------------------------------
def stage_process(server: ServerProcess, stage: str) -> int:
    """The process in which a server runs a stage."""
    assert server.process is not None
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) if folder.name.isdigit() else 0
            command = (folder / "cmdline").read_text(errors="replace") if parent == server.process.pid else ""
        except OSError:
            continue
        if f"/{stage}/" in command and "/model.py" in command:
            return int(folder.name)
    raise AssertionError(f"no process of {stage}")


class Supervisor:
    """Starts a server again when it ends, as compose, Kubernetes or a person would."""

    def __init__(self, server: ServerProcess) -> None:
        self.server, self.starts = server, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            process = self.server.process
            if process is not None and process.poll() is not None:
                self.server.stop()
                self.server.start()
                self.starts += 1

    def until_started(self, starts: int) -> None:
        deadline_s = time.monotonic() + 120
        while self.starts < starts:
            assert self._thread.is_alive() and time.monotonic() < deadline_s, "the server did not come back"
            time.sleep(0.05)

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) if folder.name.isdigit() else 0
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder.name) if parent else 0)
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found
