"""Commands in processes that need import nothing: they are forked where everything is imported.

They do what they do when they are typed, some seconds of processor time earlier. What is told of
the imports themselves is seen where commands are started as users start them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import socket
import socketserver
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from penstock.cli.main import run
from penstock.orchestrators import attempts
from penstock.orchestrators.preload import NEEDED
from penstock.processes.channel import Channel
from penstock.processes.host import Host, Job, serve

KILLED = 137
# Beside what steps need, what the projects of tests and the commands import.
MODULES = (
    *NEEDED,
    "sklearn.linear_model",
    "aiohttp",
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
        job = _started(arguments, folder, variables, out, err)
        try:
            message = job.channel.receive()
        finally:
            job.kill()
            job.close()
        said = err.read_text()
        assert message is not None, f"the command died: {said}"
        return Told(message["status"], out.read_text() if out.exists() else "", said)


# What stands for `penstock` where others look for it: signals go on to the command, and it ends
# with its status.
STANDS_FOR_PENSTOCK = """\
#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as beyond:
    beyond.connect({address!r})
    asked = dict(arguments=sys.argv[1:], folder=os.getcwd(), variables=dict(os.environ))
    beyond.sendall(json.dumps(asked | dict(by=os.getpid())).encode() + b"\\n")
    told = beyond.makefile()
    pid = int(told.readline())
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, lambda number, _: os.kill(pid, number))
    status = int(told.readline())
sys.exit(status)
"""


@contextlib.contextmanager
def warm_bin(folder: Path) -> Iterator[Path]:
    """A folder of programs whose `penstock` is a warm one; `python` is that of the tests."""
    address = str(folder / "beyond")
    scripts = {
        "penstock": STANDS_FOR_PENSTOCK.format(python=sys.executable, address=address),
        "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    with socketserver.ThreadingUnixStreamServer(address, _Asked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder
        server.shutdown()


class _Asked(socketserver.StreamRequestHandler):
    """One command: its process id, then, at its end, its status. It ends with who asks."""

    def handle(self) -> None:
        asked = json.loads(self.rfile.readline())
        streams = (Path(f"/proc/{asked['by']}/fd/{number}") for number in (1, 2))
        job = _started(asked["arguments"], asked["folder"], asked["variables"], *streams)
        self.wfile.write(f"{job.pid}\n".encode())
        select.select([job.channel, self.connection], [], [])
        message = job.channel.receive() if job.channel.has_message() else None
        job.kill()
        job.close()
        with contextlib.suppress(OSError):  # who asked is gone
            self.wfile.write(f"{message['status'] if message else KILLED}\n".encode())


def _started(
    arguments: Sequence[str], folder: Path, variables: Mapping[str, str], out: Path, err: Path
) -> Job:
    given = {"arguments": list(arguments), "folder": str(folder), "variables": dict(variables)}
    streams = {"out": str(out), "err": str(err)}
    return _host().start("warm_commands:_type", {**given, **streams}, Path(os.devnull), MODULES)


@functools.cache
def _host() -> Host:
    """It ends with the process whose it is."""
    return Host()


def _type(
    channel: Channel,
    arguments: list[str],
    folder: str,
    variables: dict[str, str],
    out: str,
    err: str,
) -> None:
    """In a process of its own."""
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(folder)
    steps = ForkedHost()  # as long as there is one thread
    vars(attempts)["Host"] = lambda: steps
    status = _status(arguments)
    sys.stdout.flush()
    steps.close()
    channel.send({"status": status})


def _status(arguments: list[str]) -> int:
    try:
        return run(arguments)
    except SystemExit as end:  # wrong use
        return int(end.code or 0)


@dataclass
class Child:
    """Ended once, though the run and the command that it belongs to both do."""

    pid: int

    def kill(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> None:
        if self.pid:
            os.waitpid(self.pid, 0)
        self.pid = 0


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
