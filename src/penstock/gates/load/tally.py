"""What one process of a load test saw: counts, and latencies by the tenth of a second."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

TICK = 0.1  # seconds
KEPT_EXAMPLES = 5


@dataclass(frozen=True)
class Tally:
    """The result of a process, as it goes from one process to another."""

    seconds: float  # from the first request to the last answer
    latencies: dict[int, bytes]  # microseconds as uint32, of the answers with 200, by tick
    errors: dict[int, int]  # by tick
    statuses: dict[int, int]  # other than 200
    failures: dict[str, int]  # requests without an answer, by what became of them
    examples: tuple[str, ...]  # the first few errors
    unsent: int = 0  # of an open loop: were due, and found no connection free until the end
    stopped: bool = False  # by the user


class Seen(NamedTuple):
    """What a process has seen so far."""

    seconds: float
    answers: int
    errors: int


@dataclass
class Counts:
    """What is counted while the test runs."""

    answers: int = 0  # up to the last tick
    ticks: dict[int, array[int]] = field(default_factory=dict)
    errors: Counter[int] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def error(self, tick: int, example: str) -> None:
        self.errors[tick] += 1
        if len(self.examples) < KEPT_EXAMPLES:
            self.examples.append(example)

    def tally(self, seconds: float, unsent: int, *, stopped: bool) -> Tally:
        return Tally(
            seconds=seconds,
            latencies={tick: values.tobytes() for tick, values in self.ticks.items() if values},
            errors=dict(self.errors),
            statuses=dict(self.statuses),
            failures=dict(self.failures),
            examples=tuple(self.examples),
            unsent=unsent,
            stopped=stopped,
        )
