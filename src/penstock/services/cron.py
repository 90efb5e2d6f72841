"""Cron expressions in a time zone: at which instants a schedule comes, through daylight saving.

Two rules, those of cron(8) as Debian has it:

- Where the expression names its hours, it is about the clock on the wall. What falls into an hour
  that is skipped comes once, at the hour's end; what falls into an hour that comes twice comes the
  first time.
- Where its hour is `*`, it is about time that passes. Both passes of a doubled hour count, and
  nothing is made up for one that is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from penstock.errors import SettingsError

if TYPE_CHECKING:
    from penstock.settings import PipelineSettings

FIELDS = "minute hour day month weekday"
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Schedule:
    """A cron expression of five fields, or one such as @daily, and the zone of its clock.

    Raises `SettingsError` for what is no cron expression, or never comes.
    """

    expression: str
    zone: str = "UTC"

    def __post_init__(self) -> None:
        words = self.expression.split()
        named = self.expression.startswith("@")
        if not named and (len(words) != 5 or any(word[0] in "rRhH" for word in words)):
            raise self._unusable(f"five fields are expected: {FIELDS}")
        self._wall(datetime(2000, 1, 1))  # noqa: DTZ001 -- what a clock shows

    def __str__(self) -> str:
        return f"{self.expression} {self.zone}"

    def next_after(self, moment: datetime) -> datetime:
        """The first slot after a moment; in UTC."""
        return next(self.after(moment))

    def after(self, moment: datetime) -> Iterator[datetime]:
        """All slots after a moment, in order; in UTC."""
        following = self._elapsed if self._hourly else self._on_the_wall
        while True:
            moment = following(moment)
            yield moment

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The slots in `(start, end]`; in UTC."""
        for slot in self.after(start):
            if slot > end:
                return
            yield slot

    @cached_property
    def _clock(self) -> ZoneInfo:
        return ZoneInfo(self.zone)

    @property
    def _hourly(self) -> bool:
        words = self.expression.split()
        return words == ["@hourly"] or words[1:2] == ["*"]

    def _on_the_wall(self, moment: datetime) -> datetime:
        wall = self._read(moment)
        while True:
            wall = self._wall(wall)
            if (instant := self._first(wall)) > moment:
                return instant

    def _elapsed(self, moment: datetime) -> datetime:
        """As long as the clock is not put forward or back, its time is linear."""
        wall = self._wall(self._read(moment))
        while True:
            instant = wall - self._offset(moment)
            if self._offset(instant.replace(tzinfo=UTC)) == self._offset(moment):
                return instant.replace(tzinfo=UTC)
            moment = self._change(moment, instant.replace(tzinfo=UTC))
            wall = self._wall(self._read(moment) - SECOND)

    def _first(self, wall: datetime) -> datetime:
        """When the clock shows this for the first time; if it never does, when it jumps over it."""
        instant = wall.replace(tzinfo=self._clock, fold=0).astimezone(UTC)
        if self._read(instant) == wall:
            return instant
        day = timedelta(days=1)
        return self._change(instant - day, instant + day)

    def _change(self, before: datetime, after: datetime) -> datetime:
        """The instant, between two of different offsets, from which on the later one holds."""
        before, offset = before.replace(microsecond=0), self._offset(after)
        while after - before > SECOND:
            middle = (before + (after - before) // 2).replace(microsecond=0)
            if self._offset(middle) == offset:
                after = middle
            else:
                before = middle
        return after

    def _read(self, moment: datetime) -> datetime:
        return moment.astimezone(self._clock).replace(tzinfo=None, fold=0)

    def _offset(self, moment: datetime) -> timedelta:
        return moment.astimezone(self._clock).utcoffset() or timedelta(0)

    def _wall(self, wall: datetime) -> datetime:
        """The next time on the clock, as if it were never put forward or back."""
        from croniter import CroniterError, croniter

        try:
            found: Any = croniter(self.expression, wall).get_next(datetime)
        except (CroniterError, AttributeError, KeyError) as error:
            raise self._unusable(str(error)) from error
        return found  # type: ignore[no-any-return]

    def _unusable(self, reason: str) -> SettingsError:
        return SettingsError(
            f"the schedule {self.expression!r} cannot be used: {reason}",
            hint="write [pipeline] schedule like '0 2 * * *' (each night at two) or '@hourly'",
        )


def schedule_of(settings: PipelineSettings) -> Schedule | None:
    """That of a project; None where runs are not started by the clock. Raises `SettingsError`."""
    return Schedule(settings.schedule, settings.timezone) if settings.schedule else None
