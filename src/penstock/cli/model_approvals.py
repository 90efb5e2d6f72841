"""`penstock models approve`, `reject`, `review` and `approvals`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock.cli.model_signatures import version_number
from penstock.cli.opening import project_of
from penstock.cli.output import MARKS, moment, print_json, table
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.approvals.decision import Decision, Signed
    from penstock.audit.entries import Entry
    from penstock.project import Project
    from penstock.registry.versions import Found


def approve(options: argparse.Namespace) -> int:
    from penstock.approvals import giving
    from penstock.state.database import open_database

    if bool(options.reason) and not options.break_glass:
        raise UsageError("--reason is of --break-glass", hint="say it with --meaning")
    project, found = _meant(options)
    engine, target, meaning = open_database(project), options.target, options.meaning
    if options.break_glass:
        entry = giving.break_glass(
            project, engine, found, target, meaning=meaning, reason=options.reason
        )
        _alarm(project, found, target, entry)
    else:
        entry = giving.approve(project, engine, found, target, meaning=meaning)
    return _told(options, project, found, entry)


def reject(options: argparse.Namespace) -> int:
    from penstock.approvals import giving
    from penstock.state.database import open_database

    project, found = _meant(options)
    engine = open_database(project)
    entry = giving.reject(project, engine, found, options.target, meaning=options.meaning)
    return _told(options, project, found, entry)


def review(options: argparse.Namespace) -> int:
    from penstock.approvals import giving
    from penstock.state.database import open_database

    project = project_of(options)
    version_number(project, options.model)
    done = giving.review(open_database(project), options.model, reason=options.reason)
    if options.json:
        print_json({"model": options.model, "reviewed": [one.details["entry"] for one in done]})
    else:
        print(f"{options.model}: {len(done)} broken glass reviewed, by {done[0].actor}")
    return 0


def list_approvals(options: argparse.Namespace) -> int:
    from penstock.approvals.book import pinned_keys, read_book
    from penstock.state.database import open_database

    project = project_of(options)
    book = read_book(open_database(project), pinned_keys(project))
    found = _found(project, options.model) if options.model else None
    # Another version of the same bytes is approved with them.
    said: list[Signed] = [one for one in book.signed if found is None or one.digest == found.digest]
    decision = _decided(project, found, options.target) if found else None
    if options.json:
        shown = {"statements": [_document(one) for one in said]}
        print_json(shown | ({"decision": _summary(decision)} if decision else {}))
    else:
        rows = [
            (one.model, one.verdict, one.target, one.person, moment(one.at), _state(one))
            for one in said
        ]
        print(table(("model", "what", "for", "who", "when", "meaning"), rows))
        if decision:
            print(_sentence(decision, options.model, options.target))
        if decision and not decision.met:
            asked = f"{options.model} --for {options.target}"
            print(f"  next: penstock models approve {asked} --meaning '…'")
    return 0 if decision is None or decision.met else 1


def _meant(options: argparse.Namespace) -> tuple[Project, Found]:
    project = project_of(options)
    target, settings = options.target, project.settings
    known = sorted({"production", *settings.serving.ports, *settings.approvals})
    if target not in known:
        raise UsageError(
            f"no endpoint of this project is called {target!r}; there are {', '.join(known)}",
            hint=f"to have one: [serving] ports, or [approvals.{target}]",
        )
    return project, _found(project, options.model)


def _found(project: Project, label: str) -> Found:
    from penstock.registry.versions import find

    return find(project, version_number(project, label))


def _decided(project: Project, found: Found, target: str) -> Decision:
    from penstock.approvals.book import standing_of
    from penstock.state.database import open_database

    return standing_of(project, open_database(project), found, target, datetime.now(UTC))


def _told(options: argparse.Namespace, project: Project, found: Found, entry: Entry) -> int:
    decision = _decided(project, found, options.target)
    if options.json:
        print_json(
            {
                "model": found.label,
                "digest": found.digest,
                "verdict": entry.decision,
                "entry": entry.sequence,
                "decision": _summary(decision),
            }
        )
        return 0
    print(
        f"{found.label} ({found.digest[:12]}) is {entry.decision} for {options.target} by "
        f"{entry.actor}: entry {entry.sequence}"
    )
    print(_sentence(decision, found.label, options.target))
    if decision.met:
        print(f"  next: penstock rollout start {found.label}")
    return 0


def _alarm(project: Project, found: Found, target: str, entry: Entry) -> None:
    """People hear of it at once, by every channel that they set."""
    from penstock.notifications.outbox import tell

    tell(
        project,
        f"[{target}] the glass was broken for {found.label}",
        f"Model: {found.label}, digest {found.digest[:12]}\n"
        f"By: {entry.actor}, entry {entry.sequence} of the ledger\n"
        f"Why: {entry.reason}\n"
        f"To do: look at it, then penstock models review {found.label} --reason '…'",
        key=f"entry/{entry.id}",
        failure=True,
    )


def _sentence(decision: Decision, model: str, target: str) -> str:
    if not decision.met:
        return "\n".join(
            (
                f"{MARKS['failed']} {model} may not serve {target}",
                *(f"  {one}" for one in decision.missing),
            )
        )
    until = f", until {moment(decision.until)}" if decision.until else ""
    people = ", ".join(one.person for one in decision.approvals)
    how = f"by the glass that {decision.glass.person} broke" if decision.glass else people
    return f"{MARKS['succeeded']} {model} may serve {target}: {how or 'nobody must agree'}{until}"


def _state(one: Signed) -> str:
    from penstock.approvals.decision import BrokenGlass

    if not isinstance(one, BrokenGlass):
        return one.meaning
    looked = f"reviewed by {one.reviewed_by}" if one.reviewed_by else "waits for a review"
    return f"{one.meaning} ({looked})"


def _summary(decision: Decision) -> dict[str, Any]:
    return {
        "met": decision.met,
        "people": [one.person for one in decision.approvals],
        "missing": decision.missing,
        "broken_glass": decision.glass.entry if decision.glass else None,
        "until": decision.until,
    }


def _document(one: Signed) -> dict[str, Any]:
    return {name: value for name, value in asdict(one).items() if name != "role"}
