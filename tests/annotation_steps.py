"""Random things that a person may do to a session, for tests that hold whatever was done."""

from __future__ import annotations

import asyncio

import numpy as np
from hypothesis import strategies as st

from mmms_client import Region, Session, UsageError, edits
from mmms_client.replaying import Question, answer_all, removal


def answered(session: Session, questions):
    """Drive a replay on the session's predictor, without a loop of its own."""

    async def ask(question: Question) -> np.ndarray:
        encoded = session._encoded_of(question.region)
        return session.predictor.predict(encoded, question.clicks, question.previous_mask)

    return asyncio.run(answer_all(questions, ask))


def remove(session: Session, number: int, index: int) -> None:
    event = edits.remove_click(session, number, index)
    session.do(event, answered(session, removal(session, event)))


PLACE = st.tuples(st.integers(-5, 70), st.integers(-5, 52))
INSIDE = st.tuples(st.integers(0, 63), st.integers(0, 47))
WHO = st.integers(0, 4)
STEPS = st.one_of(
    st.tuples(st.just("click"), WHO, INSIDE, st.booleans(), st.sampled_from([None, Region(8, 8, 40, 30)])),
    st.tuples(st.just("brush"), WHO, st.lists(PLACE, min_size=1, max_size=4), st.floats(0.5, 12), st.booleans()),
    st.tuples(st.just("polygon"), WHO, st.lists(PLACE, min_size=3, max_size=6), st.booleans()),
    st.tuples(st.just("clean"), WHO, st.integers(0, 200), st.integers(0, 60)),
    st.tuples(st.just("split"), WHO),
    st.tuples(st.just("merge"), WHO, WHO),
    st.tuples(st.just("lock"), WHO),
    st.tuples(st.just("delete"), WHO),
    st.tuples(st.just("remove"), WHO, st.integers(0, 6)),
    st.tuples(st.just("finish"), WHO),
    st.tuples(st.just("undo")),
    st.tuples(st.just("redo")),
)


def perform(session: Session, step: tuple) -> None:
    """One step; what makes no sense at that point is refused, and must then have changed nothing."""
    name, *rest = step
    ids = [s.surface_id for s in session.surfaces]
    if rest and not ids:  # undo and redo need no surface, and one that they met would be a step of its own
        ids = [session.add_surface("again")]
    who = ids[rest[0] % len(ids)] if rest else 0
    before = (session.events, session.joint)
    try:
        if name == "click":
            session.click(who, *rest[1], is_positive=rest[2], region=rest[3])
        elif name == "merge":
            session.do(edits.merge(session, who, ids[rest[1] % len(ids)]))
        elif name == "lock":
            session.do(edits.change(session, who, is_locked=not session.surface(who).is_locked))
        elif name == "remove":
            remove(session, who, rest[1])
        elif name == "finish":
            session.begin_visit(who)
        elif name in ("undo", "redo"):
            getattr(session, name)()
        else:
            session.do(getattr(edits, name)(session, who, *rest[1:]))
    except UsageError:
        assert (session.events == before[0]) and np.array_equal(session.joint, before[1])
