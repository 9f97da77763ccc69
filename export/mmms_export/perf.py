"""``mmms-perf``: where the milliseconds of an encode and of a click go, in process and through the server, in one run.

Distinct images and replayed clicks: a repeated random input would be answered by the cache and give fantasy numbers.
Each row is warmed up first; the hit ratio of the response cache is printed beside the times.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.files import write_text_atomically
from mmms_client.predictor import Encoded, Predictor
from mmms_client.terminal import run_command
from mmms_client.triton_predictor import TritonPredictor
from mmms_eval.synthetic import Scene, SceneConfig, render_scene
from mmms_export.engines import EnginePredictor
from mmms_export.manifest import device_name, installed_versions
from mmms_server.process import ServerProcess

FIRST_SEED = 3_500_000_000
WARM_UP = 5
SIZE_HW = (480, 640)
IN_PROCESS = "in process"
CACHED = ("ensemble",)  # the other ways hold the features themselves


@dataclass(frozen=True)
class Row:
    """Latency of one way to do one thing, in milliseconds."""

    model: str
    what: str
    how: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    samples: int
    ratio: float  # of the p50 to the same engine in process
    cache_hits: str = "-"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("repositories", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--images", default=8, show_default=True, type=click.IntRange(2), help="Distinct images.")
@click.option("--clicks", default=12, show_default=True, type=click.IntRange(1), help="Clicks on each image.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), default=None, help="Write the rows here.")
def perf(repositories: tuple[Path, ...], images: int, clicks: int, json_file: Path | None) -> None:
    """Measure encode and click latency of exported REPOSITORIES, in process and through a real server."""
    rows: list[Row] = []
    for repository in repositories:
        rows += measure(repository, images, clicks)
    load = f"{images} distinct images of {SIZE_HW[1]}x{SIZE_HW[0]} px, {clicks} clicks each, {WARM_UP} to warm up"
    click.echo(f"{device_name()}; {load}")
    click.echo(table(rows))
    if json_file is not None:
        document = {"device": device_name(), "versions": installed_versions(), "rows": [asdict(r) for r in rows]}
        write_text_atomically(json_file, json.dumps(document, indent=2) + "\n")


def measure(repository: Path, images: int, clicks: int) -> list[Row]:
    """All rows of one repository: engine in process and the three feature paths through a server.

    The ways take turns, image by image, so that whatever else the machine does meets all of them; each has images of
    its own, because the server's response cache would answer for the way before.
    """
    manifest = json.loads((repository / "manifest.json").read_text(encoding="utf-8"))
    contract = ModelContract.from_parameters(manifest["contract"])
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(ServerProcess(repository, folder / "log"))
        ways: dict[str, Predictor] = {IN_PROCESS: EnginePredictor(repository, contract)}
        for path in ("ensemble", "shared-memory", "plain"):
            ways[path] = stack.enter_context(TritonPredictor.connect(server.url, features=path))
        times = {how: Times() for how in ways}
        for image in range(images + 1):
            for number, (how, predictor) in enumerate(ways.items()):
                seed = FIRST_SEED + image * len(ways) + number
                scene = render_scene(seed, SceneConfig(size_hw=SIZE_HW), contract.modality_names)
                is_warm_up = image == 0
                times[how].add(time_image(predictor, scene, WARM_UP if is_warm_up else clicks), is_warm_up)
    label = f"{contract.preset} +{len(contract.modality_names)}"
    base = times[IN_PROCESS]
    rows = []
    for how, t in times.items():
        rows.append(make_row(label, "encode", how, t.encode_ms, base.encode_ms))
        rows.append(make_row(label, "click", how, t.click_ms, base.click_ms, t.hits if how in CACHED else "-"))
    return rows


@dataclass
class Times:
    """Milliseconds of one way, and how often the response cache had the features of a click."""

    encode_ms: list[float] = field(default_factory=list)
    click_ms: list[float] = field(default_factory=list)
    hits: str = "-"
    _hits: int = 0
    _lookups: int = 0

    def add(self, image: tuple[float, list[float], tuple[int, int]], is_warm_up: bool) -> None:
        encode_ms, click_ms, (hits, lookups) = image
        if is_warm_up:
            return
        self.encode_ms.append(encode_ms)
        self.click_ms += click_ms
        self._hits, self._lookups = self._hits + hits, self._lookups + lookups
        self.hits = f"{self._hits}/{self._lookups}"


def time_image(predictor: Predictor, scene: Scene, clicks: int) -> tuple[float, list[float], tuple[int, int]]:
    """Milliseconds of the encode and of each click; hits and lookups of the response cache during the clicks."""
    modalities = {name: scene.modalities[name] for name in predictor.contract.modality_names}
    began = time.perf_counter()
    encoded = predictor.encode(scene.image, modalities)
    encode_ms = 1e3 * (time.perf_counter() - began)
    before = _cache_counts(predictor)
    click_ms = replay(predictor, encoded, np.random.default_rng(scene.seed), clicks)
    after = _cache_counts(predictor)
    return encode_ms, click_ms, (after[0] - before[0], sum(after) - sum(before))


def _cache_counts(predictor: Predictor) -> tuple[int, int]:
    """Hits and misses so far; zeros in process."""
    if not isinstance(predictor, TritonPredictor):
        return 0, 0
    statistics = predictor.transport.statistics("backbone_fuser")
    return statistics.cache_hits, statistics.cache_misses


def replay(predictor: Predictor, encoded: Encoded, rng: np.random.Generator, count: int) -> list[float]:
    """Grow one surface's click list by ``count`` clicks; milliseconds of each answer."""
    placed: list[Click] = []
    previous: NDArray[np.float32] | None = None
    spent = []
    for number in range(count):
        x, y = rng.uniform(0, SIZE_HW[1] - 1), rng.uniform(0, SIZE_HW[0] - 1)
        placed.append(Click(float(x), float(y), number % 3 != 2))
        began = time.perf_counter()
        previous = predictor.predict(encoded, placed, previous)
        spent.append(1e3 * (time.perf_counter() - began))
    return spent


def make_row(
    model: str, what: str, how: str, samples: Sequence[float], base: Sequence[float], cache_hits: str = "-"
) -> Row:
    p50, p95, p99 = (percentile(samples, share) for share in (50, 95, 99))
    return Row(model, what, how, p50, p95, p99, len(samples), p50 / percentile(base, 50), cache_hits)


def percentile(samples: Sequence[float], share: float) -> float:
    return float(np.percentile(samples, share))


def table(rows: Sequence[Row]) -> str:
    """Plain text, one row a line."""
    head = ("model", "what", "how", "p50 ms", "p95 ms", "p99 ms", "n", "x in process", "cache hits")
    body: list[tuple[Any, ...]] = [
        (
            r.model,
            r.what,
            r.how,
            f"{r.p50_ms:.1f}",
            f"{r.p95_ms:.1f}",
            f"{r.p99_ms:.1f}",
            r.samples,
            f"{r.ratio:.2f}",
            r.cache_hits,
        )
        for r in rows
    ]
    cells = [tuple(map(str, row)) for row in (head, *body)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def aligned(column: int, text: str) -> str:
        return text.ljust(widths[column]) if column < 3 else text.rjust(widths[column])

    return "\n".join("  ".join(aligned(i, text) for i, text in enumerate(row)).rstrip() for row in cells)


def main() -> None:
    """Entry point."""
    sys.exit(run_command(perf, "mmms-perf"))
