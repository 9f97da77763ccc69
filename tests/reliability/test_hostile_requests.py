"""Requests made to harm the real server: each is answered or refused, and the next honest one is answered as before.

``MMMS_FUZZ`` is the number of requests (``make fuzz`` takes 10,000).
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from numpy.typing import NDArray
from PIL import Image
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from mmms_client import Click, TritonPredictor
from mmms_client.contract import ModelContract, ModelSpec
from mmms_client.geometry import Frame
from mmms_client.predictor import click_inputs
from mmms_server.process import ServerProcess

STREET = Path(__file__).resolve().parents[2] / "samples" / "street"
COUNT = int(os.environ.get("MMMS_FUZZ", "60"))
SEED = int(os.environ.get("MMMS_FUZZ_SEED", "0"))
HONEST_EVERY = 20
PATIENCE_S = 60.0
CLICKS = [Click(320, 430), Click(20, 200, False)]
ODD_FLOATS = (np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, -0.0, -1.0, 447.5, 448.0, 1e6)
ODD_LABELS = (-(2**31), -2, -1, 0, 1, 2, 7, 2**31 - 1)


def valid(spec: ModelSpec, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """A request of the model's shapes with values as a client sends them."""
    tensors: dict[str, NDArray[Any]] = {}
    for port in spec.inputs:
        shape = (1, *port.shape)
        if port.dtype == "UINT8":
            tensors[port.name] = rng.integers(0, 256, shape, dtype=np.uint8)
        elif port.name == "point_labels":
            tensors[port.name] = np.full(shape, -1, np.int32)
            tensors[port.name][:, :2] = 1
        else:
            tensors[port.name] = rng.random(shape).astype(port.numpy_dtype)
    return tensors


def with_odd_values(tensors: dict[str, NDArray[Any]], draw: random.Random) -> None:
    name = draw.choice([name for name, array in tensors.items() if array.dtype != np.uint8 and array.size] or [""])
    if not name:
        return
    array = tensors[name]
    flat = array.reshape(-1)
    odd = ODD_LABELS if array.dtype == np.int32 else ODD_FLOATS
    at = slice(None) if draw.random() < 0.3 else np.array([draw.randrange(flat.size) for _ in range(5)])
    with np.errstate(all="ignore"):
        flat[at] = np.array([draw.choice(odd)]).astype(array.dtype)


def with_odd_shape(tensors: dict[str, NDArray[Any]], draw: random.Random) -> None:
    name = draw.choice(list(tensors))
    array = tensors[name]
    kind = draw.choice(("batch", "zero", "flat", "more", "less", "dtype", "swap"))
    if kind == "batch":  # of everything: as many clicks at once as nobody has
        times = draw.choice((2, 8, 9, 64))
        for key, value in list(tensors.items()):
            if value.nbytes * times < 1 << 26:
                tensors[key] = np.repeat(value, times, 0)
    elif kind == "zero":
        tensors[name] = array[:0]
    elif kind == "flat":
        tensors[name] = array.reshape(-1)
    elif kind == "more":
        tensors[name] = np.concatenate((array, array), -1)
    elif kind == "less":
        tensors[name] = array[..., :-1]
    elif kind == "dtype":
        tensors[name] = array.astype(draw.choice((np.float64, np.int64, np.uint8, np.bool_, np.float16)))
    else:
        tensors[name] = np.swapaxes(array, 0, -1)


def hostile_request(contract: ModelContract, number: int) -> tuple[str, list[Any], list[Any] | None, dict[str, Any]]:
    """Model, inputs, outputs and options of one request."""
    draw, rng = random.Random(f"{SEED}/{number}"), np.random.default_rng((SEED, number))
    spec = draw.choice(list(contract.models().values()))
    tensors = valid(spec, rng)
    for _ in range(draw.randint(0, 2)):
        with np.errstate(all="ignore"):
            draw.choice((with_odd_values, with_odd_values, with_odd_shape))(tensors, draw)
    if draw.random() < 0.15:
        del tensors[draw.choice(list(tensors))]
    inputs = []
    for name, array in tensors.items():
        shape = list(array.shape)
        if draw.random() < 0.05:  # says another shape than its bytes have
            shape[draw.randrange(len(shape))] = draw.choice((0, 2, 2**31, 2**40, -1))
        tensor = grpcclient.InferInput(
            draw.choice((name,) * 60 + ("other", "")), shape, np_to_triton_dtype(array.dtype)
        )
        tensor._raw_content = np.ascontiguousarray(array).tobytes()
        if draw.random() < 0.04:
            tensor._raw_content = draw.choice((b"", tensor._raw_content[:-1], tensor._raw_content * 2, b"\xff" * 9))
        inputs.append(tensor)
    names = [port.name for port in spec.outputs]
    asked = draw.choice((None, draw.sample(names, draw.randint(0, len(names))), [*names, *names], ["none such"]))
    outputs = None if asked is None else [grpcclient.InferRequestedOutput(name) for name in asked]
    options: dict[str, Any] = {}
    if draw.random() < 0.2:
        options = draw.choice((
            {"priority": 7}, {"timeout": 1}, {"sequence_id": 5, "sequence_start": True}, {"model_version": "99"},
            {"model_version": "x"}, {"request_id": "x" * 5000}, {"parameters": {"a": "b" * 5000, "priority_": 2**31}},
        ))  # fmt: skip
    return spec.name, inputs, outputs, options


@pytest.fixture(scope="module")
def honest(nano_server: ServerProcess) -> Iterator[Any]:
    """Asks what a person would ask, and holds the answer against the first one."""
    pictures = {name: np.asarray(Image.open(STREET / f"{name}.png"), np.float32) for name in ("thermal", "depth")}
    image = np.asarray(Image.open(STREET / "rgb.png").convert("RGB"))
    with TritonPredictor.connect(nano_server.url, deadline_s=PATIENCE_S) as predictor:
        first = [predictor.predict(predictor.encode(image, pictures), CLICKS[:n]) for n in (1, 2)]

        def ask() -> None:
            assert predictor.transport.is_ready()
            for clicks, before in zip((CLICKS[:1], CLICKS), first, strict=True):
                answer = predictor.predict(predictor.encode(image, pictures), clicks)
                assert np.array_equal(answer, before), "an honest click is answered otherwise after hostile requests"

        ask.predictor = predictor  # type: ignore[attr-defined]
        yield ask


def stubs(server: ServerProcess) -> set[int]:
    """The processes in which the models run."""
    found, todo = set(), [server.process.pid]
    while todo:
        for children in Path(f"/proc/{todo.pop()}/task").glob("*/children"):
            todo += [int(pid) for pid in children.read_text().split()]
            found |= set(todo)
    return found


@pytest.mark.timeout(0 if COUNT >= 300 else 300)
def test_the_server_answers_honest_requests_between_hostile_ones(nano_server, honest, figures) -> None:
    contract = honest.predictor.contract
    before, answered, refused = stubs(nano_server), 0, 0
    with grpcclient.InferenceServerClient(nano_server.url) as client:
        for number in range(COUNT):
            model, inputs, outputs, options = hostile_request(contract, number)
            try:
                client.infer(model, inputs, outputs=outputs, client_timeout=PATIENCE_S, **options)
                answered += 1
            except InferenceServerException as error:
                assert "UNAVAILABLE" not in str(error.status()), f"request {number} ended the server: {error}"
                assert "DEADLINE" not in str(error.status()), f"request {number} hangs"
                refused += 1
            if number % HONEST_EVERY == 0:
                honest()
    honest()
    assert answered and refused and answered + refused == COUNT
    assert stubs(nano_server) == before, "a model's process was ended or replaced"
    figures("hostile-requests", requests=COUNT, answered=answered, refused=refused, crashes=0, seed=SEED)


def test_an_honest_click_in_one_batch_with_a_hostile_one(nano_server, honest) -> None:
    """Clicks of several people are computed together: what one sends is nothing to the other."""
    contract: ModelContract = honest.predictor.contract
    spec = contract.models()["csnet"]
    rng = np.random.default_rng(1)
    good = valid(spec, rng)
    frame = Frame.of((480, 640), contract.resolution)
    good |= click_inputs(contract, frame, CLICKS, None)
    bad = {name: array.copy() for name, array in good.items()}
    bad["features"][:] = np.nan
    bad["point_coords"][:] = np.inf
    with grpcclient.InferenceServerClient(nano_server.url) as client:

        def ask(tensors: dict[str, NDArray[Any]]) -> Any:
            inputs = []
            for name, array in tensors.items():
                inputs.append(grpcclient.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
                inputs[-1].set_data_from_numpy(array)
            return inputs

        alone = client.infer("csnet", ask(good)).as_numpy("mask")
        together = client.infer("csnet", ask({n: np.concatenate((bad[n], good[n])) for n in good})).as_numpy("mask")
        waiting = []
        for tensors in (bad, good, bad, good):
            results: list[Any] = []
            waiting.append(results)
            client.async_infer("csnet", ask(tensors), lambda result, error, r=results: r.append((result, error)))
        while not all(waiting):
            time.sleep(0.01)
    assert np.array_equal(together[1:], alone)
    for ((result, error),) in waiting[1::2]:
        assert error is None and np.array_equal(result.as_numpy("mask"), alone)
