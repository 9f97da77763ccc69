"""The ``bench`` command; ``mmms-client`` finds it by the entry point group ``mmms_client.commands``."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from mmms_client.contract import ModelContract
from mmms_client.endpoint import DEFAULT_URL, Endpoint
from mmms_client.errors import DataError, OutputError, UsageError
from mmms_client.predictor import Predictor
from mmms_client.transport import Transport
from mmms_client.units import parse_scale
from mmms_eval import html_report, report
from mmms_eval.baselines import BASELINES
from mmms_eval.datasets import DATASETS, Dataset, DatasetOptions
from mmms_eval.progress_file import ProgressFile, run_settings
from mmms_eval.protocol import MIST_STRATEGIES, EvaluationProtocol, MistProtocol
from mmms_eval.results import ImageResult, ImageTiming
from mmms_eval.runner import Evaluation, Progress, check_mist_budget, check_modalities, check_resolution, evaluate
from mmms_eval.time_split import split_times

FEATURES = ("auto", "ensemble", "shared-memory", "plain")


@click.command()
@click.option("--dataset", "dataset_name", type=click.Choice(sorted(DATASETS)), default="synthetic", show_default=True)
@click.option("--root", type=click.Path(path_type=Path), help="Folder of the data set.")
@click.option("--split", help="Of a published data set: see docs/datasets.md; its test split by default.")
@click.option("--partial", is_flag=True, help="Accept other numbers of images, or sizes, than published.")
@click.option("--include-unlabelled", is_flag=True, help="MFNet: what is not annotated is a surface too.")
@click.option("--keep-going", is_flag=True, help="Count and name images whose files are broken, and go on.")
@click.option("--images", type=click.IntRange(min=1), help="Number of images; all, or 50 synthetic ones, by default.")
@click.option(
    "--size", type=click.IntRange(min=1), default=256, show_default=True, help="Side of synthetic images, px."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Shifts the seeds of synthetic images.")
@click.option("--modalities", help="Use only these, comma separated; 'none' for RGB alone. All by default.")
@click.option("--scale", "scales", multiple=True, metavar="NAME=FACTOR[:OFFSET[:INVALID]]", help="Unit of a modality.")
@click.option("--url", envvar="TRITON_URL", default=DEFAULT_URL, show_default=True, help="Server; or TRITON_URL.")
@click.option("--ca", metavar="FILE", help="TLS (--url grpcs://...): who signed the server's certificate, PEM.")
@click.option("--token-file", metavar="FILE", help="Bearer token for the server; MMMS_TOKEN holds the token itself.")
@click.option(
    "--features", default="auto", show_default=True, help=f"{', '.join(FEATURES)}, provider=HOST:PORT, bundle=DIR."
)
@click.option("--deadline", type=float, default=30.0, show_default=True, help="Seconds that one request may take.")
@click.option(
    "--patience", type=float, default=300.0, show_default=True, help="Seconds to wait for a server that is gone."
)
@click.option("--baselines/--no-baselines", default=False, help="Evaluate disk, Voronoi and GrabCut as well.")
@click.option("--n-max", type=int, default=20, show_default=True, help="Clicks per surface.")
@click.option("--threshold", type=float, default=0.5, show_default=True, help="Inside is a probability above it.")
@click.option("--nocms", default="80,70", show_default=True, metavar="IOU,MEAN", help="Thresholds of NoCMS, percent.")
@click.option(
    "--first-pass",
    type=click.Choice(["worst", "all"]),
    default="worst",
    show_default=True,
    help="NoCMS order.",
)
@click.option("--stop-iou", type=float, help="End a surface's clicks at this IoU (0 to 1): faster, mIoU@k less exact.")
@click.option("--min-area", type=int, default=1, show_default=True, help="Leave out smaller surfaces, px.")
@click.option(
    "--mist", multiple=True, type=click.Choice([*MIST_STRATEGIES, "all"]), help="Measure MIST too; may be repeated."
)
@click.option("--mist-clicks", type=int, help="MIST clicks per surface, shared by those of an image.  [default: 10]")
@click.option("--mist-iou", type=float, help="IoU at which a surface is done in MIST (0 to 1).  [default: 0.85]")
@click.option("--mist-fuse", type=click.Choice(["final", "each"]), help="MIST: one argmax at the end, or per click.")
@click.option("--mist-seed", type=int, help="Of what random and round-robin draw in MIST.  [default: 0]")
@click.option("--mist-spacing", type=int, help="MIST clicks are farther apart than this, px.  [default: 5]")
@click.option("--flip", is_flag=True, help="Answer with the mean of the image and its mirror image.")
@click.option("--zoom", type=click.Choice(["none", "ritm"]), default="none", show_default=True, help="Zoom-in.")
@click.option("--resolution", type=int, help="Refuse a model of another network size, px.")
@click.option("--workers", type=int, default=2, show_default=True, help="Images at the same time.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write everything to this file.")
@click.option("--restart", is_flag=True, help="Forget the finished images that a killed run with --json left.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), help="Write a page to look at to this file.")
def bench(
    dataset_name: str,
    url: str,
    ca: str | None,
    token_file: str | None,
    features: str,
    deadline: float,
    patience: float,
    **options: Any,
) -> None:
    """Measure the served model with simulated clicks: NoC, NoCMS, FRMS, failures, IoU after each click; and MIST."""
    from mmms_client import TritonPredictor

    protocol = make_protocol(options)
    check_output(options["json_file"])
    check_output(options["html_file"], "--html")
    endpoint = Endpoint.parse(url, ca, token_file)
    with TritonPredictor.connect(endpoint, features=features, deadline_s=deadline, patience_s=patience) as predictor:
        dataset = open_dataset(dataset_name, options, protocol, predictor.contract)
        run(predictor, lambda: predictor.description, dataset, protocol, options)


def run(
    predictor: Predictor,
    describe: Callable[[], str],
    dataset: Dataset,
    protocol: EvaluationProtocol,
    options: dict[str, Any],
) -> list[Evaluation]:
    """Evaluate, print and write. Of ``options`` it takes ``baselines``, ``workers``, ``json_file`` and
    ``html_file``.

    ``describe`` is asked after the evaluation: a served predictor chooses its path at the first image.

    With ``json_file``, finished images are kept beside it until it is written, and a run that was killed goes on.
    ``restart`` of ``options`` forgets them.
    """
    check_modalities(dataset, predictor.contract, protocol.modalities)
    check_resolution(predictor.contract, protocol.resolution)
    server = _server_version(predictor)
    with _open_progress(predictor.contract, dataset, protocol, server, options) as progress:
        keep_going = options.get("keep_going", False)
        name = predictor.contract.preset
        contracts = [predictor.contract, *(make().contract for make in BASELINES if options["baselines"])]
        finished = {} if progress is None else progress.finished(name)
        check_mist_budget(contracts, dataset, protocol, options["workers"], finished)
        with split_times(predictor) as split:
            ours = _evaluate(predictor, dataset, protocol, options["workers"], name, "", keep_going, progress)
        known = split if split is not None and split.is_known else None
        ours = dataclasses.replace(ours, description=describe(), server_version=server, time_split=known)
        for broken in ours.broken:
            click.echo(f"broken:   image {broken.index}: {broken.error}", err=True)
        if ours.summary.surfaces == 0:
            raise DataError(
                f"Expected surfaces of at least {protocol.smallest_area_px} px in {dataset.name!r} but got "
                "none; lower --min-area or check the labels."
            )
        evaluations = [ours]
        if options["baselines"]:
            evaluations += evaluate_baselines(dataset, protocol, options["workers"], keep_going, progress)
        print_report(evaluations, dataset)
        if progress is not None:
            report.write_document(options["json_file"], report.document(evaluations, dataset))
            progress.remove()
            click.echo(f"written: {options['json_file']}")
        if options.get("html_file") is not None:
            html_report.write_page(options["html_file"], predictor, evaluations, dataset)
            click.echo(f"written: {options['html_file']}")
    return evaluations


def evaluate_baselines(
    dataset: Dataset,
    protocol: EvaluationProtocol,
    workers: int,
    keep_going: bool = False,
    progress: ProgressFile | None = None,
) -> list[Evaluation]:
    """All baselines on the same images and protocol; of the disks, the one with the lowest NoC@80."""
    every = []
    for make in BASELINES:
        baseline = make()
        name = baseline.contract.preset
        description = "no training, RGB only"
        every.append(_evaluate(baseline, dataset, protocol, workers, name, description, keep_going, progress))
    disks = [evaluation for evaluation in every if evaluation.name.startswith("disk")]
    best_disk = min(disks, key=lambda evaluation: (evaluation.summary.noc["80"], evaluation.name))
    return [best_disk, *(evaluation for evaluation in every if evaluation not in disks)]


def print_report(evaluations: list[Evaluation], dataset: Dataset) -> None:
    """The table and what one needs to read it, on standard output."""
    ours, *baselines = evaluations
    facts = report.model_facts(ours.contract)
    click.echo(f"data:     {', '.join(f'{key} {_plain(value)}' for key, value in dataset.describe().items())}")
    click.echo(f"model:    {', '.join(f'{key} {_plain(value)}' for key, value in facts.items())}")
    use = report.modality_use(ours, dataset)
    click.echo("sensors:  " + "; ".join(f"{key}: {', '.join(names) or 'none'}" for key, names in use.items()))
    click.echo(f"protocol: {report.protocol_line(ours, dataset)}")
    if ours.description:
        click.echo(f"path:     {ours.description}")
    click.echo("")
    click.echo(report.table(evaluations))
    click.echo("")
    if ours.protocol.mist is not None:
        click.echo(report.align_columns(report.mist_rows(evaluations)))
        click.echo("")
    for evaluation in evaluations:
        for line in report.remarks(evaluation):
            click.echo(f"{evaluation.name}: {line}")
    click.echo(f"{ours.name}: {report.speed(ours)}")
    if baselines:
        click.echo(report.gain(ours, baselines))


def make_protocol(options: dict[str, Any]) -> EvaluationProtocol:
    """Options of the command to a protocol. Raises :class:`UsageError`."""
    try:
        nocms_iou, nocms_mean_iou = (float(part) / 100 for part in options["nocms"].split(","))
    except ValueError as error:
        raise UsageError(
            f"Expected --nocms as two percents such as 80,70 but got {options['nocms']!r}; change it."
        ) from error
    names = options["modalities"]
    modalities = None
    if names is not None:
        modalities = tuple(name.strip() for name in names.split(",") if name.strip() not in ("", "none"))
    return EvaluationProtocol(
        n_max=options["n_max"],
        mask_threshold=options["threshold"],
        stop_iou=options["stop_iou"],
        nocms_iou=nocms_iou,
        nocms_mean_iou=nocms_mean_iou,
        first_pass=options["first_pass"],
        smallest_area_px=options["min_area"],
        modalities=modalities,
        mean_iou_after=tuple(k for k in (1, 3, 5, 20) if k <= options["n_max"]),
        flip=options["flip"],
        zoom=options["zoom"],
        resolution=options["resolution"],
        mist=make_mist_protocol(options),
    )


def make_mist_protocol(options: dict[str, Any]) -> MistProtocol | None:
    """The options of MIST; ``None`` without ``--mist``. Raises :class:`UsageError`."""
    fields = {
        "--mist-clicks": "clicks_per_surface", "--mist-iou": "iou", "--mist-fuse": "fuse", "--mist-seed": "seed",
        "--mist-spacing": "spacing_px",
    }  # fmt: skip
    values = {option: options[option[2:].replace("-", "_")] for option in fields}
    given = {option: value for option, value in values.items() if value is not None}
    if options["mist"]:
        strategies = MIST_STRATEGIES if "all" in options["mist"] else tuple(dict.fromkeys(options["mist"]))
        return MistProtocol(strategies, **{fields[option]: value for option, value in given.items()})
    if given:
        option = next(iter(given))
        raise UsageError(f"Expected --mist with {option} but got none; add --mist worst, or drop {option}.")
    return None


def open_dataset(name: str, options: dict[str, Any], protocol: EvaluationProtocol, contract: ModelContract) -> Dataset:
    """The data set by its name, reading only modalities that the model takes."""
    root = options["root"]
    return DATASETS[name](
        DatasetOptions(
            root=None if root is None else str(root),
            max_images=options["images"],
            side_px=options["size"],
            seed=options["seed"],
            modalities=protocol.modalities,
            specs=contract.modalities,
            rules=dict(parse_scale(text) for text in options["scales"]),
            split=options["split"],
            keep_going=options["keep_going"],
            partial=options["partial"],
            include_unlabelled=options["include_unlabelled"],
        )
    )


def check_output(path: Path | None, option: str = "--json") -> None:
    """Fail before the run, not after it, if the file could not be written anyway."""
    if path is None:
        return
    folder = path.resolve().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OutputError(
            f"Expected {option} with a file in a folder that can be written but got {str(path)!r}; create the folder "
            "or choose another file."
        )


def _evaluate(
    predictor: Predictor,
    dataset: Dataset,
    protocol: EvaluationProtocol,
    workers: int,
    name: str,
    description: str,
    keep_going: bool,
    progress: ProgressFile | None,
) -> Evaluation:
    finished = {} if progress is None else progress.finished(name)
    with _bar(name, len(dataset), len(finished)) as on_image:
        return evaluate(
            predictor,
            dataset,
            protocol,
            name=name,
            description=description,
            workers=workers,
            on_image=on_image,
            finished=finished,
            on_finished=None if progress is None else partial(progress.append, name),
            keep_going=keep_going,
        )


@contextmanager
def _open_progress(
    contract: ModelContract,
    dataset: Dataset,
    protocol: EvaluationProtocol,
    server: str | None,
    options: dict[str, Any],
) -> Iterator[ProgressFile | None]:
    """The finished images beside ``--json``, if there is one. Says what was found, and what an early end leaves."""
    if options["json_file"] is None:
        yield None
        return
    settings = run_settings(protocol, dataset, contract, server_version=server, **report.package_versions())
    with ProgressFile.open(options["json_file"], settings, options.get("restart", False)) as progress:
        if progress.images:
            click.echo(f"resumed:  {progress.images} finished images of {str(progress.path)!r}", err=True)
        try:
            yield progress
        except BaseException:
            if progress.images:
                kept = f"{progress.images} finished images in {str(progress.path)!r}; the same command goes on"
                click.echo(f"kept:     {kept}", err=True)
            else:
                progress.remove()
            raise


def _server_version(predictor: Predictor) -> str | None:
    """What the server behind a predictor calls itself; ``None`` in process."""
    transport: Transport | None = getattr(predictor, "transport", None)
    return None if transport is None else transport.server_version()


@contextmanager
def _bar(name: str, total: int, finished: int) -> Iterator[Progress]:
    """A bar with rate (of new images) and time left on standard error, if that is a terminal."""
    from tqdm import tqdm

    show = sys.stderr.isatty()
    with tqdm(total=total, initial=finished, desc=name, unit="image", file=sys.stderr, disable=not show) as bar:

        def on_image(result: ImageResult, timing: ImageTiming | None) -> None:
            bar.update()

        yield on_image


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
