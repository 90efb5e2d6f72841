"""Whether an event is what OpenLineage's published schemas say, facet by facet."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource

SCHEMAS = Path(__file__).parent.parent / "vectors" / "openlineage"
RUN_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
HOLDERS = ("facets", "inputFacets", "outputFacets")


def faults(event: Any) -> list[str]:
    """All that is wrong with an event: with the whole, and with each facet by its own schema."""
    assert event["schemaURL"] == RUN_EVENT
    found = [error.message for error in _validator(RUN_EVENT).iter_errors(event)]
    for name, facet in facets(event):
        schema = facet["_schemaURL"]
        found += [f"{name}: {error.message}" for error in _validator(schema).iter_errors(facet)]
        by_name = _validator(schema.partition("#")[0])  # says by which name a facet goes
        assert name in by_name.schema["properties"], name
    return found


def facets(event: Any) -> Iterator[tuple[str, Any]]:
    """Each facet of an event with its name."""
    for holder in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
        for key in HOLDERS:
            yield from holder.get(key, {}).items()


@cache
def _registry() -> Registry[Any]:
    schemas = [json.loads(file.read_text()) for file in SCHEMAS.rglob("*.json")]
    return Registry().with_resources(
        (schema["$id"], Resource.from_contents(schema)) for schema in schemas
    )


@cache
def _validator(reference: str) -> Draft202012Validator:
    schema: Any = {"$ref": reference}
    if "#" not in reference:
        schema = _registry().contents(reference)
    return Draft202012Validator(schema, registry=_registry(), format_checker=FormatChecker())
