"""The served click model for an event loop; see :mod:`mmms_client.triton_predictor`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.errors import (
    DeadlineError,
    ModelReplacedError,
    ServerBusyError,
    ServerUnreachableError,
)
from mmms_client.foreign_features import FeatureSource, check_features_option, is_foreign, open_feature_source
from mmms_client.geometry import Region
from mmms_client.predictor import Encoded, Modalities, click_inputs, image_key, network_inputs, to_probabilities
from mmms_client.server_answers import checked
from mmms_client.triton import AsyncTritonTransport, TritonTransport
from mmms_client.triton_predictor import (
    ENSEMBLE,
    PLAIN,
    Payload,
    check_is_whole,
    check_not_replaced,
    encoded_elsewhere,
    parse_contract,
    read_contract,
)
from mmms_client.waiting import PATIENCE_S, WAITED_FOR, Waits

# A server that was told to stop denies its models for seconds before its port closes and a proxy takes another one.
# They were there when the contract was read.
_LEAVING_S = 12.0


class AsyncTritonPredictor:
    """The same for an event loop: many sessions at once, by the cached ensemble or with features from elsewhere.

    Cancelling a task cancels its request. ``patience_s`` as for :class:`TritonPredictor`; who looks itself for a server
    that is gone gives 0, and is told of that at once. One that is leaving, starting or busy is waited for anyway.
    """

    def __init__(
        self,
        transport: AsyncTritonTransport,
        contract: ModelContract,
        deadline_s: float,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.transport = transport
        self.patience_s = patience_s
        self._version = str(contract.model_version)
        self._source: FeatureSource | None = None  # nobody but the server itself
        self._blocking: TritonTransport | None = None  # what a source asks
        self.deadline_s = deadline_s
        self._contract = contract

    @classmethod
    async def connect(
        cls,
        url: str | Endpoint,
        deadline_s: float = 30.0,
        features: str = ENSEMBLE,
        patience_s: float = PATIENCE_S,
    ) -> AsyncTritonPredictor:
        """Connect and read the contract; errors as in :meth:`TritonPredictor.connect`. Needs a running event loop.

        ``features`` is ``ensemble``, ``provider=HOST:PORT`` or ``bundle=FOLDER``.
        """

        def look() -> ModelContract:
            transport = TritonTransport(url)
            try:
                contract = read_contract(transport)
                if not is_foreign(features):
                    check_is_whole(transport)
                return contract
            finally:
                transport.close()

        check_features_option(features, (ENSEMBLE,))
        contract = await asyncio.to_thread(look)
        transport = AsyncTritonTransport(url)
        try:
            return await cls.over(transport, contract, deadline_s, features, patience_s)
        except BaseException:
            await transport.close()
            raise

    @classmethod
    async def over(
        cls,
        transport: AsyncTritonTransport,
        contract: ModelContract,
        deadline_s: float,
        features: str = ENSEMBLE,
        patience_s: float = PATIENCE_S,
    ) -> AsyncTritonPredictor:
        """Over an open connection to a server whose contract is known; errors and ``features`` as in :meth:`connect`.

        The predictor closes ``transport``; who gets an error still has to.
        """
        predictor = cls(transport, contract, deadline_s, patience_s)
        if not is_foreign(features):
            return predictor
        blocking = TritonTransport(transport.endpoint)
        try:
            predictor._source = await asyncio.to_thread(open_feature_source, features, blocking, contract, deadline_s)
        except BaseException:
            blocking.close()
            raise
        predictor._blocking = blocking
        return predictor

    @property
    def description(self) -> str:
        """Where features come from, for people."""
        return self._source.description if self._source is not None else f"features: {ENSEMBLE}"

    @property
    def contract(self) -> ModelContract:
        return self._contract

    async def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        """See :meth:`TritonPredictor.encode`."""
        if self._source is None:
            encoded = self.prepare(image, modalities, region)
        else:  # somebody else's server is asked, or a file is read
            encoded = await asyncio.to_thread(self.prepare, image, modalities, region)
        await self.fill_cache(encoded)
        return encoded

    def prepare(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        """What :meth:`encode` does on this side of the wire; the first click then pays for the rest. Thread-safe."""
        frame, present, tensors = network_inputs(self._contract, image, modalities, region)
        if self._source is not None:
            return encoded_elsewhere(self._source, self.transport, frame, present, tensors, self._version)
        payload = Payload(ENSEMBLE, self._version, self.transport.prepare(tensors))
        return Encoded(frame, present, payload, image_key(tensors))

    async def fill_cache(self, encoded: Encoded) -> None:
        """Let the server do what does not depend on clicks, so that its cache has it."""
        if encoded.payload.path == ENSEMBLE:
            await self.predict(encoded, [])

    async def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """See :meth:`TritonPredictor.predict`."""
        payload: Payload = encoded.payload
        if payload.version != self._version:
            raise ModelReplacedError(
                f"Expected an image encoded for the checkpoint {self._contract.checkpoint_sha256} at "
                f"{self.transport.url} but got one for another model (version {payload.version}); encode it again."
            )
        tensors = click_inputs(self._contract, encoded.frame, clicks, previous_mask)
        model = "csnet" if payload.path == PLAIN else "mmms"
        waits = Waits(max(self.patience_s, _LEAVING_S))
        while True:
            try:
                answer = await self.transport.infer(
                    model, tensors, ("mask",), payload.prepared, self.deadline_s, encoded.image_key, self._version
                )
                return to_probabilities(checked(answer["mask"], self._contract.mask, model, self.transport.url))
            except WAITED_FOR as error:
                is_gone = isinstance(error, ServerUnreachableError)
                wait_s = waits.next_s()
                if wait_s is None or (is_gone and not self.patience_s):
                    raise
                await asyncio.sleep(wait_s)
                if not isinstance(error, ServerBusyError):
                    await self._look(model)

    async def _look(self, model: str) -> None:
        """Before a request is sent again: raise if another model is there now."""
        url = self.transport.url
        with contextlib.suppress(*WAITED_FOR, DeadlineError):
            now = parse_contract(await self.transport.configuration(model), url, model)
            check_not_replaced(self._contract, now, url)

    async def close(self) -> None:
        if self._source is not None:
            self._source.close()
        if self._blocking is not None:
            self._blocking.close()
        await self.transport.close()

    async def __aenter__(self) -> AsyncTritonPredictor:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
