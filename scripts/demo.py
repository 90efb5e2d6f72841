"""The demo: a model to production, a better one by a canary, and a bad one taken back by itself.

Run by `make demo` with the folder of the example project. Every command is printed as it may be
typed in that folder. What is done already is said, not done again: an interrupted demo goes on.
With `--end`, ends all that was started.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

from demo_terminal import (
    BIN,
    GOES_ON,
    RED,
    Stopped,
    Typist,
    heading,
    is_free,
    paint,
    said_before,
    say,
    show_change,
)

from penstock.errors import PenstockError
from penstock.project import Project, open_project
from penstock.registry.versions import TESTED_TAG, Found, versions
from penstock.rollout.events import Outcome
from penstock.rollout.memory import Memory
from penstock.rollout.states import Rollout
from penstock.serving import endpoint
from penstock.serving.release import EndpointFolder
from penstock.state.database import open_database

CONTROLLER_PORT = 8610
LONGEST = 600.0  # seconds that a rollout of this demo may take


class Edit(NamedTuple):
    """A change that a person makes to the project."""

    file: str
    old: str
    new: str


MORE_TREES = (Edit("params.yaml", "n_estimators: 120", "n_estimators: 160"),)

HABIT = '''\
@on_demand_feature_view(
    sources=[activity[["sessions_total"]], account[["spend_total_usd"]]],
    schema={"usd_per_visit": "float64"},
)
def habit(rows: pd.DataFrame) -> pd.DataFrame:
    """What a customer spends at each visit"""
    both = zip(rows.spend_total_usd, rows.sessions_total, strict=True)
    return pd.DataFrame({"usd_per_visit": [usd / visits for usd, visits in both]})


churn_v2 = FeatureService("churn_v2", features=[activity, account, habit])
'''
SERVICE = 'churn_v1 = FeatureService("churn_v1", features=[activity, account])\n'
DIVISION = (
    Edit("features.py", "import duckdb\nimport", "import duckdb\nimport pandas as pd\nimport"),
    Edit("features.py", "    batch_feature_view,\n)", "    batch_feature_view,\n"
         "    on_demand_feature_view,\n)"),
    Edit("features.py", SERVICE, f"{SERVICE}\n\n{HABIT}"),
    Edit("penstock.toml", 'service = "churn_v1"', 'service = "churn_v2"'),
)  # fmt: skip


def main() -> int:
    options = _options()
    demo = Demo(Path(options.folder).resolve())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what runs beside is ended too
    try:
        if options.end:
            demo.end()
        else:
            demo.play()
    except PenstockError as error:
        print(f"\n{paint(error.message, RED)}\n  → {error.hint}")
        return error.exit_status
    except KeyboardInterrupt:
        print(f"\ninterrupted; {GOES_ON}")
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", default="demo/churn", help="(default: %(default)s)")
    parser.add_argument("--end", action="store_true", help="end all that was started")
    return parser.parse_args()


class Demo(Typist):
    """The acts, and what they do to one project."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.began = time.monotonic()

    def play(self) -> None:
        if not self.folder.exists():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.type("penstock", "init", self.folder.name, where=self.folder.parent)
        say("Each command may be typed by you, after:", self.here)
        acts = (self.first_model, self.first_release, self.canary, self.rollback)
        for number, act in enumerate(acts, start=1):
            heading(number, str(act.__doc__).partition("\n")[0])
            act()
        self.closing()

    # The acts.

    def first_model(self) -> None:
        """From raw events to a model that is tested in staging"""
        self.build(1, ())

    def first_release(self) -> None:
        """A person approves it, and the first visitors meet it"""
        if endpoint.table_of(self.production):
            self.serve_again()
            return
        self.approve("churn@1", "holds on the months it never saw")
        self.penstock("rollout", "start", "churn@1")
        say("one visitor in ten comes for the first time, and nothing is known of them:")
        self.type("python", "users.py", *self.url(), "--seconds", "5")

    def canary(self) -> None:
        """A good version takes over: by evidence, in steps, while people visit"""
        if not self.build(2, MORE_TREES):
            return
        ended = self.roll_out("churn@2", "more trees, no worse")
        if ended.outcome is not Outcome.PROMOTED:
            raise Stopped(f"churn@2 was not promoted: {ended.status}: {ended.reason}")

    def rollback(self) -> None:
        """A bad version passes every test, and is taken back before most people meet it"""
        remark = (
            "It divides by the number of visits. All whom the model is trained and tested on have",
            "visited before; those who come for the first time have not.",
        )
        if self.build(3, DIVISION, *remark):
            ended = self.roll_out("churn@3", "spend per visit is known now")
            if ended.outcome is not Outcome.ROLLED_BACK:
                raise Stopped(f"churn@3 was not rolled back: {ended.status}: {ended.reason}")
        self.penstock("rollout", "show", self.existing("churn@3").id)
        say("why, its replicas' log knows:")
        log = EndpointFolder(self.production.folder).replica_log.relative_to(self.folder)
        self.type("grep", "-m", "1", "Error:", str(log), may_fail=True)
        say("the same bytes do not come again:")
        self.penstock("rollout", "start", "churn@3", may_fail=True)

    def closing(self) -> None:
        took = time.monotonic() - self.began
        heading(0, f"The end, after {took // 60:.0f} min {took % 60:.0f} s")
        self.penstock("rollout", "list")
        self.penstock("models", "list")
        print(f"\n  {'here:':12}{self.here}")
        for name in ("staging", "production"):
            print(f"  {name + ':':12}{endpoint.status(self.project.endpoint(name)).url}")
        print(f"  {'its end:':12}make demo-clean")

    # Their parts.

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
        """To its end, with a controller and visitors beside it. Raises `Stopped` without one."""
        found = self.rollout_of(label)
        goes_on = found is not None and not found.ended  # that of a demo which was interrupted
        if not goes_on:
            self.approve(label, meaning)
            self.penstock("rollout", "start", label, "--file", "rollout.toml")
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

    def end(self) -> None:
        if (self.folder / "penstock.toml").is_file():
            for name in ("users", "controller"):
                self.end_beside(name)
            for name in ("production", "staging"):
                self.penstock("serve", "--stop", "--endpoint", name)


if __name__ == "__main__":
    sys.exit(main())
