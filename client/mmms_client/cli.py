"""``mmms-client``: the command line. Only click is loaded here; each command loads what it needs when it runs."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from typing import Any

import click

from mmms_client.endpoint import DEFAULT_URL, Endpoint
from mmms_client.errors import UsageError
from mmms_client.export_masks.formats import MODULES as FORMATS
from mmms_client.terminal import run_command

PROGRAM = "mmms-client"
COMMANDS_GROUP = "mmms_client.commands"


@dataclass
class Settings:
    """Options of the group that outlive parsing."""

    is_debug: bool = False


class PluginGroup(click.Group):
    """A group with the commands that installed packages announce under ``mmms_client.commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_plugins()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        own = super().get_command(ctx, cmd_name)
        plugin = _plugins().get(cmd_name)
        if own is not None or plugin is None:
            return own
        try:
            command = plugin.load()
        except ImportError as error:
            return _missing_extra(cmd_name, plugin.extras[0] if plugin.extras else cmd_name, error)
        return command if isinstance(command, click.Command) else None


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=COMMANDS_GROUP)}


def _missing_extra(name: str, extra: str, cause: ImportError) -> click.Command:
    """A stand-in for a command whose packages are not installed: it says how to get them."""
    fix = f"pip install 'mmms[{extra}]'"

    def refuse(**_: Any) -> None:
        raise UsageError(f"Expected the packages of the {name!r} command but got {str(cause)!r}; run: {fix}") from cause

    return click.Command(
        name,
        callback=refuse,
        short_help=f"(not installed: {fix})",
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
    )


def _pairs(option: str, form: str, values: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` options as a dictionary. Raises :class:`UsageError`."""
    pairs: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"Expected {option} {form} but got {text!r}; write both sides of the '='.")
        if name in pairs:
            raise UsageError(f"Expected {option} once per name but got {name!r} twice; drop one of them.")
        pairs[name] = value
    return pairs


def _version() -> str:
    try:
        return version("mmms")
    except PackageNotFoundError:
        return "unknown"


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


_server_options = _options(
    click.option(
        "--url",
        envvar="TRITON_URL",
        default=DEFAULT_URL,
        show_default=True,
        show_envvar=True,
        metavar="HOST:PORT",
        help="The server's gRPC port; grpcs://HOST:PORT for TLS.",
    ),
    click.option("--ca", metavar="FILE", help="TLS: the authority that signed the server's certificate, PEM."),
    click.option(
        "--token-file", metavar="FILE", help="Bearer token for the server; MMMS_TOKEN holds the token itself."
    ),
)
_modality_option = click.option(
    "--modality",
    "-m",
    "modality",
    multiple=True,
    metavar="NAME=PATH",
    help="A registered sensor's map; for a folder of images a folder. Repeat.",
)
_reading_options = _options(
    click.option(
        "--map", "rename", multiple=True, metavar="NAME=MODEL_NAME", help="Rename a modality to the model's name."
    ),
    click.option(
        "--scale",
        multiple=True,
        metavar="NAME=FACTOR[:OFFSET[:INVALID]]",
        help="raw * FACTOR + OFFSET is in the model's unit; INVALID (may be nan) means no measurement.",
    ),
    click.option(
        "--align",
        "alignment",
        multiple=True,
        metavar="NAME=stretch|FILE",
        help="How a modality of another aspect ratio lies over the image; FILE holds a 3x3 homography.",
    ),
    click.option("--modalities", metavar="A,B", help="Use only these modalities (the model's names)."),
)
_threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.5,
    show_default=True,
    help="A pixel belongs to a surface above this probability.",
)
_features_option = click.option(
    "--features", default="auto", show_default=True, help="How features travel; see the documentation."
)
_deadline_option = click.option(
    "--deadline",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="Longest wait for one answer.",
)


def _inputs(
    modality: Sequence[str],
    rename: Sequence[str],
    scale: Sequence[str],
    alignment: Sequence[str],
    modalities: str | None,
) -> dict[str, Any]:
    """What the options about files say, by the names that requests have for it."""
    from mmms_client.alignment import parse_align
    from mmms_client.units import parse_scale

    return {
        "modalities": _pairs("--modality", "NAME=PATH", modality),
        "rename": _pairs("--map", "NAME=MODEL_NAME", rename),
        "scales": dict(parse_scale(text) for text in scale),
        "alignments": dict(parse_align(text) for text in alignment),
        "select": None if modalities is None else [n.strip() for n in modalities.split(",") if n.strip()],
    }


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), prog_name=PROGRAM)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Click-based segmentation of several surfaces in images from several registered sensors."""
    ctx.ensure_object(Settings).is_debug = debug


@cli.command()
@click.argument("image", type=click.Path())
@_modality_option
@click.option(
    "--clicks",
    type=click.Path(),
    metavar="SESSION.json",
    help="Answer these surfaces and clicks, without the app.",
)
@click.option("--out", "-o", type=click.Path(), required=True, metavar="DIR", help="Folder for the results.")
@_reading_options
@_threshold_option
@click.option("--classes", type=click.Path(), metavar="FILE", help="App: the classes, a line each or as JSON.")
@click.option(
    "--masks",
    type=click.Path(),
    metavar="PATH",
    help="App: begin with these masks: COCO .json, label map, or their folder.",
)
@click.option("--ahead", type=click.IntRange(0), default=2, show_default=True, help="App: images to encode ahead.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="App: port of 127.0.0.1. A free one by default.")
@click.option("--metrics", metavar="HOST:PORT", help="App: let Prometheus read /metrics there.")
@click.option("--no-browser", is_flag=True, help="App: print the address and open no browser.")
@_features_option
@_deadline_option
@_server_options
def annotate(
    image: str,
    clicks: str | None,
    out: str,
    threshold: float,
    classes: str | None,
    masks: str | None,
    ahead: int,
    port: int,
    metrics: str | None,
    no_browser: bool,
    features: str,
    deadline: float,
    url: str,
    ca: str | None,
    token_file: str | None,
    **inputs: Any,
) -> None:
    """Annotate IMAGE, or the images of a folder, in the browser. Modalities are then folders, too.

    Everything is kept in DIR, and the same command goes on there. With --clicks no browser is involved: the clicks of a
    session file are answered on IMAGE, and joint.png (index = surface id), overlay.png (to look at), session.json and
    surface PNGs are written to DIR.
    """
    both: dict[str, Any] = {
        "image": image,
        "out": out,
        "url": Endpoint.parse(url, ca, token_file),
        "threshold": threshold,
    }
    both |= {"deadline_s": deadline, **_inputs(**inputs)}
    if clicks is not None:
        from mmms_client import headless

        headless.annotate(headless.AnnotateRequest(clicks=clicks, features=features, **both), click.echo)
        return
    from mmms_client.annotate import app

    app.annotate(
        app.AppRequest(
            classes=classes,
            masks=masks,
            ahead=ahead,
            port=port,
            metrics=metrics,
            opens_browser=not no_browser,
            features=features,
            **both,
        ),
        click.echo,
    )


@cli.command()
@click.argument("image", type=click.Path())
@_modality_option
@click.option("--out", "-o", type=click.Path(), metavar="DIR", help="The app's folder, for its alignments.")
@click.option("--bundle", type=click.Path(), metavar="DIR", help="Keep the features in this folder instead.")
@click.option("--shard", metavar="INDEX/COUNT", help="Only every COUNT-th image, from INDEX (0 to COUNT - 1).")
@_reading_options
@_features_option
@_deadline_option
@_server_options
def encode(
    image: str,
    out: str | None,
    bundle: str | None,
    features: str,
    shard: str | None,
    deadline: float,
    url: str,
    ca: str | None,
    token_file: str | None,
    **inputs: Any,
) -> None:
    """Let the server encode IMAGE, or all images of a folder, ahead: no first click in the app waits then.

    With --bundle, IMAGE is an image or a folder with rgb/ and one folder per modality, and the features are kept in
    DIR: whoever has them needs `csnet` alone.
    """
    endpoint = Endpoint.parse(url, ca, token_file)
    if bundle is not None:
        _write_bundle(image, bundle, endpoint, features, deadline, inputs)
        return
    from mmms_client.annotate.choosing import InputRequest, project_images, reading
    from mmms_client.annotate.encoding import encode_images, shard_of

    request = InputRequest(image, out or "", **_inputs(**inputs))
    images = shard_of(project_images(request, click.echo), shard)

    def bar(names: Iterable[str], count: int) -> Any:
        return click.progressbar(names, length=count, label="encoding", show_pos=True)

    encode_images(images, endpoint, reading(request), out, deadline, bar, click.echo)


def _write_bundle(
    source: str, bundle: str, endpoint: Endpoint, features: str, deadline: float, inputs: dict[str, Any]
) -> None:
    from pathlib import Path

    from mmms_client.bundle_writing import write_bundle
    from mmms_client.triton_predictor import TritonPredictor

    read = _inputs(**inputs)
    if read.pop("modalities", None):
        raise UsageError(
            "Expected --bundle with a folder that holds rgb/ and one folder per modality but got --modality; put the "
            "modalities there."
        )
    with TritonPredictor.connect(endpoint, features, deadline) as predictor:
        write_bundle(predictor, Path(source), Path(bundle), click.echo, read["scales"])


@cli.command()
@click.argument("session", type=click.Path())
@click.option("--image", type=click.Path(), default="", metavar="IMAGE", help="Instead of the session's own.")
@_modality_option
@_reading_options
@_threshold_option
@click.option("--json", "report", type=click.Path(), metavar="FILE", help="Write the report as JSON, too.")
@_features_option
@_deadline_option
@_server_options
def replay(
    session: str,
    image: str,
    threshold: float,
    report: str | None,
    features: str,
    deadline: float,
    url: str,
    ca: str | None,
    token_file: str | None,
    **inputs: Any,
) -> None:
    """Run the clicks of SESSION again on any model, and say how its masks differ from the recorded ones.

    SESSION is a session.json with its joint.png beside it, or their folder. --modalities replays with fewer sensors.
    """
    from mmms_client.headless import AnnotateRequest
    from mmms_client.replay_run import replay_session

    request = AnnotateRequest(
        image=image,
        clicks=session,
        out="",
        url=Endpoint.parse(url, ca, token_file),
        threshold=threshold,
        features=features,
        deadline_s=deadline,
        **_inputs(**inputs),
    )
    replay_session(request, click.echo, report)


@cli.command()
@click.argument("source", nargs=-1, required=True, type=click.Path())
@click.option(
    "--format",
    "-f",
    "formats",
    multiple=True,
    required=True,
    type=click.Choice(list(FORMATS)),
    help="What to write, to DIR/FORMAT. Repeat.",
)
@click.option("--out", "-o", type=click.Path(), required=True, metavar="DIR", help="Folder for the results.")
@click.option(
    "--polygons",
    type=click.FloatRange(0),
    metavar="PX",
    help="coco, labelme: polygons that leave the masks' borders by at most PX, instead of masks; yolo: the same PX.",
)
@click.option("--strict", is_flag=True, help="Write nothing if anything would be lost.")
def export(source: tuple[str, ...], formats: tuple[str, ...], out: str, polygons: float | None, strict: bool) -> None:
    """Write what `annotate --out` wrote in other programs' formats.

    SOURCE is such a folder, its session.json, or a folder of such folders: all images go into one data set. What a
    format cannot hold is said before anything is written. No server is asked.
    """
    from mmms_client import exporting

    exporting.export(exporting.ExportRequest(source, formats, out, polygons, strict), click.echo)


@cli.command("import")
@click.argument("masks", type=click.Path())
@click.option("--image", type=click.Path(), required=True, metavar="IMAGE", help="The image that the masks are of.")
@click.option("--out", "-o", type=click.Path(), required=True, metavar="SESSION.json", help="The session to write.")
def import_(masks: str, image: str, out: str) -> None:
    """Make a session of MASKS, a COCO .json or a label map .png: its surfaces begin with these masks.

    Add clicks to it, and `annotate --clicks` corrects the masks.
    """
    from mmms_client import importing

    importing.import_masks(importing.ImportRequest(masks, image, out), click.echo)


@cli.command()
@_server_options
@_deadline_option
@click.pass_context
def doctor(ctx: click.Context, deadline: float, url: str, ca: str | None, token_file: str | None) -> None:
    """Check the server: models, contract, a click, the cache. Each failure comes with its fix."""
    from mmms_client.doctor import run_doctor

    ctx.exit(run_doctor(Endpoint.parse(url, ca, token_file), deadline))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; see :func:`mmms_client.terminal.run_command`."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # what Pillow thinks of a broken file is said by our error
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Like :func:`main`, but return the exit code."""
    settings = Settings()
    return run_command(cli, PROGRAM, arguments, lambda: settings.is_debug, settings)
