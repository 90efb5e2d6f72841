"""The servers of `make bench-serving`, one at a time: started, checked, measured, ended."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from processes import end, ended, free_port, members, proportional_bytes
from serving_load import WRK, Load, Questions, load
from serving_peers import HERE, Model, Peer, named_rows

USUAL = 32  # connections
START = 240.0  # seconds that a server may take to answer
TOLERANCE = 1e-9
STORES = ("lmdb", "redis")


@dataclass(frozen=True)
class Span:
    """How long all takes."""

    rounds: int
    seconds: float  # of one measurement
    trial: float  # of a variant's
    warm: float = 1.0


@dataclass
class Seen:
    """What was measured of a server, over all rounds."""

    loads: dict[int, list[Load]] = field(default_factory=dict)
    bytes: list[int] = field(default_factory=list)

    def valid(self, connections: int) -> list[Load]:
        return [one for one in self.loads.get(connections, ()) if one.valid]

    def median(self, connections: int, what: Callable[[Load], float]) -> float:
        return statistics.median(map(what, self.valid(connections)))


@dataclass(frozen=True)
class Running:
    """A server that has given the right answer."""

    url: str
    pid: int
    questions: Questions


class Bench:
    """The model, the servers, and what was seen of them."""

    def __init__(self, desk: Path, span: Span, redis_port: int | None) -> None:
        self.span = span
        self._desk = desk
        ours("prepare", desk, *([] if redis_port is None else [str(redis_port)]))
        self._prepared = json.loads((desk / "prepared.json").read_bytes())
        self._model = Model(desk / "model" / "model.lgb", desk / "model", desk)
        self.stores: list[str] = self._prepared["stores"]
        self.seen: dict[str, Seen] = {}
        self.notes: list[str] = []  # of what could not be measured

    @contextlib.contextmanager
    def peer(self, peer: Peer) -> Iterator[Running]:
        """Raises `RuntimeError` with the reason when it does not answer as it should."""
        port = free_port()
        log = self._desk / f"{peer.name}.log"
        questions = self._questions(peer.document, {}, peer.label)
        process = peer.start(self._model, port, log)
        running = Running(f"http://127.0.0.1:{port}{peer.path}", process.pid, questions)
        found = members(process.pid)
        try:
            deadline = time.monotonic() + START
            while not self._answers(running, peer.answer):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"it did not start: {last_lines(log)}")
                time.sleep(0.1)
            yield running
        finally:
            found |= members(process.pid)
            end(found, process.pid)
            process.wait()

    @contextlib.contextmanager
    def gateway(self, kind: str) -> Iterator[Running]:
        """Gateway, host, and one model process for each release."""
        headers = {"Authorization": f"Bearer {self._prepared['token']}"} if WRK else {}
        said = json.loads(ours("deploy", self._desk, kind, *([] if WRK else ["--open"])))
        entity = iter(range(len(self._prepared["rows"])))
        by_key = kind in STORES
        document = (lambda _: {"entities": {"user_id": [next(entity)]}}) if by_key else named_rows
        questions = self._questions(document, headers, kind)
        running = Running(f"{said['url']}/predict", said["pid"], questions)
        found = members(running.pid)
        try:
            if not self._answers(running, lambda answer: answer["predictions"][0]):
                raise RuntimeError("the gateway did not answer")
            yield running
        finally:
            ours("stop", self._desk, kind)
            assert ended(found), "the gateway left processes behind"

    @contextlib.contextmanager
    def stopped(self, running: Running, release: str) -> Iterator[None]:
        """The model processes of a release stand still, and those started instead of them too."""
        headers = dict(running.questions.headers)
        ask = urllib.request.Request(running.url.replace("/predict", "/routes"), headers=headers)
        over = threading.Event()

        def stop() -> None:
            while not over.wait(0.1):
                with urllib.request.urlopen(ask, timeout=10) as reply:
                    pids = json.loads(reply.read())["releases"][release]["pids"]
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)

        stopping = threading.Thread(target=stop)
        stopping.start()
        try:
            yield
        finally:
            over.set()
            stopping.join()

    def measure(self, label: str, running: Running, connections: Sequence[int]) -> None:
        load(running.url, running.questions, USUAL, self.span.warm)
        seen = self.seen.setdefault(label, Seen())
        for count in connections:
            one = load(running.url, running.questions, count, self.span.seconds)
            seen.loads.setdefault(count, []).append(one)
            print(line_of(label, one), flush=True)
        seen.bytes.append(proportional_bytes(members(running.pid)))

    def trial(self, peer: Peer) -> Load | None:
        """A short measurement, to choose among variants; it tells their memory as well."""
        try:
            with self.peer(peer) as running:
                load(running.url, running.questions, USUAL, self.span.warm)
                one = load(running.url, running.questions, USUAL, self.span.trial)
                held = proportional_bytes(members(running.pid))
        except RuntimeError as error:
            self.note(f"{peer.label}: {error}")
            return None
        print(f"trial: {line_of(peer.label, one)}  {held / 1e6:6.0f} MB", flush=True)
        self.seen.setdefault(peer.label, Seen()).bytes.append(held)
        return one if one.valid else None

    def miss(self, label: str, connections: Sequence[int], reason: str) -> None:
        """A round without a server: its place stays empty, so that rounds can be compared."""
        self.note(f"{label}: {reason}")
        seen = self.seen.setdefault(label, Seen())
        for count in connections:
            void = Load(count, 0.0, float("inf"), float("inf"), 1)
            seen.loads.setdefault(count, []).append(void)

    def note(self, text: str) -> None:
        print(f"NOT MEASURED: {text}", flush=True)
        self.notes.append(text)

    def _questions(
        self, document: Callable[[list[float]], Any], headers: dict[str, str], label: str
    ) -> Questions:
        documents = [document(row) for row in self._prepared["rows"]]
        script = self._desk / f"{label.replace(' ', '-').replace(',', '')}.lua"
        return Questions.of(documents, headers, script)

    def _answers(self, running: Running, answer: Callable[[Any], float]) -> bool:
        """Raises `RuntimeError` for a prediction that is not the model's."""
        for body, expected in list(
            zip(running.questions.bodies, self._prepared["expected"], strict=True)
        )[:3]:
            request = urllib.request.Request(running.url, body, dict(running.questions.headers))
            try:
                with urllib.request.urlopen(request, timeout=10) as reply:
                    said = answer(json.loads(reply.read()))
            except (OSError, ValueError, LookupError, TypeError):
                return False
            if abs(said - expected) > TOLERANCE:
                raise RuntimeError(f"it predicted {said} where the model says {expected}")
        return True


def line_of(label: str, one: Load) -> str:
    errors = f"  VOID: {one.errors} errors" if not one.valid else ""
    return (
        f"{label:<30} {one.connections:3d} connections {one.requests_s:9.0f}/s  "
        f"p50 {one.p50_ms:8.2f} ms  p99 {one.p99_ms:8.2f} ms{errors}"
    )


def ours(what: str, desk: Path, *rest: str) -> str:
    return run_python("serving_ours.py", what, str(desk), *rest)


def run_python(script: str, *arguments: str) -> str:
    """What a script of this folder prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"{script} {arguments}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def last_lines(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return " | ".join(line for line in lines[-4:] if line.strip()) or "it said nothing"
