"""Each record in one line, for people."""

from __future__ import annotations

from functools import singledispatch

from penstock.records import (
    DataReport,
    DatasetVersion,
    FeatureSet,
    IntegrationReport,
    ModelReport,
    ModelVersion,
    Notice,
    Record,
    Release,
    TrainedModel,
)


@singledispatch
def sentence(record: Record) -> str:
    return type(record).__name__


@sentence.register
def _(record: DatasetVersion) -> str:
    span = ""
    if record.first_event and record.last_event:
        span = f", {record.first_event:%Y-%m-%d} to {record.last_event:%Y-%m-%d}"
    return f"{record.rows:,} rows{span}, DVC {record.dvc_md5[:8]}"


@sentence.register
def _(record: DataReport) -> str:
    return f"{len(record.checks)} expectations hold ({', '.join(record.suites)})"


@sentence.register
def _(record: FeatureSet) -> str:
    online = f", online until {record.online_until:%Y-%m-%d}" if record.online_until else ""
    return f"{record.rows:,} label rows × {len(record.features)} features{online}"


@sentence.register
def _(record: TrainedModel) -> str:
    return f"{record.flavor}, validation AUC {record.metrics['auc_roc']:.3f}, {record.digest[:8]}"


@sentence.register
def _(record: ModelReport) -> str:
    told = ", ".join(f"{check.name} {check.observed}" for check in record.checks)
    return f"{told} on {record.rows:,} rows"


@sentence.register
def _(record: ModelVersion) -> str:
    return record.label


@sentence.register
def _(record: Release) -> str:
    return f"{record.model} at {record.url}, {record.replicas} replicas"


@sentence.register
def _(record: IntegrationReport) -> str:
    metrics = record.metrics
    return (
        f"p95 {metrics['latency_p95_ms']:.1f} ms, {metrics['throughput_qps']:.0f} requests/s, "
        f"errors {metrics['error_rate']:.2%}"
    )


@sentence.register
def _(record: Notice) -> str:
    return f"told by {', '.join(record.channels)}"
