"""Slots of a schedule against a walk from minute to minute, through changes of the clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import SettingsError
from penstock.services.cron import Schedule

MINUTE = timedelta(minutes=1)
# Zone, and a UTC day within three of which its clock is put forward or back.
CHANGES = (
    ("Europe/Berlin", datetime(2026, 3, 29, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, tzinfo=UTC)),  # by half an hour
    ("Australia/Lord_Howe", datetime(2026, 10, 3, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 3, 8, tzinfo=UTC)),  # midnight is skipped
    ("America/Havana", datetime(2026, 11, 1, tzinfo=UTC)),  # and comes twice
    ("Asia/Kathmandu", datetime(2026, 6, 1, tzinfo=UTC)),  # never; +05:45
    ("UTC", datetime(2026, 3, 29, tzinfo=UTC)),
)


def walked(
    minutes: set[int], hours: set[int] | None, zone: str, start: datetime, end: datetime
) -> Iterator[datetime]:
    """By the words of the rules alone. Of a named hour, each time on the clock counts once, and
    those that the clock jumps over count when it has jumped; of any hour, each minute that passes.
    """
    clock = ZoneInfo(zone)
    begin = start.replace(second=0) - timedelta(hours=3)
    shown = begin.astimezone(clock).replace(tzinfo=None)
    seen, moment = set[datetime](), begin
    while (moment := moment + MINUTE) <= end:
        before, shown = shown, moment.astimezone(clock).replace(tzinfo=None, fold=0)
        new = {shown} - seen
        while (before := before + MINUTE) < shown:
            new.add(before)
        seen |= new
        if hours is None:
            comes = shown.minute in minutes
        else:
            comes = any(wall.hour in hours and wall.minute in minutes for wall in new)
        if comes and moment > start:
            yield moment


def fields(values: set[int]) -> str:
    return ",".join(map(str, sorted(values)))


@settings(deadline=None, max_examples=60)
@given(
    change=st.sampled_from(CHANGES),
    minutes=st.sets(st.integers(0, 59), min_size=1, max_size=4),
    hours=st.none() | st.sets(st.integers(0, 23), min_size=1, max_size=5),
    begins=st.integers(-172_800, 72_000),  # seconds from the day's midnight
    lasts=st.integers(1, 48),
)
def test_slots_are_those_of_a_walk_from_minute_to_minute(
    change: tuple[str, datetime],
    minutes: set[int],
    hours: set[int] | None,
    begins: int,
    lasts: int,
) -> None:
    zone, day = change
    start = day + timedelta(seconds=begins)
    end = start + timedelta(hours=lasts)
    schedule = Schedule(f"{fields(minutes)} {fields(hours) if hours else '*'} * * *", zone)
    assert list(schedule.between(start, end)) == list(walked(minutes, hours, zone, start, end))


def times(expression: str, day: datetime, hours: int) -> list[str]:
    """In UTC."""
    found = Schedule(expression, "Europe/Berlin").between(day, day + timedelta(hours=hours))
    return [f"{slot:%H:%M}" for slot in found]


SPRING = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)  # 01:59 CET is followed by 03:00 CEST at 01:00
AUTUMN = datetime(2026, 10, 24, 22, 30, tzinfo=UTC)  # 02:59 CEST by 02:00 CET at 01:00


def test_a_skipped_hour_comes_once_at_its_end_and_a_doubled_one_the_first_time() -> None:
    assert times("30 2 * * *", SPRING, 12) == ["01:00"]
    assert times("0,15,30 2 * * *", SPRING, 12) == ["01:00"]
    assert times("30 2 * * *", AUTUMN, 12) == ["00:30"]
    assert times("30 * * * *", SPRING, 3) == ["00:30", "01:30", "02:30"]
    assert times("30 * * * *", AUTUMN, 3) == ["23:30", "00:30", "01:30"]
    assert times("@hourly", AUTUMN, 3) == ["23:00", "00:00", "01:00"]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "five fields"),
        ("0 2 * *", "five fields"),
        ("0 0 2 * * *", "five fields"),
        ("60 2 * * *", "out of range"),
        ("H 2 * * *", "five fields"),
        ("0 2 30 2 *", "failed to find"),
        ("@once", "cannot be used"),
        ("every night", "five fields"),
    ],
)
def test_what_is_no_schedule_is_said(expression: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        Schedule(expression)
