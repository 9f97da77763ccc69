"""The journal: what was acknowledged is there again, what was torn is not, what is broken is named."""

from __future__ import annotations

import errno
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from annotation_steps import STEPS, perform
from mmms_client import OutputError, Session, SessionFormatError, edits
from mmms_client.annotation import Annotation
from mmms_client.event_json import event_entry
from mmms_client.events import MasksImported
from mmms_client.journal import Journal, read_journal

HW = (48, 64)


def write_down(journal: Journal, session: Session, do) -> None:
    """Do something to a session, and write to the journal what the app would."""
    done, undone, visit = session.done, session.undone, session.new_visit_for
    do()
    if len(session.done) == len(done) + 1 and len(session.undone) == len(undone) - 1 and session.done[-1] is undone[-1]:
        journal.append({"do": "redo"})
    elif len(session.done) < len(done):
        journal.append({"do": "undo"})
    else:
        for step in session.done[len(done) :]:
            journal.append(event_entry(step.event, step.answers))
    if session.new_visit_for is not None and session.new_visit_for != visit:
        journal.append({"do": "finish", "id": session.new_visit_for})


def again(path, session: Session) -> Annotation:
    """An annotation from the journal alone."""
    annotation = Annotation(session.frame, session.max_clicks, session.threshold)
    read_journal(path).restore(annotation)
    return annotation


def look(annotation: Annotation) -> tuple:
    """Everything that a person sees, but the pixels."""
    visits = [(v.surface_id, v.clicks, v.region, v.locked, v.start_mask is None) for v in annotation.visits]
    names = [type(event).__name__ for event in annotation.events]
    state = annotation.state
    return (
        annotation.surfaces,
        visits,
        names,
        len(annotation.undone),
        annotation.new_visit_for,
        state.used,
        state.active,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=25))
@example([("delete", 0), ("delete", 0), ("delete", 0), ("undo",)])
def test_a_journal_brings_everything_back_without_the_model(make_predictor, image, tmp_path, steps) -> None:
    predictor = make_predictor()
    session = Session(predictor, image)
    path = tmp_path / "journal.jsonl"
    path.unlink(missing_ok=True)
    with Journal.open(path, "image.png", HW)[0] as journal:
        for name in "abc":
            write_down(journal, session, lambda name=name: session.add_surface(name))
        for step in steps:
            write_down(journal, session, lambda step=step: perform(session, step))
    calls, back = predictor.calls, again(path, session)
    assert look(back) == look(session) and np.array_equal(back.joint, session.joint)
    while session.undo():
        back.undo()
        assert look(back) == look(session) and np.array_equal(back.joint, session.joint)
    while session.redo():
        back.redo()
        assert look(back) == look(session) and np.array_equal(back.joint, session.joint)
    assert predictor.calls == calls


@pytest.fixture
def written(tmp_path, predictor, image):
    """A journal with a few steps, and the session that it is of."""
    session, path = Session(predictor, image), tmp_path / "journal.jsonl"
    journal, history = Journal.open(path, "image.png", HW)
    assert history.done == [] and read_journal(path).image_name == "image.png"
    for do in (
        lambda: session.add_surface("a"),
        lambda: session.click(1, 20, 20),
        lambda: session.do(edits.brush(session, 1, [(40, 40)], 4, is_erased=False)),
        lambda: session.click(1, 50, 20),
        lambda: session.undo(),
    ):
        write_down(journal, session, do)
    journal.append({"do": "model", "sha256": "abc", "checkpoint": "nano"})
    journal.close()
    return path, session


def test_a_line_torn_at_any_byte_is_dropped_and_cut_before_the_next(written) -> None:
    path, session = written
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    last = len(data) - len(lines[-2]) - len(lines[-1])
    expected = len(lines) - 2
    for length in [*range(last + 1, last + 40), len(data) - len(lines[-1]) - 1]:
        path.write_bytes(data[:length])
        assert read_journal(path).length == expected
        journal, history = Journal.open(path, "image.png", HW)
        assert history.length == expected and not history.undone, "the undo was not whole"
        journal.append({"do": "undo"})
        journal.close()
        rows = [json.loads(line) for line in path.read_bytes().splitlines()]
        assert rows[-1]["do"] == "undo" and [row["n"] for row in rows] == list(range(expected + 1))
    assert session.joint.any()


def test_a_journal_whose_first_line_is_torn_begins_anew(tmp_path) -> None:
    path = tmp_path / "journal.jsonl"
    for torn in (b"", b'{"journal":1,"ima'):
        path.write_bytes(torn)
        journal, history = Journal.open(path, "image.png", HW)
        journal.close()
        assert history.done == [] and read_journal(path).length == 1


def test_what_is_broken_is_named_with_its_line(written) -> None:
    path, _ = written
    lines = path.read_bytes().splitlines(keepends=True)

    def message(*changed: bytes) -> str:
        path.write_bytes(b"".join(changed))
        with pytest.raises(SessionFormatError) as caught:
            read_journal(path)
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(path))
        return str(caught.value).removeprefix(str(path))

    assert message(lines[0], b"{nonsense\n", *lines[1:]).startswith(", line 2: expected JSON but got")
    assert message(lines[0], b'{"do":"jump"}\n').startswith(
        ", line 2: expected the content to be an event of this version (add"
    )
    assert message(lines[0], b'{"do":"undo"}\n').startswith(
        ", line 2: expected the content to be something to undo but got"
    )
    assert message(lines[0], b'{"do":"delete","id":0}\n').startswith(
        ", line 2: expected id to be a whole number from 1"
    )
    assert message(lines[0], b'{"do":"finish"}\n').startswith(", line 2: expected id to be given but got None")
    assert message(b'{"journal":2,"image":{}}\n').startswith(
        ", line 1: expected journal to be 1 (what this version of mmms"
    )
    click = json.loads(lines[2])
    for key, value, expected in (
        ("answers", [], "expected answers to be one answer"),
        (
            "region",
            [0, 0, 99, 99],
            "expected the content to be an event that fits those before it (it does not: Expected a",
        ),
        ("begins", False, "expected the content to be an event that fits those before it"),
    ):
        assert message(*lines[:2], json.dumps({**click, key: value}).encode() + b"\n").startswith(
            f", line 3: {expected}"
        )
    for field, text in (("probabilities", "the probabilities of an answer"), ("bits", "the bits of the box")):
        broken = json.loads(lines[2])
        place = broken["answers"][0] if field == "probabilities" else broken["answers"][0]["mask"]
        place[field] = place[field][:8] + place[field][12:]
        assert text in message(*lines[:2], json.dumps(broken).encode() + b"\n")
    path.write_bytes(b"no line end")
    with pytest.raises(SessionFormatError, match="expected a journal but got no whole line"):
        read_journal(path)
    with pytest.raises(SessionFormatError, match=r"^Expected the journal '.*' but got 'No such file or directory'"):
        read_journal(path.with_name("other"))


def test_an_image_of_another_size_gets_no_old_journal(written) -> None:
    with pytest.raises(SessionFormatError, match=r"expected the journal of an image of 8x9 px but got one of 64x48 px"):
        Journal.open(written[0], "image.png", (9, 8))


def test_a_full_disk_is_said_and_leaves_what_was_there(written, monkeypatch) -> None:
    path, _ = written
    before = path.read_bytes()
    journal, _ = Journal.open(path, "image.png", HW)
    real, left = os.write, [30]

    def full(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = real(descriptor, data[: left[0]])
        left[0] -= count
        return count

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match=r"journal.jsonl' but got 'No space left on device'; free some space there"):
        journal.append({"do": "undo"})
    assert path.read_bytes() == before
    monkeypatch.undo()
    journal.append({"do": "undo"})
    journal.close()
    assert path.read_bytes().startswith(before) and read_journal(path).length == len(before.splitlines()) + 1


def test_a_journal_is_no_link(tmp_path) -> None:
    """Not even to another one: two would write to one file."""
    (tmp_path / "other").write_bytes(b"no line end")
    (tmp_path / "journal.jsonl").symlink_to(tmp_path / "other")
    with pytest.raises(OutputError, match=r"journal\.jsonl' but got '.*'; remove the link\.$"):
        Journal.open(tmp_path / "journal.jsonl", "image.png", HW)
    assert (tmp_path / "other").read_bytes() == b"no line end"


def test_each_line_is_on_disk_before_append_returns(tmp_path, monkeypatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    with Journal.open(tmp_path / "journal.jsonl", "image.png", HW)[0] as journal:
        journal.append({"do": "finish", "id": 1})
        assert synced[-1] == (tmp_path / "journal.jsonl").stat().st_size


def test_the_model_that_answered_is_noted(written) -> None:
    assert read_journal(written[0]).model == {"sha256": "abc", "checkpoint": "nano"}


def test_imports_and_alignments_come_back(tmp_path, predictor, image) -> None:
    from mmms_client.alignment import Nudge
    from mmms_client.box_mask import BoxMask
    from mmms_client.events import ModalityAligned, Surface

    session, path = Session(predictor, image), tmp_path / "journal.jsonl"
    mask = np.zeros(HW, bool)
    mask[3:9, 3:9] = True
    with Journal.open(path, "image.png", HW)[0] as journal:
        for event in (
            MasksImported(((Surface(4, "Straße ☃", "x", "#010203", True, False), BoxMask.of(mask)),)),
            ModalityAligned("thermal", Nudge(1.5, -2, 1.01)),
            ModalityAligned("depth", None),
        ):
            write_down(journal, session, lambda event=event: session.do(event))
    back = again(path, session)
    assert back.surfaces == session.surfaces and np.array_equal(back.mask(4), mask)
    assert back.state.nudges == {"thermal": Nudge(1.5, -2, 1.01)}
