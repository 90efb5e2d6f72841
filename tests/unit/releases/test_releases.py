"""Releases: one digest for one content; differences in words; archives that say the same."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.audit.ledger import Ledger
from penstock.errors import IntegrityError, UsageError
from penstock.project import Project
from penstock.releases.code_changes import files_changed
from penstock.releases.differences import differences
from penstock.releases.history import of_version, release_named, releases
from penstock.releases.making import record
from penstock.releases.manifest import Data, Features, Manifest, Training, settings_of
from penstock.releases.source_bundle import bundle, bundle_file, unpack
from penstock.settings import Settings
from penstock.settings_source import as_variables, load_settings
from penstock.state.database import open_database

NUMBERS = st.floats() | st.integers()
PARAMS = st.dictionaries(st.text(min_size=1, max_size=8), NUMBERS | st.booleans() | st.text())


def manifest(version: int = 1, **fields: Any) -> Manifest:
    return Manifest(model=f"shop@{version}", digest_of_model=f"{version:064x}", **fields)


@given(params=PARAMS, metrics=st.dictionaries(st.text(min_size=1), st.floats()))
def test_what_is_read_back_has_the_same_digest(
    params: dict[str, Any], metrics: dict[str, float]
) -> None:
    one = manifest(training=Training(params=params, metrics=metrics))
    again = Manifest.model_validate(json.loads(one.content))
    assert again.digest == one.digest
    assert Manifest.model_validate(one.document).document == one.document
    backwards = dict(reversed(params.items()))
    turned = manifest(training=Training(params=backwards, metrics=metrics))
    assert turned.digest == one.digest


def test_the_differences_are_told_in_words() -> None:
    before = manifest(
        data=Data(name="events", digest="a" * 64, rows=800),
        features=Features(service="v1", definitions="d" * 64, columns=("age", "usd")),
        training=Training(params={"C": 1.0}, metrics={"auc_roc": 0.8}),
        settings={"gates": {"model": {"auc_roc": {"op": ">=", "value": 0.7}}}},
    )
    after = manifest(
        2,
        data=Data(name="events", digest="b" * 64, rows=1900),
        features=Features(service="v1", definitions="e" * 64, columns=("age", "visits")),
        training=Training(params={"C": 2.5}, metrics={"auc_roc": 0.8123456789}),
        settings={"gates": {"model": {"auc_roc": {"op": ">=", "value": 0.75}}}},
    )
    assert [f"{one.area}: {one}" for one in differences(before, after)] == [
        "data: dataset events: aaaaaaaaaaaa → bbbbbbbbbbbb",
        "data: rows of the dataset: 800 → 1,900 (+1,100)",
        "features: feature definitions: dddddddddddd → eeeeeeeeeeee",
        "features: features: without usd → with visits",
        "params: C: 1 → 2.5",
        "settings: gates.model.auc_roc.value: 0.7 → 0.75",
        "model: model files: 000000000000 → 000000000000",
        "metrics: auc_roc: 0.8 → 0.812346",
    ]


def test_releases_are_found_by_version_digest_and_model(
    make_project: Callable[..., Project],
) -> None:

    engine = open_database(make_project())
    one, two = manifest(1), manifest(2)
    with Ledger(engine).page() as page:
        for made in (one, two):
            record(page, made, reason="tested")
    assert [made.label for made in releases(engine)] == ["shop@2", "shop@1"]
    for name in ("shop@1", "1", one.digest, one.digest[:8]):
        assert release_named(engine, name).manifest == one
    assert release_named(engine, "last").manifest == two
    made = of_version(engine, "shop@2", two.digest_of_model)
    assert made is not None
    assert made.manifest == two
    assert of_version(engine, "shop@2", one.digest_of_model) is None  # other bytes
    (entry, _) = Ledger(engine).entries("release.made")
    assert (entry.digest, entry.digests) == (one.digest, one.digests)
    with pytest.raises(UsageError, match="no release 'shop@3'"):
        release_named(engine, "shop@3")
    engine.dispose()


def test_an_archive_holds_what_is_the_projects_own(make_project: Callable[..., Project]) -> None:
    files = {
        "pipeline.py": "def train(): ...\n",
        "lib/scores.py": "A = 1\n",
        "data/rows.parquet": "rows",
        "data/rows.parquet.dvc": "outs: []\n",
        ".env": "TOKEN=hunter2",
        ".penstock/keys/models.key": "private",
        "tls.key": "private",
        "ignored.py": "x",
        "huge.txt": "x" * (2 << 20),
        ".gitignore": "ignored.py\n/data/rows.parquet\n",
    }
    project = make_project(**files)
    subprocess.run(["git", "init", "--quiet"], cwd=project.root, check=True)
    kept, left = bundle(project)
    assert left == ("huge.txt",)
    file = bundle_file(project, kept.digest)
    assert file
    assert zipfile.ZipFile(file).namelist() == [
        *(".gitignore", "data/rows.parquet.dvc", "lib/scores.py", "penstock.toml", "pipeline.py"),
    ]
    (project.root / "pipeline.py").touch()
    assert bundle(project)[0].digest == kept.digest
    (project.root / "pipeline.py").write_text("def train(): return 1\n")
    (project.root / "new.py").write_text("")
    other = bundle(project)[0].digest
    assert files_changed(project, kept.digest, other) == ["+ new.py", "~ pipeline.py"]
    unpack(file, project.root / "out")
    assert (project.root / "out" / "pipeline.py").read_text() == files["pipeline.py"]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert bundle_file(project, kept.digest) is None


def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("../outside.py", "")
    with pytest.raises(IntegrityError, match="leads out of its folder"):
        unpack(tmp_path / "bad.zip", tmp_path / "in")
    assert not (tmp_path / "outside.py").exists()


def test_settings_that_came_from_elsewhere_can_be_set_again(tmp_path: Path) -> None:
    file = tmp_path / "penstock.toml"
    file.write_text('[project]\nname = "shop"\n')
    given = {
        "PENSTOCK_TRAINING_GAP": "36h",
        "PENSTOCK_TRAINING_HOLDOUT_FROM": "2026-03-01T00:00:00Z",
        "PENSTOCK_TRAINING_TRUSTED_TYPES": "a.B,c.D",
        "PENSTOCK_DATA_KEY": "id",
        "PENSTOCK_GATES_MODEL_AUC_ROC": ">= 0.85",
        "PENSTOCK_FEATURES_LOG_SERVED": "0.5",
        "PENSTOCK_PIPELINE_RETRIES": "7",
    }
    there, plain = load_settings(file, "dev", given), load_settings(file, "dev", {})
    stored = json.loads(json.dumps(settings_of(there)))  # as a release has them
    read = Settings.model_validate(plain.model_dump() | stored)
    deciding = ("data", "features", "training", "gates")
    made = as_variables(read, plain, deciding)
    assert set(made) == set(given) - {"PENSTOCK_PIPELINE_RETRIES"}
    again = load_settings(file, "dev", made)
    for section in deciding:
        assert getattr(again, section) == getattr(there, section)
