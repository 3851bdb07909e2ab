"""Bytes that are no decent request get two fields of JSON, never plain text, never a 500."""

from __future__ import annotations

import pytest

from tests.kit import identities
from tests.kit.identities import Keyring
from tests.kit.processes import Process
from tests.kit.raw_http import Payload, payloads, request, slow_payloads, speak
from tests.service.shelf.edge import StartEdge

PATH = "/api/v1/things"
NAMES = [payload.name for payload in payloads(PATH)]


@pytest.mark.parametrize("name", NAMES)
def test_what_no_handler_should_see_is_told_in_json(
    edge_process: Process, keyring: Keyring, name: str
):
    headers = keyring.headers(identities.admin())
    payload = next(each for each in payloads(PATH, headers) if each.name == name)
    payload.check(speak("127.0.0.1", edge_process.port, payload.sent, payload.within_s))
    # The service is as alive as before, and thinks that it did nothing wrong.
    assert speak("127.0.0.1", edge_process.port, request("GET", "/open")).status == 200
    assert '"level":"error"' not in edge_process.tail(), edge_process.tail()


@pytest.mark.parametrize("name", NAMES)
def test_a_stranger_learns_no_more(edge_process: Process, name: str):
    payload = next(each for each in payloads(PATH) if each.name == name)
    answer = speak("127.0.0.1", edge_process.port, payload.sent, payload.within_s)
    Payload(payload.name, payload.sent, payload.statuses | {401}).check(answer)


@pytest.mark.parametrize("payload", slow_payloads("/open"), ids=lambda payload: payload.name)
async def test_what_never_comes_to_an_end_is_given_up(start_edge: StartEdge, payload: Payload):
    edge = await start_edge(head_read_s_max=0.1)
    answer = await edge.speak(payload.sent, payload.within_s)
    payload.check(answer)
    assert answer.outcome == (
        400,
        {"error": "VALIDATION_ERROR", "message": "The request headers did not arrive in time"},
    )
    assert answer.closed
