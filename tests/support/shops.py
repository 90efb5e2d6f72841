"""A shop with registered versions of a small model, as a whole run would have left them, and people
who roll them out. Only the run itself is left out, so that a shop costs seconds.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from gateways import Load, ask, load
from sqlalchemy import Engine, delete

from penstock.approvals import giving
from penstock.audit.ledger import Ledger
from penstock.project import Project, open_project
from penstock.registry import versions
from penstock.registry.attestations import attest
from penstock.registry.loading import model_digest
from penstock.registry.promotion import make_champion
from penstock.registry.provenance import Build
from penstock.rollout import events as e
from penstock.rollout import service
from penstock.rollout.controller import Controller
from penstock.rollout.evidence import Observed
from penstock.rollout.memory import Remembered, written_at
from penstock.rollout.routing import candidate_buckets
from penstock.rollout.states import Rollout
from penstock.rollout_settings import RolloutSettings
from penstock.serving import endpoint as endpoints
from penstock.serving.prediction_log.reading import Selection, predictions, records
from penstock.serving.release import FeatureSource, ReleaseSpec
from penstock.serving.routing.buckets import bucket_of
from penstock.serving.routing.table import RoutingTable, serving_only
from penstock.state import leadership, routes
from penstock.state.database import open_database
from penstock.state.tables import quarantine
from penstock.training import tracking

PRODUCTION = "production"
RUNNER, CODER = "rita", "carl"  # who made the versions: the run, and the code
SUPPORT = Path(__file__).parent
USERS = [f"user-{number}" for number in range(200)]
ENTITIES = {"entities": {"customer_id": [40]}}
# Seconds, so that what is tested has most of the machine: between two looks of the controller,
# and between an answer and the same connection's next request.
LOOK, PAUSE = 0.1, 0.02

# What the versions are like towards their clients: see `shop_features`.
BASELINE, GOOD, BROKEN, SLOW, HANGING, OTHER, UNTESTED = range(1, 8)
SOURCES = {BROKEN: "Broken", SLOW: "Slow", HANGING: "Hanging"}

# What hangs is given up after 3 s.
SETTINGS = """\
[project]
name = "shop"

[serving]
port = 0
replicas = 1
workers = {workers}
ports = {{production = 0}}
request_timeout = "3s"
hang_timeout = "3s"

[approvals.production]
required = {required}
"""
MLMODEL = """\
flavors:
  lightgbm: {code: null, data: model.lgb, model_class: lightgbm.basic.Booster}
  python_function: {data: model.lgb, loader_module: mlflow.lightgbm}
signature:
  inputs: '[{"type": "double", "name": "visits", "required": true},
    {"type": "double", "name": "age", "required": true}]'
"""
# Everything within seconds; 25 requests without a fault are enough evidence to go on.
QUICK: dict[str, Any] = {
    "unit": {"header": "X-User"},
    "negligible": 0.3,
    "approvals": {"required": 0},
    "stages": [
        {"weight": 0.25, "bake": "200ms", "max": "60s", "error_rate": 0.05},
        {"weight": 1.0, "bake": "200ms", "max": "60s", "error_rate": 0.05},
    ],
    "guardrails": [{"metric": "error_rate"}],
    "watch": "200ms",
    "retain": "200ms",
    "lease": "5s",
}


def build(root: Path) -> None:
    """The project's folder with its registry: once for many tests, which copy it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "penstock.toml").write_text(SETTINGS.format(workers=1, required=0))
    project = open_project(root, "dev")
    engine = open_database(project)
    for number in range(BASELINE, UNTESTED + 1):
        model = trained(root / ".models" / str(number), seed=number)
        run = tracking.start_run(project, f"seed {number}", {})
        tracking.log(project, run, files={"model": model})
        digest = model_digest(model)
        attest(project, model, Build("shop", digest, "lightgbm", mlflow_run_id=run))
        digests = {"model": digest, "code": f"{number}" * 64}
        tested = {} if number == UNTESTED else {versions.TESTED_TAG: "passed"}
        made = versions.register(project, run, digests, {}, attested=tested)
        Ledger(engine).append(
            "model.registered",
            made.label,
            digest=digest,
            actor=RUNNER,
            details={"digests": digests, "authors": {"code": [CODER]}},
        )
        path = versions.fetch(project, made.version, made.digest)
        if number != UNTESTED:
            source = SOURCES.get(number, "Sound")
            _deployed(engine, made.label, made.digest, path, source)
    engine.dispose()


def trained(folder: Path, seed: int) -> Path:
    import lightgbm
    import numpy

    folder.mkdir(parents=True)
    rng = numpy.random.default_rng(seed)
    rows = numpy.column_stack([rng.normal(3, 2, 200), rng.integers(18, 90, 200)])
    label = (rows[:, 0] + rng.normal(0, 1, 200) > 3).astype(int)
    data = lightgbm.Dataset(rows, label, feature_name=["visits", "age"])
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1, "seed": seed}
    lightgbm.train(parameters, data, num_boost_round=3).save_model(folder / "model.lgb")
    (folder / "MLmodel").write_text(MLMODEL)
    return folder


def _deployed(
    engine: Engine, model: str, digest: str, path: Path, source: str, **arguments: str
) -> None:
    """As the step that deploys to staging writes it down."""
    name, _, version = model.partition("@")
    spec = ReleaseSpec(
        id=f"{name}-{version}-staged",
        endpoint="staging",
        model=model,
        digest=digest,
        path=str(path),
        replicas=1,
        features=_source(source, **arguments),
    )
    details = {"release": spec.id, "model": model, "spec": spec.model_dump(mode="json")}
    Ledger(engine).append("release.deployed", "staging", digest=digest, details=details)


def _source(name: str, **arguments: str) -> FeatureSource:
    module = f"shop_features:{name}"
    return FeatureSource(module=module, arguments=arguments, entities=("customer_id",))


def copied(template: Path, root: Path, *, workers: int = 1, required: int = 0) -> Shop:
    """A shop of one's own; `required`: how many must approve what its gateway loads."""
    shutil.copytree(template, root)
    (root / "penstock.toml").write_text(SETTINGS.format(workers=workers, required=required))
    return Shop(root)


@dataclass
class Shop:
    """A project and its people; the controller looks when it is told to, and may be ahead of us."""

    root: Path
    ahead: timedelta = timedelta(0)  # of the controller's clock
    project: Project = field(init=False)
    engine: Engine = field(init=False)
    controller: Controller = field(init=False)

    def __post_init__(self) -> None:
        self.project = open_project(self.root, "dev")
        self.engine = open_database(self.project)
        self.controller = Controller(self.project, self.engine, self._now)

    def _now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def restart_controller(self) -> None:
        """Another one goes on, which has read nothing yet."""
        leadership.resign(self.engine, self.controller.name, self._now())
        self.controller = Controller(self.project, self.engine, self._now)

    # Versions.

    def found(self, version: int) -> versions.Found:
        return versions.find(self.project, version)

    def label(self, version: int) -> str:
        return f"shop@{version}"

    def approve(self, version: int) -> None:
        one = self.found(version)
        giving.approve(self.project, self.engine, one, PRODUCTION, meaning="tested")

    def staged(self, version: int, source: str, **arguments: str) -> None:
        """The version was deployed to staging again, and is like this from now on."""
        one = self.found(version)
        path = versions.fetch(self.project, version, one.digest)
        _deployed(self.engine, one.label, one.digest, path, source, **arguments)

    def champion(self) -> str:
        """By MLflow's alias."""
        version = self.aliases().get("champion")
        return self.label(version) if version else ""

    def crown(self, *numbers: int) -> None:
        """Versions become the champion, one after the other."""
        for number in numbers:
            one = self.found(number)
            make_champion(
                self.project, self.engine, one.label, one.digest, reason="a rollout", actor="ro-1"
            )

    def aliases(self) -> dict[str, int]:
        """By MLflow."""
        found = versions.versions(self.project)
        return {alias: one.version for one in found for alias in one.aliases}

    # Rollouts.

    def desk(self, actor: str = "ann") -> service.Desk:
        return service.Desk.of(self.project, self.engine, actor)

    def start(self, version: int, **plan: Any) -> str:
        settings = RolloutSettings.model_validate({**QUICK, **plan})
        begun = service.start(self.desk(), self.label(version), PRODUCTION, settings)
        assert isinstance(begun, Remembered)
        return begun.state.id

    def act(self, rollout: str, operation: str, actor: str = "ann", **given: Any) -> Rollout:
        return service.operate(self.desk(actor), rollout, operation, **given).state

    def state(self, rollout: str) -> Rollout:
        return self.remembered(rollout).state

    def remembered(self, rollout: str) -> Remembered:
        return self.desk().memory.load(rollout)

    def happened(self, rollout: str) -> list[str]:
        return [type(event).__name__ for event in self.remembered(rollout).events]

    def until(
        self, rollout: str, *statuses: str, stage: int = -1, seconds: float = 120.0
    ) -> Rollout:
        """The controller looks until the rollout is in one of these; by default, until its end."""
        deadline = time.monotonic() + seconds
        while True:
            self.controller.tick()
            state = self.state(rollout)
            reached = state.status in statuses and state.stage >= stage
            if reached or (not statuses and state.ended):
                return state
            left = time.monotonic() < deadline
            assert left, f"{state.status}: {self.why(rollout)}"
            assert not state.ended, f"{state.status}: {self.why(rollout)}"
            time.sleep(LOOK)

    def until_seen(self, condition: Callable[[], Any]) -> None:
        """The controller looks until the condition holds."""
        deadline = time.monotonic() + 120
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(LOOK)
            self.controller.tick()

    def observed(self, rollout: str) -> Observed:
        found: Observed = service.view(self.desk(), rollout).observed
        return found

    def why(self, rollout: str) -> str:
        found = service.view(self.desk(), rollout)
        return f"{found.state.reason} | {found.decision.reason}"

    # What is served.

    @property
    def folder(self) -> Path:
        return self.project.endpoint(PRODUCTION)

    def load(
        self, users: Sequence[str] = USERS, document: Any = ENTITIES, connections: int = 4
    ) -> AbstractContextManager[Load]:
        """Users who ask all the time, and leave the machine some for what is tested."""
        return load(self.url, users, document, connections, pause=PAUSE)

    def pids(self, release: str) -> set[int]:
        """Of the replicas of a release, at all processes of the gateway."""
        found: set[int] = set()
        for _ in range(20):  # each connection comes to one of them, by chance
            found |= set(ask(f"{self.url}/routes").body["releases"][release]["pids"])
        return found

    @property
    def url(self) -> str:
        return endpoints.status(self.folder).url

    def table(self) -> RoutingTable:
        found = routes.published(self.engine, PRODUCTION)
        assert found is not None
        return RoutingTable.model_validate(found.document)

    def serve(self, table: RoutingTable) -> None:
        place = endpoints.place_of(self.project, PRODUCTION)
        endpoints.serve_table(place, table, self.project.settings.serving.of(PRODUCTION))

    def spec(self, version: int) -> ReleaseSpec:
        one = self.found(version)
        path = versions.fetch(self.project, version, one.digest)
        return ReleaseSpec(
            id=f"shop-{version}-own",
            endpoint=PRODUCTION,
            model=one.label,
            digest=one.digest,
            path=str(path),
            replicas=1,
            features=_source(SOURCES.get(version, "Sound")),
        )

    def publish_baseline(self) -> None:
        """For gateways elsewhere."""
        place = endpoints.place_of(self.project, PRODUCTION)
        endpoints.publish(place, serving_only(self.spec(BASELINE)))

    def follow(self) -> None:
        """A gateway elsewhere says that it serves the present table."""
        revision = routes.revision_of(self.engine, PRODUCTION)
        url, now = "http://127.0.0.1:9", datetime.now(UTC)
        said = routes.Gateway(PRODUCTION, "elsewhere:1", url, "live", revision, "", now)
        routes.say(self.engine, said)

    def serve_baseline(self) -> None:
        self.serve(serving_only(self.spec(BASELINE)))

    def fresh(self) -> None:
        """Whatever a test before left behind."""
        self.ahead = timedelta(0)
        for one in self.desk().memory.live():
            if not self.state(one).ended:
                self.act(one, "abort", reason="the next test")
            self.until(one)
        with self.engine.begin() as connection:
            connection.execute(delete(quarantine))
        if self.table().champion != self.spec(BASELINE).id or self.table().arms:
            self.serve_baseline()

    def is_of_candidate(self, rollout: str, user: str, stage: int = 0) -> bool:
        """Whether the candidate answers this user in a stage."""
        held = candidate_buckets(self.state(rollout).spec.settings, stage)
        bucket = bucket_of(rollout, user)
        return any(first <= bucket < end for first, end in held)

    def logged(self, **selection: Any) -> list[dict[str, Any]]:
        """Rows of the prediction log, as they arrived."""
        found = predictions([self.folder / "predictions"], Selection(**selection))
        return records(found.order("arrived_at"))

    def took(self, rollout: str) -> dict[str, float]:
        """For how long each process of the gateway still sent users to the candidate after the
        decision to go back was in the ledger, in s; as they arrived.
        """
        one = self.remembered(rollout)
        decided = written_at(one, e.RollingBack) or written_at(one, e.Returning)
        assert decided is not None
        processes = {process_of(row): 0.0 for row in self.logged(since=decided)}
        for row in self.logged(since=decided, release=one.state.spec.candidate.release):
            processes[process_of(row)] = (row["arrived_at"] - decided).total_seconds()
        return processes

    def told_of(self, rollout: str) -> dict[str, Any]:
        """The post-mortem, as programs read it."""
        file = self.project.folder / "rollouts" / rollout / "post-mortem.json"
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def notices(self) -> str:
        file = self.project.folder / "notices.log"
        return file.read_text() if file.exists() else ""

    def close(self) -> None:
        endpoints.stop(self.folder)
        self.engine.dispose()


def process_of(row: dict[str, Any]) -> str:
    """What the ids of predictions have in common that one process of a gateway gave."""
    return str(row["prediction_id"])[29:45]


class Stalls:
    """How long this machine kept a thread of ours waiting at most, beyond what it asked for."""

    seconds = 0.0

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure)
        self._thread.start()
        return self

    def _measure(self) -> None:
        before = time.monotonic()
        while not self._ended.wait(0.01):
            now = time.monotonic()
            self.seconds = max(self.seconds, now - before - 0.01)
            before = now

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
