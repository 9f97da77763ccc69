"""Finished images of a run that is not over yet, so that it can go on after it was killed.

``OUT.json.partial`` is text in UTF-8, one JSON object per line. The first one holds the settings of the run: all that
the numbers depend on. Each other one is a finished image, on disk before the next is begun by the same worker::

    {"schema": "mmms-bench-partial", "schema_version": 1, "settings": {"protocol.n_max": 20, ...}}
    {"evaluation": "nano", "index": 3, "result": {...}, "timing": {...} or null}

A last line without its end was being written when the run was killed: it is cut off. Numbers survive to the last digit.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mmms_client.contract import ModelContract
from mmms_client.errors import DataError, OutputError, UsageError
from mmms_client.json_place import Place, part_of_path, shown
from mmms_client.json_text import parse_json
from mmms_eval.datasets.sample import Dataset
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.results import ImageResult, ImageTiming
from mmms_eval.runner import Finished

SCHEMA = "mmms-bench-partial"
SCHEMA_VERSION = 1
SUFFIX = ".partial"
_LISTED = 3  # differing settings in a message; the rest is counted

Settings = Mapping[str, Any]  # flat, JSON values


def run_settings(
    protocol: EvaluationProtocol, dataset: Dataset, contract: ModelContract, **others: Any
) -> dict[str, Any]:
    """All that the numbers of a run depend on, as flat JSON values.

    ``dataset`` must have a ``repr`` that says what it reads (files, units), as dataclasses have: it is stored as a
    hash. The content of the files is not looked at. Settings of MIST are ``protocol.mist.NAME``, if there is MIST.
    """
    groups = {"protocol": protocol.to_json(), "dataset": dataset.describe(), "model": contract.to_parameters()}
    flat = {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}
    mist = flat.pop("protocol.mist") or {}
    flat |= {f"protocol.mist.{key}": value for key, value in mist.items()}
    flat["dataset.files_and_units"] = hashlib.sha256(repr(dataset).encode()).hexdigest()
    normalised: dict[str, Any] = json.loads(json.dumps({**flat, **others}))
    return normalised


class ProgressFile:
    """The file beside ``--json OUT.json``, open and locked. Thread-safe. Use it as a context manager."""

    def __init__(self, path: Path, stream: io.FileIO, finished: dict[str, dict[int, Finished]]) -> None:
        self.path = path
        self._stream = stream
        self._finished = finished
        self._appended = 0
        self._lock = threading.Lock()

    @classmethod
    def open(cls, json_file: Path, settings: Settings, restart: bool = False) -> ProgressFile:
        """Begin, or continue what an earlier run left.

        Args:
            json_file: where the results will go.
            settings: from :func:`run_settings`.
            restart: forget what an earlier run left.

        Raises:
            UsageError: the earlier run had other settings, or is still running.
            DataError: the file is broken, or not one of ours.
            OutputError: it cannot be written.
        """
        path = json_file.with_name(json_file.name + SUFFIX)
        try:
            stream = io.FileIO(path, "a+")
        except OSError as error:
            raise _unwritable(path, error) from error
        try:
            _lock(stream, path)
            stream.seek(0)
            data = b"" if restart else stream.readall() or b""
            whole = data[: data.rfind(b"\n") + 1]
            stream.truncate(len(whole))
            progress = cls(path, stream, _read(whole, path, settings) if whole else {})
            if not whole:
                progress._write({"schema": SCHEMA, "schema_version": SCHEMA_VERSION, "settings": settings})
            return progress
        except BaseException:
            stream.close()
            raise

    @property
    def images(self) -> int:
        """Finished images in the file, over all models."""
        return self._appended + sum(len(images) for images in self._finished.values())

    def finished(self, evaluation: str) -> Mapping[int, Finished]:
        """What an earlier run left of one model, by the place in the data set."""
        return self._finished.get(evaluation, {})

    def append(self, evaluation: str, index: int, result: ImageResult, timing: ImageTiming | None) -> None:
        """Store one finished image; when this returns it is on disk. Raises :class:`OutputError`."""
        entry = {
            "evaluation": evaluation,
            "index": index,
            "result": result.to_json(),
            "timing": None if timing is None else timing.to_json(),
        }
        with self._lock:
            self._write(entry)
            self._appended += 1

    def _write(self, entry: Mapping[str, Any]) -> None:
        """One line, whole or not at all."""
        line = json.dumps(entry).encode() + b"\n"
        start = self._stream.seek(0, os.SEEK_END)
        try:
            if self._stream.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._stream.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._stream.truncate(start)
            raise _unwritable(self.path, error) from error

    def remove(self) -> None:
        """The results are written: the file is not needed any more."""
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> ProgressFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def _read(lines: bytes, path: Path, settings: Settings) -> dict[str, dict[int, Finished]]:
    """Finished images by evaluation and index. Raises as :meth:`ProgressFile.open`."""
    advice = "start anew with --restart"
    try:
        places = [
            Place(f"{path}, line {number}", "", parse_json(line), advice)
            for number, line in enumerate(lines.split(b"\n")[:-1], 1)
        ]
    except ValueError as error:
        raise DataError(
            f"Expected {str(path)!r} to hold the finished images of an earlier run but got {shown(str(error))}; "
            f"{advice}."
        ) from error
    header = places[0].fields(("schema", "schema_version", "settings"))
    if (header["schema"].value, header["schema_version"].value) != (SCHEMA, SCHEMA_VERSION):
        header["schema"].fail(f"{SCHEMA} of version {SCHEMA_VERSION}")
    header["settings"].entries()
    finished: dict[str, dict[int, Finished]] = {}
    for place in places[1:]:
        entry = place.fields(("evaluation", "index", "result", "timing"))
        timing = None if entry["timing"].value is None else ImageTiming.read(entry["timing"])
        outcome = ImageResult.read(entry["result"]), timing
        finished.setdefault(entry["evaluation"].text(may_be_empty=True), {})[entry["index"].integer(0)] = outcome
    _check_settings(path, header["settings"].value, settings)
    return finished


def _check_settings(path: Path, earlier: Settings, now: Settings) -> None:
    names = [name for name in {**now, **earlier} if now.get(name) != earlier.get(name)]
    if not names:
        return
    said = ", ".join(
        f"{part_of_path(name)} {_short(now.get(name))} (was {_short(earlier.get(name))})" for name in names[:_LISTED]
    )
    rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    raise UsageError(
        f"Expected the settings of the run that {str(path)!r} is left of but got {said}{rest}; go on with those, "
        "choose another --json file, or start anew with --restart."
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _lock(stream: io.FileIO, path: Path) -> None:
    """Keep a second run away from the file for as long as it is open, where the system can."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"Expected {str(path)!r} for this run alone but got another one that is writing it; wait for that, or "
            "choose another --json file."
        ) from error
    except OSError:
        return  # a file system without locks


def _unwritable(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"Expected to write {str(path)!r} but got {error.strerror or str(error)!r}; make room or choose another --json "
        "file. Finished images are kept: the same command goes on."
    )
