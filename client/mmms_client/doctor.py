"""``mmms-client doctor``: is the server there, is it ours, does it compute, does its cache work. Each failure with
its fix.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mmms_client.clicks import Click
from mmms_client.contract import ModelContract
from mmms_client.endpoint import Endpoint
from mmms_client.errors import MMMSError, ServerUnreachableError
from mmms_client.triton import TritonTransport
from mmms_client.triton_predictor import ENSEMBLE, TritonPredictor, read_contract


@dataclass(frozen=True)
class Finding:
    """One line of the report. A warning does not fail the check."""

    subject: str
    is_ok: bool
    text: str
    is_warning: bool = False

    def __str__(self) -> str:
        mark = "ok  " if self.is_ok else ("warn" if self.is_warning else "FAIL")
        return f"{mark}  {self.subject}: {self.text}"


def run_doctor(url: str | Endpoint, deadline_s: float, say: Callable[[str], None] | None = None) -> int:
    """Print the findings; 0 when nothing failed, 1 otherwise."""
    import click

    failures = 0
    for finding in examine(url, deadline_s):
        (say or click.echo)(str(finding))
        failures += not finding.is_ok and not finding.is_warning
    return 1 if failures else 0


def examine(url: str | Endpoint, deadline_s: float) -> Iterator[Finding]:
    """The findings, in the order in which one depends on the other; stops where the next makes no sense."""
    transport = TritonTransport(url)
    try:
        if not transport.is_ready():
            yield Finding(
                "server",
                False,
                f"{url} answers but is not ready; wait, or look at its log for a model that failed",
            )
            return
        yield Finding("server", True, f"Triton {transport.server_version()} at {url}")
        contract = read_contract(transport)
        yield Finding(
            "contract",
            True,
            f"version {contract.version}, preset {contract.preset}, checkpoint {contract.checkpoint} "
            f"({contract.checkpoint_sha256[:12]}), {contract.resolution} px, {contract.engine} {contract.precision}, "
            f"modalities: {', '.join(contract.modality_names) or 'none'}",
        )
        for model in contract.models():
            is_ready = transport.is_model_ready(model)
            yield Finding(f"model {model}", is_ready, "ready" if is_ready else "not ready; look at the server's log")
        yield from _examine_click(transport, contract, deadline_s)
    except ServerUnreachableError as error:
        yield Finding("server", False, str(error))
    except MMMSError as error:
        yield Finding("server", False, str(error))
    finally:
        transport.close()


def _examine_click(transport: TritonTransport, contract: ModelContract, deadline_s: float) -> Iterator[Finding]:
    """A real image, two real clicks: bytes come back, they depend on the click, and the second comes from the cache."""
    predictor = TritonPredictor(transport, ENSEMBLE, deadline_s)
    side = contract.resolution
    rng = np.random.default_rng(time.time_ns())  # an image that no cache has seen
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    modalities = {m.name: rng.random((side, side, m.channels), np.float32) + m.minimum for m in contract.modalities}
    began = time.perf_counter()
    encoded = predictor.encode(image, modalities)
    first_ms = 1e3 * (time.perf_counter() - began)
    before = transport.statistics("backbone_fuser", encoded.image_key)
    yield Finding("output", True, f"mask has bytes; first request (encode and click) took {first_ms:.0f} ms")
    began = time.perf_counter()
    one = predictor.predict(encoded, [Click(side / 2, side / 2)])
    second_ms = 1e3 * (time.perf_counter() - began)
    other = predictor.predict(encoded, [Click(side / 4, side / 4)])
    yield Finding(
        "click",
        bool((one != other).any()),
        "the answer depends on the click"
        if (one != other).any()
        else "two clicks give the same mask; export the checkpoint again",
    )
    after = transport.statistics("backbone_fuser", encoded.image_key)
    is_hit = after.cache_hits > before.cache_hits
    size_mb = contract.features.size_bytes / 1e6
    if is_hit:
        text = f"the second click hit it ({second_ms:.0f} ms); an image takes {size_mb:.1f} MB"
        yield Finding("cache", True, text)
        return
    lookups = after.cache_misses > before.cache_misses
    if lookups:
        text = (
            f"on, but the second click missed it: an entry of {size_mb:.1f} MB does not fit; raise --cache-config "
            "local,size=BYTES"
        )
    else:
        text = (
            f"off, so every click encodes the image again ({second_ms:.0f} ms); start the server with --cache-config "
            f"local,size={128 * contract.features.size_bytes}"
        )
    yield Finding("cache", False, text, is_warning=not lookups)
