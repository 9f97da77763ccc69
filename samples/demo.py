"""`make demo`: start the server, look it over, annotate the sample pair, run a short benchmark, stop the server.

Needs what `pip install 'mmms[bench,server]'` installs; no torch.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from mmms_server.process import ServerProcess, ServerStartError

ROOT = Path(__file__).resolve().parent.parent
STREET = ROOT / "samples" / "street"
OUT = ROOT / "out" / "demo"
BENCH_IMAGES = 4


def main() -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    say("starting Triton on 127.0.0.1 with model_repository/")
    try:
        with ServerProcess(ROOT / "model_repository", OUT / "triton.log") as server:
            return use(server.url)
    except ServerStartError as error:
        say(f"the server did not start: {error}")
        return 1


def use(url: str) -> int:
    """The three commands that a user types, against the server at ``url``."""
    street = [str(STREET / "rgb.png"), *(f"--modality={m}={STREET / m}.png" for m in ("thermal", "depth"))]
    without = [street[0], "--modalities="]
    clicks = ["--clicks", str(STREET / "session.json")]
    for title, arguments in (
        ("is everything in order?", ["doctor"]),
        ("annotating the sample pair", ["annotate", *street, *clicks, "--out", str(OUT / "street")]),
        (
            "the same clicks without thermal and depth",
            ["annotate", *without, *clicks, "--out", str(OUT / "street-rgb")],
        ),
        (
            f"a short benchmark on {BENCH_IMAGES} synthetic scenes",
            ["bench", "--dataset", "synthetic", "--images", str(BENCH_IMAGES), "--json", str(OUT / "bench.json")],
        ),
    ):
        say(title)
        shown = " ".join(a.replace(f"{ROOT}/", "") for a in arguments)
        print(f"$ mmms-client {shown}", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", "mmms_client", *arguments, "--url", url]
        done = subprocess.run(command, check=False)
        if done.returncode:
            say(f"mmms-client {arguments[0]} failed with exit code {done.returncode}")
            return 1
        print(f"({time.monotonic() - began:.1f} s)", flush=True)
    say("done; look at")
    for name in ("street/overlay.png", "street-rgb/overlay.png", "street/joint.png", "bench.json"):
        print(f"  {OUT / name}")
    return 0


def say(text: str) -> None:
    print(f"\n== {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
