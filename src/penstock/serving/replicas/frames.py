"""The frames between the gateway and a replica: bytes in, frames out, no IO.

A frame is a fixed header and a body. The number pairs an answer with its question, so that many
can be on their way over one connection. A question of numbers is the raw matrix, an answer the raw
outputs: nothing is parsed on either side.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

import msgspec

HEADER = struct.Struct("<QBBHI")  # number, kind, flags, status, length of the body
ANSWER = struct.Struct("<IIBIIII")  # rows, outputs a row, form, 3 times in µs, length of the rest
MAX_BODY = 1 << 30

# Kinds of questions.
MATRIX: Final = 1  # float64, little-endian, row after row, in the signature's order; NaN: missing
COLUMNS: Final = 2  # MessagePack: a list of values for each feature, in the signature's order
ENTITIES: Final = 3  # MessagePack: {key or request column: list of values}
LOOKUP: Final = 4  # MessagePack: a question to Feast; the answer is JSON as Feast's server gives it

# The form of outputs, which MLflow's protocol keeps.
NESTED: Final = 1  # a list for each row, though it may hold one number: shape (rows, k)
WHOLE: Final = 2  # whole numbers, such as classes

# Flags of questions.
ALONE: Final = 1  # not in one batch with others, since it may have killed a replica
POSITIVE: Final = 2  # the probability of the positive class is wanted, not all outputs


class FrameError(Exception):
    """The other side does not speak this protocol."""


class Frame(NamedTuple):
    number: int
    kind: int  # of the question; an answer repeats it
    flags: int
    status: int  # 0 for a question; an HTTP status for an answer
    body: bytes


class Answered(NamedTuple):
    """What a replica says to a question it could answer."""

    rows: int
    width: int  # outputs a row
    outputs: memoryview[float]  # float64, rows × width
    feature_us: int  # reading online features
    queue_us: int  # between arrival and the model's start
    model_us: int  # in the model, of the whole batch
    read: dict[str, Any] | None  # the features that were read, as a row of the log has them
    form: int = 0  # NESTED, WHOLE

    @property
    def shape(self) -> tuple[int, ...]:
        nested = self.width > 1 or self.form & NESTED
        return (self.rows, self.width) if nested else (self.rows,)

    def values(self) -> list[Any]:
        """A number for each row, or a list of them."""
        flat: list[Any] = self.outputs.tolist()
        if self.form & WHOLE:
            flat = [int(value) for value in flat]
        if len(self.shape) == 1:
            return flat
        return [flat[start : start + self.width] for start in range(0, len(flat), self.width)]


def encode(number: int, kind: int, flags: int, status: int, body: bytes) -> bytes:
    """Raises `FrameError` when the body is too long."""
    if len(body) > MAX_BODY:
        raise FrameError(f"a frame of {len(body)} bytes is too long")
    return HEADER.pack(number, kind, flags, status, len(body)) + body


def encode_answer(
    rows: int,
    width: int,
    form: int,
    outputs: bytes,
    times: tuple[int, int, int],
    read: Any = None,
) -> bytes:
    """The body of a frame of status 200."""
    kept = b"" if read is None else msgspec.msgpack.encode(read)
    return ANSWER.pack(rows, width, form, *times, len(kept)) + outputs + kept


def decode_answer(body: bytes) -> Answered:
    """Raises `FrameError` unless the lengths agree."""
    try:
        rows, width, form, feature_us, queue_us, model_us, kept = ANSWER.unpack_from(body)
    except struct.error as error:
        raise FrameError(f"an answer of {len(body)} bytes") from error
    end = ANSWER.size + 8 * rows * width
    if end + kept != len(body):
        raise FrameError(f"an answer of {len(body)} bytes; expected {end + kept}")
    outputs = memoryview(body)[ANSWER.size : end].cast("d")
    read = msgspec.msgpack.decode(body[end:]) if kept else None
    return Answered(rows, width, outputs, feature_us, queue_us, model_us, read, form)


class Decoder:
    """Puts frames together from the pieces that a socket gives."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now, in order. Raises `FrameError`."""
        if self._rest:
            data = self._rest + data
        frames, start, end = [], 0, len(data)
        while end - start >= HEADER.size:
            number, kind, flags, status, length = HEADER.unpack_from(data, start)
            if length > MAX_BODY:
                raise FrameError(f"a frame announces {length} bytes")
            begin = start + HEADER.size
            if end - begin < length:
                break
            start = begin + length
            frames.append(Frame(number, kind, flags, status, data[begin:start]))
        self._rest = data[start:]
        return frames
