"""What loading decides without a service: comparing, counting, telling, and outlasting absences."""

from __future__ import annotations

import io
import json
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from deploy.importers.client import CannotGoOn, Denied, Fault, Found, Refused, Sigma
from deploy.importers.comparing import (
    changed_fields,
    changed_values,
    entries_of,
    incompatibility,
    merged,
)
from deploy.importers.loading import load
from deploy.importers.plan import Entry, Kind, ModelObject, Plan, Problem, RecordPlan
from deploy.importers.progress import Progress
from deploy.importers.report import PROBLEMS_SHOWN_MAX, Outcome, Place, Report
from deploy.importers.upload import RecordUpload

EN, FR = {"dim-locale": "seg-en"}, {"dim-locale": "seg-fr"}


def test_what_the_workspace_added_stays_and_what_the_source_says_wins():
    there: dict[str, Any] = {
        "id": "ol-steel",
        "name": "Steels",
        "values": [
            {"id": "val-own", "label": "Our own", "color": "#ffffff"},
            {"id": "val-440c", "label": "440 C", "color": None, "sortOrder": 0},
        ],
        "createdAt": "2026-01-01T00:00:00.000Z",
    }
    said = {
        "id": "ol-steel",
        "name": "Steel",
        "values": [{"id": "val-440c", "label": "440C"}, {"id": "val-d2", "label": "D2"}],
    }
    body = merged(there, said)
    assert body["values"] == [
        {"id": "val-own", "label": "Our own", "color": "#ffffff"},
        {"id": "val-440c", "label": "440C", "color": None, "sortOrder": 0},
        {"id": "val-d2", "label": "D2"},
    ]
    assert changed_fields(there, body) == ["name", "values"]


def test_attributes_of_a_group_are_joined_and_transitions_known_by_their_ends():
    there: dict[str, Any] = {
        "attributeGroups": [{"id": "g", "attributeIds": ["attr-own", "attr-a"]}],
        "transitions": [{"id": "tr-1", "fromStateId": "a", "toStateId": "b", "name": "Go"}],
    }
    said = {
        "attributeGroups": [{"id": "g", "attributeIds": ["attr-a", "attr-b"]}],
        "transitions": [{"fromStateId": "a", "toStateId": "b", "requiresCompleteness": 80}],
    }
    assert merged(there, said) == {
        "attributeGroups": [{"id": "g", "attributeIds": ["attr-own", "attr-a", "attr-b"]}],
        "transitions": [
            {
                "id": "tr-1",
                "fromStateId": "a",
                "toStateId": "b",
                "name": "Go",
                "requiresCompleteness": 80,
            }
        ],
    }


def test_defaults_that_the_api_spells_out_are_no_change():
    said = {"id": "a", "dimensionIds": [], "validation": {"unique": True, "min": 0.0}}
    there: dict[str, Any] = {
        "id": "a",
        "description": None,
        "dimensionIds": [],
        "guards": [],
        "validation": {"required": False, "unique": True, "min": 0, "pattern": None},
    }
    assert changed_fields(there, merged(there, said)) == []


def test_what_the_api_derives_is_neither_compared_nor_sent_back():
    there: dict[str, Any] = {
        "defaultSegmentId": "seg-en",
        "segments": [{"id": "seg-en", "isDefault": True}, {"id": "seg-own", "isDefault": False}],
    }
    said = {"defaultSegmentId": "seg-en", "segments": [{"id": "seg-en"}]}
    assert changed_fields(there, merged(there, said)) == []
    said = {"defaultSegmentId": "seg-fr", "segments": [{"id": "seg-fr"}]}
    assert merged(there, said) == {
        "defaultSegmentId": "seg-fr",
        "segments": [{"id": "seg-en"}, {"id": "seg-own"}, {"id": "seg-fr"}],
    }


def test_an_attribute_of_another_kind_cannot_be_taken_over():
    said = {"id": "attr-price", "type": "number", "dimensionIds": ["dim-currency"]}
    assert incompatibility(Kind.ATTRIBUTES, {**said, "optionListId": None}, said) is None
    told = incompatibility(Kind.ATTRIBUTES, {**said, "dimensionIds": ["dim-market"]}, said)
    assert told is not None
    assert "whose dimensionIds is ['dim-market'], not ['dim-currency']" in told


def test_only_entries_that_differ_are_sent_with_those_that_only_the_workspace_has():
    there: dict[str, Any] = {
        "title": [{"scope": EN, "value": "Knife"}, {"scope": FR, "value": "Couteau"}],
        "blades": [{"scope": {}, "value": 2}],
        "own": [{"scope": {}, "value": "stays"}],
    }
    said = {
        "title": (Entry(EN, "Pocket knife", ("title-en_US",)),),
        "blades": (Entry({}, 2.0, ("blades",)),),
        "rusts": (Entry({}, False, ("rusts",)),),
    }
    assert changed_values(there, said) == {
        "title": [{"scope": EN, "value": "Pocket knife"}, {"scope": FR, "value": "Couteau"}],
        "rusts": [{"scope": {}, "value": False}],
    }


def test_values_that_the_api_points_at_are_left_out_and_told():
    entries = tuple(Entry(scope, "x" * 9, (f"c{n}",)) for n, scope in enumerate((EN, FR, {})))
    plan = RecordPlan("ent-1", "KN-1", 7, "schema-k", {"title": entries, "a~b": entries[:1]})
    sending = RecordUpload(plan, dict(plan.values), "products.csv")
    sending.sent = {alias: entries_of(entries) for alias, entries in plan.values.items()}
    faults = (
        Fault("/values/title/0/value", "too long"),
        Fault("/values/title/2/value", "far too long"),
        Fault("/values/a~0b", "unknown"),
    )
    assert sending.drop_faulty(Refused(400, "VALIDATION_ERROR", "too long", faults))
    assert sending.values == {"title": entries[1:2]}
    assert {(p.line, p.columns, p.message, p.code) for p in sending.problems} == {
        (7, ("c0",), "too long", "VALIDATION_ERROR"),
        (7, ("c2",), "far too long", "VALIDATION_ERROR"),
        (7, ("c0",), "unknown", "VALIDATION_ERROR"),
    }


def test_a_fault_in_a_value_that_only_the_workspace_has_is_not_ours_to_leave_out():
    plan = RecordPlan("ent-1", "KN-1", 7, "schema-k", {"title": (Entry(FR, "Canif", ("c",)),)})
    sending = RecordUpload(plan, dict(plan.values), "products.csv")
    sending.sent = {"title": [{"scope": EN, "value": "?"}, {"scope": FR, "value": "Canif"}]}
    first, second = (
        Refused(400, "VALIDATION_ERROR", "no", (Fault(f"/values/title/{n}/value", "no"),))
        for n in (0, 1)
    )
    assert not sending.drop_faulty(first)
    assert list(sending.values) == ["title"]
    assert sending.drop_faulty(second)
    assert sending.values == {}


@pytest.mark.parametrize("pointer", ["/schemaId", "", "/values"])
def test_a_refusal_of_anything_else_is_one_of_the_whole_record(pointer):
    plan = RecordPlan("ent-1", "KN-1", 7, "schema-k", {"title": (Entry({}, "x", ("title",)),)})
    sending = RecordUpload(plan, dict(plan.values), "products.csv")
    refusal = Refused(400, "VALIDATION_ERROR", "no", (Fault(pointer, "no"),))
    assert not sending.drop_faulty(refusal)
    assert list(sending.values) == ["title"]


def test_the_report_adds_up_and_tells_the_row_the_column_and_the_reason():
    report = Report("knives", filled_cells=12)
    report.count(Kind.RECORDS, Outcome.CREATED, 2)
    report.cells[Place.MOVED] += 7
    problem = Problem(
        Kind.RECORDS,
        "KN-1",
        "Value 'x' for attribute 'gtin' must be unique",
        file="products.csv",
        line=7,
        columns=("gtin",),
        attribute="gtin",
        code="CONFLICT",
    )
    report.refuse(problem)
    report.cells[Place.REFUSED] += 1
    report.stopped = "LIMIT_EXCEEDED Entity limit of 2 reached"
    report.close(record_count=4, seconds=1.0)
    text = report.as_text()
    assert "STOPPED: LIMIT_EXCEEDED Entity limit of 2 reached" in text
    assert "Filled cells of the products: 12 = 7 imported, 1 refused, 4 not reached" in text
    assert (
        "records 'KN-1' (products.csv line 7) column gtin: CONFLICT Value 'x' for attribute 'gtin'"
        " must be unique" in text
    )
    told = json.loads(json.dumps(report.as_json()))
    assert told["objects"]["records"]["not reached"] == 2
    assert (told["succeeded"], report.exit_code) == (False, 1)


def test_a_long_list_of_problems_is_cut_in_the_text_and_whole_in_the_file():
    report = Report("knives")
    for line in range(50):
        report.refuse(Problem(Kind.RECORDS, "KN-1", "no", file="products.csv", line=line))
    text = report.as_text()
    assert f"and {50 - PROBLEMS_SHOWN_MAX} more" in text
    assert len(report.as_json()["problems"]) == 50


def test_cells_that_are_missing_from_the_sum_are_said_to_be_a_fault():
    report = Report("knives", filled_cells=3)
    report.cells[Place.MOVED] += 2
    assert "The sum is 2: this is a bug in the import tool" in report.as_text()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_a_moving_line_on_a_terminal():
    now = iter(float(n) for n in range(100))
    stream = Terminal()
    progress = Progress(stream, lambda: next(now))
    progress.begin("records", 2)
    progress.step()
    progress.step()
    progress.end()
    assert stream.getvalue().split("\r\x1b[K") == [
        "",
        "records: 0 of 2 (0 %)",
        "records: 1 of 2 (50 %)",
        "records: 2 of 2 (100 %)",
        "records: 2 of 2 (100 %)\n",
    ]


def test_progress_is_a_plain_line_now_and_then_elsewhere():
    now = iter(float(n) for n in range(100))
    stream = io.StringIO()
    progress = Progress(stream, lambda: next(now))
    progress.begin("records", 20)
    for _ in range(20):
        progress.step()
    progress.end()
    lines = stream.getvalue().splitlines()
    assert 2 <= len(lines) <= 5
    assert lines[-1] == "records: 20 of 20 (100 %)"


class Api:
    """Answers each request with the next of its answers; the last one for good."""

    def __init__(self, *answers: web.Response | type[ConnectionResetError]) -> None:
        self.answers = list(answers)
        self.asked: list[web.Request] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, type):
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


@pytest.fixture
async def served():
    servers = []

    async def serve(*answers, **options):
        api = Api(*answers)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", api.answer)
        server = TestServer(app)
        await server.start_server()
        pauses: list[float] = []

        async def pause(seconds: float) -> None:
            pauses.append(seconds)

        sigma = Sigma(str(server.make_url("/")), "key-1", pause=pause, **options)
        await sigma.__aenter__()
        servers.append((sigma, server))
        return sigma, api, pauses

    yield serve
    for sigma, server in servers:
        await sigma.__aexit__(None, None, None)
        await server.close()


def said(status: int, body: object = None, **headers: str) -> web.Response:
    data = b"" if body is None else json.dumps(body).encode()
    return web.Response(status=status, body=data, headers=headers)


def refusal(status: int, code: str, message: str, **headers: str) -> web.Response:
    return said(status, {"error": code, "message": message}, **headers)


async def test_what_passes_by_itself_is_tried_again_when_the_api_asks_for_it(served):
    busy = refusal(429, "RATE_LIMITED", "Too many requests", **{"Retry-After": "3"})
    away = refusal(503, "SERVICE_UNAVAILABLE", "away", **{"Retry-After": "0"})
    sigma, api, pauses = await served(
        busy, away, ConnectionResetError, said(504), said(201, {"id": "ent-1"})
    )
    assert await sigma.send("POST", "/records", {"id": "ent-1"}) == {"id": "ent-1"}
    assert pauses == [3.0, 0.5, 1.0, 2.0]
    assert sigma.retries == 4
    assert {request.headers["X-Sigma-ApiKey"] for request in api.asked} == {"key-1"}


async def test_patience_has_an_end_and_the_reason_is_told(served):
    sigma, api, pauses = await served(said(503), patience_s=10)
    with pytest.raises(CannotGoOn, match=r"GET /schemas: 503 Service Unavailable\). Run again"):
        await sigma.get("/schemas")
    assert sum(pauses) <= 10
    assert len(api.asked) == len(pauses) + 1


async def test_what_is_wrong_with_a_body_comes_with_its_places(served):
    problem = {
        "title": "…",
        "status": 400,
        "detail": "too long",
        "code": "VALIDATION_ERROR",
        "errors": [{"pointer": "/values/title/0/value", "detail": "too long"}],
    }
    sigma, api, _ = await served(said(400, problem))
    with pytest.raises(Refused) as caught:
        await sigma.send("PUT", "/records/ent-1", {"values": {}}, tag='"7"')
    assert (caught.value.status, caught.value.code, caught.value.message) == (
        400,
        "VALIDATION_ERROR",
        "too long",
    )
    assert caught.value.faults == (Fault("/values/title/0/value", "too long"),)
    assert api.asked[0].headers["If-Match"] == '"7"'
    assert len(api.asked) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refusal(401, "UNAUTHORIZED", "Invalid API key"), "not accepted: Invalid API key"),
        (web.Response(status=404, text="<html>"), "Check that this is the URL of the API"),
    ],
)
async def test_what_no_further_request_can_mend_ends_the_move(served, answer, message):
    sigma, _, pauses = await served(answer)
    with pytest.raises(CannotGoOn, match=message):
        await sigma.send("POST", "/records", {})
    assert pauses == []


async def test_a_denial_says_which_permissions_are_needed(served):
    sigma, _, _ = await served(refusal(403, "PERMISSION_DENIED", "Permission denied"))
    with pytest.raises(Denied, match=r"Permission denied\. The API key needs the permissions"):
        await sigma.send("POST", "/records", {})


async def test_nothing_there_is_no_error_where_something_is_looked_for(served):
    there, none = said(200, {"id": "ent-1"}, ETag='"4"'), refusal(404, "NOT_FOUND", "no")
    sigma, _, _ = await served(there, none)
    assert await sigma.find("/records/ent-1") == Found({"id": "ent-1"}, '"4"')
    assert await sigma.find("/records/ent-1") is None
    with pytest.raises(Refused, match="404 NOT_FOUND"):
        await sigma.get("/records/ent-1")


class LargeList:
    """A workspace whose one option list is too large to be listed with its options."""

    retries = 0

    def __init__(self, values: list[dict[str, Any]]) -> None:
        self.whole = {"id": "ol-tree", "name": "Tree", "values": values, "valuesComplete": True}
        self.sent: list[str] = []

    async def get(self, path: str) -> Any:
        if path == "/option-lists/ol-tree":
            return self.whole
        listed = self.whole | {"values": [], "valuesComplete": False}
        return [listed] if path == "/option-lists" else []

    async def send(self, method: str, path: str, *_: Any, **__: Any) -> None:
        self.sent.append(f"{method} {path}")


async def test_a_list_that_is_listed_without_its_options_is_read_before_it_is_compared():
    values = [{"id": f"val-{n}", "label": str(n)} for n in range(501)]
    sigma = LargeList(values)
    body = {"id": "ol-tree", "name": "Tree", "values": values}
    plan = Plan("x", (ModelObject(Kind.OPTION_LISTS, "tree", body),), lambda: (), 0, 0)
    report = Report("x")
    await load(cast("Sigma", sigma), plan, report, Progress(io.StringIO()))
    assert report.outcomes[Kind.OPTION_LISTS] == {Outcome.UNCHANGED: 1}
    assert sigma.sent == []
