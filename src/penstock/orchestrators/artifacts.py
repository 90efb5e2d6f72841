"""What a step came to, as Markdown for the pages of another orchestrator."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from penstock.compliance import markdown
from penstock.compliance.document import Block, Document, Section, Statement, Table
from penstock.compliance.wording import table_of_checks
from penstock.records import (
    GateReport,
    ModelVersion,
    Notice,
    Record,
    TrainedModel,
    from_json,
)


class Shown(NamedTuple):
    key: str  # lower-case letters, digits and hyphens
    title: str
    markdown: str


def shown(pipeline: str, step: str, record: dict[str, Any] | None) -> Shown | None:
    """Of gates, models, versions and notices; None for what nobody would look at."""
    blocks = tuple(_blocks(from_json(record))) if record else ()
    if not blocks:
        return None
    title = f"{pipeline}: {step}"
    document = Document(
        "step of the pipeline", title, "", datetime.now(UTC), (), (Section(step, blocks=blocks),)
    )
    key = f"{pipeline}-{step}".lower().replace("_", "-")
    return Shown(key, title, markdown.text(document))


def _blocks(record: Record) -> Iterator[Block]:
    if isinstance(record, GateReport):
        yield Statement("Verdict", "passed" if record.passed else "refused")
        yield table_of_checks(record)
    elif isinstance(record, TrainedModel):
        yield _values("metric", record.metrics)
        yield _values("parameter", record.params)
    elif isinstance(record, ModelVersion):
        yield Statement("Registered", record.label)
        yield _values("made from", record.digests)
    elif isinstance(record, Notice):
        yield Statement(record.title, record.body)
        yield Statement("Next", record.next_command)


def _values(head: str, values: Mapping[str, object]) -> Table:
    rows = tuple((str(name), str(value)) for name, value in values.items())
    return Table((head, "value"), rows)
