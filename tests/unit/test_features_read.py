"""What a replica read for an answer is what its log has: exact, request by request."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy
import pytest

from penstock.features.vectors import Vectors
from penstock.records import Column
from penstock.registry.loading import LoadedModel, matrix_of
from penstock.registry.scorer import Scorer, unchanged
from penstock.serving.prediction_log.rows import Encoder, Names, Row, decode
from penstock.serving.replicas.frames import ENTITIES, Answered, Decoder, Frame, decode_answer
from penstock.serving.replicas.predictor import Predictor

HUGE = 2**53 + 1  # which a float64 rounds
SPEND = {1: 0.1, 2: None, 3: 0.3, 4: 4.0}
AGE = {1: 41, 2: 42, 3: HUGE, 4: None}
NOON = 1_772_366_400_000_000_000  # 2026-03-01, ns


class Store:
    def read(self, asked: dict[str, list[Any]]) -> Vectors:
        customers = asked["customer_id"]
        columns: dict[str, list[Any]] = {
            "spend": [SPEND[one] for one in customers],
            "age": [AGE[one] for one in customers],
        }
        times = [NOON + one * 10**9 for one in customers]
        return Vectors(columns, [False] * len(customers), {"latest": times})

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]:
        return document


def served(*, of_frames: bool) -> Predictor:
    """A model whose output is the spend of a row; missing is 0."""

    def matrix(rows: Any) -> Any:
        return numpy.nan_to_num(rows[:, 0])

    def frame(rows: Any) -> Any:
        return rows["spend"].fillna(0.0).to_numpy()

    columns = (Column(name="spend", type="double"), Column(name="age", type="int64"))
    scorer = Scorer(frame, frame, None if of_frames else matrix, unchanged)
    return Predictor(LoadedModel("test", columns, scorer), Store())


def asked(predictor: Predictor, *requests: list[int]) -> list[Answered]:
    bodies = [msgspec.msgpack.encode({"customer_id": customers}) for customers in requests]
    questions = [Frame(number, ENTITIES, 0, 0, body) for number, body in enumerate(bodies)]
    frames = Decoder().feed(b"".join(predictor.answers(questions)))
    assert [frame.status for frame in frames] == [200] * len(requests)
    return [decode_answer(frame.body) for frame in frames]


def logged(answered: Answered, customers: list[int]) -> list[tuple[Any, Any, Any, Any]]:
    encoder, lines = Encoder("staging"), bytearray()
    encoder.describe("r1", Names.of(["spend", "age"], "churn@1", "d1"))
    row = Row(
        NOON,
        "p1",
        "r1",
        rows=answered.rows,
        entities={"customer_id": customers},
        outputs=answered.outputs,
        **(answered.read or {}),
    )
    encoder.append(row, lines)
    found = [decode(line) for line in lines.splitlines()]
    texts = [(one.entities, one.features, one.event_times) for one in found]
    return [
        (*(json.loads(bytes(text)) for text in three), one.output)
        for three, one in zip(texts, found, strict=True)
    ]


@pytest.mark.parametrize("of_frames", [False, True])
@pytest.mark.parametrize("requests", [[[1]], [[2], [1], [4, 1], [2]], [[1, 3], [2]], [[3]]])
def test_each_request_is_logged_with_the_features_that_it_was_answered_from(
    requests: list[list[int]], of_frames: bool
) -> None:
    predictor = served(of_frames=of_frames)
    for answered, customers in zip(asked(predictor, *requests), requests, strict=True):
        assert logged(answered, customers) == [
            (
                {"customer_id": one},
                {"spend": SPEND[one], "age": AGE[one]},
                {"latest": f"2026-03-01T12:00:0{one}Z"},
                [SPEND[one] or 0.0],
            )
            for one in customers
        ]


def test_missing_numbers_are_nan_and_what_is_no_number_is_refused() -> None:
    assert numpy.array_equal(
        matrix_of([[1, None], [True, 2.5]]), [[1.0, 1.0], [math.nan, 2.5]], equal_nan=True
    )
    for wrong in ([["gold"]], [[object()]], [[[1.0]], [[2.0]]]):
        with pytest.raises((TypeError, ValueError)):
            matrix_of(wrong)
