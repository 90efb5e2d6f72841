"""A task's step under another Python than the orchestrator's, such as that of the project's venv.

The orchestrator's side starts `python -m penstock.orchestrators.other_python`, hands it the task
and its records, and gets its record or its error back. What the step prints goes where the
orchestrator's own process prints. The step ends when its task does, however that ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from penstock import __version__
from penstock.errors import PenstockError, SettingsError, StepError, StepInterrupted, from_dict
from penstock.orchestrators.alarm import Alarm
from penstock.orchestrators.tasks import Task
from penstock.processes.channel import Channel
from penstock.processes.host import end_with
from penstock.project import open_project

TERMINATED = 143  # the exit status of a process that SIGTERM ended
# Seconds that a step has to record its end; Airflow 3 kills a task five seconds after SIGTERM.
GRACE = 4.0


def run_task_in(
    python: str,
    project: str,
    environment: str,
    task: Task,
    records: Mapping[str, dict[str, Any] | None],
    limit: timedelta | None = None,
) -> dict[str, Any]:
    """Runs a step, or finds it cached, and returns its record. Raises as `run_task` does.

    `python` is the interpreter of an environment that has Penstock in the same version. After
    `limit` the step is ended, for orchestrators that cannot end a task themselves.
    """
    told = {**asdict(task), "as_of": task.as_of.isoformat()}
    asked = {"project": project, "environment": environment, "task": told, "records": dict(records)}
    return dict(_answer(python, asked, task.step, limit)["record"])


def close_run_in(
    python: str, project: str, environment: str, run_id: str, step: str, reason: str
) -> None:
    """As `close_run`."""
    ended = {"run_id": run_id, "step": step, "reason": reason}
    _answer(python, {"project": project, "environment": environment, "ended": ended}, step)


def _answer(
    python: str, asked: dict[str, Any], step: str, limit: timedelta | None = None
) -> dict[str, Any]:
    """What the other side replies. Raises the error that it replies with."""
    channel, theirs = Channel.pair()
    with theirs:
        process = _started(python, theirs)
    alarm = Alarm(limit, lambda: _end(process))
    try:
        with contextlib.suppress(BrokenPipeError):  # it has ended: its status tells why
            channel.send({"version": __version__, **asked})
        reply = channel.receive()
        if reply is None and alarm.rang:
            raise alarm.too_long(step)
        if reply is None:
            raise _death(python, step, process.wait())
    except BaseException:  # a timeout or a signal may end the task
        _ask_to_end(process)
        raise
    finally:
        alarm.cancel()
        _kill(process)
        channel.close()
    if "error" in reply:
        raise from_dict(reply["error"])
    return reply


def _started(python: str, theirs: socket.socket) -> subprocess.Popen[bytes]:
    """In a session of its own, which ends as a whole."""
    try:
        return subprocess.Popen(
            [python, "-u", "-P", "-m", __name__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    except OSError as error:
        raise SettingsError(
            f"the Python {python} cannot be started: {error.strerror}",
            hint="[pipeline] python names the interpreter of an environment, such as "
            "/srv/churn/.venv/bin/python, on each worker",
        ) from error


def _death(python: str, step: str, status: int) -> StepError:
    if status < 0:
        return StepInterrupted(
            f"the process of {step} died without a result ({signal.Signals(-status).name})",
            hint="it was killed, or crashed: see the task's log and the machine's memory",
        )
    return StepError(
        f"{python} ended with status {status}, without a result of {step}",
        hint="see the log above; Penstock must be installed for that Python",
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    """So that it records its end, where it still can."""
    _ask_to_end(process)
    _kill(process)


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """And whatever it has started in its session; with its reply, a step is done."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    """The entry of the step's process: its one argument is the socket of the task's."""
    signal.signal(signal.SIGTERM, _terminated)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    asked = channel.receive()
    if asked is None:
        return
    end_with(channel)
    try:
        reply = _done(asked)
    except PenstockError as error:
        reply = {"error": error.as_dict()}
    channel.send(reply)


def _terminated(*_: Any) -> None:
    raise SystemExit(TERMINATED)


def _done(asked: dict[str, Any]) -> dict[str, Any]:
    from penstock.orchestrators.task import close_run, run_task

    if asked["version"] != __version__:
        raise StepError(
            f"{sys.executable} has Penstock {__version__}; the orchestrator has {asked['version']}",
            hint="install the same version in both environments",
        )
    project = open_project(Path(asked["project"]), asked["environment"])
    if "ended" in asked:
        close_run(project, **asked["ended"])
        return {}
    told = asked["task"]
    task = Task(**{**told, "as_of": datetime.fromisoformat(told["as_of"])})
    return {"record": run_task(project, task, asked["records"])}


if __name__ == "__main__":
    main()
