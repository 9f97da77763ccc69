"""Damaged and hostile forms of valid files, for hypothesis to draw: bytes, JSON, text, and anything at all."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
import zlib
from typing import Any

from hypothesis import strategies as st

_ODD_INTEGERS = (
    0,
    1,
    -1,
    2,
    255,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
    2**63,
    -(2**31),
    10**30,
    10**400,
)
# as JSON text, so that duplicate keys, NaN and half characters can be spelled
ODD_VALUES = (
    *map(str, _ODD_INTEGERS),
    *("0.5", "-0.0", "1e308", "-1e308", "1e999", "1e-320", "NaN", "Infinity", "-Infinity", "9" * 5000),
    *("null", "true", "false", "[]", "{}", '""', "[[]]", "[null]", '[{"a": 1}]', "[0, 1, 2]", "[1e308, 1e308]"),
    *('"a"', '"\\ud800"', '"a\\nb"', '"\\u001b[2J\\u0007"', '"\\u0000"', '"../../../../etc/passwd"', '"/etc/passwd"'),
    *('"' + "x" * 3000 + '"', '"stretch"', '"#ff00ff"', '"\\u202e"', '"1"', '"²"'),
    *("[" * n + "]" * n for n in (20, 99, 101, 950, 3000)),
    *('{"a":' * n + "1" + "}" * n for n in (20, 99, 101, 950, 3000)),
    "[" * 100000,
)
_HOLE = "\x7fHOLE\x7f"


@st.composite
def damaged_bytes(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A seed with up to four edits: flipped bytes, numbers set to extremes, parts cut out, repeated or put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        kind = draw(st.sampled_from(("flip", "header", "number", "cut", "drop", "repeat", "insert")))
        if kind == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "header" and data:  # most of what a reader decides on stands in front
            data[draw(st.integers(0, min(len(data), 128) - 1))] = draw(st.integers(0, 255))
        elif kind == "number":
            form = draw(st.sampled_from(("<I", ">I", "<H", ">H", "<Q", ">Q", "<d")))
            value = draw(st.sampled_from((0, 1, 2**15, 2**16 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)))
            coded = struct.pack(form, float(value) if form == "<d" else value % (1 << 8 * struct.calcsize(form)))
            data[at : at + len(coded)] = coded
        elif kind == "cut":
            del data[at:]
        elif kind == "drop":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "repeat":
            part = bytes(data[at : at + draw(st.integers(1, 64))])
            data[at:at] = part * draw(st.sampled_from((1, 2, 50)))
        else:
            data[at:at] = draw(st.binary(min_size=1, max_size=16))
    return bytes(data)


@st.composite
def damaged_json(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """A JSON seed with up to three values replaced by odd ones, left out, or given twice."""
    content = json.loads(draw(st.sampled_from(seeds)))
    fills = []
    for _ in range(draw(st.integers(1, 3))):
        holder, key = _place(draw, content)
        if holder is None:
            return draw(st.sampled_from(ODD_VALUES)).encode()
        kind = draw(st.sampled_from(("replace", "replace", "replace", "drop", "rename", "twice", "swap")))
        if kind == "drop":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            holder[draw(st.sampled_from(("", "a\nb", "\x1b[2J", "x" * 2000, "id", "name", "\ud800")))] = holder.pop(key)
        elif kind == "swap":
            other, place = _place(draw, content)
            holder[key] = json.loads(json.dumps(other[place]))
        else:
            before = json.dumps(holder[key])
            holder[key] = f"{_HOLE}{len(fills)}"
            odd = draw(st.sampled_from(ODD_VALUES))
            if kind == "twice" and isinstance(holder, dict):
                odd = f"{odd}, {json.dumps(key)}: {before}"
            fills.append(odd)
        if not isinstance(content, list | dict) or not content:
            break
    text = json.dumps(content)
    for number, odd in reversed(list(enumerate(fills))):
        text = text.replace(json.dumps(f"{_HOLE}{number}"), odd)
    return text.encode()


def _place(draw: st.DrawFn, content: Any) -> tuple[Any, Any]:
    """A list or object of some JSON, and a key of it; the deeper the rarer."""
    holder, key = None, None
    at = content
    while isinstance(at, list | dict) and at:
        key = draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        holder, at = at, at[key]
        if draw(st.integers(0, 4)) == 0:
            break
    return holder, key


@st.composite
def damaged_lines(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """JSON lines: one of them damaged as JSON, or lines left out, repeated or in another order."""
    lines = draw(st.sampled_from(seeds)).splitlines()
    kind = draw(st.sampled_from(("json", "json", "json", "order", "drop", "repeat")))
    at = draw(st.integers(0, len(lines) - 1))
    if kind == "json":
        lines[at] = draw(damaged_json((lines[at],)))
    elif kind == "order":
        lines = draw(st.permutations(lines))
    elif kind == "drop":
        del lines[at]
    else:
        lines.insert(draw(st.integers(0, len(lines))), lines[at])
    return b"\n".join(lines) + b"\n"


@st.composite
def damaged_words(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Text: words replaced by odd ones."""
    words = draw(st.sampled_from(seeds)).split(b" ")
    for _ in range(draw(st.integers(1, 3))):
        odd = draw(
            st.sampled_from((*ODD_VALUES[:40], "../../x", "/etc/passwd", "a=b=c", "\n", "#", "=", "\x00", " " * 9000))
        )
        words[draw(st.integers(0, len(words) - 1))] = odd.encode()
    return b" ".join(words)


_PNG = b"\x89PNG\r\n\x1a\n"


@st.composite
def damaged_inside(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Damage behind the checksums: in PNG chunks, in the members of a ZIP, in the header of safetensors."""
    data = draw(st.sampled_from(seeds))
    if data.startswith(_PNG):
        return with_checksums(draw(damaged_bytes((data,))))
    if data.startswith(b"PK"):
        return _rezipped(draw, data)
    if len(data) > 9 and data[8:9] == b"{":
        length = int.from_bytes(data[:8], "little")
        header = draw(damaged_json((data[8 : 8 + length],)))
        return len(header).to_bytes(8, "little") + header + data[8 + length :]
    return draw(damaged_bytes((data,)))


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums of what is in them, as far as they can be told apart."""
    found, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        body = data[at + 4 : at + 8 + length]
        found += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(found + data[at:])


def _rezipped(draw: st.DrawFn, data: bytes) -> bytes:
    """An archive with one of its members damaged, renamed, left out or twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = draw(st.integers(0, len(members) - 1))
    name, content = members[at]
    kind = draw(st.sampled_from(("bytes", "bytes", "name", "drop", "twice")))
    if kind == "bytes":
        members[at] = name, draw(damaged_bytes((content,)))
    elif kind == "name":
        members[at] = draw(st.sampled_from(("../../x.npy", "/tmp/x.npy", "a/b.npy", "x", "ids.npy"))), content
    elif kind == "drop":
        del members[at]
    else:
        members.append((name, draw(damaged_bytes((content,)))))
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        with zipfile.ZipFile(stream, "w", draw(st.sampled_from((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))) as archive:
            for name, content in members:
                archive.writestr(name, content)
    return stream.getvalue()


def hostile(kind: str, seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """What a reader of files of this kind (``json``, ``lines``, ``text`` or ``binary``) is fed."""
    anything = st.binary(max_size=300)
    forms = {"json": damaged_json, "lines": damaged_lines, "text": damaged_words, "binary": damaged_inside}
    ours = forms[kind](seeds)
    return st.one_of(ours, ours, ours, damaged_bytes(seeds), anything)
