"""Clicks that are answered once more: without one of them, without a modality, or by another model.

A replay is a generator of :class:`Question`: whoever drives it asks a predictor, waiting or awaiting, and sends the
answer back. The order of questions is that in which a person would ask them: click by click, each with the
answer before it as its previous mask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmms_client.annotation import Annotation, clicks_in
from mmms_client.annotation_state import removal_runs
from mmms_client.clicks import Click
from mmms_client.errors import UsageError
from mmms_client.events import ClickRemoved, StoredAnswer
from mmms_client.geometry import Frame, Region
from mmms_client.layers import PaintedVisit

Probabilities = NDArray[np.float32]
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Question:
    """What to ask the model, as :class:`mmms_client.annotation.ClickRequest` has it."""

    clicks: tuple[Click, ...]
    previous_mask: Probabilities | None = field(repr=False)
    region: Region | None


Questions = Generator[Question, Probabilities, _T]


async def answer_all(questions: Questions[_T], ask: Callable[[Question], Awaitable[Probabilities]]) -> _T:
    """Drive a replay; what it computes in between runs in a thread."""
    answer: Probabilities | None = None
    while True:
        question, end = await asyncio.to_thread(_next, questions, answer)
        if end is not None:
            result: _T = end.value
            return result
        assert question is not None
        answer = await ask(question)


def _next(questions: Questions[_T], answer: Probabilities | None) -> tuple[Question | None, StopIteration | None]:
    """The next question or the end; no future takes a ``StopIteration``."""
    try:
        return (next(questions) if answer is None else questions.send(answer)), None
    except StopIteration as end:
        return None, end


def removal(annotation: Annotation, event: ClickRemoved) -> Questions[tuple[StoredAnswer | None, ...]]:
    """The answers that a removed click needs: one for each visit of the surface from it on, ``None`` without clicks."""
    visits: list[PaintedVisit | None] = list(annotation.state.visits)
    answers: list[StoredAnswer | None] = []
    for position, visit in removal_runs(annotation.state, event):
        before = tuple(v for v in visits[:position] if v is not None)
        answer = (yield from _visit_again(annotation, before, visit)) if visit.clicks else None
        answers.append(answer)
        if answer is not None:
            visits[position] = replace(visit, mask=answer.mask)
        else:
            visits[position] = None if visit.start is None else replace(visit, mask=visit.start)
    return tuple(answers)


def _visit_again(
    annotation: Annotation, before: tuple[PaintedVisit, ...], visit: PaintedVisit
) -> Questions[StoredAnswer]:
    """A visit's clicks, one after the other, on the map of the visits before it."""
    frame, number = annotation.frame_of(visit.region), visit.surface_id
    mine = [v for v in before if v.surface_id == number]
    done = tuple(click for v in mine for click in v.clicks)
    previous: Probabilities | None = None
    if visit.start is not None:
        begun = replace(visit, mask=visit.start, clicks=(), answer=None)
        previous = frame.mask_to_network(annotation.layers.mask_before((*before, begun), number).whole)
    elif mine:
        previous = frame.mask_to_network(annotation.layers.mask_before(before, number).whole)
    for count in range(1, len(visit.clicks) + 1):
        previous = yield Question(clicks_in(frame, (*done, *visit.clicks[:count])), previous, visit.region)
    assert previous is not None
    return StoredAnswer(previous, annotation.own_mask(frame, previous, number, before, visit.start))


def surface_alone(annotation: Annotation, surface_id: int) -> Questions[tuple[Frame, Probabilities]]:
    """All clicks of a surface as if there were no other, and the last answer with its frame.

    A visit that began with a given or drawn mask begins with it here, too. Raises :class:`UsageError` for a surface
    without clicks.
    """
    annotation.surface(surface_id)
    frame, previous = annotation.frame, None
    done: tuple[Click, ...] = ()
    answer: Probabilities | None = None
    for visit in annotation.state.visits_of(surface_id):
        seen, frame = frame, annotation.frame_of(visit.region)
        if visit.start is not None:
            previous = frame.mask_to_network(visit.start.whole)
        elif answer is not None:
            previous = frame.mask_to_network(seen.answer_mask(answer, annotation.threshold).whole)
        for click in visit.clicks:
            done = (*done, click)
            answer = previous = yield Question(clicks_in(frame, done), previous, visit.region)
    if answer is None:
        raise UsageError(f"Expected a surface with clicks but got {surface_id} without; click on it first.")
    return frame, answer
