"""Evaluate any predictor on any data set: images in a thread pool, results in the order of the data set.

Each image is encoded once; each surface runs on its own for NoC, then all together for NoCMS, and for MIST if that is
asked for. What an image gives depends on that image alone, so the number of workers changes nothing but the time it
takes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from mmms_client.contract import ModelContract
from mmms_client.errors import DataError, ModalityError, UsageError
from mmms_client.predictor import Predictor
from mmms_eval.datasets.sample import Dataset, Sample, SurfaceTarget
from mmms_eval.mist import MistAnnotation, annotate_mist, check_budget
from mmms_eval.nocms import JointAnnotation, annotate_jointly
from mmms_eval.protocol import EvaluationProtocol
from mmms_eval.results import ImageResult, ImageTiming, SurfaceResult
from mmms_eval.summary import Summary, summarise, summarise_timing
from mmms_eval.surface_simulation import SurfaceTrace, TimedModel, trace_surface
from mmms_eval.time_split import TimeSplit
from mmms_eval.wrappers import with_policies

Finished = tuple[ImageResult, ImageTiming | None]
Progress = Callable[[ImageResult, ImageTiming | None], None]


@dataclass(frozen=True)
class BrokenImage:
    """An image of which there is no result: its place in the data set, and why (which names the file)."""

    index: int
    error: str


@dataclass(frozen=True)
class Evaluation:
    """One predictor on one data set. Everything but ``timings``, ``wall_s`` and ``workers`` is deterministic."""

    name: str
    contract: ModelContract
    description: str
    protocol: EvaluationProtocol
    results: tuple[ImageResult, ...]
    timings: tuple[ImageTiming, ...]
    wall_s: float
    broken: tuple[BrokenImage, ...] = ()
    taken_over: int = 0  # images of an earlier run, which are not in ``wall_s``
    server_version: str | None = None  # ``None`` in process
    workers: int = 1  # images at the same time: belongs to the timings
    time_split: TimeSplit | None = None  # ``None`` in process

    @property
    def summary(self) -> Summary:
        return summarise(self.results, self.protocol)

    @property
    def timing(self) -> dict[str, Any]:
        timing = summarise_timing(self.timings)
        clicks = 0 if timing["click_ms"] is None else timing["click_ms"]["count"]
        split = None
        if self.time_split is not None and clicks and not self.taken_over:  # an earlier run was not clocked
            split = self.time_split.per_click(clicks * timing["per_click_with_encode_ms"], clicks)
        return {
            **timing,
            "per_click_split_ms": split,
            "wall_s": self.wall_s,
            "images_taken_over": self.taken_over,
            "workers": self.workers,
        }


def evaluate(
    predictor: Predictor,
    dataset: Dataset,
    protocol: EvaluationProtocol,
    *,
    name: str,
    description: str = "",
    workers: int = 1,
    on_image: Progress | None = None,
    finished: Mapping[int, Finished] | None = None,
    on_finished: Callable[[int, ImageResult, ImageTiming | None], None] | None = None,
    keep_going: bool = False,
) -> Evaluation:
    """Evaluate ``predictor`` on every image of ``dataset``.

    Args:
        predictor: shared by all workers; thread-safe by its protocol.
        dataset: samples are loaded by the workers.
        protocol: how; ``modalities`` that the model lacks are not given to it.
        name: of the row in the table.
        description: what else there is to say about the model, such as the path to the server.
        workers: images that are worked on at the same time: one is decoded, or its next click looked for, while
            another waits for its answer.
        on_image: called in this thread, in the order of the data set, as images finish; not for those of
            ``finished``. The timing is ``None`` for an image without surfaces.
        finished: by place in the data set, images of an earlier run under the same protocol. They are taken as
            they are, and not read again.
        on_finished: called by the workers, at once for each other image, with its place in the data set.
        keep_going: an image that raises :class:`DataError` is left out and counted in ``broken``.

    Raises:
        UsageError: fewer clicks fit the model than the protocol needs, or ``workers`` is below 1. For MIST it depends
            on the image: see :func:`check_mist_budget`, which tells before the first one.
        DataError: the data set has no image, or, with ``keep_going``, none that can be read.
    """
    _check_request(predictor.contract, dataset, protocol, workers)
    predictor = with_policies(predictor, protocol)
    earlier = finished or {}
    start_s = time.perf_counter()

    def work(index: int) -> Finished | BrokenImage:
        if index in earlier:
            return earlier[index]
        try:
            outcome = evaluate_sample(predictor, dataset[index], protocol)
        except DataError as error:
            if not keep_going:
                raise
            return BrokenImage(index, str(error))
        if on_finished is not None:
            on_finished(index, *outcome)
        return outcome

    results: list[ImageResult] = []
    timings: list[ImageTiming] = []
    broken: list[BrokenImage] = []
    pool = ThreadPoolExecutor(workers, thread_name_prefix="bench")
    try:
        for index, outcome in enumerate(pool.map(work, range(len(dataset)))):
            if isinstance(outcome, BrokenImage):
                broken.append(outcome)
                continue
            result, timing = outcome
            results.append(result)
            if timing is not None:
                timings.append(timing)
            if on_image is not None and index not in earlier:
                on_image(result, timing)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    wall_s = time.perf_counter() - start_s
    if not results:
        raise DataError(
            f"Expected an image of {dataset.name!r} that can be read but got {len(broken)} broken ones; the first: "
            f"{broken[0].error}"
        )
    return Evaluation(
        name,
        predictor.contract,
        description,
        protocol,
        tuple(results),
        tuple(timings),
        wall_s,
        tuple(broken),
        taken_over=len(earlier),
        workers=workers,
    )


def evaluate_sample(
    predictor: Predictor, sample: Sample, protocol: EvaluationProtocol
) -> tuple[ImageResult, ImageTiming | None]:
    """One image. Without a surface that is large enough nothing is encoded and there is no timing.

    Raises as :func:`check_sample` and :func:`mmms_eval.mist.check_budget`.
    """
    check_sample(sample)
    targets = sample.surfaces(protocol.smallest_area_px)
    too_small = len(sample.surface_ids()) - len(targets)
    given = {name: sample.modalities[name] for name in usable_modalities(sample, predictor.contract, protocol)}
    if not targets:
        return _image_result(sample, tuple(given), too_small, (), JointAnnotation((), ()), ()), None
    if protocol.mist is not None:
        check_budget(predictor.contract, len(targets), protocol.mist, sample.key)
    start_s = time.perf_counter()
    encoded = predictor.encode(sample.image, given)
    encode_ms = 1e3 * (time.perf_counter() - start_s)

    model = TimedModel(predictor, encoded, protocol.mask_threshold)
    valid = sample.valid
    runs = {target.id: trace_surface(model, target, valid, protocol) for target in targets}
    first_visits = {surface_id: first_visit for surface_id, (_, first_visit) in runs.items()}
    joint = annotate_jointly(model, targets, valid, protocol, first_visits)

    traces = tuple((target.name, target.area_px, runs[target.id][0]) for target in targets)
    mist = _annotate_mist(model, targets, sample, protocol)
    result = _image_result(sample, encoded.present, too_small, traces, joint, mist)
    return result, ImageTiming(sample.key, encode_ms, tuple(model.click_ms))


def check_mist_budget(
    contracts: Sequence[ModelContract],
    dataset: Dataset,
    protocol: EvaluationProtocol,
    workers: int,
    finished: Collection[int] = (),
) -> None:
    """Raise :class:`UsageError` if an image has more surfaces than each of the models can take the MIST clicks of.

    Reads the whole data set, but for the images of ``finished``, so that a run does not end in its middle; does nothing
    without MIST. An image that is broken is passed over: it is for :func:`evaluate` to say so.
    """
    if protocol.mist is None:
        return

    def count(index: int) -> tuple[int, str]:
        try:
            sample = dataset[index]
        except DataError:
            return 0, ""
        return len(sample.surfaces(protocol.smallest_area_px)), sample.key

    indices = [index for index in range(len(dataset)) if index not in finished]
    with ThreadPoolExecutor(workers, thread_name_prefix="count") as pool:
        surfaces, key = max(pool.map(count, indices), key=lambda counted: counted[0], default=(0, ""))
    for contract in contracts:
        check_budget(contract, surfaces, protocol.mist, key)


def usable_modalities(sample: Sample, contract: ModelContract, protocol: EvaluationProtocol) -> tuple[str, ...]:
    """The modalities that the sample has, the model takes and the protocol wants, in the model's order."""
    wanted = sample.modalities if protocol.modalities is None else protocol.modalities
    return tuple(n for n in contract.modality_names if n in sample.modalities and n in wanted)


def check_modalities(dataset: Dataset, contract: ModelContract, wanted: tuple[str, ...] | None) -> None:
    """Raise :class:`ModalityError` unless both the data set and the model have each of ``wanted``."""
    for name in wanted or ():
        for owner, known in (("model", contract.modality_names), ("data set", dataset.modality_names)):
            if name not in known:
                raise ModalityError(
                    f"Expected a modality of the {owner} ({', '.join(known) or 'none'}) but got {name!r}; "
                    "leave it out of --modalities."
                )


def check_resolution(contract: ModelContract, wanted: int | None) -> None:
    """Raise :class:`UsageError` unless the model has the network size ``wanted``, px; ``None`` takes any."""
    if wanted is not None and wanted != contract.resolution:
        raise UsageError(
            f"Expected a model of {wanted} px but got one of {contract.resolution} px; drop --resolution, or export "
            f"the checkpoint with RESOLUTION={wanted} and serve that."
        )


def check_sample(sample: Sample) -> None:
    """Raise :class:`DataError` for labels of another size than the image, or ids outside of -1 .. 65535."""
    size_hw = sample.image.shape[:2]
    if sample.labels.shape != size_hw:
        raise DataError(
            f"Expected labels of {size_hw[1]}x{size_hw[0]} px for image {sample.key!r} but got "
            f"{' x '.join(str(n) for n in reversed(sample.labels.shape))} px; give one label per image pixel."
        )
    if sample.labels.size and not (sample.labels.min() >= -1 and sample.labels.max() <= 65535):
        raise DataError(
            f"Expected label ids from -1 (ignore) to 65535 in {sample.key!r} but got {sample.labels.min()} to "
            f"{sample.labels.max()}; renumber them."
        )


def _check_request(contract: ModelContract, dataset: Dataset, protocol: EvaluationProtocol, workers: int) -> None:
    if protocol.n_max > contract.max_clicks:
        raise UsageError(
            f"Expected at most {contract.max_clicks} clicks per surface, the most that the model takes, but got "
            f"{protocol.n_max}; lower --n-max."
        )
    if workers < 1:
        raise UsageError(f"Expected at least 1 worker but got {workers}; change --workers.")
    if len(dataset) == 0:
        raise DataError(f"Expected at least one image in data set {dataset.name!r} but got none; check --root.")


def _annotate_mist(
    model: TimedModel, targets: Sequence[SurfaceTarget], sample: Sample, protocol: EvaluationProtocol
) -> tuple[MistAnnotation, ...]:
    if protocol.mist is None:
        return ()
    threshold = protocol.mask_threshold
    return tuple(
        annotate_mist(model, targets, sample.valid, protocol.mist, strategy, threshold, sample.key)
        for strategy in protocol.mist.strategies
    )


def _image_result(
    sample: Sample,
    modalities: tuple[str, ...],
    too_small: int,
    traces: tuple[tuple[str, int, SurfaceTrace], ...],
    joint: JointAnnotation,
    mist: tuple[MistAnnotation, ...],
) -> ImageResult:
    surfaces = tuple(
        SurfaceResult(outcome.surface_id, name, area_px, trace.clicks, trace.ious, outcome)
        for (name, area_px, trace), outcome in zip(traces, joint.surfaces, strict=True)
    )
    height, width = sample.labels.shape
    return ImageResult(sample.key, (height, width), modalities, too_small, surfaces, joint.visits, mist)
