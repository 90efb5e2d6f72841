"""What takes long to read is read the less often, and nobody waits for it."""

from __future__ import annotations

import threading

import pytest

from penstock.rollout.readings import Readings


def test_a_reading_is_kept_for_twenty_times_as_long_as_it_took() -> None:
    now, count = 0.0, 0

    def slow() -> int:
        nonlocal now, count
        now += 3.0
        count += 1
        return count

    readings = Readings(lambda: now)
    seen = []
    for moment in (0.0, 10.0, 62.0, 63.0):
        now = max(now, moment)
        seen.append(readings.read("a", slow))
    assert seen == [1, 1, 1, 2]
    assert readings.read("another", slow) == 3


def test_nobody_waits_for_a_reading_that_hangs() -> None:
    over, count = threading.Event(), 0

    def hangs() -> int:
        nonlocal count
        over.wait()
        count += 1
        return count

    readings = Readings(lambda: 0.0, patience=0.01)
    assert readings.read("a", hangs) is None  # there is nothing older
    over.set()
    while readings.read("a", hangs) is None:
        pass
    over.clear()
    known = readings.read("a", hangs)
    assert known is not None
    assert known <= count


def test_what_a_reading_raises_is_said_and_it_is_tried_again() -> None:
    def fails() -> int:
        raise ValueError("no numbers")

    readings = Readings()
    with pytest.raises(ValueError, match="no numbers"):
        readings.read("a", fails)
    assert readings.read("a", lambda: 5) == 5
