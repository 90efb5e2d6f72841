"""A row of the prediction log: as the gateway hands it over, and as a line of JSON.

The gateway's event loop hands over one `Row` a request, with the bytes it has anyway. What costs
time happens later, in the background: feature names are put to the values, the request is hashed,
the line is encoded. A request of n rows becomes n lines of one prediction id.

A line ends in the CRC-32 of all before it, so that a line that was cut or damaged is told apart
from a whole one: `{"arrived_at":…, …,"crc":"1c291ca3"}`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec

MAX_ROWS = 1_000  # of one request that are logged
TAIL = len(b',"crc":"00000000"}')

Bytes = bytes | memoryview
if TYPE_CHECKING:
    Json = Any  # when a line is written
else:
    Json = msgspec.Raw  # when it is read: the text of JSON, not looked into


GIVEN = "unit"
ALONE = "request"

# Features, entities, event times and output of one data row.
Values = tuple[Any, Any, Any, Any]


class Row(msgspec.Struct, frozen=True, gc=False):
    """One answered request. Times are in microseconds unless their name says otherwise.

    The features are `matrix` or `columns`, in the order that the release was described in; neither
    for a request that was refused before it was understood.
    """

    at_ns: int  # of arrival, since 1970, UTC
    prediction_id: str
    release: str = ""
    arm: str = ""
    unit: str = ""  # hash of what the request was routed by
    epoch: str = ""  # of the routing table: rollout/stage
    # What one answer says about its arm: of the unit that the request names (GIVEN), of the request
    # (ALONE), or, where no unit chose the arm, nothing.
    counts_for: str = ""
    rows: int = 0
    matrix: Bytes | None = None  # float64, little-endian, row after row; NaN: missing
    columns: Sequence[Sequence[Any]] | None = None  # the values of each feature
    happened: Mapping[str, Sequence[int]] | None = None  # by view: event times, ns; 0: none
    entities: Mapping[str, Sequence[Any]] | None = None  # by key, where features were looked up
    request: bytes = b""  # as it came; only its SHA-256 is logged
    outputs: Bytes | None = None  # float64, rows × width
    width: int = 1
    parse_us: int = 0
    features_us: int = 0
    queue_us: int = 0
    model_us: int = 0
    total_us: int = 0
    status: int = 200  # HTTP
    error: str = ""  # its class


class Line(msgspec.Struct, gc=False):
    """One data row, as it is stored."""

    arrived_at: datetime
    endpoint: str
    prediction_id: str
    row_index: int = 0  # in the request, from 0
    request_rows: int = 0
    rows_left_out: int = 0  # of them beyond MAX_ROWS
    release: str = ""
    model: str = ""  # name@version
    model_digest: str = ""
    arm: str = ""
    unit: str = ""
    epoch: str = ""
    request_digest: str = ""
    status: int = 200
    error: str = ""
    entities: Json = None
    features: Json = None
    event_times: Json = None
    output: list[float | None] | None = None
    parse_us: int = 0
    features_us: int = 0
    queue_us: int = 0
    model_us: int = 0
    total_us: int = 0
    # Whether values, keys and unit were destroyed. Set in Parquet only: a line is never changed.
    erased: bool | msgspec.UnsetType = msgspec.UNSET


class Names(msgspec.Struct, frozen=True):
    """What a release's rows have in common."""

    model: str  # name@version
    digest: str
    values: struct.Struct  # of one row of a matrix
    record: Callable[..., Any]  # the values of one row → {name: value}

    @classmethod
    def of(cls, names: Sequence[str], model: str, digest: str) -> Names:
        fields = [f"f{place}" for place in range(len(names))]
        renamed = dict(zip(fields, names, strict=True))
        try:
            # A structure takes a seventh of the time of a dictionary.
            record: Callable[..., Any] = msgspec.defstruct(
                "Features", fields, rename=renamed, gc=False
            )
        except ValueError:  # a name with a quotation mark or such
            kept = tuple(names)

            def record(*values: Any) -> dict[str, Any]:
                return dict(zip(kept, values, strict=True))

        return cls(model, digest, struct.Struct(f"<{len(names)}d"), record)


UNKNOWN = Names.of((), "", "")


class Encoder:
    """Rows → lines, for one endpoint."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._known: dict[str, Names] = {}
        self._json = msgspec.json.Encoder(enc_hook=str)
        self._body = bytearray()  # used again for every line

    def describe(self, release: str, names: Names) -> None:
        self._known[release] = names

    def append(self, row: Row, to: bytearray) -> None:
        """Appends a line for each data row, at most MAX_ROWS; one where there is none.

        Raises `ValueError` or `struct.error`, and appends nothing, when the values do not fit the
        release, and `TypeError` or such for values that no JSON can hold.
        """
        known = self._known.get(row.release, UNKNOWN)
        start = len(to)
        try:
            self._append(row, known, _values(row, known), to)
        except Exception:
            del to[start:]
            raise

    def append_without_values(self, row: Row, to: bytearray) -> None:
        """Appends one line of what else is known about a row that `append` refused."""
        known = self._known.get(row.release, UNKNOWN)
        self._append(row, known, [(None, None, None, None)], to)

    def _append(self, row: Row, known: Names, values: Iterable[Values], to: bytearray) -> None:
        at = _moment(row.at_ns)
        digest = hashlib.sha256(row.request).hexdigest() if row.request else ""
        left_out = max(row.rows - MAX_ROWS, 0)
        body = self._body
        for number, (features, entities, times, output) in enumerate(values):
            line = Line(
                at, self._endpoint, row.prediction_id, number, row.rows, left_out,
                row.release, known.model, known.digest, row.arm, row.unit, row.epoch, digest,
                row.status, row.error, entities, features, times, output,
                row.parse_us, row.features_us, row.queue_us, row.model_us, row.total_us,
            )  # fmt: skip
            self._json.encode_into(line, body)
            del body[-1:]
            to += body
            to += b',"crc":"%08x"}\n' % crc32(body)


def is_whole(line: bytes) -> bool:
    """Whether a line, without its line feed, is what was written."""
    head, tail = line[:-TAIL], line[-TAIL:]
    return tail == b',"crc":"%08x"}' % crc32(head)


_decode = msgspec.json.Decoder(Line).decode


def decode(line: bytes) -> Line:
    """What a whole line says. Raises `msgspec.MsgspecError` for what never was a row."""
    return _decode(line)


def _values(row: Row, known: Names) -> Iterable[Values]:
    if known is UNKNOWN and (row.matrix or row.columns):
        raise ValueError(f"the release {row.release!r} has not been described")
    if row.rows == 1 and row.matrix:  # the usual request, in a third of the time
        features = known.record(*known.values.unpack(row.matrix))
        entities = {key: value for key, (value,) in row.entities.items()} if row.entities else None
        times = None
        if row.happened:
            times = {view: _moment(at) if at else None for view, (at,) in row.happened.items()}
        return ((features, entities, times, _numbers(row.outputs) if row.outputs else None),)
    if row.rows == 0:
        return ((None, None, None, None),)
    return _values_of_many(row, known, min(row.rows, MAX_ROWS))


def _values_of_many(row: Row, known: Names, count: int) -> list[Values]:
    absent: list[Any] = [None] * count
    columns = (
        _features(row, known, count) or absent,
        _records(row.entities, count) or absent,
        _records(_event_times(row.happened, count), count) or absent,
        _outputs(row, count) or absent,
    )
    found = list(zip(*(values[:count] for values in columns), strict=False))
    if len(found) < count:
        raise ValueError(f"values of {len(found)} rows; the request had {row.rows}")
    return found


def _features(row: Row, known: Names, count: int) -> list[Any] | None:
    if row.matrix is not None:
        part = _bytes(row.matrix, count * known.values.size)
        return [known.record(*values) for values in known.values.iter_unpack(part)]
    if row.columns is not None:
        kept = [values[:count] for values in row.columns]
        return [known.record(*values) for values in zip(*kept, strict=True)]
    return None


def _records(
    columns: Mapping[str, Sequence[Any]] | None, count: int
) -> list[dict[str, Any]] | None:
    if not columns:
        return None
    kept = [values[:count] for values in columns.values()]
    return [dict(zip(columns, values, strict=True)) for values in zip(*kept, strict=True)]


def _event_times(
    happened: Mapping[str, Sequence[int]] | None, count: int
) -> dict[str, list[datetime | None]] | None:
    if not happened:
        return None
    return {
        view: [_moment(at) if at else None for at in times[:count]]
        for view, times in happened.items()
    }


def _outputs(row: Row, count: int) -> list[Any] | None:
    if row.outputs is None:
        return None
    width = row.width
    flat = _numbers(_bytes(row.outputs, 8 * count * width))
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _numbers(values: Bytes) -> list[Any]:
    view = memoryview(values)
    return view.tolist() if view.format == "d" else view.cast("d").tolist()


def _bytes(values: Bytes, size: int) -> memoryview:
    part = memoryview(values).cast("B")[:size]
    if len(part) < size:
        raise ValueError(f"{len(part)} bytes of values; expected {size}")
    return part


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds // 1_000 / 1e6, UTC)
