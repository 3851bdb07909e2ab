"""Bytes that are no decent request, sent to the gateway and to each service as they run."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from shared.identity import GATEWAY
from tests.kit import identities
from tests.kit.raw_http import Payload, payloads, request, slow_payloads, speak
from tests.kit.stack import AUTH, RECORDS, SERVICES, WORKFLOW, Stack

PATHS = {
    AUTH: "/api/v1/roles",
    RECORDS: "/api/v1/dimensions",
    WORKFLOW: "/api/v1/workflows",
}


async def outcome_of(stack: Stack, service: str, payload: Payload) -> str:
    """What is dishonest about the answer; nothing when it is as it should be."""
    url = urlsplit(stack[service].url)
    assert url.hostname is not None
    assert url.port is not None
    answer = await asyncio.to_thread(speak, url.hostname, url.port, payload.sent, payload.within_s)
    try:
        payload.check(answer)
    except AssertionError as error:
        return f"{payload.name}: {error}"
    return ""


async def dishonest(stack: Stack, service: str, table: list[Payload]) -> list[str]:
    found = [await outcome_of(stack, service, payload) for payload in table]
    return [problem for problem in found if problem]


@pytest.mark.parametrize("service", PATHS)
async def test_each_service_tells_it_in_json(stack: Stack, service: str):
    headers = stack.keyring.headers(identities.admin())
    assert await dishonest(stack, service, payloads(PATHS[service], headers)) == []


async def test_the_gateway_tells_it_in_json(stack: Stack):
    said_before = len(stack[GATEWAY].log.read_text())
    workspace = await stack.workspace()
    key = await workspace.api_key()
    assert await dishonest(stack, GATEWAY, payloads("/api/v1/dimensions", key.headers)) == []
    # Logins take few bytes: of a large body the size is what is wrong with it.
    logins = [
        replace(each, statuses=each.statuses | {413}) for each in payloads("/api/v1/auth/login")
    ]
    assert await dishonest(stack, GATEWAY, logins) == []
    # A stranger learns what is wrong with the bytes, or that nobody knows him.
    unknown = [
        replace(each, statuses=each.statuses | {401, 404}) for each in payloads("/api/v1/records")
    ]
    assert await dishonest(stack, GATEWAY, unknown) == []
    assert "Traceback" not in stack[GATEWAY].log.read_text()[said_before:]


async def test_half_a_header_is_given_up_everywhere(stack: Stack):
    found = await asyncio.gather(
        *(dishonest(stack, service, slow_payloads("/api/v1/records")) for service in SERVICES)
    )
    assert found == [[] for _ in SERVICES]


async def test_a_service_is_reached_by_nobody_but_the_gateway(stack: Stack):
    for service, path in PATHS.items():
        url = urlsplit(stack[service].url)
        assert url.hostname is not None
        assert url.port is not None
        answer = await asyncio.to_thread(speak, url.hostname, url.port, request("GET", path))
        missing = {"error": "UNAUTHORIZED", "message": "Missing authentication"}
        assert answer.outcome == (401, missing)
