"""A replica of a numeric LightGBM model answers as its package does, without importing it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.records import Column
from penstock.registry import lightgbm_format
from penstock.registry.model_folder import model_digest

pytestmark = pytest.mark.slow

# What a host of replicas does before it forks, and what a replica does then.
REPLICA = """
import importlib, json, sys
import numpy
from penstock.serving.release import ReleaseSpec
from penstock.serving.replicas.frames import MATRIX, Decoder, Frame, decode_answer
from penstock.serving.replicas.launcher import imported_ahead
from penstock.serving.replicas.process import prepare

given = json.load(sys.stdin)
spec = ReleaseSpec.model_validate(given["spec"])
ahead = [importlib.import_module(name).__name__ for name in imported_ahead(spec)]
predictor, about = prepare(spec)
questions = [Frame(1, MATRIX, 0, 0, numpy.array(rows).tobytes()) for rows in given["asked"]]
frames = [Decoder().feed(predictor.answers([question])[0])[0] for question in questions]
answers = [decode_answer(frame.body).values() for frame in frames]
json.dump({"answers": answers, "modules": sorted({name.partition(".")[0] for name in sys.modules})},
          sys.stdout)
"""
HEAVY = {"feast", "lightgbm", "mlflow", "pandas", "pyarrow", "scipy", "sklearn", "sqlalchemy"}


def trained() -> Any:
    """On rows with a categorical column of numbers, and missing values."""
    import lightgbm
    import numpy

    dice = numpy.random.default_rng(7)
    rows = dice.normal(size=(600, 4))
    rows[:, 3] = dice.integers(0, 5, size=600)
    rows[dice.random((600, 4)) < 0.1] = numpy.nan
    target = numpy.nan_to_num(rows).sum(axis=1) > dice.normal(size=600)
    data = lightgbm.Dataset(rows, target, categorical_feature=[3])
    return lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 30)


def test_it_answers_bit_for_bit_as_the_package_and_imports_nothing_heavy(
    tmp_path: Path,
) -> None:
    import numpy

    booster = trained()
    features = tuple(Column(name=f"x{place}", type="double") for place in range(4))
    lightgbm_format.save(booster, tmp_path / "m", features, (), [])
    rows = numpy.random.default_rng(8).normal(size=(40, 4)).round(2)
    rows[:, 3] = numpy.arange(40) % 7  # some categories are new
    asked = [*[rows[n : n + 1].tolist() for n in range(5)], rows.tolist()]
    given = {
        "spec": {
            "id": "r1",
            "endpoint": "staging",
            "model": "churn@1",
            "digest": model_digest(tmp_path / "m"),
            "path": str(tmp_path / "m"),
            "replicas": 1,
        },
        "asked": asked,
    }
    done = subprocess.run(
        [sys.executable, "-c", REPLICA],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert not HEAVY & {*said["modules"]}
    assert said["answers"] == [booster.predict(numpy.array(one)).tolist() for one in asked]
