"""How long, and how, a request waits for a server that is gone, starting or busy.

A request leaves nothing behind on a server, so it can be sent again as it is. Waits grow, so that a server that comes
back is not met by everybody at once, and each is drawn at random between its half and its whole for the same reason.
What a server answers wrongly, or not in time, is no reason to wait: it is said.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from mmms_client.errors import ModelNotReadyError, ServerBusyError, ServerUnreachableError

PATIENCE_S = 20.0  # of a person
WAITED_FOR = (ServerUnreachableError, ModelNotReadyError, ServerBusyError)
_FIRST_S, _LONGEST_S = 0.1, 3.0
_T = TypeVar("_T")


class Waits:
    """The waits of one request. Their sum never exceeds the patience, and the last try comes at its end."""

    def __init__(self, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._until_s, self._longest_s = clock, clock() + patience_s, _FIRST_S

    def next_s(self) -> float | None:
        """Seconds to wait before the next try; ``None`` when the patience is over."""
        left_s = self._until_s - self._clock()
        if left_s <= 0.0:
            return None
        wait_s = min(left_s, self._longest_s * random.uniform(0.5, 1.0))
        self._longest_s = min(_LONGEST_S, 2 * self._longest_s)
        return wait_s


def patiently(ask: Callable[[], _T], patience_s: float, look: Callable[[], None] = lambda: None) -> _T:
    """What ``ask`` returns, once there is a server that takes the request.

    Args:
        ask: sends the request; may be called many times.
        patience_s: longest wait in seconds, without the time that the requests themselves take.
        look: called before each new try, but for a busy server; raises if there is no sense in one.

    Raises:
        ServerUnreachableError, ModelNotReadyError, ServerBusyError: still so after ``patience_s``.
    """
    waits = Waits(patience_s)
    while True:
        try:
            return ask()
        except WAITED_FOR as error:
            wait_s = waits.next_s()
            if wait_s is None:
                raise
            time.sleep(wait_s)
            if not isinstance(error, ServerBusyError):
                look()
