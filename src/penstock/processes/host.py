"""A host process imports heavy modules ahead of time and forks every job from there.

A job gets a fresh process, yet no job pays for an import that another already made; while one job
runs on one core, the host imports what the next will need on another. The host is single-threaded
and only ever imports, so that forking it is safe. On macOS, whose system libraries do not survive
a fork, nothing is imported ahead.

When the owner dies, the host's socket closes and the host ends; when the host's owner or the
job's channel is gone, the job ends: nothing is left running behind a killed run.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from penstock.processes.channel import Channel

FORK_AFTER_IMPORT_IS_SAFE = sys.platform != "darwin"
MAIN = "from penstock.processes.host import main; main()"


class Job:
    """One forked process. `channel` carries what the job's function sends and is sent."""

    def __init__(self, channel: Channel, host: Host) -> None:
        self.channel = channel
        self._host = host
        started = channel.receive() or {}
        self.pid = int(started.get("pid", 0))

    def kill(self) -> None:
        """Ends the job and everything that it started."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.channel.close()


class Host:
    """Owned by one process; its methods may be called from any thread."""

    def __init__(self) -> None:
        ours, theirs = Channel.pair()
        self._control = ours
        self._ordering = threading.Lock()
        self._process = self._begun(theirs)
        theirs.close()

    def _begun(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def warm(self, *modules: str) -> None:
        """Asks the host to import modules, and returns at once."""
        if modules and FORK_AFTER_IMPORT_IS_SAFE:
            with contextlib.suppress(OSError), self._ordering:
                self._control.send({"warm": list(modules)})

    def start(
        self, function: str, arguments: dict[str, Any], log: Path, modules: Sequence[str] = ()
    ) -> Job:
        """Runs `module:name(channel, **arguments)` in a new process whose output goes to `log`.

        Returns when the process exists: after the import under way and those of `modules`, and
        before any other that was asked for.
        """
        ours, theirs = Channel.pair()
        order = {
            "start": function,
            "arguments": arguments,
            "log": str(log),
            "path": sys.path,
            "modules": list(modules) if FORK_AFTER_IMPORT_IS_SAFE else [],
        }
        with self._ordering:
            self._control.send({"job": True})
            self._control.send(order, pass_on=theirs)
        theirs.close()
        return Job(ours, self)

    def close(self) -> None:
        """Ends the host, even amid an import; jobs end by themselves when their channels close."""
        self._control.close()
        self._process.kill()
        self._process.wait()


def serve(control: Channel) -> None:
    """The host's whole life: import what is asked, fork when asked, end when the owner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are reaped by the kernel
    waiting: deque[str] = deque()
    while True:
        if waiting and not control.has_message():
            import_if_possible(waiting.popleft())
            continue
        message = control.receive()
        if message is None:
            return
        waiting.extend(message.get("warm", ()))
        if "job" in message and (order := control.receive_with_socket()) is not None:
            for module in order[0]["modules"]:
                import_if_possible(module)
            _fork(control, *order)


def import_if_possible(module: str) -> None:
    """Ahead of who needs it: a module that fails will fail in its job, aloud."""
    with contextlib.suppress(Exception):
        importlib.import_module(module)


def _fork(control: Channel, order: dict[str, Any], end: socket.socket) -> None:
    # Modules stay for good. Left to the collector, its first pass would copy every shared page.
    gc.freeze()
    if os.fork() == 0:
        control.close()
        _run(order, end)
    end.close()


def _run(order: dict[str, Any], end: socket.socket) -> NoReturn:
    """In the job's process: never returns."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _redirect(order["log"])
        sys.path[:] = order["path"]
        channel = Channel(end)
        channel.send({"pid": os.getpid()})
        module, _, name = order["start"].partition(":")
        getattr(importlib.import_module(module), name)(channel, **order["arguments"])
        status = 0
    except BaseException:  # noqa: BLE001 -- the last frame of the process
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        # Not sys.exit: at-exit handlers here are the host's, not the job's.
        os._exit(status)


def _redirect(log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def end_with(channel: Channel) -> None:
    """For jobs that receive nothing: ends this process group when the owner is gone."""

    def watch() -> None:
        channel.receive()
        os.killpg(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="owner-watch", daemon=True).start()


def main() -> None:
    """The entry of the host's process: its one argument is the socket of its owner."""
    serve(Channel(socket.socket(fileno=int(sys.argv[1]))))
