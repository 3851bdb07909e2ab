"""One trace leads from a client's request to all that it causes, through four real processes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from tests.kit.collector import Collector, Span, collecting
from tests.kit.receiver import Receiver, receiving
from tests.kit.rest_target import RestTarget
from tests.kit.servers import Servers
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace, schema_body

WEBHOOK_SECRET = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2Vj"
SCHEMAS = "POST /api/v1/schemas"
IN_PATH = "very-secret-part-of-a-path"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


@pytest.fixture(scope="module")
def traced(
    collector: Collector, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """Processes of their own: those of other tests send no traces."""
    opened = Stack(servers, tmp_path_factory.mktemp("traced"), settings=collector.settings())
    try:
        opened.wait_ready()
        yield opened
    finally:
        opened.close()


@pytest.fixture
async def sigma(traced: Stack) -> AsyncIterator[Workspace]:
    async with traced.lent():
        sigma = await traced.workspace()
        await sigma.attribute("name")
        yield sigma


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


def named(spans: Sequence[Span], service: str, name: str) -> Span:
    (found,) = [one for one in spans if (one.service, one.name) == (service, name)]
    return found


def traceparent() -> tuple[str, str, dict[str, str]]:
    """The ids of a trace and of the client's span, and the header that names them."""
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    return trace, parent, {"traceparent": f"00-{trace}-{parent}-01"}


async def arrived(
    collector: Collector, trace: str, client: str, names: set[tuple[str, str]]
) -> list[Span]:
    """The spans of a trace, as soon as these are among them and nothing hangs in the air.

    Each process sends its spans when it likes: each parent is a span of the trace, or the client's.
    """

    def are_there() -> bool:
        spans = collector.of(trace)
        is_whole = {one.parent for one in spans} <= {one.id for one in spans} | {client}
        return is_whole and names <= {(span.service, span.name) for span in spans}

    await asyncio.to_thread(collector.wait_for, are_there)
    return collector.of(trace)


async def test_a_change_of_the_model_leads_to_its_consumers(sigma: Workspace, collector: Collector):
    trace, client, headers = traceparent()
    schema = schema_body("shirt", ["name"])
    (await sigma.admin.ask("POST", "/schemas", schema, headers=headers)).ok()
    spans = await arrived(
        collector,
        trace,
        client,
        {
            ("gateway", SCHEMAS),
            ("records_service", "send schema.created"),
            ("workflow_service", "process schema.created"),
            ("auth_service", "process schema.created"),
        },
    )
    asked = named(spans, "gateway", SCHEMAS)
    call = named(spans, "gateway", "POST records_service")
    made = named(spans, "records_service", "POST /api/v1/schemas")
    assert (asked.parent, call.parent, made.parent) == (client, asked.id, call.id)
    assert [one.kind for one in (asked, call, made)] == ["SERVER", "CLIENT", "SERVER"]
    sent = named(spans, "records_service", "send schema.created")
    assert (sent.kind, sent.parent) == ("PRODUCER", made.id)
    for service in ("workflow_service", "auth_service"):
        handled = named(spans, service, "process schema.created")
        assert (handled.kind, handled.parent) == ("CONSUMER", made.id)
        assert handled.attributes == {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.destination.name": service,
            "messaging.message.id": sent.attributes["messaging.message.id"],
            "cloudevents.event_type": "schema.created",
            "sigma.workspace": sigma.id,
            "sigma.outcome": "handled",
        }


async def test_a_change_of_a_record_leads_to_the_request_of_a_webhook(
    sigma: Workspace, collector: Collector, receiver: Receiver
):
    await sigma.schema("shirt", ["name"])
    hook = {
        "id": "wh-1",
        "name": "Shop",
        "url": f"{receiver.url}/{IN_PATH}?token={IN_PATH}",
        "events": ["entity.created", "entity.updated"],
        "secret": WEBHOOK_SECRET,
    }
    (await sigma.admin.post("/webhooks", hook)).ok()
    # The feed keeps no document of an event of this size, and whole documents of small ones.
    value = secrets.token_hex(2_000)
    record = {
        "id": "ent-1",
        "schemaId": "schema-shirt",
        "values": {"name": [{"scope": {}, "value": value}]},
    }
    small = {"scope": {}, "value": "small-and-secret"}
    calls = [
        ("POST", "/records", record, "/api/v1/records", "entity.created"),
        ("PATCH", "/records/ent-1/values/name", small, None, "entity.updated"),
    ]
    for number, (method, path, body, route, event) in enumerate(calls):
        trace, client, headers = traceparent()
        (await sigma.admin.ask(method, path, body, headers=headers)).ok()
        spans = await arrived(
            collector,
            trace,
            client,
            {
                ("gateway", f"{method} records_service"),
                ("records_service", f"send {event}"),
                ("workflow_service", "POST webhook"),
            },
        )
        made = next(
            one for one in spans if (one.service, one.kind) == ("records_service", "SERVER")
        )
        if route is not None:
            assert made.name == f"{method} {route}"
        delivered = named(spans, "workflow_service", "POST webhook")
        assert (delivered.kind, delivered.parent) == ("CLIENT", made.id)
        assert named(spans, "records_service", f"send {event}").parent == made.id
        received = receiver.received[number]
        assert received.headers["traceparent"] == f"00-{trace}-{delivered.id}-01"
        assert delivered.attributes == {
            "http.request.method": "POST",
            "http.request.resend_count": 0,
            "server.address": "127.0.0.1",
            "sigma.delivery": received.json["deliveryId"],
            "http.response.status_code": 200,
        }
    bearer = sigma.admin.headers["Authorization"].removeprefix("Bearer ")
    secret = (IN_PATH, WEBHOOK_SECRET, value, "small-and-secret", bearer, sigma.stack.password)
    for needle in secret:
        assert needle.encode() not in collector.sent


async def test_work_in_the_background_is_in_the_trace_of_who_asked_for_it(
    sigma: Workspace, collector: Collector, receiver: Receiver
):
    admin = sigma.admin
    await sigma.schema("shirt", ["name"])
    await sigma.record("schema-shirt", {"name": "before"}, id="ent-1")
    job = {
        "id": "job-1",
        "name": "Everything",
        "destinationType": "webhook",
        "destinationConfig": {"url": f"{receiver.url}/{IN_PATH}"},
        "format": "jsonl",
        "schedule": "0 0 1 1 *",
    }
    (await admin.post("/export-jobs", job)).ok()
    async with RestTarget().serve() as shop:
        channel = {
            "id": "ch-1",
            "name": "Shop",
            "alias": "shop",
            "type": "custom",
            "config": {"url": shop.url},
            "fieldMappings": [{"sourceAttribute": "name", "targetField": "title"}],
            "schemaId": "schema-shirt",
        }
        (await admin.post("/channels", channel)).ok()
        row, sent_as = b'{"_id": "ent-1", "name": "after"}', "application/x-ndjson"
        begins: list[tuple[str, str, str, str, dict[str, object]]] = [
            ("records_service", "import", "/imports", "succeeded", {"data": row}),
            ("workflow_service", "synchronisation", "/channels/ch-1/push", "success", {}),
            ("workflow_service", "export", "/export-jobs/job-1/runs", "success", {}),
        ]
        for service, kind, path, outcome, body in begins:
            trace, client, headers = traceparent()
            sent = headers | ({"Content-Type": sent_as} if body else {})
            made = (await admin.ask("POST", path, headers=sent, **body)).ok()  # type: ignore[arg-type]
            spans = await arrived(collector, trace, client, {(service, f"run {kind}")})
            run = named(spans, service, f"run {kind}")
            (served,) = [one for one in spans if (one.service, one.kind) == (service, "SERVER")]
            assert (run.kind, run.parent, run.failed) == ("INTERNAL", served.id, False)
            assert run.attributes == {
                "sigma.workspace": sigma.id,
                "sigma.run": made["id"],
                "sigma.outcome": outcome,
            }
