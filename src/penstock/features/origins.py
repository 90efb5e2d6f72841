"""What a training set was made of, as digests: what its features mean, and what its sources hold.

What cannot be known is said and not claimed: a digest is then empty, and `of` tells why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow.dataset as ds
from pyarrow.fs import FileType, LocalFileSystem

from penstock.digests import file_digest
from penstock.errors import DataError
from penstock.features.definition import Source
from penstock.features.facts import connect
from penstock.features.feast_views import definition_of, is_parquet, source_of
from penstock.features.store import on_demand_behind, repository, views_behind
from penstock.records import Record, digest_of

LISTERS = 8  # requests at a time to an object store
# Each row's MD5 as two numbers, summed: the same for the same rows in any order.
ROWS_DIGEST = """
SELECT count(*), sum((m >> 64)::UBIGINT), sum((m & 18446744073709551615::UHUGEINT)::UBIGINT)
FROM (SELECT md5_number(CAST(__row AS VARCHAR)) AS m FROM __row)
"""
Kind = Literal["files", "objects", "query", "elsewhere"]


class Origin(Record):
    """One source that a training set was made of."""

    name: str
    kind: Kind
    location: str  # as it is declared: a path, a URI or a query
    digest: str = ""  # empty: not known
    of: str  # what the digest is of; or why there is none


def meaning_digest(store: Any, service: Any) -> str:
    """SHA-256 of what decides the values of a service's features, but for the data itself.

    The definitions of its views, the code of its on-demand views, and which features it takes.
    """
    chosen = [
        {
            "view": projection.name,
            "features": [field.name for field in projection.features],
            "keys": dict(projection.join_key_map),
        }
        for projection in service.feature_view_projections
    ]
    views = {view.name: _view_digest(view) for view in views_behind(store, service)}
    views |= {view.name: _on_demand_digest(view) for view in on_demand_behind(store, service)}
    return digest_of({"service": chosen, "views": views})


def source_origins(root: Path, store: Any, service: Any) -> tuple[Origin, ...]:
    """The sources of a service's views, each once, as they are now.

    Raises `DataError` when one cannot be read.
    """
    found: dict[tuple[str, str, str], Origin] = {}
    for view in views_behind(store, service):
        definition = definition_of(view)
        if definition is not None and definition.source.kind == "query":
            source = definition.source
            kind, location = "query", source.location
            make = partial(_of_query, source, root)
        elif definition is not None or is_parquet(view):
            kind = "parquet"
            location = definition.source.location if definition else view.batch_source.path
            make = partial(_of_files, view, location, root)
        else:
            kind, location = "elsewhere", view.batch_source.name
            make = partial(_of_elsewhere, view)
        name = definition.source.name if definition else view.batch_source.name
        if (name, kind, location) not in found:
            found[name, kind, location] = make()
    return tuple(found.values())


def _of_query(source: Source, root: Path) -> Origin:
    """The query runs once more; its rows are counted in any order."""
    try:
        relation: Any = connect(root).sql(source.location)
        columns = [(n, str(t)) for n, t in zip(relation.columns, relation.types, strict=True)]
        [rows] = relation.query("__row", ROWS_DIGEST).fetchall()
    except duckdb.Error as error:
        raise DataError(
            f"source {source.name!r}: DuckDB cannot answer the query: {str(error).splitlines()[0]}",
            hint="correct the query in features.py",
        ) from error
    return Origin(
        name=source.name,
        kind="query",
        location=source.location,
        digest=digest_of([columns, *rows]),
        of="the rows of its result, in any order",
    )


def _of_files(view: Any, location: str, root: Path) -> Origin:
    """Every file of a dataset, by its place in it."""
    _, facts = source_of(view, repository(root), root)
    data = facts.dataset
    places = dict(zip(data.files, _places(data.files, location, root), strict=True))
    if isinstance(data.filesystem, LocalFileSystem):
        listed = [(place, file_digest(Path(file))) for file, place in places.items()]
        kind: Kind = "files"
        of = "the bytes of its files"
    else:
        listed = [(places[file], stamp) for file, stamp in _stamps(data)]
        kind = "objects"
        of = "the ETag and size of its objects"
        if any(stamp.startswith("changed ") for _, stamp in listed):
            of = "the ETag, or else the time, and the size of its objects"
    name = definition.source.name if (definition := definition_of(view)) else view.batch_source.name
    return Origin(name=name, kind=kind, location=location, digest=digest_of(listed), of=of)


def _of_elsewhere(view: Any) -> Origin:
    source = view.batch_source
    return Origin(
        name=source.name,
        kind="elsewhere",
        location=source.name,
        of=f"not known: Feast reads it by {type(source).__name__}",
    )


def _places(files: list[str], location: str, root: Path) -> Iterator[str]:
    """Where each file lies below the source's place, so that a moved project is the same."""
    base = location.partition("://")[2].partition("?")[0] if "://" in location else ""
    for file in files:
        yield os.path.relpath(file, base or root / location)


def _stamps(data: ds.FileSystemDataset) -> Iterator[tuple[str, str]]:
    """What an object store says of each object without its bytes."""
    infos = data.filesystem.get_file_info(data.files)

    def stamp(info: Any) -> str:
        if info.type != FileType.File:
            raise DataError(f"{info.path} is gone", hint="ask again: the source has just changed")
        with data.filesystem.open_input_stream(info.path) as stream:
            about = stream.metadata() or {}
        tag = about.get("ETag", b"").decode()
        return f"{tag or f'changed {info.mtime_ns}'}, {info.size} bytes"

    with ThreadPoolExecutor(LISTERS) as threads:
        yield from zip(data.files, threads.map(stamp, infos), strict=True)


def _view_digest(view: Any) -> str:
    """Of Penstock's definition; or of all that plain Feast knows of a view but who owns it."""
    if definition := definition_of(view):
        return definition.digest
    spec = view.to_proto().spec
    for about in ("description", "tags", "owner", "online", "project", "version"):
        if about in spec.DESCRIPTOR.fields_by_name:
            spec.ClearField(about)
    for source in (spec.batch_source, spec.stream_source):
        for about in ("description", "tags", "owner", "meta"):
            if about in source.DESCRIPTOR.fields_by_name:
                source.ClearField(about)
    return digest_of(spec.SerializeToString(deterministic=True).hex())


def _on_demand_digest(view: Any) -> str:
    """Of an on-demand view's code, inputs and outputs."""
    transformation = view.feature_transformation
    code = getattr(transformation, "udf_string", "")
    if not code:
        code = transformation.to_proto().SerializeToString(deterministic=True).hex()
    inputs = {
        projection.name: [field.name for field in projection.features]
        for projection in view.source_feature_view_projections.values()
    }
    requested = {name: str(kind) for name, kind in view.get_request_data_schema().items()}
    outputs = [(field.name, str(field.dtype)) for field in view.features]
    return digest_of([code, str(view.mode), inputs, requested, outputs])
