"""What the edge takes from a request's headers, and what it writes down about the request."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any, cast

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import BaseModel, Field

from shared.errors import Unauthorized, ValidationError
from shared.http import Page, identity_of, json_response, read_query
from shared.http.context import CALL, Call, deadline_from, request_id_from, trace_id_from
from shared.identity import ALL_PERMISSIONS, Flag
from shared.process import logs
from shared.process.logs import AccessLog
from shared.process.metrics import RequestMeasures
from tests.kit import identities
from tests.kit.eventually import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize("given", ["a", "a-b_c.d", "A1", "x" * 128])
def test_a_harmless_request_id_is_kept(given: str):
    assert request_id_from(given) == given


@pytest.mark.parametrize("given", [None, "", " ", "a b", "x" * 129, "a/b", "é", "٣", "-", '"'])
def test_any_other_is_replaced_by_a_new_one(given: str | None):
    first, second = request_id_from(given), request_id_from(given)
    assert len(first) == 32
    assert first.isalnum()
    assert first != second


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-holds", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7", None),
        (f"00-{TRACE[:-1]}!-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}ab-00f067aa0ba902-01", None),
        ("x" * 60, None),
        ("é" * 60, None),
        ("", None),
    ],
)
def test_a_trace_is_named_when_the_header_has_its_form(header: str, trace_id: str | None):
    assert trace_id_from(header) == trace_id


async def test_a_deadline_is_a_time_of_the_loop_and_bounded():
    loop = asyncio.get_running_loop()
    for sent, seconds in (("1500", 1.5), ("999999999", 600)):
        before = loop.time()
        deadline = deadline_from(sent)
        assert deadline is not None
        assert before + seconds <= deadline <= loop.time() + seconds
    assert [deadline_from(bad) for bad in ("", "-1", "1.5", "1e3", "٣", "1" * 10)] == [None] * 6


def test_nobody_asks_on_an_open_route():
    request = asked("/open")
    with pytest.raises(Unauthorized):
        identity_of(request)


def asked(target: str) -> web.Request:
    request = make_mocked_request("GET", target)
    request[CALL] = Call("id-1", "/open/{name}")
    return request


class Many(Page):
    name: str | None = None
    ids: list[str] = Field(default=[], alias="id")
    flag: bool = False


def test_a_query_is_read_from_text():
    found = read_query(asked("/x?limit=5&id=a&id=b&flag=true"), Many)
    assert (found.limit, found.offset, found.ids, found.flag) == (5, 0, ["a", "b"], True)
    assert read_query(asked("/x"), Page) == Page(offset=0, limit=50)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("limit=x", "Field 'limit' expects a whole number, got 'x'"),
        ("limit=", "Field 'limit' expects a whole number, got ''"),
        ("limit=1.5", "Field 'limit' expects a whole number, got '1.5'"),
        ("limit=1_0", "Field 'limit' expects a whole number, got '1_0'"),
        ("offset=0_1", "Field 'offset' expects a whole number, got '0_1'"),
        ("limit=5.0", "Field 'limit' expects a whole number, got '5.0'"),
        ("limit=%2B5", "Field 'limit' expects a whole number, got '+5'"),
        ("limit=+5", "Field 'limit' expects a whole number, got ' 5'"),
        ("limit=٣", "Field 'limit' expects a whole number, got '٣'"),
        ("limit=0", "Field 'limit' must be at least 1, got '0'"),
        ("limit=501", "Field 'limit' must be at most 500, got '501'"),
        ("offset=-1", "Field 'offset' must be at least 0, got '-1'"),
        ("offset=" + "9" * 30, f"Field 'offset' must be at most {2**53 - 1}, got '{'9' * 30}'"),
        ("limit=1&limit=2", "Field 'limit' may be given only once"),
        (
            "limit=1&nam=x",
            "Field 'nam' is not known: expected one of offset, limit, name, id, flag",
        ),
        ("ids=x", "Field 'ids' is not known: expected one of offset, limit, name, id, flag"),
        ("flag=maybe", "Field 'flag' expects true or false, got 'maybe'"),
    ],
)
def test_a_bad_query_is_told(query: str, message: str):
    with pytest.raises(ValidationError) as raised:
        read_query(asked(f"/x?{query}"), Many)
    assert raised.value.message == message


def test_every_problem_of_a_query_is_told_and_one_of_each_parameter():
    with pytest.raises(ValidationError) as raised:
        read_query(asked("/x?offset=-1&limit=abc&name=a&name=b&flag=maybe"), Many)
    assert [(each.pointer, each.message) for each in raised.value.violations] == [
        ("/name", "Field 'name' may be given only once"),
        ("/limit", "Field 'limit' expects a whole number, got 'abc'"),
        ("/offset", "Field 'offset' must be at least 0, got '-1'"),
        ("/flag", "Field 'flag' expects true or false, got 'maybe'"),
    ]


class Model(BaseModel):
    made_at: datetime = Field(alias="madeAt")


@dataclass(frozen=True, slots=True)
class Row:
    id: str
    at: datetime


def test_answers_are_json_with_times_in_milliseconds_and_utc():
    at = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
    elsewhere = at.astimezone(timezone(timedelta(hours=2)))
    value = {
        "rows": [Row("a", at), Row("b", elsewhere)],
        "model": Model(madeAt=at),
        "set": frozenset({Flag.IMPORT, Flag.EXPORT}),
        "mapping": MappingProxyType({"a": 1}),
        "whole": Decimal("3.0"),
        "part": Decimal("3.25"),
        "raw": orjson.Fragment(b'{"as": "it stands"}'),
    }
    response = json_response(value, status=201, headers={"ETag": '"1"'})
    assert (response.status, response.headers["ETag"]) == (201, '"1"')
    assert response.headers["Content-Type"] == "application/json"
    assert isinstance(response.body, bytes)
    told = "2026-01-02T03:04:05.678Z"
    assert orjson.loads(response.body) == {
        "rows": [{"id": "a", "at": told}, {"id": "b", "at": told}],
        "model": {"madeAt": told},
        "set": ["canExport", "canImport"],
        "mapping": {"a": 1},
        "whole": 3,
        "part": 3.25,
        "raw": {"as": "it stands"},
    }
    with pytest.raises(TypeError):
        json_response(object())


async def test_lines_wait_for_others_and_are_written_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logs, "FLUSH_S", 0.01)
    out = io.BytesIO()
    log = AccessLog("service", out)
    request = asked("/open/a?secret=1")
    call = request[CALL]
    call.caller = identities.api_key()
    log.add(request, call, 200, 0.0012345)
    log.add(request, call, 404, 0.5)
    assert out.getvalue() == b""
    await eventually(out.getvalue)
    first, second = map(json.loads, out.getvalue().splitlines())
    del first["timestamp"]
    assert first == {
        "event": "request",
        "level": "info",
        "service": "service",
        "request_id": "id-1",
        "method": "GET",
        "route": "/open/{name}",
        "path": "/open/a",
        "status": 200,
        "duration_ms": 1.234,
        "workspace": "ws-test",
        "caller": "apikey-test",
        "caller_kind": "api_key",
    }
    assert (second["status"], second["duration_ms"]) == (404, 500.0)
    assert identities.api_key().permissions == ALL_PERMISSIONS


async def test_a_path_that_is_no_text_is_written_all_the_same():
    for as_text in (False, True):
        out = io.BytesIO()
        log = AccessLog("service", out, as_text=as_text)
        request = cast(Any, Spoiled())
        log.add(request, Call("id-1", "-"), 400, 0.0)
        log.flush()
        (line,) = out.getvalue().splitlines()
        assert b"id-1" in line
        assert rb"\udcff" in line


class Spoiled:
    method = "GET"
    path = "/a\udcff"
    remote = "192.0.2.1"
    headers: Mapping[str, str] = MappingProxyType({})


def test_requests_are_told_as_prometheus_reads_them():
    measures = RequestMeasures()
    measures.count("GET", "/a", 200, 0.002)
    measures.count("GET", "/a", 200, 40.0)
    measures.count("BREW", "-", 405, 0.0)
    measures.in_flight = 3
    registry = CollectorRegistry()
    registry.register(measures)
    lines = generate_latest(registry).decode().splitlines()
    labels = 'method="GET",route="/a"'
    for line in (
        f'sigma_http_requests_total{{{labels},status="200"}} 2.0',
        'sigma_http_requests_total{method="OTHER",route="-",status="405"} 1.0',
        f'sigma_http_request_seconds_bucket{{le="0.001",{labels}}} 0.0',
        f'sigma_http_request_seconds_bucket{{le="0.0025",{labels}}} 1.0',
        f'sigma_http_request_seconds_bucket{{le="30.0",{labels}}} 1.0',
        f'sigma_http_request_seconds_bucket{{le="+Inf",{labels}}} 2.0',
        f"sigma_http_request_seconds_count{{{labels}}} 2.0",
        f"sigma_http_request_seconds_sum{{{labels}}} 40.002",
        "sigma_http_requests_in_flight 3.0",
    ):
        assert line in lines, "\n".join(lines)
