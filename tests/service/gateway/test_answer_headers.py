"""What every answer says about itself: whether it is kept, what it depends on, who may read it."""

from __future__ import annotations

from typing import Any

from tests.kit.described import OPERATIONS
from tests.kit.sigma import Caller, error
from tests.service.gateway.system import System, parsed, raw

DEPENDS_ON = "Authorization, X-Sigma-ApiKey, Accept"
PAGE = "https://app.example"
OTHER = "http://localhost:5173"


def said(headers: Any) -> tuple[str, str, str]:
    told = {name.lower(): value for name, value in headers.items()}
    return told["cache-control"], told["vary"], told["x-content-type-options"]


async def test_no_answer_of_the_api_is_kept(system: System):
    """A success, an error of ours, and with CORS on as well."""
    guarded = await system.another(cors_origins=PAGE)
    for caller, depends_on in (
        (system.person(), DEPENDS_ON),
        (system.caller(), DEPENDS_ON),
        (system.person(guarded), f"{DEPENDS_ON}, Origin"),
    ):
        for operation in OPERATIONS:
            answer = await operation.ask(caller)
            assert said(answer.headers) == ("no-store", depends_on, "nosniff"), operation


async def test_neither_is_what_no_route_answers(system: System):
    expected = ("no-store", DEPENDS_ON, "nosniff")
    for answer in (
        await system.caller().get("/nowhere"),
        await system.program().get("/nowhere"),
        await system.caller().post("/docs"),
        await system.caller().get("/docs/nowhere"),
        await system.caller(Accept="text/html").get("/"),
        await system.caller(Accept="application/problem+json").post("/records", {}),
    ):
        assert said(answer.headers) == expected, answer
    refused = parsed(await raw(system.gateway.url, b"nonsense\r\n\r\n"))
    assert (refused[0], said(refused[1])) == (400, expected)


async def test_nor_what_one_connection_too_many_is_told(system: System):
    gateway = await system.another(connections_max=1)
    first = system.caller(gateway)
    assert (await first.get("/healthz")).status == 200
    surplus = parsed(await raw(gateway.url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"))
    assert (surplus[0], said(surplus[1])) == (503, ("no-store", DEPENDS_ON, "nosniff"))


async def ask_first(caller: Caller, origin: str, path: str = "/records") -> Any:
    """What a browser asks before a page sends a PATCH."""
    return await caller.having(
        {
            "Origin": origin,
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization,content-type,if-match",
        }
    ).ask("OPTIONS", path)


def opened(headers: Any) -> list[str]:
    return [name for name in headers if name.lower().startswith("access-control-")]


async def test_pages_of_other_origins_may_not_call_unless_configured(system: System):
    assert (await ask_first(system.caller(), PAGE)).status == 401
    answer = await system.program().having({"Origin": PAGE}).get("/records")
    assert (answer.status, opened(answer.headers)) == (200, [])


async def test_a_preflight_is_answered_without_a_credential(system: System):
    gateway = await system.another(cors_origins=f"{PAGE}, {OTHER}")
    for path in ("/records", "/auth/login", "/healthz", "/docs/openapi.json", "/nowhere"):
        for origin in (PAGE, OTHER):
            answer = await ask_first(system.caller(gateway), origin, path)
            assert (answer.status, answer.body) == (204, None), path
            told = {name: answer.headers[name] for name in opened(answer.headers)}
            assert told == {
                "Access-Control-Allow-Origin": origin,
                "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
                "Access-Control-Allow-Headers": "Accept, Authorization, Content-Type,"
                " Idempotency-Key, If-Match, If-None-Match, Prefer, X-Request-Id,"
                " X-Sigma-ApiKey, traceparent",
                "Access-Control-Expose-Headers": "ETag, Idempotency-Replayed, Link, Location,"
                " Preference-Applied, Retry-After, X-RateLimit-Remaining, X-Request-Id",
                "Access-Control-Max-Age": "600",
            }
            assert "Origin" in answer.headers["Vary"].split(", ")
    assert system.auth.asked == []
    assert system.echo.received == []


async def test_an_origin_that_is_not_configured_is_told_so(system: System):
    gateway = await system.another(cors_origins=PAGE)
    for origin in ("https://app.example.evil", "http://app.example", "null", PAGE + ":8443"):
        refused = await ask_first(system.caller(gateway), origin)
        assert refused.outcome == error(
            403, "PERMISSION_DENIED", f"Pages from origin '{origin}' may not call this API"
        )
        assert opened(refused.headers) == []
        answer = await system.program(gateway).having({"Origin": origin}).get("/records")
        assert (answer.status, opened(answer.headers)) == (200, [])


async def test_a_page_reads_answers_and_errors(system: System):
    gateway = await system.another(cors_origins=PAGE)
    page = {"Origin": PAGE}
    for answer in (
        await system.program(gateway).having(page).get("/records"),
        await system.caller(gateway).having(page).get("/records"),
        await system.caller(gateway).having(page).get("/docs/openapi.json"),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "ETag" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert answer.headers["Vary"].endswith(", Origin")
    malformed = await raw(gateway.url, f"GET / HTTP/1.1\r\nOrigin: {PAGE}\r\n\r\n".encode())
    assert parsed(malformed)[0] == 400


async def test_any_origin(system: System):
    gateway = await system.another(cors_origins="*")
    assert (await ask_first(system.caller(gateway), "http://anybody.example")).status == 204
    answer = await system.program(gateway).having({"Origin": "http://x.example"}).get("/records")
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert answer.headers["Vary"] == DEPENDS_ON


async def test_options_without_an_origin_is_no_preflight(system: System):
    gateway = await system.another(cors_origins="*")
    assert (await system.caller(gateway).ask("OPTIONS", "/records")).status == 401
    asked = await system.caller(gateway).having({"Origin": PAGE}).ask("OPTIONS", "/healthz")
    assert (asked.status, asked.headers["Allow"]) == (405, "GET, HEAD")
