"""Spans of OpenTelemetry, one a request, where `[serving] otlp_endpoint` names a collector.

A caller's W3C `traceparent` becomes the span's parent. Nothing is imported and nothing costs where
no collector is named.
"""

from __future__ import annotations

import time
from typing import Any

from penstock.errors import ServingError
from penstock.serving.http_server.messages import Request

TRACEPARENT = b"traceparent"


class Tracing:
    """Sends spans in the background; a collector that is away costs spans, not answers."""

    def __init__(self, endpoint: str, service: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ImportError as error:
            raise ServingError(
                "[serving] otlp_endpoint is set, and OpenTelemetry's exporter is not installed",
                hint="pip install 'penstock[otlp]'",
            ) from error
        self._provider = TracerProvider(resource=Resource.create({"service.name": service}))
        exporter = OTLPSpanExporter(endpoint=endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("penstock")
        self._propagator = TraceContextTextMapPropagator()

    def record(self, request: Request, status: int, attributes: dict[str, Any]) -> None:
        """A request that has just been answered."""
        now = time.time_ns()
        begun = now - int(1e9 * (time.perf_counter() - request.arrived))
        parent = request.headers.get(TRACEPARENT, b"").decode("latin-1")
        context = self._propagator.extract({"traceparent": parent}) if parent else None
        path = request.path.decode("latin-1")
        span = self._tracer.start_span(f"POST {path}", context, start_time=begun)
        span.set_attribute("http.response.status_code", status)
        for name, value in attributes.items():
            span.set_attribute(f"penstock.{name}", value)
        span.end(now)

    def close(self) -> None:
        self._provider.shutdown()
