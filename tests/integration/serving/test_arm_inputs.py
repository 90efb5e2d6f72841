"""A release that takes other inputs than the champion is no arm of it; a shadow it may be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gateways import HALF, ROWS, Gateway, alive, load, table, until

from penstock.errors import ServingError
from penstock.serving.routing.table import Mirror

pytestmark = pytest.mark.slow

UNITS = [f"user-{number}" for number in range(100)]


@pytest.fixture(scope="module")
def demanding(challenger: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, which wants an age where the champion can do without."""
    folder = tmp_path_factory.mktemp("demanding") / "model"
    shutil.copytree(challenger, folder)
    text = (folder / "MLmodel").read_text()
    wanted = text.replace('"name": "age", "required": false', '"name": "age", "required": true')
    assert wanted != text
    (folder / "MLmodel").write_text(wanted)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Gateway]:
    it = Gateway(tmp_path / "endpoint")
    yield it
    it.stop()


def test_a_table_with_such_an_arm_changes_nothing(
    own: Gateway, champion: Path, challenger: Path, demanding: Path
) -> None:
    first, second = own.spec("r1", champion), own.spec("r2", challenger)
    other = own.spec("r3", demanding)
    own.serve(table(first, second, weights=HALF))
    before = own.routes()
    with load(own.url, UNITS) as running, pytest.raises(ServingError) as caught:
        own.serve(table(first, other, weights=HALF))
    assert "the arm canary cannot answer for the champion" in caught.value.message
    assert "it requires the feature 'age', the champion does not" in caught.value.message
    assert "as the shadow of this one" in caught.value.hint
    assert running.failures == []
    assert own.routes() == before
    assert {one.release for one in running.seen} == {"r1", "r2"}


def test_an_arm_without_units_is_refused_before_it_gets_some(
    own: Gateway, champion: Path, demanding: Path
) -> None:
    with pytest.raises(ServingError, match="requires the feature 'age'"):
        own.serve(table(own.spec("r1", champion), own.spec("r3", demanding), weights={"canary": 0}))
    log = (own.folder / "gateway.log").read_text()
    assert "revision 1 cannot be served" in log


def test_a_shadow_and_a_pinned_release_may_take_what_they_like(
    own: Gateway, champion: Path, challenger: Path, demanding: Path
) -> None:
    first, shadow, spare = (
        own.spec(name, model)
        for name, model in (("r1", champion), ("r3", demanding), ("r4", demanding))
    )
    own.serve(table(first, shadow, spare, mirror=Mirror(release="r3")))
    without = {"rows": [{**ROWS["rows"][0], "age": None}]}
    assert own.ask("/predict", without).status == 200
    # The shadow refuses its copy, which is the shadow's affair.
    until(lambda: [row for row in own.logged() if row["arm"] == "shadow" and row["status"] == 400])
    assert own.ask("/predict", without, X_Penstock_Release="r4").status == 400
    assert own.ask("/predict", ROWS, X_Penstock_Release="r4").status == 200


def test_the_replicas_of_a_refused_table_end(own: Gateway, champion: Path, demanding: Path) -> None:
    own.serve(table(own.spec("r1", champion)))
    with pytest.raises(ServingError):
        own.serve(table(own.spec("r1", champion), own.spec("r3", demanding), weights=HALF))
    (lead,) = own.pids("r1")
    assert alive(lead)
    until(lambda: _replicas(own) == {lead})


def _replicas(gateway: Gateway) -> set[int]:
    """Processes whose output goes to the log of this endpoint's replicas."""
    wanted = str(gateway.folder / "replicas.log")
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if str((folder / "fd" / "1").readlink()) == wanted:
                found.add(int(folder.name))
        except OSError:
            continue
    return found
