"""What a report says, before it is known how it will look. Pure.

A document is made once from facts, and rendered as HTML, PDF, Markdown or JSON: no statement is
written twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from penstock.compliance.evidence import Evidence

Row = tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """Something that is known, and what it rests on."""

    label: str
    text: str
    evidence: tuple[str, ...] = ()  # names of the document's evidence


@dataclass(frozen=True)
class Owned:
    """Something that a person answers for."""

    label: str
    text: str
    owner: str
    digest: str  # SHA-256 (hex) of owner and text
    since: str = ""  # from when on it has been the same, as far as it was put on record
    evidence: tuple[str, ...] = ()

    @property
    def by(self) -> str:
        """Who answers for it, since when, and for which words."""
        return f"{self.owner} answers for this · {self.since} · SHA-256 {self.digest[:16]}…"


@dataclass(frozen=True)
class Missing:
    """Something that should be said and cannot be. It is never made up."""

    what: str
    todo: str


@dataclass(frozen=True)
class Table:
    heads: Row
    rows: tuple[Row, ...]
    caption: str = ""
    evidence: tuple[str, ...] = ()


Block = Statement | Owned | Missing | Table


@dataclass(frozen=True)
class Section:
    title: str
    number: str = ""  # 2, 2(d); empty: it has none
    blocks: tuple[Block, ...] = ()
    parts: tuple[Section, ...] = ()

    @classmethod
    def of(cls, number: str, title: str, *said: Block | Section | None) -> Section:
        """Of blocks, then parts; without what there is nothing to say about."""
        parts = tuple(one for one in said if isinstance(one, Section))
        blocks = tuple(one for one in said if one is not None and not isinstance(one, Section))
        return cls(title, number, blocks, parts)

    @property
    def heading(self) -> str:
        return f"{self.number}  {self.title}".strip()

    @property
    def anchor(self) -> str:
        """For links to it: letters, digits and hyphens."""
        text = self.number or self.title
        return "s-" + "".join(c if c.isalnum() else "-" for c in text.lower()).strip("-")

    def walk(self) -> Iterator[Section]:
        """Itself and all parts, as they are read."""
        yield self
        for part in self.parts:
            yield from part.walk()


@dataclass(frozen=True)
class Document:
    kind: str  # what sort of document it is, above the title
    title: str
    lead: str  # what it is for, in a sentence or two
    at: datetime  # UTC; when it was put on record, or made
    head: tuple[tuple[str, str], ...]  # name and value
    sections: tuple[Section, ...]
    evidence: tuple[Evidence, ...] = field(default=())  # all that is cited, in order

    @cached_property
    def numbers(self) -> Mapping[str, str]:
        """What each piece of evidence is cited as, by its name: E1, E2, …"""
        return {one.name: f"E{number}" for number, one in enumerate(self.evidence, start=1)}

    def citations(self, names: Iterable[str]) -> list[str]:
        """What some names are cited as; a name that is no evidence of the document is left out."""
        return [self.numbers[name] for name in names if name in self.numbers]

    def walk(self) -> Iterator[Section]:
        for section in self.sections:
            yield from section.walk()

    @property
    def missing(self) -> tuple[tuple[Section, Missing], ...]:
        """All that is missing, and where."""
        return tuple(
            (section, block)
            for section in self.walk()
            for block in section.blocks
            if isinstance(block, Missing)
        )

    @property
    def statements(self) -> int:
        """How many things are said."""
        blocks = [block for section in self.walk() for block in section.blocks]
        return sum(not isinstance(block, Missing) for block in blocks)


def cited(sections: tuple[Section, ...]) -> frozenset[str]:
    """The names of the evidence that sections rest on."""
    return frozenset(
        name
        for top in sections
        for section in top.walk()
        for block in section.blocks
        if not isinstance(block, Missing)
        for name in block.evidence
    )
