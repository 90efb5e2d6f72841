"""A gateway of a test as its deployer sees it, and clients that ask it all the time."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from penstock.registry.loading import model_digest
from penstock.serving import endpoint
from penstock.serving.prediction_log.reading import Selection, predictions, records
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.buckets import BUCKETS, reallocated
from penstock.serving.routing.table import Arm, RoutingTable, Unit
from penstock.settings import ServingSettings

NAME = "staging"
ROW = {"visits": 3.5, "age": 41, "plan": "basic"}
ROWS = {"rows": [ROW]}


@dataclass
class Answer:
    status: int
    headers: Any
    raw: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.raw)


def ask(url: str, document: Any = None, /, **headers: str) -> Answer:
    """GET without a document, else POST. Underscores in names of headers are hyphens."""
    body = document if document is None or isinstance(document, bytes) else json.dumps(document)
    raw = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, raw, named)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.headers, answer.read())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def until(condition: Callable[[], Any], seconds: float = 120.0, pause: float = 0.01) -> Any:
    """Polls; the value of the condition once it holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(pause)
    raise AssertionError(f"not within {seconds} s")


def alive(pid: int) -> bool:
    """A zombie is dead: only its parent's interest is left of it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def signal_all(pids: Sequence[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.kill(pid, number)


@dataclass
class Gateway:
    """One endpoint's gateway on this machine."""

    folder: Path
    settings: ServingSettings = field(
        default_factory=lambda: ServingSettings(port=0, max_rows=100, max_body_mb=0.1)
    )
    state: str = ""  # URL; empty: SQLite in the folder

    @property
    def place(self) -> endpoint.Place:
        return endpoint.Place(NAME, self.folder, self.state)

    @property
    def url(self) -> str:
        return endpoint.status(self.folder).url

    @property
    def pid(self) -> int:
        return endpoint.status(self.folder).pid

    def spec(self, name: str, model: Path, **changes: Any) -> ReleaseSpec:
        """A release; `r7` is version 7 of its model."""
        given = {
            "id": name,
            "endpoint": NAME,
            "model": f"churn@{name[1:]}",
            "digest": model_digest(model),
            "path": str(model),
            "replicas": 1,
        }
        return ReleaseSpec(**(given | changes))

    def serve(self, table: RoutingTable) -> None:
        endpoint.serve_table(self.place, table, self.settings)

    def publish(self, table: RoutingTable, **lease: Any) -> int:
        return endpoint.publish(self.place, table, **lease)

    def stop(self) -> None:
        endpoint.stop(self.folder)

    def ask(self, path: str, document: Any = None, /, **headers: str) -> Answer:
        return ask(self.url + path, document, **headers)

    def routes(self) -> Any:
        return self.ask("/routes").body

    def pids(self, release: str) -> list[int]:
        return list(self.routes()["releases"][release]["pids"])

    def logged(self, **selection: Any) -> list[dict[str, Any]]:
        return records(predictions([self.folder / "predictions"], Selection(**selection)))

    def rows_of(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """The log's rows of some predictions, once every one of them has some."""
        wanted = set(ids)

        def found() -> list[dict[str, Any]]:
            rows = [row for row in self.logged() if row["prediction_id"] in wanted]
            return rows if {row["prediction_id"] for row in rows} == wanted else []

        return list(until(found))

    def samples(self) -> dict[tuple[str, ...], float]:
        """`/metrics`, by name, and release, arm and status or error where they are labels."""
        from prometheus_client.parser import text_string_to_metric_families

        found = {}
        for family in text_string_to_metric_families(self.ask("/metrics").raw.decode()):
            for one in family.samples:
                names = ("release", "arm", "status", "error", "le")
                labels = [one.labels[name] for name in names if name in one.labels]
                found[one.name, *labels] = one.value
        return found


def table(
    champion: ReleaseSpec, *others: ReleaseSpec, weights: dict[str, int] | None = None, **more: Any
) -> RoutingTable:
    """The first of the others is the arm `canary`, the second `b`; weights are in buckets."""
    arms = ("canary", "b")[: len(weights or {})]
    held = reallocated({}, weights or {})
    chosen = zip(arms, others, strict=False)
    return RoutingTable(
        endpoint=NAME,
        champion=champion.id,
        releases={spec.id: spec for spec in (champion, *others)},
        arms=tuple(Arm(name=arm, release=spec.id, buckets=held[arm]) for arm, spec in chosen),
        unit=more.pop("unit", Unit(header="X-User")),
        **more,
    )


HALF = {"canary": BUCKETS // 2}


class Seen(NamedTuple):
    """One answer of a load."""

    unit: str
    status: int  # 0: there was none
    release: str
    prediction_id: str
    seconds: float
    error: str = ""
    began: float = 0.0  # seconds since 1970


class Load:
    """Asks for users one after the other, on some connections, until it is stopped."""

    def __init__(
        self, url: str, document: Any, units: Sequence[str], connections: int, pause: float
    ) -> None:
        self.seen: list[Seen] = []
        self._url, self._units, self._connections, self._pause = url, units, connections, pause
        self._body = json.dumps(document).encode()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            turns = [self._ask_all(session, n) for n in range(self._connections)]
            await asyncio.gather(*turns)

    async def _ask_all(self, session: aiohttp.ClientSession, turn: int) -> None:
        while not self._ended.is_set():
            unit = self._units[turn % len(self._units)]
            turn += self._connections
            self.seen.append(await self._ask(session, unit))
            if self._pause or not self.seen[-1].status:
                await asyncio.sleep(self._pause or 0.01)

    async def _ask(self, session: aiohttp.ClientSession, unit: str) -> Seen:
        at, begun = time.time(), time.perf_counter()
        try:
            async with session.post(self._url, data=self._body, headers={"X-User": unit}) as said:
                document = await said.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Seen(unit, 0, "", "", time.perf_counter() - begun, type(error).__name__, at)
        took = time.perf_counter() - begun
        release, given = document.get("release", ""), document.get("prediction_id", "")
        error = str(document.get("error", ""))
        return Seen(unit, said.status, release, given, took, error, at)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def failures(self) -> list[Seen]:
        return [one for one in self.seen if one.status != 200]

    def of(self, units: Sequence[str]) -> list[Seen]:
        chosen = set(units)
        return [one for one in self.seen if one.unit in chosen]

    def since(self, moment: datetime) -> list[Seen]:
        """Answers to what was asked from then on."""
        return [one for one in self.seen if one.began >= moment.timestamp()]

    def wait_for(self, answers: int) -> None:
        """Returns when so many more have come."""
        wanted = len(self.seen) + answers
        until(lambda: len(self.seen) >= wanted)


@contextmanager
def load(
    url: str,
    units: Sequence[str],
    document: Any = ROWS,
    connections: int = 4,
    pause: float = 0.0,
) -> Iterator[Load]:
    """Goes on as long as the block; at its end every request has been answered or has failed.

    `pause`: between an answer and the next request of a connection, in s.
    """
    it = Load(f"{url}/predict", document, units, connections, pause)
    it.start()
    try:
        it.wait_for(20)
        yield it
    finally:
        it.stop()


# A gateway in the foreground, with some of its module's constants changed: {module: {name: value}}.
FOREGROUND = """
import importlib, json, logging, sys
from penstock.serving import endpoint
from penstock.serving.config import GatewayConfig

logging.basicConfig(level=logging.INFO)
for module, constants in json.loads(sys.argv[1]).items():
    for name, value in constants.items():
        setattr(importlib.import_module(module), name, value)
config = GatewayConfig.model_validate_json(sys.stdin.buffer.read())
place = endpoint.Place(config.endpoint, config.folder, config.state)
endpoint.serve(place, config.settings)
"""


@contextmanager
def in_foreground(
    gateway: Gateway, log: Path | None = None, **constants: dict[str, Any]
) -> Iterator[subprocess.Popen[bytes]]:
    """`penstock serve` in another process. Dots in the names of modules are two underscores."""
    changed = {module.replace("__", "."): values for module, values in constants.items()}
    with (log or gateway.folder / "foreground.log").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", FOREGROUND, json.dumps(changed)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
    assert process.stdin is not None
    with process.stdin as given:
        given.write(json.dumps(gateway.place.config(gateway.settings).plain()).encode())
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=120)
        finally:
            process.kill()
