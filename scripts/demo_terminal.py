"""Where the demo is played: commands are typed so that people see them, and end with it."""

from __future__ import annotations

import difflib
import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import PenstockError

BIN = Path(sys.executable).parent
TERMINAL = sys.stdout.isatty()
BOLD, DIM, RED, GREEN, CYAN = "1", "2", "31", "32", "36"
WIDTH = 88
GOES_ON = "`make demo` goes on from here"


class Stopped(PenstockError):
    """The demo cannot go on by itself."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint=GOES_ON)


class Typist:
    """Types commands in a project's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def penstock(self, *arguments: str, may_fail: bool = False) -> None:
        self.type("penstock", *arguments, may_fail=may_fail)

    def type(self, *command: str, where: Path | None = None, may_fail: bool = False) -> None:
        """Prints a command, and runs it. Raises `Stopped` where it fails."""
        status = self.start(*command, where=where).wait()
        if status and not may_fail:
            raise Stopped(f"`{shlex.join(command)}` ended with {status}")

    def start(
        self, *command: str, where: Path | None = None, log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """In the project's folder; with a log in the background, out of reach of Ctrl-C."""
        behind = f" > {log.relative_to(self.folder)} 2>&1 &" if log else ""
        print(f"\n{paint('$', DIM)} {paint(shlex.join(command) + behind, BOLD)}", flush=True)
        ours = BIN / command[0]
        run = [str(ours) if ours.exists() else command[0], *command[1:]]
        where = where or self.folder
        if log is None:
            return subprocess.Popen(run, cwd=where)
        with log.open("wb") as out:
            return subprocess.Popen(
                run, cwd=where, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip

    @contextmanager
    def beside(self, name: str, *command: str) -> Iterator[Path]:
        """Runs a command in the background meanwhile; gives its log."""
        log = self.folder / ".penstock" / f"{name}.log"
        self.end_beside(name)  # of a demo that was killed
        process = self.start(*command, log=log)
        log.with_suffix(".pid").write_text(str(process.pid))
        try:
            yield log
        finally:
            process.terminate()
            process.wait()
            log.with_suffix(".pid").unlink(missing_ok=True)

    def end_beside(self, name: str) -> None:
        """Ends what an earlier demo left behind, if it is that still."""
        noted = self.folder / ".penstock" / f"{name}.pid"
        if noted.is_file():
            pid = noted.read_text()
            asked = ["ps", "-p", pid, "-o", "command="]
            found = subprocess.run(asked, capture_output=True, text=True).stdout
            if str(BIN) in found and name in found:
                os.kill(int(pid), signal.SIGTERM)
            noted.unlink()


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def show_change(file: str, before: str, after: str) -> None:
    """What was taken out of a file, and what was put in."""
    print(f"\n  {paint(file, DIM)}")
    changed = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    for line in list(changed)[2:]:
        if not line.startswith("@@") and line.strip("+-"):
            print(f"  {paint(line, GREEN if line.startswith('+') else RED)}")


def heading(number: int, text: str) -> None:
    title = f"━━ {f'{number}  ' if number else ''}{text} "
    print(f"\n{paint(title.ljust(WIDTH, '━'), BOLD, CYAN)}", flush=True)


def say(*lines: str) -> None:
    print()
    for line in lines:
        print(f"  {line}", flush=True)


def said_before(text: str) -> None:
    say(paint(f"= {text}", DIM))


def paint(text: str, *styles: str) -> str:
    return f"\033[{';'.join(styles)}m{text}\033[0m" if TERMINAL else text
