"""`make bench-serving`: the gateway beside six model servers and a bare application, by turns.

    benchmarks/serving.py [--quick] [--only mlserver,ray]

All serve the same LightGBM model to the same client with the same rows. First each variant of each
server is measured once, to find its best; then come rounds, in which each server is started,
measured and ended in turn, so that only one runs at a time. A measurement with an error is void.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from processes import redis_server
from serving_bench import STORES, USUAL, Bench, Seen, Span, run_python
from serving_load import WRK, Load
from serving_peers import PEERS, VENVS, Peer, bare, install
from side_by_side import OUT, Row, write

CONNECTIONS = (8, 32, 64)
OURS, BARE = "penstock", bare(1)
HUNG = f"{OURS}, hung shadow"
KINDS = {  # the least share of the plain path's rate, and what it is
    "shadow": (0.5, "with a shadow that gets every request"),
    "canary": (0.85, "with a 10 % canary, a third process"),
    "ack": (0.5, "answers wait until their row is on the disk"),
    "lmdb": (0.8, "/predict by key, 12 features from LMDB"),
    "redis": (0.5, "/predict by key, 12 features from Redis"),
}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--quick", action="store_true", help="one round, of a second each")
    parser.add_argument("--only", default="", help="names of servers, with commas between")
    given = parser.parse_args(arguments)
    span = Span(1, 1.0, 1.0) if given.quick else Span(3, 4.0, 2.0)
    only = given.only.split(",") if given.only else sorted({peer.name for peer in PEERS})
    if WRK is None:
        print("wrk is missing: the client will be what limits the fast ones, and brings no key")
    VENVS.mkdir(parents=True, exist_ok=True)
    failures = {name: install(name) for name in ("bare", *only)}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, redis_server() as port:
        bench = Bench(Path(folder), span, port)
        if not port:
            bench.note("redis-server is not installed")
        for name, failure in failures.items():
            if failure:
                bench.note(f"{name} cannot be installed: {failure}")
        names = [name for name in only if not failures[name]]
        rounds(bench, chosen(bench, names))
        report(bench, names)


def chosen(bench: Bench, names: Sequence[str]) -> list[Peer]:
    """The best variant of each server, by its rate."""
    found = []
    for name in names:
        tried = [(bench.trial(peer), peer) for peer in PEERS if peer.name == name]
        valid = [(one.requests_s, peer) for one, peer in tried if one is not None]
        if valid:
            found.append(max(valid, key=lambda pair: pair[0])[1])
        else:
            bench.note(f"{name}: no variant of it answered without errors")
    return found


def rounds(bench: Bench, peers: Sequence[Peer]) -> None:
    """Each begins with another server."""
    turns: list[Callable[[], None]] = [partial(plain, bench)]
    turns += [partial(of_peer, bench, peer, (1, *CONNECTIONS)) for peer in (BARE, bare(2))]
    turns += [partial(of_peer, bench, peer, CONNECTIONS) for peer in peers]
    turns += [partial(of_kind, bench, kind) for kind in kinds(bench)]
    turns.append(partial(of_hung_shadow, bench))
    for number in range(bench.span.rounds):
        print(f"round {number + 1} of {bench.span.rounds}", flush=True)
        first = number * len(turns) // bench.span.rounds
        for turn in turns[first:] + turns[:first]:
            turn()


def kinds(bench: Bench) -> list[str]:
    return [kind for kind in KINDS if kind not in STORES or kind in bench.stores]


def plain(bench: Bench) -> None:
    with bench.gateway("plain") as running:
        bench.measure(OURS, running, (1, *CONNECTIONS))


def of_kind(bench: Bench, kind: str) -> None:
    with bench.gateway(kind) as running:
        bench.measure(f"{OURS}, {kind}", running, (USUAL,))


def of_hung_shadow(bench: Bench) -> None:
    with bench.gateway("hung") as running, bench.stopped(running, "r2"):
        bench.measure(HUNG, running, (USUAL,))


def of_peer(bench: Bench, peer: Peer, connections: Sequence[int]) -> None:
    try:
        with bench.peer(peer) as running:
            bench.measure(peer.label, running, connections)
    except RuntimeError as error:
        bench.miss(peer.label, connections, str(error))


# The table.


def report(bench: Bench, names: Sequence[str]) -> None:
    rows: list[Row] = []
    for count in CONNECTIONS:
        rows += against_peers(bench, names, count)
    rows += against_bare(bench)
    for kind in kinds(bench):
        least, what = KINDS[kind]
        works = f"{what}: requests/s, plain / this, {USUAL} connections"
        rows += compared(works, bench, f"{OURS}, {kind}", OURS, USUAL, rate, 1 / least, up=True)
    works = f"with a shadow that hangs: p99 in ms, this / plain, {USUAL} connections"
    rows += compared(works, bench, HUNG, OURS, USUAL, p99, 1.25)
    rows += memory(bench, names)
    costs = json.loads(run_python("serving_costs.py"))
    for part, microseconds in costs.items():
        rows.append(
            made(f"{part} of one request, µs / 5 µs", microseconds, 5.0, microseconds / 5, 1.0)
        )
    for text in bench.notes:
        print(f"NOT MEASURED: {text}")
    write("serving", rows)
    details = {label: asdict(seen) for label, seen in bench.seen.items()}
    document = {"servers": details, "not measured": bench.notes}
    (OUT / "serving_servers.json").write_text(json.dumps(document, indent=1) + "\n")


def against_peers(bench: Bench, names: Sequence[str], count: int) -> list[Row]:
    labels = [label for label in bench.seen if label.partition(",")[0] in names]
    labels = [label for label in labels if bench.seen[label].valid(count)]
    if not labels:
        return []
    best = max(labels, key=lambda label: bench.seen[label].median(count, rate))
    told = f"{count} connections, {best}"
    return [
        *compared(
            f"requests/s, peer / ours, {told}", bench, OURS, best, count, rate, 1 / 8, up=True
        ),
        *compared(f"p99 in ms, ours / peer, {told}", bench, OURS, best, count, p99, 1 / 4),
    ]


def against_bare(bench: Bench) -> list[Row]:
    told, twice = f"{USUAL} connections, bare application", bare(2).label
    return [
        *compared(
            f"requests/s, peer / ours, {told}", bench, OURS, BARE.label, USUAL, rate, 1.0, up=True
        ),
        *compared(
            f"requests/s, peer / ours, {USUAL} connections, {twice}",
            bench,
            OURS,
            twice,
            USUAL,
            rate,
            1.0,
            up=True,
        ),
        *compared(
            "p50 in ms, ours / peer, 1 connection, bare application",
            bench,
            OURS,
            BARE.label,
            1,
            p50,
            1.5,
        ),
    ]


def compared(
    work: str,
    bench: Bench,
    ours_label: str,
    peer_label: str,
    count: int,
    what: Callable[[Load], float],
    aim: float,
    *,
    up: bool = False,
) -> list[Row]:
    """The median of the rounds' ratios. With `up` more is better, and the ratio is peer / ours."""
    sides = [
        bench.seen.get(label, Seen()).loads.get(count, []) for label in (ours_label, peer_label)
    ]
    pairs = [(a, b) for a, b in zip(*sides, strict=False) if a.valid and b.valid]
    if not pairs:
        bench.note(f"{work}: no round without errors")
        return [made(work, 0.0, 0.0, float("inf"), aim)]
    ours_side, peer_side = (statistics.median(what(pair[n]) for pair in pairs) for n in (0, 1))
    ratios = [what(b) / what(a) if up else what(a) / what(b) for a, b in pairs]
    return [made(work, ours_side, peer_side, statistics.median(ratios), aim)]


def memory(bench: Bench, names: Sequence[str]) -> list[Row]:
    """PSS after load, of all processes, against the leanest of all variants."""
    held = {
        label: statistics.median(seen.bytes) / 1e6
        for label, seen in bench.seen.items()
        if seen.bytes and label.partition(",")[0] in names
    }
    if not held:
        return []
    least = min(held, key=lambda label: held[label])
    mine = statistics.median(bench.seen[OURS].bytes) / 1e6
    return [
        made(
            f"memory in MB, ours / the leanest, {least}", mine, held[least], mine / held[least], 1.0
        )
    ]


def made(work: str, mine: float, peer: float, ratio: float, aim: float) -> Row:
    row = Row(work, round(mine, 4), round(peer, 4), round(ratio, 4), round(aim, 4), ratio <= aim)
    verdict = "holds" if row.holds else "MISSED"
    print(
        f"{work:<80} ours {mine:9.2f}  peer {peer:9.2f}  ratio {ratio:7.4f}  "
        f"aim ≤ {aim:.4g}  {verdict}",
        flush=True,
    )
    return row


def rate(one: Load) -> float:
    return one.requests_s


def p50(one: Load) -> float:
    return one.p50_ms


def p99(one: Load) -> float:
    return one.p99_ms


if __name__ == "__main__":
    main(sys.argv[1:])
