"""Files that stand for more than they hold, by room and reader: each has to be refused, fast and in little memory."""

from __future__ import annotations

import base64
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutations import with_checksums

TERA = 1 << 40
SURFACE = {"id": 1, "name": "a"}
IMAGE = {"path": "rgb.png", "width": 9, "height": 9}
TEXTS = ("names", "classes", "colours")
CLIENT_PICTURES = ("image {}", "modality {}")


def png(width: int, height: int, data: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", data or zlib.compress(b"\0" * 99)), (b"IEND", b"")]
    return with_checksums(
        b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + k + d + b"    " for k, d in chunks)
    )


def tiff(width: int, height: int, strip_bytes: int) -> bytes:
    """Uncompressed grey of one strip that is not there."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 200), (277, 3, 1)]
    tags += [(278, 4, height), (279, 4, strip_bytes)]
    rows = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(300)


def tiff_chain(pages: int) -> bytes:
    """So many pages of a pixel, each of which says where the next one is; the first strip is not there."""
    page = 2 + 3 * 12 + 4
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in ((256, 1), (257, 1), (273, 1 << 30)))
    chain = b"".join(struct.pack("<H", 3) + rows + struct.pack("<I", 8 + page * n) for n in range(1, pages))
    return b"II*\0" + struct.pack("<I", 8) + chain + struct.pack("<H", 3) + rows + bytes(4)


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 16, 0, 0, 54) + head + bytes(16)


def npy(shape: str, kind: str = "|u1") -> bytes:
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)


def npz(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def lying(archive: bytes, size_bytes: int) -> bytes:
    """The archive with a directory that says of every member that it is as large, and was nearly so deflated."""
    data, at = bytearray(archive), archive.find(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into("<II", data, at + 20, size_bytes // 1000, size_bytes)
        at = archive.find(b"PK\x01\x02", at + 1)
    return bytes(data)


def numbers(count: int) -> bytes:
    """An NPY file of zeros that are all there."""
    return npy(f"({count},)")[:-64] + bytes(count)


def journal(hw: tuple[int, int], mask: dict[str, Any], **answer: Any) -> bytes:
    lines = [
        {"journal": 1, "image": {"name": "a", "width": hw[1], "height": hw[0]}},
        {
            "do": "add",
            "surface": {"id": 1, "name": "a", "class": None, "colour": None, "locked": False, "visible": True},
        },
    ]
    if answer:
        lines.append(
            {
                "do": "click",
                "id": 1,
                "x": 1,
                "y": 1,
                "positive": True,
                "begins": True,
                "answers": [{"mask": mask, **answer}],
            }
        )
    else:
        lines.append({"do": "mask", "id": 1, "how": "start", "continues": False, "mask": mask})
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def coded(zeros: int) -> str:
    """So many zeros, deflated, in base64; never all of them in memory here."""
    stream = zlib.compressobj(9)
    parts = [stream.compress(bytes(min(1 << 20, zeros - at))) for at in range(0, zeros, 1 << 20)]
    return base64.b64encode(b"".join(parts) + stream.flush()).decode()


def coco(width: int, height: int, *segmentations: Any) -> bytes:
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": segmentation}
        for n, segmentation in enumerate(segmentations, 1)
    ]
    image = {"id": 1, "file_name": "rgb.png", "width": width, "height": height}
    return json.dumps({"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}).encode()


def lists_in_lists() -> bytes:
    """A pickle of ten lists, each ten times the one before: 200 bytes that are ten milliards of lists."""
    value: list[Any] = []
    for _ in range(10):
        value = [value] * 10
    return pickle.dumps(value, 2)


def mat(dimensions: tuple[int, int], content: bytes, kind: int = 2) -> bytes:
    """A MATLAB file of one matrix, a struct by default, with the name that is looked for."""
    fields = (
        struct.pack("<IHH", 0x00040005, 4, 0) + struct.pack("<II", 1, 4) + b"Seg\0" + bytes(4) if kind == 2 else b""
    )
    head = struct.pack("<IIII", 6, 8, kind, 0) + struct.pack("<IIii", 5, 8, *dimensions) + struct.pack("<II", 1, 6)
    body = head + b"GTinst\0\0" + fields + content
    packed = zlib.compress(struct.pack("<II", 14, len(body)) + body, 9)
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + struct.pack("<II", 15, len(packed)) + packed


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


def laughs(quadratic: bool = False) -> bytes:
    if quadratic:
        return b'<!DOCTYPE a [<!ENTITY x "' + b"x" * 50000 + b'">]><a>' + b"&x;" * 50000 + b"</a>"
    entities = "".join(f'<!ENTITY x{n} "{f"&x{n - 1};" * 10}">' for n in range(1, 12))
    return f'<!DOCTYPE a [<!ENTITY x0 "ha">{entities}]><a>&x11;</a>'.encode()


def client() -> Iterator[tuple[str, bytes]]:
    for form, files in (
        ("PNG", [png(2**31 - 1, 2**31 - 1), png(60000, 60000), png(13000, 13000), png(1, 178_000_000)]),
        (
            "TIFF",
            [tiff(2**31, 2**31, 2**31), tiff(13000, 13000, 169_000_000), tiff(2**16, 2**16, 8), tiff_chain(40_000)],
        ),
        ("BMP", [bmp(2**30, 2**30), bmp(13000, 13000), bmp(-1, -(2**31))]),
        ("npy", [npy(f"({TERA},)"), npy(f"({2**62}, {2**62})"), npy("(50000, 50000, 3)"), npy("(4, 4)", "<f8" * 9)]),
    ):
        for reader in CLIENT_PICTURES:
            if not (form == "BMP" and "modality" in reader):
                yield from ((reader.format(form), file) for file in files)
    yield "bundled features", npy(f"({TERA},)", "<f2")
    yield "session", json.dumps({
        "schema_version": 1, "image": {"path": "rgb.png", "width": 10**6, "height": 10**6}, "surfaces": [
            {"id": 1, "name": "", "visits": [{"clicks": [], "start_mask": {"size": [10**6] * 2, "counts": [10**12]}}]}],
    }).encode()  # fmt: skip
    for whole, count in (([13377**2], 60), ([0, 13377**2], 12)):  # a second of work in a few bytes; the last is broken
        visits = [{"clicks": [], "start_mask": {"size": [13377] * 2, "counts": c}} for c in (*[whole] * count, [3])]
        image = {"path": "rgb.png", "width": 13377, "height": 13377}
        session = {"schema_version": 1, "image": image, "surfaces": [{"id": 1, "name": "", "visits": visits}]}
        yield "session", json.dumps(session).encode()
    many = [{"id": n, "name": "", "visits": []} for n in (*range(1, 40000), 1)]
    yield (
        "session",
        json.dumps(
            {"schema_version": 1, "image": {"path": "rgb.png", "width": 9, "height": 9}, "surfaces": many}
        ).encode(),
    )
    box = {"box": [0, 0, 8, 8], "bits": coded(1 << 28)}
    yield "journal", journal((12, 16), box)
    yield "journal", journal((12, 16), {**box, "bits": coded(8)}, side=8, probabilities=coded(1 << 28))
    yield "journal", journal((12, 16), {**box, "bits": coded(8)}, side=2**31, probabilities=coded(64))
    yield "journal", journal((10**6, 10**6), {"box": [0, 0, 10**6, 10**6], "bits": coded(8)})
    yield "classes as text", b"\xff" + b" " * 100000
    many = [f"c{n}" for n in range(60_000)]  # each has to be compared with all before it, if nobody takes care
    yield "classes as text", "\n".join([*many, "c1"]).encode()
    yield "classes as JSON", json.dumps([*many, "c1"]).encode()
    yield "classes as JSON", json.dumps(["a" + " " * 200000 + "b", "a" + " " * 200000 + "b"]).encode()


def mask() -> Iterator[tuple[str, bytes]]:
    yield "COCO", coco(10**6, 10**6, {"size": [10**6, 10**6], "counts": [10**12]})
    yield "COCO", coco(10**9, 10**9, [[0, 0, 1, 0, 1, 1]])
    yield "COCO", coco(16, 12, {"size": [12, 16], "counts": "o" * 2_000_000})
    yield "COCO", coco(16, 12, [[0, 0, 1e300, 0, 1, 1e300]])
    for whole, count in (([13377**2], 60), ([0, 13377**2], 12)):
        masks = [{"size": [13377] * 2, "counts": c} for c in (*[whole] * count, [3])]
        yield "COCO", coco(13377, 13377, *masks)
    yield "COCO", coco(9000, 9000, [[0, 0, 9000, 0, 9000, 9000]], {"size": [9000] * 2, "counts": [3]})
    yield "COCO", coco(1, 170_000_000, [[0, 0, 1, 0, 1, 170_000_000]], {"size": [170_000_000, 1], "counts": [3]})
    yield "CVAT", laughs()
    yield "CVAT", laughs(quadratic=True)
    yield (
        "CVAT",
        b'<a><image height="1000000" width="1000000" name="a"><mask label="a" left="0" top="0" '
        b'width="1000000" height="1000000" rle="1000000000000"/></image></a>',
    )
    yield "CVAT", b"<a>" * 200000
    shape = {"shape_type": "mask", "label": "a", "points": [[0, 0], [12999, 12999]]}
    head = {"imageHeight": 13000, "imageWidth": 13000, "imagePath": "a"}
    picture = base64.b64encode(png(13000, 13000)).decode()
    yield "labelme", json.dumps({**head, "shapes": [{**shape, "mask": picture}]}).encode()
    yield "labelme", json.dumps({**head, "imageHeight": 10**9, "imageWidth": 10**9, "shapes": []}).encode()
    yield (
        "npz",
        npz(
            ids=npy(f"({TERA},)"),
            names=npy("(0,)", "<U1"),
            classes=npy("(0,)", "<U1"),
            colours=npy("(0,)", "<U1"),
            image=npy("()", "<U1"),
            masks=npy("(0, 1, 1)", "|b1"),
        ),
    )
    yield (
        "npz",
        npz(
            ids=npy("(1,)"),
            names=npy("(1,)", "<U1"),
            classes=npy("(1,)", "<U1"),
            colours=npy("(1,)", "<U1"),
            image=npy("(1,)", "<U1"),
            masks=npy("(1, 1000000, 1000000)", "|b1"),
        ),
    )
    yield "npz", lying(npz(ids=npy(f"({1 << 30},)")), (1 << 30) + 200)
    yield "npz", npz(ids=numbers(1 << 26))
    for reader in ("label map", "palette PNG", "semantic PNG", "instance PNG"):
        yield reader, png(13000, 13000)
        yield reader, png(2**31 - 1, 2**31 - 1)


def eval_() -> Iterator[tuple[str, bytes]]:
    yield "labels as npy", npy(f"({TERA}, 1)", "<i8")
    yield "labels as PNG", png(13000, 13000)
    yield "four channels of MFNet", png(13000, 13000)
    yield "recorded joint map", png(60000, 60000)
    document = json.loads(coco(10**6, 10**6, {"size": [10**6, 10**6], "counts": [10**12]}))
    yield "instances of COCO", json.dumps(document).encode()
    document["images"][0] |= {"width": 16, "height": 12, "file_name": "000000000001.jpg"}
    for segmentation in ([[0.0, 0.0, 1e12, 0.0, 5.0, 1e12]], {"size": [12, 16], "counts": "o" * 2_000_000}):
        document["annotations"][0]["segmentation"] = segmentation
        yield "instances of COCO", json.dumps(document).encode()
    broken = {**document["annotations"][0], "segmentation": {"size": [12, 16], "counts": [3]}}
    for polygon in ([-10000, 0, 10000, 1] * 200, [0, -10000, 1, 10000] * 200):  # some KB, whose outline is gigabytes
        document["annotations"] = [{**broken, "segmentation": [polygon]}, broken]
        yield "instances of COCO", json.dumps(document).encode()
    for reader in ("annotations of COCO+LVIS", "layers of COCO+LVIS"):
        yield reader, lists_in_lists()
        yield reader, b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b"."
        yield reader, b"\x80\x04\x8e" + struct.pack("<Q", TERA) + b"."
        yield reader, b"\x80\x05\x96" + struct.pack("<Q", TERA) + b"."
        yield reader, pickle.dumps(Evil(Path("mark-of-a-pickle")))

    yield "instances of SBD", mat((1, 2**30), b"")
    yield "instances of SBD", mat((1, 1), b"\x0e\0\0\0\xff\xff\xff\x7f" + bytes(64))
    yield "instances of SBD", mat((20000, 50000), bytes(8), kind=9)
    yield "instances of SBD", mat((30000, 50000), bytes(1 << 26), kind=9)
    yield "instances of SBD", mat((30000, 50000), b"\1\0\4\0aaaa" * (1 << 20), kind=9)


def training() -> Iterator[tuple[str, bytes]]:
    for length in (2**63, TERA, 99_000_000):
        for reader in ("checkpoint", "cut of a feature store"):
            yield reader, struct.pack("<Q", length) + b'{"a":1}'
    yield "state of a run", pickle.dumps(Evil(Path("mark-of-a-pickle")))


def server() -> Iterator[tuple[str, bytes]]:
    """These are read: what is wrong with them, the server says that the launcher starts."""
    cached = b"response_cache { enable: true }\n"
    for text in (b"output[" * 40_000, b"output" + b" " * 300_000, b"output [ { data_type" + b" " * 300_000):
        yield "configuration of a model", cached + text
    yield "configuration of a model", b"response_cache" + b" " * 300_000
    for dims in (b"9" * 5000, b",".join([b"999999999"] * 100_000)):
        text = b"output [ { data_type: TYPE_FP16 dims: [ " + dims + b" ] } ]\n"
        yield "configuration of a model", cached + text


def of(room: str, names: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """The bombs of a room; ``names`` are its readers with their kinds, of which those of JSON get deep nesting."""
    of_room = {"client": (client, mask), "eval": (eval_,), "training": (training,), "server": (server,)}
    for bombs in of_room[room]:
        yield from bombs()
    for name, kind in names.items():
        if kind in ("json", "lines"):
            for data in (b"[" * 200000, b'{"a":' * 100000, b"[" * 900 + b"]" * 900, b"9" * 100000):
                yield name, data + b"\n"
