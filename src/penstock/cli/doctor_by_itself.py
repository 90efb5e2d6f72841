"""What `penstock doctor` asks about all that goes on by itself: schedule, services, alerts."""

from __future__ import annotations

import socket
from datetime import UTC, datetime

from penstock.cli.findings import Finding, taken
from penstock.project import Project

REACHED = 3.0  # seconds until a mail server must have answered


def schedule(project: Project) -> Finding:
    """Whether the expression holds, when it is due, and whether somebody does it."""
    from penstock.services.cron import schedule_of
    from penstock.services.slot_memory import SlotMemory
    from penstock.services.slots import Action, decide, written
    from penstock.state import leadership
    from penstock.state.database import open_database

    settings, now = project.settings.pipeline, datetime.now(UTC)
    planned = schedule_of(settings)
    if planned is None:
        return Finding("schedule", True, "none: the clock starts no run")
    told = f"{planned}, next {written(planned.next_after(now))}"
    if settings.orchestrator != "local":
        return Finding("schedule", True, f"{told}, by {settings.orchestrator}")
    engine = open_database(project)
    leader = leadership.leader(engine, "scheduler")
    works = leader is not None and leader.until > now
    standing = SlotMemory(engine, project.settings.project.name, project.environment).standing()
    if standing is None and not works:
        return Finding("schedule", True, f"{told}; no scheduler has worked here: penstock up")
    if works:
        return Finding("schedule", True, f"{told}; a scheduler works")
    due = decide(planned, standing, now, catchup=settings.catchup) if standing else None
    if due is not None and due.action is Action.START:
        seen = f"{planned}: the run of {written(due.slot)} was not made; no scheduler works"
        return Finding("schedule", False, seen, "penstock up")
    return Finding("schedule", True, f"{told}; no scheduler works: penstock up")


def services(project: Project) -> Finding:
    """Whether those that are kept alive live; where none are, whether their ports are free."""
    from penstock.services.standing import Office

    standing = Office(project).standing()
    if standing.pid:
        failed = [one for one in standing.services if one.state == "failed"]
        seen = [standing.trouble, *(f"{one.name} fails: {one.said}" for one in failed)]
        told = "; ".join(filter(None, seen))
        remedy = f"penstock logs {failed[0].name}" if failed else "mend it"
        live = f"{len(standing.services)} kept by process {standing.pid}"
        return Finding("services", not told, told or live, remedy)
    settings = project.settings.services
    places = {
        "controller_port": (settings.controller_host, settings.controller_port),
        "monitor_port": (settings.monitor_host, settings.monitor_port),
        "mlflow_port": ("127.0.0.1", settings.mlflow_port),
    }
    used = {
        key: why
        for key, place in places.items()
        if key.partition("_")[0] in settings.run and (why := taken(*place))
    }
    remedy = f"end it, or set [services] {' and '.join(used)}"
    return Finding("services", not used, "; ".join(used.values()) or "not up; ports free", remedy)


def alerts(project: Project) -> Finding:
    """What fires; it is no fault of this machine."""
    from penstock.cli.services_view import alarms_line
    from penstock.monitoring.alerts import memory
    from penstock.services.alarms import alarms
    from penstock.state.database import open_database

    engine, now, rules = open_database(project), datetime.now(UTC), project.settings.alerts
    found = alarms(memory.read(engine).values(), memory.silences(engine, now), rules, now)
    off = sum(not rule.enabled for rule in rules.values())
    told = f"{len(rules) - off} rules" + (f", {off} off" if off else "")
    return Finding("alerts", True, f"{told}; {alarms_line(found, now).partition('; ')[0]}")


def channels(project: Project) -> Finding:
    """Who is told, and whether the mail server answers. Nothing is sent."""
    from penstock.notifications.channels import channels_of

    settings = project.settings.notify
    kinds = [one.kind for one in channels_of(settings)]
    if not kinds:
        seen = "none: messages go to .penstock/notices.log alone; set [notify]"
        return Finding("channels", True, seen)
    if settings.emails:
        place = (settings.smtp_host, settings.smtp_port)
        try:
            socket.create_connection(place, timeout=REACHED).close()
        except OSError as error:
            seen = f"no mail server at {place[0]}:{place[1]}: {error.strerror or error}"
            return Finding("channels", False, seen, "set [notify] smtp_host and smtp_port")
    return Finding("channels", True, f"{', '.join(kinds)}; try them: penstock alerts test")


def triggers(project: Project) -> Finding:
    """What starts a run by itself, and what holds it back now."""
    from penstock.monitoring.standing import standings
    from penstock.monitoring.trigger_book import read_book
    from penstock.state.database import open_database

    settings = project.settings.triggers
    book = read_book(open_database(project))
    standing = [one for one in standings(book, settings, datetime.now(UTC)) if one.on]
    held = sorted({one.held_by for one in standing if one.held_by})
    on = f"on: {', '.join(one.kind for one in standing)}"
    return Finding("triggers", True, "; ".join((on, *(f"held back {one}" for one in held))))
