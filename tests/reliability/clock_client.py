"""A session over a jump of the clock: ``clock_client.py URL FILE SECONDS``. Prints how far its own clock jumped."""

from __future__ import annotations

import struct
import sys
import threading
import time
from pathlib import Path

import numpy as np

from mmms_client import Session, TritonPredictor


def masks(predictor: TritonPredictor) -> list[bytes]:
    session = Session(predictor, np.arange(14400, dtype=np.uint8).reshape(60, 80, 3))
    surface, found = session.add_surface("it"), []
    for x in (5, 30, 60):
        session.click(surface, x, 20)
        found.append(session.joint.tobytes())
    return found


def main() -> None:
    url, file, seconds = sys.argv[1:]

    def jump() -> None:
        with Path(file).open("r+b") as stream:  # in place: it is mapped elsewhere
            stream.write(struct.pack("<q", int(seconds)))

    with TritonPredictor.connect(url, deadline_s=20.0, patience_s=120.0) as predictor:
        before = masks(predictor)
        began, began_monotonic = time.time(), time.monotonic()
        timer = threading.Timer(0.05, jump)
        timer.start()
        for _ in range(5):
            assert masks(predictor) == before
        timer.join()
        assert masks(predictor) == before
        sys.stdout.write(f"{time.time() - began - (time.monotonic() - began_monotonic)}\n")


if __name__ == "__main__":
    main()
