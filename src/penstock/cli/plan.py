"""`penstock plan` and `penstock why`."""

from __future__ import annotations

import argparse

from penstock.cli.opening import project_of
from penstock.cli.output import print_json, table


def plan(options: argparse.Namespace) -> int:
    from penstock.pipeline.forecast import forecast
    from penstock.pipeline.plan import plan_of
    from penstock.state.database import open_database

    project = project_of(options)
    expected = forecast(plan_of(project), project, open_database(project))
    if options.json:
        print_json([vars(step) for step in expected])
        return 0
    rows = [(s.step, ", ".join(s.after), s.action, _shortened(s.reasons)) for s in expected]
    print(table(("step", "after", "next run", "because"), rows))
    return 0


def why(options: argparse.Namespace) -> int:
    from penstock.pipeline.forecast import forecast
    from penstock.pipeline.plan import plan_of
    from penstock.state.database import open_database

    project = project_of(options)
    steps = plan_of(project)
    steps.step(options.step)
    expected = forecast(steps, project, open_database(project))
    found = next(step for step in expected if step.step == options.step)
    if options.json:
        print_json(vars(found))
        return 0
    print(f"{found.step}: {found.action}")
    for reason in found.reasons:
        print(f"  {reason}")
    return 0


def _shortened(reasons: tuple[str, ...]) -> str:
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}" if reasons else ""
