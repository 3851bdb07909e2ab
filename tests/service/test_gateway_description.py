"""The description of the API and the page from which it can be tried."""

from __future__ import annotations

import re

import orjson

from gateway.description import OPENAPI_FILE
from tests.kit.sigma import error
from tests.service.gateway_world import World, world

__all__ = ["world"]


async def test_the_description_is_served_to_everybody(world: World):
    answer = await world.caller().get("/docs/openapi.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == orjson.loads(OPENAPI_FILE.read_bytes())
    assert world.auth.asked == []


async def test_the_page_needs_nothing_from_another_address(world: World):
    page = await world.caller().get("/docs")
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
        answer = await world.caller().get(part)
        assert answer.status == 200, part
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_what_the_browser_has_is_not_sent_again(world: World):
    first = await world.caller().get("/docs/swagger-ui.css")
    again = await world.caller().get(
        "/docs/swagger-ui.css", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert (again.status, again.body) == (304, None)


async def test_there_is_nothing_else_below_it(world: World):
    answer = await world.caller().get("/docs/LICENSE")
    assert answer.told == error(404, "NOT_FOUND", "Route '/docs/LICENSE' not found")
    for path in ("/docs/..%2fconfig.py", "/docs/%2e%2e/config.py", "/docs/a/b"):
        assert (await world.caller().get(path)).status in (400, 401, 404), path
    refused = await world.caller().post("/docs")
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


async def test_it_can_be_switched_off(world: World):
    gateway = await world.another(docs_enabled=False)
    for path in ("/docs", "/docs/openapi.json", "/docs/start.js"):
        assert (await world.caller(gateway).get(path)).status == 401
        assert (await world.program(gateway).get(path)).told == error(
            404, "NOT_FOUND", f"Route '{path}' not found"
        )
