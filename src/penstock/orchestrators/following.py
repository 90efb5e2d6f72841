"""Carries the version that a trigger made on, as far as the policy and the approvals let it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError
from sqlalchemy import Engine

from penstock.approvals.book import standing
from penstock.audit.ledger import Ledger
from penstock.errors import RolloutError, SettingsError
from penstock.monitoring.follow_through import Action, Ran, Scene, Start, Wait, next_action
from penstock.monitoring.trigger_book import FOLLOWED, Order, entry_about, read_book
from penstock.monitoring.triggers import Outcome
from penstock.project import Project
from penstock.rollout import service
from penstock.rollout.memory import Memory, Remembered
from penstock.rollout.spec_file import read_plan
from penstock.rollout_settings import RolloutSettings
from penstock.state import rollouts, routes


@dataclass(frozen=True)
class Followed:
    """What was done for a version, or why nothing."""

    version: str
    action: Action
    rollout: str = ""  # that was started


def follow(project: Project, engine: Engine) -> list[Followed]:
    """Looks at the newest version that a trigger made; earlier ones end where they are."""
    made = [one for one in read_book(engine).orders if one.outcome is Outcome.REGISTERED]
    if not made or not project.settings.triggers.follow:
        return []
    order = made[-1]
    _catch_up(project, engine, order)
    action = next_action(_scene(project, engine, order), project.settings.triggers.follow)
    if not isinstance(action, Start):
        return [Followed(order.version, action)]
    endpoint = project.settings.triggers.endpoint
    plan = _plan(project, action.strategy)
    try:
        begun = service.start(service.Desk.of(project, engine), order.version, endpoint, plan)
    except RolloutError as error:  # somebody was faster, or the plan cannot be decided
        return [Followed(order.version, Wait(error.message))]
    if not isinstance(begun, Remembered):
        return [Followed(order.version, action)]
    _note(project, engine, order, action.strategy, begun.state.id, action.reason)
    return [Followed(order.version, action, begun.state.id)]


def _scene(project: Project, engine: Engine, order: Order) -> Scene:
    endpoint, now = project.settings.triggers.endpoint, datetime.now(UTC)
    quarantined = rollouts.in_quarantine(engine, order.digest)
    agreed = standing(project, engine, order.digest, endpoint, now)
    live = rollouts.live(engine, endpoint)
    served = routes.published(engine, endpoint)
    return Scene(
        version=order.version,
        tested=True,  # a run that succeeded has tested it
        champion=service.baseline_of(engine, endpoint).model if served else "",
        quarantine=quarantined.reason if quarantined else "",
        missing=() if agreed.met else agreed.missing,
        live=live[0].id if live else "",
        rollouts=tuple(_ran(project, engine, order)),
    )


def _ran(project: Project, engine: Engine, order: Order) -> Iterator[Ran]:
    """The rollouts of a version, oldest first. Those of the time before it was made are others."""
    memory = Memory(engine)
    for listed in reversed(memory.listed()):
        state = memory.load(listed.id).state
        theirs = state.spec.candidate.model == order.version
        if theirs and state.endpoint == project.settings.triggers.endpoint:
            strategy = str(state.spec.settings.strategy)
            yield Ran(state.id, strategy, str(state.outcome or ""), state.reason)


def _catch_up(project: Project, engine: Engine, order: Order) -> None:
    """Writes down what was started by somebody who was killed before they could."""
    known = {rollout for _, rollout in order.followed}
    for ran in _ran(project, engine, order):
        if ran.id not in known and ran.strategy in project.settings.triggers.follow:
            _note(project, engine, order, ran.strategy, ran.id, "seen to go on")


def _note(
    project: Project, engine: Engine, order: Order, strategy: str, rollout: str, reason: str
) -> None:
    told = {"strategy": strategy, "rollout": rollout, "model": order.version}
    name = project.settings.model_name
    Ledger(engine).write(entry_about(order, FOLLOWED, name, reason, **told))


def _plan(project: Project, strategy: str) -> RolloutSettings:
    """The plan that retraining follows, with another strategy. Raises `SettingsError`."""
    file = project.settings.triggers.plan
    given = read_plan(project.root / file) if file else project.settings.rollout
    try:
        return RolloutSettings.model_validate({**given.model_dump(), "strategy": strategy})
    except ValidationError as error:
        said = error.errors()[0]["msg"]
        raise SettingsError(
            f"{file or '[rollout]'} is no plan for a {strategy}, which [triggers] follow asks for: "
            f"{said}",
            hint=f"`penstock rollout check --strategy {strategy}` says more",
        ) from error
