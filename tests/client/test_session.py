"""Sessions: visits, undo, redo, start masks, regions, and that errors change nothing."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmms_client import AsyncSession, Click, ClickError, Region, ServerBusyError, Session, UsageError
from mmms_client.box_mask import BoxMask
from mmms_client.events import MaskStarted, StoredAnswer
from mmms_client.joint_mask import empty_joint_map, paste


@pytest.fixture
def session(predictor, image) -> Session:
    return Session(predictor, image)


def test_first_click_has_no_previous_mask_and_the_second_gets_the_first_answer(session, predictor) -> None:
    road = session.add_surface("road", class_name="ground", colour="#112233")
    first = session.click(road, 20, 20)
    session.click(road, 40, 20)
    assert predictor.seen[0] == ((Click(20, 20),), None)
    clicks, previous = predictor.seen[1]
    assert clicks == (Click(20, 20), Click(40, 20))
    assert np.array_equal(previous, first.probabilities)
    assert session.surface(road).class_name == "ground"


def test_revisit_keeps_the_clicks_and_starts_from_the_joint_map(session, predictor) -> None:
    a, b = session.add_surface("a"), session.add_surface("b")
    session.click(a, 30, 20)
    session.click(b, 36, 20)
    session.click(a, 10, 40)
    clicks, previous = predictor.seen[2]
    assert clicks == (Click(30, 20), Click(10, 40))
    session.undo()
    assert np.allclose(previous, session.frame.mask_to_network(session.mask(a)))
    assert previous[27, 36] == 0 and previous[27, 24] == 1, "what b took of it is gone"


def test_overshoot_of_a_visit_gives_the_neighbour_back(session) -> None:
    a, b = session.add_surface("a"), session.add_surface("b")
    session.click(a, 30, 20)
    before = session.mask(a)
    session.click(b, 36, 20)
    assert session.mask(a).sum() < before.sum()
    session.click(b, 36, 20, is_positive=False)
    assert np.array_equal(session.mask(a), before)
    assert [(v.surface_id, v.order, len(v.clicks)) for v in session.visits] == [(a, 0, 1), (b, 1, 2)]


def test_begin_visit_splits_a_run_of_clicks(session) -> None:
    a = session.add_surface("a")
    session.click(a, 30, 20)
    session.begin_visit(a)
    session.click(a, 40, 20)
    assert [len(v.clicks) for v in session.visits] == [1, 1]


def test_delete_brings_back_what_was_covered_and_undo_takes_the_deletion_back(session, predictor) -> None:
    a, b = session.add_surface("a"), session.add_surface("b")
    session.click(a, 30, 20)
    alone = session.joint
    session.click(b, 36, 20)
    both, calls = session.joint, predictor.calls
    session.delete_surface(b)
    assert np.array_equal(session.joint, alone) and [s.surface_id for s in session.surfaces] == [a]
    session.undo()
    assert np.array_equal(session.joint, both)
    session.redo()
    assert np.array_equal(session.joint, alone)
    assert session.add_surface("c") == 3, "ids are not used twice"
    assert predictor.calls == calls


def test_start_mask_is_pasted_at_once_and_is_the_previous_mask(session, predictor) -> None:
    a = session.add_surface("a")
    mask = np.zeros((48, 64), bool)
    mask[8:24, 8:24] = True
    session.start_mask(a, mask)
    assert np.array_equal(session.mask(a), mask)
    session.click(a, 50, 30)
    assert np.allclose(predictor.seen[0][1], session.frame.mask_to_network(mask))
    assert session.mask(a)[30, 50] and session.mask(a)[16, 16]
    with pytest.raises(UsageError, match=r"Expected a mask bool \[48, 64\] for surface 1 but got bool \[2, 2\]"):
        session.start_mask(a, np.zeros((2, 2), bool))


def test_region_answers_leave_the_rest_of_the_surface_alone(predictor, image) -> None:
    session = Session(predictor, image, region=Region(32, 0, 32, 48))
    a = session.add_surface("a")
    mask = np.zeros((48, 64), bool)
    mask[:, 20:36] = True
    session.start_mask(a, mask)
    answer = session.click(a, 33, 24, is_positive=False)
    assert session.mask(a)[:, 20:32].all() and not session.mask(a)[24, 33]
    assert np.array_equal(answer.mask, session.mask(a))
    with pytest.raises(ClickError) as caught:
        session.click(a, 5, 5)
    assert str(caught.value) == (
        "Expected a click inside the image of 32x48 px (the region at 32, 0) but got (5, 5); x runs from 32 "
        "to 63 and y from 0 to 47."
    )


def test_click_outside_the_image_changes_nothing(session, predictor) -> None:
    a = session.add_surface("a")
    events = session.events
    message = (
        r"^Expected a click inside the image of 64x48 px but got \(64, 10\); "
        r"x runs from 0 to 63 and y from 0 to 47\.$"
    )
    with pytest.raises(ClickError, match=message):
        session.click(a, 64, 10)
    with pytest.raises(ClickError, match=r"^Expected a click inside the image but got \(nan, 1\); give pixels\.$"):
        session.click(a, float("nan"), 1)
    assert session.events == events and predictor.calls == 0


def test_more_clicks_than_the_model_takes_change_nothing(session) -> None:
    a = session.add_surface("a")
    for x in range(5):
        session.click(a, x, 10)
    joint = session.joint
    message = (
        r"^Expected at most 5 clicks per surface but got 6: the server takes no more; finish the surface "
        r"with fewer clicks, or export the model with a larger click list\.$"
    )
    with pytest.raises(ClickError, match=message):
        session.click(a, 9, 10)
    assert np.array_equal(session.joint, joint) and len(session.clicks(a)) == 5


def test_a_failing_predictor_changes_nothing(session, predictor) -> None:
    a = session.add_surface("a")
    session.click(a, 30, 20)
    session.undo()
    events, joint = session.events, session.joint
    predictor.error = ServerBusyError("busy")
    with pytest.raises(ServerBusyError):
        session.click(a, 10, 20)
    assert session.events == events and np.array_equal(session.joint, joint)
    assert session.redo() is not None, "what was undone can still be redone"


def test_usage_errors_name_what_is_wrong(session) -> None:
    with pytest.raises(
        UsageError, match=r"Expected the id of a surface \(none yet\) but got 7; add it with add_surface"
    ):
        session.click(7, 1, 1)
    with pytest.raises(UsageError, match="Expected a colour as #rrggbb but got 'red'"):
        session.add_surface("a", colour="red")
    session.add_surface("a")
    with pytest.raises(UsageError, match="Expected a surface id from 1 to 65534 that is not taken but got 1"):
        session.add_surface("b", surface_id=1)
    with pytest.raises(UsageError, match="Expected a threshold between 0 and 1 but got 1"):
        Session(session.predictor, np.zeros((4, 4, 3), np.uint8), threshold=1.0)


def test_an_answer_from_before_a_change_is_refused(session) -> None:
    a = session.add_surface("a")
    request = session.propose(a, Click(5, 5))
    session.click(a, 30, 20)
    with pytest.raises(UsageError, match="propose the click again"):
        session.accept(request, np.zeros((64, 64), np.float32))


def test_many_async_sessions_share_a_predictor(make_predictor, image, predictor) -> None:
    class Awaited:
        def __init__(self) -> None:
            self.inner = make_predictor()
            self.contract = self.inner.contract

        async def encode(self, *arguments):
            await asyncio.sleep(0)
            return self.inner.encode(*arguments)

        async def predict(self, *arguments):
            await asyncio.sleep(0)
            return self.inner.predict(*arguments)

    async def annotate(awaited: Awaited, x: int) -> np.ndarray:
        session = await AsyncSession.open(awaited, image)
        a = session.add_surface("a")
        await session.click(a, x, 20)
        await session.click(a, x, 30, is_positive=False)
        return session.joint

    async def all_of_them() -> list[np.ndarray]:
        awaited = Awaited()
        return await asyncio.gather(*(annotate(awaited, x) for x in range(0, 64, 8)))

    for x, joint in zip(range(0, 64, 8), asyncio.run(all_of_them()), strict=True):
        session = Session(predictor, image)
        a = session.add_surface("a")
        session.click(a, x, 20)
        session.click(a, x, 30, is_positive=False)
        assert np.array_equal(joint, session.joint)


def test_stored_answer_keeps_the_contracts_precision() -> None:
    steps = np.arange(256, dtype=np.float32).reshape(16, 16) / 255
    mask = np.random.default_rng(0).random((7, 5)) > 0.5
    stored = StoredAnswer(steps, BoxMask.of(mask))
    assert np.array_equal(stored.probabilities, steps) and np.array_equal(stored.mask.whole, mask)
    again = StoredAnswer.of_bytes(stored.deflated, stored.side, stored.mask)
    assert np.array_equal(again.probabilities, steps)
    with pytest.raises(ValueError, match="deflated data of another size than 64 bytes"):
        StoredAnswer.of_bytes(stored.deflated, 8, stored.mask)


STEPS = st.one_of(
    st.tuples(st.just("add")),
    st.tuples(st.just("click"), st.integers(0, 3), st.integers(0, 63), st.integers(0, 47), st.booleans()),
    st.tuples(st.just("start"), st.integers(0, 3), st.integers(0, 40)),
    st.tuples(st.just("visit"), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.integers(0, 3)),
    st.tuples(st.just("undo")),
    st.tuples(st.just("redo")),
)


def perform(session: Session, step: tuple) -> None:
    """One step on the session; those that make no sense at that point are refused by the session itself."""
    name, *rest = step
    ids = [s.surface_id for s in session.surfaces]
    if name == "add":
        session.add_surface("surface")
    elif name in ("undo", "redo"):
        getattr(session, name)()
    elif ids:
        surface = ids[rest[0] % len(ids)]
        if name == "click":
            try:
                session.click(surface, rest[1], rest[2], rest[3])
            except ClickError:
                assert len(session.clicks(surface)) == session.max_clicks
        elif name == "start":
            mask = np.zeros((48, 64), bool)
            mask[rest[1] : rest[1] + 8, 4:60] = True
            session.start_mask(surface, mask)
        elif name == "visit":
            session.begin_visit(surface)
        else:
            session.delete_surface(surface)


def fold_by_the_book(session: Session) -> np.ndarray:
    """The joint map from the events alone: of each visit only the last mask counts, pasted in time order."""
    alive = {s.surface_id for s in session.surfaces}
    visits: list[tuple[int, np.ndarray]] = []
    for step in session.done:
        event = step.event
        if getattr(event, "surface_id", None) not in alive:
            continue
        is_start = isinstance(event, MaskStarted)
        if not (is_start or event.begins_visit):
            visits.pop()
        visits.append((event.surface_id, (event.mask if is_start else step.answers[0].mask).whole))
    joint = empty_joint_map((48, 64))
    for surface_id, mask in visits:
        joint = paste(joint, surface_id, mask)
    return joint


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_map_is_the_fold_of_the_events_whatever_was_done(make_predictor, image, steps) -> None:
    session = Session(make_predictor(), image)
    for step in [("add",), ("add",), *steps]:
        perform(session, step)
        assert np.array_equal(session.joint, fold_by_the_book(session))
    assert sum(len(v.clicks) for v in session.visits) == sum(
        len(session.clicks(s.surface_id)) for s in session.surfaces
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=20), st.integers(1, 25))
def test_undo_and_redo_are_inverse_and_ask_no_model(make_predictor, image, steps, count) -> None:
    predictor = make_predictor()
    session = Session(predictor, image)
    maps = [(session.events, session.joint)]
    for step in [("add",), ("add",), *(s for s in steps if s[0] not in ("undo", "redo"))]:
        before = session.events
        perform(session, step)
        if session.events != before:
            maps.append((session.events, session.joint))
    calls = predictor.calls
    count = min(count, len(maps) - 1)
    for back in range(1, count + 1):
        assert session.undo() is not None
        events, joint = maps[-1 - back]
        assert session.events == events and np.array_equal(session.joint, joint)
    for back in range(count - 1, -1, -1):
        assert session.redo() is not None
        events, joint = maps[-1 - back]
        assert session.events == events and np.array_equal(session.joint, joint)
    assert session.redo() is None and predictor.calls == calls
