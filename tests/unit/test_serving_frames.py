from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.replicas.frames import (
    HEADER,
    MAX_BODY,
    NESTED,
    WHOLE,
    Decoder,
    Frame,
    FrameError,
    decode_answer,
    encode,
    encode_answer,
)

FRAMES = st.builds(
    Frame,
    number=st.integers(0, 2**64 - 1),
    kind=st.integers(0, 255),
    flags=st.integers(0, 255),
    status=st.integers(0, 2**16 - 1),
    body=st.binary(max_size=2000),
)


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(1, 300), min_size=1))
def test_frames_survive_any_cutting_of_the_stream(frames: list[Frame], sizes: list[int]) -> None:
    stream = b"".join(encode(*frame) for frame in frames)
    decoder = Decoder()
    seen: list[Frame] = []
    position = turn = 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        seen += decoder.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert seen == frames


@given(FRAMES, st.data())
def test_a_frame_cut_short_is_not_given(frame: Frame, data: st.DataObject) -> None:
    stream = encode(*frame)
    assert Decoder().feed(stream[: data.draw(st.integers(0, len(stream) - 1))]) == []


def test_a_length_beyond_the_limit_is_refused_before_the_body_comes() -> None:
    with pytest.raises(FrameError, match="announces"):
        Decoder().feed(HEADER.pack(1, 0, 0, 0, MAX_BODY + 1))


@pytest.mark.parametrize(
    ("width", "form", "values", "shape"),
    [
        (1, 0, [0.25, 0.5], (2,)),
        (1, NESTED, [[0.25], [0.5]], (2, 1)),
        (2, NESTED, [[0.25, 0.5]], (1, 2)),
        (1, WHOLE, [1, 0], (2,)),
    ],
)
def test_answers_keep_their_form(
    width: int, form: int, values: list[object], shape: tuple[int, ...]
) -> None:
    flat = [v for row in values for v in (row if isinstance(row, list) else [row])]
    body = encode_answer(
        shape[0], width, form, struct.pack(f"<{len(flat)}d", *flat), (1, 2, 3), {"features": []}
    )
    answered = decode_answer(body)
    assert answered.values() == values
    assert [type(v) for v in answered.values()] == [type(v) for v in values]
    assert answered.shape == shape
    assert (answered.feature_us, answered.queue_us, answered.model_us) == (1, 2, 3)
    assert answered.read == {"features": []}


@given(st.binary(max_size=200))
def test_an_answer_that_is_none_is_told(body: bytes) -> None:
    try:
        answered = decode_answer(body)
    except FrameError:
        return
    assert len(answered.outputs) == answered.rows * answered.width
