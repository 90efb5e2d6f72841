"""Spans reach a collector of OpenTelemetry, below the caller's own; one that is away costs none."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from gateways import ROWS, Gateway, load, table, until

from penstock.settings import ServingSettings

pytestmark = pytest.mark.slow

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Keeps the spans that it is sent as protobuf over HTTP (OTLP), with their service's name."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                """Nothing: the tests' output is theirs."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (name,) = (
                one.value.string_value
                for one in resource.resource.attributes
                if one.key == "service.name"
            )
            self.spans += [(name, span) for scope in resource.scope_spans for span in scope.spans]

    def of(self, prediction_id: str) -> list[tuple[str, Any]]:
        return [
            one
            for one in self.spans
            if attributes(one[1])["penstock.prediction_id"] == prediction_id
        ]


def attributes(span: Any) -> dict[str, Any]:
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    it = Collector()
    yield it
    it.server.shutdown()
    it.server.server_close()


@pytest.fixture(scope="module")
def traced(
    tmp_path_factory: pytest.TempPathFactory, champion: Path, collector: Collector
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("traced") / "endpoint"
    it = Gateway(folder, ServingSettings(port=0, otlp_endpoint=collector.url))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")  # ms that spans are gathered for
        it.serve(table(it.spec("r1", champion)))
    yield it
    it.stop()


def test_a_request_is_a_span_below_the_callers(traced: Gateway, collector: Collector) -> None:
    answer = traced.ask("/predict", ROWS, traceparent=f"00-{TRACE}-{PARENT}-01")
    ((service, span),) = until(lambda: collector.of(answer.body["prediction_id"]))
    assert service == "penstock-staging"
    assert span.name == "POST /predict"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    found = attributes(span)
    assert found["http.response.status_code"] == 200
    assert (found["penstock.release"], found["penstock.arm"]) == ("r1", "champion")
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60 * 10**9


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="none"),
        pytest.param({"traceparent": "nonsense"}, id="nonsense"),
        pytest.param({"traceparent": f"00-{'0' * 32}-{PARENT}-01"}, id="zeros"),
    ],
)
def test_without_a_callers_span_it_is_the_first_of_its_trace(
    traced: Gateway, collector: Collector, given: dict[str, str]
) -> None:
    answer = traced.ask("/predict", ROWS, **given)
    assert answer.status == 200
    ((_, span),) = until(lambda: collector.of(answer.body["prediction_id"]))
    assert span.parent_span_id == b""
    assert span.trace_id.hex() not in ("0" * 32, TRACE)


def test_what_the_caller_does_not_sample_is_not_sent(traced: Gateway, collector: Collector) -> None:
    silent = traced.ask("/predict", ROWS, traceparent=f"00-{TRACE}-{PARENT}-00")
    loud = traced.ask("/predict", ROWS, traceparent=f"00-{TRACE}-{PARENT}-01")
    until(lambda: collector.of(loud.body["prediction_id"]))
    assert collector.of(silent.body["prediction_id"]) == []


def test_spans_of_refusals_say_the_status(traced: Gateway, collector: Collector) -> None:
    begun = len(collector.spans)
    assert traced.ask("/predict", {"rows": []}).status == 400
    until(
        lambda: [
            span
            for _, span in collector.spans[begun:]
            if attributes(span)["http.response.status_code"] == 400
        ]
    )


def test_the_last_spans_are_sent_before_the_end(
    tmp_path: Path, champion: Path, collector: Collector
) -> None:
    gateway = Gateway(tmp_path / "endpoint", ServingSettings(port=0, otlp_endpoint=collector.url))
    gateway.serve(table(gateway.spec("r1", champion)))
    answers = [gateway.ask("/predict", ROWS).body["prediction_id"] for _ in range(20)]
    gateway.stop()
    assert all(len(collector.of(one)) == 1 for one in answers)


def test_a_collector_that_is_away_costs_no_answer(tmp_path: Path, champion: Path) -> None:
    settings = ServingSettings(port=0, otlp_endpoint="http://127.0.0.1:9/v1/traces")
    gateway = Gateway(tmp_path / "endpoint", settings)
    gateway.serve(table(gateway.spec("r1", champion)))
    try:
        with load(gateway.url, ["u"]) as running:
            running.wait_for(500)
        assert running.failures == []
    finally:
        gateway.stop()
