"""`POST /feedback`: what became of a prediction or of a unit, told later, and as often as it comes.

    {"prediction_id": "…", "label": 1}                        or a list of these
    {"prediction_id": "…", "row": 0, "label": 0, "at": "2026-03-01T00:00:00Z", "source": "crm"}
    {"unit": "customer-42", "metric": "revenue", "value": 12.5, "id": "order-7"}

It is kept as it came, but for units, of which only hashes are: first in append-only files beside
the prediction log, from where it reaches the state database. What is told twice of one thing is
answered alike, and the first counts, unless `replace` says that it was wrong. Things are told
apart by the row of a prediction, and of a unit by `id`, or else by the moment: `at`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from penstock.serving.http_server.messages import RequestError
from penstock.serving.prediction_ids import parsed
from penstock.serving.routing.buckets import hash_of
from penstock.state.outcomes import LABEL

MOST = 10_000  # in one request
LARGEST = 1e18  # value; what JSON gives beyond has lost its digits
LONGEST = 256  # characters of a text
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
AHEAD = timedelta(days=1)  # that another clock may be before ours
ROWS = 100_000
PAUSE, PAUSE_AFTER = 50e-6, 200  # seconds, entries: the event loop waits for no longer

Value = float | int | bool | str
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Metric = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_.-]{0,55}$")]
Hash = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}$")]
Text = Annotated[str, msgspec.Meta(max_length=LONGEST)]
Id = Annotated[str, msgspec.Meta(max_length=100)]


class Feedback(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What a client tells of one prediction or unit. `label` is the value of the metric label."""

    prediction_id: str | None = None
    unit: Id | int | None = None  # as requests name it
    unit_hash: Hash | None = None  # as the prediction log's column `unit` has it
    metric: Metric = LABEL
    value: Value | None = None
    label: Value | None = None
    row: Annotated[int, msgspec.Meta(ge=0, le=ROWS)] = 0  # of the prediction
    id: Id = ""  # of the unit's event
    at: Moment | None = None  # when it happened; None: now
    source: Annotated[str, msgspec.Meta(max_length=100)] = ""
    replace: bool = False  # what was told of the same thing before was wrong


class Told(msgspec.Struct, omit_defaults=True):
    """One line of a file."""

    subject: str  # a prediction's id, or a unit's hash
    event: str
    unit: str  # hash of the unit
    value: Value
    told_at: Moment
    at: Moment
    metric: str = LABEL
    source: str = ""
    replace: bool = False


class Thing(NamedTuple):
    """What is told of once."""

    subject: str
    metric: str
    event: str


_decoder = msgspec.json.Decoder(Feedback | list[Feedback])
_line = msgspec.json.Decoder(Told)
encode = msgspec.json.Encoder().encode


def parse(body: bytes, now: datetime) -> list[Feedback]:
    """Raises `RequestError` that names the field, and of a list the entry, that is wrong."""
    try:
        given = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise RequestError(400, str(error), _field(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {error}") from error
    if not isinstance(given, list):
        _check(given, now)
        return [given]
    if not given:
        raise RequestError(400, "the list is empty")
    if len(given) > MOST:
        raise RequestError(413, f"{len(given)} in one request; at most {MOST} are allowed")
    for number, one in _gently(given):
        try:
            _check(one, now)
        except RequestError as error:
            message = f"entry {number}: {error.message}"
            raise RequestError(error.status, message, error.field) from error
    return given


def _field(message: str) -> str | None:
    """msgspec ends with: at `$[...].field`."""
    path = message.rpartition("`$")[2].rstrip("`")
    return path.rpartition(".")[2] or None if "." in path else None


def _check(one: Feedback, now: datetime) -> None:
    _check_subject(one)
    if (one.value is None) == (one.label is None):
        raise RequestError(400, "give a value, or a label", "value")
    if one.label is not None and one.metric != LABEL:
        raise RequestError(400, f"the metric {one.metric!r} has a value, no label", "label")
    name, value = ("label", one.label) if one.value is None else ("value", one.value)
    if isinstance(value, int | float) and abs(value) > LARGEST:
        raise RequestError(400, f"the {name} is beyond {LARGEST:g}", name)
    if isinstance(value, str) and len(value) > LONGEST:
        raise RequestError(400, f"the {name} has more than {LONGEST} characters", name)
    for field, text in ((name, value), ("id", one.id), ("source", one.source)):
        if isinstance(text, str) and not text.isprintable():
            raise RequestError(400, f"the {field} has characters that cannot be shown", field)
    if one.at is not None and not EARLIEST <= one.at <= now + AHEAD:
        raise RequestError(400, f"at is {one.at}: not between 2000 and tomorrow", "at")


def _check_subject(one: Feedback) -> None:
    given = [
        name for name in ("prediction_id", "unit", "unit_hash") if getattr(one, name) is not None
    ]
    if len(given) != 1:
        said = f"not {' and '.join(given)}" if given else "none of them is there"
        raise RequestError(
            400, f"give one of prediction_id, unit and unit_hash; {said}",
            given[1] if given else "prediction_id",
        )  # fmt: skip
    if one.prediction_id is not None:
        if parsed(one.prediction_id) is None:
            # Any that has the form is taken: gateways keep no list of what they answered.
            raise RequestError(
                400,
                f"{one.prediction_id[:64]!r} is no id of a prediction: those have 16 hexadecimal "
                "digits, a hyphen, and 28 more",
                "prediction_id",
            )
        if one.id:
            raise RequestError(400, "a prediction's outcomes are told apart by row", "id")
        return
    if one.unit in ("", None) and one.unit_hash is None:
        raise RequestError(400, "unit is empty", "unit")
    if one.row:
        raise RequestError(400, "only predictions have rows", "row")


def told(one: Feedback, endpoint: str, now: datetime) -> Told:
    """What is kept of it: of units, the hash that is the same in all rollouts."""
    at = one.at or now
    if one.prediction_id is not None:
        subject, event = one.prediction_id, str(one.row)
        unit = subject[:16]
    else:
        subject = one.unit_hash or f"{hash_of(endpoint, str(one.unit)):016x}"
        unit, event = subject, one.id or at.astimezone(UTC).isoformat()
    value = one.label if one.value is None else one.value
    assert value is not None
    return Told(subject, event, unit, value, now, at, one.metric, one.source, one.replace)


def lines_of(given: list[Feedback], endpoint: str, now: datetime) -> bytes:
    """What is appended to the file."""
    return b"".join(encode(told(one, endpoint, now)) + b"\n" for _, one in _gently(given))


def _gently(given: list[Any]) -> Iterator[tuple[int, Any]]:
    """Lets the event loop in between."""
    for number, one in enumerate(given):
        if number % PAUSE_AFTER == PAUSE_AFTER - 1:
            time.sleep(PAUSE)
        yield number, one


def read_lines(lines: Iterable[bytes]) -> Iterator[Told]:
    """What was told, without what a process that was killed wrote half of."""
    for line in lines:
        try:
            yield _line.decode(line)
        except msgspec.MsgspecError:
            continue


def read(folder: Path) -> dict[Thing, Told]:
    """What was told of each thing: the first, or the last that replaces."""
    found: dict[Thing, Told] = {}
    said: list[Told] = []
    for path in sorted(folder.glob("*.jsonl")):
        said += read_lines(path.read_bytes().splitlines())
    said.sort(key=lambda one: one.told_at)
    for one in said:
        thing = Thing(one.subject, one.metric, one.event)
        if one.replace or thing not in found:
            found[thing] = one
    return found


def disagreeing(folder: Path, metric: str = LABEL) -> list[Thing]:
    """Things that were told of with different values, though none was said to replace another."""
    first: dict[Thing, Value] = {}
    found: dict[Thing, None] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for one in read_lines(path.read_bytes().splitlines()):
            thing = Thing(one.subject, one.metric, one.event)
            if one.metric != metric or one.replace:
                continue
            if first.setdefault(thing, one.value) != one.value:
                found[thing] = None
    return list(found)
