"""An app in this process, on the real server, with the sample pair or with what a test gives it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmms_client.annotate.images import find_images
from mmms_client.annotate.pictures import Reading
from mmms_client.annotate.project import Project, ProjectClass
from mmms_client.annotate.server import AnnotateServer
from mmms_client.annotate.workplace import Workplace

STREET = Path(__file__).resolve().parents[2] / "samples" / "street"
CLASSES = [ProjectClass(1, "ground", "#808000"), ProjectClass(2, "vehicle", "#0000ff", "v")]
Apps = Callable[..., AbstractAsyncContextManager[AnnotateServer]]


@pytest.fixture
def app(nano_server, tmp_path) -> Apps:
    """Starts an app: ``async with app() as server``."""

    @asynccontextmanager
    async def start(
        image: Path = STREET / "rgb.png",
        modalities: dict[str, Path] | None = None,
        out: Path = tmp_path / "out",
        url: str | None = None,
        **more: Any,
    ) -> AsyncIterator[AnnotateServer]:
        if modalities is None:
            modalities = {name: STREET / f"{name}.png" for name in ("thermal", "depth")}
        paths = {name: str(path) for name, path in modalities.items()}
        images = find_images(str(image), paths, str(out), [])
        reading = Reading(roots=(image, *modalities.values()))
        workplace = Workplace(Project.open(out, images, CLASSES), url or nano_server.url, reading, **more)
        server = AnnotateServer(workplace)
        await server.start()
        try:
            yield server
        finally:
            await server.close()

    return start


@pytest.fixture
def folder(tmp_path) -> Path:
    """Images in ``rgb`` and their maps in ``thermal``: five pairs of 80x60 px, one of them without a map."""
    rng = np.random.default_rng(0)
    for name in ("rgb", "thermal"):
        (tmp_path / name / "day").mkdir(parents=True)
    for n, stem in enumerate(("a1", "a2", "a10", "day/b", "day/c")):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)).save(tmp_path / "rgb" / f"{stem}.png")
        if stem != "day/c":
            values = (1000 + 10 * n + rng.integers(0, 9, (60, 80))).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / "thermal" / f"{stem}.png")
    return tmp_path
