"""`penstock init`."""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from penstock.cli.deploying import write_deployment
from penstock.cli.opening import project_of
from penstock.cli.output import print_json
from penstock.errors import UsageError
from penstock.project import open_project

TEMPLATES = Path(__file__).parent.parent / "templates"
CONTINUOUS = TEMPLATES / "continuous"  # pipelines for GitHub and GitLab, the same of every project
PLACEHOLDER = "NAME"
# What a project makes while it runs is never part of a template.
MADE = shutil.ignore_patterns(
    ".penstock",
    ".dvc",
    ".git",
    ".ruff_cache",
    "__pycache__",
    "data",
    "*.pyc",
    "models.pub",
    "ledger.pub",
)


def init(options: argparse.Namespace) -> int:
    if options.name is None:
        return _deploy_here(options)
    from penstock.audit.signing_keys import LedgerKeys, origin_of
    from penstock.registry.model_keys import KeyFiles

    target = Path(options.name).resolve()
    _require_new(target)
    template = TEMPLATES / options.template
    shutil.copytree(template.resolve(), target, ignore=MADE, dirs_exist_ok=True)
    shutil.copytree(CONTINUOUS, target, dirs_exist_ok=True)
    if options.template == "blank":
        _fill_in(target)
    LedgerKeys.in_new_project(target).new(origin_of(target.name))
    KeyFiles.in_new_project(target).new()
    if options.deploy:
        write_deployment(open_project(target, options.environment))
    made = [path.relative_to(target) for path in target.rglob("*") if path.is_file()]
    files = sorted(path.as_posix() for path in made if path.parts[0] != ".penstock")
    if options.json:
        print_json({"project": str(target), "template": options.template, "files": files})
        return 0
    print(f"made {target} from the template {options.template!r}:")
    for file in files:
        print(f"  {file}")
    print(f"next: penstock run --project {options.name}")
    return 0


def _deploy_here(options: argparse.Namespace) -> int:
    if not options.deploy:
        raise UsageError("no name is given", hint="penstock init NAME, or penstock init --deploy")
    project = project_of(options)
    files = write_deployment(project)
    if options.json:
        print_json({"project": str(project.root), "files": files})
        return 0
    print(f"made in {project.root}, for {project.environment}:")
    for file in files:
        print(f"  {file}")
    print("next: docs/services.md, or sudo cp deploy/systemd/* /etc/systemd/system/")
    return 0


def _require_new(target: Path) -> None:
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", target.name):
        raise UsageError(
            f"{target.name!r} cannot be a project's name",
            hint="use up to 64 letters, digits, - and _, and begin with a letter",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"{target} exists and is not empty", hint="choose another name, or empty it first"
        )


def _fill_in(target: Path) -> None:
    for folder in ("dags", "flows"):
        (target / folder / f"{PLACEHOLDER}.py").rename(target / folder / f"{target.name}.py")
    for file in ("penstock.toml", "README.md", f"flows/{target.name}.py"):
        path = target / file
        text = path.read_text(encoding="utf-8").replace(PLACEHOLDER, target.name)
        path.write_text(text, encoding="utf-8")
