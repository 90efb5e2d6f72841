"""Where rollouts are remembered: each is a stream of the ledger, and its state the stream's fold.

Of two who write the same position, the second is refused and reads again. A table lists the
streams; it also says up to which entry all that follows from them was done, so that what a killed
controller did not come to is done by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from penstock.audit.ledger import Actor, Ledger
from penstock.errors import RolloutError
from penstock.rollout import events as e
from penstock.rollout.states import Rollout, replay
from penstock.state import rollouts

STREAM = "rollout/"
BIRTH = timedelta(minutes=1)  # between being listed and the first entry, at most


class UnknownRolloutError(RolloutError):
    """There is no rollout of that name, or more than one."""


@dataclass(frozen=True)
class Remembered:
    """A rollout as the ledger tells it."""

    state: Rollout
    events: tuple[e.Event, ...]
    sequences: tuple[int, ...]  # of their entries, in the whole ledger
    settled: int  # the position up to which all that follows was done

    @property
    def unsettled(self) -> tuple[e.Event, ...]:
        """Events whose consequences may not be done yet."""
        return self.events[self.settled :]

    @property
    def sequence(self) -> int:
        """Of the last entry: what is made from a later one replaces what is made from this."""
        return self.sequences[-1]

    def sequence_of(self, event: int) -> int:
        return self.sequences[event]


class Memory:
    """The rollouts of a state database."""

    def __init__(self, engine: Engine, by: Actor | None = None) -> None:
        """`by`: who writes, and how they are known; others are called by their ids."""
        self._engine = engine
        self._by = by
        self._ledger = Ledger(engine)

    def create(self, event: e.Created) -> Remembered:
        """Raises `RolloutError` while another rollout of the endpoint goes on."""
        if not self._begin(event):
            self._forget_unborn(event)
            if not self._begin(event):
                raise RolloutError(
                    f"another rollout of {event.endpoint} was begun at the same time",
                    hint="`penstock rollout list` shows it",
                )
        return self._append(event.id, 0, (event,))

    def _begin(self, event: e.Created) -> bool:
        return rollouts.begin(self._engine, event.id, event.endpoint, event.at)

    def _forget_unborn(self, event: e.Created) -> None:
        """Rollouts that are in the way, and whose creator was killed before the first entry."""
        for other in rollouts.live(self._engine, event.endpoint):
            if event.at - other.updated_at < BIRTH or self._has_begun(other):
                raise RolloutError(
                    f"{other.id} of {event.endpoint} goes on",
                    hint=f"wait for its end, or type `penstock rollout abort {other.id}`",
                )
            rollouts.forget(self._engine, other.id)

    def _has_begun(self, one: rollouts.Listed) -> bool:
        return one.position > 0 or bool(self._ledger.entries(stream=STREAM + one.id))

    def load(self, rollout: str) -> Remembered:
        """Raises `UnknownRolloutError` where there is none, or several begin so."""
        known = [one for one in rollouts.all_of(self._engine) if one.id.startswith(rollout)]
        exact = [one for one in known if one.id == rollout] or known
        if len(exact) != 1:
            named = ", ".join(one.id for one in exact[:5]) or "none begins so"
            raise UnknownRolloutError(
                f"no single rollout is called {rollout!r}: {named}",
                hint="`penstock rollout list` shows all",
            )
        return self._read(exact[0].id, exact[0].position)

    def append(self, before: Remembered, events: Sequence[e.Event]) -> Remembered:
        """Writes what follows `before`. Raises `ConflictError` where something else follows."""
        return self._append(before.state.id, before.state.position, events)

    def settle(self, one: Remembered, position: int) -> None:
        """All that follows from its entries up to this one is done."""
        state = one.state
        rollouts.settle(
            self._engine,
            state.id,
            status=state.status,
            live=not state.ended or position < state.position,
            position=position,
            at=one.events[position - 1].at,
        )

    def live(self) -> list[str]:
        """Rollouts that have not ended, or whose end has consequences to come."""
        return [one.id for one in rollouts.live(self._engine) if self._has_begun(one)]

    def listed(self) -> list[rollouts.Listed]:
        """All that have begun, the newest first."""
        return [one for one in rollouts.all_of(self._engine) if self._has_begun(one)]

    def _append(self, rollout: str, position: int, events: Sequence[e.Event]) -> Remembered:
        for number, event in enumerate(events, start=position + 1):
            self._ledger.append(
                e.action_of(event),
                rollout,
                digest=_digest_of(event),
                reason=str(getattr(event, "reason", "")),
                actor=self._by if self._by and self._by.id == event.actor else event.actor,
                details=event.model_dump(mode="json"),
                stream=STREAM + rollout,
                position=number,
            )
        return self.load(rollout)

    def _read(self, rollout: str, settled: int) -> Remembered:
        entries = self._ledger.entries(stream=STREAM + rollout)
        if not entries:
            raise UnknownRolloutError(f"{rollout} has not begun yet", hint="try again")
        events = tuple(e.event_of(entry.action, entry.details) for entry in entries)
        sequences = tuple(entry.sequence for entry in entries)
        return Remembered(replay(events), events, sequences, settled)


def _digest_of(event: e.Event) -> str:
    if isinstance(event, e.Created):
        return event.spec.candidate.digest
    return str(getattr(event, "digest", ""))


def written_at(one: Remembered, kind: type[e.Event]) -> datetime | None:
    """When the first event of a kind was; None: never."""
    return next((event.at for event in one.events if isinstance(event, kind)), None)
