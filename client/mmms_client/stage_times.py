"""What the server counted for the three stages, and what that says of the requests in between.

Queue and compute are what Triton counted for backbone, fuser and csnet. What is left of a request is the network:
gRPC, copies, the ensemble's bookkeeping and the response cache. The counters are those of all clients, so a
difference speaks of one request only if there was one: :meth:`StageTimes.since` says how many there were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmms_client.transport import ModelStatistics

STAGES = ("backbone", "fuser", "csnet")


@dataclass(frozen=True)
class StageTimes:
    """Sums over the stages since the server started; ``clicks`` are the requests that csnet answered."""

    clicks: int
    queue_ns: int
    compute_ns: int

    @classmethod
    def of(cls, statistics: Mapping[str, ModelStatistics]) -> StageTimes:
        """From the statistics of the stages, by model name; a server need not have more than csnet."""
        rows = [statistics[stage] for stage in STAGES if stage in statistics]
        return cls(statistics["csnet"].requests, sum(r.queue_ns for r in rows), sum(r.compute_ns for r in rows))

    def since(self, before: StageTimes) -> StageTimes:
        """What was counted in between. Negative numbers: the server was started anew, or loaded the model again."""
        return StageTimes(
            self.clicks - before.clicks, self.queue_ns - before.queue_ns, self.compute_ns - before.compute_ns
        )

    def split_ms(self, request_ms: float) -> dict[str, float]:
        """``network_ms``, ``queue_ms`` and ``compute_ms`` of one request that took ``request_ms``."""
        queue_ms, compute_ms = 1e-6 * self.queue_ns, 1e-6 * self.compute_ns
        return {
            "network_ms": max(0.0, request_ms - queue_ms - compute_ms),
            "queue_ms": queue_ms,
            "compute_ms": compute_ms,
        }
