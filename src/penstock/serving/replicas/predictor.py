"""Answers the questions that came together, inside a replica: one call of the model for all.

Questions of numbers are put below each other into one matrix; entities of several requests are read
from the online store at once. If the model fails on a batch, each question is asked alone, so that
a bad one spoils no other.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import numpy

from penstock.errors import ModelError, ResourceError, ServingError
from penstock.features.vectors import Vectors, WrongKeyError
from penstock.registry.loading import LoadedModel, matrix_of
from penstock.serving.http_server.messages import RequestError, error_body
from penstock.serving.replicas.circuit import Circuit
from penstock.serving.replicas.frames import (
    ALONE,
    COLUMNS,
    LOOKUP,
    MATRIX,
    NESTED,
    POSITIVE,
    WHOLE,
    Frame,
    encode,
    encode_answer,
)
from penstock.serving.replicas.memory import Memory
from penstock.serving.schema import EXACT

if TYPE_CHECKING:
    from numpy.typing import NDArray

STORE_FAILURES = (ResourceError, OSError, MemoryError)  # what else Feast raises, clients caused
NULL_VALUES: dict[str, Any] = {"bool": False, "string": "", "int32": 0, "int64": 0}

T = TypeVar("T")


class OnlineReader(Protocol):
    """Reads the features of entities; one row an entity, in the order asked for."""

    def read(self, asked: dict[str, list[Any]]) -> Vectors: ...

    def feast_answer(self, document: dict[str, Any]) -> dict[str, Any]: ...


class Predictor:
    """A model and, where it has one, its source of features."""

    def __init__(
        self,
        model: LoadedModel,
        source: OnlineReader | None,
        *,
        refuse_unknown: bool = True,
        memory: int = 0,
    ) -> None:
        self.exhausted = False  # it has no memory left, and answers nothing more
        self._memory = Memory(memory)  # bytes that the process may take; 0: no limit
        self._model = model
        self._refuse_unknown = refuse_unknown
        self._source = source
        self._circuit = Circuit()
        self._names = [column.name for column in model.features]
        kinds = [column.type for column in model.features]
        self._may_be_large = [place for place, kind in enumerate(kinds) if kind == "int64"]

    def warm_up(self) -> str:
        """Predicts rows made from the signature: what fails now would fail for every client.

        Gives why no such row could be made, or "". Raises `ModelError`, unless text features are
        involved, for which no valid value is known.
        """
        row = [NULL_VALUES.get(column.type, 0.0) for column in self._model.features]
        try:
            for positive in (True, False):
                self._model.outputs_of_columns([[value] for value in row], positive=positive)
                if self._model.numeric:
                    self._model.outputs(numpy.array([row] * 2, dtype=float), positive=positive)
        except ModelError as error:
            if all(column.type != "string" for column in self._model.features):
                raise
            return str(error)
        return ""

    def answers(self, questions: Sequence[Frame]) -> list[bytes]:
        """A frame for each question, in order; for fewer when memory was exhausted."""
        arrived = time.perf_counter()
        found: list[bytes] = []
        for batch in batches(questions):
            try:
                found += self._answered(batch, arrived)
                continue
            except Exception as error:  # noqa: BLE001 -- whatever a model raises
                if len(batch) == 1:
                    found += self._failed(batch[0], error)
                    continue
            # Not in the handler, which keeps alive what the failed attempt took.
            for question in batch:
                found += self._alone(question, arrived)
        return found

    def _answered(self, batch: Sequence[Frame], arrived: float) -> list[bytes]:
        if self.exhausted:
            return []
        if batch[0].kind == LOOKUP:
            return [self._looked_up(batch[0])]
        return self._together(batch, arrived)

    def _alone(self, question: Frame, arrived: float) -> list[bytes]:
        try:
            return self._answered([question], arrived)
        except Exception as error:  # noqa: BLE001 -- whatever a model raises
            return self._failed(question, error)

    def _failed(self, question: Frame, error: Exception) -> list[bytes]:
        """The refusal; nothing where memory is at its end, since another replica may answer."""
        self.exhausted = self._memory.exhausted_by(error)
        if self.exhausted:
            print(f"out of memory for good: {error!r}", flush=True)
            return []
        return [_refused(question, error)]

    def _looked_up(self, question: Frame) -> bytes:
        """Features alone, by Feast."""
        if self._source is None:
            raise RequestError(404, "this release has no online features")
        asked = msgspec.msgpack.decode(question.body)
        try:
            said = self._read(self._source.feast_answer, asked, STORE_FAILURES)
        except ServingError:
            raise
        except Exception as error:  # mostly for names unknown to Feast
            lines = str(error).splitlines() or [type(error).__name__]
            raise RequestError(400, lines[0]) from error
        return encode(question.number, LOOKUP, 0, 200, msgspec.json.encode(said, enc_hook=str))

    def _together(self, batch: Sequence[Frame], arrived: float) -> list[bytes]:
        """The answers of questions of one kind."""
        begun = time.perf_counter()
        kind, positive = batch[0].kind, bool(batch[0].flags & POSITIVE)
        read: list[Any] = [None] * len(batch)
        if kind == MATRIX:
            sizes, outputs = self._of_matrices([question.body for question in batch], positive)
            ready = begun
        elif kind == COLUMNS:
            parts = [msgspec.msgpack.decode(question.body) for question in batch]
            sizes = [len(part[0]) for part in parts]
            columns = [[v for part in parts for v in part[n]] for n in range(len(self._names))]
            outputs, ready = self._model.outputs_of_columns(columns, positive=positive), begun
        else:
            sizes, vectors = self._vectors([msgspec.msgpack.decode(q.body) for q in batch])
            ready = time.perf_counter()
            columns = [*vectors.columns.values()]
            matrix = self._exact(columns)
            if matrix is None:
                outputs = self._model.outputs_of_columns(columns, positive=positive)
            else:
                outputs = self._model.outputs(matrix, positive=positive)
            read = _split(vectors, matrix, sizes)
        done = time.perf_counter()
        whole = not positive and self._model.whole
        feature_us, queue_us, model_us = (
            int(1e6 * span) for span in (ready - begun, begun - arrived, done - ready)
        )
        made, start = [], 0
        width = 1 if outputs.ndim == 1 else outputs.shape[1]
        form = (NESTED if outputs.ndim == 2 else 0) | (WHOLE if whole else 0)
        raw, step = outputs.tobytes(), 8 * width
        for question, size, seen in zip(batch, sizes, read, strict=True):
            part = raw[start * step : (start + size) * step]
            body = encode_answer(size, width, form, part, (feature_us, queue_us, model_us), seen)
            made.append(encode(question.number, kind, 0, 200, body))
            start += size
        return made

    def _of_matrices(
        self, bodies: Sequence[bytes], positive: bool
    ) -> tuple[list[int], NDArray[numpy.float64]]:
        width = 8 * len(self._names)
        together = bodies[0] if len(bodies) == 1 else b"".join(bodies)
        matrix = numpy.frombuffer(together).reshape(-1, len(self._names))
        return [len(body) // width for body in bodies], self._model.outputs(
            matrix, positive=positive
        )

    def _exact(self, columns: Sequence[Any]) -> NDArray[numpy.float64] | None:
        """Features as a matrix; None where they are not all numbers, or it would round them."""
        if not self._model.numeric:
            return None
        try:
            matrix = matrix_of(columns)
        except (TypeError, ValueError):
            return None  # what is wrong with them, the model says
        whole = matrix[:, self._may_be_large]
        # A larger number may have been rounded to just that.
        return None if whole.size and (numpy.abs(whole) >= EXACT).any() else matrix

    def _vectors(self, asked: Sequence[dict[str, list[Any]]]) -> tuple[list[int], Vectors]:
        if self._source is None:
            raise RequestError(400, "this release has no online features; send rows", "entities")
        names = [*asked[0]]
        together = {name: [v for one in asked for v in one[name]] for name in names}
        sizes = [len(one[names[0]]) for one in asked]
        try:
            vectors = self._read(self._source.read, together, (Exception,))
        except WrongKeyError as error:
            raise RequestError(400, error.message, error.key) from error
        if len(vectors.unknown) != sum(sizes):
            raise ServingError(
                f"the online store gave {len(vectors.unknown)} rows for {sum(sizes)} entities"
            )
        if self._refuse_unknown:
            _refuse_unknown(vectors.unknown, together)
        return sizes, vectors

    def _read(
        self, read: Callable[[Any], T], asked: Any, failures: tuple[type[Exception], ...]
    ) -> T:
        """What the source of features says. Raises `ServingError` where that is one of `failures`.

        A wrong key is none of them: it is the client's.
        """
        begun = time.monotonic()
        if self._circuit.is_open(begun):
            raise self._unreadable(begun)
        try:
            return read(asked)
        except WrongKeyError:
            raise
        except failures as error:
            now = time.monotonic()
            self._circuit.failed(begun, now)
            raise self._unreadable(now) from error

    def _unreadable(self, now: float) -> ServingError:
        late = ": their store did not answer in time" if self._circuit.is_open(now) else ""
        return ServingError(f"the online features could not be read{late}")


def batches(questions: Sequence[Frame]) -> list[list[Frame]]:
    """Neighbours that may be answered in one call: of one kind, and not to be alone."""
    grouped = groupby(enumerate(questions), key=_companions)
    return [[question for _, question in group] for _, group in grouped]


def _companions(numbered: tuple[int, Frame]) -> tuple[int, int, int]:
    number, question = numbered
    alone = question.flags & ALONE or question.kind == LOOKUP
    return question.kind, question.flags, number if alone else -1


def _split(
    vectors: Vectors, matrix: NDArray[numpy.float64] | None, sizes: Sequence[int]
) -> list[dict[str, Any]]:
    """What was read, request by request, as a row of the prediction log has it.

    That is {"matrix" or "columns": features, "happened": {view: times}}.
    """
    raw, step = (b"", 0) if matrix is None else (matrix.tobytes(), 8 * matrix.shape[1])
    parts: list[dict[str, Any]] = []
    start = 0
    for size in sizes:
        end = start + size
        if matrix is None:
            part: dict[str, Any] = {
                "columns": [values[start:end] for values in vectors.columns.values()]
            }
        else:
            part = {"matrix": raw[start * step : end * step]}
        part["happened"] = {name: times[start:end] for name, times in vectors.happened.items()}
        parts.append(part)
        start = end
    return parts


def _refuse_unknown(unknown: Sequence[bool], asked: dict[str, list[Any]]) -> None:
    """An entity without a single feature would be answered by a guess."""
    if not any(unknown):
        return
    first = [*unknown].index(True)
    keys = ", ".join(f"{key}={values[first]!r}" for key, values in asked.items())
    more = f" and {sum(unknown) - 1} more" if sum(unknown) > 1 else ""
    raise RequestError(404, f"nothing is known of {keys}{more}", next(iter(asked)))


def _refused(question: Frame, error: Exception) -> bytes:
    """The client learns what failed; where, only the log."""
    status, message, field = 500, "the model failed on this request", None
    if isinstance(error, RequestError):
        status, message, field = error.status, error.message, error.field
    else:
        print("".join(traceback.format_exception(error)), flush=True)
        if isinstance(error, ServingError):
            status, message = 503, error.message
        elif isinstance(error, ModelError):
            message = error.message
    return encode(question.number, question.kind, 0, status, error_body(message, field))
