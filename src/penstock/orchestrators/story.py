"""What the ledger says of a run and of its steps: one story a run, whichever orchestrator tells it.

A failing gate's reason is in it: a check is named by settings, and measured in numbers. What any
other error says may quote a row of the data, and so a person: the ledger has its kind alone, and
`penstock runs show` its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from penstock.audit.ledger import Draft, Entry, Page, present_actor
from penstock.errors import KINDS, PenstockError
from penstock.lineage.edges import facts_among
from penstock.lineage.openlineage.happenings import RunOf
from penstock.pipeline.execution import Prepared
from penstock.records import (
    Check,
    GateReport,
    IntegrationReport,
    ModelReport,
    Record,
    digest_of,
)

RUN, STEP, STREAM = "run.", "step.", "run/"
AGAIN = "another attempt"  # is the decision about a step that failed, and goes on
NAMED = 100  # facts that a step takes; of more, the files are in the digest of all inputs alone
SHOWN = 5  # checks of a gate


@dataclass
class Story:
    """Of one run so far; as long as its page is open, nobody else goes on with it."""

    page: Page
    run: RunOf
    told: list[Entry]

    @classmethod
    def of(cls, page: Page, run: RunOf) -> Story:
        return cls(page, run, page.entries(stream=STREAM + run.id))

    def begin(self, trigger: str = "", reason: str = "") -> None:
        """A run begins once, however many processes take part in it."""
        if not self.told:
            asked = {"orchestrator": self.run.orchestrator, "as_of": self.run.as_of.isoformat()}
            asked |= {"trigger": trigger} if trigger else {}
            self._add(f"{RUN}started", self.run.project, reason=reason, details=asked)

    def step(
        self,
        name: str,
        status: str,
        *,
        attempt: int,
        prepared: Prepared | None = None,
        record: Record | None = None,
        error: PenstockError | None = None,
        again: bool = False,
    ) -> None:
        """A step succeeded or failed: what it took, what it made, why not."""
        refused = isinstance(record, GateReport) and not record.passed
        made = {"made": type(record).__name__} if record else {}
        self._add(
            f"{STEP}{status}",
            name,
            reason=reason_of(error, record) if error else "",
            digest=_digest(record) if record else "",
            digests=_taken(prepared) if prepared else {},
            decision=AGAIN if again else "",
            outcome="refused" if refused else "done" if status == "succeeded" else "failed",
            details={"attempt": attempt} | made,
        )

    def end(self, status: str, cached: Sequence[str] = ()) -> None:
        """The run succeeded, failed or was interrupted, if that is news.

        Steps whose earlier results were taken changed nothing: they are named here, and have no
        entries of their own.
        """
        action = f"{RUN}{status}"
        if next((e.action for e in reversed(self.told) if e.action.startswith(RUN)), "") == action:
            return
        self._add(
            action,
            self.run.project,
            reason=_why(self.told) if status == "failed" else "",
            outcome="done" if status == "succeeded" else status,
            details={"cached": list(cached)} if cached else {},
        )

    def _add(self, action: str, subject: str, **said: Any) -> None:
        draft = Draft(
            by=present_actor(),
            action=action,
            subject=subject,
            environment=self.run.environment,
            run_id=self.run.id,
            stream=STREAM + self.run.id,
            position=len(self.told) + 1,
        )
        self.told.append(self.page.write(msgspec.structs.replace(draft, **said)))


def reason_of(error: PenstockError, record: Record | None = None) -> str:
    """What may be said of a failure for good: a gate's checks, else the kind of error. Pure."""
    if isinstance(record, GateReport) and not record.passed:
        failed = record.failures
        numbers = isinstance(record, ModelReport | IntegrationReport)
        listed = "; ".join(_words(check, numbers=numbers) for check in failed[:SHOWN])
        more = f" and {len(failed) - SHOWN} more" if len(failed) > SHOWN else ""
        return f"{len(failed)} of {len(record.checks)} checks failed: {listed}{more}"
    kind = error.as_dict()["error"]
    return f"{kind}: {(KINDS[kind].__doc__ or '').splitlines()[0]}"


def _words(check: Check, *, numbers: bool) -> str:
    """What a data gate observed may be a value of somebody's: of it, only how many rows."""
    rows = f"{check.failed_rows:,} rows" if check.failed_rows else "not so"
    return f"{check.name}: {check.observed if numbers else rows}, expected {check.expected}"


def _digest(record: Record) -> str:
    """As lineage names the record, where it does."""
    stated: str = getattr(record, "digest", "")
    return stated or digest_of(record.model_dump(mode="json"))


def _taken(prepared: Prepared) -> dict[str, str]:
    """Digests of what a step takes, by the kinds and names of lineage, and that of all of it."""
    facts = facts_among(prepared.records.values(), prepared.inputs)
    if len(facts) > NAMED:
        facts = [node for node in facts if node.kind != "file"]
    named = {
        f"{node.kind} {node.label}" if node.kind in ("file", "code") else node.kind: node.key
        for node in facts
    }
    return {"inputs": prepared.key, **named}


def _why(told: Sequence[Entry]) -> str:
    """The reason of the step that the run failed with."""
    failed = [one for one in told if one.action == f"{STEP}failed" and one.decision != AGAIN]
    return f"{failed[-1].subject}: {failed[-1].reason}" if failed else ""
