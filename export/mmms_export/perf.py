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
from dataclasses import asdict, dataclass
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
    """All rows of one repository: engine in process, then the three feature paths through a server."""
    manifest = json.loads((repository / "manifest.json").read_text(encoding="utf-8"))
    contract = ModelContract.from_parameters(manifest["contract"])
    names = contract.modality_names
    scenes = [render_scene(FIRST_SEED + i, SceneConfig(size_hw=SIZE_HW), names) for i in range(images + 1)]
    engine = EnginePredictor(repository, contract)
    encode_ms, click_ms = time_predictor(engine, scenes, clicks)
    label = f"{contract.preset} +{len(names)}"
    base = {"encode": percentile(encode_ms, 50), "click": percentile(click_ms, 50)}
    rows = [
        make_row(label, "encode", "in process", encode_ms, base),
        make_row(label, "click", "in process", click_ms, base),
    ]
    del engine
    with tempfile.TemporaryDirectory() as folder, ServerProcess(repository, Path(folder) / "log") as server:
        for path in ("ensemble", "shared-memory", "plain"):
            with TritonPredictor.connect(server.url, features=path) as predictor:
                before = predictor.transport.statistics("backbone_fuser")
                encode_ms, click_ms = time_predictor(predictor, scenes, clicks)
                after = predictor.transport.statistics("backbone_fuser")
                hits, misses = after.cache_hits - before.cache_hits, after.cache_misses - before.cache_misses
                rows.append(make_row(label, "encode", path, encode_ms, base))
                rows.append(make_row(label, "click", path, click_ms, base, f"{hits}/{hits + misses}"))
    return rows


def time_predictor(predictor: Predictor, scenes: Sequence[Scene], clicks: int) -> tuple[list[float], list[float]]:
    """Milliseconds of each encode and each click; the first scene warms up and is not counted."""
    encode_ms: list[float] = []
    click_ms: list[float] = []
    rng = np.random.default_rng(0)
    names = predictor.contract.modality_names
    for index, scene in enumerate(scenes):
        modalities = {name: scene.modalities[name] for name in names}
        began = time.perf_counter()
        encoded = predictor.encode(scene.image, modalities)
        encode_ms.append(1e3 * (time.perf_counter() - began))
        spent = replay(predictor, encoded, rng, clicks if index else WARM_UP)
        if index:
            click_ms += spent
    return encode_ms[1:], click_ms


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
    model: str, what: str, how: str, samples: Sequence[float], base: dict[str, float], cache_hits: str = "-"
) -> Row:
    p50 = percentile(samples, 50)
    return Row(
        model,
        what,
        how,
        p50,
        percentile(samples, 95),
        percentile(samples, 99),
        len(samples),
        p50 / base[what],
        cache_hits,
    )


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
