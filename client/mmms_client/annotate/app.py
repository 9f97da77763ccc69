"""``mmms-client annotate`` without ``--clicks``: start the app, open the browser, run until Ctrl+C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmms_client.alignment import Alignment
from mmms_client.annotate.images import ImageFile, find_images
from mmms_client.annotate.pictures import Reading
from mmms_client.annotate.project import FolderLock, Project, read_classes
from mmms_client.errors import UsageError
from mmms_client.units import ValueRule, check_rule_names

try:
    import aiohttp  # noqa: F401 - only to say at once what is missing
except ImportError as cause:
    raise UsageError(
        "Expected aiohttp for the app but it is not installed; run: pip install 'mmms[annotate]'"
    ) from cause

from mmms_client.annotate.server import AnnotateServer
from mmms_client.annotate.workplace import Workplace


@dataclass(frozen=True)
class AppRequest:
    """The command line of ``annotate`` without ``--clicks``; names as in its help."""

    image: str
    out: str
    url: str
    modalities: Mapping[str, str] = field(default_factory=dict)
    rename: Mapping[str, str] = field(default_factory=dict)
    scales: Mapping[str, ValueRule] = field(default_factory=dict)
    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    select: Sequence[str] | None = None
    classes: str | None = None
    masks: str | None = None
    threshold: float = 0.5
    deadline_s: float = 30.0
    port: int = 0
    ahead: int = 2
    opens_browser: bool = True


def annotate(request: AppRequest, say: Callable[[str], None]) -> None:
    """Run the app until it is interrupted. Raises :class:`mmms_client.errors.MMMSError` if it cannot start."""
    images = project_images(request, say)
    lock = FolderLock(Path(request.out))
    try:
        classes = read_classes(request.classes) if request.classes else []
        project = Project.open(request.out, images, classes)
        asyncio.run(_run(request, project, lock, say))
    finally:
        lock.release()


def project_images(request: AppRequest, say: Callable[[str], None]) -> list[ImageFile]:
    """The images of the command line, their modalities under the model's names."""
    check_rule_names(request.rename, set(request.modalities), "--map")
    paths = {request.rename.get(name, name): path for name, path in request.modalities.items()}
    if len(paths) != len(request.modalities):
        raise UsageError("Expected one --modality for each of the model's names but got two; drop one of them.")
    if request.select is not None:
        paths = {name: path for name, path in paths.items() if name in request.select}
    notes: list[str] = []
    images = find_images(request.image, paths, request.out, notes)
    for note in notes:
        say(f"note: {note}")
    return images


def reading(request: AppRequest) -> Reading:
    """How files are read; options may use a name before or after ``--map``."""
    known = {*request.modalities, *request.rename.values()}
    check_rule_names(request.scales, known, "--scale")
    check_rule_names(request.alignments, known, "--align")
    return Reading(
        {request.rename.get(name, name): rule for name, rule in request.scales.items()},
        {request.rename.get(name, name): alignment for name, alignment in request.alignments.items()},
        tuple(Path(path) for path in (request.image, *request.modalities.values())),
    )


async def _run(request: AppRequest, project: Project, lock: FolderLock, say: Callable[[str], None]) -> None:
    workplace = Workplace(
        project,
        request.url,
        reading(request),
        _version(),
        request.ahead,
        request.threshold,
        request.deadline_s,
        request.masks,
    )
    server = AnnotateServer(workplace, request.port)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl+C ends asyncio.run itself
            loop.add_signal_handler(number, stop.set)
    await server.start()
    try:
        lock.say(f"{lock.holder}, port {server.port}")
        say(f"{len(project.images)} image(s), results in {project.out}")
        say(f"open {server.address}")
        if request.opens_browser and not await asyncio.to_thread(webbrowser.open, server.address):
            say("no browser could be started: open the address yourself.")
        await stop.wait()
    finally:
        await server.close()


def _version() -> str:
    try:
        return version("mmms")
    except PackageNotFoundError:
        return "unknown"
