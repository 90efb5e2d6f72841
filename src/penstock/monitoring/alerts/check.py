"""One check: look at what is known, decide, remember, act, tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from penstock.audit.entries import Entry
from penstock.audit.ledger import Ledger, Page
from penstock.clock import utc_now
from penstock.monitoring.alerts import acting, memory
from penstock.monitoring.alerts.alert import Alert, Silence
from penstock.monitoring.alerts.decision import Decision, Group, decide
from penstock.monitoring.alerts.messages import Known, message_of, performance
from penstock.monitoring.alerts.sources import Seen, gather
from penstock.monitoring.history import latest
from penstock.monitoring.report import Report
from penstock.notifications import outbox
from penstock.project import Project
from penstock.state import heartbeats
from penstock.state.runs import Runs


@dataclass(frozen=True)
class Checked:
    """What one check came to."""

    signals: int
    decision: Decision
    done: Mapping[str, str]  # by alert, what was done about it
    sent: int  # messages that a channel took


def check(
    project: Project, engine: Engine, now: datetime, also_seen: Sequence[Report] = ()
) -> Checked:
    """Holds the rules against the last looks that are kept, and `also_seen`.

    Everything is decided and queued before anything is done or sent: a check that is killed is
    gone on with by the next one.
    """
    rules = project.settings.alerts
    seen = gather(project, engine, [*latest(engine), *also_seen], now)
    requested: dict[str, str] = {}

    def deciding(known: Mapping[str, Alert], quiet: Sequence[Silence]) -> Decision:
        return decide(known, seen.signals, rules, quiet, seen.serving, now)

    def also(page: Page, decision: Decision) -> None:
        name = project.settings.model_name
        requested.update(acting.request_retraining(page, decision.actions, rules, name))
        memory.settle(page, decision.actions, requested, now)
        told = [
            message_of(one, _known(project, engine, one.group, seen), rules, now)
            for one in decision.tellings
        ]
        outbox.queue(page.connection, project.settings.notify, told, now)

    decision = memory.decide_on(engine, deciding, now, also)
    done = acting.act(project, engine, decision.actions, rules, now)
    ahead = now - utc_now()  # of a clock that is not this machine's
    sent = outbox.flush(
        engine,
        project.settings.notify,
        project.notices,
        lambda: utc_now() + ahead,
    )
    heartbeats.beat(engine, heartbeats.ALERTS, now)
    return Checked(len(seen.signals), decision, requested | done, sent)


def _known(project: Project, engine: Engine, group: Group, seen: Seen) -> Known:
    """What a message tells beside the alerts."""
    registered = _registered(engine, group.model)
    run = Runs(engine).get(registered.run_id) if registered and registered.run_id else None
    records = (step.record for step in run.steps if step.record) if run else iter(())
    data = next((one for one in records if one["kind"] == "DatasetVersion"), None)
    estimates = (
        performance(one)
        for one in seen.signals
        if (one.endpoint, one.model) == (group.endpoint, group.model)
        and one.metric.startswith("estimated_")
        and not one.subject
    )
    return Known(
        project=project.settings.project.name,
        owner=project.settings.project.owner,
        digest=registered.digest if registered else "",
        data=f"{data['name']}, {data['rows']:,} rows, DVC {data['dvc_md5']}" if data else "",
        performance="; ".join(estimates),
        rollout=acting.live_rollout(engine, group.endpoint),
    )


def _registered(engine: Engine, model: str) -> Entry | None:
    entries = Ledger(engine).entries("model.registered") if model else []
    return next((entry for entry in reversed(entries) if entry.subject == model), None)
