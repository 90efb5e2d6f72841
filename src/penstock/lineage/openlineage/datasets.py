"""Records as OpenLineage datasets: what a step read, what it wrote, what a gate found in it.

Loaded by `sender` only, since it imports OpenLineage's classes. Of what
validation observed, numbers of rows are told and no value of any row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path

from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    InputDatasetFacet,
    OutputDatasetFacet,
    data_quality_assertions_dataset,
    data_quality_metrics_input_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    datasource_dataset,
    input_statistics_input_dataset,
    output_statistics_output_dataset,
    schema_dataset,
)

from penstock.lineage.openlineage.happenings import Happening
from penstock.records import (
    Check,
    Column,
    DataReport,
    DatasetVersion,
    FeatureSet,
    ModelVersion,
    Record,
    Release,
    TrainedModel,
)

FILES = "file"  # OpenLineage's namespace of files that are named by their absolute path


@dataclass(frozen=True)
class Described:
    """What a record says of the bytes that it names."""

    name: str
    version: str
    kind: str  # in OpenLineage's words: FILE, MODEL, SERVICE
    source: str  # the tool that keeps it
    place: str  # a URL, or a path relative to the project
    columns: tuple[Column, ...] = ()
    rows: int | None = None


@singledispatch
def described(record: Record) -> Described | None:
    """None for records that name no bytes: reports, notices."""
    return None


@described.register
def _(record: DatasetVersion) -> Described:
    return Described(
        record.name, record.digest, "FILE", "dvc", record.path, record.columns, record.rows
    )


@described.register
def _(record: FeatureSet) -> Described:
    own = (*record.entity_keys, record.timestamp, *record.request_columns, record.label)
    known = {column.name for column in record.features}
    others = tuple(Column(name=name, type="") for name in dict.fromkeys(own) if name not in known)
    columns = (*record.features, *others)
    name = record.service or "training_set"
    return Described(name, record.digest, "FILE", "feast", record.path, columns, record.rows)


@described.register
def _(record: TrainedModel) -> Described:
    return Described("model", record.digest, "MODEL", "mlflow", record.path, record.features)


@described.register
def _(record: ModelVersion) -> Described:
    place = f"models:/{record.name}/{record.version}"
    return Described(f"registry.{record.name}", record.label, "MODEL", "mlflow", place)


@described.register
def _(record: Release) -> Described:
    name = f"endpoints.{record.endpoint}"
    return Described(name, record.id, "SERVICE", "penstock", record.url)


def read(told: Happening, root: Path) -> list[InputDataset]:
    """The files and records that a step took."""
    return [
        *(_source(path, digest) for path, digest in sorted(told.sources.items())),
        *(
            InputDataset(
                namespace=namespace_of(told),
                name=f"{told.run.project}.{one.name}",
                facets=_facets(one, root),
                inputFacets=_findings(one, told.output),
            )
            for one in map(described, told.inputs.values())
            if one is not None
        ),
    ]


def written(told: Happening, root: Path) -> list[OutputDataset]:
    """What a step made; a refused gate, a notice make nothing."""
    one = described(told.output) if told.output is not None else None
    if one is None:
        return []
    counted: dict[str, OutputDatasetFacet] = {}
    if one.rows is not None:
        counted["outputStatistics"] = (
            output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(rowCount=one.rows)
        )
    return [
        OutputDataset(
            namespace=namespace_of(told),
            name=f"{told.run.project}.{one.name}",
            facets=_facets(one, root),
            outputFacets=counted,
        )
    ]


def namespace_of(told: Happening) -> str:
    """Of jobs and of datasets alike: production's are not those of somebody's own machine."""
    return f"penstock.{told.run.environment}"


def _source(path: str, digest: str) -> InputDataset:
    facets: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(digest),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet("FILE"),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(FILES, Path(path).as_uri()),
    }
    return InputDataset(namespace=FILES, name=path, facets=facets)


def _facets(one: Described, root: Path) -> dict[str, DatasetFacet]:
    uri = one.place if re.match(r"[a-z][a-z0-9+.-]*:", one.place) else (root / one.place).as_uri()
    facets: dict[str, DatasetFacet] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(one.version),
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(one.kind),
        "dataSource": datasource_dataset.DatasourceDatasetFacet(one.source, uri),
    }
    if one.columns:
        facets["schema"] = schema_dataset.SchemaDatasetFacet(
            [
                schema_dataset.SchemaDatasetFacetFields(
                    name=column.name, type=column.type or None, ordinal_position=number
                )
                for number, column in enumerate(one.columns, 1)
            ]
        )
    return facets


def _findings(one: Described, report: Record | None) -> dict[str, InputDatasetFacet]:
    """How much was read and, where a validation report is about it, what that found."""
    found: dict[str, InputDatasetFacet] = {}
    if one.rows is not None:
        found["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            rowCount=one.rows
        )
    if isinstance(report, DataReport) and report.subject == one.version:
        found["dataQualityAssertions"] = (
            data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
                [_assertion(check, one.columns) for check in report.checks]
            )
        )
        found["dataQualityMetrics"] = (
            data_quality_metrics_input_dataset.DataQualityMetricsInputDatasetFacet(
                columnMetrics=_nulls(report.checks), rowCount=one.rows
            )
        )
    return found


def _assertion(
    check: Check, columns: Iterable[Column]
) -> data_quality_assertions_dataset.Assertion:
    kind, about = _parts(check)
    return data_quality_assertions_dataset.Assertion(
        assertion=kind,
        success=check.passed,
        column=about if about in {column.name for column in columns} else None,
        severity="error",
        name=check.name,
        expected=check.expected,
        actual=None if check.failed_rows is None else f"{check.failed_rows} unexpected rows",
    )


def _nulls(
    checks: Iterable[Check],
) -> dict[str, data_quality_metrics_input_dataset.ColumnMetrics]:
    """The nulls of every column that was to have none."""
    return {
        about: data_quality_metrics_input_dataset.ColumnMetrics(nullCount=check.failed_rows)
        for check in checks
        for kind, about in [_parts(check)]
        if kind.endswith("not_be_null") and check.failed_rows is not None
    }


def _parts(check: Check) -> tuple[str, str]:
    """unique(id) -> unique, id"""
    kind, _, rest = check.name.partition("(")
    return kind, rest.removesuffix(")")
