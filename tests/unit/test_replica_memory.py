"""What a replica does that runs out of memory: it goes on, or says nothing more."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import numpy
import pytest

from penstock.errors import ModelError, ResourceError
from penstock.features.vectors import Vectors
from penstock.records import Column
from penstock.registry.loading import LoadedModel
from penstock.registry.scorer import Scorer
from penstock.serving.replicas.frames import ALONE, ENTITIES, LOOKUP, Decoder, Frame
from penstock.serving.replicas.memory import OFTEN, Memory, is_lack_of_memory
from penstock.serving.replicas.predictor import Predictor

LIMIT = 1 << 30


def caused_by(error: Exception) -> Exception:
    try:
        raise ModelError("the lightgbm model failed") from error
    except ModelError as raised:
        return raised


def numpys_own() -> Exception:
    with pytest.raises(MemoryError) as caught:
        numpy.empty(1 << 55)
    return caught.value


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        numpys_own(),
        RuntimeError("std::bad_alloc"),
        RuntimeError("[ONNXRuntimeError] : 6 : bad allocation"),
        RuntimeError("Failed to allocate memory for requested buffer of size 8"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("Check failed: Out of memory"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_lack_of_memory_is_known_by_whatever_says_so(error: Exception) -> None:
    assert is_lack_of_memory(error)
    assert is_lack_of_memory(caused_by(error))


@pytest.mark.parametrize("error", [ValueError("no"), caused_by(KeyError("age")), OSError()])
def test_other_failures_are_no_lack_of_memory(error: Exception) -> None:
    assert not is_lack_of_memory(error)
    memory = Memory(LIMIT)
    assert not any(memory.exhausted_by(error) for _ in range(2 * OFTEN))


def test_without_a_limit_no_replica_gives_up() -> None:
    memory = Memory(0)
    assert not any(memory.exhausted_by(MemoryError()) for _ in range(2 * OFTEN))


@pytest.mark.slow
def test_a_replica_that_runs_out_of_memory_often_gives_up() -> None:
    memory = Memory(1 << 20)
    assert [memory.exhausted_by(MemoryError()) for _ in range(OFTEN)] == [False] * 4 + [True]


LIMITED = """
import resource
from penstock.serving.replicas.memory import Memory

resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
memory, kept = Memory(1 << 30), []

def too_large():
    part = bytearray(400 << 20)
    return part + bytearray(900 << 20)

def leaking():
    while True:
        kept.append(bytearray(32 << 20))

for attempt, expected in ((too_large, False), (too_large, False), (leaking, True)):
    try:
        attempt()
    except MemoryError as error:
        assert memory.exhausted_by(error) is expected, (attempt, expected)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit a process's data")
def test_a_request_that_is_too_large_is_told_from_a_leak() -> None:
    """What the request took is free again, though its traceback held it."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# The predictor


class Store:
    """Runs out of memory from the third read on."""

    def __init__(self, failure: Exception) -> None:
        self.failure = failure
        self.reads = 0

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        self.reads += 1
        if self.reads > 2:
            raise self.failure
        customers = asked["customer_id"]
        return Vectors({"visits": customers}, [False] * len(customers), {})

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]:
        raise self.failure


class Narrow(Store):
    """Has memory for one entity at a time."""

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        if len(asked["customer_id"]) > 1:
            raise self.failure
        return Vectors({"visits": asked["customer_id"]}, [False], {})


def predictor(store: Store, memory: int = 0) -> Predictor:
    def visits(rows: Any) -> Any:
        return numpy.asarray(rows, dtype=float).reshape(-1) / 10

    scorer = Scorer(positive=visits, outputs=visits)
    model = LoadedModel("test", (Column(name="visits", type="double"),), scorer)
    return Predictor(model, store, memory=memory)


def question(number: int, kind: int = ENTITIES, flags: int = ALONE) -> Frame:
    return Frame(number, kind, flags, 0, msgspec.msgpack.encode({"customer_id": [number]}))


def statuses(answers: list[bytes]) -> dict[int, int]:
    return {frame.number: frame.status for frame in Decoder().feed(b"".join(answers))}


def test_what_was_answered_before_memory_ended_is_answered_and_the_rest_is_left() -> None:
    store = Store(MemoryError())
    it = predictor(store, memory=1 << 60)  # of which no part can be had
    answered = statuses(it.answers([question(n) for n in range(1, 6)]))
    assert answered == {1: 200, 2: 200}
    assert it.exhausted
    assert store.reads == 3  # nothing more was tried
    assert it.answers([question(6)]) == []


def test_a_batch_that_memory_does_not_suffice_for_is_asked_one_by_one() -> None:
    it = predictor(Narrow(MemoryError()), memory=1 << 20)
    answered = statuses(it.answers([question(n, flags=0) for n in (1, 2, 3)]))
    assert answered == {1: 200, 2: 200, 3: 200}
    assert not it.exhausted


def test_a_failure_of_another_kind_is_answered() -> None:
    it = predictor(Store(ValueError("no")), memory=1 << 60)
    assert statuses(it.answers([question(n) for n in range(1, 5)])) == {
        1: 200, 2: 200, 3: 503, 4: 503
    }  # fmt: skip
    assert not it.exhausted


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        pytest.param(ResourceError("Redis at 10.0.0.1:6379/0 did not answer"), 503, id="store"),
        pytest.param(ConnectionRefusedError("10.0.0.1"), 503, id="connection"),
        pytest.param(MemoryError(), 503, id="memory"),
        pytest.param(ValueError("no feature 'iq'"), 400, id="the client's"),
        pytest.param(KeyError(), 400, id="without words"),
    ],
)
def test_a_lookup_fails_for_the_store_or_for_the_client(failure: Exception, status: int) -> None:
    answers = predictor(Store(failure)).answers([question(n, LOOKUP, 0) for n in (1, 2)])
    assert statuses(answers) == {1: status, 2: status}
    assert b"10.0.0.1" not in b"".join(answers)
