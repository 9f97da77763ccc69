"""One Triton server with people who click, as discrete events: the parts that share its cores, and nothing else.

A click is two pieces of work. The first (gRPC, hashing and copying on one core, several clicks at once) is everything
that is not the engine; the second is the click stage, one batch at a time with all cores, and every click of a batch is
answered when the batch is. An encode is one at a time, with all cores, and at the scheduler's nice level 10 gets little
of them while anything else runs. What runs together shares the cores by weight, as Linux does it.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MAX_BATCH = 8  # max_batch_size of csnet
NICE_10_WEIGHT = 110 / 1024  # of the Linux scheduler, against nice 0


@dataclass(frozen=True)
class Service:
    """What one request needs when it is alone, in seconds."""

    cores: int
    encode_s: float
    click_s: float  # all of a click, as its caller sees it
    click_engine_s: float  # the part of it that the click stage computes

    @property
    def around_s(self) -> float:
        """A click without its engine: on one core."""
        return self.click_s - self.click_engine_s

    @property
    def clicks_per_s(self) -> float:
        """What the cores can do at most."""
        return self.cores / (self.around_s + self.cores * self.click_engine_s)


@dataclass
class _Work:
    left: float  # core-seconds
    threads: int
    weight: float  # of each thread
    done: Callable[[], None]
    rate: float = 0.0


class Machine:
    """Cores, a clock, and what runs on them."""

    def __init__(self, service: Service) -> None:
        self.service, self.now_s = service, 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._running: list[_Work] = []
        self._clicks: deque[Callable[[], None]] = deque()
        self._encodes: deque[Callable[[], None]] = deque()
        self._is_clicking = self._is_encoding = False

    def at(self, when_s: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_s, next(self._order), what))

    def click(self, answered: Callable[[], None]) -> None:
        """A click on an image whose features are in the cache."""

        def enter() -> None:
            self._clicks.append(answered)
            self._next_batch()

        self._start(self.service.around_s, 1, 1.0, enter)

    def encode(self, answered: Callable[[], None]) -> None:
        self._encodes.append(answered)
        self._next_encode()

    def run(self, until_s: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let time pass."""
        while not is_over():
            next_s = self._events[0][0] if self._events else float("inf")
            self._share()
            ends_s = min((self.now_s + w.left / w.rate for w in self._running), default=float("inf"))
            then_s = min(next_s, ends_s)
            if then_s > until_s:
                return
            for work in self._running:
                work.left -= work.rate * (then_s - self.now_s)
            self.now_s = then_s
            if ends_s <= next_s:
                finished = [w for w in self._running if w.left <= 1e-12]
                self._running = [w for w in self._running if w.left > 1e-12]
                for work in finished:
                    work.done()
            else:
                heapq.heappop(self._events)[2]()

    def _start(self, left: float, threads: int, weight: float, done: Callable[[], None]) -> None:
        self._running.append(_Work(max(left, 1e-9), threads, weight, done))

    def _next_batch(self) -> None:
        if self._is_clicking or not self._clicks:
            return
        self._is_clicking = True
        batch = [self._clicks.popleft() for _ in range(min(MAX_BATCH, len(self._clicks)))]

        def done() -> None:
            self._is_clicking = False
            for answered in batch:
                answered()
            self._next_batch()

        cores = self.service.cores
        self._start(len(batch) * self.service.click_engine_s * cores, cores, 1.0, done)

    def _next_encode(self) -> None:
        if self._is_encoding or not self._encodes:
            return
        self._is_encoding = True
        answered = self._encodes.popleft()

        def done() -> None:
            self._is_encoding = False
            answered()
            self._next_encode()

        cores = self.service.cores
        self._start(self.service.encode_s * cores, cores, NICE_10_WEIGHT, done)

    def _share(self) -> None:
        """Rates in cores: by weight, nobody more than its threads, nothing left idle that somebody could use."""
        free, open_ = float(self.service.cores), list(self._running)
        while open_:
            unit = free / sum(w.threads * w.weight for w in open_)
            full = [w for w in open_ if unit * w.weight >= 1.0]
            if not full:
                for work in open_:
                    work.rate = unit * work.weight * work.threads
                return
            for work in full:
                work.rate = float(work.threads)
                free -= work.threads
            open_ = [w for w in open_ if unit * w.weight < 1.0]
            if free <= 1e-12:
                for work in open_:
                    work.rate = 1e-9
                return


@dataclass(frozen=True)
class Person:
    """How somebody works."""

    clicks_per_image: int
    think_s: float  # median between an answer and the next click
    think_sigma: float  # of its logarithm


def click_without_pause(service: Service, people: int, clicks: int) -> tuple[list[float], float]:
    """``people`` who click ``clicks`` times each as fast as answers come, like ``mmms-perf --sessions``.

    Returns the seconds of each click, and clicks per second.
    """
    machine, spent_s = Machine(service), []

    def person(left: int) -> None:
        began_s = machine.now_s

        def answered() -> None:
            spent_s.append(machine.now_s - began_s)
            if left > 1:
                person(left - 1)

        machine.click(answered)

    for _ in range(people):
        person(clicks)
    machine.run(float("inf"), lambda: len(spent_s) == people * clicks)
    return spent_s, len(spent_s) / machine.now_s


def work_day(service: Service, people: int, person: Person, minutes: float, seed: int = 0) -> list[float]:
    """People who look, think and click, on image after image; each next image is encoded ahead.

    Returns the seconds of each click, without those of the first fifth.
    """
    machine, rng, spent_s = Machine(service), np.random.default_rng(seed), []
    end_s, warm_s = 60.0 * minutes, 12.0 * minutes

    def think(then: Callable[[], None]) -> None:
        machine.at(machine.now_s + person.think_s * float(np.exp(rng.normal(0.0, person.think_sigma))), then)

    def click(left: int) -> None:
        began_s = machine.now_s

        def answered() -> None:
            if began_s > warm_s:
                spent_s.append(machine.now_s - began_s)
            if left > 1:
                think(lambda: click(left - 1))
            else:
                new_image(person.clicks_per_image)

        machine.click(answered)

    def new_image(clicks: int) -> None:
        machine.encode(lambda: None)  # the one after this; this one was encoded while the last was worked on
        think(lambda: click(clicks))

    for _ in range(people):
        first = int(rng.integers(1, person.clicks_per_image + 1))
        machine.at(float(rng.uniform(0.0, person.think_s * 2)), lambda first=first: new_image(first))  # type: ignore[misc]
    machine.run(end_s)
    return spent_s
