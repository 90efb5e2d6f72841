"""What takes long to read is read the less often."""

from __future__ import annotations

from penstock.rollout.reading_rate import Kept


def test_a_reading_is_kept_for_twenty_times_as_long_as_it_took() -> None:
    now, readings = 0.0, 0

    def slow() -> int:
        nonlocal now, readings
        now += 3.0
        readings += 1
        return readings

    kept = Kept(lambda: now)
    seen = []
    for moment in (0.0, 10.0, 62.0, 63.0):
        now = max(now, moment)
        seen.append(kept.read("a", slow))
    assert seen == [1, 1, 1, 2]
    assert kept.read("another", slow) == 3
