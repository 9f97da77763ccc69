"""The served click model behind the :class:`mmms_client.predictor.Predictor` protocol.

Features can reach the click model in three ways, because they are megabytes and a click is a few bytes:

- ``ensemble``: every request carries the image and the clicks; the server's response cache holds the features after
the first.
  Nothing is kept on either side but the cache. The default.
- ``shared-memory``: features stay in memory that client and server share. Same host only, where the server allows it.
- ``plain``: the client keeps the features and sends them with every click. Works everywhere, slowest.

``auto`` takes ``ensemble`` when the server's cache really answers, which is proved on the first image; otherwise
``shared-memory``, otherwise ``plain``, and says so.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mmms_client.clicks import Click
from mmms_client.contract import CONTRACT_VERSION, ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.errors import (
    ContractError,
    DeadlineError,
    ModelNotReadyError,
    ModelReplacedError,
    RegionLostError,
    SessionFormatError,
    UsageError,
)
from mmms_client.foreign_features import FeatureSource, check_features_option, is_foreign, open_feature_source
from mmms_client.geometry import Frame, Region
from mmms_client.json_place import shown
from mmms_client.predictor import Encoded, Modalities, click_inputs, image_key, network_inputs, to_probabilities
from mmms_client.server_answers import checked, parameters_of, ports_of
from mmms_client.transport import InRegion, SharedRegion, Transport, served_version
from mmms_client.triton import AsyncTritonTransport, TritonTransport
from mmms_client.waiting import PATIENCE_S, WAITED_FOR, patiently

ENSEMBLE, SHARED_MEMORY, PLAIN, AUTO = "ensemble", "shared-memory", "plain", "auto"
FEATURE_PATHS = (AUTO, ENSEMBLE, SHARED_MEMORY, PLAIN)
_T = TypeVar("_T")
_log = logging.getLogger("mmms_client")


@dataclass(frozen=True)
class Payload:
    """What an encoded image is on this side of the wire: one of the three."""

    path: str
    version: str  # of the model that it was made for
    prepared: Any = None  # serialised image and modalities, or serialised features
    place: InRegion | None = None


def read_contract(transport: Transport) -> ModelContract:
    """The contract of the served ``mmms`` model; of ``csnet``, if the server holds only a part of the stages.

    Raises:
        ModelNotReadyError: the server has no such model, or it did not load.
        ContractError: the model is not ours, or speaks another version.
    """
    if not transport.is_model_ready("mmms"):
        if transport.is_model_ready("csnet"):
            configuration = transport.configuration("csnet")
            if "contract_version" in configuration.get("parameters", {}):
                return parse_contract(configuration, transport.url, "csnet")
        raise ModelNotReadyError(
            f"Expected model 'mmms' to be ready at {transport.url} but it is not; look at the server's log, and that "
            "it was started with the model repository that `make export` wrote."
        )
    return parse_contract(transport.configuration("mmms"), transport.url)


def parse_contract(configuration: Mapping[str, Any], url: str, model: str = "mmms") -> ModelContract:
    """The contract in a model configuration; see :func:`read_contract`."""
    parameters = parameters_of(configuration)
    version = parameters.get("contract_version")
    if version != str(CONTRACT_VERSION):
        found = f"version {shown(version)}" if version else "a model without one"
        raise ContractError(
            f"Expected contract version {CONTRACT_VERSION} at {url} but got {found}; export the checkpoint again with "
            "this version, or install the client that fits the server."
        )
    try:
        contract = ModelContract.from_parameters(parameters)
        wanted = str(contract.model_version)
    except (KeyError, ValueError, SessionFormatError) as error:
        raise ContractError(
            f"Expected the parameters of model 'mmms' at {url} to describe it but {error} is missing or broken; "
            "export it again."
        ) from error
    if served_version(configuration) != wanted:
        raise ContractError(
            f"Expected version {wanted} of model {model!r} at {url}, the number of its checkpoint, but the server has "
            f"{served_version(configuration) or 'any'}; its configuration was edited by hand: export it again."
        )
    served = ports_of(configuration, "input")
    expected = {t.name: (t.dtype, t.shape) for t in contract.models()[model].inputs}
    if served != expected:
        odd = sorted(name for name in {*served, *expected} if served.get(name) != expected.get(name))[0]
        raise ContractError(
            f"Expected input {shown(odd)} of model {model!r} at {url} to be {expected.get(odd)} but the server has "
            f"{shown(served.get(odd))}; its configuration was edited by hand: export it again."
        )
    return contract


def check_not_replaced(contract: ModelContract, now: ModelContract, url: str) -> None:
    """Raise :class:`ModelReplacedError` if ``now`` is another model than the one that work began with."""
    if not contract.is_same_model(now):
        raise ModelReplacedError(
            f"Expected the checkpoint {contract.checkpoint_sha256} ({contract.resolution} px) at {url} to go on but "
            f"{now.checkpoint_sha256} ({now.resolution} px) is served there now; start the server with the old one, or "
            "begin anew with the new one."
        )


class TritonPredictor:
    """A click model on a Triton server. Thread-safe. Use it as a context manager, or call :meth:`close`.

    A request that meets a server that is gone, starting or busy waits for it, ``patience_s`` at most, and is sent
    again; the answer is the same. A server that comes back with another checkpoint is refused: each request names the
    one that it wants.
    """

    def __init__(
        self,
        transport: Transport,
        features: str = AUTO,
        deadline_s: float = 30.0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        check_features_option(features, FEATURE_PATHS)
        self.transport = transport
        self.deadline_s = deadline_s
        self.patience_s = patience_s
        self._contract = read_contract(transport)
        self._source: FeatureSource | None = None
        if is_foreign(features):
            self._source = open_feature_source(features, transport, self._contract, deadline_s)
        else:
            check_is_whole(transport)
        self._version = str(self._contract.model_version)
        self._path = None if features == AUTO else features
        self._reason = "" if features == AUTO else "as asked"
        self._lock = threading.Lock()
        self._regions: weakref.WeakSet[Any] = weakref.WeakSet()

    @classmethod
    def connect(
        cls, url: str | Endpoint, features: str = AUTO, deadline_s: float = 30.0, patience_s: float = PATIENCE_S
    ) -> TritonPredictor:
        """Connect and read the contract.

        Args:
            url: ``host:port`` of the server's gRPC port, or an :class:`mmms_client.endpoint.Endpoint` for TLS and a
                token.
            features: ``auto``, ``ensemble``, ``shared-memory`` or ``plain``; see the module's text. Or
                ``provider=HOST:PORT`` or ``bundle=FOLDER``; see :mod:`mmms_client.foreign_features`.
            deadline_s: longest wait for one answer, in seconds.
            patience_s: longest wait, in seconds, of a later request for a server that is gone, starting or busy. This
                first connection does not wait.

        Raises:
            ServerUnreachableError, ModelNotReadyError, ContractError, DeadlineError: as they say.
            UsageError: no such feature path.
        """
        transport = TritonTransport(url)
        try:
            return cls(transport, features, deadline_s, patience_s)
        except BaseException:
            transport.close()
            raise

    @property
    def contract(self) -> ModelContract:
        return self._contract

    @property
    def description(self) -> str:
        """Which feature path is in use and why, for people."""
        if self._source is not None:
            return self._source.description
        if self._path is None:
            return "features: not chosen before the first image"
        return f"features: {self._path} ({self._reason})"

    def encode(
        self, image: NDArray[np.uint8], modalities: Modalities | None = None, region: Region | None = None
    ) -> Encoded:
        """See :meth:`mmms_client.predictor.Predictor.encode`. Fills the server's cache, or fetches the features."""
        frame, present, tensors = network_inputs(self._contract, image, modalities, region)
        if self._source is not None:
            source = self._source
            return self._patiently(
                lambda: encoded_elsewhere(source, self.transport, frame, present, tensors, self._version)
            )
        prepared, key = self.transport.prepare(tensors), image_key(tensors)
        path = self._choose(frame, prepared, key)
        if path == ENSEMBLE:
            self._patiently(lambda: self._fill_cache(frame, prepared, key))
            return Encoded(frame, present, Payload(ENSEMBLE, self._version, prepared), key)
        if path == SHARED_MEMORY:
            payload = self._encode_shared(prepared)
        else:
            answer = self._infer("backbone_fuser", {}, ("features",), prepared=prepared, image_key=key)
            checked(answer["features"], self._contract.features, "backbone_fuser", self.transport.url)
            payload = Payload(PLAIN, self._version, self.transport.prepare(answer))
        return Encoded(frame, present, payload, key)

    def predict(
        self, encoded: Encoded, clicks: Sequence[Click], previous_mask: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """See :meth:`mmms_client.predictor.Predictor.predict`."""
        payload: Payload = encoded.payload
        model = "mmms" if payload.path == ENSEMBLE else "csnet"
        tensors = click_inputs(self._contract, encoded.frame, clicks, previous_mask)
        places = {"features": payload.place} if payload.place else None
        answer = self._infer(
            model, tensors, ("mask",), prepared=payload.prepared, in_regions=places, image_key=encoded.image_key
        )
        return to_probabilities(checked(answer["mask"], self._contract.mask, model, self.transport.url))

    def fused_features(self, present: tuple[str, ...], tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.float16]:
        """The features float16 [1, F] of what :func:`mmms_client.predictor.network_inputs` made: to keep them."""
        if self._source is not None:
            source = self._source
            return self._patiently(lambda: source.features(present, tensors)[1])
        features = self._infer("backbone_fuser", tensors, ("features",))["features"]
        return checked(features, self._contract.features, "backbone_fuser", self.transport.url)

    def close(self) -> None:
        """Free shared memory and the connection."""
        if self._source is not None:
            self._source.close()
        for region in list(self._regions):
            region.close()
        self.transport.close()

    def __enter__(self) -> TritonPredictor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------------------
    def _infer(
        self, model: str, tensors: Mapping[str, NDArray[Any]], outputs: Sequence[str], **rest: Any
    ) -> dict[str, NDArray[Any]]:
        def ask() -> dict[str, NDArray[Any]]:
            try:
                return self._ask(model, tensors, outputs, rest)
            except RegionLostError:
                for region in list(self._regions):
                    region.register()
                return self._ask(model, tensors, outputs, rest)

        return self._patiently(ask)

    def _ask(
        self, model: str, tensors: Mapping[str, NDArray[Any]], outputs: Sequence[str], rest: Mapping[str, Any]
    ) -> dict[str, NDArray[Any]]:
        return self.transport.infer(model, tensors, outputs, timeout_s=self.deadline_s, version=self._version, **rest)

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        return patiently(ask, self.patience_s, self._look)

    def _look(self) -> None:
        """Before a request is sent again: raise if another model is there now."""
        with contextlib.suppress(*WAITED_FOR, DeadlineError):
            check_not_replaced(self._contract, read_contract(self.transport), self.transport.url)

    def _fill_cache(self, frame: Frame, prepared: Any, key: str) -> None:
        """The click ensemble with nothing but padding: fills the cache and returns only a mask. Has no patience."""
        tensors = click_inputs(self._contract, frame, [], None)
        self._ask("mmms", tensors, ("mask",), {"prepared": prepared, "image_key": key})

    def _choose(self, frame: Frame, prepared: Any, key: str) -> str:
        with self._lock:
            if self._path is None:
                self._path, self._reason = self._probe(frame, prepared, key)
                _log.info(self.description)
            return self._path

    def _probe(self, frame: Frame, prepared: Any, key: str) -> tuple[str, str]:
        """Ask for the same image twice: only a cache that really answers counts a hit."""
        if self._patiently(lambda: self._hits(frame, prepared, key)):
            return ENSEMBLE, "the server's response cache answers"
        region = self._patiently(self._region)
        path = PLAIN
        if region is not None:
            region.close()
            path = SHARED_MEMORY
        _log.warning(
            "the server at %s has no working response cache, so every click of the `mmms` model would encode the "
            "image again; "
            "using %s instead. Start it with --cache-config local,size=BYTES, or run `mmms-client doctor`.",
            self.transport.url,
            path,
        )
        return path, "the server's response cache does not answer"

    def _hits(self, frame: Frame, prepared: Any, key: str) -> bool:
        """To be asked whole again after a fault: cache and counter of a server that comes back meanwhile are empty."""
        before = self.transport.statistics("backbone_fuser", key).cache_hits
        self._fill_cache(frame, prepared, key)
        self._fill_cache(frame, prepared, key)
        return self.transport.statistics("backbone_fuser", key).cache_hits > before

    def _region(self) -> SharedRegion | None:
        region = self.transport.shared_region(self._contract.features.size_bytes)
        if region is None and not self.transport.is_ready():  # raises if nobody is there
            raise ModelNotReadyError(f"Expected the server at {self.transport.url} to be ready but it is not; wait.")
        return region

    def _encode_shared(self, prepared: Any) -> Payload:
        spec = self._contract.features
        region = self._patiently(self._region)
        if region is None:
            raise UsageError(
                f"Expected the server at {self.transport.url} to take shared memory but it does not; it must run on "
                "this host, and newer servers need --allow-client-shm=true. Otherwise take --features ensemble or "
                "plain."
            )
        self._regions.add(region)
        place = InRegion(region, spec.dtype, (1, *spec.shape))
        self._infer("backbone_fuser", {}, ("features",), prepared=prepared, out_regions={"features": place})
        payload = Payload(SHARED_MEMORY, self._version, None, place)
        weakref.finalize(payload, region.close)
        return payload


def encoded_elsewhere(
    source: FeatureSource,
    transport: Transport | AsyncTritonTransport,
    frame: Frame,
    present: tuple[str, ...],
    tensors: Mapping[str, NDArray[Any]],
    version: str,
) -> Encoded:
    """An image whose features another server, or a file, gives; they travel with every click."""
    present, features = source.features(present, tensors)
    return Encoded(frame, present, Payload(PLAIN, version, transport.prepare({"features": features})))


def check_is_whole(transport: Transport) -> None:
    """Raise :class:`ModelNotReadyError` where features have to come from elsewhere, and nobody said from where."""
    if not transport.is_model_ready("mmms"):
        raise ModelNotReadyError(
            f"Expected model 'mmms' at {transport.url} but it holds only a part of the stages; say where features come "
            "from with --features provider=HOST:PORT or --features bundle=FOLDER."
        )
