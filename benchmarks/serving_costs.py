"""What the gateway's own parts cost a request, each alone, in one process. Prints JSON, in µs."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy

from penstock.serving.observations.counts import counted
from penstock.serving.prediction_log.rows import Row
from penstock.serving.prediction_log.writer import LogWriter
from penstock.serving.release import ReleaseSpec
from penstock.serving.routing.buckets import reallocated
from penstock.serving.routing.routes import Router
from penstock.serving.routing.table import Arm, Mirror, RoutingTable

WIDTH = 12
NAMES = tuple(f"x{place}" for place in range(WIDTH))
TURNS = 7
ROWS = 2_000  # about what a commit of the log brings under full load


def main() -> None:
    found = {"routing": routing(), "log": log()}
    found |= {"counting": counting(()), "counting features": counting(NAMES)}
    print(json.dumps(found))


def routing() -> float:
    """With a canary, a holdback and a shadow: the longest way through a table."""
    spec = ReleaseSpec(id="r1", endpoint="bench", model="m@1", digest="0", path="/", replicas=1)
    canary = Arm(name="canary", release="r2", buckets=reallocated({}, {"canary": 1_000})["canary"])
    table = RoutingTable(
        endpoint="bench",
        champion="r1",
        releases={name: spec.model_copy(update={"id": name}) for name in ("r1", "r2", "r3")},
        arms=(canary,),
        mirror=Mirror(release="r3", buckets=5_000),
        holdback=500,
    )
    router = Router(table)
    units = [f"customer-{number}" for number in range(20_000)]
    now = time.time()

    def turn() -> None:
        for unit in units:
            router.route(unit, now)

    return median(turn, len(units))


def counting(features: Sequence[str]) -> float:
    """Requests, statuses, latencies, predictions; and those features that have reference bins."""
    edges = numpy.linspace(-2, 2, 9).tolist()
    references = {"r1": dict.fromkeys(features, edges)} if features else {}
    rows = made()
    return median(lambda: counted(rows, references, {"r1": NAMES}), len(rows))


def log() -> float:
    """What the event loop pays, while the log's thread writes what came before."""
    rows, taken = made(), []
    with tempfile.TemporaryDirectory() as folder:
        writer = LogWriter(Path(folder), "bench")
        writer.describe("r1", NAMES, "m@1", "0")
        for _ in range(5 * TURNS):
            begun = time.perf_counter()
            for row in rows:
                writer.append(row)
            taken.append((time.perf_counter() - begun) / len(rows))
            time.sleep(0.02)  # 100,000 rows a second, several times what a gateway sees
        assert writer.close() == 0, "rows of the log were lost"
    return round(statistics.median(taken) * 1e6, 3)


def made() -> list[Row]:
    dice = numpy.random.default_rng(1)
    return [
        Row(
            time.time_ns(),
            f"p{number:08x}",
            "r1",
            "champion",
            f"{number:016x}",
            rows=1,
            matrix=dice.normal(size=WIDTH).tobytes(),
            request=b"x" * 200,
            outputs=dice.random(1).tobytes(),
            parse_us=20,
            model_us=100,
            total_us=int(dice.integers(300, 3_000)),
            status=200,
        )
        for number in range(ROWS)
    ]


def median(turn: Callable[[], object], times: int) -> float:
    """Microseconds of one of the `times` in a turn."""
    taken = []
    for _ in range(TURNS):
        begun = time.perf_counter()
        turn()
        taken.append((time.perf_counter() - begun) / times)
    return round(statistics.median(taken) * 1e6, 3)


if __name__ == "__main__":
    main()
