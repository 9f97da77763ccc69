"""Events with their answers as JSON, for the journal: everything that is needed to have them back without a model.

Masks are bits of their box, deflated, in base64; probabilities bytes (x 255), deflated, in base64.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from mmms_client.alignment import Nudge
from mmms_client.annotation import MAX_SURFACES
from mmms_client.annotation_state import Answers
from mmms_client.box_mask import Box, BoxMask
from mmms_client.clicks import Click
from mmms_client.events import (
    Clicked,
    ClickRemoved,
    Event,
    MasksImported,
    MaskStarted,
    ModalityAligned,
    StoredAnswer,
    Surface,
    SurfaceAdded,
    SurfaceChanged,
    SurfaceDeleted,
    SurfacesMerged,
    SurfaceSplit,
    SurfacesReordered,
)
from mmms_client.geometry import Frame, Region
from mmms_client.json_place import Place

Entry = dict[str, Any]


def event_entry(event: Event, answers: Answers = ()) -> Entry:
    """An event as a JSON object whose key ``do`` says which it is."""
    match event:
        case SurfaceAdded(surface, is_for_click):
            return {"do": "add", "surface": _surface_entry(surface), **({"for_click": True} if is_for_click else {})}
        case SurfaceDeleted(surface_id):
            return {"do": "delete", "id": surface_id}
        case SurfaceChanged(surface):
            return {"do": "change", "surface": _surface_entry(surface)}
        case SurfacesReordered(order):
            return {"do": "reorder", "order": list(order)}
        case MaskStarted(surface_id, mask, how, continues):
            return {"do": "mask", "id": surface_id, "how": how, "continues": continues, "mask": _mask_entry(mask)}
        case Clicked(surface_id, click, begins, region):
            place = {"x": click.x_px, "y": click.y_px, "positive": click.is_positive}
            seen = {} if region is None else {"region": [region.x0, region.y0, region.width, region.height]}
            return {"do": "click", "id": surface_id, **place, "begins": begins, **seen, "answers": _all(answers)}
        case ClickRemoved(surface_id, index):
            return {"do": "unclick", "id": surface_id, "index": index, "answers": _all(answers)}
        case SurfacesMerged(into, merged, mask):
            return {"do": "merge", "into": into, "merged": merged, "mask": _mask_entry(mask)}
        case SurfaceSplit(surface_id, rest, parts):
            return {"do": "split", "id": surface_id, "rest": _mask_entry(rest), "parts": _parts_entry(parts)}
        case MasksImported(parts):
            return {"do": "import", "parts": _parts_entry(parts)}
        case ModalityAligned(modality, nudge):
            value = None if nudge is None else [nudge.dx_px, nudge.dy_px, nudge.scale]
            return {"do": "align", "modality": modality, "nudge": value}


def read_event(place: Place, image_hw: tuple[int, int]) -> tuple[Event, Answers]:
    """The event and the answers of a JSON object.

    Raises :class:`mmms_client.errors.SessionFormatError`, one line with the place, for anything else.
    """
    kind = place.entries()["do"].value if "do" in place.entries() else None
    if not isinstance(kind, str) or kind not in _READERS:
        place.fail(f"an event of this version ({', '.join(_READERS)})")
    names, read = _READERS[kind]
    fields = place.fields(("do", *names), ("n", "at", "region", "for_click"))
    return read(fields, image_hw)


# Parts ------------------------------------------------------------------------------------------------
def _surface_entry(s: Surface) -> Entry:
    look = {"colour": s.colour, "locked": s.is_locked, "visible": s.is_visible}
    return {"id": s.surface_id, "name": s.name, "class": s.class_name, **look}


def _surface(place: Place) -> Surface:
    fields = place.fields(("id", "name", "class", "colour", "locked", "visible"))
    return Surface(
        fields["id"].integer(1, MAX_SURFACES),
        fields["name"].text(may_be_empty=True),
        None if fields["class"].value is None else fields["class"].text(may_be_empty=True),
        None if fields["colour"].value is None else fields["colour"].text(),
        fields["locked"].boolean(),
        fields["visible"].boolean(),
    )


def _mask_entry(mask: BoxMask) -> Entry:
    return {"box": list(mask.box), "bits": base64.b64encode(mask.packed).decode("ascii")}


def _mask(place: Place, image_hw: tuple[int, int]) -> BoxMask:
    fields = place.fields(("box", "bits"))
    numbers = [item.integer(0) for item in fields["box"].items()]
    if len(numbers) != 4 or numbers[2] > image_hw[1] or numbers[3] > image_hw[0]:
        fields["box"].fail(f"a box [x0, y0, x1, y1] in the image of {image_hw[1]}x{image_hw[0]} px")
    mask = BoxMask(image_hw, Box(*numbers), _bytes(fields["bits"]))
    try:
        _ = mask.pixels
    except ValueError:
        fields["bits"].fail("the bits of the box")
    return mask


def _bytes(place: Place) -> bytes:
    try:
        return base64.b64decode(place.text(), validate=True)
    except (binascii.Error, ValueError):
        place.fail("base64")


def _all(answers: Answers) -> list[Entry | None]:
    return [None if answer is None else _answer_entry(answer) for answer in answers]


def _answer_entry(answer: StoredAnswer) -> Entry:
    deflated = base64.b64encode(answer.deflated).decode("ascii")
    return {"side": answer.side, "probabilities": deflated, "mask": _mask_entry(answer.mask)}


def _answer(place: Place, image_hw: tuple[int, int]) -> StoredAnswer | None:
    if place.value is None:
        return None
    fields = place.fields(("side", "probabilities", "mask"))
    mask, deflated = _mask(fields["mask"], image_hw), _bytes(fields["probabilities"])
    try:
        return StoredAnswer.of_bytes(deflated, fields["side"].integer(1), mask)
    except ValueError:
        fields["probabilities"].fail("the probabilities of an answer")


def _parts_entry(parts: tuple[tuple[Surface, BoxMask], ...]) -> list[Entry]:
    return [{"surface": _surface_entry(surface), "mask": _mask_entry(mask)} for surface, mask in parts]


def _parts(place: Place, image_hw: tuple[int, int]) -> tuple[tuple[Surface, BoxMask], ...]:
    rows = [item.fields(("surface", "mask")) for item in place.items()]
    return tuple((_surface(row["surface"]), _mask(row["mask"], image_hw)) for row in rows)


# Events -----------------------------------------------------------------------------------------------
Fields = dict[str, Place]
Size = tuple[int, int]


def _id(place: Place) -> int:
    return place.integer(1, MAX_SURFACES)


def _read_click(f: Fields, hw: Size) -> tuple[Event, Answers]:
    click = Click(f["x"].number(), f["y"].number(), f["positive"].boolean())
    region = None
    if "region" in f:
        numbers = [item.integer(0) for item in f["region"].items()]
        if len(numbers) != 4:
            f["region"].fail("a region [x, y, width, height]")
        region = Region(*numbers)
        Frame.of(hw, 1, region)
    answers = tuple(_answer(item, hw) for item in f["answers"].items())
    if len(answers) != 1 or answers[0] is None:
        f["answers"].fail("one answer")
    return Clicked(_id(f["id"]), click, f["begins"].boolean(), region), answers


def _read_align(f: Fields, hw: Size) -> tuple[Event, Answers]:
    numbers = None if f["nudge"].value is None else [item.number() for item in f["nudge"].items()]
    if numbers is not None and len(numbers) != 3:
        f["nudge"].fail("[dx, dy, scale]")
    return ModalityAligned(f["modality"].text(), None if numbers is None else Nudge(*numbers)), ()


def _read_mask(f: Fields, hw: Size) -> tuple[Event, Answers]:
    return MaskStarted(_id(f["id"]), _mask(f["mask"], hw), f["how"].text(), f["continues"].boolean()), ()


_READERS: dict[Any, Any] = {
    "add": (
        ("surface",),
        lambda f, hw: (SurfaceAdded(_surface(f["surface"]), "for_click" in f and f["for_click"].boolean()), ()),
    ),
    "delete": (("id",), lambda f, hw: (SurfaceDeleted(_id(f["id"])), ())),
    "change": (("surface",), lambda f, hw: (SurfaceChanged(_surface(f["surface"])), ())),
    "reorder": (("order",), lambda f, hw: (SurfacesReordered(tuple(_id(i) for i in f["order"].items())), ())),
    "mask": (("id", "how", "continues", "mask"), _read_mask),
    "click": (("id", "x", "y", "positive", "begins", "answers"), _read_click),
    "unclick": (
        ("id", "index", "answers"),
        lambda f, hw: (
            ClickRemoved(_id(f["id"]), f["index"].integer(0)),
            tuple(_answer(item, hw) for item in f["answers"].items()),
        ),
    ),
    "merge": (
        ("into", "merged", "mask"),
        lambda f, hw: (SurfacesMerged(_id(f["into"]), _id(f["merged"]), _mask(f["mask"], hw)), ()),
    ),
    "split": (
        ("id", "rest", "parts"),
        lambda f, hw: (SurfaceSplit(_id(f["id"]), _mask(f["rest"], hw), _parts(f["parts"], hw)), ()),
    ),
    "import": (("parts",), lambda f, hw: (MasksImported(_parts(f["parts"], hw)), ())),
    "align": (("modality", "nudge"), _read_align),
}
