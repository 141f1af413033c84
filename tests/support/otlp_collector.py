"""A fake OpenTelemetry collector: a real HTTP server that records received spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Collector:
    """The received requests and spans."""

    url: str
    paths: list[str] = field(default_factory=list)
    resources: list[Mapping[str, Any]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    raw: bytes = b""


@contextmanager
def collecting() -> Iterator[Collector]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.collector = Collector(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.collector  # type: ignore[attr-defined]  # the handler reaches it through the server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        collector: Collector = self.server.collector  # type: ignore[attr-defined]
        body = self.rfile.read(int(self.headers["content-length"]))
        request = ExportTraceServiceRequest.FromString(body)
        collector.raw += body
        collector.paths.append(self.path)
        for of_resource in request.resource_spans:
            collector.resources.append(attributes(of_resource.resource))
            collector.spans += [span for scope in of_resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def attributes(holder: Any) -> dict[str, Any]:  # Any: whatever has attributes in OTLP, and any value
    pairs: list[KeyValue] = list(holder.attributes)
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(item) for item in value.array_value.values]
    return getattr(value, kind) if kind else None
