"""Promotions: one entry each, decided where it is written; whoever raced and lost is told."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from sqlalchemy import Engine

from penstock.audit.ledger import Ledger
from penstock.errors import ConflictError
from penstock.project import Project
from penstock.registry.champions import (
    ACTIONS,
    NONE,
    PROMOTED,
    PROMOTION,
    ROLLBACK,
    Champion,
    crown,
    standing,
)
from penstock.state.database import open_state

PEOPLE = st.integers(0, 2)
VERSIONS = st.integers(1, 4).map(lambda number: Champion(f"shop@{number}", f"{number:064x}"))


@cache
def empty_state() -> Path:
    """A state database with all its tables: making one takes longer than a race."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    open_state("", folder).dispose()
    return folder / "state.db"


class Races(RuleBasedStateMachine):
    """People who look at the registry, and act on what they saw when it may be another way."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        shutil.copy(empty_state(), self.folder.name)
        self.engine = open_state("", Path(self.folder.name))
        self.seen: dict[int, str] = dict.fromkeys(range(3), NONE)
        self.line: list[Champion] = []  # what must be true
        self.won = 0

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @property
    def champion(self) -> str:
        return self.line[-1].label if self.line else NONE

    @rule(person=PEOPLE)
    def look(self, person: int) -> None:
        self.seen[person] = standing(self.engine).label

    @rule(person=PEOPLE, version=VERSIONS)
    def promote(self, person: int, version: Champion) -> None:
        if self._act(person, version, PROMOTION) and self.line[-1:] != [version]:
            self.line.append(version)
            self.won += 1

    @rule(person=PEOPLE)
    def take_back(self, person: int) -> None:
        previous = standing(self.engine).previous
        if previous and self._act(person, previous, ROLLBACK):
            self.line.pop()
            self.won += 1

    def _act(self, person: int, version: Champion, decision: str) -> bool:
        """Whether it was done: exactly where nobody was faster."""
        seen = self.seen[person]
        try:
            with Ledger(self.engine).page() as page:
                crown(page, version, reason="", actor="", decision=decision, expected=seen)
        except ConflictError:
            assert seen != self.champion
            return False
        assert seen == self.champion
        return True

    @invariant()
    def the_fold_is_what_happened(self) -> None:
        present = standing(self.engine)
        assert list(present.line) == self.line
        entries = Ledger(self.engine).entries(PROMOTED)
        assert len(entries) == self.won
        assert self.champion not in present.archived
        for entry in entries:  # one in, one out
            assert entry.subject != entry.details.get("archived")
            assert bool(entry.before) == ("archived" in entry.details)


TestRaces = Races.TestCase
TestRaces.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)

RACER = """
import sys
from sqlalchemy import create_engine
from penstock.audit.ledger import Ledger
from penstock.errors import ConflictError
from penstock.registry.champions import Champion, crown
from pathlib import Path
from penstock.state.database import open_state
engine = open_state(sys.argv[1], Path(sys.argv[2]))
print("ready", flush=True); sys.stdin.readline()
one = Champion(f"shop@{sys.argv[3]}", sys.argv[3] * 64)
try:
    with Ledger(engine).page() as page:
        crown(page, one, reason="a race", expected="shop@0")
    print("won")
except ConflictError as error:
    print("lost", error)
"""


@pytest.mark.slow
def test_of_eight_processes_that_promote_at_once_one_wins(
    url: str, project: Project, database: Engine
) -> None:
    with Ledger(database).page() as page:
        crown(page, Champion("shop@0", "0" * 64), reason="the first")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, url, str(project.folder), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(1, 9)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate()[0].strip() for racer in racers]
    assert [one.split()[0] for one in sorted(said)] == ["lost"] * 7 + ["won"]
    present = standing(database)
    assert present.label == f"shop@{said.index('won') + 1}"
    assert present.archived == ("shop@0",)
    assert all(
        f"{present.label} became the champion meanwhile" in one for one in said[:1] if "lost" in one
    )
    with Ledger(database).page() as page:
        assert len(page.entries(ACTIONS)) == 2


def test_an_occasion_makes_a_champion_once(database: Engine) -> None:
    one, two = Champion("shop@1", "1" * 64), Champion("shop@2", "2" * 64)
    for version in (one, two):
        with Ledger(database).page() as page:
            crown(page, version, reason="", actor="ro-1", occasion=f"champion/{version.label}")
    with pytest.raises(ConflictError), Ledger(database).page() as page:
        crown(page, one, reason="", actor="ro-1", occasion="champion/shop@1")
    assert standing(database).label == "shop@2"
