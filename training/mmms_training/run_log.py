"""What a run tells while it goes: ``log.jsonl`` for programs, TensorBoard with pictures for people, a bar."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmms_client.errors import OutputError
from mmms_client.files import make_folder, write_text_atomically
from mmms_client.json_text import parse_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_NAME = "log.jsonl"
BOARD_FOLDER = "tensorboard"
Report = Callable[[str], None]


class RunLog:
    """The log of one run in its output folder; ``step`` rows after the one that is resumed from are forgotten."""

    def __init__(self, out: Path, first_step: int, total_steps: int, is_main: bool, report: Report) -> None:
        self._file = out / LOG_NAME
        self._is_main = is_main
        self._report = report
        self._board: SummaryWriter | None = None
        if not is_main:
            return
        from torch.utils.tensorboard import SummaryWriter
        from tqdm import tqdm

        make_folder(out)
        self._forget_after(first_step)
        self._board = SummaryWriter(str(out / BOARD_FOLDER), purge_step=first_step + 1)
        self._bar = tqdm(
            total=total_steps, initial=first_step, unit="step", file=sys.stderr, disable=not sys.stderr.isatty()
        )

    def advance(self) -> None:
        if self._is_main:
            self._bar.update()

    def scalars(self, step: int, values: Mapping[str, float], text: str = "") -> None:
        """One row of ``log.jsonl`` and one point per curve."""
        if self._board is None:
            return
        try:
            with self._file.open("a", encoding="utf-8") as handle:
                handle.write(json.dumps({"step": step, **values}) + "\n")
        except OSError as error:
            raise OutputError(
                f"Expected to write to {str(self._file)!r} but got {error.strerror!r}; free some space there, then run "
                "the same command again."
            ) from error
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        if text:
            self._report(text)

    def picture(self, step: int, name: str, rgb: NDArray[np.uint8]) -> None:
        """A picture uint8 [H, W, 3]."""
        if self._board is not None:
            self._board.add_image(name, rgb, step, dataformats="HWC")

    def _forget_after(self, step: int) -> None:
        """A killed run may have logged steps that its last checkpoint does not know; they come again."""
        if not self._file.is_file():
            return
        kept = []
        for line in self._file.read_text("utf-8", errors="replace").splitlines():
            try:
                row = parse_json(line)
            except ValueError:  # torn by the kill
                continue
            if isinstance(row, dict) and isinstance(row.get("step"), int) and row["step"] <= step:
                kept.append(line)
        write_text_atomically(self._file, "".join(f"{line}\n" for line in kept))

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.close()
            self._bar.close()
