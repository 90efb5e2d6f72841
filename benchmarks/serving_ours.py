"""Penstock's side of `make bench-serving`. Run in processes of its own: the one that measures
imports nothing heavy, so that it neither takes time nor shares the memory that is measured.

    serving_ours.py prepare DESK [REDIS_PORT]    the model, the rows; with a port (0: no Redis)
                                                 features in online stores
    serving_ours.py deploy DESK KIND [--open]    prints {"url": …, "pid": …}
    serving_ours.py stop DESK KIND

KIND is plain, observed (the model has bins of reference), shadow, hung (a shadow too), canary, ack,
lmdb or redis. With --open no key is asked for.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock.records import Record
from penstock.registry.loading import model_digest
from penstock.serving import endpoint
from penstock.serving.release import FeatureSource, ReleaseSpec
from penstock.serving.routing.buckets import reallocated
from penstock.serving.routing.table import Arm, Mirror, RoutingTable
from penstock.settings import FeatureSettings, ServingSettings

ENTITIES, WIDTH, TREES = 10_000, 12, 100
ASKED = 256  # rows that are sent in turn
NAMES = [f"x{place}" for place in range(WIDTH)]
TOKEN = "of-a-benchmark"
KEY = f"bench:predict+admin:{TOKEN}"
FEATURES = f"""
from penstock.features import BatchSource, Entity, FeatureService, FeatureView

user = Entity("user", join_keys=["user_id"])
rows = BatchSource("rows", path="rows.parquet", timestamp="at")
latest = FeatureView("latest", source=rows, entities=[user], features={NAMES})
bench_v1 = FeatureService("bench_v1", features=[latest])
"""


class Prepared(Record):
    """What the one that measures has to know."""

    token: str
    rows: list[list[float]]
    expected: list[float]  # the prediction of each
    stores: tuple[str, ...]  # that hold the features of the entities 0, 1, 2, …


def prepare(desk: Path, redis_port: int | None) -> Prepared:
    """Entity n of the online stores has the features of row n."""
    import lightgbm
    import numpy
    import pandas

    from penstock.registry.reference import write_reference
    from penstock.training.flavors import save

    dice = numpy.random.default_rng(1)
    rows = dice.normal(size=(ENTITIES, WIDTH)).round(3)
    frame = pandas.DataFrame(rows, columns=NAMES)
    target = (rows.sum(axis=1) + dice.normal(size=ENTITIES) > 0).astype(int)
    classifier = lightgbm.LGBMClassifier(n_estimators=TREES, verbose=-1, n_jobs=1)
    save(classifier.fit(frame, target), frame, desk / "model")
    shutil.copytree(desk / "model", desk / "observed")
    write_reference(frame, desk / "observed")
    booster = lightgbm.Booster(model_file=str(desk / "model" / "model.lgb"))
    asked = rows[:ASKED]
    expected = booster.predict(asked, num_threads=1).tolist()
    stores = () if redis_port is None else ("lmdb", "redis") if redis_port else ("lmdb",)
    for store in stores:
        assert redis_port is not None
        materialised(desk / store, store, frame, redis_port)
    return Prepared(token=TOKEN, rows=asked.tolist(), expected=expected, stores=stores)


def materialised(root: Path, store: str, frame: Any, redis_port: int) -> None:
    """A project whose features are in an online store."""
    from penstock.cli.main import run

    root.mkdir()
    at = datetime.now(UTC).replace(microsecond=0)
    frame.assign(user_id=range(len(frame)), at=at).to_parquet(root / "rows.parquet")
    settings = [f'[project]\nname = "{store}"', f'[features]\nonline_store = "{store}"']
    settings += [f'redis_url = "redis://127.0.0.1:{redis_port}/0"'] * (store == "redis")
    (root / "penstock.toml").write_text("\n".join(settings) + "\n")
    (root / "features.py").write_text(FEATURES)
    for command in ("apply", "materialize"):
        status = run(["features", command, "--project", str(root)])
        sys.modules.pop("features", None)  # the next project has one of its own
        if status:
            raise SystemExit(f"penstock features {command}: status {status}")


def deploy(desk: Path, kind: str, *, keys: tuple[str, ...]) -> dict[str, Any]:
    settings = ServingSettings.model_validate(
        {"port": 0, "replicas": 1, "keys": keys, "ack_after_log": kind == "ack"}
    )
    reached = endpoint.serve_table(place(desk, kind), table(desk, kind), settings)
    return {"url": reached.url, "pid": reached.pid}


def table(desk: Path, kind: str) -> RoutingTable:
    champion = release(desk, kind, "r1")
    if kind not in ("shadow", "hung", "canary"):
        return RoutingTable(endpoint="bench", champion="r1", releases={"r1": champion})
    releases = {"r1": champion, "r2": release(desk, kind, "r2")}
    if kind != "canary":
        mirror = Mirror(release="r2")
        return RoutingTable(endpoint="bench", champion="r1", releases=releases, mirror=mirror)
    arm = Arm(name="canary", release="r2", buckets=reallocated({}, {"canary": 1_000})["canary"])
    return RoutingTable(endpoint="bench", champion="r1", releases=releases, arms=(arm,))


def release(desk: Path, kind: str, name: str) -> ReleaseSpec:
    model = desk / ("observed" if kind == "observed" else "model")
    return ReleaseSpec(
        id=name,
        endpoint="bench",
        model=f"bench@{name[1:]}",
        digest=model_digest(model),
        path=str(model),
        replicas=1,
        features=source(desk / kind) if kind in ("lmdb", "redis") else None,
    )


def source(root: Path) -> FeatureSource:
    """As the staging step of a plan makes it."""
    return FeatureSource(
        module="penstock.features.online:OnlineFeatures",
        warm=("feast",),
        entities=("user_id",),
        arguments={
            "root": str(root),
            "service": "bench_v1",
            "features": NAMES,
            "entity_keys": ["user_id"],
            "log_share": FeatureSettings().log_served,
        },
    )


def place(desk: Path, kind: str) -> endpoint.Place:
    return endpoint.Place("bench", desk / f"endpoint-{kind}")


def main(name: str, desk: Path, *rest: str) -> None:
    if name == "prepare":
        prepared = prepare(desk, int(rest[0]) if rest else None)
        (desk / "prepared.json").write_text(prepared.model_dump_json())
    elif name == "deploy":
        print(json.dumps(deploy(desk, rest[0], keys=() if "--open" in rest else (KEY,))))
    else:
        endpoint.stop(place(desk, rest[0]).folder)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
