"""Every reader of foreign bytes in ``mmms_client``, with valid files to begin from."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_readers import Reader
from google.protobuf import json_format
from PIL import Image, TiffImagePlugin
from tritonclient.grpc import service_pb2

from mmms_client import edits
from mmms_client.alignment import Nudge, align, read_homography
from mmms_client.annotate.images import ImageFile
from mmms_client.annotate.pictures import Reading, image_bytes, read_pictures, thumbnail_bytes
from mmms_client.annotate.project import Project, ProjectClass, read_classes
from mmms_client.annotation import Annotation
from mmms_client.annotation_state import Answers
from mmms_client.clicks import Click
from mmms_client.contract import KNOWN_MODALITIES, ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.event_json import event_entry
from mmms_client.events import Event, ModalityAligned
from mmms_client.export_masks import (
    instance_png,
    palette_png,
)
from mmms_client.export_masks.annotated import Options
from mmms_client.export_masks.formats import MODULES, load_format
from mmms_client.exporting import open_annotations
from mmms_client.foreign_features import BUNDLE_FILE, BundleFeatures, bundle_key
from mmms_client.geometry import Frame, Region
from mmms_client.journal import JOURNAL_FILE, Journal, read_journal
from mmms_client.predictor import network_inputs
from mmms_client.readers import is_rotated_by_exif, read_image, read_modality
from mmms_client.recorded import read_recorded
from mmms_client.results import JOINT_FILE, RESULTS_FILE, SESSION_FILE, made_of
from mmms_client.session_file import SurfaceClass, document_of, format_session
from mmms_client.triton_predictor import parse_contract
from mmms_client.units import apply_rule, find_rule, read_rules

HW = (12, 16)
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (*HW, 3), dtype=np.uint8)
GREY16 = RNG.integers(0, 65536, HW, dtype=np.uint16)
FLOATS = RNG.normal(20, 5, HW).astype(np.float32)
THERMAL, DEPTH = (KNOWN_MODALITIES[name].spec for name in ("thermal", "depth"))
CONTRACT = ModelContract(
    "nano", "nano", "0" * 64, 32, (THERMAL, DEPTH),
    ((4, 8, 8), (4, 4, 4), (4, 2, 2), (4, 2, 2)), ((2, 8, 8), (2, 4, 4), (2, 2, 2), (2, 1, 1)),
)  # fmt: skip


# Pictures ---------------------------------------------------------------------------------------------
def coded(array: np.ndarray, form: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form, **options)
    return stream.getvalue()


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def pictures(form: str) -> Callable[[Path], list[bytes]]:
    def seeds(_: Path) -> list[bytes]:
        exif = Image.Exif()
        exif[0x0112] = 6
        if form == "npy":
            return [npy(RGB), npy(GREY16), npy(RGB.astype(np.uint16)), npy(np.asfortranarray(RGB))]
        found = [coded(RGB, form), coded(RGB[..., 0], form)]
        if form in ("PNG", "TIFF"):
            found += [coded(GREY16, form), coded(np.dstack([RGB, RGB[..., 0]]), form), coded(RGB, form, exif=exif)]
        if form == "PNG":
            found += [coded(RGB[..., 0] > 99, form), palette_png.encode_palette_png(GREY16 % 9)]
        if form == "JPEG":
            found += [coded(RGB, form, exif=exif, progressive=True, quality=30)]
        if form == "TIFF":
            found += [
                *(coded(RGB, form, compression=c) for c in ("tiff_lzw", "tiff_deflate", "jpeg")),
            ]
            tags = TiffImagePlugin.ImageFileDirectory_v2()
            tags[270] = "a note"
            found += [coded(RGB, form, tiffinfo=tags, compression="packbits")]
        return found

    return seeds


def see_image(path: Path) -> None:
    notes: list[str] = []
    image = read_image(path, notes)
    assert image.dtype == np.uint8 and image.ndim == 3
    is_rotated_by_exif(path)
    if path.suffix != ".npy":  # the app shows pictures only
        image_bytes(path, image, Reading())
        thumbnail_bytes(path, Reading())


def maps(form: str) -> Callable[[Path], list[bytes]]:
    def seeds(_: Path) -> list[bytes]:
        if form == "npy":
            return [npy(FLOATS), npy(GREY16), npy(FLOATS.astype(">f8")), npy(RGB[..., 0] > 9)]
        return [coded(GREY16, form), coded(RGB[..., 0], form), *([coded(FLOATS, form)] if form == "TIFF" else [])]

    return seeds


def see_map(path: Path) -> None:
    is_rotated_by_exif(path)
    values = apply_rule(read_modality(path, 1), None, THERMAL, path)
    Image.fromarray(np.zeros((*values.shape[:2], 3), np.uint8))
    frame_hw = (values.shape[0], values.shape[1])
    network_inputs(CONTRACT, np.zeros((*frame_hw, 3), np.uint8), {"thermal": values})
    file = ImageFile("a.png", path.with_name("rgb.png"), {"thermal": path})
    for modality in read_pictures(file, CONTRACT, Reading(), {"thermal": Nudge(1.0, 0.0, 1.1)}).modalities:
        if modality.values is not None:
            modality.coded()


def beside_an_image(seeds: Callable[[Path], list[bytes]]) -> Callable[[Path], list[bytes]]:
    def with_image(folder: Path) -> list[bytes]:
        (folder / "rgb.png").write_bytes(coded(RGB, "PNG"))
        return seeds(folder)

    return with_image


# Work ---------------------------------------------------------------------------------------------------
def worked_on() -> tuple[Annotation, list[dict[str, Any]]]:
    """An annotation in which everything happened, and its journal."""
    annotation = Annotation(Frame.of(HW, 8), 64)
    lines: list[dict[str, Any]] = []

    def do(event: Event, answers: Answers = ()) -> None:
        annotation.do(event, answers)
        lines.append(event_entry(event, answers))

    def click(surface: int, x: float, y: float, region: Region | None = None) -> None:
        request = annotation.propose(surface, Click(x, y), region)
        step = annotation.answered(request, RNG.random((8, 8), np.float32))
        annotation.commit(step)
        lines.append(event_entry(step.event, step.answers))

    for name in "abcd":
        do(edits.add(annotation, name, "road" if name == "a" else None, name == "b"))
    click(1, 3, 4)
    click(1, 9, 4)
    click(2, 9, 9, Region(4, 4, 8, 8))
    do(edits.brush(annotation, 3, [(1, 1), (9, 1)], 1.5, False))
    do(edits.brush(annotation, 3, [(5, 1), (5, 2)], 1.0, True))
    do(edits.polygon(annotation, 4, [(8, 6), (15, 6), (12, 11)], False))
    do(edits.change(annotation, 4, name="of other name", is_locked=True, colour="#102030"))
    do(edits.split(annotation, 3))
    do(edits.merge(annotation, 2, 3))
    do(edits.reorder(annotation, [s.surface_id for s in reversed(annotation.surfaces)]))
    do(ModalityAligned("thermal", Nudge(1.0, 2.0, 1.1)))
    return annotation, lines


def journals(folder: Path) -> list[bytes]:
    _, lines = worked_on()
    path = folder / "made.jsonl"
    with Journal.open(path, "image.png", HW)[0] as journal:
        journal.append({"do": "model", "sha256": "0" * 64, "checkpoint": "nano"})
        for line in lines:
            journal.append(line)
        for more in ({"do": "undo"}, {"do": "undo", "events": 2}, {"do": "redo"}, {"do": "finish", "id": 1}):
            journal.append(more)
        journal.append({"do": "align", "modality": "thermal", "nudge": [1.0, 2.0, 1.1]})
    data = path.read_bytes()
    path.unlink()
    return [data]


def see_journal(path: Path) -> None:
    history = read_journal(path)
    annotation = Annotation(Frame.of(history.image_hw, 8), 64)
    history.restore(annotation)
    for surface in annotation.surfaces:
        annotation.mask(surface.surface_id)
    format_session(document_of(annotation, "image.png"))
    while annotation.undo():
        pass
    while annotation.redo():
        pass


def results_of_before(out: Path) -> tuple[Path, bytes, bytes]:
    """A folder of results behind the journal of its image; returns the image's folder, journal and state."""
    folder = out / "image.png"
    folder.mkdir(parents=True, exist_ok=True)
    *lines, _, _ = journals(folder)[0].split(b"\n")  # without the last, by which a modality was moved
    journal = b"\n".join(lines) + b"\n"
    annotation = Annotation(Frame.of(HW, 8), 64)
    (folder / SESSION_FILE).write_text(format_session(document_of(annotation, "../../image.png")))
    (folder / JOINT_FILE).write_bytes(instance_png.encode_instance_png(annotation.joint))
    (out / "project.json").write_bytes(projects(folder)[0])
    return folder, journal, json.dumps(made_of(len(journal) // 2, {"street": "road"})).encode()


def journals_ahead(out: Path) -> list[bytes]:
    folder, journal, state = results_of_before(out / "out")
    (folder / RESULTS_FILE).write_bytes(state)
    return [journal]


def states_of_results(out: Path) -> list[bytes]:
    folder, journal, state = results_of_before(out / "out")
    (folder / JOURNAL_FILE).write_bytes(journal)
    return [state, json.dumps(made_of(len(journal), {"street": "road"})).encode()]


def see_results(path: Path) -> None:
    """What a killed app left, or somebody who sends a folder of results."""
    recorded = read_recorded(path.with_name(SESSION_FILE))
    assert recorded.joint().shape == recorded.document.image_hw
    format_session(recorded.document)
    open_annotations([str(path.parents[1])])


def sessions(folder: Path) -> list[bytes]:
    annotation, _ = worked_on()
    (folder / "rgb.png").write_bytes(coded(RGB, "PNG"))
    (folder / "joint.png").write_bytes(instance_png.encode_instance_png(annotation.joint))
    document = document_of(annotation, "rgb.png", {"thermal": "thermal.png"}, {}, (SurfaceClass("road", "#808000"),))
    return [format_session(document).encode(), format_session(replace(document, region=Region(0, 0, 8, 8))).encode()]


def see_session(path: Path) -> None:
    images = open_annotations([str(path)])
    for name in MODULES:
        chosen = load_format(name)
        chosen.losses(images[0], Options())
        for file in chosen.encode(images, Options()):
            assert ".." not in Path(file).parts and not Path(file).is_absolute(), file


def joint_maps(folder: Path) -> list[bytes]:
    annotation, _ = worked_on()
    (folder / "session.json").write_bytes(sessions(folder)[0])
    return [instance_png.encode_instance_png(annotation.joint), palette_png.encode_palette_png(annotation.joint)]


def projects(folder: Path) -> list[bytes]:
    project = Project(folder / "made", [], [ProjectClass(1, "road", "#808000", "r"), ProjectClass(2, "car", "#0000ff")])
    project.states, project.nudges = {"a.png": "done"}, {"thermal": Nudge(1.0, 2.0, 1.1)}
    project.renamed, project.models = {"street": "road"}, {"0" * 64: "nano"}
    project.settings, project.keys = {"window": [0.0, 1.0], "deep": {"a": {"b": [1]}}}, {"click": "c"}
    (folder / "made").mkdir()
    project.save()
    data = (folder / "made" / "project.json").read_bytes()
    (folder / "made" / "project.json").unlink()
    (folder / "made").rmdir()
    return [data]


def see_project(path: Path) -> None:
    image = ImageFile("a.png", path.with_name("a.png"))
    before = path.read_bytes()
    project = Project.read(path.parent, [image])
    project.session_classes(["road", None])
    project.class_name("street")
    project.has_results(image)
    project.mark(image, project.state(image))
    project.set_classes([*project.classes[:2]])
    Project.read(path.parent, [image])  # what was written can be read
    path.write_bytes(before)


def class_files(form: str) -> Callable[[Path], list[bytes]]:
    text = b"road #808000\ncar\n\ntraffic light  #00ff00\n"
    rows = [{"name": "road", "colour": "#808000", "key": "r"}, "car #0000ff", {"name": "sky", "id": 3}]
    return lambda _: [text] if form == "text" else [json.dumps(rows).encode(), json.dumps({"classes": ["a"]}).encode()]


def unit_files(folder: Path) -> list[bytes]:
    rules = {
        "depth": {"unit": "mm", "invalid": 0},
        "thermal": {"unit": "K", "scale": 0.01, "offset": -5, "invalid": "nan"},
    }
    return [json.dumps(rules).encode()]


def see_units(path: Path) -> None:
    read_rules(path)
    raw = np.array([[0.0, 1.0], [2000.0, 65535.0]], np.float32)
    for spec in (THERMAL, DEPTH):
        file = path.with_name("map.png")
        apply_rule(raw, find_rule(spec.name, spec.name, file), spec, file)


def see_homography(path: Path) -> None:
    align(FLOATS, read_homography(path), HW)


# Servers and bundles ------------------------------------------------------------------------------------
def configuration(contract: ModelContract = CONTRACT, model: str = "mmms") -> dict[str, Any]:
    def ports(specs: Any) -> list[dict[str, Any]]:
        return [{"name": t.name, "data_type": f"TYPE_{t.dtype}", "dims": list(t.shape)} for t in specs]

    spec = contract.models()[model]
    parameters = {key: {"string_value": value} for key, value in contract.to_parameters().items()}
    sides = {"input": ports(spec.inputs), "output": ports(spec.outputs)}
    versions = {"specific": {"versions": [contract.model_version]}}
    return {"name": model, **sides, "parameters": parameters, "version_policy": versions}


def server_parameters(_: Path) -> list[bytes]:
    """The contract as its parameters, JSON inside JSON unpacked, so that its values are reached."""
    return [json.dumps({k: _unpacked(v) for k, v in CONTRACT.to_parameters().items()}).encode()]


def _unpacked(text: str) -> Any:
    return json.loads(text) if text[:1] == "[" else text


def see_server_parameters(path: Path) -> None:
    """What only a server that is not ours says. Its text is UTF-8: the protocol knows nothing else."""
    try:
        given = json.loads(path.read_bytes())
        parameters = {k: {"string_value": v if isinstance(v, str) else json.dumps(v)} for k, v in given.items()}
        message = json_format.ParseDict(
            {**configuration(), "parameters": parameters}, service_pb2.model__config__pb2.ModelConfig()
        )
    except (ValueError, AttributeError, RecursionError, json_format.Error):
        return
    use_contract(json_format.MessageToDict(message, preserving_proto_field_name=True))


def see_server_configuration(path: Path) -> None:
    try:
        message = json_format.Parse(path.read_text("utf-8"), service_pb2.model__config__pb2.ModelConfig())
    except (ValueError, RecursionError, json_format.Error):
        return
    use_contract(json_format.MessageToDict(message, preserving_proto_field_name=True))


def use_contract(answer: dict[str, Any]) -> None:
    contract = parse_contract(answer, "localhost:8001")
    if contract.resolution <= 64:
        network_inputs(contract, RGB, {m.name: np.ones((*HW, m.channels), np.float32) for m in contract.modalities})


def bundles(folder: Path) -> list[bytes]:
    key = bundle_key(network_inputs(CONTRACT, RGB, {})[2]["image"])
    (folder / "0a.npy").write_bytes(npy(np.zeros(CONTRACT.features_length, np.float16)))
    entry = {"name": "a", "file": "0a.npy", "modalities": ["thermal"], "size_bytes": 4, "seconds": 0.5}
    made_for = {"checkpoint_sha256": CONTRACT.checkpoint_sha256, "resolution": CONTRACT.resolution}
    return [json.dumps({"format": "mmms-bundle-1", "made_for": made_for, "images": {key: entry}}).encode()]


def see_bundle(path: Path) -> None:
    source = BundleFeatures.open(path.parent, CONTRACT)
    assert source.description
    source.features((), network_inputs(CONTRACT, RGB, {})[2])


def bundled(folder: Path) -> list[bytes]:
    (folder / BUNDLE_FILE).write_bytes(bundles(folder)[0])
    return [(folder / "0a.npy").read_bytes()]


def tokens(_: Path) -> list[bytes]:
    return [b"abc.def-123\n"]


def authorities(_: Path) -> list[bytes]:
    return [b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"]


READERS = (
    *(
        Reader(f"image {f}", f"a.{f.lower()}", "binary", pictures(f), see_image)
        for f in ("PNG", "JPEG", "TIFF", "BMP", "npy")
    ),
    *(
        Reader(f"modality {f}", f"m.{f.lower()}", "binary", beside_an_image(maps(f)), see_map)
        for f in ("PNG", "TIFF", "npy")
    ),
    Reader("session", "session.json", "json", sessions, see_session),
    Reader("joint map", "joint.png", "binary", joint_maps, lambda path: open_annotations([str(path.parent)])),
    Reader("journal", "journal.jsonl", "lines", journals, see_journal),
    Reader("journal ahead of a session", "out/image.png/journal.jsonl", "lines", journals_ahead, see_results),
    Reader("state of results", "out/image.png/.results.json", "json", states_of_results, see_results),
    Reader("project", "project.json", "json", projects, see_project),
    Reader("classes as JSON", "classes.json", "json", class_files("json"), lambda path: read_classes(str(path))),
    Reader("classes as text", "classes.txt", "text", class_files("text"), lambda path: read_classes(str(path))),
    Reader("units", "modalities.json", "json", unit_files, see_units),
    Reader(
        "homography as JSON",
        "h.json",
        "json",
        lambda _: [b'{"homography": [[1, 0, 2], [0, 1.5, 3], [0, 0, 1]]}'],
        see_homography,
    ),
    Reader("homography as text", "h.txt", "text", lambda _: [b"1 0 2 0 1.5 3 0 0 1"], see_homography),
    Reader("bundle", BUNDLE_FILE, "json", bundles, see_bundle),
    Reader("bundled features", "0a.npy", "binary", bundled, lambda path: see_bundle(path.with_name(BUNDLE_FILE))),
    Reader("contract of a server", "p.json", "json", server_parameters, see_server_parameters),
    Reader(
        "configuration of a server",
        "c.json",
        "json",
        lambda _: [json.dumps(configuration()).encode()],
        see_server_configuration,
    ),
    Reader("token", "token", "text", tokens, lambda path: Endpoint.parse("grpcs://a:1", None, str(path))),
    Reader("authorities", "ca.pem", "text", authorities, lambda path: Endpoint.parse("grpcs://a:1", str(path))),
)
