"""The same work with the same tools, one after another, as one would write it without Penstock.

Usage: plain_script.py FOLDER, a copy of examples/churn. No cache, no isolation, no ledger.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

root = Path(sys.argv[1]).resolve()
os.chdir(root)
sys.path.insert(0, str(root))
os.environ |= {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
now = datetime.now(UTC)

import yaml  # noqa: E402

params = yaml.safe_load(Path("params.yaml").read_text())

# 1. extract, write, version
import pipeline  # noqa: E402
from dvc.repo import Repo  # noqa: E402

context = SimpleNamespace(
    project=root,
    as_of=now,
    params=params["extract"],
    seed=params["seed"],
    progress=lambda *_: None,
)
events = pipeline.extract(context)
Path("data/features").mkdir(parents=True)
events.to_parquet("data/events.parquet", index=False)
subprocess.run(["git", "init", "-q"], check=True)
repo = Repo.init(".")
with repo.config.edit("repo") as config:
    config["remote"]["store"] = {"url": str(root / "remote")}
    config["core"]["remote"] = "store"
repo.config.load()
repo.add("data/events.parquet")
repo.push()

# 2. validate
import great_expectations as gx  # noqa: E402
from great_expectations.expectations.registry import get_expectation_impl  # noqa: E402

gx_context = gx.get_context(mode="ephemeral")
gx_context.variables.progress_bars = {"globally": False}
batch = (
    gx_context.data_sources.add_pandas("pandas")
    .add_dataframe_asset("events")
    .add_batch_definition_whole_dataframe("all")
    .get_batch({"dataframe": events})
)
document = json.loads(Path("expectations/events.json").read_text())
suite = gx.ExpectationSuite(name="events")
for expectation in document["expectations"]:
    kind = get_expectation_impl(expectation["type"])
    suite.add_expectation(kind(**expectation["kwargs"]))
assert batch.validate(suite).success

# 3. features
import plain_features as declared  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from feast import FeatureStore, RepoConfig  # noqa: E402

dataset = SimpleNamespace(path=str(root / "data/events.parquet"))
for name, table in declared.batch_sources(dataset).items():
    pq.write_table(table, f"data/features/{name}.parquet")
labels = declared.labels(dataset).to_pandas()
store_config = {
    "project": "churn",
    "provider": "local",
    "registry": str(root / "registry.db"),
    "offline_store": {"type": "dask"},
    "online_store": {"type": "sqlite", "path": str(root / "online.db")},
    "entity_key_serialization_version": 3,
    "repo_path": str(root),
}
store = FeatureStore(config=RepoConfig(**store_config))
store.apply(
    [
        declared.customer,
        declared.activity_rows,
        declared.account_rows,
        declared.activity,
        declared.account,
        declared.churn_v1,
    ]
)
training = store.get_historical_features(entity_df=labels, features=declared.churn_v1).to_df()
training.to_parquet("training_set.parquet")
store.materialize(events.event_time.min() - timedelta(days=1), now)

# 4. train: search, fit, track
import lightgbm  # noqa: E402, F401
import matplotlib.figure  # noqa: E402
import mlflow.lightgbm  # noqa: E402
import numpy as np  # noqa: E402
import optuna  # noqa: E402
from mlflow.models import infer_signature  # noqa: E402
from sklearn import metrics  # noqa: E402
from sklearn.calibration import calibration_curve  # noqa: E402

optuna.logging.set_verbosity(optuna.logging.WARNING)
columns = [f.name for p in declared.churn_v1.feature_view_projections for f in p.features]
times = sorted(training.event_timestamp.unique())
holdout_from = times[-round(len(times) * 0.2)]
development = [t for t in times if t < holdout_from - timedelta(days=30)]
validation_from = development[-round(len(development) * 0.2)]
train_until = max(validation_from - timedelta(days=30), development[1])
at = training.event_timestamp


def part(chosen):
    rows = training[chosen]
    return SimpleNamespace(
        X=rows[columns], y=rows.churned.astype("int8"), event_timestamps=at[chosen], seed=7
    )


train_part, validation = (
    part(at < train_until),
    part(at.isin(development) & (at >= validation_from)),
)
whole, holdout = part(at.isin(development)), part(at >= holdout_from)


def suggest(trial):
    found = {}
    for name, spec in params["search"]["space"].items():
        if spec["type"] == "categorical":
            found[name] = trial.suggest_categorical(name, spec["choices"])
        else:
            ask = trial.suggest_int if spec["type"] == "int" else trial.suggest_float
            found[name] = ask(name, spec["low"], spec["high"], log=spec.get("log", False))
    return found


def score(label, probability):
    chosen = probability >= 0.5
    return {
        "auc_roc": metrics.roc_auc_score(label, probability),
        "average_precision": metrics.average_precision_score(label, probability),
        "precision": metrics.precision_score(label, chosen),
        "recall": metrics.recall_score(label, chosen),
        "f1": metrics.f1_score(label, chosen),
        "accuracy": metrics.accuracy_score(label, chosen),
        "log_loss": metrics.log_loss(label, probability),
        "brier": metrics.brier_score_loss(label, probability),
    }


def objective(trial):
    model = pipeline.train(train_part, {**params["train"], **suggest(trial)})
    return score(validation.y, model.booster_.predict(validation.X))["auc_roc"]


study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.TPESampler(seed=params["seed"]),
    storage=optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(root / "study.log"))
    ),
)
study.optimize(objective, n_trials=params["search"]["trials"])
best = {**params["train"], **study.best_params}
candidate = pipeline.train(train_part, best)
scored = candidate.booster_.predict(validation.X)
model = pipeline.train(whole, best)

Path("plots").mkdir()
importance = model.booster_.feature_importance(importance_type="gain")
pictures = {
    "roc": metrics.roc_curve(validation.y, scored)[:2],
    "precision_recall": metrics.precision_recall_curve(validation.y, scored)[:2],
    "calibration": calibration_curve(validation.y, scored, n_bins=10, strategy="quantile"),
    "importance": (range(len(columns)), np.sort(importance)),
    "search": (range(len(study.trials)), [t.value for t in study.trials]),
}
for name, (x, y) in pictures.items():
    figure = matplotlib.figure.Figure(figsize=(5.2, 4.2), layout="constrained", dpi=110)
    figure.subplots().plot(x, y)
    figure.savefig(f"plots/{name}.png")

uri = f"sqlite:///{root / 'mlflow.db'}"
mlflow.set_tracking_uri(uri)
mlflow.set_experiment(experiment_id=mlflow.create_experiment("churn", (root / "mlruns").as_uri()))
with mlflow.start_run() as run:
    mlflow.log_params(best)
    mlflow.log_metrics(score(validation.y, scored))
    mlflow.log_artifacts("plots", "plots")
    logged = mlflow.lightgbm.log_model(
        model.booster_,
        name="model",
        signature=infer_signature(whole.X.head(100), np.zeros(1)),
        pip_requirements=["lightgbm"],
        # 6. register
        registered_model_name="churn",
    )

# 5. evaluate
probability = model.booster_.predict(holdout.X)
evaluation = score(holdout.y, probability)
assert evaluation["auc_roc"] >= 0.85
assert evaluation["precision"] >= 0.80
with mlflow.start_run(run_id=run.info.run_id):
    mlflow.log_metrics({f"holdout_{name}": value for name, value in evaluation.items()})

# 7. serve: two workers of the usual web server
model.booster_.save_model("served.txt")
Path("store.json").write_text(json.dumps(store_config))
Path("app.py").write_text("""
import json
from pathlib import Path
import lightgbm
import pandas as pd
from fastapi import FastAPI
from feast import FeatureStore, RepoConfig
app = FastAPI()
booster = lightgbm.Booster(model_file="served.txt")
store = FeatureStore(config=RepoConfig(**json.loads(Path("store.json").read_text())))
service = store.get_feature_service("churn_v1")
@app.get("/ready")
def ready():
    return {}
@app.post("/predict")
def predict(body: dict):
    found = store.get_online_features(features=service, entity_rows=body["entities"]).to_dict()
    frame = pd.DataFrame({name: found[name] for name in booster.feature_name()}).astype(float)
    return {"predictions": booster.predict(frame, num_threads=1).tolist()}
""")
import socket  # noqa: E402

with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
server = subprocess.Popen(
    [sys.executable, "-m", "uvicorn", "app:app", "--workers", "2", "--port", str(port)],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)
try:
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{url}/ready", timeout=5)
            break
        except OSError:
            time.sleep(0.05)

    # 8. integration test: the same answers, then load
    import aiohttp

    asked = holdout.X.index[:200]
    keys = training.loc[asked, "customer_id"].drop_duplicates().tolist()
    offline = store.get_historical_features(
        entity_df=training.loc[asked, ["customer_id"]]
        .drop_duplicates()
        .assign(event_timestamp=now),
        features=declared.churn_v1,
    ).to_df()
    expected = dict(zip(offline.customer_id, model.booster_.predict(offline[columns]), strict=True))
    bodies = [json.dumps({"entities": {"customer_id": [key]}}).encode() for key in keys]
    headers = {"Content-Type": "application/json"}
    for key, body in zip(keys, bodies, strict=True):
        request = urllib.request.Request(f"{url}/predict", body, headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert abs(json.load(answer)["predictions"][0] - expected[key]) < 1e-6
    latencies = []

    async def client(session, until):
        turn = 0
        while time.perf_counter() < until:
            begun = time.perf_counter()
            body = bodies[turn % len(bodies)]
            async with session.post(f"{url}/predict", data=body, headers=headers) as answer:
                await answer.read()
                assert answer.status == 200
            latencies.append(time.perf_counter() - begun)
            turn += 1

    async def load(seconds):
        async with aiohttp.ClientSession() as session:
            until = time.perf_counter() + seconds
            await asyncio.gather(*(client(session, until) for _ in range(4)))

    asyncio.run(load(1))
    latencies.clear()
    asyncio.run(load(5))
    with mlflow.start_run(run_id=run.info.run_id):
        mlflow.log_metrics({"p95": float(np.quantile(latencies, 0.95)), "qps": len(latencies) / 5})
finally:
    server.terminate()
    server.wait()

# 9. tell
import apprise  # noqa: E402

apprise.Apprise().notify(body=f"churn: {evaluation}")
print(evaluation)
