"""How busy `mmms-client bench` keeps the engine: its wall time against that of the same work in process."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any

from mmms_client.predictor import Predictor
from mmms_client.triton_predictor import TritonPredictor
from mmms_eval.datasets.sample import Sample
from mmms_eval.datasets.synthetic import scene_sample
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.runner import evaluate
from mmms_eval.time_split import split_times
from mmms_export.perf.rows import Fact
from mmms_export.perf.workload import Times, scene, time_image

PROTOCOL = EvaluationProtocol(n_max=8, mean_iou_after=(1,), smallest_area_px=500)
WORKERS = 2
PROBE_CLICKS = 8


@dataclass(frozen=True)
class Drawn:
    """Synthetic scenes that were drawn beforehand, as a data set: drawing them is not what is measured."""

    first: int
    count: int
    modality_names: tuple[str, ...]
    name: str = "drawn"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        return scene_sample(scene(self.first + index, self.modality_names))

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "images": self.count}


def measure_bench(model: str, served: TritonPredictor, engine: Predictor, images: int, first_image: int) -> list[Fact]:
    """Run the benchmark through the server, and the engine in process right before and after it.

    The share is ``(encodes * e + clicks * c) / wall``, with e and c the medians of the engine in process.
    """
    dataset = Drawn(first_image, images, served.contract.modality_names)
    for index in range(images):
        dataset[index]
    probe = Times()
    time_image(engine, first_image, 2, None)
    time_image(engine, first_image, PROBE_CLICKS, probe)
    with split_times(served) as split:
        run = evaluate(served, dataset, PROTOCOL, name="served", workers=WORKERS)
    time_image(engine, first_image, PROBE_CLICKS, probe)
    clicks = sum(len(timing.click_ms) for timing in run.timings)
    engine_s = 1e-3 * (len(run.timings) * median(probe.encode_ms) + clicks * median(probe.click_ms))
    facts = [
        Fact(model, "bench: clicks per second", clicks / run.wall_s, "1/s"),
        Fact(model, "bench: share of the engine's rate in process", 100.0 * engine_s / run.wall_s, "%"),
    ]
    if split is not None:
        total_ms = sum(sum(timing.click_ms) + timing.encode_ms for timing in run.timings)
        parts = split.per_click(total_ms, clicks)
        facts += [Fact(model, f"bench: per click, {name}", value, "ms") for name, value in parts.items()]
    return facts
