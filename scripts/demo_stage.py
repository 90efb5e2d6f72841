"""What the demo does to its project: edits, versions, rollouts, and weeks that pass."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple

import yaml
from demo_terminal import BIN, Stopped, Typist, is_free, said_before, say, show_change

from penstock.monitoring.alerts.memory import read as alerts_of
from penstock.monitoring.trigger_book import Order, read_book
from penstock.project import Project, open_project
from penstock.registry.versions import TESTED_TAG, Found, versions
from penstock.rollout.events import Outcome
from penstock.rollout.memory import Memory
from penstock.rollout.states import Rollout
from penstock.serving import endpoint
from penstock.state.database import open_database
from penstock.state.runs import Runs

CONTROLLER_PORT = 8610
# Seconds from a look to the next week's visitors, who come for ten: windows of 20 s do not overlap.
APART = 11.0
LONGEST = 600.0  # seconds that a rollout, or a retraining, of this demo may take


class Edit(NamedTuple):
    """A change that a person makes to the project."""

    file: str
    old: str
    new: str


class Stage(Typist):
    """One project, and what the acts have in common."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.began = time.monotonic()
        self.looked = self.began - APART

    def build(self, number: int, edits: tuple[Edit, ...], *remark: str) -> bool:
        """A version that passed staging, from a change; whether there is more to do with it."""
        label = f"churn@{number}"
        rollout = self.rollout_of(label)
        if rollout and rollout.ended and rollout.outcome is not Outcome.ABORTED:
            said_before(f"{rollout.id} of {label}: {rollout.outcome}")
            return False
        known = {version.label: version for version in self.versions()}
        if label in known and TESTED_TAG in known[label].tags:
            said_before(f"{label} passed staging")
            return True
        self.change(edits)
        if remark:
            say(*remark)
        self.penstock("run")
        return True

    def roll_out(self, label: str, meaning: str) -> Rollout:
        """Approved, and to its end. Raises `Stopped` where it has none."""
        found = self.rollout_of(label)
        goes_on = found is not None and not found.ended  # that of a demo which was interrupted
        if not goes_on:
            self.approve(label, meaning)
            self.penstock("rollout", "start", label, "--file", "rollout.toml")
        return self.carry_out(label, goes_on=goes_on)

    def carry_out(self, label: str, *, goes_on: bool = False) -> Rollout:
        """A rollout that was started, with a controller and visitors beside it."""
        port = () if is_free(CONTROLLER_PORT) else ("--port", "0")
        controller = ("penstock", "controller", "--interval", "1", *port)
        users = ("python", "users.py", *self.url(), "--seconds", f"{LONGEST:g}")
        with self.beside("controller", *controller):
            with self.beside("users", *users) as log:
                found = self.watch(label)
                if found.held and goes_on:  # its time passed while nobody visited
                    self.penstock("rollout", "resume", found.id, "--reason", "visitors come again")
                    found = self.watch(label)
            say("what the visitors saw of it:", *log.read_text().splitlines()[-1:])
        if not found.ended:
            raise Stopped(f"{found.id} is {found.status}: {found.reason}")
        return found

    def watch(self, label: str) -> Rollout:
        """Shows a rollout until it ends, or a person must decide."""
        process = self.start("penstock", "rollout", "status", "--watch")
        deadline = time.monotonic() + LONGEST
        try:
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.5)
                if self.existing(label).held:
                    time.sleep(2)  # for the view to show it
                    break
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)  # it gives the terminal back
                process.wait()
        return self.existing(label)

    def existing(self, label: str) -> Rollout:
        found = self.rollout_of(label)
        if found is None:
            raise Stopped(f"the rollout of {label} is gone")
        return found

    def approve(self, label: str, meaning: str) -> None:
        asked = ("--for", "production", "--meaning", meaning)
        self.penstock("models", "approve", label, *asked)

    def change(self, edits: tuple[Edit, ...]) -> None:
        """Changes files as a person would, and shows how."""
        for file in dict.fromkeys(edit.file for edit in edits):
            path = self.folder / file
            before = after = path.read_text(encoding="utf-8")
            for edit in edits:
                if edit.file != file or edit.new in after:
                    continue
                if edit.old not in after:
                    raise Stopped(f"{path} was changed: it lacks {edit.old.strip()!r}")
                after = after.replace(edit.old, edit.new, 1)
            path.write_text(after, encoding="utf-8")
            if after != before:
                show_change(file, before, after)

    def serve_again(self) -> None:
        """What was served is served, also after a restart of the machine."""
        if endpoint.status(self.production.folder).state == "stopped":
            log = self.folder / ".penstock" / "serve.log"
            process = self.start("penstock", "serve", "--endpoint", "production", log=log)
            while endpoint.status(self.production.folder).state != "live":
                if process.poll() is not None:
                    raise Stopped(f"production is not served: see {log}")
                time.sleep(0.2)
        url = endpoint.status(self.production.folder).url
        said_before(f"production is served at {url}")

    # Time passes.

    def look(self, week: int) -> None:
        """Lets the shop be so many weeks older, and looks as `penstock monitor loop` does."""
        then = self.week
        if week < then:
            said_before(f"week {week} has passed")
            return
        self.change((Edit("params.yaml", f"weeks: {then} ", f"weeks: {week} "),))
        self.penstock("run", "--until", "feature_engineering")
        time.sleep(max(0.0, self.looked + APART - time.monotonic()))
        self.type("python", "users.py", *self.url(), "--new", "0", "--seconds", "10")
        self.penstock("monitor", "features", "--endpoint", "production", may_fail=True)
        self.looked = time.monotonic()
        self.penstock("alerts", "check")
        self.penstock("triggers", "check", may_fail=True)

    def retraining(self) -> Order:
        """The run that a trigger started, to its end, with what it prints."""
        engine, order = open_database(self.project), self.orders()[-1]
        log = self.folder / ".penstock" / "runs" / order.run / "run.log"
        say(f"it goes on by itself, and says in {log.relative_to(self.folder)}:", "")
        shown, deadline = 0, time.monotonic() + LONGEST
        while time.monotonic() < deadline:
            run = Runs(engine).get(order.run)
            if log.is_file():
                lines = log.read_text(encoding="utf-8").splitlines()
                print(*lines[shown:], sep="\n", end="\n" if lines[shown:] else "", flush=True)
                shown = len(lines)
            if run is not None and run.status != "running":
                break
            time.sleep(0.5)
        self.penstock("triggers", "check", may_fail=True)  # what became of it is written down
        return self.orders()[-1]

    @property
    def week(self) -> int:
        """How much older the shop is than it was when the demo began."""
        params = yaml.safe_load((self.folder / "params.yaml").read_text(encoding="utf-8"))
        return int(params["extract"]["weeks"])

    def orders(self) -> tuple[Order, ...]:
        """The runs that something started, oldest first."""
        return read_book(open_database(self.project)).orders

    def firing(self) -> list[str]:
        alerts = alerts_of(open_database(self.project)).values()
        return [one.name for one in alerts if one.status == "firing"]

    # What is there.

    @property
    def here(self) -> str:
        """How to get to where the commands are typed."""
        return f"source {os.path.relpath(BIN)}/activate && cd {os.path.relpath(self.folder)}"

    @property
    def project(self) -> Project:
        """As its files are now."""
        return open_project(self.folder)

    @property
    def production(self) -> endpoint.Place:
        return endpoint.place_of(self.project, "production")

    def url(self) -> tuple[str, ...]:
        """As users.py takes it; nothing where it is the usual one."""
        found = endpoint.status(self.production.folder).url
        return () if found.endswith(":8601") else (found,)

    def versions(self) -> list[Found]:
        return versions(self.project)

    def rollout_of(self, label: str) -> Rollout | None:
        """The latest one of a version."""
        memory = Memory(open_database(self.project))
        states = (memory.load(one.id).state for one in memory.listed())
        return next((state for state in states if state.spec.candidate.model == label), None)
