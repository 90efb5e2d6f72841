"""`make demo`, on fewer customers: its six acts, the same once more, and the end of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from warm_commands import warm_bin

from .conftest import User, new_churn

# A dozen runs and three rollouts, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    user = new_churn(tmp_path_factory.mktemp("demo"))
    user.edit("params.yaml", "customers: 1500", "customers: 2500")  # as many as drift needs
    # How fast this machine is while other tests run on it is not what is tested.
    user.edit("rollout.toml", "limit_ms = 250", "limit_ms = 5000")
    user.edit("rollout.toml", "max_dropped = 0.1", "max_dropped = 1")
    user.edit("rollout.toml", "_ratio = 5", "_ratio = 100000")
    user.edit("rollout.toml", 'bake = "5s"', 'bake = "1s"')
    user.edit("rollout.toml", '= "5s"', '= "1s"')
    user.variables |= {"PENSTOCK_LOAD_TEST_DURATION": "1s"}
    yield user
    demo(user, "--end")


# The demo with other programs than those beside its Python.
WITH_PROGRAMS = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
import demo_terminal
demo_terminal.BIN = Path(sys.argv.pop(2))
import demo
sys.argv = sys.argv[1:]
sys.exit(demo.main())
"""


def command_of(user: User, programs: Path | None = None, *options: str) -> list[str]:
    if programs is None:
        return [sys.executable, str(SCRIPT), str(user.project), *options]
    return [sys.executable, "-c", WITH_PROGRAMS, str(SCRIPT), str(programs), str(user.project)]


def demo(user: User, *options: str, programs: Path | None = None) -> CompletedProcess[str]:
    command = command_of(user, programs, *options)
    return subprocess.run(
        command, env=user.environment, capture_output=True, text=True, timeout=3000
    )


def interrupted(user: User, at: str, programs: Path) -> str:
    """What it printed until somebody pressed Ctrl-C, at a line that holds this."""
    process = subprocess.Popen(
        command_of(user, programs),
        env=user.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    printed = ""
    with process:
        assert process.stdout
        for line in process.stdout:
            printed += line
            if at in line:
                os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 130, printed[-4000:]
    return printed


@pytest.fixture(scope="module")
def printed(churn: User, tmp_path_factory: pytest.TempPathFactory) -> str:
    """All that it printed; it was interrupted while the first canary was under way."""
    with warm_bin(tmp_path_factory.mktemp("bin")) as programs:
        before = interrupted(churn, "stage 1 of 4 begins", programs)
        assert "`make demo` goes on from here" in before
        done = demo(churn, programs=programs)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return before + done.stdout + done.stderr


def test_a_good_version_takes_over_and_a_bad_one_is_taken_back(churn: User, printed: str) -> None:
    rollouts = churn.penstock("rollout", "list", "--json").json
    ended = [(one["candidate"]["model"], one["outcome"]) for one in reversed(rollouts)]
    assert ended == [
        ("churn@2", "promoted"),
        ("churn@3", "rolled back"),
        ("churn@4", "reported"),
        ("churn@4", "promoted"),
    ]
    aliases = {m["version"]: m["aliases"] for m in churn.penstock("models", "list", "--json").json}
    assert "champion" in aliases[4]
    assert "champion" not in aliases[3]


def test_the_bad_version_fails_for_new_customers_only(churn: User, printed: str) -> None:
    rollouts = churn.penstock("rollout", "list", "--json").json
    bad = next(one for one in rollouts if one["outcome"] == "rolled back")
    shown = churn.penstock("rollout", "show", bad["id"], "--json").json
    assert shown["reason"].startswith("error_rate")
    assert max(one["status"] for one in shown["last_predictions"]) >= 500
    told = re.findall(r"failed [\d,]+ \([\d.]+%\), (.*), within", printed)
    assert told == ["all of them new"]
    post_mortem = churn.project / ".penstock" / "rollouts" / bad["id"] / "post-mortem.json"
    assert json.loads(post_mortem.read_text())["status"] == "rolled back"


def test_the_customers_change_and_the_loop_closes(churn: User, printed: str) -> None:
    """One alarm, after the change and not before, and what it started went all the way."""
    told = (churn.project / ".penstock" / "notices.log").read_text()
    assert len(re.findall(r"drifted_share.* fires?", told)) == 1
    assert churn.penstock("alerts", "list", "--json").json["alerts"] == []
    (alarm,) = churn.penstock("alerts", "list", "--all", "--json").json["alerts"]
    assert (alarm["rule"], alarm["status"]) == ("drifted_share", "resolved")
    fired = entries(churn, "trigger.fired")
    assert fired
    assert all("drifted_share" in one["reason"] for one in fired)
    followed = [one["details"]["strategy"] for one in reversed(entries(churn, "trigger.followed"))]
    assert followed == ["shadow", "canary"]


def entries(user: User, action: str) -> list[dict[str, Any]]:
    """Of the ledger, the newest first."""
    return list(user.penstock("audit", "log", "--action", action, "--json").json)


def test_every_command_is_printed_as_it_is_typed(printed: str) -> None:
    typed = re.findall(r"^\$ (.*)$", printed, re.MULTILINE)
    begin = ["penstock run", "penstock models approve churn@1", "penstock rollout start churn@1"]
    assert [line[: len(start)] for line, start in zip(typed, begin, strict=False)] == begin
    assert typed.count("penstock run") == 3
    assert typed.count("penstock rollout status --watch") == 5
    assert sum(line.startswith("penstock rollout start churn@2") for line in typed) == 1
    assert "is in quarantine" in printed  # the last start, which is refused


def test_a_second_time_it_does_nothing_again(churn: User, printed: str) -> None:
    churn.penstock("serve", "--stop", "--endpoint", "production")  # as after a restart
    again = demo(churn)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "$ penstock run" not in again.stdout
    assert "= production is served at http://" in again.stdout
    assert "= churn@1 passed staging" in again.stdout
    assert len(churn.penstock("models", "list", "--json").json) == 4


def test_its_end_leaves_nothing_running(churn: User, printed: str) -> None:
    left = churn.start("controller", "--port", "0")  # as of a demo that was killed
    (churn.project / ".penstock" / "controller.pid").write_text(str(left.pid))
    statuses = [
        churn.project / ".penstock" / "endpoints" / name / "status.json"
        for name in ("production", "staging")
    ]
    gateways = [json.loads(file.read_text())["pid"] for file in statuses]
    assert all(is_alive(pid) for pid in gateways)
    assert demo(churn, "--end").returncode == 0
    left.wait(timeout=30)
    assert not any(is_alive(pid) for pid in gateways)


def is_alive(pid: int) -> bool:
    found = subprocess.run(["ps", "-p", str(pid), "-o", "stat="], capture_output=True, text=True)
    return bool(found.stdout.strip()) and not found.stdout.startswith("Z")  # one not yet reaped
