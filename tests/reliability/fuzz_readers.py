"""Feeds hostile files to the readers of one room: a process of its own, because one of them may kill it.

    python fuzz_readers.py client --count 10000 --out found.json [--reader NAME ...] [--seed N]

First come files that stand for more than they hold (``bombs.py``), then damaged ones (``mutations.py``). A reader has
ten seconds of processor time, and the process 400 MB more memory than at the beginning; a gigabyte for damaged files.
It may return, or raise one of our errors, in one line without control characters; and nothing else, no warning
either. It may not write beside its file. Afterwards the valid files still have to be read.
"""

from __future__ import annotations

import argparse
import faulthandler
import importlib
import json
import re
import resource
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bombs
from hypothesis import HealthCheck, Phase, given, seed, settings
from mutations import hostile

from mmms_client.errors import MMMSError

ROOMS = {
    "client": ("client_readers", "mask_readers"),
    "eval": ("eval_readers",),
    "training": ("training_readers",),
    "server": ("server_readers",),
}
MEMORY_BYTES = 1 << 30
BOMB_BYTES = 400 << 20
# such text is never theirs, or the server behind the launcher says what is wrong with it, or it is no state of results
TOLERANT = (
    "contract of a server", "configuration of a server", "log of a run", "configuration of a model", "state of results"
)  # fmt: skip
TIME_S = 10.0
ROUND = 500  # hypothesis remembers what it drew: 70 MB for so many, which a reader is not to blame for
LONGEST_MESSAGE = 1500
_FAST = "/dev/shm"  # nothing here has to outlive the process
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")


@dataclass(frozen=True)
class Reader:
    """A place where foreign bytes enter.

    Attributes:
        name: of the reader, for messages.
        file: the file's path in the scratch folder.
        kind: ``json``, ``lines``, ``text`` or ``binary``.
        seeds: valid files; may lay other files beside.
        read: reads the file and does with it what the product does next.
    """

    name: str
    file: str
    kind: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]


class TooSlowError(BaseException):
    """Not an Exception: no reader may translate it."""


def _out_of_time(*_: object) -> None:
    raise TooSlowError(f"more than {TIME_S:g} s of processor time")


def memory_bytes() -> int:
    """Of addresses that this process has taken."""
    return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()


def limit_memory(most_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, resource.RLIM_INFINITY))


@contextmanager
def limited_time() -> Iterator[None]:
    """Raise :class:`TooSlowError` in the block after :data:`TIME_S`; end the process if it does not listen."""
    signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, TIME_S)
    faulthandler.dump_traceback_later(20 * TIME_S, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        faulthandler.cancel_dump_traceback_later()


def outcome(reader: Reader, path: Path, may_run_out: bool = True) -> str:
    """``read`` or ``refused``; anything else raises. ``may_run_out``: of memory, as long as that is said properly."""
    try:
        with limited_time():
            reader.read(path)
    except MMMSError as error:
        text = str(error)
        assert may_run_out or not _ran_out(error), f"memory was taken for what is only declared: {text[:300]!r}"
        assert not _CONTROL.search(text), f"more than plain text in the message: {text[:300]!r}"
        assert 0 < len(text) <= LONGEST_MESSAGE, f"a message of {len(text)} characters: {text[:300]!r}"
        return "refused"
    return "read"


def _ran_out(error: BaseException | None) -> bool:
    return error is not None and (isinstance(error, MemoryError) or _ran_out(error.__cause__ or error.__context__))


def fuzz(reader: Reader, folder: Path, count: int, number: int) -> dict[str, Any]:
    """What happened to ``count`` hostile files."""
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    seeds = tuple(reader.seeds(folder))
    for valid in seeds:
        path.write_bytes(valid)
        assert outcome(reader, path) == "read", f"a valid file of {reader.name} was refused"
    beside = sorted(folder.rglob("*"))
    counts = {"inputs": 0, "read": 0, "refused": 0}

    def feed(data: bytes) -> None:
        path.write_bytes(data)
        counts["inputs"] += 1
        counts[outcome(reader, path)] += 1
        assert sorted(folder.rglob("*")) == beside, f"{reader.name} wrote files"

    try:
        for first in range(0, count, ROUND):
            some = settings(
                max_examples=min(ROUND, count - first), deadline=None, database=None, print_blob=False,
                report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
                phases=(Phase.generate, Phase.shrink),
            )  # fmt: skip
            seed(1_000_000 * number + first)(some(given(hostile(reader.kind, seeds))(feed)))()
        for valid in seeds:
            path.write_bytes(valid)
            assert outcome(reader, path) == "read", f"a valid file of {reader.name} was refused after hostile ones"
    except (Exception, TooSlowError) as error:  # noqa: BLE001 - whatever it is, it is what we look for
        error.__notes__ = []  # hypothesis repeats the input there, whole
        return {
            **counts,
            "fault": "".join(traceback.format_exception(error))[-6000:],
            "input": path.read_bytes()[:3000].hex(),
        }
    return counts


def feed_bombs(room: str, readers: Sequence[Reader]) -> dict[str, Any]:
    """Bombs by reader: how many were refused, and the fault of the first that was not."""
    found: dict[str, Any] = {}
    by_name = {reader.name: reader for reader in readers}
    for name, data in bombs.of(room, {reader.name: reader.kind for reader in readers}):
        if name not in by_name:  # only some were asked for
            continue
        reader, counts = by_name[name], found.setdefault(name, {"inputs": 0, "refused": 0})
        with scratch() as folder:
            path = folder / reader.file
            path.parent.mkdir(parents=True, exist_ok=True)
            reader.seeds(folder)
            path.write_bytes(data)
            counts["inputs"] += 1
            try:
                ended = outcome(reader, path, may_run_out=False)
                assert ended == "refused" or name in TOLERANT, f"{name} took {data[:60]!r} for a file"
                counts["refused"] += 1
            except (Exception, TooSlowError) as error:  # noqa: BLE001 - whatever it is, it is what we look for
                counts["fault"] = f"{data[:200]!r}: " + "".join(traceback.format_exception(error))[-4000:]
    return found


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_FAST if Path(_FAST).is_dir() else None) as folder:
        yield Path(folder)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("room")
    arguments.add_argument("--count", type=int, default=50)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--reader", action="append")
    arguments.add_argument("--out", type=Path)
    options = arguments.parse_args()
    readers = [r for module in ROOMS[options.room] for r in importlib.import_module(module).READERS]
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")  # of broken metadata, which nobody needs
    chosen = [reader for reader in readers if not options.reader or reader.name in options.reader]
    begin_bytes = memory_bytes()
    limit_memory(begin_bytes + BOMB_BYTES)
    found: dict[str, Any] = {"bombs": feed_bombs(options.room, chosen), "files": {}}
    limit_memory(begin_bytes + MEMORY_BYTES)
    for reader in chosen if options.count else ():
        with scratch() as folder:
            found["files"][reader.name] = fuzz(reader, folder, options.count, options.seed)
    if options.out:
        options.out.write_text(json.dumps(found))
        return
    for kind, rows in found.items():
        for name, counts in rows.items():
            fault = counts.pop("fault", "")
            sys.stdout.write(f"{kind}: {name}: {counts}\n{fault}")


if __name__ == "__main__":
    main()
