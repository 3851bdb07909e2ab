"""Spans of one process: whose children they are, what they tell, and what a collector may cost."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from shared.events import TRACE, Event, trace_in
from shared.process import tracing
from tests.kit import identities
from tests.kit.collector import collecting
from tests.kit.identities import Keyring
from tests.kit.processes import Process
from tests.kit.raw_http import request, speak
from tests.service.shelf.edge import new_process

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def running(keyring: Keyring, folder: Path, settings: dict[str, str]) -> Process:
    process = new_process(keyring, folder, **settings)
    process.start()
    process.wait_ready()
    return process


def test_spans_are_exported_as_children_of_the_callers_trace(keyring: Keyring, tmp_path: Path):
    with collecting() as collector:
        process = running(keyring, tmp_path, collector.settings())
        headers = {
            **keyring.headers(identities.admin()),
            "traceparent": f"00-{TRACE_ID}-{PARENT}-01",
            "X-Sigma-ApiKey": "sigma_sk_live_very-secret",
        }
        asked = request("GET", "/api/v1/things/a?token=very-secret", headers)
        assert speak("127.0.0.1", process.port, asked).status == 200
        broken = request("GET", "/open/broken")
        assert speak("127.0.0.1", process.port, broken).status == 500
        assert process.stop() == 0, process.tail()
        (span,) = collector.of(TRACE_ID)
        assert (span.name, span.kind, span.parent) == (
            "GET /api/v1/things/{id}",
            "SERVER",
            PARENT,
        )
        assert span.attributes == {
            "http.request.method": "GET",
            "url.path": "/api/v1/things/a",
            "http.response.status_code": 200,
            "http.route": "/api/v1/things/{id}",
        }
        (failed,) = [one for one in collector.spans if one.trace != TRACE_ID]
        assert failed.failed and failed.parent == ""
        assert b"very-secret" not in collector.sent
        assert headers["X-Sigma-Identity"].encode() not in collector.sent
        # Who has the line of a request finds its trace, also if the client named none.
        assert f'"trace_id":"{failed.trace}"' in process.log.read_text()


@pytest.mark.parametrize("state", ["hangs", "away"])
def test_a_collector_that_is_away_costs_no_request_and_holds_up_no_end(
    keyring: Keyring, tmp_path: Path, state: str
):
    with collecting() as collector:
        collector.hangs.set()
        # A queue that is full after the first requests, and a batch that is sent at once.
        settings = {
            **collector.settings(),
            "OTEL_BSP_MAX_QUEUE_SIZE": "8",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4",
        }
        if state == "away":
            collector.close()
        process = running(keyring, tmp_path, settings)
        asked = request("GET", "/api/v1/things/a", keyring.headers(identities.admin()))
        for _ in range(50):
            assert speak("127.0.0.1", process.port, asked).status == 200
        if state == "hangs":
            collector.wait_for(lambda: collector.waiting)
        assert process.stop() == 0, process.tail()
        told = [line for line in process.log.read_text().splitlines() if "opentelemetry" in line]
        assert len(told) < 10, told


def test_a_process_that_stops_does_not_wait_for_the_last_spans(monkeypatch: pytest.MonkeyPatch):
    """The library by itself waits for half a minute, which is longer than anybody lets us."""
    over = threading.Event()

    class Provider:
        def shutdown(self) -> None:
            over.wait()

    monkeypatch.setattr(tracing, "_provider", Provider())
    monkeypatch.setattr(tracing, "enabled", True)
    monkeypatch.setattr(tracing, "STOP_S_MAX", 0.01)
    tracing.stop()
    assert not tracing.enabled
    assert not over.is_set()
    over.set()


def test_an_event_carries_the_trace_and_begins_with_it():
    parent = f"00-{TRACE_ID}-{PARENT}-01"
    assert b"traceparent" not in Event("a.b", "/x", "ws", "s", {}).to_json()
    token = TRACE.set(parent)
    event = Event("a.b", "/x", "ws", "s", {"version": 1}, time=datetime(2026, 1, 1, tzinfo=UTC))
    TRACE.reset(token)
    assert Event.from_json(event.to_json()) == event
    assert event.traceparent == trace_in(event.to_json().decode()) == parent
    for wrong in (b'"x"', b"7", b"null", b'"00-0-0-01"', b'"' + parent.encode() + b'0"'):
        document = event.to_json().replace(b'"' + parent.encode() + b'"', wrong)
        assert Event.from_json(document).traceparent is None
    # What a client has named so is not taken for it.
    named = Event("a.b", "/x", "ws", f'{{"traceparent":"{parent}"', {}).to_json()
    assert trace_in(named.decode()) is None


async def test_what_was_caused_by_nothing_is_in_no_trace():
    token = TRACE.set("00-1")
    with tracing.caused_by(None):
        assert Event("a.b", "/x", "ws", "s", {}).traceparent is None
        assert await asyncio.create_task(_traced()) is None
    assert TRACE.get() == "00-1"
    TRACE.reset(token)


async def _traced() -> str | None:
    return TRACE.get()


def test_without_a_collector_nothing_is_recorded():
    assert not tracing.enabled
    headers: dict[str, str] = {}
    with tracing.client_span("GET", "auth_service", headers), tracing.caused_by("00-1"):
        tracing.note_outcome("handled", failed=True)
        with tracing.delivering("dlv-1", 0, "localhost", headers):
            pass
    assert headers == {}
