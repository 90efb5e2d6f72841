"""The ledger, in a database and in memory: one suite over both."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from penstock.audit.ledger import AppendOnlyLedger, Entry, Ledger, MemoryLedger
from penstock.errors import ConflictError


def at_once(count: int, action: Callable[[int], object]) -> list[BaseException | None]:
    """What `action(0)` … `action(count - 1)` raised, called from as many threads together."""
    barrier, raised = threading.Barrier(count), list[BaseException | None]([None] * count)

    def call(number: int) -> None:
        barrier.wait()
        try:
            action(number)
        except BaseException as error:  # noqa: BLE001 -- told to the test
            raised[number] = error

    threads = [threading.Thread(target=call, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def write(ledger: AppendOnlyLedger, position: int, stream: str = "rollout/a", **more: Any) -> int:
    return ledger.append(
        "rollout.ramped", "shop@1", digest="d", stream=stream, position=position, **more
    )


def places(entries: list[Entry]) -> list[int | None]:
    return [entry.position for entry in entries]


class LedgerContract:
    """What holds of every ledger."""

    def test_an_entry_comes_back_whole(self, ledger: AppendOnlyLedger) -> None:
        number = write(ledger, 1, reason="seen ✓", actor="ann", details={"weight": 0.1})
        (found,) = ledger.entries()
        assert (found.sequence, found.action, found.subject) == (number, "rollout.ramped", "shop@1")
        assert (found.reason, found.actor, found.details) == ("seen ✓", "ann", {"weight": 0.1})
        assert (found.stream, found.position) == ("rollout/a", 1)
        assert found.at.tzinfo is not None

    def test_entries_without_a_stream_have_no_place(self, ledger: AppendOnlyLedger) -> None:
        first = ledger.append("model.approved", "shop@1", digest="d")
        second = ledger.append("model.approved", "shop@2", digest="d")
        assert first < second
        assert [(one.stream, one.position) for one in ledger.entries()] == [("", None)] * 2

    def test_a_stream_is_read_in_its_order_and_alone(self, ledger: AppendOnlyLedger) -> None:
        write(ledger, 1)
        write(ledger, 1, stream="rollout/b")
        ledger.append("model.approved", "shop@1", digest="d")
        write(ledger, 2)
        assert places(ledger.entries(stream="rollout/a")) == [1, 2]
        assert places(ledger.entries(stream="rollout/b")) == [1]
        assert ledger.entries(stream="rollout/c") == []
        assert len(ledger.entries("rollout.ramped")) == 3
        assert len(ledger.entries("rollout.ramped", stream="rollout/a")) == 2
        assert ledger.entries("model.approved", stream="rollout/a") == []

    @pytest.mark.parametrize("position", [0, 1, 2, 4, 99])
    def test_only_the_next_place_can_be_written(
        self, ledger: AppendOnlyLedger, position: int
    ) -> None:
        write(ledger, 1)
        write(ledger, 2)
        with pytest.raises(ConflictError, match=f"rollout/a .*entry {position} is not its next"):
            write(ledger, position)
        assert places(ledger.entries()) == [1, 2]
        write(ledger, 3)

    @pytest.mark.parametrize(("stream", "position"), [("rollout/a", None), ("", 1)])
    def test_a_stream_and_a_place_go_together(
        self, ledger: AppendOnlyLedger, stream: str, position: int | None
    ) -> None:
        with pytest.raises(ValueError, match="has a position"):
            ledger.append("x", "y", digest="d", stream=stream, position=position)
        assert ledger.entries() == []

    def test_of_many_who_write_one_place_one_wins(self, ledger: AppendOnlyLedger) -> None:
        for position in (1, 2, 3):
            raised = at_once(4, lambda n, at=position: write(ledger, at, actor=f"c{n}"))
            lost = [error for error in raised if error is not None]
            assert [type(error) for error in lost] == [ConflictError] * 3
            assert ledger.entries()[-1].actor == f"c{raised.index(None)}"
        assert places(ledger.entries()) == [1, 2, 3]

    def test_two_who_try_again_lose_nothing(self, ledger: AppendOnlyLedger) -> None:
        def append(thread: int) -> None:
            for number in range(10):
                while True:
                    length = len(ledger.entries(stream="rollout/a"))
                    try:
                        write(ledger, length + 1, actor=f"{thread}-{number}")
                    except ConflictError:
                        continue
                    break

        assert at_once(2, append) == [None, None]
        found = ledger.entries(stream="rollout/a")
        assert places(found) == list(range(1, 21))
        for thread in range(2):
            own = [one.actor for one in found if one.actor.startswith(f"{thread}-")]
            assert own == [f"{thread}-{number}" for number in range(10)]


class TestDatabaseLedger(LedgerContract):
    @pytest.fixture
    def ledger(self, database: Engine) -> Ledger:
        return Ledger(database)


class TestMemoryLedger(LedgerContract):
    @pytest.fixture
    def ledger(self) -> MemoryLedger:
        return MemoryLedger()
