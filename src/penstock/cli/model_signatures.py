"""`penstock models sign`, `verify`, `waive` and `key`."""

from __future__ import annotations

import argparse
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from penstock.cli.opening import project_of
from penstock.cli.output import MARKS, print_json, table
from penstock.cli.recording import recorded
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.project import Project


def sign(options: argparse.Namespace) -> int:
    from penstock.registry.adoption import sign_version
    from penstock.state.database import open_database

    project = project_of(options)
    number = version_number(project, options.model)
    found = sign_version(project, open_database(project), number, reason=options.reason)
    if options.json:
        print_json(asdict(found))
    else:
        print(f"{found.label} ({found.digest[:12]}) is signed")
    return 0


def verify(options: argparse.Namespace) -> int:
    from penstock.registry.verification import verify as look
    from penstock.registry.versions import find
    from penstock.state.database import open_database

    project = project_of(options)
    found = find(project, version_number(project, options.model))
    findings = look(project, open_database(project), found)
    holds = all(finding.holds for finding in findings)
    if options.json:
        said = [asdict(finding) for finding in findings]
        print_json({"model": found.label, "holds": holds, "findings": said})
        return 0 if holds else 1
    rows = [
        (MARKS["succeeded" if finding.holds else "failed"], finding.name, finding.said)
        for finding in findings
    ]
    print(table(("", found.label, ""), rows))
    for hint in dict.fromkeys(finding.hint for finding in findings if finding.hint):
        print(f"  → {hint}")
    return 0 if holds else 1


def waive(options: argparse.Namespace) -> int:
    from penstock.registry.versions import find
    from penstock.registry.waivers import waive as record
    from penstock.state.database import open_database

    project = project_of(options)
    found = find(project, version_number(project, options.model))
    entry = record(
        project,
        open_database(project),
        found,
        options.flavour,
        reason=options.reason,
        allow=not options.withdraw,
    )
    if options.json:
        print_json({"model": found.label, "flavour": options.flavour, "entry": entry})
        return 0
    verb = "may no longer be" if options.withdraw else "may be"
    print(f"{found.label} ({found.digest[:12]}) {verb} loaded as {options.flavour}")
    return 0


def key(options: argparse.Namespace) -> int:
    from penstock.registry.model_keys import KeyFiles

    project = project_of(options)
    files = KeyFiles.of(project)
    if options.new:
        files.new()
        recorded(project, "model.key_made", files.signing_key().public.fingerprint)
    signs = files.signing_key().public.fingerprint if files.private.is_file() else ""
    trusted = [one.fingerprint for one in files.trusted()] if files.public.is_file() else []
    if options.json:
        print_json({"signs": signs, "trusted": trusted, "public_key": str(files.public)})
        return 0
    if not trusted:
        print("there is no key yet; the first model that is registered makes one")
    for fingerprint in trusted:
        print(f"{fingerprint[:12]}  {'signs' if fingerprint == signs else 'is trusted'}")
    if trusted:
        print(f"commit {files.public}; keep {files.private} to yourself")
    return 0


def version_number(project: Project, label: str) -> int:
    """The number in NAME@NUMBER. Raises `UsageError` for another model's."""
    match = re.fullmatch(r"(.+)@(\d+)", label)
    if match is None or match[1] != project.settings.model_name:
        raise UsageError(
            f"{label!r} is no version of this project's model",
            hint=f"write {project.settings.model_name}@NUMBER; see `penstock models list`",
        )
    return int(match[2])
