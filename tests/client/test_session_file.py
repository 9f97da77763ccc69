"""Session files: there and back, against the JSON Schema, and every mistake with the place where it is."""

from __future__ import annotations

import copy
import json

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmms_client import Click, Region, Session, Surface, Visit, bounded
from mmms_client.alignment import Alignment, homography
from mmms_client.bounded import PixelBudget
from mmms_client.box_mask import BoxMask
from mmms_client.errors import OutputError, SessionFormatError
from mmms_client.run_length import decode_box_runs, decode_runs, encode_runs
from mmms_client.session_file import (
    SCHEMA_FILE,
    SessionDocument,
    SurfaceClass,
    document_of,
    format_session,
    parse_session,
    read_session,
    replay,
    write_session,
)

SCHEMA = json.loads(SCHEMA_FILE.read_text("utf-8"))
EXAMPLE = {
    "schema_version": 1,
    "image": {"path": "image.png", "width": 64, "height": 48},
    "modalities": {"thermal": "thermal.png"},
    "alignment": {"thermal": "stretch"},
    "classes": [{"name": "ground", "colour": "#336699"}],
    "surfaces": [
        {
            "id": 1,
            "name": "road",
            "class": "ground",
            "visits": [
                {"order": 0, "clicks": [{"x": 20, "y": 20, "positive": True}]},
                {"order": 2, "clicks": [{"x": 40.5, "y": 20, "positive": False}]},
            ],
        },
        {
            "id": 7,
            "name": "door",
            "colour": "#ff8800",
            "visits": [
                {
                    "order": 1,
                    "clicks": [{"x": 30, "y": 20, "positive": True}],
                    "start_mask": {"size": [48, 64], "counts": [0, 96, 2976]},
                }
            ],
        },
    ],
}


def error_of(content: object) -> str:
    text = content if isinstance(content, str) else json.dumps(content)
    with pytest.raises(SessionFormatError) as caught:
        parse_session(text)
    message = str(caught.value)
    assert message.startswith("session.json: expected ") and "\n" not in message
    return message.removeprefix("session.json: expected ")


def changed(path: list, value: object) -> dict:
    content = copy.deepcopy(EXAMPLE)
    place = content
    for key in path[:-1]:
        place = place[key]
    if value is KeyError:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return content


def test_the_example_reads_as_it_says() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(EXAMPLE, SCHEMA)
    document = parse_session(json.dumps(EXAMPLE))
    assert document.image_hw == (48, 64) and document.click_count == 3
    assert [(v.surface_id, v.order) for v in document.visits] == [(1, 0), (7, 1), (1, 2)]
    assert document.visits[1].start_mask[:, :2].all() and document.visits[1].start_mask.sum() == 96
    assert document.surfaces == (Surface(1, "road", "ground"), Surface(7, "door", None, "#ff8800"))
    assert document.classes == (SurfaceClass("ground", "#336699"),) and document.alignments == {"thermal": Alignment()}


def test_orders_may_be_left_out_by_all() -> None:
    content = copy.deepcopy(EXAMPLE)
    for surface in content["surfaces"]:
        for visit in surface["visits"]:
            del visit["order"]
    jsonschema.validate(content, SCHEMA)
    assert [v.surface_id for v in parse_session(json.dumps(content)).visits] == [1, 1, 7]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            ["surfaces", 0, "visits", 1, "clicks", 0, "x"],
            "abc",
            "surfaces[0].visits[1].clicks[0].x to be a number but got 'abc'; correct the file.",
        ),
        (
            ["surfaces", 0, "visits", 1, "clicks", 0, "x"],
            True,
            "surfaces[0].visits[1].clicks[0].x to be a number but got True; correct the file.",
        ),
        (
            ["surfaces", 0, "visits", 0, "clicks", 0, "positive"],
            1,
            "surfaces[0].visits[0].clicks[0].positive to be true or false but got 1; correct the file.",
        ),
        (
            ["surfaces", 0, "visits", 0, "clicks", 0, "y"],
            KeyError,
            "surfaces[0].visits[0].clicks[0].y to be given but got None; correct the file.",
        ),
        (
            ["surfaces", 0, "id"],
            0,
            "surfaces[0].id to be a whole number from 1 to 65534 but got 0; correct the file.",
        ),
        (
            ["surfaces", 0, "id"],
            2.5,
            "surfaces[0].id to be a whole number from 1 to 65534 but got 2.5; correct the file.",
        ),
        (["surfaces", 1, "id"], 1, "surfaces[1].id to be an id of its own but got 1; correct the file."),
        (
            ["surfaces", 0, "class"],
            "sky",
            "surfaces[0].class to be one of the classes 'ground' but got 'sky'; correct the file.",
        ),
        (
            ["surfaces", 1, "colour"],
            "red",
            "surfaces[1].colour to be a colour as #rrggbb but got 'red'; correct the file.",
        ),
        (
            ["surfaces", 0, "visits", 0, "order"],
            1,
            "surfaces[1].visits[0].order to be an order of its own but got 1; correct the file.",
        ),
        (
            ["surfaces", 1, "visits", 0, "start_mask", "size"],
            [48, 65],
            "surfaces[1].visits[0].start_mask.size to be the image's [height, width], [48, 64], but got [48, "
            "65]; correct the file.",
        ),
        (
            ["surfaces", 1, "visits", 0, "start_mask", "counts"],
            [1, 2],
            "surfaces[1].visits[0].start_mask.counts to be run lengths that add up to 3072 but got [1, 2]; "
            "correct the file.",
        ),
        (["surfaces"], KeyError, "surfaces to be given but got None; correct the file."),
        (["surfaces"], {}, "surfaces to be a list but got {}; correct the file."),
        (
            ["schema_version"],
            2,
            "schema_version to be 1 (what this version of mmms reads) but got 2; correct the file.",
        ),
        (["image"], "a.png", "image to be an object but got 'a.png'; correct the file."),
        (["image", "path"], "", "image.path to be a text that is not empty but got ''; correct the file."),
        (
            ["alignment", "thermal"],
            [[1, 0], [0, 1]],
            "alignment.thermal to be 'stretch' or a 3x3 homography but got [[1, 0], [0, 1]]; correct the file.",
        ),
        (
            ["region"],
            {"x0": 60, "y0": 0, "width": 20, "height": 20},
            "region to be inside the image of 64x48 px but got {'x0': 60, 'y0': 0, 'width': 20, 'height': "
            "20}; correct the file.",
        ),
        (
            ["surfaces", 0, "nmae"],
            "x",
            "surfaces[0] to have the fields id, name, visits, class, colour, locked, visible but got 'nmae' (at "
            "surfaces[0].nmae); did you mean 'name'?",
        ),
        (
            ["surfaces", 0, "name"],
            "\ud800",
            "surfaces[0].name to be a text of whole characters but got '\\ud800'; correct the file.",
        ),
    ],
)
def test_mistakes_are_named_with_their_place(path, value, message) -> None:
    assert error_of(changed(path, value)) == message


def test_classes_of_two_lines_or_without_end_are_named_on_one() -> None:
    content = changed(["surfaces", 0, "class"], "sky")
    content["classes"][0]["name"] = "a\n" + 3000 * "b"
    message = error_of(content)
    assert message.isprintable() and "but got 'sky'" in message and len(message) < 500


def test_a_visit_without_an_order_among_others() -> None:
    content = changed(["surfaces", 0, "visits", 1, "order"], KeyError)
    assert error_of(content).startswith(
        "surfaces[0].visits[1] to be a visit with an 'order' as other visits have one but got"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a session in JSON but got an empty file; save the session again."),
        (" \n", "a session in JSON but got an empty file; save the session again."),
        (
            "{",
            "JSON but got 'Expecting property name enclosed in double quotes: line 1 column 2 (char 1)'; "
            "correct the file or save the session again.",
        ),
        (
            '{"a": NaN}',
            "JSON but got 'NaN is not a number in JSON'; correct the file or save the session again.",
        ),
        ("[]", "the content to be an object but got []; correct the file."),
        ("3", "the content to be an object but got 3; correct the file."),
        ("{}", "schema_version to be given but got None; correct the file."),
    ],
)
def test_empty_and_malformed_files(text, message) -> None:
    assert error_of(text) == message


def test_missing_and_binary_files(tmp_path) -> None:
    with pytest.raises(
        SessionFormatError,
        match=r"Expected the session file '.*none.json' but got 'No such file or directory'",
    ):
        read_session(tmp_path / "none.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(
        SessionFormatError, match=r"b.json: expected JSON in UTF-8 but got other bytes; correct the file"
    ):
        read_session(tmp_path / "b.json")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "id"]), inner),
    ),
    st.data(),
)
def test_whatever_stands_anywhere_the_reader_and_the_schema_agree(value, data) -> None:
    """Replace a random place by anything: an error of ours, or a document; the schema says no wherever a type
    is wrong.
    """
    content = copy.deepcopy(EXAMPLE)
    place, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    place[key] = value
    is_valid = jsonschema.Draft202012Validator(SCHEMA).is_valid(content)
    try:
        parse_session(json.dumps(content))
    except SessionFormatError:
        return
    assert is_valid


CLICKS = st.builds(Click, st.floats(-0.5, 63.5), st.floats(-0.5, 47.5), st.booleans())
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def documents(draw) -> SessionDocument:
    classes = tuple(SurfaceClass(n) for n in draw(st.lists(TEXTS.filter(bool), unique=True, max_size=3)))
    ids = draw(st.lists(st.integers(1, 65534), unique=True, max_size=4))
    names = st.sampled_from([c.name for c in classes]) if classes else TEXTS
    surfaces = tuple(
        Surface(i, draw(TEXTS), draw(st.none() | names), draw(st.none() | st.just("#12AbeF"))) for i in ids
    )
    owners = draw(st.lists(st.sampled_from(ids), max_size=6)) if ids else []
    visits = []
    for order, owner in enumerate(owners):
        seed = draw(st.none() | st.integers(0, 99))
        mask = (
            None if seed is None else np.kron(np.random.default_rng(seed).random((3, 4)) > 0.5, np.ones((16, 16), bool))
        )
        visits.append(
            Visit(owner, order, tuple(draw(st.lists(CLICKS, max_size=3))), None if mask is None else BoxMask.of(mask))
        )
    matrix = homography(np.array([[1.5, 0.1, 3], [0, 1, 0], [1e-4, 0, 1]]))
    alignments = draw(st.dictionaries(st.sampled_from(["thermal", "depth"]), st.sampled_from([Alignment(), matrix])))
    region = draw(st.none() | st.just(Region(3, 4, 30, 20)))
    path = draw(PATHS)
    return SessionDocument(path, (48, 64), surfaces, tuple(visits), {"thermal": path}, alignments, classes, region)


def as_values(document: SessionDocument) -> tuple:
    visits = [
        (v.surface_id, v.order, v.clicks, None if v.start_mask is None else v.start_mask.tobytes())
        for v in document.visits
    ]
    others = {k: v for k, v in vars(document).items() if k != "visits"}
    return visits, others


@settings(max_examples=40, deadline=None)
@given(documents())
def test_documents_go_there_and_back(document) -> None:
    text = format_session(document)
    jsonschema.validate(json.loads(text), SCHEMA)
    assert as_values(parse_session(text)) == as_values(document)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_run_lengths_go_there_and_back(height, width, seed, share) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    runs = encode_runs(mask)
    assert np.array_equal(decode_runs(runs, (height, width)), mask) and all(r > 0 for r in runs[1:])
    with_empty_runs = [*([0, 0] if seed % 2 else []), *runs, *([0] if seed % 3 else [])]
    boxed, whole = decode_box_runs(with_empty_runs, (height, width), PixelBudget(0)), BoxMask.of(mask)
    assert (boxed.box, boxed.packed, boxed.image_hw) == (whole.box, whole.packed, whole.image_hw)


@pytest.mark.parametrize("image_hw", [(3000, 700), (700, 3000), (100_000, 20)])
def test_run_lengths_of_masks_larger_than_a_band(image_hw) -> None:
    mask = np.zeros(image_hw, bool)
    mask[5:-7, 3:-2] = True
    mask[200:500, 7:] = np.random.default_rng(0).random((300, image_hw[1] - 7)) < 0.5
    boxed = decode_box_runs(encode_runs(mask), image_hw, PixelBudget(0))
    assert boxed.packed == BoxMask.of(mask).packed and np.array_equal(boxed.whole, mask)


def test_start_masks_have_as_many_pixels_together_as_the_file_s_length_allows(monkeypatch) -> None:
    """A mask of a whole image is a line of a few characters: without a limit they take a second each."""
    whole = {"size": [48, 64], "counts": [0, 48 * 64]}
    visits = [{"clicks": [], "start_mask": whole} for _ in range(40)]
    text = json.dumps({**EXAMPLE, "surfaces": [{"id": 1, "name": "a", "visits": visits}]})
    assert len(parse_session(text).visits) == 40
    monkeypatch.setattr(bounded, "_FREE_PX", 30 * 48 * 64)
    monkeypatch.setattr(bounded, "_PX_PER_BYTE", 0)
    with pytest.raises(
        SessionFormatError, match=r"visits\[30\].start_mask to be one of masks that have at most 92160 px"
    ):
        parse_session(text)


def test_run_lengths_by_hand() -> None:
    mask = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert encode_runs(mask) == [0, 2, 1, 1, 2], "column by column, zeros first"
    with pytest.raises(ValueError, match="add up to 5"):
        decode_runs([2, 3], (2, 3))


def test_a_session_replays_to_the_same_map(predictor, image, tmp_path) -> None:
    session = Session(predictor, image)
    replay(parse_session(json.dumps(EXAMPLE)), session)
    session.begin_visit(7)
    session.click(7, 10, 10)
    write_session(tmp_path / "s.json", document_of(session, "image.png", {"thermal": "thermal.png"}))
    again = Session(predictor, image)
    answers = []
    replay(read_session(tmp_path / "s.json"), again, answers.append)
    assert np.array_equal(again.joint, session.joint) and session.joint.any() and len(answers) == 4
    assert as_values(document_of(again, "i")) == as_values(document_of(session, "i"))
    assert again.surfaces == session.surfaces


def test_another_image_is_refused(predictor) -> None:
    session = Session(predictor, np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(
        SessionFormatError, match="Expected an image of 64x48 px, as in the session, but got 30x20 px; give"
    ):
        replay(parse_session(json.dumps(EXAMPLE)), session)


def test_no_room_for_the_session(tmp_path, monkeypatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OutputError, match="but got 'No space left on device'; free some space there"):
        write_session(tmp_path / "s.json", parse_session(json.dumps(EXAMPLE)))
    assert not list(tmp_path.iterdir())
