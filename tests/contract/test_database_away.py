"""A PostgreSQL server that is stopped amid a check, or between two rounds, and comes back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from databases import empty_postgres
from sqlalchemy.engine import make_url
from stalling_proxy import StallingProxy

from penstock.audit.ledger import Ledger
from penstock.cli.main import run
from penstock.errors import ResourceError
from penstock.monitoring.trigger_book import read_book, request
from penstock.monitoring.triggers import Kind
from penstock.project import Project, open_project
from penstock.rollout.service import Desk
from penstock.state.database import open_database, open_state

pytestmark = pytest.mark.slow

SETTINGS = '[project]\nname = "shop"\n\n[monitoring]\nevery = "1s"\n'


class Away(NamedTuple):
    project: Project
    server: StallingProxy


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Away]:
    """A project whose database is reached by a line that may be cut."""
    (tmp_path / "penstock.toml").write_text(SETTINGS)
    with empty_postgres() as address:
        url = make_url(address)
        with StallingProxy(url.port or 5432) as server:
            cut = url.set(host="127.0.0.1", port=server.port)
            monkeypatch.setenv("PENSTOCK_STATE_URL", cut.render_as_string(hide_password=False))
            yield Away(open_project(tmp_path, "dev"), server)


def test_a_check_that_is_cut_short_anywhere_says_so_and_the_next_one_orders_one_run(
    away: Away, capsys: pytest.CaptureFixture[str]
) -> None:
    project, server = away
    engine = open_database(project)
    by = Desk.of(project, engine).by
    asked = request("shop", Kind.DRIFT, "age has moved", by=by)
    Ledger(engine).write(asked)
    check = ["triggers", "check", "--project", str(project.root)]
    for passes in (0, 200, 2_000, 4_000, 8_000, 16_000):
        server.let_through(passes, then_break=True)
        status = run(check)
        said = capsys.readouterr()
        if status == 0:  # it was done before as much was said
            break
        assert status == 1
        assert "error: " in said.err or "! " in said.err
        assert "Traceback" not in said.err
    server.resume()
    run(check)
    (order,) = read_book(engine).orders
    assert "age has moved" in order.reason
    engine.dispose()


def test_the_monitor_loop_says_so_once_and_goes_on_when_it_is_back(away: Away) -> None:
    project, server = away
    line = [sys.executable, "-m", "penstock", "monitor", "loop", "--project", str(project.root)]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr

        def read_until(what: str) -> str:
            said = ""
            for text in process.stderr or ():
                said += text
                if what in text:
                    return said
            raise AssertionError(f"the loop ended: {said}")

        try:
            read_until("round 1")
            server.let_through(0, then_break=True)
            assert "Traceback" not in read_until("the state database is away")
            server.resume()
            after = read_until("done")
            assert "Traceback" not in after
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    assert process.returncode == 0


def test_a_server_that_is_down_is_named_with_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot be opened") as caught:
        open_state("postgresql+psycopg://nobody@127.0.0.1:1/none", tmp_path)
    assert "PENSTOCK_STATE_URL" in caught.value.hint
