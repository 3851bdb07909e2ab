"""Bytes that are no decent request, sent to the gateway and to each service as it runs."""

from __future__ import annotations

import asyncio

import pytest

from tests.kit import identities
from tests.kit.raw_http import Payload, payloads, request, speak

TARGETS = {
    "gateway": "/api/v1/auth/login",
    "auth_service": "/api/v1/auth/login",
    "records_service": "/api/v1/records",
    "workflow_service": "/api/v1/workflows",
}


@pytest.mark.parametrize("service", TARGETS)
async def test_hostile_bytes_get_two_fields_or_a_closed_connection(stack, service):
    process = stack[service]
    headers = stack.keyring.headers(identities.admin()) if service != "gateway" else {}
    for payload in payloads(TARGETS[service], headers):
        answer = await asyncio.to_thread(
            speak, "127.0.0.1", process.port, payload.sent, payload.within_s
        )
        # What reaches a real handler may also be refused for what it says.
        honest = payload.statuses | {400, 401, 415}
        Payload(payload.name, payload.sent, honest, payload.may_close, payload.within_s).check(
            answer
        )
    alive = await asyncio.to_thread(
        speak, "127.0.0.1", process.port, request("GET", TARGETS[service], headers)
    )
    assert alive.status in (200, 401, 405)
    assert "unexpected_error" not in process.log.read_text()
