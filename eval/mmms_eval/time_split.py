"""Where the milliseconds of a served run go: client, network, queue, compute.

The client's part and the requests are timed here, in the client; queue and compute are what Triton counted for the
three stages. What is left of a request is the network: gRPC, copies, the ensemble's bookkeeping and the response cache.
All are sums over the run divided by the number of clicks, so that they add up to
``per_click_with_encode_ms``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mmms_client.errors import ModelNotReadyError, ServerError, ServerUnreachableError
from mmms_client.predictor import Predictor
from mmms_client.stage_times import STAGES, StageTimes
from mmms_client.transport import Transport


class _ClockedTransport:
    """A transport that adds up how long its requests took; everything else is the inner one's."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.spent_s = 0.0
        self.has_lost_server = False  # which then counts from zero

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def infer(self, *args: Any, **named: Any) -> Any:
        began_s = time.perf_counter()
        try:
            return self._inner.infer(*args, **named)
        except ServerUnreachableError:
            self.has_lost_server = True
            raise
        finally:
            with self._lock:
                self.spent_s += time.perf_counter() - began_s


@dataclass
class TimeSplit:
    """Milliseconds of a run, summed over all requests."""

    is_known: bool = True  # not if the server was started anew in the middle
    requests_ms: float = 0.0
    queue_ms: float = 0.0
    compute_ms: float = 0.0

    def per_click(self, total_ms: float, clicks: int) -> dict[str, float]:
        """Milliseconds per click by part.

        Args:
            total_ms: all encodes and clicks of the run as the caller saw them.
            clicks: how many clicks, at least 1.
        """
        parts = {
            "client": total_ms - self.requests_ms,
            "network": self.requests_ms - self.queue_ms - self.compute_ms,
            "queue": self.queue_ms,
            "compute": self.compute_ms,
        }
        return {name: value / clicks for name, value in parts.items()}


@contextmanager
def split_times(predictor: Predictor) -> Iterator[TimeSplit | None]:
    """Clock the requests of a served predictor; complete after the block. ``None`` in process. Check ``is_known``.

    The server's counters are those of all its clients: a server that others use at the same time gives them more.
    Behind a proxy with several servers they are those of one of them, and the split says little.
    """
    transport: Transport | None = getattr(predictor, "transport", None)
    if transport is None:
        yield None
        return
    split, clocked = TimeSplit(), _ClockedTransport(transport)
    before = _counted(transport)
    predictor.transport = clocked  # type: ignore[attr-defined]
    try:
        yield split
    finally:
        predictor.transport = transport  # type: ignore[attr-defined]
        split.is_known = False
        with contextlib.suppress(ServerError):  # the numbers of a run do not depend on where its time went
            counted = _counted(transport).since(before)
            split.is_known = not clocked.has_lost_server and counted.clicks >= 0 and counted.compute_ns >= 0
            split.requests_ms = 1e3 * clocked.spent_s
            split.queue_ms, split.compute_ms = 1e-6 * counted.queue_ns, 1e-6 * counted.compute_ns


def _counted(transport: Transport) -> StageTimes:
    rows = {}
    for stage in STAGES:
        with contextlib.suppress(ModelNotReadyError):  # a stage that another server holds is network time to us
            rows[stage] = transport.statistics(stage)
    return StageTimes.of(rows)
