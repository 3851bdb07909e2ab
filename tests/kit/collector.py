"""A collector of traces: a real server that takes OTLP over HTTP, and keeps spans."""

from __future__ import annotations

import gzip
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Span:
    """One span; ids are hexadecimal, `parent` is empty for the first of a trace."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """What has come. `hangs` is set while it takes connections and answers nothing."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.sent = b""
        """All bodies, to look for what must not be among them."""
        self.hangs = threading.Event()
        self.over = threading.Event()
        self.waiting = 0
        """Requests that hang."""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        # A process that was killed leaves requests behind, which nobody ends.
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def settings(self) -> dict[str, str]:
        """With these, a process sends its spans here, five times a second."""
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": self.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}

    def of(self, trace: str) -> list[Span]:
        """The spans of one trace."""
        return [span for span in self.spans if span.trace == trace]

    def wait_for(self, is_there: Callable[[], object]) -> None:
        """Return when something has come; fails with what has when it does not."""
        ends = time.monotonic() + PATIENCE_S
        while not is_there():
            assert time.monotonic() < ends, [(one.service, one.name) for one in self.spans]
            time.sleep(0.02)

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes) -> None:
        self.sent += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            (service,) = (
                each.value.string_value
                for each in resource.resource.attributes
                if each.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans += [_read(service, span) for span in scope.spans]

    def _handler(collector) -> type[http.server.BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.hangs.is_set():
                    collector.waiting += 1
                    collector.over.wait()
                    return
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector._take(body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


def _read(service: str, span: SentSpan) -> Span:
    return Span(
        service,
        span.name,
        SentSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.status.code == span.status.STATUS_CODE_ERROR,
        {
            each.key: getattr(each.value, str(each.value.WhichOneof("value")))
            for each in span.attributes
        },
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector until the block ends."""
    collector = Collector()
    try:
        yield collector
    finally:
        collector.close()
