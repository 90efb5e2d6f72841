"""`penstock data export` and `penstock data stage`: the plan as a pipeline of DVC."""

from __future__ import annotations

import argparse
import sys

from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.cli.progress import progress_of


def export(options: argparse.Namespace) -> int:
    from penstock.data.pipeline_file import export
    from penstock.orchestrators.dvc_stages import dataset_file, rendered
    from penstock.pipeline.plan import plan_of

    project = project_of(options)
    stages = rendered(plan_of(project), project)
    done = export(project.root, stages, {dataset_file(project): "prepare"})
    if options.json:
        print_json({**vars(done), "file": str(done.file)})
        return 0
    print(f"{done.file}: {' → '.join(done.stages)}")
    for name in done.removed:
        print(f"- {name}: the plan has it no more")
    for note in done.taken_over:
        print(f"- {note}: dvc.lock notes that file from now on")
    print("next: dvc repro")
    return 0


def stage(options: argparse.Namespace) -> int:
    from penstock.data.pipeline_file import is_current
    from penstock.orchestrators.dvc_run import run_stage
    from penstock.orchestrators.dvc_stages import rendered
    from penstock.pipeline.plan import plan_of
    from penstock.records import to_json
    from penstock.state.database import open_database

    project = project_of(options)
    plan = plan_of(project)
    with progress_of(options) as progress:
        made = run_stage(plan, project, open_database(project), options.stage, progress)
    if not is_current(project.root, options.stage, rendered(plan, project)[options.stage]):
        print(
            "note: dvc.yaml is older than the plan; `penstock data export` writes it anew",
            file=sys.stderr,
        )
    if options.json:
        print_json({name: to_json(record) for name, record in made.items()})
    return 0
