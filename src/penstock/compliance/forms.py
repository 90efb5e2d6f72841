"""A document in the form that a file's ending names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from penstock.compliance import html, markdown
from penstock.compliance.document import Document
from penstock.digests import written_whole
from penstock.errors import UsageError


def as_pdf(document: Document) -> bytes:
    from penstock.compliance.pdf import rendered

    return rendered(document)


def as_html(document: Document) -> bytes:
    return html.page(document).encode()


def as_markdown(document: Document) -> bytes:
    return markdown.text(document).encode()


def as_json(document: Document) -> bytes:
    return json.dumps(asdict(document), indent=1, ensure_ascii=False, default=str).encode() + b"\n"


FORMS: Mapping[str, Callable[[Document], bytes]] = {
    ".html": as_html,
    ".pdf": as_pdf,
    ".md": as_markdown,
    ".json": as_json,
}


def write(document: Document, file: Path) -> None:
    """Raises `UsageError` for an ending that names no form."""
    form = FORMS.get(file.suffix)
    if form is None:
        raise UsageError(
            f"{file} names no form of a document", hint=f"end it with {', '.join(FORMS)}"
        )
    content = form(document)
    with written_whole(file) as part:
        part.write_bytes(content)
