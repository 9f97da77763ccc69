"""Everything that is open: images, pages, the model; and what runs ahead of the person."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from mmms_client.alignment import Nudge
from mmms_client.annotate.document import Message, document_message, patch_frame
from mmms_client.annotate.model import READY, ModelLink
from mmms_client.annotate.open_image import OpenImage
from mmms_client.annotate.pictures import Reading
from mmms_client.annotate.project import Project
from mmms_client.box_mask import NOWHERE, Box
from mmms_client.contract import ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.errors import DataError, MMMSError, UsageError
from mmms_client.export_masks.annotated import Options
from mmms_client.export_masks.formats import MODULES as FORMATS
from mmms_client.export_masks.formats import load_format
from mmms_client.exporting import all_losses, open_annotations
from mmms_client.files import write_inside
from mmms_client.folders import check_inside
from mmms_client.journal import JOURNAL_FILE
from mmms_client.results import JOINT_FILE, SESSION_FILE
from mmms_client.triton_predictor import ENSEMBLE

_MOST_OPEN = 6  # images kept open while no page shows them
EXPORT_FOLDER = "export"
_log = logging.getLogger("mmms_client")


class Viewer(Protocol):
    """A page: it shows one image at a time and gets messages."""

    image: OpenImage | None

    def send(self, message: Message | bytes) -> None: ...


class Workplace:
    """The state of one app. All methods belong to the event loop."""

    def __init__(
        self,
        project: Project,
        url: str | Endpoint,
        reading: Reading,
        version: str = "unknown",
        ahead: int = 2,
        threshold: float = 0.5,
        deadline_s: float = 30.0,
        masks: str | None = None,
        features: str = ENSEMBLE,
    ) -> None:
        self.project, self.reading, self.version, self.masks = project, reading, version, masks
        self.ahead, self.threshold = ahead, threshold
        self.link = ModelLink(
            url, deadline_s, self._accepts, lambda: ", ".join(self.project.models), self._on_link, features=features
        )
        self.pages: set[Viewer] = set()
        self.first_image = 0
        self._images: dict[int, OpenImage] = {}
        self._opening: dict[int, asyncio.Lock] = {}
        self._told: dict[int, tuple[str, str]] = {}
        self._marked: set[int] = set()
        self._encoding: set[int] = set()
        self._failed: set[int] = set()
        self._last_status: Message = {}
        self._seen_connections = 0
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._again: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Connect, and begin to encode ahead."""
        self._tasks = [asyncio.ensure_future(self.link.run()), asyncio.ensure_future(self._run_ahead())]

    async def close(self) -> None:
        """Stop what runs, and write the results of all open images."""
        self.link.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for image in list(self._images.values()):
            await image.close()
        self._images.clear()

    # The model ----------------------------------------------------------------------------------------
    def _accepts(self, contract: ModelContract) -> bool:
        models = self.project.models
        if not models:
            self.project.models = {contract.checkpoint_sha256: contract.checkpoint}
            self.project.save()
        return contract.checkpoint_sha256 in self.project.models

    def accept_model(self) -> None:
        """A person agrees that the connected model goes on. Raises :class:`UsageError` if there is none."""
        contract = self.link.contract
        if contract is None:
            raise UsageError("Expected a connected model to accept but got none; wait until the server is back.")
        self.project.models = {**self.project.models, contract.checkpoint_sha256: contract.checkpoint}
        self.project.save()
        self.link.judge()

    def _on_link(self) -> None:
        if self.link.connections != self._seen_connections:
            self._seen_connections = self.link.connections
            for image in self._images.values():
                image.encoded_state = "no"
            self._again = asyncio.ensure_future(self._read_again())
        if self.link.status == READY:
            self.broadcast(self.hello())
        self.tell_status()
        self._wake.set()

    async def _read_again(self) -> None:
        """Another model may take other modalities, in other units: read what is on screen for it."""
        for image in {page.image for page in self.pages if page.image is not None}:
            async with image.lock:
                image.fit_model()
                await image.read_again()
                await self._on_change(image, NOWHERE)

    # Images -------------------------------------------------------------------------------------------
    async def image(self, index: int) -> OpenImage:
        """An image, opened if it is not. Raises :class:`UsageError` for an index that does not exist."""
        if not 0 <= index < len(self.project.images):
            raise UsageError(
                f"Expected an image from 0 to {len(self.project.images) - 1} but got {index}; take one of the list."
            )
        async with self._opening.setdefault(index, asyncio.Lock()):
            if index not in self._images:
                arguments = (index, self.project.images[index], self.project, self.link, self.reading, self._on_change)
                self._images[index] = await OpenImage.open(*arguments, threshold=self.threshold, masks=self.masks)
            image = self._images.pop(index)
            self._images[index] = image  # the last one used is the last one closed
        await self._close_idle()
        return image

    async def _close_idle(self) -> None:
        shown = {page.image.index for page in self.pages if page.image is not None}
        idle = [i for i in self._images if i not in shown and not self._opening[i].locked() and i not in self._encoding]
        for index in idle[: max(0, len(self._images) - _MOST_OPEN)]:
            image = self._images.pop(index)
            async with self._opening[index]:
                await image.close()

    async def _on_change(self, image: OpenImage, box: Box) -> None:
        """Tell every page that shows an image what changed in it. The image's lock is held."""
        is_new = image.version != image.told_version
        image.told_version = image.version
        if any(page.image is image for page in self.pages):
            messages = await asyncio.to_thread(self._changes, image, box, is_new)
            for page in self.pages:
                if page.image is image:
                    for message in messages:
                        page.send(message)
        self.tell_status()
        if is_new:
            self._wake.set()

    def _changes(self, image: OpenImage, box: Box, is_new: bool) -> list[Message | bytes]:
        messages: list[Message | bytes] = [self.image_message(image)] if is_new else []
        if box.area_px:
            messages.append(patch_frame(image.annotation, image.index, box))
        return [*messages, document_message(image.annotation, image.index, self.project)]

    async def show(self, page: Viewer, image: OpenImage) -> None:
        """Send a page all of an image, and let it follow the changes."""
        height, width = image.pictures.image_hw
        async with image.lock:
            if image.is_closed:
                raise UsageError(
                    f"Expected image {image.index} to stay open but it was closed for others; open it again."
                )
            image.fit_model()
            if await image.read_again():
                await self._on_change(image, NOWHERE)
            image.told_version = image.version
            messages = await asyncio.to_thread(self._changes, image, Box(0, 0, width, height), True)
            page.image = image
        for message in messages:
            page.send(message)
        self._wake.set()

    def show_again(self) -> None:
        """Tell every page the surfaces again, whose classes may be called something else now."""
        for page in self.pages:
            if page.image is not None:
                page.send(document_message(page.image.annotation, page.image.index, self.project))

    def mark(self, index: int, state: str) -> None:
        """Set an image's state and tell the pages. Raises :class:`UsageError`."""
        self.project.mark(self.project.images[index], state)
        self._marked.add(index)
        self.tell_status()

    # Encoding ahead -----------------------------------------------------------------------------------
    async def _run_ahead(self) -> None:
        """Encode the images on screen, then the next ones; again after every change that makes it necessary."""
        while True:
            self._wake.clear()
            index = self._next_to_encode()
            if index is None or self.link.status != READY:
                await self._wake.wait()
                continue
            self._encoding = {index}
            try:
                image = await self.image(index)
                if image.encoded_state == "no":
                    image.encoded_state = "running"
                    self.tell_status()
                    await image.encode_ahead()
            except MMMSError:
                self._failed.add(index)  # a broken file is said when somebody opens it
            except Exception:  # noqa: BLE001 - the others are encoded all the same
                _log.exception("encoding image %d ahead failed", index)
                self._failed.add(index)
            finally:
                self._encoding = set()
            self.tell_status()

    def _next_to_encode(self) -> int | None:
        shown = [page.image.index for page in self.pages if page.image is not None]
        later = [i + n for n in range(1, self.ahead + 1) for i in shown if i + n < len(self.project.images)]
        for index in dict.fromkeys([*shown, *later]):
            state = self._images[index].encoded_state if index in self._images else "no"
            if state == "no" and index not in self._failed:
                return index
        return None

    # Messages -----------------------------------------------------------------------------------------
    def broadcast(self, message: Message | None) -> None:
        if message is not None:
            for page in self.pages:
                page.send(message)

    def hello(self) -> Message:
        contract, project = self.link.contract, self.project
        model = None
        if contract is not None:
            model = {
                "preset": contract.preset,
                "checkpoint": contract.checkpoint,
                "sha256": contract.checkpoint_sha256,
                "resolution": contract.resolution,
                "max_clicks": contract.max_clicks,
                "modalities": [{"name": m.name, "unit": m.unit} for m in contract.modalities],
            }
        return {
            "type": "hello",
            "version": self.version,
            "model": model,
            "url": self.link.url,
            "classes": self.class_entries(),
            "images": [self._image_entry(i) for i in range(len(project.images))],
            "keys": project.keys,
            "settings": project.settings,
            "formats": list(FORMATS),
            "first_image": self.first_image,
            "status": self.status(range(0)),
        }

    def class_entries(self) -> list[Message]:
        rows = [asdict(c) for c in self.project.classes]
        return [{"id": row.pop("class_id"), **row} for row in rows]

    def _image_entry(self, index: int) -> Message:
        file = self.project.images[index]
        encoded = self._images[index].encoded_state if index in self._images else "no"
        return {"index": index, "name": file.name, "state": self.project.state(file), "encoded": encoded}

    def image_message(self, image: OpenImage) -> Message:
        height, width = image.pictures.image_hw
        rows = []
        for m in image.pictures.modalities:
            nudge = image.nudges.get(m.name, Nudge())
            h, w = (0, 0) if m.values is None else m.values.shape[:2]
            (scale, offset), (low, high) = m.step, m.percentiles
            row: Message = {"name": m.name, "kind": "colour" if m.is_colour else "scalar", "unit": m.unit}
            row |= {"width": w, "height": h, "scale": scale, "offset": offset, "low": low, "high": high}
            row |= {"in_model": m.in_model, "version": image.version, "error": m.error}
            rows.append(row | {"alignment": {"dx": nudge.dx_px, "dy": nudge.dy_px, "scale": nudge.scale}})
        entry = self._image_entry(image.index)
        return {
            **entry,
            "type": "image",
            "width": width,
            "height": height,
            "version": image.version,
            "modalities": rows,
            "notes": list(image.pictures.notes),
            "error": image.encoded_error,
        }

    def status(self, indices: Iterable[int]) -> Message:
        ready = [i for i, image in self._images.items() if image.encoded_state == "ready"]
        running = [i for i, image in self._images.items() if image.encoded_state == "running"]
        shown = {page.image.index for page in self.pages if page.image is not None}
        return {
            "type": "status",
            "server": self.link.status,
            "text": self.link.text,
            "encoding": running,
            "encoded_ahead": len([i for i in ready if i not in shown]),
            "images": [{k: v for k, v in self._image_entry(i).items() if k != "name"} for i in indices],
        }

    def tell_status(self) -> None:
        """Send every page the status, with the images whose state changed since the last time."""
        changed = []
        for index in sorted({*self._images, *self._told, *self._marked}):
            entry = self._image_entry(index)
            now = (entry["state"], entry["encoded"])
            if self._told.get(index) != now:
                changed.append(index)
            self._told[index] = now
        self._marked.clear()
        message = self.status(changed)
        if changed or message != self._last_status:
            self._last_status = message
            self.broadcast(message)

    # Export -------------------------------------------------------------------------------------------
    async def export(
        self, formats: list[str], is_written: bool, tolerance_px: float | None
    ) -> tuple[list[str], list[str]]:
        """Losses of all annotated images in some formats, and the files that were written.

        Raises :class:`UsageError` for an unknown format, and what coding and writing raise.
        """
        for name in formats:
            if name not in FORMATS:
                raise UsageError(f"Expected a format ({', '.join(FORMATS)}) but got {name!r}; take one of these.")
        for index, file in enumerate(self.project.images):
            is_known = index in self._images or (self.project.folder(file) / JOURNAL_FILE).is_file()
            if is_known and (index in self._images or not self.project.has_results(file)):
                await (await self.image(index)).write_results()
        return await asyncio.to_thread(self._export, formats, is_written, tolerance_px)

    def _export(self, formats: list[str], is_written: bool, tolerance_px: float | None) -> tuple[list[str], list[str]]:
        out = self.project.out / EXPORT_FOLDER
        folders = [self.project.folder(file) for file in self.project.images]
        sources = [str(folder / SESSION_FILE) for folder in folders if (folder / SESSION_FILE).is_file()]
        for source in sources:
            for name in (SESSION_FILE, JOINT_FILE, JOURNAL_FILE):
                check_inside(Path(source).with_name(name), self.project.out)
        if not sources:
            raise DataError("Expected at least one annotated image but got none; annotate one first.")
        images = open_annotations(sources)
        losses: list[str] = []
        files: dict[Path, bytes] = {}
        for name in dict.fromkeys(formats):
            chosen, options = load_format(name), Options(tolerance_px, out / name)
            losses += [f"{name}: {loss}" for loss in all_losses(chosen, images, options)]
            if is_written:
                files |= {out / name / path: data for path, data in chosen.encode(images, options).items()}
        for path, data in files.items():
            write_inside(self.project.out, path, data)
        return losses, [path.relative_to(self.project.out).as_posix() for path in files]
