"""The session file: surfaces and clicks of one image as JSON, schema version 1.

It is what ``--clicks`` reads, what a run writes back, and what any model can replay. The shape is in
``session.schema.json`` beside this module. Visits of several surfaces interleave in time, so each carries an
``order``: they happened by increasing order over all surfaces. A file written by hand may leave every
``order`` out; then the visits happened surface by surface, as listed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from mmms_client.alignment import Alignment, homography
from mmms_client.annotation import MAX_SURFACES, Annotation, Answer
from mmms_client.bounded import PixelBudget, TooManyPixelsError
from mmms_client.box_mask import BoxMask
from mmms_client.clicks import Click
from mmms_client.errors import SessionFormatError
from mmms_client.events import Surface, SurfaceChanged, Visit
from mmms_client.files import write_text_atomically
from mmms_client.geometry import Region
from mmms_client.json_place import Place, image_size, shown
from mmms_client.json_text import parse_json
from mmms_client.run_length import decode_box_runs, encode_box_runs
from mmms_client.session import Session

SCHEMA_VERSION = 1
SCHEMA_FILE = Path(__file__).with_name("session.schema.json")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True)
class SurfaceClass:
    """A class that surfaces may have; ``colour`` is ``#rrggbb`` or ``None``."""

    name: str
    colour: str | None = None


@dataclass(frozen=True, eq=False)
class SessionDocument:
    """A session file as objects.

    Attributes:
        image_path: as written in the file: relative to its folder, or absolute.
        image_hw: size of the image in pixels.
        surfaces: in the order in which they were added.
        visits: of all surfaces, in time order, numbered from 0.
        modalities: paths like ``image_path``, by the model's name.
        alignments: by the model's name.
        classes: empty if any class name goes.
        region: the part of the image that the network saw; ``None`` for the whole image.
    """

    image_path: str
    image_hw: tuple[int, int]
    surfaces: tuple[Surface, ...] = ()
    visits: tuple[Visit, ...] = ()
    modalities: Mapping[str, str] = field(default_factory=dict)
    alignments: Mapping[str, Alignment] = field(default_factory=dict)
    classes: tuple[SurfaceClass, ...] = ()
    region: Region | None = None

    @property
    def click_count(self) -> int:
        return sum(len(visit.clicks) for visit in self.visits)


# Reading ----------------------------------------------------------------------------------------------
def read_session(path: str | os.PathLike[str]) -> SessionDocument:
    """Read a session file. Raises :class:`SessionFormatError`, one line naming file and place."""
    name = os.fspath(path)
    try:
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        raise SessionFormatError(
            f"Expected the session file {name!r} but got {error.strerror!r}; check the path."
        ) from error
    except UnicodeDecodeError as error:
        raise SessionFormatError(f"{name}: expected JSON in UTF-8 but got other bytes; correct the file.") from error
    return parse_session(text, name)


def parse_session(text: str, name: str = "session.json") -> SessionDocument:
    """Parse the text of a session file; ``name`` is for messages. Errors as for :func:`read_session`."""
    if not text.strip():
        raise SessionFormatError(f"{name}: expected a session in JSON but got an empty file; save the session again.")
    try:
        content = parse_json(text, _refuse_constant)
    except ValueError as error:
        raise SessionFormatError(
            f"{name}: expected JSON but got {' '.join(str(error).split())!r}; correct the file or save the "
            f"session again."
        ) from error
    return _document(Place(name, "", content), PixelBudget(len(text)))


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is not a number in JSON")


def _document(root: Place, budget: PixelBudget) -> SessionDocument:
    entries = root.entries()
    if "schema_version" in entries and entries["schema_version"].value != SCHEMA_VERSION:
        entries["schema_version"].fail(f"{SCHEMA_VERSION} (what this version of mmms reads)")
    fields = root.fields(("schema_version", "image", "surfaces"), ("region", "modalities", "alignment", "classes"))
    image = fields["image"].fields(("path", "width", "height"))
    image_hw = image_size(image["height"], image["width"])
    modalities = fields["modalities"].entries() if "modalities" in fields else {}
    alignment = fields["alignment"].entries() if "alignment" in fields else {}
    classes = tuple(_class(item) for item in fields["classes"].items()) if "classes" in fields else ()
    surfaces, visits = _surfaces(fields["surfaces"], {c.name for c in classes}, image_hw, budget)
    return SessionDocument(
        image["path"].file_path(),
        image_hw,
        surfaces,
        visits,
        {name: place.file_path() for name, place in modalities.items()},
        {name: _alignment(place) for name, place in alignment.items()},
        classes,
        _region(fields["region"], image_hw) if "region" in fields else None,
    )


def _class(place: Place) -> SurfaceClass:
    fields = place.fields(("name",), ("colour",))
    return SurfaceClass(fields["name"].text(), _colour(fields.get("colour")))


def _colour(place: Place | None) -> str | None:
    if place is None:
        return None
    if not (isinstance(place.value, str) and _COLOUR.fullmatch(place.value)):
        place.fail("a colour as #rrggbb")
    return place.text()


def _region(place: Place, image_hw: tuple[int, int]) -> Region:
    fields = place.fields(("x0", "y0", "width", "height"))
    x0, y0 = fields["x0"].integer(0), fields["y0"].integer(0)
    width, height = fields["width"].integer(1), fields["height"].integer(1)
    if x0 + width > image_hw[1] or y0 + height > image_hw[0]:
        place.fail(f"inside the image of {image_hw[1]}x{image_hw[0]} px")
    return Region(x0, y0, width, height)


def _alignment(place: Place) -> Alignment:
    if place.value == "stretch":
        return Alignment()
    if not isinstance(place.value, list):
        place.fail("'stretch' or a 3x3 homography")
    rows = [[number.number() for number in row.items()] for row in place.items()]
    if [len(row) for row in rows] != [3, 3, 3]:
        place.fail("'stretch' or a 3x3 homography")
    try:
        return homography(np.array(rows))
    except ValueError:
        place.fail("a homography that can be inverted")


def _surfaces(
    place: Place, classes: set[str], image_hw: tuple[int, int], budget: PixelBudget
) -> tuple[tuple[Surface, ...], tuple[Visit, ...]]:
    surfaces: list[Surface] = []
    taken: set[int] = set()
    ordered: list[tuple[int | None, Place, Visit]] = []
    for item in place.items():
        fields = item.fields(("id", "name", "visits"), ("class", "colour", "locked", "visible"))
        number = fields["id"].integer(1, MAX_SURFACES)
        if number in taken:
            fields["id"].fail("an id of its own")
        taken.add(number)
        class_place = fields.get("class")
        class_name = None if class_place is None or class_place.value is None else class_place.text(True)
        if class_place is not None and classes and class_name is not None and class_name not in classes:
            class_place.fail(f"one of the classes {shown(', '.join(sorted(classes)))}")
        name = fields["name"].text(may_be_empty=True)
        is_locked = "locked" in fields and fields["locked"].boolean()
        is_visible = "visible" not in fields or fields["visible"].boolean()
        surfaces.append(Surface(number, name, class_name, _colour(fields.get("colour")), is_locked, is_visible))
        for visit in fields["visits"].items():
            ordered.append(_visit(visit, number, image_hw, budget))
    return tuple(surfaces), _in_time_order(ordered)


def _visit(
    place: Place, surface_id: int, image_hw: tuple[int, int], budget: PixelBudget
) -> tuple[int | None, Place, Visit]:
    fields = place.fields(("clicks",), ("order", "start_mask", "region", "locked"))
    clicks = []
    for item in fields["clicks"].items():
        click = item.fields(("x", "y", "positive"))
        clicks.append(Click(click["x"].number(), click["y"].number(), click["positive"].boolean()))
    mask = _mask(fields["start_mask"], image_hw, budget) if "start_mask" in fields else None
    order = fields["order"].integer(0) if "order" in fields else None
    region = _region(fields["region"], image_hw) if "region" in fields else None
    locked = frozenset(i.integer(1, MAX_SURFACES) for i in fields["locked"].items()) if "locked" in fields else _NOBODY
    return order, fields.get("order", place), Visit(surface_id, 0, tuple(clicks), mask, region, locked)


def _mask(place: Place, image_hw: tuple[int, int], budget: PixelBudget) -> BoxMask:
    fields = place.fields(("size", "counts"))
    size = tuple(item.integer(1) for item in fields["size"].items())
    if size != image_hw:
        fields["size"].fail(f"the image's [height, width], {list(image_hw)},")
    counts = [item.integer(0) for item in fields["counts"].items()]
    try:
        return decode_box_runs(counts, image_hw, budget)
    except TooManyPixelsError as error:
        place.fail(f"one of {error}")
    except ValueError:
        fields["counts"].fail(f"run lengths that add up to {image_hw[0] * image_hw[1]}")


def _in_time_order(ordered: list[tuple[int | None, Place, Visit]]) -> tuple[Visit, ...]:
    """The visits by their ``order``, which all or none of them must have, renumbered from 0."""
    places = {order: place for order, place, _ in ordered}
    if places and None in places:
        if len(places) > 1:
            places[None].fail("a visit with an 'order' as other visits have one")
        visits = [visit for _, _, visit in ordered]
    else:
        seen: set[int | None] = set()
        for order, place, _ in ordered:
            if order in seen:
                place.fail("an order of its own")
            seen.add(order)
        visits = [visit for _, _, visit in sorted(ordered, key=lambda entry: entry[0] or 0)]
    return tuple(replace(visit, order=n) for n, visit in enumerate(visits))


# Writing ----------------------------------------------------------------------------------------------
def document_of(
    annotation: Annotation,
    image_path: str,
    modalities: Mapping[str, str] | None = None,
    alignments: Mapping[str, Alignment] | None = None,
    classes: tuple[SurfaceClass, ...] = (),
) -> SessionDocument:
    """An annotation as a document. Paths go in as they should stand in the file."""
    frame = annotation.frame
    height, width = frame.image_hw
    region = None if frame.region == Region(0, 0, width, height) else frame.region
    return SessionDocument(
        image_path,
        frame.image_hw,
        annotation.surfaces,
        annotation.visits,
        dict(modalities or {}),
        dict(alignments or {}),
        classes,
        region,
    )


def write_session(path: str | os.PathLike[str], document: SessionDocument) -> None:
    """Write a session file, all or nothing. Raises :class:`mmms_client.errors.OutputError`."""
    write_text_atomically(path, format_session(document))


def format_session(document: SessionDocument) -> str:
    """The text of a session file."""
    height, width = document.image_hw
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "image": {"path": document.image_path, "width": width, "height": height},
        "modalities": dict(document.modalities),
        "alignment": {
            name: "stretch" if a.matrix is None else [list(row) for row in a.matrix]
            for name, a in document.alignments.items()
        },
        "classes": [_without_none(name=c.name, colour=c.colour) for c in document.classes],
        "surfaces": [_surface_entry(surface, document) for surface in document.surfaces],
    }
    if document.region is not None:
        content["region"] = _region_entry(document.region)
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _region_entry(region: Region) -> dict[str, int]:
    return {"x0": region.x0, "y0": region.y0, "width": region.width, "height": region.height}


def _surface_entry(surface: Surface, document: SessionDocument) -> dict[str, Any]:
    visits = [_visit_entry(v) for v in document.visits if v.surface_id == surface.surface_id]
    head = _without_none(id=surface.surface_id, name=surface.name, colour=surface.colour)
    state = {**({"locked": True} if surface.is_locked else {}), **({} if surface.is_visible else {"visible": False})}
    return {**head, "class": surface.class_name, **state, "visits": visits}


def _visit_entry(visit: Visit) -> dict[str, Any]:
    clicks = [{"x": c.x_px, "y": c.y_px, "positive": c.is_positive} for c in visit.clicks]
    entry: dict[str, Any] = {"order": visit.order, "clicks": clicks}
    if visit.start is not None:
        entry["start_mask"] = {"size": list(visit.start.image_hw), "counts": encode_box_runs(visit.start)}
    if visit.region is not None:
        entry["region"] = _region_entry(visit.region)
    if visit.locked:
        entry["locked"] = sorted(visit.locked)
    return entry


def _without_none(**entries: Any) -> dict[str, Any]:
    return {name: value for name, value in entries.items() if value is not None}


# Replaying --------------------------------------------------------------------------------------------
def replay(document: SessionDocument, session: Session, on_answer: Callable[[Answer], None] | None = None) -> None:
    """Do everything in a document again on a fresh session, in time order.

    Args:
        document: of an image of the session's size.
        session: without surfaces.
        on_answer: told about each click's answer.

    Raises:
        SessionFormatError: the document was made for an image of another size.
        MMMSError: what :meth:`mmms_client.session.Session.click` raises.
    """
    if document.image_hw != session.frame.image_hw:
        (want_h, want_w), (h, w) = document.image_hw, session.frame.image_hw
        raise SessionFormatError(
            f"Expected an image of {want_w}x{want_h} px, as in the session, but got {w}x{h} px; give the "
            f"image on which the clicks were made."
        )
    for s in document.surfaces:
        session.add_surface(s.name, s.class_name, s.colour, s.surface_id)
    for visit in document.visits:
        lock(session, visit.locked)
        if visit.start_mask is not None:
            session.start_mask(visit.surface_id, visit.start_mask)
        else:
            session.begin_visit(visit.surface_id)
        for click in visit.clicks:
            answer = session.click(visit.surface_id, click.x_px, click.y_px, click.is_positive, visit.region)
            if on_answer is not None:
                on_answer(answer)
    lock(session, frozenset(s.surface_id for s in document.surfaces if s.is_locked))
    for s in document.surfaces:
        if session.surface(s.surface_id) != s:
            session.do(SurfaceChanged(s))


def lock(annotation: Annotation, locked: frozenset[int]) -> None:
    """Lock exactly these surfaces. Ids that no surface has are nobody's: their surfaces were deleted."""
    for surface in annotation.surfaces:
        if surface.is_locked != (surface.surface_id in locked):
            annotation.do(SurfaceChanged(replace(surface, is_locked=not surface.is_locked)))
