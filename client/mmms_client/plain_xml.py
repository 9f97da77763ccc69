"""XML from others as elements. Entities of its own are refused: a few lines of them can stand for gigabytes."""

from __future__ import annotations

from typing import NoReturn
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

_MOST_DEPTH = 100


def parse_xml(data: bytes) -> Element:
    """The root element. Raises ``ValueError`` for what is no XML, declares entities, or is nested too deeply."""
    tree, depth = TreeBuilder(), 0
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MOST_DEPTH:
            raise ValueError(f"elements more than {_MOST_DEPTH} inside each other")
        tree.start(name, attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        tree.end(name)

    def refuse(*_: object) -> NoReturn:
        raise ValueError("a document type of its own")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = tree.data, refuse
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(str(error)) from error
    except (LookupError, TypeError) as error:  # an encoding that nobody knows
        raise ValueError(" ".join(str(error).split())) from error
    return tree.close()
