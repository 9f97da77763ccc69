"""What the app counts, in the text format that Prometheus reads: how long people waited, what failed, what was dropped.

It is counted here and not in the served models, because here is what a person waits for, network and queue included,
and because three of four targets have no code of ours in the server. No name of a file, a surface or a class is in it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from mmms_client.errors import MMMSError

# A click feels instant below 0.1 s and slow above 0.5 s; the first one of an image that was not encoded takes longer.
BUCKETS_S = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 10.0)
CLICK, PREVIEW, ENCODE = "click", "preview", "encode"
REQUESTS = (CLICK, PREVIEW, ENCODE)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one app since it was started."""

    def __init__(self) -> None:
        self.is_connected = False
        self._spent_s = dict.fromkeys(REQUESTS, 0.0)
        self._filled = {request: [0] * (len(BUCKETS_S) + 1) for request in REQUESTS}
        self._cancelled = dict.fromkeys(REQUESTS, 0)
        self._errors: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def counted(self, request: str) -> Iterator[None]:
        """Count what happens inside: answered after so long, cancelled, or one of our errors."""
        began_s = time.perf_counter()
        try:
            yield
        except asyncio.CancelledError:
            self._cancelled[request] += 1
            raise
        except MMMSError as error:
            self._errors[request, type(error).__name__] += 1
            raise
        spent_s = time.perf_counter() - began_s
        self._spent_s[request] += spent_s
        self._filled[request][bisect_left(BUCKETS_S, spent_s)] += 1

    def text(self) -> str:
        """All metrics, in Prometheus' text format."""
        lines = [*_head("mmms_request_seconds", "histogram", "What one waited for a request, all of it.")]
        for request in REQUESTS:
            count = 0
            for limit, filled in zip((*map(str, BUCKETS_S), "+Inf"), self._filled[request], strict=True):
                count += filled
                lines.append(f'mmms_request_seconds_bucket{{request="{request}",le="{limit}"}} {count}')
            lines.append(f'mmms_request_seconds_sum{{request="{request}"}} {self._spent_s[request]:.6f}')
            lines.append(f'mmms_request_seconds_count{{request="{request}"}} {count}')
        lines += _head("mmms_requests_cancelled_total", "counter", "Requests that nobody waits for any more.")
        lines += [f'mmms_requests_cancelled_total{{request="{r}"}} {n}' for r, n in self._cancelled.items()]
        lines += _head("mmms_request_errors_total", "counter", "Requests that failed, by the error's class.")
        for (request, error), number in sorted(self._errors.items()):
            lines.append(f'mmms_request_errors_total{{request="{request}",error="{error}"}} {number}')
        lines += _head("mmms_server_connected", "gauge", "1 while a server with the project's model answers.")
        lines.append(f"mmms_server_connected {int(self.is_connected)}")
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
