"""`penstock rollout start|status|list|show` and what people do to a rollout."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table

if TYPE_CHECKING:
    from penstock.rollout.memory import Remembered
    from penstock.rollout.service import Desk
    from penstock.rollout.states import Rollout
    from penstock.rollout_settings import RolloutSettings

LOOK = 1.0  # seconds between two looks of --watch


def start(options: argparse.Namespace) -> int:
    from penstock.records import Release
    from penstock.rollout import service

    desk = desk_of(options)
    begun = service.start(desk, options.model, options.endpoint, plan_of(options, desk))
    if isinstance(begun, Release):
        if options.json:
            print_json(begun.model_dump(mode="json"))
        elif begun.url:
            print(f"{begun.model} is the first release of {begun.endpoint}, at {begun.url}")
        else:
            print(
                f"{begun.model} would be served at once, as the first release of {begun.endpoint}"
            )
        return 0
    watch = f"penstock rollout status {begun.state.id} --watch"
    return _told(options, begun, f"created; watch it with `{watch}`")


def status(options: argparse.Namespace) -> int:
    from penstock.cli.rollout_view import watch
    from penstock.rollout import service

    desk = desk_of(options)
    rollout = options.rollout or _latest(desk)
    if options.watch and not options.json:
        return watch(desk, rollout, LOOK)
    found = service.view(desk, rollout)
    while options.watch and not found.state.ended:
        time.sleep(LOOK)
        found = service.view(desk, rollout)
    if options.json:
        from penstock.rollout.described import document_of

        print_json(document_of(found))
    else:
        from penstock.cli.rollout_view import print_view

        print_view(found)
    return 0


def list_rollouts(options: argparse.Namespace) -> int:
    from penstock.rollout import service

    found = service.listed(desk_of(options))
    if options.json:
        print_json([_brief(state) for state in found])
    elif not found:
        print("no rollout yet; `penstock rollout start NAME@VERSION` begins one")
    else:
        rows = [
            (
                state.id,
                state.endpoint,
                state.spec.settings.strategy,
                state.spec.candidate.model,
                state.outcome or state.status,
                moment(state.updated),
            )
            for state in found
        ]
        print(table(("rollout", "endpoint", "strategy", "candidate", "status", "since"), rows))
    return 0


def show(options: argparse.Namespace) -> int:
    from penstock.rollout.post_mortem import as_markdown, post_mortem

    desk = desk_of(options)
    one = desk.memory.load(options.rollout)
    found = post_mortem(desk.project, one)
    if options.json:
        print_json({**found, "plan": one.state.spec.settings.model_dump(mode="json")})
    else:
        print(as_markdown(found), end="")
    return 0


def approve(options: argparse.Namespace) -> int:
    return _operate(options, "approve", point=options.point)


def pause(options: argparse.Namespace) -> int:
    return _operate(options, "pause")


def resume(options: argparse.Namespace) -> int:
    return _operate(options, "resume")


def promote(options: argparse.Namespace) -> int:
    return _operate(options, "promote", full=options.full)


def abort(options: argparse.Namespace) -> int:
    return _operate(options, "abort")


def rollback(options: argparse.Namespace) -> int:
    return _operate(options, "rollback")


def _operate(options: argparse.Namespace, operation: str, **given: Any) -> int:
    from penstock.rollout import service

    desk = desk_of(options)
    done = service.operate(desk, options.rollout, operation, reason=options.reason, **given)
    return _told(options, done, done.state.status)


def _told(options: argparse.Namespace, one: Remembered, what: str) -> int:
    if options.json:
        print_json(_brief(one.state))
    else:
        print(f"{one.state.id} ({one.state.spec.candidate.model} on {one.state.endpoint}): {what}")
    return 0


def _brief(state: Rollout) -> dict[str, Any]:
    said = state.model_dump(mode="json", exclude={"spec", "verdicts"})
    spec = state.spec
    return {
        **said,
        "strategy": spec.settings.strategy,
        "candidate": spec.candidate.model_dump(mode="json"),
        "baseline": spec.baseline.model_dump(mode="json"),
    }


def desk_of(options: argparse.Namespace) -> Desk:
    from penstock.rollout.service import Desk
    from penstock.state.database import open_database

    project = project_of(options)
    return Desk.of(project, open_database(project))


def plan_of(options: argparse.Namespace, desk: Desk) -> RolloutSettings:
    """The plan of a file or of the project, with what the command line says in its place."""
    from penstock.rollout.spec_file import read_plan
    from penstock.rollout_settings import RolloutSettings

    file = getattr(options, "file", None)
    plan = read_plan(Path(file)) if file else desk.project.settings.rollout
    changes: dict[str, Any] = {}
    if getattr(options, "strategy", None):
        changes["strategy"] = options.strategy
    if getattr(options, "dry_run", False):
        changes["dry_run"] = True
    return RolloutSettings.model_validate({**plan.model_dump(), **changes}) if changes else plan


def _latest(desk: Desk) -> str:
    from penstock.errors import UsageError

    found = desk.memory.listed()
    if not found:
        raise UsageError(
            "there is no rollout yet", hint="`penstock rollout start NAME@VERSION` begins one"
        )
    return found[0].id
