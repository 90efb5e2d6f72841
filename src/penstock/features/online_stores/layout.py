"""What the rows of a view are made of, and the note about it that a store keeps beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from penstock.errors import DataError
from penstock.features.definition import DEFINITION_TAG, ViewDefinition, parsed
from penstock.features.online_stores.keys import DUMMY, KeyCodec
from penstock.records import digest_of

FORMAT = 1  # of rows and notes; a reader refuses what is newer
Fields = tuple[tuple[str, str], ...]  # names, with those of their Feast types


def nanoseconds(span: timedelta) -> int:
    return span // timedelta(microseconds=1) * 1_000


@dataclass(frozen=True)
class Layout:
    """A feature view as its rows see it."""

    project: str
    view: str
    keys: Fields
    fields: Fields
    ttl: int | None  # nanoseconds
    definition: ViewDefinition | None  # none: a plain Feast view

    @property
    def aggregated(self) -> bool:
        return bool(self.definition and self.definition.aggregates)

    @property
    def space(self) -> str:
        """What the view's keys are kept under."""
        return f"{self.project}:{self.view}"

    @cached_property
    def codec(self) -> KeyCodec:
        return KeyCodec(self.view, self.keys)

    @cached_property
    def schema(self) -> int:
        """The number, 32 bits, of what rows hold now."""
        about = self.digest if self.aggregated else self.fields
        return int(digest_of(about)[:8], 16)

    @cached_property
    def digest(self) -> str:
        """Of what stored rows depend on: when it changes they are dropped.

        Features of a latest row may come and go, and its ttl may change, as rows name their fields.
        """
        if self.definition is None:
            return ""
        if self.aggregated:
            return _of_used_columns(self.definition).digest
        means = self.definition.source.model_dump(mode="json", exclude={"columns"})
        made = self.definition.transformation
        return digest_of([means, made and made.model_dump(mode="json")])

    @cached_property
    def meaning(self) -> str:
        """The digest of all that decides what rows hold: what was brought before was less."""
        return digest_of([self.keys, self.digest, self.schema])


def _of_used_columns(view: ViewDefinition) -> ViewDefinition:
    """The definition without columns of the source that nothing is made of; they come and go."""
    if view.transformation:  # which may use any
        return view
    source = view.source
    used = {*(key.name for key in view.keys), source.timestamp, source.created, *view.inputs}
    columns = tuple(column for column in source.columns if column.name in used)
    return view.model_copy(update={"source": source.model_copy(update={"columns": columns})})


def layout_of(project: str, view: Any) -> Layout:
    """The layout of a Feast view of any kind that has an online store."""
    tag = view.tags.get(DEFINITION_TAG)
    ttl = getattr(view, "ttl", None)
    keys = getattr(view, "entity_columns", None) or ()
    return Layout(
        project=project,
        view=view.name,
        keys=tuple(sorted(_typed(c) for c in keys if c.name != DUMMY)),
        fields=tuple(_typed(c) for c in view.features),
        ttl=nanoseconds(ttl) if ttl else None,
        definition=parsed(tag) if tag else None,
    )


def _typed(column: Any) -> tuple[str, str]:
    return column.name, column.dtype.to_value_type().name


@dataclass(frozen=True)
class Note:
    """What a store remembers of a view: how to read the rows it has."""

    keys: Fields
    digest: str
    schemas: dict[int, Fields]

    @classmethod
    def of(cls, layout: Layout) -> Note:
        return cls(layout.keys, layout.digest, {layout.schema: layout.fields})

    def differs(self, layout: Layout) -> str:
        """Why rows written so far cannot stay; empty: they can."""
        if self.digest == "unreadable":
            return "the store's note about it is damaged"
        if self.keys != layout.keys:
            return f"its keys were {dict(self.keys)} and are {dict(layout.keys)}"
        return "its definition changed" if self.digest != layout.digest else ""

    def with_schema(self, layout: Layout) -> Note:
        return replace(self, schemas={**self.schemas, layout.schema: layout.fields})

    def to_json(self) -> bytes:
        schemas = {str(number): fields for number, fields in self.schemas.items()}
        stored = {"format": FORMAT, "keys": self.keys, "digest": self.digest, "schemas": schemas}
        return json.dumps(stored).encode()

    @classmethod
    def from_json(cls, space: str, text: bytes) -> Note:
        """A note that cannot be read differs from every layout, so that applying drops its rows.

        Raises `DataError` for one of a newer version.
        """
        try:
            stored = json.loads(text)
            newer = stored["format"] > FORMAT
            schemas = {int(n): _fields(fields) for n, fields in stored["schemas"].items()}
            note = cls(_fields(stored["keys"]), str(stored["digest"]), schemas)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls((), "unreadable", {})
        if newer:
            raise newer_version(space)
        return note


def _fields(pairs: Any) -> Fields:
    return tuple((str(name), str(kind)) for name, kind in pairs)


def newer_version(space: str) -> DataError:
    return DataError(
        f"the online rows of {space!r} were written by a newer version of Penstock",
        hint="upgrade Penstock here too",
    )
