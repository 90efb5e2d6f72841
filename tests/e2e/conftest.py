"""A user at the command line, with a project of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from warm_commands import typed

from penstock.cli.main import run as penstock
from penstock.project import open_project
from penstock.registry.client import open_client


@dataclass
class Answer:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class User:
    """Types `penstock …` in the folder of a project."""

    project: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        ports = {"PENSTOCK_SERVING_PORT": "0", "PENSTOCK_SERVING_PORTS_PRODUCTION": "0"}
        return {**kept, **ports, **self.variables}

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "penstock", *arguments],
            cwd=self.project,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **options,
        )

    def penstock(self, *arguments: str) -> Answer:
        return Answer(*typed(arguments, self.project, self.environment))

    def run(self, *arguments: str) -> dict[str, Any]:
        """`penstock run --json`: the outcome by step."""
        answer = self.penstock("run", "--json", *arguments)
        outcome = answer.json
        assert isinstance(outcome, dict), answer.text
        return {
            "exit": answer.status,
            **outcome,
            "steps": {step["step"]: step for step in outcome.get("steps", ())},
        }

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.project / file
        text = path.read_text()
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new))

    def write_extract(self, body: str) -> None:
        """Replaces extract() by one with this body."""
        path = self.project / "pipeline.py"
        text = path.read_text()
        train = text[text.index("def train(") :]
        head, _, fit = train.partition("\n    model = ")
        lines = "\n".join(f"    {line}" for line in body.strip().splitlines())
        path.write_text(
            f"{ROWS}\n\ndef extract(context):\n{lines}\n\n\n{head}{NEEDED}\n    model = {fit}"
        )


ROWS = """
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd

def rows(count=600):
    random = np.random.default_rng(1)
    usage = random.gamma(2.0, 2.0, count)
    return pd.DataFrame(
        {
            "id": np.arange(count),
            "event_timestamp": pd.date_range("2026-01-01", periods=count, freq="2h", tz="UTC"),
            "usage": usage,
            "age": random.uniform(0, 60, count),
            "label": (random.random(count) < 1 / (1 + np.exp(usage - 3))).astype("int8"),
        }
    )
"""
# What train() needs, and who tries extract() need not wait for.
NEEDED = """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
"""


def new_user(folder: Path) -> User:
    """The blank project, small enough for a test."""
    user = User(folder / "shop")
    assert penstock(["init", str(user.project), "--template", "blank"]) == 0
    user.edit("params.yaml", "rows: 3000", "rows: 800")
    user.edit("params.yaml", "trials: 5", "trials: 2")
    user.edit("penstock.toml", '">= 0.70"', '">= 0.60"')
    settings = user.project / "penstock.toml"
    settings.write_text(
        settings.read_text() + '\n[load_test]\nduration = "1s"\nwarmup = "200ms"\nentities = 20\n'
        "\n[serving]\nreplicas = 1\nports = { production = 0 }\n"
        # How fast this machine is while other tests run on it is not what is tested.
        '\n[gates.integration]\nlatency_p95_ms = "< 2000"\nerror_rate = "< 0.005"\n'
    )
    return user


def new_churn(folder: Path) -> User:
    """The example project, small enough for a test."""
    user = User(folder / "churn")
    assert penstock(["init", str(user.project)]) == 0
    user.edit("params.yaml", "customers: 10000", "customers: 1500")
    user.edit("params.yaml", "trials: 12", "trials: 2")
    user.variables |= {
        "PENSTOCK_SERVING_REPLICAS": "1",
        # How fast this machine is while other tests run on it is not what is tested.
        "PENSTOCK_GATES_INTEGRATION_LATENCY_P95_MS": "< 2000",
        "PENSTOCK_GATES_INTEGRATION_THROUGHPUT_QPS": "> 1",
    }
    return user


@pytest.fixture(scope="session")
def mlflow_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with nothing in it: its migrations run once for many projects."""
    root = tmp_path_factory.mktemp("mlflow")
    (root / "penstock.toml").write_text('[project]\nname = "shop"\n')
    project = open_project(root, "dev")
    open_client(project).search_experiments()
    return project.folder / "mlflow" / "mlflow.db"


def with_tables(user: User, mlflow_tables: Path) -> User:
    folder = user.project / ".penstock" / "mlflow"
    folder.mkdir(parents=True)
    shutil.copy(mlflow_tables, folder)
    return user


@pytest.fixture
def user(tmp_path: Path, mlflow_tables: Path) -> Iterator[User]:
    user = with_tables(new_user(tmp_path), mlflow_tables)
    yield user
    user.penstock("serve", "--stop")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, mlflow_tables: Path) -> Iterator[User]:
    """One project for the tests of a module, which go on from one another's state."""
    user = with_tables(new_user(tmp_path_factory.mktemp("shop")), mlflow_tables)
    yield user
    user.penstock("serve", "--stop")
