"""The frames between the gateway and a replica: bytes in, frames out, no IO.

A frame is a fixed header, a label and a body. The number pairs an answer with its request, so that
several requests can be on their way over one connection.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = struct.Struct("!QHHI")  # number, status, length of the label, length of the body
MAX_LABEL = 0xFFFF
MAX_BODY = 1 << 30


class FrameError(Exception):
    """The other side does not speak this protocol."""


@dataclass(frozen=True, slots=True)
class Frame:
    number: int
    status: int  # 0 for a request; an HTTP status for an answer
    label: bytes  # the request id of a request
    body: bytes


def encode(frame: Frame) -> bytes:
    """Raises `FrameError` when the label or the body is too long."""
    if len(frame.label) > MAX_LABEL or len(frame.body) > MAX_BODY:
        raise FrameError(f"a frame of {len(frame.label)} + {len(frame.body)} bytes is too long")
    header = HEADER.pack(frame.number, frame.status, len(frame.label), len(frame.body))
    return b"".join((header, frame.label, frame.body))


class Decoder:
    """Puts frames together from the pieces that a socket gives."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now, in order. Raises `FrameError`."""
        self._buffer += data
        frames = []
        start = 0
        while (frame := self._frame_at(start)) is not None:
            frames.append(frame)
            start += HEADER.size + len(frame.label) + len(frame.body)
        del self._buffer[:start]
        return frames

    def _frame_at(self, start: int) -> Frame | None:
        if len(self._buffer) < start + HEADER.size:
            return None
        number, status, label_length, body_length = HEADER.unpack_from(self._buffer, start)
        if body_length > MAX_BODY:
            raise FrameError(f"a frame announces {body_length} bytes")
        label = start + HEADER.size
        body = label + label_length
        if len(self._buffer) < body + body_length:
            return None
        return Frame(
            number,
            status,
            bytes(self._buffer[label:body]),
            bytes(self._buffer[body : body + body_length]),
        )
