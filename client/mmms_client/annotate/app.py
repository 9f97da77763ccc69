"""``mmms-client annotate`` without ``--clicks``: start the app, open the browser, run until Ctrl+C."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mmms_client.annotate.choosing import InputRequest, project_images, reading
from mmms_client.annotate.project import FolderLock, Project, read_classes
from mmms_client.endpoint import Endpoint
from mmms_client.errors import UsageError
from mmms_client.files import remove_drafts
from mmms_client.foreign_features import BUNDLE, check_features_option, read_bundle

try:
    import aiohttp  # noqa: F401 - only to say at once what is missing
except ImportError as cause:
    raise UsageError(
        "Expected aiohttp for the app but it is not installed; run: pip install 'mmms[annotate]'"
    ) from cause

from mmms_client.annotate.metrics_server import MetricsServer
from mmms_client.annotate.server import AnnotateServer
from mmms_client.annotate.way_in import private_page
from mmms_client.annotate.workplace import Workplace
from mmms_client.triton_predictor import AUTO, ENSEMBLE

_BROWSER_S = 15.0  # to start and to come


@dataclass(frozen=True)
class AppRequest(InputRequest):
    """The command line of ``annotate`` without ``--clicks``; names as in its help."""

    url: str | Endpoint = ""
    classes: str | None = None
    masks: str | None = None
    threshold: float = 0.5
    deadline_s: float = 30.0
    port: int = 0
    ahead: int = 2
    opens_browser: bool = True
    metrics: str | None = None
    features: str = AUTO


def annotate(request: AppRequest, say: Callable[[str], None]) -> None:
    """Run the app until it is interrupted. Raises :class:`mmms_client.errors.MMMSError` if it cannot start."""
    check_features_option(request.features, (AUTO, ENSEMBLE))
    if request.features.startswith(f"{BUNDLE}="):
        read_bundle(Path(request.features.partition("=")[2]))  # a broken one is said now, not at each attempt
    images = project_images(request, say)
    lock = FolderLock(Path(request.out))
    try:
        remove_drafts(Path(request.out))
        classes = read_classes(request.classes) if request.classes else []
        project = Project.open(request.out, images, classes)
        asyncio.run(_run(request, project, lock, say))
    finally:
        lock.release()


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
        request.features,
    )
    server = AnnotateServer(workplace, request.port)
    metrics = None if request.metrics is None else MetricsServer(workplace.link.metrics, request.metrics)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl+C ends asyncio.run itself
            loop.add_signal_handler(number, stop.set)
    await server.start()
    try:
        if metrics is not None:
            await metrics.start()
        lock.say(f"{lock.holder}, port {server.port}")
        say(f"{len(project.images)} image(s), results in {project.out}")
        say(f"open {server.address}")
        with ExitStack() as while_running:
            if request.opens_browser:
                await _open_browser(server, project.out, while_running, say)
            await stop.wait()
    finally:
        await server.close()
        if metrics is not None:
            await metrics.close()


async def _open_browser(
    server: AnnotateServer, out: Path, while_running: ExitStack, say: Callable[[str], None]
) -> None:
    """Bring a browser to the app; the file that leads there stays as long as the app."""
    try:
        file = while_running.enter_context(private_page(server.way_in(), out))
    except OSError as error:
        say(f"no browser was started ({error.strerror}): open the address yourself.")
        return
    if not await asyncio.to_thread(webbrowser.open, file.as_uri()):
        say("no browser could be started: open the address yourself.")
        return

    def look() -> None:
        if not (server.is_way_in_taken or server.workplace.pages):  # a confined one may not read it
            say("no browser has come: if it cannot read the file that leads here, open the address yourself.")

    while_running.callback(asyncio.get_running_loop().call_later(_BROWSER_S, look).cancel)


def _version() -> str:
    try:
        return version("mmms")
    except PackageNotFoundError:
        return "unknown"
