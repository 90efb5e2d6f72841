"""The definition behind a Feast feature view, whether Penstock made the view or somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.errors import DataError
from penstock.features.definition import DEFINITION_TAG, Source, ViewDefinition, parsed
from penstock.features.facts import Facts, source_rows, view_rows
from penstock.records import Column


def definition_of(view: Any) -> ViewDefinition | None:
    """The definition that a view carries; none for a view that is plain Feast."""
    tag = view.tags.get(DEFINITION_TAG)
    return parsed(tag) if tag else None


def is_parquet(view: Any) -> bool:
    """Whether the rows of a view are Parquet files, so that Penstock can join them itself."""
    from feast import FileSource
    from feast.data_format import ParquetFormat

    source = view.batch_source
    own = isinstance(source, FileSource) and isinstance(
        source.file_format or ParquetFormat(), ParquetFormat
    )
    return own and not _transformed_by_feast(view)


def _transformed_by_feast(view: Any) -> bool:
    """Feast's own transformations and aggregations are left to Feast."""
    return bool(
        getattr(view, "feature_transformation", None)
        or getattr(view, "aggregations", None)
        or getattr(view, "source_views", None)
    )


def readable(view: Any, repository: Path, root: Path) -> tuple[ViewDefinition, Facts]:
    """What a view means, and its rows.

    Relative paths of plain Feast views are taken from their repository, as Feast does; Penstock's
    own from the project.
    """
    definition, rows = source_of(view, repository, root)
    return definition, view_rows(definition, rows, root)


def source_of(view: Any, repository: Path, root: Path) -> tuple[ViewDefinition, Facts]:
    """The same, with the rows of the source as they stand."""
    definition = definition_of(view)
    if definition is not None:
        return definition, source_rows(definition.source, root)
    definition = described_by_feast(view, repository)
    facts = source_rows(definition.source, root)
    source = view.batch_source
    named = {source.field_mapping.get(own, own): own for own in facts.dataset.schema.names}
    return definition, Facts(facts.what, _with_credentials(view, repository, facts), named)


def described_by_feast(view: Any, repository: Path) -> ViewDefinition:
    """The definition of a plain Feast view, as far as it is one of Parquet files."""
    source = view.batch_source
    renamed = source.field_mapping
    times = [source.timestamp_field, source.created_timestamp_column]
    happened, created = (renamed.get(name, name) for name in times)
    keys = [c for c in view.entity_columns if c.name != "__dummy_id"]
    return ViewDefinition(
        name=view.name,
        keys=tuple(Column(name=c.name, type=str(c.dtype)) for c in keys),
        source=Source(
            name=source.name,
            kind="parquet",
            location=source.get_uri_for_file_path(str(repository), source.path),
            timestamp=happened,
            created=created,
        ),
        fields=tuple(Column(name=c.name, type=str(c.dtype)) for c in view.features),
        ttl=view.ttl or None,
        online=view.online,
        owner=view.owner,
        description=view.description,
        tags=view.tags,
    )


def _with_credentials(view: Any, repository: Path, facts: Facts) -> Any:
    """The files through the S3 endpoint and with the credentials that the source names."""
    import pyarrow.dataset as ds

    source = view.batch_source
    credentials = source.resolve_credentials()
    if not (source.s3_endpoint_override or credentials):
        return facts.dataset
    uri = source.get_uri_for_file_path(str(repository), source.path)
    filesystem, path = source.create_filesystem_and_path(
        uri, source.s3_endpoint_override, credentials
    )
    try:
        return ds.dataset(path, filesystem=filesystem, format="parquet", partitioning="hive")
    except OSError as error:
        raise DataError(
            f"{facts.what} cannot be read: {str(error).splitlines()[0]}",
            hint="check the path, the endpoint and the credentials of the source",
        ) from error
