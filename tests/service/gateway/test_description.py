"""The description of the API and the page from which it can be tried."""

from __future__ import annotations

import re

import orjson
from aiohttp import web

from gateway.description import OPENAPI_FILE
from shared.errors import BY_CODE, Conflict
from shared.http import error_response
from tests.kit.sigma import error
from tests.service.gateway.system import System, parsed, raw


async def test_the_description_is_served_to_everybody(system: System):
    answer = await system.caller().get("/docs/openapi.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == orjson.loads(OPENAPI_FILE.read_bytes())
    assert system.auth.asked == []


async def test_the_page_needs_nothing_from_another_address(system: System):
    page = await system.caller().get("/docs")
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(
        rule.split(" ", 1) for rule in page.headers["Content-Security-Policy"].split("; ")
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }
    parts = re.findall(r'(?:src|href)="([^"]+)"', page.body)
    assert sorted(parts) == [
        "/docs/favicon-32x32.png",
        "/docs/page.css",
        "/docs/start.js",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
    ]
    for part in parts:
        answer = await system.caller().get(part)
        assert answer.status == 200, part
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_help_of_an_error_leads_to_its_explanation(system: System):
    """Of our own, of the connection below, and of a service."""

    async def taken(_request: web.Request) -> web.StreamResponse:
        return error_response(Conflict("taken"), _request)

    system.echo.answer = taken
    answers = [
        (await system.caller().get("/records")).headers["Link"],
        (await system.program().post("/records", {})).headers["Link"],
        parsed(await raw(system.gateway.url, b"nonsense\r\n\r\n"))[1]["link"],
    ]
    targets = [re.fullmatch(r'<(/docs/errors)#([A-Z_]+)>; rel="help"', link) for link in answers]
    assert [found and found[2] for found in targets] == [
        "UNAUTHORIZED",
        "CONFLICT",
        "VALIDATION_ERROR",
    ]
    page = await system.caller().get("/docs/errors")
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert set(re.findall(r'<h3 id="([A-Z_]+)">', page.body)) == set(BY_CODE)
    anchors = set(re.findall(r'id="([^"]+)"', page.body))
    assert set(re.findall(r'href="#([^"]+)"', page.body)) <= anchors


async def test_a_browser_is_led_from_the_address_to_the_page(system: System):
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    led = await system.caller(Accept=browser).get("/")
    assert (led.status, led.headers["Location"]) == (302, "/docs")
    led = await system.caller().get("/docs/")
    assert (led.status, led.headers["Location"]) == (302, "/docs")
    for accept in ("*/*", "application/json", "text/html;q=0"):
        unknown = await system.caller(Accept=accept).get("/")
        assert unknown.outcome == error(401, "UNAUTHORIZED", "Missing authentication")
    known = await system.program().get("/")
    assert known.outcome == error(404, "NOT_FOUND", "Route '/' not found")
    posted = await system.caller(Accept=browser).post("/")
    assert posted.outcome == error(401, "UNAUTHORIZED", "Missing authentication")


async def test_what_the_browser_has_is_not_sent_again(system: System):
    first = await system.caller().get("/docs/swagger-ui.css")
    again = await system.caller().get(
        "/docs/swagger-ui.css", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert (again.status, again.body) == (304, None)
    for answer in (first, again):
        assert answer.headers["Cache-Control"] == "public, no-cache"
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert answer.headers["ETag"] == first.headers["ETag"]


async def test_there_is_nothing_else_below_it(system: System):
    answer = await system.caller().get("/docs/LICENSE")
    assert answer.outcome == error(404, "NOT_FOUND", "Route '/docs/LICENSE' not found")
    for path in ("/docs/..%2fconfig.py", "/docs/%2e%2e/config.py", "/docs/a/b"):
        assert (await system.caller().get(path)).status in (400, 401, 404), path
    refused = await system.caller().post("/docs")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


async def test_it_can_be_switched_off(system: System):
    gateway = await system.another(docs_enabled=False)
    browser = await system.caller(gateway, Accept="text/html").get("/")
    assert browser.status == 401
    assert b"link:" not in (await raw(gateway.url, b"nonsense\r\n\r\n")).lower()
    for path in ("/docs", "/docs/errors", "/docs/openapi.json", "/docs/start.js"):
        assert "Link" not in (await system.program(gateway).get(path)).headers
        assert (await system.caller(gateway).get(path)).status == 401
        assert (await system.program(gateway).get(path)).outcome == error(
            404, "NOT_FOUND", f"Route '{path}' not found"
        )
