"""A project with two versions of a small model and all that their runs would have left behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import shops
from sqlalchemy import Engine

from penstock.approvals import giving
from penstock.audit.ledger import Ledger
from penstock.cli.main import run as penstock
from penstock.data.versions import track
from penstock.digests import file_digest
from penstock.lineage.store import record_step
from penstock.project import Project, open_project
from penstock.records import (
    Check,
    Column,
    DataReport,
    DatasetVersion,
    FeatureSet,
    IntegrationReport,
    ModelReport,
    Record,
    TrainedModel,
    to_json,
)
from penstock.registry import versions
from penstock.registry.attestations import attest
from penstock.registry.loading import model_digest
from penstock.registry.provenance import Build
from penstock.releases.making import record
from penstock.releases.manifest import Code, Data, Manifest, Training, settings_of
from penstock.state.database import open_database
from penstock.state.runs import Runs
from penstock.training import tracking

NOW = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
COLUMNS = (Column(name="visits", type="double"), Column(name="age", type="double"))
OWNED = """\
risk_class: {owner: Jane Okafor, text: high}
next_review: {owner: Jane Okafor, text: 2027-05-31}
intended_purpose:
  owner: Jane Okafor
  text: |
    Says who is likely to leave, <b>not</b> what they pay & why.
    It never refuses service.
provider: {owner: A. Brandt, text: "Shop GmbH, Lange Straße 1, Hamburg"}
"""


@dataclass
class Regulated:
    """The project. `shop@2` was made from fewer rows, with another seed and a stricter gate."""

    root: Path
    project: Project = field(init=False)
    engine: Engine = field(init=False)

    def __post_init__(self) -> None:
        assert penstock(["init", str(self.root), "--template", "blank"]) == 0
        (self.root / "compliance.yaml").write_text(OWNED)
        self.project = open_project(self.root, "dev")
        self.engine = open_database(self.project)
        for version, rows in ((1, 40), (2, 30)):
            self.registered(version, self.dataset(rows))
        versions.tag(self.project, "shop", 1, {versions.TESTED_TAG: "passed"})
        one = versions.find(self.project, 1)
        giving.approve(self.project, self.engine, one, "production", meaning="tested")

    def dataset(self, rows: int) -> DatasetVersion:
        import pyarrow
        from pyarrow import parquet

        file = self.root / "data" / "events.parquet"
        file.parent.mkdir(exist_ok=True)
        visits = [float(number) for number in range(rows)]
        parquet.write_table(pyarrow.table({"visits": visits, "age": visits}), file)
        kept = track(self.root, file, ".penstock/dvc-remote")
        return DatasetVersion(
            name="events",
            path="data/events.parquet",
            digest=file_digest(file),
            dvc_md5=kept.md5,
            remote=kept.remote,
            rows=rows,
            columns=COLUMNS,
            first_event=None,
            last_event=None,
        )

    def registered(self, version: int, data: DatasetVersion) -> None:
        """As the steps of a whole run do it."""
        project, id_ = self.project, f"20261120T09000{version}-00000{version}"
        model = shops.trained(self.root / ".models" / str(version), seed=version)
        mlflow = tracking.start_run(project, id_, {})
        metrics = {"auc_roc": 0.9 + version / 100}
        tracking.log(project, mlflow, files={"model": model}, metrics=metrics)
        digest = model_digest(model)
        made = (data, *_records(version, data, digest, mlflow))
        Runs(self.engine).start(
            id_, pipeline="shop", environment="dev", orchestrator="local", as_of=NOW, now=NOW
        )
        for step in made:
            self._step(id_, step)
        Runs(self.engine).finish(id_, "succeeded", NOW)
        name = project.settings.model_name
        build = Build(
            name,
            digest,
            "lightgbm",
            COLUMNS,
            {"dataset": data.digest},
            params={"seed": version},
            metrics=metrics,
            environment="numpy==2.3.1\nlightgbm==4.6.0\n",
            run_id=id_,
            mlflow_run_id=mlflow,
        )
        attested = attest(project, model, build)
        one = versions.register(project, mlflow, {"model": digest}, metrics, attested=attested)
        details = {"digests": {"model": digest}, "metrics": metrics}
        with Ledger(self.engine).page() as page:
            record(page, self._manifest(version, one.label, digest, data, id_), reason="gates")
        Ledger(self.engine).append(
            "model.registered", one.label, digest=digest, run_id=id_, details=details
        )

    def _manifest(
        self, version: int, label: str, digest: str, data: DatasetVersion, run: str
    ) -> Manifest:
        settings = settings_of(self.project.settings)
        settings["gates"]["model"] = {"auc_roc": {"op": ">=", "value": 0.8 + version / 100}}
        return Manifest(
            model=label,
            digest_of_model=digest,
            flavor="lightgbm",
            code=Code(train=f"{version}" * 64),
            data=Data(name="events", digest=data.digest, dvc=data.dvc_md5, rows=data.rows),
            training=Training(run=run, seed=version, params={"trees": 3 * version}),
            settings=settings,
        )

    def _step(self, run: str, record: Record) -> None:
        Runs(self.engine).record_step(
            run,
            type(record).__name__.lower(),
            status="succeeded",
            started_at=NOW,
            finished_at=NOW,
            record=to_json(record),
        )
        record_step(self.engine, run, record, {})


def _records(version: int, data: DatasetVersion, digest: str, mlflow: str) -> tuple[Record, ...]:
    features = FeatureSet(
        path="t.parquet",
        digest="f" * 64,
        rows=data.rows,
        features=COLUMNS,
        entity_keys=("customer",),
        timestamp="at",
        label="left",
        service="",
        definitions="",
        dataset=data.digest,
        online_until=None,
    )
    trained = TrainedModel(
        path="m",
        digest=digest,
        flavor="lightgbm",
        features=COLUMNS,
        params={"trees": 3 * version},
        metrics={"auc_roc": 0.9},
        seed=version,
        holdout="2026-10-01T00:00:00+00:00",
        mlflow_run_id=mlflow,
        training_set="f" * 64,
        code=f"{version}" * 64,
    )
    asked = Check(name="auc_roc", passed=True, observed="0.91", expected=f">= 0.8{version}")
    against = Check(
        name="champion",
        passed=True,
        observed="+0.0100",
        expected="no worse than the champion",
        interval=(-0.004, 0.024),
    )
    latency = Check(name="latency_p95_ms", passed=True, observed="4.1", expected="< 50")
    nulls = Check(name="no nulls(visits)", passed=True, observed="none", expected="no nulls")
    checks = (asked, against) if version > 1 else (asked,)
    return (
        DataReport(subject=data.digest, checks=(nulls,), suites=("events",)),
        features,
        trained,
        ModelReport(subject=digest, checks=checks, metrics={"auc_roc": 0.91}, rows=10),
        IntegrationReport(
            subject=digest, checks=(latency,), metrics={"latency_p95_ms": 4.1}, requests=500
        ),
    )
