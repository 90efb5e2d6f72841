"""Every setting, with its default and its unit; `settings_source` reads them.

A frozen tree: `[section] key` in `penstock.toml` is `settings.section.key` here and
`PENSTOCK_SECTION_KEY` in the environment. Durations are written "90s", "5m", "2h", "30d".
Secrets are `SecretStr`: they print as asterisks and are never stored.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from penstock.approval_settings import ApprovalPolicy
from penstock.monitoring_settings import (
    AirflowSettings,
    AlertRule,
    MonitoringSettings,
    ServiceSettings,
    TriggerSettings,
    with_default_rules,
)
from penstock.rollout_settings import RolloutSettings
from penstock.setting_types import (
    Duration,
    Moment,
    Name,
    Ratio,
    Rule,
    Section,
    Size,
    Threshold,
    Words,
    split_words,
)


class ProjectSettings(Section):
    name: Name
    owner: str = "ml-team"
    tags: Words = ()


class DataSettings(Section):
    """What extract() gives, and where its versions are kept."""

    name: Name = "events"
    event_time: str = ""  # column; timezone-aware. Empty: the rows have no event time
    key: Words = ()  # columns that identify a row; must be unique
    sources: Words = ()  # files extract() reads; when one changes, extract runs again
    refresh: Literal["on_change", "always"] = "on_change"  # always: the source is not a file
    remote: str = ".penstock/dvc-remote"  # a folder, or s3://bucket/prefix
    future_tolerance: Duration = timedelta(minutes=5)  # clocks of sources may run ahead
    sample: Ratio = 1.0  # share of the data that is kept, for a quick trial of a change
    sample_by: str = ""  # column whose values are kept or left out whole; empty: each row alone


class FeatureSettings(Section):
    """Which feature service feeds the model; label rows are what it learns from."""

    service: str = ""  # empty: the only one, or none where features.py declares none
    label: str = "label"
    timestamp: str = "event_timestamp"
    entity_keys: Words = ()  # empty: the service's own join keys
    online_store: Literal["lmdb", "redis", "dynamodb", "feast-sqlite", "feast-redis"] = "lmdb"
    redis_url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")  # with a password: environment
    dynamodb_table: str = "penstock-features"
    dynamodb_region: str = "us-east-1"
    dynamodb_endpoint: str = ""  # empty: Amazon's
    engine: Literal["duckdb", "spark"] = "duckdb"  # computes training sets, and materialises
    memory: Size = 4 * 2**30  # that a join may take beside its result, in bytes; "4GB"
    log_served: Ratio = 0.1  # share of the served vectors that the skew audit can replay


class TrainingSettings(Section):
    """How the time line is split, and how the search is run."""

    holdout_from: Moment | None = None  # label times from here on are held out
    holdout: Ratio = 0.2  # else: the latest share of distinct label times
    validation: Ratio = 0.2  # share of what remains, the latest, that scores the search
    gap: Duration = timedelta(0)  # the label's horizon: rows closer to a later part are left out
    metric: str = "auc_roc"  # what the search maximises
    threshold: Ratio = 0.5  # of the predicted probability, for precision and recall
    trusted_types: Words = ()  # reviewed types that skops may load, beside Penstock's own list


class ChampionSettings(Section):
    """A challenger must be no worse than the champion by more than the margin."""

    metric: str = "auc_roc"
    margin: float = Field(default=0.01, ge=0.0)  # in units of the metric
    resamples: int = Field(default=500, ge=100, le=20_000)  # of the bootstrap
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)


class GateSettings(Section):
    model: dict[str, Threshold] = Field(default_factory=dict)
    integration: dict[str, Threshold] = Field(
        default_factory=lambda: {
            "latency_p95_ms": Rule(op="<", value=50),
            "throughput_qps": Rule(op=">", value=100),
            "error_rate": Rule(op="<", value=0.005),
        }
    )
    champion: ChampionSettings = ChampionSettings()


class RegistrySettings(Section):
    """Where versions are registered, and what one must show before it is loaded."""

    tracking_uri: SecretStr = SecretStr("")  # empty: SQLite in .penstock
    model: str = ""  # registered name; empty: the project's
    require_signatures: bool = True  # a version without one is not fetched, and not served
    signing_key: str = ".penstock/keys/models.key"  # private, EC P-256 in PEM; made when needed
    public_key: str = "models.pub"  # to be committed; may hold several keys
    # Kinds of models beyond the safe formats, where a version is also waived in the ledger.
    admit: Annotated[tuple[Literal["pyfunc"], ...], BeforeValidator(split_words)] = ()


class ServingSettings(Section):
    """The gateway of an endpoint, and the processes behind it."""

    host: str = "127.0.0.1"
    port: int = Field(default=8600, ge=0, le=65535)  # of staging; 0: any free one
    ports: dict[str, int] = Field(default_factory=lambda: {"production": 8601})  # of the others
    grpc_port: int | None = Field(default=None, ge=0, le=65535)  # unset: no gRPC
    engine: Literal["local", "ray"] = "local"  # what runs the replicas
    ray_address: str = ""  # of a Ray cluster; empty: one of this machine's own
    workers: int = Field(default=1, ge=1, le=64)  # gateway processes that share the port
    replicas: int = Field(default=2, ge=1, le=64)  # processes that hold the model, of each worker
    threads: int = Field(default=1, ge=1, le=256)  # of each of them, for its numerical libraries
    memory: int = Field(default=0, ge=0)  # bytes that each of them may take; 0: no limit
    start_timeout: Duration = timedelta(minutes=3)
    request_timeout: Duration = timedelta(seconds=10)
    hang_timeout: Duration = timedelta(seconds=5)  # a replica silent for so long is killed
    read_timeout: Duration = timedelta(seconds=30)  # for a request to arrive whole
    keep_alive: Duration = timedelta(seconds=75)  # of an idle connection
    max_body_mb: float = Field(default=8.0, gt=0)
    max_rows: int = Field(default=10_000, ge=1)  # in one request
    max_open: int = Field(default=2_000, ge=1)  # requests that a release may owe answers to
    unknown_entity: Literal["refuse", "null"] = "refuse"  # null: all its features are missing
    keys: Annotated[tuple[SecretStr, ...], BeforeValidator(split_words)] = ()  # NAME:SCOPES:TOKEN
    anonymous: bool = False  # no keys needed, though the host is not this machine alone
    rate_limit: float = Field(default=0.0, ge=0)  # requests a second and key or client; 0: none
    rate_burst: int = Field(default=100, ge=1)
    tls_certificate: str = ""  # PEM files; empty: plain HTTP
    tls_key: str = ""
    ack_after_log: bool = False  # answers wait until their log row is on disk
    log_interval: Duration = timedelta(milliseconds=100)  # between two syncs of the log
    log_retention: Duration = timedelta(0)  # older predictions are deleted; 0: kept
    log_ship: str = ""  # s3://bucket/prefix that finished parts of the log are copied to
    otlp_endpoint: str = ""  # of an OpenTelemetry collector, http://…/v1/traces; empty: no spans

    def of(self, endpoint: str) -> ServingSettings:
        """The same with an endpoint's own port; any free one where none is set."""
        if endpoint == "staging":
            return self
        return self.model_copy(update={"port": self.ports.get(endpoint, 0)})


class LoadTestSettings(Section):
    connections: int = Field(default=4, ge=1, le=512)
    duration: Duration = timedelta(seconds=5)
    warmup: Duration = timedelta(seconds=1)
    entities: int = Field(default=200, ge=1)  # held-out entities asked about
    tolerance: float = Field(default=1e-6, ge=0)  # |endpoint - offline|, in probability


class PipelineSettings(Section):
    schedule: str = "0 2 * * *"  # cron; empty: runs are started by hand, or by triggers
    timezone: str = "UTC"  # of the schedule, such as Europe/Berlin
    start_date: Moment | None = None
    catchup: bool = False
    retries: int = Field(default=3, ge=0)
    retry_delay: Duration = timedelta(minutes=5)
    timeout: Duration = timedelta(hours=2)  # of one attempt of one step
    timeouts: dict[str, Duration] = Field(default_factory=dict)  # by step
    workers: int = Field(default=2, ge=1)  # independent steps run side by side
    orchestrator: Literal["local", "airflow", "prefect"] = "local"  # what triggers start runs on
    python: str = ""  # that runs the steps of Airflow's tasks; empty: Airflow's own
    airflow_url: str = "http://127.0.0.1:8080"  # of its API server
    airflow_user: str = "admin"  # of Airflow's simple auth manager; not asked where a token is set
    airflow_password: SecretStr = SecretStr("")
    airflow_token: SecretStr = SecretStr("")  # a bearer token of another auth manager

    @field_validator("airflow_url")
    @classmethod
    def _is_a_server(cls, value: str) -> str:
        if "@" in value:
            raise ValueError(
                "the URL names a user: give airflow_user, and the password as a secret"
            )
        if not re.fullmatch(r"https?://[^/?#]+(/[^?#]*)?", value):
            raise ValueError(f"{value!r} is not the http:// or https:// URL of a server")
        return value.rstrip("/")

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        try:
            return ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"{value!r} is no time zone like 'Europe/Berlin' or 'UTC'") from None


class NotifySettings(Section):
    """Who is told. Addresses with secrets in them come from PENSTOCK_NOTIFY_URLS."""

    emails: Words = ()
    email_from: str = "penstock@localhost"
    smtp_host: str = ""
    smtp_port: int = Field(default=25, ge=1, le=65535)
    smtp_tls: bool = False
    smtp_user: str = ""
    smtp_password: SecretStr = SecretStr("")
    urls: Annotated[tuple[SecretStr, ...], BeforeValidator(split_words)] = ()  # Apprise URLs

    @model_validator(mode="after")
    def _mail_needs_a_server(self) -> NotifySettings:
        if self.emails and not self.smtp_host:
            raise ValueError("emails are given but smtp_host is not")
        return self


class StateSettings(Section):
    url: SecretStr = SecretStr("")  # SQLAlchemy; empty: SQLite in .penstock


class AccessSettings(Section):
    """Whose signatures count at the gateways."""

    # To be committed; one key a line. Where it is there, the keys in the ledger do not suffice.
    approver_keys: str = "approvers.pub"


class AuditSettings(Section):
    """The ledger: who signs it, where that is kept outside, and what is kept beside it."""

    signing_key: str = ".penstock/keys/ledger.key"  # private, Ed25519; made by `penstock init`
    public_key: str = "ledger.pub"  # to be committed; one key a line
    # Where signed checkpoints go: git, git:REMOTE, a folder, s3://bucket/prefix
    anchors: Words = ("git",)
    # How long payloads are kept, by the beginning of the action; what has none is kept.
    retention: dict[str, Duration] = Field(default_factory=dict)


class LineageSettings(Section):
    """Who is sent the OpenLineage events of runs: nobody, unless a place is named here."""

    openlineage: str = ""  # file:PATH, or http://HOST:PORT of a collector; empty: nothing is sent
    key: SecretStr = SecretStr("")  # of the collector, sent as a bearer token

    @field_validator("openlineage")
    @classmethod
    def _is_a_place(cls, value: str) -> str:
        if value and not re.match(r"file:.|https?://[^/?#]", value):
            raise ValueError(f"{value!r} is neither file:PATH nor an http:// or https:// URL")
        if re.match(r"https?://[^/?#]*@", value):
            raise ValueError("the URL holds a password: give it in PENSTOCK_LINEAGE_KEY")
        return value


class Settings(Section):
    """The whole of penstock.toml."""

    project: ProjectSettings
    data: DataSettings = DataSettings()
    features: FeatureSettings = FeatureSettings()
    training: TrainingSettings = TrainingSettings()
    gates: GateSettings = GateSettings()
    registry: RegistrySettings = RegistrySettings()
    serving: ServingSettings = ServingSettings()
    load_test: LoadTestSettings = LoadTestSettings()
    rollout: RolloutSettings = RolloutSettings()
    pipeline: PipelineSettings = PipelineSettings()
    airflow: AirflowSettings = AirflowSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    alerts: Annotated[dict[Name, AlertRule], BeforeValidator(with_default_rules)] = Field(
        default_factory=dict, validate_default=True
    )  # by the rule's name
    triggers: TriggerSettings = TriggerSettings()
    services: ServiceSettings = ServiceSettings()
    notify: NotifySettings = NotifySettings()
    state: StateSettings = StateSettings()
    audit: AuditSettings = AuditSettings()
    lineage: LineageSettings = LineageSettings()
    access: AccessSettings = AccessSettings()
    approvals: dict[Name, ApprovalPolicy] = Field(default_factory=dict)  # by endpoint

    @property
    def model_name(self) -> str:
        return self.registry.model or self.project.name

    def approval_of(self, target: str) -> ApprovalPolicy:
        """Who must agree before a model serves an endpoint; before staging, nobody."""
        unwritten = ApprovalPolicy(required=0) if target == "staging" else ApprovalPolicy()
        return self.approvals.get(target, unwritten)
