"""`penstock compliance annex-iv|card`: what is said of a version, and what it rests on."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.model_signatures import version_number
from penstock.cli.opening import project_of
from penstock.cli.output import moment, print_json, table
from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.compliance.document import Document
    from penstock.compliance.issuing import Issue


def annex_iv(options: argparse.Namespace) -> int:
    from penstock.compliance.annex_iv import technical_file

    if options.template:
        return _template(options)
    if not options.model:
        raise UsageError("of which version?", hint="write NAME@VERSION, or --template")
    document = technical_file(issued(options).facts)
    stem = options.model.replace("@", "-")
    files = options.out or [f"{stem}-annex-iv.html", f"{stem}-annex-iv.pdf"]
    return give(options, document, files)


def card(options: argparse.Namespace) -> int:
    from penstock.compliance.model_card import model_card

    return give(options, model_card(issued(options).facts), options.out)


def issued(options: argparse.Namespace) -> Issue:
    from penstock.compliance.issuing import issue
    from penstock.registry.versions import find
    from penstock.state.database import open_database

    project = project_of(options)
    found = find(project, version_number(project, options.model))
    (made,) = issue(project, open_database(project), found)
    return made


def give(options: argparse.Namespace, document: Document, files: list[str]) -> int:
    """Writes a document to files, each by its ending; without one, prints it as Markdown."""
    from penstock.compliance.forms import write
    from penstock.compliance.markdown import text

    for file in files:
        write(document, Path(file))
    missing = [{"point": section.number, **asdict(gap)} for section, gap in document.missing]
    if options.json:
        print_json({"files": files, "missing": missing, "document": asdict(document)})
    elif not files:
        print(text(document), end="")
    else:
        print(f"{document.title}: {document.statements} statements, {len(missing)} missing")
        for section, gap in document.missing:
            print(f"  MISSING {section.number:<5} {gap.what}")
        for file in files:
            print(f"  wrote {file}")
    return 0


def _template(options: argparse.Namespace) -> int:
    from penstock.compliance.owned import FILE, template
    from penstock.digests import written_once

    file = project_of(options).root / FILE
    if not written_once(file, template().encode()):
        raise UsageError(f"{file} is there already", hint="fill it in; its comments say with what")
    if options.json:
        print_json({"file": str(file)})
    else:
        print(f"wrote {file}: fill in what you answer for")
    return 0


def bundle(options: argparse.Namespace) -> int:
    from penstock.compliance.bundle import write_bundle
    from penstock.state.database import open_database

    project = project_of(options)
    file = Path(options.out or f"{options.model.replace('@', '-')}-evidence.zip")
    written = write_bundle(project, open_database(project), issued(options), file)
    if options.json:
        print_json(asdict(written))
    else:
        print(f"wrote {file}: {written.files} files, {written.entries} entries of the ledger")
        print(f"  SHA-256 {written.digest}")
        print(f"  {written.missing} statements of the technical file are missing")
        print(f"  verify it: penstock audit verify --bundle {file} --key ledger.pub")
    return 0


def change(options: argparse.Namespace) -> int:
    from penstock.compliance.changing import change as between
    from penstock.compliance.dossier import change_dossier
    from penstock.registry.versions import find
    from penstock.state.database import open_database

    project = project_of(options)
    before, after = (
        find(project, version_number(project, label)) for label in (options.before, options.after)
    )
    if before == after:
        raise UsageError(f"{before.label} twice", hint="name two versions")
    found = between(project, open_database(project), before, after)
    return give(options, change_dossier(found), options.out)


def access(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from penstock.cli.predictions import since_of
    from penstock.compliance.access import access_report
    from penstock.state.database import open_database

    project = project_of(options)
    since = since_of(options.since) if options.since else None
    report = access_report(project, open_database(project), datetime.now(UTC), since)
    return give(options, report, options.out)


def inventory(options: argparse.Namespace) -> int:
    from datetime import UTC, datetime

    from penstock.compliance.inventory import inventory as lines
    from penstock.state.database import open_database

    project = project_of(options)
    found = lines(project, open_database(project), datetime.now(UTC).date())
    if options.json:
        print_json([asdict(line) for line in found])
    elif options.csv:
        _print_csv([asdict(line) for line in found])
    elif not found:
        print("no model is registered yet; `penstock run` registers one that passes its gates")
    else:
        heads = ("model", "stands", "serves", "risk", "owner", "validated", "approved", "review")
        rows = [
            (
                line.model,
                line.stands,
                line.serves,
                line.risk_class,
                line.owner,
                moment(line.validated),
                moment(line.approved),
                f"{line.next_review} OVERDUE" if line.overdue else line.next_review,
            )
            for line in found
        ]
        print(table(heads, rows))
    return 0


def _print_csv(lines: list[dict[str, Any]]) -> None:
    import csv
    import sys

    writer = csv.DictWriter(sys.stdout, fieldnames=list(lines[0]) if lines else [])
    writer.writeheader()
    writer.writerows(lines)
