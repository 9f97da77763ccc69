"""A server that lies, which no real Triton can be made to do: the client says so in one line, and is not misled.

``MMMS_FUZZ`` is the number of answers (``make fuzz`` takes 10,000).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import json_format
from tritonclient.grpc import service_pb2, service_pb2_grpc

from mmms_client import AsyncTritonPredictor, Click, TritonPredictor
from mmms_client.contract import KNOWN_MODALITIES, ModelContract
from mmms_client.errors import ContractError, MMMSError, ServerError
from mmms_client.foreign_features import check_provider, open_feature_source
from mmms_client.triton import TritonTransport

COUNT = int(os.environ.get("MMMS_FUZZ", "150"))
SEED = int(os.environ.get("MMMS_FUZZ_SEED", "0"))
CONTRACT = ModelContract(
    "nano", "nano", "0" * 64, 32, (KNOWN_MODALITIES["depth"].spec,),
    ((4, 8, 8), (4, 4, 4), (4, 2, 2), (4, 2, 2)), ((2, 8, 8), (2, 4, 4), (2, 2, 2), (2, 1, 1)),
)  # fmt: skip
IMAGE = np.zeros((24, 32, 3), np.uint8)
TERMINAL = "\x1b[2J\x1b]0;owned\x07\nsecond line"


def configuration(contract: ModelContract, model: str) -> dict[str, Any]:
    def ports(specs: Any) -> list[dict[str, Any]]:
        return [{"name": t.name, "data_type": f"TYPE_{t.dtype}", "dims": list(t.shape)} for t in specs]

    spec = contract.models()[model]
    parameters = {key: {"string_value": value} for key, value in contract.to_parameters().items()}
    sides = {"input": ports(spec.inputs), "output": ports(spec.outputs)}
    versions = {"specific": {"versions": [contract.model_version]}}
    return {"name": model, **sides, "parameters": parameters, "version_policy": versions}


class Liar(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Ready for everything; says and answers what a test lets it."""

    def __init__(self) -> None:
        self.configurations = {name: configuration(CONTRACT, name) for name in CONTRACT.models()}
        self.outputs: dict[str, tuple[list[int], str, bytes]] = {}
        self.refusal = ""
        self.ends = 0  # requests that it cancels, as a server does that is being stopped
        self.tokens: set[str | bytes | None] = set()

    def ServerReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> Any:
        self.tokens.add(dict(context.invocation_metadata()).get("authorization"))
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelConfig(self, request: Any, context: Any) -> Any:
        answer = service_pb2.ModelConfigResponse()
        json_format.ParseDict(self.configurations[request.name], answer.config)
        return answer

    def ModelStatistics(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelStatisticsResponse()

    def ModelInfer(self, request: Any, context: Any) -> Any:
        if self.ends:
            self.ends -= 1
            context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        if self.refusal:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, self.refusal)
        answer = service_pb2.ModelInferResponse(model_name=request.model_name)
        for name, (shape, kind, data) in self.outputs.items():
            answer.outputs.add(name=name, datatype=kind, shape=shape)
            answer.raw_output_contents.append(data)
        return answer


@pytest.fixture
def liar() -> Iterator[tuple[Liar, str]]:
    servicer = Liar()
    server = grpc.server(ThreadPoolExecutor(2))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(None).wait()


def modality(**odd: Any) -> str:
    return json.dumps([{**dataclasses.asdict(CONTRACT.modalities[0]), **odd}])


def one_line(error: BaseException) -> str:
    text = str(error)
    assert text.isprintable() and len(text) < 1500
    return text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("resolution", "1000000"), ("resolution", "-32"), ("resolution", "9" * 5000), ("max_clicks", "1000000000"),
        ("modalities", "[" * 100000), ("modalities", "[{}]"), ("modalities", '[{"name": 5}]'), ("modalities", "{}"),
        ("modalities", modality(channels=1e9)), ("modalities", modality(minimum=0)),
        ("modalities", modality(scaling="x")),
        ("modalities", modality(minimum=float("nan"))),
        ("modalities", modality(name=TERMINAL)),
        ("pyramid_shapes", "[[1000000, 1000000, 1000000]]"), ("backbone_shapes", "null"), ("preset", TERMINAL),
        ("checkpoint", "x" * 100000), ("checkpoint_sha256", TERMINAL), ("contract_version", TERMINAL),
    ],
)  # fmt: skip
def test_a_contract_that_no_network_has_is_refused(liar, name, value) -> None:
    servicer, url = liar
    servicer.configurations["mmms"]["parameters"][name] = {"string_value": value}
    with pytest.raises(ContractError) as caught:
        TritonPredictor.connect(url)
    one_line(caught.value)


def test_a_provider_of_features_does_not_get_the_token_of_our_server(liar, monkeypatch) -> None:
    servicer, url = liar
    monkeypatch.setenv("MMMS_TOKEN", "ours")
    own = TritonTransport(url)
    open_feature_source(f"provider={url}", own, CONTRACT, 5.0).close()
    assert servicer.tokens == {None, "Bearer ours"}  # the provider was asked for `backbone`, our server for `fuser`
    servicer.tokens.clear()
    monkeypatch.setenv("MMMS_PROVIDER_TOKEN", "theirs")
    open_feature_source(f"provider={url}", own, CONTRACT, 5.0).close()
    assert servicer.tokens == {"Bearer theirs", "Bearer ours"}
    own.close()


def test_a_request_that_an_ending_server_cancels_is_asked_again(liar) -> None:
    servicer, url = liar
    servicer.outputs = sound()
    with TritonPredictor.connect(url, features="plain", patience_s=5.0) as predictor:
        servicer.ends = 2
        assert predictor.predict(predictor.encode(IMAGE), [Click(5, 5)]).shape == (32, 32)
    assert servicer.ends == 0


def test_ports_without_names_and_shapes_are_refused(liar) -> None:
    servicer, url = liar
    servicer.configurations["mmms"]["input"] = [{}, {"name": TERMINAL}]
    with pytest.raises(ContractError, match="edited by hand") as caught:
        TritonPredictor.connect(url)
    one_line(caught.value)
    servicer.configurations["backbone"] = {"name": "backbone"}
    transport = TritonTransport(url)
    with pytest.raises(ContractError, match="Expected a backbone for 32 px"):
        check_provider(transport, CONTRACT.backbone_features, 32)
    transport.close()


def test_what_a_server_says_is_one_line_that_no_terminal_obeys(liar) -> None:
    servicer, url = liar
    servicer.refusal = TERMINAL + "y" * 5000
    with TritonPredictor.connect(url, "plain") as predictor, pytest.raises(ServerError) as caught:
        predictor.encode(IMAGE)
    assert "second line" in one_line(caught.value)


def sound() -> dict[str, tuple[list[int], str, bytes]]:
    return {s.name: ([1, *s.shape], s.dtype, bytes(s.size_bytes)) for s in (CONTRACT.mask, CONTRACT.features)}


def answers(draw: random.Random) -> dict[str, tuple[list[int], str, bytes]]:
    """Outputs of which a part is not what it has to be."""
    found = sound()
    for name in found:
        shape, kind, data = found[name]
        for _ in range(draw.choice((0, 1, 1, 2))):
            which = draw.randrange(6)
            if which == 0 and shape:
                shape = [*shape]
                shape[draw.randrange(len(shape))] = draw.choice((0, -1, 2, 2**31, 2**40, 2**62))
            elif which == 1:
                kind = draw.choice(("FP32", "UINT8", "BYTES", "BF16", "BOOL", "INT64", "", "what", TERMINAL))
            elif which == 2:
                data = draw.choice((b"", data[:-1], data * 2, b"\xff\xff\xff\xff", draw.randbytes(len(data))))
            elif which == 3:
                shape = draw.choice(([], [1], [0], shape[1:], [*shape, 1], shape[::-1]))
            elif which == 4:
                data = b"\x00\x7e" * (len(data) // 2)  # NaN as float16
            else:
                shape, data = [2, *shape[1:]], data * 2
        found[name] = (shape, kind, data)
    if draw.random() < 0.2:
        del found[draw.choice(list(found))]
    return found


@pytest.mark.timeout(0 if COUNT >= 300 else 300)
def test_answers_that_are_none_are_refused(liar, figures) -> None:
    servicer, url = liar
    draw, refused, taken = random.Random(SEED), 0, 0
    with TritonPredictor.connect(url, "ensemble") as cached, TritonPredictor.connect(url, "plain") as plain:
        servicer.outputs = sound()
        encoded = cached.encode(IMAGE)
        for _ in range(COUNT):
            servicer.outputs = answers(draw)
            for ask in (lambda: cached.predict(encoded, [Click(3, 3)]), lambda: plain.encode(IMAGE).image_key):
                try:
                    result = ask()
                    assert isinstance(result, str) or (result.shape, result.dtype) == ((32, 32), np.float32)
                    taken += 1
                except MMMSError as error:
                    one_line(error)
                    refused += 1
    assert refused and taken
    figures("hostile-answers", answers=COUNT, refused=refused, taken_as_sound=taken, crashes=0, seed=SEED)


def test_the_app_s_client_refuses_them_too(liar) -> None:
    servicer, url = liar

    async def scenario() -> None:
        async with await AsyncTritonPredictor.connect(url) as predictor:
            encoded = predictor.prepare(IMAGE)
            for shape, kind, data in (([1, 1, 32, 32], "FP32", bytes(4096)), ([1, 1, 16, 64], "UINT8", bytes(1024))):
                servicer.outputs = {"mask": (shape, kind, data)}
                with pytest.raises(ContractError, match="not the model that it says it is"):
                    await predictor.predict(encoded, [Click(3, 3)])

    asyncio.run(scenario())


def test_an_answer_without_end_is_not_received(liar) -> None:
    """A mask of 1 KiB for which 300 MB come: neither client takes memory for them, or tries again."""
    servicer, url = liar
    servicer.outputs = {"mask": ([1, 1, 32, 32], "UINT8", bytes(300_000_000))}
    too_large = r"answer of at most 256 MiB from .* but got a message that is too large .*; it is not the model"
    with TritonPredictor.connect(url, "plain") as predictor, pytest.raises(ContractError, match=too_large) as caught:
        predictor.predict(predictor.encode(IMAGE), [Click(3, 3)])
    one_line(caught.value)

    async def scenario() -> None:
        async with await AsyncTritonPredictor.connect(url) as predictor:
            with pytest.raises(ContractError, match=too_large):
                await predictor.predict(predictor.prepare(IMAGE), [Click(3, 3)])

    asyncio.run(scenario())
