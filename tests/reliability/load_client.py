"""Annotators for the load test: ``load_client.py URL FEATURES SESSIONS SECONDS SEED``.

Each is a thread with a connection of its own and a closed loop: an image, some surfaces with clicks and undos, one
click asked again whose answer must be the same, the next image. Prints one line of JSON at the end.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass, field

import numpy as np

from mmms_client import Click, Session, TritonPredictor

HEIGHT, WIDTH = 96, 128


@dataclass
class Count:
    """What all annotators of this process did."""

    images: int = 0
    clicks: int = 0
    errors: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)


def annotate(predictor: TritonPredictor, rng: np.random.Generator, count: Count) -> None:
    """One image."""
    pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    thermal = {"thermal": rng.random((HEIGHT, WIDTH), np.float32)}
    session = Session(predictor, pixels, thermal)
    first = None
    for surface in [session.add_surface("it") for _ in range(3)]:
        for _ in range(3):
            x, y = int(rng.integers(WIDTH)), int(rng.integers(HEIGHT))
            began_s = time.monotonic()
            session.click(surface, x, y, is_positive=bool(rng.random() < 0.8))
            first = first or session.clicks(surface)[0]
            with count.lock:
                count.clicks += 1
                count.longest_s = max(count.longest_s, time.monotonic() - began_s)
        session.undo()
    assert first is not None
    encoded = predictor.encode(pixels, thermal)
    clicks = [Click(first.x_px, first.y_px, first.is_positive)]
    answers = [predictor.predict(encoded, clicks).tobytes() for _ in range(2)]
    fresh = Session(predictor, pixels, thermal)
    fresh.click(fresh.add_surface("it"), int(first.x_px), int(first.y_px), is_positive=first.is_positive)
    if answers[0] != answers[1]:
        raise AssertionError("one click, two answers")
    with count.lock:
        count.images += 1


def work(url: str, features: str, until_s: float, seed: int, count: Count) -> None:
    rng = np.random.default_rng(seed)
    try:
        with TritonPredictor.connect(url, features, deadline_s=120.0) as predictor:
            while time.monotonic() < until_s:
                annotate(predictor, rng, count)
    except Exception as error:  # noqa: BLE001 - counted, and the test fails with it
        with count.lock:
            count.errors.append(f"{type(error).__name__}: {error}")


def main() -> None:
    url, features, sessions, seconds, seed = sys.argv[1:]
    count, until_s = Count(), time.monotonic() + float(seconds)
    threads = [
        threading.Thread(target=work, args=(url, features, until_s, int(seed) + n, count)) for n in range(int(sessions))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = {"images": count.images, "clicks": count.clicks, "errors": count.errors, "longest_s": count.longest_s}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
