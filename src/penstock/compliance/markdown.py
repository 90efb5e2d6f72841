"""A document as Markdown, for terminals, pull requests and model hubs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import singledispatch

from penstock.compliance.document import Block, Document, Missing, Owned, Row, Statement, Table


def text(document: Document) -> str:
    """The whole document; evidence is listed by digest and entry, without the paths."""
    return "\n".join(_lines(document)).rstrip() + "\n"


def _lines(document: Document) -> Iterator[str]:
    yield from (f"# {_plain(document.title)}", "", f"*{_plain(document.kind)}*", "")
    yield from (_plain(document.lead), "")
    yield from (*_table(("", ""), document.head), "")
    for top in document.sections:
        for section in top.walk():
            level = "##" if section is top else "###"
            yield from (f"{level} {_plain(section.heading)}", "")
            for block in section.blocks:
                yield from (*_block(block, document), "")
    if document.evidence:
        rows = tuple(
            (number, one.name, one.says, one.digest, str(one.proof.sequence) if one.proof else "")
            for number, one in zip(document.numbers.values(), document.evidence, strict=True)
        )
        yield from ("## Evidence", "", *_table(("", "", "", "SHA-256", "entry"), rows))


@singledispatch
def _block(block: Block, document: Document) -> list[str]:
    raise TypeError(f"{type(block).__name__} is no block of a document")


@_block.register
def _(block: Statement, document: Document) -> list[str]:
    return [f"**{_plain(block.label)}**: {_plain(block.text)}{_cites(block.evidence, document)}"]


@_block.register
def _(block: Owned, document: Document) -> list[str]:
    quoted = [f"> {_plain(line)}".rstrip() for line in block.text.splitlines()]
    by = f"> — {block.owner}; {block.since}; `{block.digest[:16]}`"
    label = f"**{_plain(block.label)}**{_cites(block.evidence, document)}"
    return [label, "", *quoted, ">", by]


@_block.register
def _(block: Missing, document: Document) -> list[str]:
    return [f"**MISSING** {_plain(block.what)}: {_plain(block.todo)}"]


@_block.register
def _(block: Table, document: Document) -> list[str]:
    caption = f"**{_plain(block.caption)}**{_cites(block.evidence, document)}"
    return [*([caption, ""] if block.caption else []), *_table(block.heads, block.rows)]


def _table(heads: Row, rows: tuple[Row, ...]) -> Iterator[str]:
    """Aligned, since it is read as text too."""
    cells = [heads, *rows]
    widths = [max(3, *(len(_plain(row[place])) for row in cells)) for place in range(len(heads))]
    ruled = [heads, tuple("-" * width for width in widths), *rows]
    for row in ruled:
        padded = (_plain(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(padded)} |"


def _cites(names: tuple[str, ...], document: Document) -> str:
    cited = document.citations(names)
    return f" [{', '.join(cited)}]" if cited else ""


def _plain(text: str) -> str:
    """In one line, and no markup of its own."""
    line = " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", line)
