"""An MLflow server as a team runs one, its registry in PostgreSQL where there is one: versions are
logged, registered, staged, promoted, archived and taken back, and what others change is noticed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from databases import POSTGRES, empty_postgres
from gateways import ask
from mlflow_servers import MlflowServer
from shops import trained

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.errors import ConflictError, IntegrityError
from penstock.project import open_project
from penstock.registry import versions
from penstock.registry.aliases import strays
from penstock.registry.attestations import attest
from penstock.registry.champions import Champion, crown, standing
from penstock.registry.client import open_client
from penstock.registry.loading import model_digest
from penstock.registry.promotion import promote
from penstock.registry.provenance import Build
from penstock.serving import endpoint
from penstock.state.database import open_database
from penstock.state.rollouts import Quarantined, put_into_quarantine
from penstock.training import tracking

pytestmark = pytest.mark.slow

SETTINGS = """\
[project]
name = "shop"
[registry]
tracking_uri = "{url}"
[serving]
port = 0
replicas = 1
[rollout]
approvals = {{ required = 1 }}
"""


class Shop:
    """A project on the team's server, with versions that an experiment gave."""

    def __init__(self, root: Path, url: str) -> None:
        root.mkdir()
        (root / "penstock.toml").write_text(SETTINGS.format(url=url))
        self.project = open_project(root, "dev")
        self.engine = open_database(self.project)
        self.client = open_client(self.project)

    def logged(self, number: int) -> versions.Found:
        """An experiment: parameters, metrics, artefacts and a model, which is registered."""
        root = self.project.root
        model = trained(root / "models" / str(number), seed=number)
        run_id = tracking.start_run(self.project, f"try {number}", {"team": "growth"})
        (root / "notes.txt").write_text(f"try {number}")
        tracking.log(
            self.project,
            run_id,
            params={"trees": 3, "seed": number},
            metrics={"holdout_auc_roc": 0.8 + number / 100},
            files={"model": model, "notes": root / "notes.txt"},
        )
        tracking.end_run(self.project, run_id)
        digest = model_digest(model)
        tags = attest(self.project, model, Build("shop", digest, "lightgbm", mlflow_run_id=run_id))
        metrics = {"auc_roc": 0.8 + number / 100}
        digests = {"model": digest, "dataset": f"{number:064x}"}
        made = versions.register(self.project, run_id, digests, metrics, attested=tags)
        versions.tag(self.project, "shop", made.version, {versions.TESTED_TAG: "passed"})
        Ledger(self.engine).append("model.registered", made.label, digest=digest)
        return versions.find(self.project, made.version)

    def aliases(self) -> dict[str, int]:
        said = self.client.get_registered_model("shop").aliases
        return {alias: int(version) for alias, version in said.items()}

    def penstock(self, *arguments: str) -> int:
        return run([*arguments, "--project", str(self.project.root)])

    def approve(self, label: str) -> None:
        said = ("--for", "production", "--meaning", "tested")
        assert self.penstock("models", "approve", label, *said) == 0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    folder = tmp_path_factory.mktemp("team")
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(empty_postgres()) if os.environ.get(POSTGRES) else ""
        server = MlflowServer(folder / "mlflow", backend)
        stack.callback(server.kill)
        made = Shop(folder / "shop", server.url)
        for number in (1, 2, 3):
            made.logged(number)
        stack.callback(made.engine.dispose)
        stack.callback(endpoint.stop, made.project.endpoint("staging"))
        yield made


@pytest.fixture
def said(shop: Shop, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command prints as JSON."""

    def ask_for(*arguments: str) -> Any:
        capsys.readouterr()
        assert shop.penstock(*arguments, "--json") == 0
        return json.loads(capsys.readouterr().out)

    return ask_for


def test_from_an_experiment_to_staging_to_champion_to_the_archive_with_all_lineage(
    shop: Shop, said: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    # What was logged is there, side by side.
    compared = said("models", "compare", "shop@1", "shop@2")
    rows = {row["name"]: row for row in compared["rows"]}
    assert list(rows["seed"]["values"].values()) == ["1", "2"]
    assert rows["holdout_auc_roc"]["best"] == [compared["runs"][1]["id"]]
    run_id = shop.client.get_model_version("shop", "1").run_id
    assert {file.path for file in shop.client.list_artifacts(run_id)} >= {"model", "notes"}

    # Staging.
    staged = said("models", "promote", "shop@1", "--to", "staging", "--reason", "to be looked at")
    answer = ask(f"{staged['url']}/predict", {"rows": [{"visits": 5.0, "age": 40.0}]})
    assert answer.body["model"] == "shop@1"
    assert shop.aliases() == {"staging": 1}

    # Production: by approval only; the one before is archived, in one entry.
    assert shop.penstock("models", "promote", "shop@1", "--to", "production") == 1
    assert (
        "shop@1 may not serve production: one more person must approve it"
        in capsys.readouterr().err
    )
    for label in ("shop@1", "shop@2"):
        shop.approve(label)
    first = said("models", "promote", "shop@1", "--to", "production", "--reason", "the first")
    assert first["archived"] == "none"
    before = len(Ledger(shop.engine).entries())
    second = said("models", "promote", "shop@2", "--to", "production", "--reason", "better")
    assert (second["champion"], second["archived"]) == ("shop@2", "shop@1")
    (entry,) = Ledger(shop.engine).entries()[before:]
    one, two = versions.find(shop.project, 1), versions.find(shop.project, 2)
    assert (entry.before, entry.after, entry.reason) == (one.digest, two.digest, "better")
    (approval,) = [
        e for e in Ledger(shop.engine).entries("model.approved") if e.subject == "shop@2"
    ]
    assert entry.approvals == (approval.id,)
    assert shop.aliases() == {"staging": 1, "champion": 2, "archived": 1}
    assert (one.tags["penstock.status"], two.tags["penstock.status"]) == ("archived", "champion")

    # Where it came from, and what was done with it.
    told = said("models", "lineage", "shop@1")
    assert [one["what"] for one in told["from"]][:2] == ["model", "release"]
    dataset = next(step for step in told["from"] if step["what"] == "dataset")
    assert dataset["digest"] == f"{1:064x}"
    assert [one["action"] for one in told["since"]] == [
        *("model.registered", "release.made", "release.deployed", "model.approved"),
        *("model.promoted", "model.promoted"),
    ]
    assert told["served_by"] == {"staging": "champion"}
    assert said("release", "list")[0]["stands"] == "archived, staging"


def test_what_others_change_in_mlflow_is_noticed_and_put_right(
    shop: Shop, said: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shop.client.set_registered_model_alias("shop", "champion", "3")
    shop.client.delete_registered_model_alias("shop", "archived")
    shop.client.set_registered_model_alias("shop", "favourite", "3")  # theirs
    capsys.readouterr()
    assert shop.penstock("models", "list") == 0
    printed = capsys.readouterr().out
    assert "champion is shop@3 in MLflow; by the ledger it is shop@2" in printed
    assert "archived is gone in MLflow; by the ledger it is shop@1" in printed
    (stray,) = said("models", "show", "shop@3")["strays"]
    assert stray["alias"] == "champion"
    assert {one["alias"] for one in said("status")["strays"]} == {"champion", "archived"}
    assert shop.penstock("status") == 0
    assert "! champion is shop@3 in MLflow" in capsys.readouterr().out
    assert shop.penstock("doctor") == 1
    assert "penstock models promote --mend" in capsys.readouterr().out

    mended = {one["alias"] for one in said("models", "promote", "--mend")}
    assert mended == {"champion", "archived"}
    assert shop.aliases() == {"staging": 1, "champion": 2, "archived": 1, "favourite": 3}
    assert strays(shop.project, shop.engine) == []
    (entry, other) = Ledger(shop.engine).entries("model.alias_mended")
    assert {entry.details["alias"], other.details["alias"]} == mended


def test_a_crash_between_the_entry_and_the_alias_is_repaired_by_the_next_who_looks(
    shop: Shop, said: Callable[..., Any]
) -> None:
    three = versions.find(shop.project, 3)
    shop.approve("shop@3")
    with Ledger(shop.engine).page() as page:  # and no more: who wrote it was killed
        crown(page, Champion(three.label, three.digest), reason="", expected="shop@2")
    assert shop.aliases()["champion"] == 2
    assert said("models", "promote", "shop@3", "--to", "production")["entry"] is None
    assert shop.aliases()["champion"] == 3
    assert shop.aliases()["archived"] == 2


def test_whoever_decided_on_an_older_champion_is_told_and_changes_nothing(shop: Shop) -> None:
    seen = standing(shop.engine).label
    two = versions.find(shop.project, 2)
    assert promote(shop.project, shop.engine, two, expected=seen, agreed=tuple)
    one = versions.find(shop.project, 1)
    with pytest.raises(ConflictError, match="shop@2 became the champion meanwhile"):
        promote(shop.project, shop.engine, one, expected=seen, agreed=tuple)
    assert shop.aliases()["champion"] == 2


def test_a_rollback_makes_the_one_before_the_champion_again_unless_it_is_in_quarantine(
    shop: Shop, said: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    line = [one.label for one in standing(shop.engine).line]
    assert line == ["shop@1", "shop@2", "shop@3", "shop@2"]
    done = said("models", "rollback", "--reason", "a doubt")
    assert (done["champion"], done["archived"]) == ("shop@3", "shop@2")
    assert shop.aliases()["champion"] == 3
    done = said("models", "rollback", "shop@1", "--reason", "further back")
    assert standing(shop.engine).line == (
        Champion("shop@1", versions.find(shop.project, 1).digest),
    )
    assert shop.penstock("models", "rollback", "--reason", "again") == 1
    assert "there is no champion before shop@1" in capsys.readouterr().err

    two = versions.find(shop.project, 2)
    now = Ledger(shop.engine).entries()[-1].at
    put_into_quarantine(shop.engine, Quarantined(two.digest, "shop@2", "errors", "ro-1", now))
    with pytest.raises(IntegrityError, match="shop@2 is in quarantine since"):
        promote(shop.project, shop.engine, two, expected="shop@1", agreed=tuple)
    assert shop.aliases()["champion"] == 1


def test_versions_of_other_tools_are_listed_and_not_taken_as_they_are(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = shop.client.get_model_version("shop", "1").run_id
    source = f"{shop.client.get_run(run_id).info.artifact_uri}/model"
    foreign = shop.client.create_model_version("shop", source, run_id=run_id)
    capsys.readouterr()
    assert shop.penstock("models", "list") == 0
    assert "none: of another tool" in capsys.readouterr().out
    for to in ("staging", "production"):
        assert shop.penstock("models", "promote", f"shop@{foreign.version}", "--to", to) == 1
        assert "penstock models sign" in capsys.readouterr().err
