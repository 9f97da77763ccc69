"""Client, network, queue and compute add up to what the caller waited for."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mmms_client.transport import ModelStatistics
from mmms_eval.time_split import STAGES, split_times


class CountingTransport:
    """Answers after 20 ms, of which its counters say that each stage queued 1 ms and computed 3 ms."""

    def __init__(self) -> None:
        self.requests = 7  # of others, before

    def infer(self, *_: Any, **__: Any) -> dict[str, Any]:
        time.sleep(0.02)
        self.requests += 1
        return {}

    def statistics(self, model: str) -> ModelStatistics:
        assert model in STAGES
        return ModelStatistics(self.requests, 0, 0, self.requests * 1_000_000, self.requests * 3_000_000)

    def is_model_ready(self, model: str) -> bool:
        return model in STAGES

    def server_version(self) -> str:
        return "2"


class Served:
    def __init__(self) -> None:
        self.transport: Any = CountingTransport()


def test_parts_add_up_and_others_requests_before_are_not_ours() -> None:
    predictor = Served()
    inner = predictor.transport
    with split_times(predictor) as split:  # type: ignore[arg-type]
        for _ in range(4):
            predictor.transport.infer("csnet", {}, ())
        assert predictor.transport.server_version() == "2"
    assert predictor.transport is inner and split is not None
    assert split.queue_ms == pytest.approx(4 * 3 * 1) and split.compute_ms == pytest.approx(4 * 3 * 3)
    parts = split.per_click(total_ms=1000.0, clicks=4)
    assert sum(parts.values()) == pytest.approx(250.0)
    assert parts["queue"] == pytest.approx(3.0) and parts["compute"] == pytest.approx(9.0)
    assert parts["network"] >= 20.0 - 12.0


def test_the_inner_transport_comes_back_after_a_failure() -> None:
    predictor = Served()
    inner = predictor.transport
    with pytest.raises(RuntimeError), split_times(predictor):  # type: ignore[arg-type]
        raise RuntimeError
    assert predictor.transport is inner


def test_in_process_there_is_nothing_to_split() -> None:
    with split_times(object()) as split:  # type: ignore[arg-type]
        assert split is None
