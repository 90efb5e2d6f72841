"""The state database is lost, and an empty one is in its place: what was served goes on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateways import HALF, ROWS, Gateway, in_foreground, load, table, until

from penstock.serving import endpoint
from penstock.serving.endpoint import Place, publish
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.source import TableSource, Versioned
from penstock.serving.routing.table import serving_only
from penstock.state.routes import Lease, revision_of

pytestmark = pytest.mark.slow

UNITS = [f"user-{number}" for number in range(40)]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Gateway]:
    """A gateway whose database is in a folder that can be lost."""
    (tmp_path / "home").mkdir()
    it = Gateway(tmp_path / "endpoint", state=f"sqlite:///{tmp_path / 'home' / 'state.db'}")
    yield it
    it.stop()


def lose_database(tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "home")
    (tmp_path / "home").mkdir()


def releases(gateway: Gateway) -> list[str]:
    return [gateway.ask("/predict", ROWS, X_User=unit).body["release"] for unit in UNITS]


@pytest.mark.slow
def test_a_gateway_starts_with_its_copy_where_the_database_is_a_new_one(
    own: Gateway, champion: Path, challenger: Path, tmp_path: Path
) -> None:
    first, second = own.spec("r1", champion), own.spec("r2", challenger)
    own.serve(table(first, second))
    own.serve(table(first, second, weights=HALF))
    before = releases(own)
    assert {*before} == {"r1", "r2"}
    own.stop()
    lose_database(tmp_path)

    log = tmp_path / "gateway.log"
    with in_foreground(own, log):
        until(lambda: endpoint.status(own.folder).state == "live")
        assert releases(own) == before
        assert log.read_text().count("no routing table of staging: is it a new one?") == 1
        # Deploying replaces it, though the new database has counted no revisions yet.
        with load(own.url, UNITS) as running:
            own.serve(table(second))
            until(lambda: running.seen[-1].release == "r2")
        assert running.failures == []
        assert {*releases(own)} == {"r2"}


@pytest.mark.slow
def test_a_running_gateway_follows_the_first_table_of_a_new_database(
    own: Gateway, champion: Path, challenger: Path, tmp_path: Path
) -> None:
    """Both are the first of their database, and yet two tables."""
    first, second = own.spec("r1", champion), own.spec("r2", challenger)
    own.serve(table(first))
    with load(own.url, UNITS) as running:
        lose_database(tmp_path)
        running.wait_for(100)
        # Whoever opens the new database first makes its tables; then gateways say what they serve.
        fresh = Gateway(tmp_path / "elsewhere", state=own.state)
        until(lambda: _has_said(fresh))
        publish(fresh.place, table(second))
        until(lambda: running.seen[-1].release == "r2")
    assert running.failures == []


def _has_said(gateway: Gateway) -> bool:
    from penstock.state.routes import gateways_of

    return any(one.revision for one in gateways_of(gateway.place.engine(), "staging"))


@pytest.mark.slow
def test_what_was_never_deployed_is_not_served(own: Gateway, tmp_path: Path) -> None:
    own.folder.mkdir()
    with in_foreground(own):
        until(lambda: endpoint.status(own.folder).url)
        answer = until(lambda: _asked(own))
        assert (answer.status, answer.body["error"]) == (503, "no release is live")


def _asked(gateway: Gateway) -> object:
    try:
        return gateway.ask("/predict", ROWS)
    except OSError:
        return None


# Where the table comes from


SPEC = ReleaseSpec(id="r1", endpoint="shop", model="m@1", digest="d", path="/m", replicas=1)


def test_the_copy_is_served_with_a_warning_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Versioned(7, serving_only(SPEC), None)
    source = TableSource(Place("shop", tmp_path).engine, "shop", tmp_path / "table.json")
    assert source.look(0) == Lease(0, None)  # nothing was ever deployed
    source.keep(kept)
    with caplog.at_level(logging.WARNING):
        assert source.look(0) == kept
        assert source.look(7) is None
    (record,) = caplog.records
    assert "Revision 7" in record.getMessage()
    assert revision_of(Place("shop", tmp_path).engine(), "shop") == 0  # it is nobody's table yet


def test_another_endpoints_table_is_no_reason_to_serve_nothing(tmp_path: Path) -> None:
    kept = Versioned(7, serving_only(SPEC), None)
    source = TableSource(Place("shop", tmp_path).engine, "shop", tmp_path / "table.json")
    source.keep(kept)
    publish(Place("other", tmp_path), serving_only(SPEC))
    assert source.look(0) == kept
