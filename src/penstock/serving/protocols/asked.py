"""What every protocol makes of a request: one question, and how its answer is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from penstock.serving.http_server.messages import Request
from penstock.serving.replicas.frames import Answered
from penstock.serving.schema import InputSchema


class Context(NamedTuple):
    """What an answer may say beside the predictions."""

    prediction_id: str
    request_id: str  # the client's own, where it gave one
    model: str  # its registered name
    version: str
    release: str


class Asked(NamedTuple):
    """A question that has been understood, for one model."""

    kind: int  # of the frame: MATRIX, COLUMNS or ENTITIES
    body: bytes  # of the frame
    rows: int
    positive: (
        bool  # whether the probability of the positive class is wanted; else what MLflow gives
    )
    # The whole HTTP answer. Raises `RequestError` when the answer is not what can be written.
    render: Callable[[Answered, Context], bytes]
    unpacked: Any = None  # what the body was packed from, where it was at hand

    def columns(self) -> Any:
        """What a body that is no matrix holds: lists of values by place or by name."""
        return self.unpacked or msgspec.msgpack.decode(self.body)


@dataclass(frozen=True)
class Target:
    """The model that a request goes to, as far as a protocol needs to know it."""

    model: str
    version: str
    release: str
    schema: InputSchema
    max_rows: int
    entities: tuple[str, ...] = ()  # keys and request columns that features are read by
    requested: Mapping[str, str] = field(default_factory=dict)  # types of the request columns


# Understands a request. Raises `RequestError`.
Parse = Callable[[Request, Target], Asked]
# The HTTP answer to a refused request, in the protocol's own form.
Refuse = Callable[[int, str, str | None, Mapping[str, str]], bytes]


@dataclass(frozen=True)
class Protocol:
    """One way of asking for predictions."""

    name: str  # predict, invocations, open-inference
    parse: Parse
    refuse: Refuse
