"""The load generator: its bounds, its arithmetic, and what it says of servers of every kind."""

from __future__ import annotations

import http.server
import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import PenstockError, ServingError, UsageError
from penstock.gates.load import hdr
from penstock.gates.load.plan import LoadPlan, connections_of, requests_bytes, requests_of
from penstock.gates.load.questions import interface_of, made_up, of_entities, of_rows, rows_in
from penstock.gates.load.report import LoadReport, report_of, write_files
from penstock.gates.load.run import run
from penstock.gates.load_test import LoadResult, latency_plot, run_load

pytestmark = pytest.mark.slow

SHORT = timedelta(seconds=0.2)
LONG = timedelta(minutes=1)  # ends by the number of requests


def test_the_result_counts_answers_only() -> None:
    result = LoadResult(10, 2, numpy.arange(1.0, 9.0), seconds=2.0)  # 8 answers, 1 to 8 ms
    assert result.qps == 4.0
    assert result.error_rate == 0.2
    assert result.quantile(0.5) == 4.5


def test_nothing_measured_is_never_a_good_result() -> None:
    result = LoadResult(0, 0, numpy.array([]), seconds=1.0)
    assert result.error_rate == 1.0
    assert result.quantile(0.95) == float("inf")


@pytest.mark.parametrize("latencies", [[], [3.0], [1.0, 2.0, 200.0]])
def test_the_plot_is_drawn_for_any_number_of_answers(
    tmp_path: Path, latencies: list[float]
) -> None:
    latency_plot(LoadResult(3, 0, numpy.array(latencies), 1.0), tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_an_endpoint_that_refuses_connections_gives_errors() -> None:
    with socket.socket() as bound:  # bound, and not listening
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/predict"
        result = run_load(url, [b"{}"], 2, SHORT)
    assert result.errors == result.requests > 0
    assert "connection refused" in result.failures[0]


def test_a_load_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        run_load("http://127.0.0.1:1/", [], 1, timedelta(seconds=1))


# The plan: bounded, and for this machine only.


def plan(url: str = "http://127.0.0.1:1/", **changes: Any) -> LoadPlan:
    return LoadPlan(url, **({"bodies": (b"{}",), "duration": SHORT, "connections": 2} | changes))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/p",
        "http://127.9.9.9",
        "http://localhost:80/x?y=1",
        "https://[::1]:8600/predict",
    ],
)
def test_load_may_be_put_on_this_machine(url: str) -> None:
    assert plan(url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/",
        "http://0.0.0.0:80/",
        "http://example.org/",
        "http://localhost.example.org/",
        "http://127.0.0.1@192.0.2.7/",  # the part before @ is a user's name
        "http://2130706433/",  # some resolvers read this as 127.0.0.1, others do not
        "http://[2001:db8::1]/",
    ],
)
def test_load_is_put_on_another_machine_by_its_owner_only(url: str) -> None:
    with pytest.raises(UsageError, match="is not this machine") as caught:
        plan(url)
    assert "--i-own-this-host" in caught.value.hint
    assert plan(url, owned=True).url == url


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"duration": timedelta(minutes=10, seconds=1)}, "duration is 0:10:01"),
        ({"duration": timedelta(0)}, "duration"),
        ({"connections": 0}, "connections is 0"),
        ({"connections": 5000}, "connections is 5000"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": -1.0}, "rate"),
        ({"rate": math.nan}, "rate is nan"),
        ({"rate": math.inf}, "rate is inf"),
        ({"requests": 0}, "requests is 0"),
        ({"processes": 3}, "3 processes cannot share 2 connections"),
        ({"headers": (("Content-Length", "1"),)}, "set by the load generator"),
        ({"headers": (("X", "a\r\nHost: b"),)}, "no header"),
        ({"headers": (("a b", "c"),)}, "no header"),
        ({"headers": (("X", "✓"),)}, "beyond Latin-1"),
        ({"url": "ftp://127.0.0.1/"}, "no address"),
        ({"url": "http://127.0.0.1:99999/"}, "no address"),
        ({"url": "127.0.0.1:80"}, "no address"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan(**change)


@given(connections=st.integers(1, 64), processes=st.integers(1, 64), requests=st.integers(1, 5000))
def test_processes_share_all_connections_and_requests(
    connections: int, processes: int, requests: int
) -> None:
    it = plan(
        connections=max(connections, processes),
        processes=processes,
        requests=requests,
        rate=10_000.0,  # 2,000 are due in 0.2 s
    )
    parts = range(processes)
    assert sum(connections_of(it, part) for part in parts) == it.connections
    assert min(connections_of(it, part) for part in parts) >= 1
    assert sum(requests_of(it, part) or 0 for part in parts) == min(requests, 2000)


def test_the_number_of_a_request_goes_into_headers_and_never_into_its_body() -> None:
    it = plan(bodies=(b'{"n": "{n}"}',), headers=(("X-User", "u{n}"), ("Content-Type", "a/b")))
    sent = b"7".join(requests_bytes(it)[0])
    head, _, body = sent.partition(b"\r\n\r\n")
    assert body == b'{"n": "{n}"}'
    assert b"X-User: u7" in head.split(b"\r\n")
    assert head.lower().count(b"content-type") == 1
    assert b"Content-Length: 12" in head


# HdrHistogram.


def test_what_counts_as_one_value() -> None:
    # Single microseconds below 2,048; then 2 below 4,096, 4 below 8,192, …
    values = numpy.array([0, 1, 2047, 2048, 2049, 2050, 4095, 4096, 4099, 4100, 60_000_000])
    places = hdr.index_of(values)
    assert hdr.LOW[places].tolist()[:-1] == [
        0, 1, 2047, 2048, 2048, 2050, 4094, 4096, 4096, 4100
    ]  # fmt: skip
    assert places[-1] < hdr.COUNTS


@given(st.lists(st.integers(0, 70_000_000), min_size=1, max_size=200), st.floats(0, 100))
def test_a_percentile_is_that_of_the_values_to_three_digits(
    values: list[int], percentile: float
) -> None:
    histogram = hdr.Histogram()
    histogram.record(numpy.array(values))
    rank = max(1, math.ceil(percentile * len(values) / 100 - 1e-9 * len(values)))
    exact = min(sorted(values)[rank - 1], hdr.HIGHEST)  # nearest rank
    found = histogram.percentile(percentile)
    assert exact <= found <= exact * 1.001 + 1
    assert histogram.total == len(values)


def test_histograms_add() -> None:
    rng = numpy.random.default_rng(1)
    one, other, both = hdr.Histogram(), hdr.Histogram(), hdr.Histogram()
    first, second = rng.integers(1, 10**6, 500), rng.integers(1, 10**4, 700)
    one.record(first)
    other.record(second)
    both.record(numpy.concatenate([first, second]))
    one.add(other)
    assert (one.counts == both.counts).all()
    assert hdr.distribution_text(one) == hdr.distribution_text(both)


def test_nothing_has_no_percentiles() -> None:
    nothing = hdr.Histogram()
    assert nothing.percentile(50) == math.inf
    assert list(nothing.steps()) == []
    assert "Total count    =            0" in hdr.distribution_text(nothing)


def test_a_distribution_is_written_as_plotters_read_it() -> None:
    histogram = hdr.Histogram()
    histogram.record(numpy.repeat([1000, 2000], [9, 1]))  # nine of 1 ms, one of 2 ms
    head, _, *lines = hdr.distribution_text(histogram).splitlines()
    assert head.split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    rows = [[float(cell) for cell in line.split()] for line in lines if not line.startswith("#")]
    assert rows[0] == [1.0, 0.0, 9, 1.0]
    assert [row[1] for row in rows[:7]] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55]  # fifths of halves
    assert [row for row in rows if row[1] <= 0.9][-1] == [1.0, 0.9, 9, 10.0]
    assert rows[-1] == [2.0, 1.0, 10]
    # Mean (9 · 1 + 2) / 10 = 1.1; deviation √(0.9 · 0.1² + 0.1 · 0.9²) = 0.3.
    assert lines[-3] == "#[Mean    =        1.100, StdDeviation   =        0.300]"
    assert lines[-2] == "#[Max     =        2.000, Total count    =           10]"


def recorded() -> tuple[hdr.Histogram, numpy.ndarray[Any, Any]]:
    values = numpy.random.default_rng(3).lognormal(7, 1.2, 100_000).astype(numpy.int64)
    histogram = hdr.Histogram()
    histogram.record(values)
    return histogram, values


def test_the_hdrhistogram_library_counts_alike() -> None:
    theirs = pytest.importorskip("hdrh.histogram").HdrHistogram(1, 60_000_000, 3)
    ours, values = recorded()
    for value in values.tolist():
        theirs.record_value(value)
    for percentile in (0.1, 50, 90, 95, 99, 99.9, 99.99, 100):
        assert ours.percentile(percentile) == theirs.get_value_at_percentile(percentile)
    assert ours.max == theirs.get_max_value()
    assert ours.mean == pytest.approx(theirs.get_mean_value())
    assert ours.deviation == pytest.approx(theirs.get_stddev())


def test_the_hdrhistogram_library_reads_what_is_written(tmp_path: Path) -> None:
    histograms = pytest.importorskip("hdrh.histogram")
    log = pytest.importorskip("hdrh.log")
    ours, _ = recorded()
    other = hdr.Histogram()
    other.record(numpy.array([0, 1, 7, 59_999_999]))

    theirs = histograms.HdrHistogram.decode(hdr.encode(ours))
    assert theirs.get_total_count() == ours.total
    assert theirs.get_value_at_percentile(99.9) == ours.percentile(99.9)
    (tmp_path / "load.hlog").write_text(
        hdr.log_text(datetime(2026, 1, 2, tzinfo=UTC), 0.5, [ours, other])
    )
    reader = log.HistogramLogReader(
        str(tmp_path / "load.hlog"), histograms.HdrHistogram(1, 60_000_000, 3)
    )
    read = [reader.get_next_interval_histogram() for _ in range(2)]
    assert [one.get_total_count() for one in read] == [ours.total, 4]
    assert read[1].get_max_value() == other.max
    assert read[1].get_start_time_stamp() == 1_767_312_000_500  # half a second into 2026-01-02
    assert reader.get_next_interval_histogram() is None


# What is asked.

INTERFACE = {
    "paths": {"/predict": {}, "/v2/models/churn/infer": {}},
    "components": {
        "schemas": {
            "Question": {
                "oneOf": [
                    {
                        "properties": {
                            "rows": {
                                "items": {
                                    "properties": {
                                        "visits": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                                        "age": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                                        "plan": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                                        "new": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
                                    }
                                }
                            }
                        }
                    },
                    {"properties": {"entities": {"properties": {"customer_id": {}}}}},
                ]
            }
        }
    },
}


def test_rows_are_made_up_of_the_types_that_an_endpoint_takes() -> None:
    takes = interface_of(INTERFACE)
    assert (takes.model, takes.entities) == ("churn", ("customer_id",))
    rows = made_up(takes, seed=1)
    assert rows == made_up(takes, seed=1)
    assert rows != made_up(takes, seed=2)
    kinds = {name: type(value) for name, value in rows[0].items()}
    assert kinds == {"visits": float, "age": int, "plan": str, "new": bool}


def test_a_server_that_does_not_say_what_it_takes() -> None:
    with pytest.raises(ServingError, match="does not say") as caught:
        interface_of({"paths": {}})
    assert "--rows" in caught.value.hint


def test_each_protocol_asks_about_one_row() -> None:
    row = {"age": 41, "plan": None}
    types = {"age": "INT64", "plan": "BYTES"}
    asked = [
        of_rows("predict", [row]),
        of_rows("invocations", [row]),
        of_rows("v2", [row], "a b", types),
        of_entities([{"customer_id": 42}]),
    ]
    assert [one.path for one in asked] == [
        "/predict", "/invocations", "/v2/models/a%20b/infer", "/predict"
    ]  # fmt: skip
    assert [json.loads(one.bodies[0]) for one in asked] == [
        {"rows": [row]},
        {"dataframe_split": {"columns": ["age", "plan"], "data": [[41, None]]}},
        {
            "inputs": [
                {"name": "age", "shape": [1], "datatype": "INT64", "data": [41]},
                {"name": "plan", "shape": [1], "datatype": "BYTES", "data": [None]},
            ]
        },
        {"entities": {"customer_id": [42]}},
    ]
    with pytest.raises(UsageError, match="no input 'plan'"):
        of_rows("v2", [row], "m", {"age": "INT64"})


def test_rows_come_from_files(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("age,visits\n41,1.5\n42,\n")
    (tmp_path / "rows.json").write_text('{"rows": [{"age": 41, "visits": 1.5}]}')
    assert rows_in(tmp_path / "rows.csv") == [
        {"age": 41, "visits": 1.5},
        {"age": 42, "visits": None},
    ]
    assert rows_in(tmp_path / "rows.json") == [{"age": 41, "visits": 1.5}]


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", "{"), ("b.json", '{"row": 1}'), ("c.json", "[1]"), ("d", None)]
)
def test_a_file_without_rows_is_refused(tmp_path: Path, name: str, content: str | None) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(PenstockError, match=name):
        rows_in(tmp_path / name)


# Servers of every kind.

STALL = 0.3  # seconds


class Server(http.server.BaseHTTPRequestHandler):
    """Answers by its path."""

    protocol_version = "HTTP/1.1"
    wbufsize = 65536  # an answer leaves at once: its second part would wait for the client's ACK
    users: ClassVar[list[str]] = []
    bodies: ClassVar[list[bytes]] = []
    stalled: ClassVar[list[bool]] = []

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.users.append(self.headers.get("X-User", ""))
        if self.path == "/silent":
            self.close_connection = True
            return
        if self.path == "/other":
            self.wfile.write(b"220 mail.example.org ESMTP\r\n")
            self.close_connection = True
            return
        if self.path == "/stalls-once" and not self.stalled:
            self.stalled.append(True)
            time.sleep(STALL)  # what is measured
        self.send_response({"/busy": 429, "/broken": 500}.get(self.path, 200))
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\n{}\r\n0\r\n\r\n")
            return
        if self.path == "/closes":
            self.send_header("Connection", "close")
        self.send_header("Content-Length", "11")
        self.end_headers()
        self.wfile.write(b'{"error":1}')

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    it = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=it.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{it.server_port}"
    it.shutdown()
    it.server_close()


@pytest.fixture(autouse=True)
def _forgotten() -> None:
    Server.users.clear()
    Server.bodies.clear()
    Server.stalled.clear()


def measured(url: str, **changes: Any) -> LoadReport:
    it = plan(url, **changes)
    return report_of(it, datetime(2026, 1, 2, tzinfo=UTC), run(it))


@pytest.mark.parametrize("path", ["/", "/closes", "/chunked"])
def test_just_so_many_requests_are_sent_each_with_its_number(server: str, path: str) -> None:
    found = measured(
        server + path,
        bodies=(b"a", b"b", b"c"),
        requests=50,
        duration=LONG,
        headers=(("X-User", "u{n}"),),
    )
    assert (found.requests, found.errors) == (50, 0)
    assert sorted(Server.users) == sorted(f"u{n}" for n in range(50))
    assert {body: Server.bodies.count(body) for body in (b"a", b"b", b"c")} == {
        b"a": 17, b"b": 17, b"c": 16
    }  # fmt: skip


def test_a_closed_loop_asks_until_the_time_is_over(server: str) -> None:
    found = measured(server)
    assert found.requests == found.answers == len(Server.bodies) > 10
    assert found.seconds >= 0.2
    assert found.requests_per_second == found.answers / found.seconds
    assert 0 < found.latency.percentile(50) <= found.latency.max


def test_an_open_loop_sends_what_is_due_and_no_more(server: str) -> None:
    found = measured(server, rate=200.0, duration=timedelta(seconds=0.5))
    assert found.answers + found.unsent == 100
    assert found.answers == len(Server.bodies)
    assert found.requests_per_second <= 200.0


def test_a_stall_is_felt_by_every_request_that_was_due_in_it(server: str) -> None:
    """One connection, 100 requests a second, 0.3 s without an answer: some thirty wait."""
    found = measured(
        server + "/stalls-once", connections=1, rate=100.0, duration=timedelta(seconds=1)
    )
    waited = int(found.latency.counts[hdr.LOW > 50_000].sum())  # more than 50 ms
    assert waited >= 20  # those due in the first 250 ms of it, at least
    assert found.latency.max >= STALL * 1e6 * 0.999

    Server.stalled.clear()
    closed = measured(server + "/stalls-once", connections=1, requests=60, duration=LONG)
    assert int(closed.latency.counts[hdr.LOW > STALL * 0.99e6].sum()) == 1


@pytest.mark.parametrize(
    ("path", "status", "example"),
    [("/busy", 429, '429: {"error":1}'), ("/broken", 500, '500: {"error":1}')],
)
def test_errors_are_counted_by_status(server: str, path: str, status: int, example: str) -> None:
    found = measured(server + path, requests=20, duration=LONG)
    assert found.statuses == {status: 20}
    assert (found.answers, found.error_rate) == (0, 1.0)
    assert found.examples == (example,) * 5
    assert sum(found.interval_errors) == 20


@pytest.mark.parametrize(("path", "kind"), [("/silent", "connection lost"), ("/other", "not HTTP")])
def test_requests_without_an_answer_are_counted_by_what_became_of_them(
    server: str, path: str, kind: str
) -> None:
    found = measured(server + path, requests=6, duration=LONG)
    assert found.failures == {kind: 6}
    assert found.examples[0].startswith(f"{kind}: ")


def test_a_server_that_is_not_there_fails_what_is_due() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        found = measured(url, rate=50.0, requests=8, duration=LONG)
    assert found.failures == {"connection refused": 8}


def test_the_files_of_a_load_test(server: str, tmp_path: Path) -> None:
    found = measured(server, requests=40, duration=LONG)
    files = write_files(found, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["load.json", "load.hgrm", "load.hlog", "load.png"]
    said = json.loads(files[0].read_text())
    assert (said["requests"], said["statuses"], said["loop"]) == (40, {"200": 40}, "closed")
    assert set(said["latency_ms"]) == {"p50", "p90", "p95", "p99", "p99.9", "max", "mean"}
    assert "Total count    =           40" in files[1].read_text()
    assert files[3].read_bytes().startswith(b"\x89PNG")


def test_the_files_of_a_load_test_without_an_answer(server: str, tmp_path: Path) -> None:
    found = measured(server + "/broken", requests=4, duration=LONG)
    files = write_files(replace(found, examples=()), tmp_path)
    assert json.loads(files[0].read_text())["latency_ms"]["p99"] is None
    assert files[3].read_bytes().startswith(b"\x89PNG")
