"""One image that is being annotated: its document, its journal, its pictures, and what the model has of it.

Every change goes one way: plan it, write it to the journal, then show it. One change at a time per image.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from mmms_client import edits
from mmms_client.alignment import Nudge
from mmms_client.annotate.images import ImageFile
from mmms_client.annotate.model import READY, ModelLink, Timing
from mmms_client.annotate.pictures import Pictures, Reading, read_pictures
from mmms_client.annotate.project import Project
from mmms_client.annotation import Annotation, ClickRequest
from mmms_client.annotation_state import Answers
from mmms_client.box_mask import NOWHERE, Box, BoxMask
from mmms_client.clicks import Click
from mmms_client.contract import MAX_CLICKS
from mmms_client.errors import MMMSError, UsageError
from mmms_client.event_json import event_entry
from mmms_client.events import Clicked, ClickRemoved, Event, ModalityAligned, SurfaceAdded
from mmms_client.export_masks.annotated import AnnotatedImage
from mmms_client.export_masks.instance_png import encode_instance_png
from mmms_client.export_masks.palette_png import MAX_ID, encode_palette_png
from mmms_client.files import check_result, path_from, write_inside
from mmms_client.geometry import Frame, Region
from mmms_client.importing import find_masks
from mmms_client.journal import JOURNAL_FILE, History, Journal
from mmms_client.predictor import Encoded
from mmms_client.recorded import Recorded
from mmms_client.replaying import Probabilities, Question, answer_all, removal
from mmms_client.results import JOINT_FILE, KEPT_FILE, RESULTS_FILE, SESSION_FILE
from mmms_client.session_file import SessionDocument, format_session, read_session

_MOST_ENCODED = 24  # encoded views of one image kept on this side: about a megabyte each
Changed = Callable[["OpenImage", Box], Awaitable[None]]
_T = TypeVar("_T")


class OpenImage:
    """An image with everything that belongs to it. Made by :meth:`open`; all methods belong to the event loop."""

    def __init__(
        self, index: int, file: ImageFile, project: Project, link: ModelLink, reading: Reading, on_change: Changed
    ) -> None:
        self.index, self.file, self.project, self.link = index, file, project, link
        self.lock = asyncio.Lock()
        self.encoded_state = "no"
        self.encoded_error: str | None = None
        self.version = 1  # of the pictures
        self.told_version = 0  # that the pages know
        self._reading_lock, self._writing_lock = asyncio.Lock(), asyncio.Lock()
        self.pictures: Pictures
        self.annotation: Annotation
        self._journal: Journal | None = None
        self._reading, self._on_change = reading, on_change
        self._encoded: OrderedDict[Any, Encoded] = OrderedDict()
        self._model: dict[str, str] = {}
        self._written = -1  # revision whose results are on disk
        self._read_for: tuple[Any, ...] = ()
        self._asking: asyncio.Future[Any] | None = None  # what waits for the model while it holds the lock

    @classmethod
    async def open(cls, *arguments: Any, threshold: float = 0.5, masks: str | None = None) -> OpenImage:
        """Read the files and the journal; a new one begins with what was recorded here without one, or ``masks``.

        Raises :class:`mmms_client.errors.MMMSError`.
        """
        image = cls(*arguments)
        try:
            await image._open(threshold, masks)
        except BaseException:
            if image._journal is not None:
                image._journal.close()
            raise
        return image

    async def _open(self, threshold: float, masks: str | None) -> None:
        self.pictures = await asyncio.to_thread(read_pictures, self.file, self.link.contract, self._reading, {})
        self._journal, history = await asyncio.to_thread(self._open_journal)
        self._model = history.model
        self.annotation = Annotation(Frame.of(self.pictures.image_hw, 1), MAX_CLICKS, threshold)
        await asyncio.to_thread(history.restore, self.annotation)
        self.fit_model()
        await self.read_again()
        if history.length == 1:
            await self._begin(masks)
        elif self.project.has_results(self.file):
            self._written = self.annotation.revision

    def _open_journal(self) -> tuple[Journal, History]:
        path = self.project.folder(self.file) / JOURNAL_FILE
        check_result(path, self.project.out)
        return Journal.open(path, self.file.name, self.pictures.image_hw)

    async def _begin(self, masks: str | None) -> None:
        """The first step of a journal: what was recorded here without one, or masks from elsewhere."""
        found = await asyncio.to_thread(self._take_over)
        if found is None and masks:
            found = await asyncio.to_thread(find_masks, masks, os.fspath(self.file.path), self.file.name)
        if found is None or not found.surfaces:
            return
        parts = [(surface, BoxMask.of(found.masks[surface.surface_id])) for surface in found.surfaces]
        await self.perform(edits.import_masks(self.annotation, parts))

    def _take_over(self) -> AnnotatedImage | None:
        """The masks of a session that somebody recorded without the app; its clicks stay in a file of their own."""
        out, file = self.project.out, self.project.folder(self.file) / SESSION_FILE
        check_result(file, out)
        if not file.is_file():
            return None
        recorded = Recorded(file, read_session(file))
        found = AnnotatedImage.from_joint(self.file.name, recorded.joint(), recorded.document.surfaces)
        kept = file.with_name(KEPT_FILE)
        if not kept.exists():
            write_inside(out, kept, file.read_bytes())
        return found

    def fit_model(self) -> None:
        """Take size and limits from the model that is connected now."""
        contract = self.link.contract
        if contract is not None:
            self.annotation.frame = Frame.of(self.pictures.image_hw, contract.resolution)
            self.annotation.max_clicks = contract.max_clicks

    @property
    def nudges(self) -> Mapping[str, Nudge]:
        """Where modalities lie: as the folder says, and as this image says."""
        return {**self.project.nudges, **self.annotation.state.nudges}

    async def read_again(self) -> bool:
        """Read the files anew if the model or an alignment changed since; returns whether it did."""
        async with self._reading_lock:
            return await self._read_again()

    async def _read_again(self) -> bool:
        contract = self.link.contract
        names = None if contract is None else tuple(contract.modalities)
        wanted = (names, tuple(sorted((name, nudge) for name, nudge in self.nudges.items() if nudge != Nudge())))
        if wanted == self._read_for or (not self._read_for and wanted == (None, ())):
            return False
        self.pictures = await asyncio.to_thread(read_pictures, self.file, contract, self._reading, self.nudges)
        self._read_for = wanted
        self.version += 1
        self._encoded.clear()
        self.encoded_state, self.encoded_error = "no", None
        return True

    # Changes ------------------------------------------------------------------------------------------
    async def perform(self, event: Event, answers: Answers = ()) -> None:
        """Take an event in: on disk first, then on screen. Hold :attr:`lock`."""
        step = await asyncio.to_thread(self.annotation.plan, event, answers)
        await self._write(event_entry(event, answers))
        box = await asyncio.to_thread(self.annotation.commit, step)
        await self._on_change(self, box)

    async def _write(self, entry: Mapping[str, Any]) -> None:
        assert self._journal is not None
        await asyncio.to_thread(self._journal.append, entry)

    async def undo(self, is_redo: bool = False) -> bool:
        """Go one step back, or forth. Returns whether there was one. Hold :attr:`lock`.

        A surface that a click asked for and that click are one step.
        """
        steps = self.annotation.undone if is_redo else self.annotation.done
        if not steps:
            return False
        event = steps[-1].event
        is_pair = len(steps) > 1 and _is_one_step(event, steps[-2].event, is_redo)
        entry: dict[str, Any] = {"do": "redo" if is_redo else "undo"}
        await self._write(entry | ({"events": 2} if is_pair else {}))
        box = NOWHERE
        for _ in range(2 if is_pair else 1):
            await asyncio.to_thread(self.annotation.redo if is_redo else self.annotation.undo)
            box = box.union(self.annotation.changed)
        if isinstance(event, ModalityAligned):
            await self.read_again()
        await self._on_change(self, box)
        return True

    async def finish(self, surface_id: int) -> None:
        """The next click on the surface begins a visit. Hold :attr:`lock`."""
        self.annotation.surface(surface_id)
        await self._write({"do": "finish", "id": surface_id})
        self.annotation.begin_visit(surface_id)

    async def click(self, surface_id: int, click: Click, region: Region | None) -> dict[str, float]:
        """Ask the model and take its answer in; returns the timing. Hold :attr:`lock`.

        Raises :class:`mmms_client.errors.MMMSError`; nothing changed then.
        """
        began_s = time.perf_counter()
        timing = Timing()
        self.fit_model()
        request = await asyncio.to_thread(self.annotation.propose, surface_id, click, region)
        answer = await self.interruptible(self._answer(request, region, timing))
        await self._note_model()
        step = await asyncio.to_thread(self.annotation.answered, request, answer)
        await self._write(event_entry(step.event, step.answers))
        box = await asyncio.to_thread(self.annotation.commit, step)
        if region is None:
            self.encoded_state = "ready"
        await self._on_change(self, box)
        return timing.entry(1e3 * (time.perf_counter() - began_s))

    async def _answer(self, request: ClickRequest, region: Region | None, timing: Timing) -> Probabilities:
        encoded = await self.encoded(region)
        return await self.link.predict(encoded, request.clicks, request.previous_mask, timing)

    async def wait_for_model(self) -> None:
        """Until a model may answer. Hold :attr:`lock`. Raises :class:`mmms_client.errors.ServerError`."""
        await self.interruptible(self._wait())

    async def _wait(self) -> None:
        await self.link.ready()

    async def interruptible(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for the model, unless :meth:`stop_asking` says that nobody wants the answer any more."""
        task = self._asking = asyncio.ensure_future(work)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._asking = None
        if task.cancelled():
            raise UsageError(
                "Expected to wait for the model but got another op that undid this one; nothing was changed."
            )
        return task.result()

    def stop_asking(self, only_if_gone: bool = False) -> bool:
        """Give up what waits for the model, also on the server; returns whether anything did.

        ``only_if_gone``: only if there is no server to answer soon.
        """
        if self._asking is None or (only_if_gone and self.link.status == READY):
            return False
        self._asking.cancel()
        return True

    async def remove_click(self, event: ClickRemoved) -> None:
        """Take a click away and ask the model for the others again. Hold :attr:`lock`."""
        self.fit_model()
        questions = removal(self.annotation, event)
        answers = await self.interruptible(answer_all(questions, self._ask))
        await self._note_model()
        await self.perform(event, answers)

    async def _ask(self, request: Question) -> Probabilities:
        encoded = await self.encoded(request.region)
        return await self.link.predict(encoded, request.clicks, request.previous_mask, Timing())

    async def _note_model(self) -> None:
        """The journal says which model answered, once, and again after each change of model."""
        contract = self.link.contract
        if contract is not None and self._model.get("sha256") != contract.checkpoint_sha256:
            model = {"sha256": contract.checkpoint_sha256, "checkpoint": contract.checkpoint, "preset": contract.preset}
            await self._write({"do": "model", **model})
            self._model = model

    async def align(self, modality: str, nudge: Nudge, is_folder: bool) -> None:
        """Move a modality, of this image or of all that have no alignment of their own. Hold :attr:`lock`."""
        if is_folder:
            self.project.nudges = {**self.project.nudges, modality: nudge}
            await asyncio.to_thread(self.project.save)
        event = ModalityAligned(modality, nudge)
        step = self.annotation.plan(event)
        await self._write(event_entry(event))
        self.annotation.commit(step)
        await self.read_again()
        await self._on_change(self, NOWHERE)

    # The model ----------------------------------------------------------------------------------------
    async def encoded(self, region: Region | None = None, without: str | None = None) -> Encoded:
        """The image, or a region of it, as the model takes it. Raises :class:`ServerError` without one,
        and :class:`DataError` where its features come from a file that has none of it."""
        predictor = await self.link.ready()
        await self.read_again()
        contract = predictor.contract
        key = (region, without, contract.checkpoint_sha256, contract.resolution)
        if key not in self._encoded:
            inputs = {name: values for name, values in self.pictures.model_inputs.items() if name != without}
            version = self.version
            made = await asyncio.to_thread(predictor.prepare, self.pictures.image, inputs, region)
            if version != self.version:
                return made
            self._encoded[key] = made
        self._encoded.move_to_end(key)
        while len(self._encoded) > _MOST_ENCODED:
            self._encoded.popitem(last=False)
        return self._encoded[key]

    async def encode_ahead(self) -> None:
        """Let the server's cache have the image. Sets :attr:`encoded_state`; raises nothing but cancellation."""
        self.encoded_state, self.encoded_error = "running", None
        version = self.version
        try:
            await self.link.encode_ahead(await self.encoded(), lambda: self.encoded_state == "running")
        except asyncio.CancelledError:
            self.encoded_state = "no"
            raise
        except MMMSError as error:
            self.encoded_state, self.encoded_error = "failed", str(error)
        else:
            self.encoded_state = "ready" if version == self.version else "no"

    # Results ------------------------------------------------------------------------------------------
    async def write_results(self) -> None:
        """Write session.json and joint.png beside the journal, if anything changed since they were written.

        They hold what is there now, whatever changes while they are written. Raises
        :class:`mmms_client.errors.OutputError`.
        """
        async with self._writing_lock:
            await self._write_results()

    async def _write_results(self) -> None:
        async with self.lock:  # a map and the events that it is of
            annotation, revision = self.annotation, self.annotation.revision
            is_there = (self.project.folder(self.file) / SESSION_FILE).is_file()
            if revision == self._written and self.project.has_results(self.file):
                return
            if not annotation.done and not is_there:
                return
            assert self._journal is not None
            made_of = self.project.made_of(self._journal.length_bytes)
            document = self._session_document()
            joint = await asyncio.to_thread(lambda: annotation.joint)
        out, folder = self.project.out, self.project.folder(self.file)

        def write() -> None:
            write_inside(out, folder / SESSION_FILE, format_session(document).encode("utf-8"))
            is_small = joint.max(initial=0) <= MAX_ID
            data = encode_palette_png(joint, document.surfaces) if is_small else encode_instance_png(joint)
            write_inside(out, folder / JOINT_FILE, data)
            write_inside(out, folder / RESULTS_FILE, (json.dumps(made_of) + "\n").encode("utf-8"))

        await asyncio.to_thread(write)
        self._written = revision

    def _session_document(self) -> SessionDocument:
        """The session as it is now, with the classes as the project calls them now."""
        folder = self.project.folder(self.file)
        return self.project.session(
            self.annotation,
            path_from(folder, self.file.path),
            {name: path_from(folder, path) for name, path in self.file.modalities.items()},
            {m.name: m.alignment for m in self.pictures.modalities if m.alignment is not None},
        )

    @property
    def is_closed(self) -> bool:
        return self._journal is None

    async def close(self) -> None:
        """Write the results and give the journal back."""
        try:
            await self.write_results()
        finally:
            async with self.lock:
                if self._journal is not None:
                    self._journal.close()
                self._journal = None


def _is_one_step(event: Event, other: Event, is_redo: bool) -> bool:
    """Whether ``other``, the next to be undone (or redone) after ``event``, goes with it."""
    added, clicked = (event, other) if is_redo else (other, event)
    return (
        isinstance(added, SurfaceAdded)
        and isinstance(clicked, Clicked)
        and added.is_for_click
        and clicked.surface_id == added.surface.surface_id
    )
