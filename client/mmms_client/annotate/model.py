"""The connection to the server: kept alive, found again, and never to another model without a word.

Requests of people go first: an encode that runs ahead is cancelled when a click comes, and done later. Cancelling a
task here cancels its request on the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmms_client.annotate.metrics import CLICK, ENCODE, PREVIEW, Metrics
from mmms_client.async_triton_predictor import AsyncTritonPredictor
from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.errors import (
    ContractError,
    MMMSError,
    ModelNotReadyError,
    ModelReplacedError,
    ServerUnreachableError,
)
from mmms_client.foreign_features import is_foreign
from mmms_client.predictor import Encoded
from mmms_client.stage_times import StageTimes
from mmms_client.triton import AsyncTritonTransport
from mmms_client.triton_predictor import ENSEMBLE, parse_contract

READY, GONE, REPLACED = "ready", "gone", "replaced"
_HEARTBEAT_S = 3.0
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.25, 5.0
_PROBE_S = 3.0
_LATE_TRIES, _LATE_S = 4, 0.002
_T = TypeVar("_T")


@dataclass
class Timing:
    """Milliseconds of one or more requests; the server's part is missing where it cannot be told from others'."""

    request_ms: float = 0.0
    server: dict[str, float] = field(default_factory=dict)

    def entry(self, total_ms: float) -> dict[str, float]:
        rounded = {name: round(value, 3) for name, value in self.server.items()}
        return {**rounded, "request_ms": round(self.request_ms, 3), "total_ms": round(total_ms, 3)}


class ModelLink:
    """One server, as long as the app runs. All methods belong to the event loop."""

    def __init__(
        self,
        url: str | Endpoint,
        deadline_s: float,
        accepts: Callable[[ModelContract], bool],
        known: Callable[[], str],
        on_change: Callable[[], None],
        patience_s: float = 20.0,
        features: str = ENSEMBLE,
    ) -> None:
        """A link that is not connected yet; :meth:`run` does that.

        Args:
            url: ``host:port`` of the gRPC port, or an endpoint.
            deadline_s: longest wait for one answer.
            accepts: whether answers of a model may be mixed with those that the project has.
            known: names the models that may, for the message when another one answers.
            on_change: called after each change of :attr:`status`.
            patience_s: how long a click waits for a server that is gone.
            features: ``ensemble``, ``provider=HOST:PORT`` or ``bundle=FOLDER``.
        """
        self.endpoint = Endpoint.of(url)
        self.url, self.deadline_s, self.patience_s = str(self.endpoint), deadline_s, patience_s
        self._features = features
        self.status, self.text = GONE, f"connecting to {url}"
        self.metrics = Metrics()
        self.contract: ModelContract | None = None
        self.connections = 0  # grows with each: the server's cache may be empty then
        self._accepts, self.known, self._on_change = accepts, known, on_change
        self._predictor: AsyncTritonPredictor | None = None
        self._changed = asyncio.Event()
        self._is_suspect = asyncio.Event()
        self._counted: StageTimes | None = None
        self._counted_for = ""  # the image whose server was asked: another image may be on another one
        self._others = 0  # requests of ours since then that were not clicks
        self._urgent = 0  # requests of people under way
        self._idle = asyncio.Event()
        self._idle.set()
        self._ahead: set[asyncio.Future[Any]] = set()
        self._glance: asyncio.Future[NDArray[np.float32]] | None = None
        self._is_closing = False

    # The connection -----------------------------------------------------------------------------------
    async def run(self) -> None:
        """Connect, watch, connect again; until cancelled."""
        delay_s = _FIRST_DELAY_S
        try:
            while True:
                try:
                    await self._check()
                    delay_s = _FIRST_DELAY_S
                    wait_s = _HEARTBEAT_S
                except MMMSError as error:
                    await self._lose(str(error))
                    wait_s, delay_s = delay_s, min(_LONGEST_DELAY_S, 2 * delay_s)
                self._is_suspect.clear()
                await _first_of(self._is_suspect.wait(), wait_s)
        finally:
            await self._drop()

    async def _check(self) -> None:
        """Read the contract; over a new connection if there is none, or if another model answers now."""
        if self._predictor is not None:
            if await self._read_contract(self._predictor.transport) == self.contract:
                self.judge()
                return
            await self._drop()
        transport = AsyncTritonTransport(self.endpoint)
        try:
            contract = await self._read_contract(transport)
            predictor = await AsyncTritonPredictor.over(
                transport, contract, self.deadline_s, self._features, patience_s=0.0
            )
        except BaseException:
            await transport.close()
            raise
        self._predictor, self.contract, self._counted = predictor, contract, None
        self.connections += 1
        self.judge()

    async def _read_contract(self, transport: AsyncTritonTransport) -> ModelContract:
        """Of the ensemble; of ``csnet`` where features come from elsewhere and the server has no more."""
        model = "mmms"
        if not await transport.is_model_ready(model, _PROBE_S):
            if not (is_foreign(self._features) and await transport.is_model_ready("csnet", _PROBE_S)):
                raise ModelNotReadyError(f"Expected model 'mmms' to be ready at {self.url} but it is not; see its log.")
            model = "csnet"
        return parse_contract(await transport.configuration(model, _PROBE_S), self.url, model)

    def judge(self) -> None:
        """Decide again whether the connected model may answer."""
        if self._predictor is None or self.contract is None:
            return
        if self._accepts(self.contract):
            self._set(READY, f"{self.contract.preset} ({self.contract.checkpoint}) at {self.url}")
        else:
            self._set(REPLACED, f"another model answers at {self.url}: {self.contract.checkpoint_sha256[:12]}")

    async def _lose(self, text: str) -> None:
        await self._drop()
        self._set(GONE, text)

    async def _drop(self) -> None:
        predictor, self._predictor = self._predictor, None
        self._counted = None
        if predictor is not None:
            with contextlib.suppress(Exception):
                await predictor.close()

    def _set(self, status: str, text: str) -> None:
        is_new = (status, text) != (self.status, self.text)
        self.status, self.text = status, text
        self.metrics.is_connected = status == READY
        self._changed.set()
        if is_new:
            self._on_change()

    async def ready(self, patience_s: float | None = None) -> AsyncTritonPredictor:
        """The predictor, at once or when the server is back.

        Raises :class:`ServerUnreachableError` after ``patience_s``, and :class:`ContractError` for another model.
        """
        if self._is_closing:
            raise ServerUnreachableError("Expected the app to run on but it is being closed; start it again.")
        if self.status == GONE:
            await _first_of(self._answerable(), self.patience_s if patience_s is None else patience_s)
        if self.status == REPLACED and self.contract is not None:
            raise ContractError(
                f"Expected the model with which this project was annotated, sha256 {self.known()}, but got "
                f"{self.contract.checkpoint_sha256} at {self.url}; confirm the new one, or start the server with the "
                f"old one."
            )
        if self._predictor is None or self.status != READY:
            raise ServerUnreachableError(
                f"Expected a server at {self.url} but got none ({self.text}); the click was not taken: click again "
                f"when it is back."
            )
        return self._predictor

    async def _answerable(self) -> None:
        while self.status == GONE and not self._is_closing:
            self._changed.clear()
            await self._changed.wait()

    def close(self) -> None:
        """Nobody waits for the server any more."""
        self._is_closing = True
        self._changed.set()

    # Requests -----------------------------------------------------------------------------------------
    async def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous: NDArray[np.float32] | None, timing: Timing
    ) -> NDArray[np.float32]:
        """Answer a click, before everything that runs ahead. Waits for a server that is gone, then raises.

        Raises :class:`mmms_client.errors.ServerError`; :class:`ContractError` for a server that was replaced by one
        of another checkpoint, also while it answered.
        """
        with self._first(), self.metrics.counted(CLICK):
            until_s = time.monotonic() + self.patience_s
            while True:
                predictor = await self.ready(max(0.0, until_s - time.monotonic()))
                try:
                    return await self._timed(predictor, encoded, clicks, previous, timing)
                except (ServerUnreachableError, ModelNotReadyError):  # gone, or about to go
                    if time.monotonic() > until_s:
                        raise
                    await self._lose(f"the server at {self.url} went away")
                    self._is_suspect.set()
                except ModelReplacedError as error:
                    await self._check()
                    await self.ready(0.0)  # names both, unless the project knows the other one, too
                    raise ModelReplacedError(
                        f"Expected one model from click to answer but {self.url} changed to another one that this "
                        "project knows; the click was not taken: click again."
                    ) from error

    async def _timed(
        self,
        predictor: AsyncTritonPredictor,
        encoded: Encoded,
        clicks: Sequence[Click],
        previous: NDArray[np.float32] | None,
        timing: Timing,
    ) -> NDArray[np.float32]:
        before = self._counted
        if before is None or self._others or self._counted_for != encoded.image_key:
            before = await self._count(predictor, encoded.image_key)
        began_s = time.perf_counter()
        answer = await self._heard(predictor.predict(encoded, clicks, previous))
        request_ms = 1e3 * (time.perf_counter() - began_s)
        timing.request_ms += request_ms
        was_alone = not self._others
        passed = (await self._count(predictor, encoded.image_key)).since(before)
        for _ in range(_LATE_TRIES):
            if passed.clicks:
                break
            await asyncio.sleep(_LATE_S)  # the server counts a request a moment after it has answered it
            passed = (await self._count(predictor, encoded.image_key)).since(before)
        if passed.clicks < 1 or passed.compute_ns < 0:  # the counters began anew: who answered?
            await self._check()
            await self.ready(0.0)
        elif passed.clicks == 1 and was_alone:
            for name, value in passed.split_ms(request_ms).items():
                timing.server[name] = timing.server.get(name, 0.0) + value
        return answer

    async def _count(self, predictor: AsyncTritonPredictor, image_key: str) -> StageTimes:
        self._others = 0
        statistics = await self._heard(predictor.transport.all_statistics(_PROBE_S, image_key))
        self._counted, self._counted_for = StageTimes.of(statistics), image_key
        return self._counted

    async def _heard(self, request: Coroutine[Any, Any, _T]) -> _T:
        """Await a request. One that ends because its connection was closed is no cancellation of ours."""
        task = asyncio.ensure_future(request)
        try:
            await asyncio.wait([task])
        finally:
            task.cancel()
        if task.cancelled():
            raise ServerUnreachableError(f"Expected an answer from {self.url} but the connection was lost; try again.")
        return task.result()

    async def glance(
        self, encoded: Encoded, clicks: Sequence[Click], previous: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Answer clicks that nobody set yet: no waiting for a server that is gone.

        One at a time. Triton looks for cancellation between the steps of an ensemble only, so a glance that has
        reached the last step is computed whatever happens here; sending the next one before it is done would let
        them pile up in front of a click. Who is cancelled while waiting was never sent.
        """
        while self._glance is not None and not self._glance.done():
            await asyncio.wait([self._glance])
        predictor = await self.ready(0.0)
        self._glance = asyncio.ensure_future(self._look(predictor, encoded, clicks, previous))
        self._glance.add_done_callback(lambda done: done.cancelled() or done.exception())  # heard, if nobody waits
        return await asyncio.shield(self._glance)

    async def _look(
        self,
        predictor: AsyncTritonPredictor,
        encoded: Encoded,
        clicks: Sequence[Click],
        previous: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        with self._first():
            self._others += 1
            try:
                with self.metrics.counted(PREVIEW):
                    return await self._heard(predictor.predict(encoded, clicks, previous))
            except (ServerUnreachableError, ModelNotReadyError):
                self._is_suspect.set()
                raise
            finally:
                self._others += 1

    async def encode_ahead(self, encoded: Encoded, is_wanted: Callable[[], bool]) -> None:
        """Fill the server's cache when nobody waits for anything else; interrupted for clicks, then begun again.

        ``is_wanted`` is asked before each beginning: a click on the same image has done the work, too.
        """
        while True:
            await self._idle.wait()
            if not is_wanted():
                return
            predictor = await self.ready(0.0)
            self._others += 1
            request = asyncio.ensure_future(self._encode(predictor, encoded))
            self._ahead.add(request)
            try:
                await asyncio.wait([request])
            finally:
                request.cancel()
                self._ahead.discard(request)
                self._others += 1
            if not request.cancelled():
                error = request.exception()
                if isinstance(error, ServerUnreachableError | ModelNotReadyError):
                    self._is_suspect.set()
                if error is not None:
                    raise error
                return

    async def _encode(self, predictor: AsyncTritonPredictor, encoded: Encoded) -> None:
        with self.metrics.counted(ENCODE):
            await predictor.fill_cache(encoded)

    @contextlib.contextmanager
    def _first(self) -> Any:
        """What runs ahead stops, and waits until the last request of a person is answered."""
        self._urgent += 1
        self._idle.clear()
        for request in self._ahead:
            request.cancel()
        try:
            yield
        finally:
            self._urgent -= 1
            if not self._urgent:
                self._idle.set()


async def _first_of(work: Coroutine[Any, Any, Any], timeout_s: float) -> None:
    """Wait for some work, or until the time is over. Before Python 3.12 ``wait_for`` may swallow a cancellation."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=timeout_s)
    finally:
        task.cancel()
