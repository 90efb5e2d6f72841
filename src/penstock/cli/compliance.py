"""`penstock compliance annex-iv|card`: what is said of a version, and what it rests on."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.model_signatures import version_number
from penstock.cli.opening import project_of
from penstock.cli.output import print_json
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
    return issue(project, open_database(project), found)


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
