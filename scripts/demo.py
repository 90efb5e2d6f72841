"""The demo: a model to production, a better one by a canary, a bad one taken back by itself; then
weeks pass, the customers change, and the loop closes.

Run by `make demo` with the folder of the example project. Every command is printed as it may be
typed in that folder. What is done already is said, not done again: an interrupted demo goes on.
With `--end`, ends all that was started.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from demo_stage import Edit, Stage
from demo_terminal import GOES_ON, RED, Stopped, heading, paint, say

from penstock.errors import PenstockError
from penstock.monitoring.triggers import Outcome as RunOutcome
from penstock.rollout.events import Outcome
from penstock.serving import endpoint
from penstock.serving.release import EndpointFolder

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

WEEKS_AS_EVER = (2,)
WEEKS_WITH_APP = (12, 13)  # in k of n looks drift is an alarm: 2 of 3
HALF_A_YEAR_LATER, AT_LAST = 38, 39
WITHOUT_IT = (Edit("penstock.toml", 'service = "churn_v2"', 'service = "churn_v1"'),)
LOOKS = """\
[monitoring]
window = "20s" # a week's visitors come within ten

[triggers]"""
IN_MINUTES = """\
cool_down = "0s" # weeks are minutes here
plan = "rollout.toml" # in seconds
follow ="""
TIME_LAPSE = (
    Edit("penstock.toml", "[triggers]", LOOKS),
    Edit("penstock.toml", "follow =", IN_MINUTES),
)


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


class Demo(Stage):
    """The acts."""

    def play(self) -> None:
        if not self.folder.exists():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            self.type("penstock", "init", self.folder.name, where=self.folder.parent)
        say("Each command may be typed by you, after:", self.here)
        acts = (
            *(self.first_model, self.first_release, self.canary, self.rollback),
            *(self.change_of_habits, self.closed_loop),
        )
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

    def change_of_habits(self) -> None:
        """Weeks pass, the customers change: one alarm, and a retraining that starts by itself"""
        if not self.orders():
            self.live_through_the_change()
        if not self.orders()[0].outcome:
            self.retraining()
        first = self.orders()[0]
        self.penstock("triggers", "why", first.run)
        if first.outcome is RunOutcome.NO_BETTER:
            say(
                "What these customers do next is not known yet: a label takes 30 days, and the",
                "months that judge a model come after those that it learns from.",
            )

    def live_through_the_change(self) -> None:
        say("The mistake is taken back first: what is retrained would make it again.")
        self.change(WITHOUT_IT + TIME_LAPSE)
        say("Each look is a round of `penstock monitor loop`, which `penstock up` keeps going.")
        for week in WEEKS_AS_EVER:
            self.look(week)
            if self.firing():
                raise Stopped(f"a false alarm: {', '.join(self.firing())}")
        say("Then an app comes out. Three of five customers look in more often, and for a moment.")
        for week in WEEKS_WITH_APP:
            self.look(week)
        if len(self.firing()) != 1 or not self.orders():
            told = ", ".join(self.firing()) or "none"
            raise Stopped(f"one alarm and a retraining were expected; what fires: {told}")

    def closed_loop(self) -> None:
        """Half a year later it has learned: shadow, canary, production, and quiet again"""
        label = self.retrained()
        if self.rollout_of(label) is None:
            self.approve(label, "it has learned from customers with the app")
        while (found := self.rollout_of(label)) is None or found.outcome is not Outcome.PROMOTED:
            if found is None or found.ended:
                self.penstock("triggers", "check", may_fail=True)
                if found and self.existing(label).id == found.id:
                    raise Stopped(f"{found.id} of {label} is {found.status}: {found.reason}")
            self.carry_out(label, goes_on=found is not None and not found.ended)
        if self.week < AT_LAST:
            self.look(AT_LAST)
        self.penstock("alerts", "list")
        if self.firing():
            raise Stopped(f"a false alarm: {', '.join(self.firing())}")

    def retrained(self) -> str:
        """The version that a trigger's run made. Raises `Stopped` where none is better."""
        if all(order.outcome is RunOutcome.NO_BETTER for order in self.orders()):
            self.look(HALF_A_YEAR_LATER)
        if not self.orders()[-1].outcome:
            self.retraining()
        last = self.orders()[-1]
        if last.outcome is not RunOutcome.REGISTERED:
            raise Stopped(f"{last.run} made no version: {last.outcome}: {last.said}")
        return last.version

    def closing(self) -> None:
        took = time.monotonic() - self.began
        heading(0, f"The end, after {took // 60:.0f} min {took % 60:.0f} s")
        self.penstock("rollout", "list")
        self.penstock("models", "list")
        print(f"\n  {'here:':12}{self.here}")
        for name in ("staging", "production"):
            print(f"  {name + ':':12}{endpoint.status(self.project.endpoint(name)).url}")
        print(f"  {'its end:':12}make demo-clean")

    def end(self) -> None:
        if (self.folder / "penstock.toml").is_file():
            for name in ("users", "controller"):
                self.end_beside(name)
            for name in ("production", "staging"):
                self.penstock("serve", "--stop", "--endpoint", name)


if __name__ == "__main__":
    sys.exit(main())
