"""Versions in MLflow's registry: signed, verified line by line, signed later, waived and served."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gateways import ask, table

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.errors import IntegrityError, ModelError, ServingError
from penstock.project import Project, open_project
from penstock.records import Column
from penstock.registry import versions
from penstock.registry.attestations import attest, beside
from penstock.registry.client import open_client
from penstock.registry.loading import load_model, model_digest
from penstock.registry.model_keys import KeyFiles
from penstock.registry.provenance import Build
from penstock.registry.versions import Found, fetch, find
from penstock.registry.waivers import admitted
from penstock.releases.history import of_version
from penstock.serving import endpoint
from penstock.serving.release import ReleaseSpec
from penstock.settings import ServingSettings
from penstock.state.database import open_database
from penstock.training import tracking

pytestmark = pytest.mark.slow

SETTINGS = """\
[project]
name = "shop"
[registry]
admit = ["pyfunc"]
[serving]
port = 0
replicas = 1
"""
SAFE = """\
flavors:
  lightgbm: {code: null, data: model.lgb, model_class: lightgbm.basic.Booster}
  python_function: {data: model.lgb, loader_module: mlflow.lightgbm}
signature:
  inputs: '[{"type": "double", "name": "visits", "required": true}]'
"""
CUSTOM = """\
flavors:
  python_function: {code: src, env: {}, loader_module: shop_loader, data: weights.pkl}
signature:
  inputs: '[{"type": "double", "name": "visits", "required": true}]'
"""
LOADER = """\
import os, pickle
class Model:
    def __init__(self, slope):
        self.slope = slope
    def predict(self, frame, params=None):
        return (frame["visits"] * self.slope).tolist()
def _load_pyfunc(path):
    with open(path, "rb") as stream:
        return Model(pickle.load(stream))
"""


class Shop:
    """A project with one signed version, one that was registered before, and a custom one."""

    def __init__(self, root: Path) -> None:
        root.mkdir()
        (root / "penstock.toml").write_text(SETTINGS)
        self.project = open_project(root, "dev")
        self.engine = open_database(self.project)
        self.safe, self.custom = self._safe("safe", 2), self._custom()
        self.signed = self.registered(self.safe, sign=True)
        self.early = self.registered(self._safe("early", 3), sign=False)
        self.foreign = self.registered(self.custom, sign=False, digest=False)

    def registered(self, model: Path, *, sign: bool, digest: bool = True) -> int:
        """A version; without `digest` as MLflow's own users make one."""
        mlflow_run = tracking.start_run(self.project, "seed", {})
        tracking.log(self.project, mlflow_run, files={"model": model}, params={"trees": 2})
        seen = model_digest(model)
        tags: dict[str, str] = {}
        if sign:
            build = Build(
                "shop",
                seen,
                "lightgbm",
                features=(Column(name="visits", type="double"),),
                digests={"dataset": "1" * 64},
                environment="numpy==2.3.1\nlightgbm==4.6.0\n",
                mlflow_run_id=mlflow_run,
            )
            tags = attest(self.project, model, build)
        if not digest:
            client = open_client(self.project)
            source = f"{client.get_run(mlflow_run).info.artifact_uri}/model"
            return int(client.create_model_version("shop", source, run_id=mlflow_run).version)
        digests = {"model": seen, "dataset": "1" * 64}
        made = versions.register(self.project, mlflow_run, digests, {"auc_roc": 0.9}, attested=tags)
        Ledger(self.engine).append("model.registered", made.label, digest=seen)
        return made.version

    def found(self, version: int) -> Found:
        return find(self.project, version)

    def artifact(self, version: int, path: str) -> Path:
        """A file where MLflow keeps it: what whoever can write there may change."""
        uri = open_client(self.project).get_run(self.found(version).run_id).info.artifact_uri
        return Path(uri.removeprefix("file://")) / path

    def penstock(self, *arguments: str) -> int:
        return run([*arguments, "--project", str(self.project.root)])

    def _safe(self, name: str, trees: int) -> Path:
        import lightgbm
        import numpy

        folder = self.project.root / name
        folder.mkdir()
        (folder / "MLmodel").write_text(SAFE)
        rows = numpy.arange(40.0).reshape(-1, 1)
        data = lightgbm.Dataset(rows, rows[:, 0] > 20)
        lightgbm.train({"objective": "binary", "verbose": -1}, data, trees).save_model(
            folder / "model.lgb"
        )
        return folder

    def _custom(self) -> Path:
        folder = self.project.root / "custom"
        (folder / "src").mkdir(parents=True)
        (folder / "MLmodel").write_text(CUSTOM)
        (folder / "weights.pkl").write_bytes(pickle.dumps(0.125))
        (folder / "src" / "shop_loader.py").write_text(LOADER)
        (folder / "requirements.txt").write_text("mlflow==3.17.2\n")
        return folder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    made = Shop(tmp_path_factory.mktemp("signed") / "shop")
    yield made
    made.engine.dispose()


def findings(shop: Shop, label: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    status = shop.penstock("models", "verify", label, "--json")
    said = json.loads(capsys.readouterr().out)
    assert status == (0 if said["holds"] else 1)
    return {one["name"]: one for one in said["findings"]}


def test_a_signed_version_holds_in_every_line(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    label = f"shop@{shop.signed}"
    looked = findings(shop, label, capsys)
    assert {name for name, one in looked.items() if one["holds"]} == {
        "registry digest",
        "signature",
        "OpenSSF model-signing",
        "format",
        "provenance",
        "bill of materials",
        "ledger",
    }
    folder = fetch(shop.project, shop.signed, shop.found(shop.signed).digest)
    assert load_model(folder, shop.found(shop.signed).digest).flavor == "lightgbm"
    assert {file.name for file in beside(folder).iterdir()} == {
        "model.sig",
        "provenance.json",
        "bom.cdx.json",
    }
    assert not [file for file in folder.rglob("*") if file.suffix == ".sig"]
    assert shop.penstock("models", "key") == 0
    fingerprint = KeyFiles.of(shop.project).signing_key().public.fingerprint
    assert f"{fingerprint[:12]}  signs" in capsys.readouterr().out


def test_what_was_registered_before_is_refused_until_somebody_vouches_for_it(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    label, found = f"shop@{shop.early}", shop.found(shop.early)
    with pytest.raises(IntegrityError, match=f"penstock models sign {label} --reason"):
        fetch(open_project(shop.project.root, "dev"), shop.early, found.digest)
    assert {name for name, one in findings(shop, label, capsys).items() if not one["holds"]} == {
        "signature",
        "OpenSSF model-signing",
        "provenance",
        "bill of materials",
    }

    assert shop.penstock("models", "sign", label, "--reason", "trained in March by us") == 0

    assert all(one["holds"] for one in findings(shop, label, capsys).values())
    fetch(shop.project, shop.early, found.digest)
    entry = Ledger(shop.engine).entries("model.signed")[-1]
    assert (entry.subject, entry.digest, entry.reason) == (
        label,
        found.digest,
        "trained in March by us",
    )


def test_files_that_changed_in_mlflow_are_found_and_never_signed(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    version = shop.registered(shop.safe, sign=True)
    label, found = f"shop@{version}", shop.found(version)
    altered = shop.artifact(version, "model/model.lgb")
    altered.write_bytes(altered.read_bytes() + b"\n")

    failed = {name for name, one in findings(shop, label, capsys).items() if not one["holds"]}
    assert {"registry digest", "signature", "OpenSSF model-signing", "provenance"} <= failed
    shutil.rmtree(shop.project.folder / "models")
    with pytest.raises(IntegrityError, match="it was registered with"):
        fetch(shop.project, version, found.digest)
    assert shop.penstock("models", "sign", label, "--reason", "it is fine") == 1
    assert "they were changed since" in capsys.readouterr().err

    # With the registry's own digest rewritten, it is the signature that tells.
    digest = model_digest(altered.parent)
    versions.tag(shop.project, "shop", version, {versions.DIGEST_TAG: digest})
    with pytest.raises(IntegrityError, match=r"signature of shop@.* is over other files"):
        fetch(shop.project, version, digest)
    assert not findings(shop, label, capsys)["ledger"]["holds"]


@pytest.mark.parametrize(
    ("file", "line"),
    [("bom.cdx.json", "bill of materials"), ("provenance.json", "provenance")],
)
def test_a_changed_statement_is_named(
    shop: Shop, capsys: pytest.CaptureFixture[str], file: str, line: str
) -> None:
    place = shop.artifact(shop.signed, f"attestations/{file}")
    kept = place.read_text()
    if file.startswith("bom"):
        place.write_text(kept.replace('"numpy"', '"numpi"'))
    else:
        document = json.loads(kept)
        document["payload"] = document["payload"][:-8] + "fX19fQ=="
        place.write_text(json.dumps(document))
    try:
        looked = findings(shop, f"shop@{shop.signed}", capsys)
    finally:
        place.write_text(kept)
    assert not looked[line]["holds"]
    assert looked["signature"]["holds"]


def test_a_custom_model_is_served_once_it_is_signed_and_waived(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project, label = shop.project, f"shop@{shop.foreign}"
    waive = ["models", "waive", label, "--flavour", "pyfunc", "--reason", "read by Ann"]
    assert shop.penstock(*waive) == 1  # nobody has signed it
    assert "not signed" in capsys.readouterr().err
    assert shop.penstock("models", "sign", label, "--reason", "from the research team") == 0
    found = shop.found(shop.foreign)
    folder = fetch(project, shop.foreign, found.digest)
    place = endpoint.place_of(project, "staging")
    settings = ServingSettings(port=0, replicas=1, start_timeout=timedelta(minutes=3))

    def serve(kinds: tuple[str, ...]) -> str:
        spec = ReleaseSpec(
            id=f"custom-{len(kinds)}",
            endpoint="staging",
            model=label,
            digest=found.digest,
            path=str(folder),
            replicas=1,
            admitted=kinds,
        )
        endpoint.serve_table(place, table(spec), settings)
        return endpoint.status(place.folder).url

    try:
        # Signed is not enough.
        assert admitted(project, shop.engine, found.digest) == ()
        with pytest.raises(ServingError, match="python_function only"):
            serve(admitted(project, shop.engine, found.digest))
        assert shop.penstock(*waive) == 0
        url = serve(admitted(project, shop.engine, found.digest))
        answer = ask(f"{url}/predict", {"rows": [{"visits": 4.0}, {"visits": 2.0}]})
        assert answer.status == 200
        assert answer.body["predictions"] == [0.5, 0.25]
        # The command that brings any version to staging asks the same.
        assert shop.penstock("models", "promote", label, "--to", "staging") == 0
        staged = endpoint.table_of(place)
        assert staged
        (spec,) = staged.releases.values()
        assert spec.admitted == ("pyfunc",)
        made = of_version(shop.engine, found.label, found.digest)
        assert made
        assert (made.digest, made.manifest.adopted) == (spec.manifest, True)
        answer = ask(f"{endpoint.status(place.folder).url}/predict", {"rows": [{"visits": 8.0}]})
        assert (answer.body["predictions"], answer.body["model"]) == ([1.0], label)
        # Whatever a table says, the gateway looks for the signature itself.
        beside(folder).rename(folder.with_name("away"))
        with pytest.raises(ServingError, match=f"{label} is not signed"):
            serve(())
    finally:
        endpoint.stop(place.folder)

    assert shop.penstock(*waive, "--withdraw") == 0
    assert admitted(project, shop.engine, found.digest) == ()


def test_the_settings_and_the_ledger_must_both_allow_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict = _without_admission(shop.project, monkeypatch)
    from penstock.registry.waivers import waive

    with pytest.raises(ModelError, match="do not admit pyfunc") as caught:
        waive(strict, shop.engine, shop.found(shop.signed), "pyfunc", reason="because")
    assert 'admit = ["pyfunc"]' in caught.value.hint


def _without_admission(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PENSTOCK_REGISTRY_ADMIT", "")
    return open_project(project.root, "dev")
