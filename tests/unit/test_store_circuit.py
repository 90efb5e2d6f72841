"""A source of features that does not answer is spared, and so is who waits behind it."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy
import pytest

from penstock.errors import ResourceError
from penstock.features.vectors import Vectors, WrongKeyError
from penstock.records import Column
from penstock.registry.loading import LoadedModel
from penstock.registry.scorer import Scorer
from penstock.serving.replicas import predictor
from penstock.serving.replicas.circuit import REST, SLOW, Circuit
from penstock.serving.replicas.frames import ENTITIES, LOOKUP, MATRIX, Decoder, Frame
from penstock.serving.replicas.predictor import Predictor


def test_after_a_slow_failure_nothing_is_asked_for_some_time() -> None:
    circuit = Circuit()
    assert not circuit.is_open(0.0)
    circuit.failed(10.0, 11.0)
    assert circuit.is_open(11.0)
    assert circuit.is_open(11.0 + REST - 0.01)
    assert not circuit.is_open(11.0 + REST)


def test_a_quick_failure_costs_little_and_opens_nothing() -> None:
    circuit = Circuit()
    circuit.failed(10.0, 10.0 + SLOW / 2)
    assert not circuit.is_open(10.0 + SLOW / 2)


class Clock:
    """Stands still, but where somebody waits."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Fails after `takes` seconds, or answers."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes = 1.0
        self.failure: Exception | None = ResourceError("Redis at 10.0.0.1 did not answer")
        self.reads = 0

    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        self.reads += 1
        self.clock.now += self.takes
        if self.failure is not None:
            raise self.failure
        customers = asked["customer_id"]
        return Vectors({"visits": customers}, [False] * len(customers), {})

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]:
        self.read({"customer_id": []})
        return document


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    it = Clock()
    monkeypatch.setattr(predictor.time, "monotonic", it)
    return it


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock)


@pytest.fixture
def served(store: Store) -> Predictor:
    def visits(rows: Any) -> Any:
        return numpy.asarray(rows, dtype=float).reshape(-1) / 10

    scorer = Scorer(positive=visits, outputs=visits)
    model = LoadedModel("test", (Column(name="visits", type="double"),), scorer)
    return Predictor(model, store)


def asked(served: Predictor, kinds: list[int]) -> list[tuple[int, bytes]]:
    bodies = {
        ENTITIES: msgspec.msgpack.encode({"customer_id": [4]}),
        LOOKUP: msgspec.msgpack.encode({"entities": {"customer_id": [4]}}),
        MATRIX: numpy.array([4.0]).tobytes(),
    }
    questions = [Frame(n, kind, 0, 0, bodies[kind]) for n, kind in enumerate(kinds)]
    frames = Decoder().feed(b"".join(served.answers(questions)))
    return [(frame.status, frame.body) for frame in sorted(frames)]


def test_of_many_that_wait_for_a_silent_store_one_waits(
    served: Predictor, store: Store, clock: Clock
) -> None:
    begun = clock.now
    answers = asked(served, [ENTITIES] * 20 + [LOOKUP] * 5 + [MATRIX] * 5)
    assert [status for status, _ in answers] == [503] * 25 + [200] * 5
    assert clock.now - begun == 1.0
    assert store.reads == 1
    for _, body in answers[:25]:
        said = msgspec.json.decode(body)["error"]
        assert said == "the online features could not be read: their store did not answer in time"


def test_it_is_asked_again_after_a_rest_and_then_as_ever(
    served: Predictor, store: Store, clock: Clock
) -> None:
    asked(served, [ENTITIES])
    store.failure, store.takes = None, 0.001
    assert [status for status, _ in asked(served, [ENTITIES, LOOKUP])] == [503, 503]
    clock.now += REST
    assert [status for status, _ in asked(served, [ENTITIES, LOOKUP])] == [200, 200]


def test_a_store_that_refuses_at_once_is_asked_each_time(served: Predictor, store: Store) -> None:
    store.takes = 0.001
    (answer,) = asked(served, [ENTITIES])
    assert msgspec.json.decode(answer[1])["error"] == "the online features could not be read"
    store.failure = None
    assert asked(served, [ENTITIES])[0][0] == 200


def test_a_wrong_key_says_nothing_about_the_store(served: Predictor, store: Store) -> None:
    store.failure = WrongKeyError("no key", key="customer_id")
    (answer,) = asked(served, [ENTITIES])
    assert (answer[0], msgspec.json.decode(answer[1])["field"]) == (400, "customer_id")
    store.failure = None
    assert asked(served, [ENTITIES])[0][0] == 200
