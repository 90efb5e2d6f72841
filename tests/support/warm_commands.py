"""Commands in processes that need import nothing: they are forked where everything is imported.

They do what they do when they are typed, some seconds of processor time earlier. What is told of
the imports themselves is seen where commands are started as users start them.
"""

from __future__ import annotations

import functools
import importlib
import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from penstock.cli.main import run
from penstock.orchestrators import attempts
from penstock.processes.channel import Channel
from penstock.processes.host import Host, serve

# What the steps of a plan and the commands need; the rest is quickly there.
MODULES = (
    *attempts.COMMON,
    "pandas",
    "pyarrow.parquet",
    "duckdb",
    "dvc.repo",
    "scipy.stats",
    "altair",
    "great_expectations",
    "penstock.features.quick_feast",
    "dask.dataframe",
    "fastapi",
    "optuna",
    "sklearn.metrics",
    "sklearn.linear_model",
    "lightgbm",
    "mlflow",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "matplotlib.figure",
    "aiohttp",
    "apprise",
    "rich.live",
    "rich.table",
    "rich.progress",
)


class Told(NamedTuple):
    status: int
    out: str
    err: str


def typed(arguments: Sequence[str], folder: Path, variables: Mapping[str, str]) -> Told:
    """`penstock ARGUMENTS` in a folder, and these environment variables alone."""
    with tempfile.TemporaryDirectory(prefix="typed-") as kept:
        out, err = Path(kept, "out"), Path(kept, "err")
        given = {"arguments": list(arguments), "folder": str(folder), "variables": dict(variables)}
        job = _host().start("warm_commands:_type", {**given, "out": str(out)}, err, MODULES)
        try:
            message = job.channel.receive()
        finally:
            job.kill()
            job.close()
        said = err.read_text()
        assert message is not None, f"the command died: {said}"
        return Told(message["status"], out.read_text() if out.exists() else "", said)


@functools.cache
def _host() -> Host:
    """It ends with the process whose it is."""
    return Host()


def _type(
    channel: Channel, arguments: list[str], folder: str, variables: dict[str, str], out: str
) -> None:
    """In a process of its own."""
    os.dup2(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    steps = ForkedHost()  # as long as there is one thread
    importlib.import_module(attempts.__name__).Host = lambda: steps
    channel.send({"status": _status(arguments)})
    steps.close()


def _status(arguments: list[str]) -> int:
    try:
        return run(arguments)
    except SystemExit as end:  # wrong use
        return int(end.code or 0)


@dataclass(frozen=True)
class Child:
    pid: int

    def kill(self) -> None:
        os.kill(self.pid, 9)

    def wait(self) -> None:
        os.waitpid(self.pid, 0)


class ForkedHost(Host):
    """The host of steps of a process that has the imports already."""

    def _begun(self, theirs: socket.socket) -> Any:
        if pid := os.fork():
            return Child(pid)
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1):
            os.dup2(nothing, descriptor)
        self._control.close()
        serve(Channel(theirs))
        os._exit(0)
