"""The host and its jobs: real processes, none of which outlives its owner."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.processes import Channel, Host, Job

JOBS = """
import os, subprocess, sys, time

from penstock.processes.host import end_with


def answer(channel, **arguments):
    channel.send({"arguments": arguments, "modules": "slow_to_import" in sys.modules})


def fail(channel):
    print("about to fail", flush=True)
    raise ValueError("as told")


def echo(channel):
    while (message := channel.receive()) is not None:
        channel.send(message)


def hang(channel):
    end_with(channel)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    channel.send({"child": child.pid})
    time.sleep(600)


def crash(channel):
    os.abort()
"""
OWNER = """
import sys
from pathlib import Path
from penstock.processes import Host

sys.path.insert(0, sys.argv[1])
host = Host()
job = host.start("host_jobs:hang", {}, Path(sys.argv[1]) / "log")
child = job.channel.receive()["child"]
print(host._process.pid, job.pid, child, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of modules that jobs import."""
    made = tmp_path_factory.mktemp("jobs")
    (made / "host_jobs.py").write_text(JOBS)
    (made / "slow_to_import.py").write_text("import os\nOWNER = os.getpid()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(made)
        patch.setenv("PYTHONPATH", str(made))
        yield made


@pytest.fixture(scope="module")
def host(folder: Path) -> Iterator[Host]:
    owned = Host()
    yield owned
    owned.close()


@contextlib.contextmanager
def running(
    host: Host, name: str, log: Path, modules: tuple[str, ...] = (), **arguments: Any
) -> Iterator[Job]:
    job = host.start(f"host_jobs:{name}", arguments, log, modules)
    try:
        yield job
    finally:
        job.kill()
        job.close()


def gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends within a deadline; one that only waits to be reaped has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.01)
                continue
        return True
    return False


def test_a_job_runs_in_a_process_of_its_own_with_its_arguments(host: Host, tmp_path: Path) -> None:
    with running(host, "answer", tmp_path / "log", text="ü", numbers=[1, 2.5, None]) as job:
        message = job.channel.receive()
        assert message is not None
        assert message["arguments"] == {"text": "ü", "numbers": [1, 2.5, None]}
        assert job.channel.receive() is None  # it ended
        assert job.pid not in (0, os.getpid())


def test_an_import_made_ahead_is_shared_by_all_jobs(host: Host, tmp_path: Path) -> None:
    modules = ("slow_to_import", "a_module_that_does_not_exist")
    for _ in range(2):
        with running(host, "answer", tmp_path / "log", modules) as job:
            assert (job.channel.receive() or {})["modules"] is True


def test_a_job_does_not_wait_for_what_others_will_import(host: Host, tmp_path: Path) -> None:
    host.warm(*[f"no_such_module_{number}" for number in range(3)], "slow_to_import")
    with running(host, "answer", tmp_path / "log") as job:
        assert job.channel.receive() is not None
    with running(host, "answer", tmp_path / "log", ("slow_to_import",)) as job:
        assert (job.channel.receive() or {})["modules"] is True


def test_what_a_job_says_and_its_traceback_go_to_its_log(host: Host, tmp_path: Path) -> None:
    with running(host, "fail", tmp_path / "log") as job:
        assert job.channel.receive() is None
    log = (tmp_path / "log").read_text()
    assert log.startswith("about to fail\n")
    assert log.endswith("ValueError: as told\n")


def test_a_job_that_crashes_takes_neither_host_nor_next_job_with_it(
    host: Host, tmp_path: Path
) -> None:
    with running(host, "crash", tmp_path / "log") as job:
        assert job.channel.receive() is None
    with running(host, "answer", tmp_path / "log") as job:
        assert job.channel.receive() is not None


@pytest.mark.parametrize("function", ["host_jobs:no_such", "no_such_module:f"])
def test_a_job_that_cannot_start_ends_and_says_why(
    host: Host, tmp_path: Path, function: str
) -> None:
    job = host.start(function, {}, tmp_path / "log")
    assert job.channel.receive() is None
    assert "no_such" in (tmp_path / "log").read_text()
    job.close()


def test_a_log_that_cannot_be_written_ends_the_job(host: Host, tmp_path: Path) -> None:
    job = host.start("host_jobs:answer", {}, tmp_path / "missing" / "log")
    assert job.channel.receive() is None
    job.kill()  # there is nothing to kill, and nothing is
    job.close()


def test_a_job_is_spoken_with_in_both_directions(host: Host, tmp_path: Path) -> None:
    large = {"text": "x" * 300_000}  # more than a socket's buffer holds
    with running(host, "echo", tmp_path / "log") as job:
        thread = threading.Thread(target=job.channel.send, args=(large,))
        thread.start()
        assert job.channel.receive() == large
        thread.join()


def test_a_job_ends_when_its_channel_is_closed(host: Host, tmp_path: Path) -> None:
    job = host.start("host_jobs:echo", {}, tmp_path / "log")
    job.close()
    assert gone(job.pid)


def test_a_job_that_listens_to_nobody_ends_with_its_channel_and_so_does_its_child(
    host: Host, tmp_path: Path
) -> None:
    job = host.start("host_jobs:hang", {}, tmp_path / "log")
    child = (job.channel.receive() or {})["child"]
    job.close()
    assert gone(job.pid)
    assert gone(child)


def test_killing_a_job_kills_what_it_started(host: Host, tmp_path: Path) -> None:
    job = host.start("host_jobs:hang", {}, tmp_path / "log")
    child = (job.channel.receive() or {})["child"]
    job.kill()
    assert gone(job.pid)
    assert gone(child)
    assert job.channel.receive() is None
    job.close()


def test_several_threads_may_start_jobs_at_once(host: Host, tmp_path: Path) -> None:
    seen: list[int] = []

    def start(number: int) -> None:
        with running(host, "answer", tmp_path / "log", number=number) as job:
            seen.append((job.channel.receive() or {})["arguments"]["number"])

    threads = [threading.Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(8))


def test_nothing_is_left_alive_behind_an_owner_that_is_killed(folder: Path, tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 3  # the host, its job, and what the job started
    owner.send_signal(signal.SIGKILL)
    owner.communicate(timeout=10)
    assert [pid for pid in pids if not gone(pid)] == []


MESSAGES = st.dictionaries(
    st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text())
)


@given(st.lists(MESSAGES, max_size=5))
def test_messages_arrive_whole_and_in_order(messages: list[dict[str, Any]]) -> None:
    ours, theirs = Channel.pair()
    other = Channel(theirs)
    for message in messages:
        ours.send(message)
    ours.close()
    assert [other.receive() for _ in messages] == messages
    assert other.receive() is None
    other.close()


def test_a_message_that_is_cut_off_is_no_message() -> None:
    ours, theirs = socket.socketpair()
    ours.sendall(b"\0\0\0\x10half")
    ours.close()
    other = Channel(theirs)
    assert other.receive() is None
    other.close()


def test_a_socket_travels_with_its_message() -> None:
    ours, theirs = Channel.pair()
    left, right = socket.socketpair()
    ours.send({"take": 1}, pass_on=right)
    right.close()
    taken = Channel(theirs).receive_with_socket()
    assert taken is not None
    assert taken[0] == {"take": 1}
    taken[1].sendall(b"hello")
    assert left.recv(5) == b"hello"
    for end in (left, taken[1]):
        end.close()
