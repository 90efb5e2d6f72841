"""The answer to a read, as Python values; Feast's proto of it is only made when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from penstock.features.online_stores.rows import NOT_FOUND, PRESENT, Found
from penstock.features.online_stores.values import ValueCodec

SECOND = 10**9
NULL_VALUE = FieldStatus.NULL_VALUE


@dataclass(frozen=True, slots=True)
class Columns:
    """The names of a view's features in the answer, and how their values are stored."""

    view: str
    names: tuple[str, ...]
    codecs: tuple[ValueCodec, ...]
    plain: bool  # stored values are what `to_dict` gives, if they are not `Ext`


class PackedResponse(OnlineResponse):
    """Feast's `OnlineResponse` over stored values.

    Beside what Feast's own says: a status tells a null value (NULL_VALUE) and one that is beyond
    its ttl (OUTSIDE_MAX_AGE, and null) from an unknown entity, and from a window of which the store
    has not been filled with all events (NOT_FOUND, and null).
    """

    def __init__(
        self,
        keys: dict[str, tuple[ValueCodec, list[Any]]],
        parts: Sequence[tuple[Columns, Found]],
        at: int,
    ) -> None:
        self.at = at  # nanoseconds since 1970: the moment that the answer is about
        self._keys = keys
        self._parts = parts
        self._proto: Any = None

    def unknown(self) -> list[bool]:
        """Of each entity asked about, whether no view knows anything."""
        presences = [found.presence for _, found in self._parts]
        return [
            all(state == NOT_FOUND for state in states) for states in zip(*presences, strict=True)
        ]

    def event_times(self) -> dict[str, list[int]]:
        """By view, the event time of each entity's row: nanoseconds since 1970, 0 for none."""
        return {columns.view: [*found.happened] for columns, found in self._parts}

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, list[Any]]:
        """Columns by name: the join keys as they were asked, then the features, view by view.

        With `include_event_timestamps`, after each column NAME__ts: seconds since 1970.
        """
        if include_event_timestamps:
            return self._with_timestamps()
        answer = {}
        for name, (codec, held) in self._keys.items():
            answer[name] = held.copy() if codec.plain else [*map(codec.python, held)]
        for columns, found in self._parts:
            rows = found.rows
            if len(rows) == 1 and columns.plain and not found.foreign:
                for name, value in zip(columns.names, rows[0], strict=True):
                    answer[name] = [value]
            else:
                answer.update(_columns(columns, found))
        return answer

    def _with_timestamps(self) -> dict[str, list[Any]]:
        answer = {}
        for name, (codec, held) in self._keys.items():
            answer[name] = [*map(codec.python, held)]
            answer[name + TIMESTAMP_POSTFIX] = [0] * len(held)
        for columns, found in self._parts:
            for name, values in _columns(columns, found).items():
                answer[name] = values
                answer[name + TIMESTAMP_POSTFIX] = [when // SECOND for when in found.happened]
        return answer

    @property
    def proto(self) -> Any:
        """Feast's `GetOnlineFeaturesResponse`."""
        if self._proto is None:
            self._proto = self._as_proto()
        return self._proto

    def _as_proto(self) -> Any:
        answer = GetOnlineFeaturesResponse()
        for name, (codec, held) in self._keys.items():
            answer.metadata.feature_names.val.append(name)
            answer.results.add(
                values=map(codec.proto, held),
                statuses=[PRESENT] * len(held),
                event_timestamps=[Timestamp()] * len(held),
            )
        for columns, found in self._parts:
            times = [Timestamp(seconds=t // SECOND, nanos=t % SECOND) for t in found.happened]
            rows = zip(*found.rows, strict=True)
            both = zip(columns.names, columns.codecs, rows, strict=True)
            unfilled = [NOT_FOUND] * len(found.rows)
            for place, (name, codec, column) in enumerate(both):
                states = unfilled if place in found.unfilled else found.presence
                answer.metadata.feature_names.val.append(name)
                answer.results.add(
                    values=map(codec.proto, column),
                    statuses=_statuses(states, column),
                    event_timestamps=times,
                )
        return answer


def _columns(columns: Columns, found: Found) -> dict[str, list[Any]]:
    rows = found.rows
    if columns.plain and not found.foreign:
        return dict(zip(columns.names, map(list, zip(*rows, strict=True)), strict=True))
    stored = zip(*rows, strict=True)
    return {
        name: [*map(codec.python, values)]
        for name, codec, values in zip(columns.names, columns.codecs, stored, strict=True)
    }


def _statuses(presence: list[int], held: Sequence[Any]) -> list[int]:
    return [
        NULL_VALUE if state == PRESENT and value is None else state
        for state, value in zip(presence, held, strict=True)
    ]
