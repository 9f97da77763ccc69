"""What a page may ask for: each op with the fields it takes, checked before anything is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from mmms_client import edits
from mmms_client.alignment import Nudge
from mmms_client.annotate.document import Message, mask_frame
from mmms_client.annotate.open_image import OpenImage
from mmms_client.annotate.project import ProjectClass, class_colour
from mmms_client.annotate.workplace import Viewer, Workplace
from mmms_client.annotation import check_colour, clicks_in
from mmms_client.box_mask import Box, box_of_pixels
from mmms_client.clicks import Click
from mmms_client.errors import MMMSError, UsageError
from mmms_client.events import Event
from mmms_client.geometry import Frame, Region
from mmms_client.json_place import Place, shown
from mmms_client.replaying import Probabilities, Question, answer_all, surface_alone

Fields = dict[str, Place]
_ADVICE = "this page and this app are of different versions: load the page again"
_FAINT = 4.0 / 255.0  # below, a probability is not drawn
_MOST_SHIFT_PX, _LEAST_SCALE, _MOST_SCALE = 100_000.0, 0.1, 10.0


def read_op(message: Any) -> tuple[str, Fields]:
    """The op of a message and its fields. Raises :class:`SessionFormatError` for one that is unknown or malformed."""
    place = Place("the page", "", message, _ADVICE)
    name = place.entries()["op"].value if "op" in place.entries() else None
    if not isinstance(name, str) or name not in OPS:
        place.fail("a message with an op of this app")
    required, optional, _ = OPS[name]
    return name, place.fields(("op", "seq", *required), optional)


class Operations:
    """The ops of one page. Each returns the fields of its reply; errors are :class:`MMMSError`, and change nothing."""

    def __init__(self, workplace: Workplace, page: Viewer) -> None:
        self.workplace, self.page = workplace, page

    @property
    def image(self) -> OpenImage:
        if self.page.image is None:
            raise UsageError("Expected an open image but got none; open one first.")
        return self.page.image

    async def run(self, name: str, fields: Fields) -> Message:
        method: Callable[[Operations, Fields], Awaitable[Message | None]] = OPS[name][2]
        return await method(self, fields) or {}

    async def _do(self, make: Callable[[OpenImage], Event]) -> Event:
        """Make an event of the image as it is when its turn comes, and take it in."""
        image = self.image
        image.stop_asking(only_if_gone=True)
        async with image.lock:
            event = await asyncio.to_thread(make, image)
            await image.perform(event)
            return event

    # Images -------------------------------------------------------------------------------------------
    async def open(self, f: Fields) -> Message:
        image = await self.workplace.image(f["index"].integer(0))
        before = self.page.image
        await self.workplace.show(self.page, image)
        if before is None or before is image:
            return {}
        try:
            await before.write_results()
        except MMMSError as error:  # its journal has everything; the new image is open all the same
            return {"warning": str(error)}
        return {}

    async def mark(self, f: Fields) -> None:
        index = f["index"].integer(0) if "index" in f and f["index"].value is not None else self.image.index
        if index >= len(self.workplace.project.images):
            raise UsageError(f"Expected the number of an image but got {index}; take one of the list.")
        self.workplace.mark(index, f["state"].text())

    # Clicks -------------------------------------------------------------------------------------------
    async def click(self, f: Fields) -> Message:
        image, click, region = self.image, _click(f), _region(f)
        async with image.lock:
            given = None if f["surface"].value is None else f["surface"].integer(1)
            is_new = given is None
            if is_new:
                await image.wait_for_model()
                class_name = self._active_class(f)
                await image.perform(edits.add(image.annotation, class_name=class_name, is_for_click=True))
            number = image.annotation.surfaces[-1].surface_id if given is None else given
            try:
                timing = await image.click(number, click, region)
            except BaseException:
                if is_new:
                    await image.undo()
                raise
            return {"surface": number, "timing": timing}

    def _active_class(self, f: Fields) -> str | None:
        if "class" in f:
            return self._class(f["class"])
        classes = self.workplace.project.classes
        surfaces = self.image.annotation.surfaces
        if surfaces:
            return self.workplace.project.class_name(surfaces[-1].class_name)
        return classes[0].name if classes else None

    def _class(self, place: Place) -> str | None:
        if place.value is None:
            return None
        name, classes = place.text(), self.workplace.project.classes
        if classes and name not in {c.name for c in classes}:
            known = shown(", ".join(c.name for c in classes))
            raise UsageError(f"Expected one of the classes {known} but got {shown(name)}; add it.")
        return name

    async def remove_click(self, f: Fields) -> None:
        image = self.image
        async with image.lock:
            event = edits.remove_click(image.annotation, f["surface"].integer(1), f["index"].integer(0))
            await image.remove_click(event)

    async def finish(self, f: Fields) -> None:
        image = self.image
        async with image.lock:
            await image.finish(f["surface"].integer(1))
        await image.write_results()

    async def preview(self, f: Fields) -> Message:
        """What a click would give, while nobody has set it. Cancelled by the next preview, click or ``cancel``."""
        image, region = self.image, _region(f)
        number = None if f["surface"].value is None else f["surface"].integer(1)
        image.fit_model()
        annotation, click = image.annotation, _click(f)
        if number is None:
            frame = annotation.frame_of(region)
            clicks, previous = clicks_in(frame, (click,)), None
            if not clicks:
                raise UsageError("Expected the mouse over the image but got a place outside it; move it back.")
        else:
            request = await asyncio.to_thread(annotation.propose, number, click, region)
            frame, clicks, previous = request.frame, request.clicks, request.previous_mask
        encoded = await image.encoded(region)
        answer = await self.workplace.link.glance(encoded, clicks, previous)
        head = {"image": image.index, "kind": "preview", "ticket": f["ticket"].value, "surface": number}
        self.page.send(await asyncio.to_thread(_mask_message, frame, answer, head))
        return {}

    async def cancel(self, f: Fields) -> None:
        """Nothing to do here: the page's socket has cancelled what ran."""

    async def without(self, f: Fields) -> Message:
        """The surface's clicks answered again by a model that does not get one modality."""
        image, number, modality = self.image, f["surface"].integer(1), f["modality"].text()
        if modality not in image.pictures.model_inputs:
            known = ", ".join(image.pictures.model_inputs) or "none"
            raise UsageError(
                f"Expected a modality that the model gets ({known}) but got {modality!r}; take one of these."
            )
        image.fit_model()

        async def ask(question: Question) -> Probabilities:
            encoded = await image.encoded(question.region, without=modality)
            return await self.workplace.link.glance(encoded, question.clicks, question.previous_mask)

        frame, answer = await answer_all(surface_alone(image.annotation, number), ask)
        head = {"image": image.index, "kind": "without", "modality": modality, "surface": number}
        self.page.send(await asyncio.to_thread(_mask_message, frame, answer, head))
        return {}

    # Surfaces -----------------------------------------------------------------------------------------
    async def undo(self, f: Fields) -> Message:
        image = self.image
        if image.stop_asking():  # the click that would be undone is not answered yet
            return {"done": True}
        async with image.lock:
            return {"done": await image.undo()}

    async def redo(self, f: Fields) -> Message:
        image = self.image
        image.stop_asking(only_if_gone=True)
        async with image.lock:
            return {"done": await image.undo(is_redo=True)}

    async def add_surface(self, f: Fields) -> Message:
        name = f["name"].text(may_be_empty=True) if "name" in f and f["name"].value is not None else ""
        class_name = self._active_class(f)
        event: Any = await self._do(lambda image: edits.add(image.annotation, name, class_name))
        return {"surface": event.surface.surface_id}

    async def update_surface(self, f: Fields) -> None:
        changes: dict[str, Any] = {}
        if "name" in f:
            changes["name"] = f["name"].text()
        if "class" in f:
            changes["class_name"] = self._class(f["class"])
        if "colour" in f:
            changes["colour"] = None if f["colour"].value is None else f["colour"].text()
        if "locked" in f:
            changes["is_locked"] = f["locked"].boolean()
        if "visible" in f:
            changes["is_visible"] = f["visible"].boolean()
        number = f["surface"].integer(1)
        await self._do(lambda image: edits.change(image.annotation, number, **changes))

    async def reorder(self, f: Fields) -> None:
        order = [item.integer(1) for item in f["surfaces"].items()]
        await self._do(lambda image: edits.reorder(image.annotation, order))

    async def delete_surface(self, f: Fields) -> None:
        number = f["surface"].integer(1)
        await self._do(lambda image: edits.delete(image.annotation, number))

    async def merge(self, f: Fields) -> None:
        into, merged = f["into"].integer(1), f["from"].integer(1)
        await self._do(lambda image: edits.merge(image.annotation, into, merged))

    async def split(self, f: Fields) -> Message:
        number = f["surface"].integer(1)
        event: Any = await self._do(lambda image: edits.split(image.annotation, number))
        return {"surfaces": [number, *(surface.surface_id for surface, _ in event.parts)]}

    async def brush(self, f: Fields) -> None:
        number, points, radius = f["surface"].integer(1), _points(f), f["radius"].number()
        is_erased = "erase" in f and f["erase"].boolean()
        await self._do(lambda image: edits.brush(image.annotation, number, points, radius, is_erased))

    async def polygon(self, f: Fields) -> None:
        number, points = f["surface"].integer(1), _points(f)
        is_erased = "erase" in f and f["erase"].boolean()
        await self._do(lambda image: edits.polygon(image.annotation, number, points, is_erased))

    async def clean(self, f: Fields) -> None:
        number, holes, specks = f["surface"].integer(1), f["holes_px"].integer(0), f["specks_px"].integer(0)
        await self._do(lambda image: edits.clean(image.annotation, number, holes, specks))

    # Everything else ----------------------------------------------------------------------------------
    async def align(self, f: Fields) -> None:
        image, modality = self.image, f["modality"].text()
        if modality not in image.file.modalities:
            raise UsageError(f"Expected a modality of this image but got {modality!r}; take one of its list.")
        numbers = [f[name].number() for name in ("dx", "dy", "scale")]
        if max(abs(numbers[0]), abs(numbers[1])) > _MOST_SHIFT_PX or not _LEAST_SCALE <= numbers[2] <= _MOST_SCALE:
            raise UsageError(
                f"Expected a shift up to {_MOST_SHIFT_PX:g} px and a scale from {_LEAST_SCALE:g} to {_MOST_SCALE:g} "
                f"but got {numbers}; use a homography (--align) for more."
            )
        if f["scope"].value not in ("image", "folder"):
            f["scope"].fail("'image' or 'folder'")
        async with image.lock:
            await image.align(modality, Nudge(*numbers), f["scope"].value == "folder")

    async def classes(self, f: Fields) -> Message:
        rows = []
        for item in f["classes"].items():
            c = item.fields(("name",), ("id", "colour", "key"))
            number = c["id"].integer(1, 10**6) if "id" in c and c["id"].value is not None else 0
            colour = c["colour"].text() if "colour" in c and c["colour"].value is not None else ""
            check_colour(colour or None)
            key = c["key"].text() if "key" in c and c["key"].value is not None else None
            rows.append((number, c["name"].text(), colour, key))
        free = max([0, *(row[0] for row in rows), *(c.class_id for c in self.workplace.project.classes)])
        classes = []
        for number, name, colour, key in rows:
            if not number:
                free = number = free + 1
            classes.append(ProjectClass(number, name, colour or class_colour(number), key))
        self.workplace.project.set_classes(classes)
        self.workplace.broadcast(self.workplace.hello())
        self.workplace.show_again()
        return {"classes": self.workplace.class_entries()}

    async def settings(self, f: Fields) -> None:
        self.workplace.project.set_opaque("settings", _plain(f["settings"]))

    async def keys(self, f: Fields) -> None:
        self.workplace.project.set_opaque("keys", _plain(f["keys"]))

    async def accept_model(self, f: Fields) -> None:
        self.workplace.accept_model()

    async def export(self, f: Fields) -> Message:
        formats = [item.text() for item in f["formats"].items()]
        tolerance = f["polygons"].number() if "polygons" in f and f["polygons"].value is not None else None
        if tolerance is not None and tolerance < 0:
            f["polygons"].fail("a number of pixels, 0 or more,")
        losses, written = await self.workplace.export(formats, f["write"].boolean(), tolerance)
        return {"losses": losses, "written": written}


OPS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Any]] = {
    "open": (("index",), (), Operations.open),
    "click": (("surface", "x", "y", "positive"), ("region", "class"), Operations.click),
    "remove_click": (("surface", "index"), (), Operations.remove_click),
    "undo": ((), (), Operations.undo),
    "redo": ((), (), Operations.redo),
    "add_surface": ((), ("name", "class"), Operations.add_surface),
    "update_surface": (("surface",), ("name", "class", "colour", "locked", "visible"), Operations.update_surface),
    "reorder": (("surfaces",), (), Operations.reorder),
    "delete_surface": (("surface",), (), Operations.delete_surface),
    "merge": (("into", "from"), (), Operations.merge),
    "split": (("surface",), (), Operations.split),
    "finish": (("surface",), (), Operations.finish),
    "brush": (("surface", "points", "radius"), ("erase",), Operations.brush),
    "polygon": (("surface", "points"), ("erase",), Operations.polygon),
    "clean": (("surface", "holes_px", "specks_px"), (), Operations.clean),
    "preview": (("surface", "x", "y", "positive", "ticket"), ("region",), Operations.preview),
    "cancel": ((), (), Operations.cancel),
    "without": (("surface", "modality"), (), Operations.without),
    "align": (("modality", "dx", "dy", "scale", "scope"), (), Operations.align),
    "classes": (("classes",), (), Operations.classes),
    "settings": (("settings",), (), Operations.settings),
    "keys": (("keys",), (), Operations.keys),
    "mark": (("state",), ("index",), Operations.mark),
    "accept_model": ((), (), Operations.accept_model),
    "export": (("formats", "write"), ("polygons",), Operations.export),
}


def _click(f: Fields) -> Click:
    return Click(f["x"].number(), f["y"].number(), f["positive"].boolean())


def _region(f: Fields) -> Region | None:
    if "region" not in f or f["region"].value is None:
        return None
    numbers = [item.integer(0) for item in f["region"].items()]
    if len(numbers) != 4:
        f["region"].fail("a region [x, y, width, height]")
    return Region(*numbers)


def _points(f: Fields) -> list[tuple[float, float]]:
    points = []
    for item in f["points"].items():
        numbers = [number.number() for number in item.items()]
        if len(numbers) != 2:
            item.fail("a point [x, y]")
        points.append((numbers[0], numbers[1]))
    return points


def _plain(place: Place) -> dict[str, Any]:
    return {name: entry.value for name, entry in place.entries().items()}


def _mask_message(frame: Frame, probabilities: Probabilities, head: Message) -> bytes:
    """A surface by itself in the box where its probability is worth drawing."""
    around, part = frame.probabilities_above(probabilities, _FAINT)
    plane = np.rint(part * np.float32(255.0)).astype(np.uint8)
    box: Box = box_of_pixels(plane > 0, around.x0, around.y0)
    return mask_frame(plane[box.within(around)], box, **head)
