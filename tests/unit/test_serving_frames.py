from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.serving.frames import HEADER, MAX_BODY, Decoder, Frame, FrameError, encode

FRAMES = st.builds(
    Frame,
    number=st.integers(0, 2**64 - 1),
    status=st.integers(0, 2**16 - 1),
    label=st.binary(max_size=200),
    body=st.binary(max_size=2000),
)


@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(1, 300), min_size=1))
def test_frames_survive_any_cutting_of_the_stream(frames: list[Frame], sizes: list[int]) -> None:
    stream = b"".join(map(encode, frames))
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
    stream = encode(frame)
    assert Decoder().feed(stream[: data.draw(st.integers(0, len(stream) - 1))]) == []


def test_a_length_beyond_the_limit_is_refused_before_the_body_comes() -> None:
    with pytest.raises(FrameError, match="announces"):
        Decoder().feed(HEADER.pack(1, 0, 0, MAX_BODY + 1))


def test_a_label_too_long_for_its_length_is_refused() -> None:
    with pytest.raises(FrameError, match="too long"):
        encode(Frame(1, 0, b"x" * 70_000, b""))
