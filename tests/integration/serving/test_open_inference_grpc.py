"""The gRPC service on a real port. What stands behind it answers the sum of each row."""

from __future__ import annotations

import array
import asyncio
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest

from penstock.errors import ServingError
from penstock.records import Column
from penstock.serving.http_server.messages import RequestError
from penstock.serving.protocols import open_inference_pb2 as messages
from penstock.serving.protocols.asked import Asked, Context, Target
from penstock.serving.protocols.open_inference_documents import Served
from penstock.serving.protocols.open_inference_grpc import GrpcService, Listening, serve
from penstock.serving.replicas.frames import MATRIX, Answered
from penstock.serving.schema import InputSchema

SCHEMA = InputSchema(tuple(Column(name=name, type="double") for name in "abc"))
TEXTS = InputSchema((Column(name="plan", type="string"), Column(name="age", type="int64")))
SERVED = [
    Served("sums", Target("sums", "2", "r-9", SCHEMA, 10), "lightgbm", ready=True),
    Served("sums", Target("sums", "1", "r-8", SCHEMA, 10), "lightgbm", ready=False),
    Served("texts", Target("texts", "1", "r-1", TEXTS, 10), "sklearn", ready=True),
]
ROWS = struct.pack("<6d", 1.0, 2.0, 3.0, 0.5, 0.25, -1.0)


async def ask(
    target_name: str,
    version: str,
    inputs_to_asked: Callable[[Target], Asked],
    metadata: Mapping[str, str],
    client: str,
) -> tuple[Answered, Context]:
    if "answer-with" in metadata:
        raise RequestError(int(metadata["answer-with"]), "because 東 " + "x" * 100_000)
    if client != "127.0.0.1":
        raise ValueError(client)
    if target_name == "broken":
        raise ZeroDivisionError("a secret")
    wanted = (target_name, version or "2")
    found = [one.target for one in SERVED if (one.name, one.target.version) == wanted]
    if not found:
        raise RequestError(404, f"the model {target_name!r} is not served here")
    asked = inputs_to_asked(found[0])
    if asked.kind == MATRIX:
        values = array.array("d", asked.body)
        width = len(found[0].schema.features)
        sums = [sum(values[at : at + width]) for at in range(0, len(values), width)]
    else:
        sums = [float(len(asked.body))] * asked.rows
    outputs = memoryview(array.array("d", sums))
    about = Context("p-1", "q-1", target_name, found[0].version, found[0].release)
    return Answered(asked.rows, 1, outputs, 0, 0, 0, None), about


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever, daemon=True)
    thread.start()
    yield running
    running.call_soon_threadsafe(running.stop)
    thread.join()
    running.close()


@pytest.fixture(scope="module")
def listening(loop: asyncio.AbstractEventLoop) -> Iterator[Listening]:
    service = GrpcService(ask, lambda: True, lambda: True, lambda: SERVED)

    def done(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    started = done(serve("127.0.0.1", 0, service, max_body=100_000))
    yield started
    done(started.server.stop(0))


Call = Callable[..., Any]


@pytest.fixture
def call(listening: Listening) -> Iterator[Call]:
    """Calls a method by its name on the wire, as any client would."""
    with grpc.insecure_channel(f"127.0.0.1:{listening.port}") as channel:

        def calling(method: str, request: Any, **metadata: str) -> Any:
            answer = getattr(messages, method + "Response")
            return channel.unary_unary(
                f"/inference.GRPCInferenceService/{method}",
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )(request, timeout=30, metadata=[*metadata.items()])

        yield calling


def tensor(name: str, datatype: str, shape: list[int], **contents: Any) -> Any:
    made = messages.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if contents:
        made.contents.CopyFrom(messages.InferTensorContents(**contents))
    return made


def infer(*inputs: Any, model: str = "sums", **more: Any) -> Any:
    return messages.ModelInferRequest(model_name=model, inputs=inputs, **more)


def test_raw_tensors_are_answered_raw(call: Call) -> None:
    request = infer(tensor("x", "FP64", [2, 3]), raw_input_contents=[ROWS], id="42")
    said = call("ModelInfer", request)
    assert (said.model_name, said.model_version, said.id) == ("sums", "2", "42")
    assert said.parameters["release"].string_param == "r-9"
    assert said.parameters["prediction_id"].string_param == "p-1"
    (output,) = said.outputs
    assert (output.name, output.datatype, [*output.shape]) == ("predictions", "FP64", [2])
    assert struct.unpack("<2d", said.raw_output_contents[0]) == (6.0, -0.25)


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor("x", "FP64", [2, 3], fp64_contents=[1, 2, 3, 0, 0, 4])],
        [tensor("x", "FP32", [2, 3], fp32_contents=[1, 2, 3, 0, 0, 4])],
        [tensor("x", "UINT8", [2, 3], uint_contents=[1, 2, 3, 0, 0, 4])],
        [tensor("x", "INT16", [2, 3], int_contents=[1, 2, 3, 0, 0, 4])],
        [
            tensor("c", "INT64", [2, 1], int64_contents=[3, 4]),
            tensor("a", "UINT64", [2], uint64_contents=[1, 0]),
            tensor("b", "FP64", [2], fp64_contents=[2, 0]),
        ],
    ],
    ids=lambda inputs: inputs[0].datatype,
)
def test_typed_tensors_are_answered_typed(call: Call, inputs: Any) -> None:
    said = call("ModelInfer", infer(*inputs))
    assert [*said.outputs[0].contents.fp64_contents] == [6.0, 4.0]
    assert not said.raw_output_contents
    assert said.id == "p-1"


def test_texts_come_raw_and_typed(call: Call) -> None:
    age = tensor("age", "INT64", [1], int64_contents=[41])
    plan = tensor("plan", "BYTES", [1], bytes_contents=["Zoë".encode()])
    typed = call("ModelInfer", infer(plan, age, model="texts", model_version="1"))
    raw = infer(
        tensor("plan", "BYTES", [1]), tensor("age", "INT64", [1]), model="texts", model_version="1",
        raw_input_contents=[b"\4\0\0\0" + "Zoë".encode(), struct.pack("<q", 41)],
    )  # fmt: skip
    (size,) = struct.unpack("<d", call("ModelInfer", raw).raw_output_contents[0])
    assert [*typed.outputs[0].contents.fp64_contents] == [size]


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (infer(), "inputs is empty"),
        (infer(tensor("x", "FP64", [1, 3])), "'x' holds 0 values"),
        (infer(tensor("x", "FP64", [1, 3]), raw_input_contents=[b"", b""]), "2 raw_input_contents"),
        (infer(tensor("x", "FP64", [1, 3]), raw_input_contents=[bytes(23)]), "'x' has 23 bytes"),
        (infer(tensor("x", "FP64", [1, 3], fp64_contents=[1]), raw_input_contents=[b""]), "beside"),
        (infer(tensor("x", "FP64", [1, 3], fp32_contents=[1, 2, 3])), "fp32_contents"),
        (infer(tensor("x", "FP16", [1, 3], fp32_contents=[1, 2, 3])), "FP16"),
        (infer(tensor("x", "INT8", [1, 3], int_contents=[1, 2, 128])), "INT8"),
        (infer(tensor("d", "FP64", [1], fp64_contents=[1])), "unknown input 'd'"),
        (infer(tensor("a", "BOOL", [1], bool_contents=[True])), "feature 'a'"),
        (infer(tensor("a", "FP64", [1], fp64_contents=[float("inf")])), "feature 'a'"),
        (infer(outputs=[{"name": "probabilities"}]), "unknown output 'probabilities'"),
        (infer(tensor("plan", "BYTES", [1], bytes_contents=[b"\xff"]), model="texts",
               model_version="1"), "UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_request_that_does_not_fit_is_an_invalid_argument(
    call: Call, request_: Any, says: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call("ModelInfer", request_)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in caught.value.details()


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"), (401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"), (413, "RESOURCE_EXHAUSTED"), (429, "RESOURCE_EXHAUSTED"),
        (500, "INTERNAL"), (503, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"),
    ],
)  # fmt: skip
def test_refusals_have_the_codes_of_grpc(call: Call, status: int, code: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call("ModelInfer", infer(), **{"answer-with": str(status)})
    assert caught.value.code().name == code
    assert caught.value.details().startswith("because 東 xxx")


def test_of_an_unexpected_failure_the_client_learns_nothing(call: Call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call("ModelInfer", infer(model="broken"))
    assert caught.value.code() == grpc.StatusCode.INTERNAL
    assert "secret" not in caught.value.details()


def test_a_message_that_is_too_large_is_refused(call: Call) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call("ModelInfer", infer(tensor("x", "FP64", [9, 3]), raw_input_contents=[bytes(200_000)]))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_health_and_metadata(call: Call) -> None:
    assert call("ServerLive", messages.ServerLiveRequest()).live
    assert call("ServerReady", messages.ServerReadyRequest()).ready
    server = call("ServerMetadata", messages.ServerMetadataRequest())
    assert (server.name, [*server.extensions]) == ("penstock", ["binary_tensor_data"])
    model = call("ModelMetadata", messages.ModelMetadataRequest(name="sums"))
    assert [*model.versions] == ["2", "1"]
    assert model.platform == "lightgbm"
    assert [(one.name, one.datatype, [*one.shape]) for one in model.inputs] == [
        (name, "FP64", [-1]) for name in "abc"
    ]
    for version, ready in [("", True), ("2", True), ("1", False), ("3", False)]:
        request = messages.ModelReadyRequest(name="sums", version=version)
        assert call("ModelReady", request).ready is ready
    with pytest.raises(grpc.RpcError) as caught:
        call("ModelMetadata", messages.ModelMetadataRequest(name="sums", version="3"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_a_port_that_is_taken_is_an_error(
    listening: Listening, loop: asyncio.AbstractEventLoop
) -> None:
    service = GrpcService(ask, lambda: True, lambda: True, lambda: SERVED)
    starting = asyncio.run_coroutine_threadsafe(serve("127.0.0.1", listening.port, service), loop)
    with pytest.raises(ServingError, match=str(listening.port)):
        starting.result(30)


def test_tritonclient_round_trip(listening: Listening) -> None:
    triton = pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
    import numpy

    with triton.InferenceServerClient(f"127.0.0.1:{listening.port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("sums", "2")
        assert not client.is_model_ready("sums", "1")
        assert client.get_server_metadata().name == "penstock"
        assert client.get_model_metadata("texts").inputs[0].datatype == "BYTES"
        given = triton.InferInput("x", [2, 3], "FP64")
        given.set_data_from_numpy(numpy.frombuffer(ROWS).reshape(2, 3))
        said = client.infer("sums", [given], request_id="42")
        assert said.get_response().id == "42"
        assert said.as_numpy("predictions").tolist() == [6.0, -0.25]
        plan = triton.InferInput("plan", [1], "BYTES")
        plan.set_data_from_numpy(numpy.array(["gold"], dtype=object))
        age = triton.InferInput("age", [1], "INT64")
        age.set_data_from_numpy(numpy.array([41]))
        outputs = [triton.InferRequestedOutput("predictions")]
        said = client.infer("texts", [plan, age], model_version="1", outputs=outputs)
        assert said.as_numpy("predictions").shape == (1,)
