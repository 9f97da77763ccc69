"""How long a request waits for a server, and for what it does not."""

from __future__ import annotations

import pytest

from mmms_client.errors import DeadlineError, ModelReplacedError, ServerBusyError, ServerUnreachableError
from mmms_client.waiting import Waits, patiently


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("patience_s", [0.0, 0.05, 1.0, 20.0, 300.0])
def test_waits_grow_and_end_with_the_patience(patience_s: float) -> None:
    clock = Clock()
    waits, taken = Waits(patience_s, clock), []
    while (wait_s := waits.next_s()) is not None:
        taken.append(wait_s)
        clock.now_s += wait_s
    assert clock.now_s == pytest.approx(patience_s) and len(taken) < 10 + patience_s
    assert all(0.0 < wait_s <= 3.0 for wait_s in taken)
    if len(taken) > 7:
        assert max(taken[:2]) < 0.25 and min(taken[6:-1]) >= 1.5


def test_clients_that_lost_one_server_do_not_come_back_at_one_moment() -> None:
    assert len({Waits(20.0).next_s() for _ in range(50)}) == 50


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr("mmms_client.waiting.time.sleep", slept.append)
    return slept


def failing(*errors: Exception):  # type: ignore[no-untyped-def]
    left = list(errors)

    def ask() -> str:
        if left:
            raise left.pop(0)
        return "answer"

    return ask


def test_what_passes_is_waited_for_and_the_server_is_looked_at(quick: list[float]) -> None:
    looks: list[int] = []
    ask = failing(ServerUnreachableError("gone"), ServerBusyError("busy"), ServerUnreachableError("gone"))
    assert patiently(ask, 20.0, lambda: looks.append(1)) == "answer"
    assert len(quick) == 3 and len(looks) == 2, "a busy server is the same server"


def test_what_does_not_pass_is_said_at_once(quick: list[float]) -> None:
    with pytest.raises(DeadlineError):
        patiently(failing(DeadlineError("hangs")), 20.0)
    with pytest.raises(ServerUnreachableError):
        patiently(failing(ServerUnreachableError("gone")), 0.0)
    assert quick == []


def test_another_model_ends_the_waiting(quick: list[float]) -> None:
    def look() -> None:
        raise ModelReplacedError("another")

    with pytest.raises(ModelReplacedError):
        patiently(failing(ServerUnreachableError("gone")), 20.0, look)
    assert len(quick) == 1
