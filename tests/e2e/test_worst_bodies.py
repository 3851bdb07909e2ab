"""No body of any endpoint holds an event loop for long.

The bodies are made from the description: a new endpoint is tried as soon as it is described. What
is measured is CPU time of the process that answers, as a multiple of what this machine needs to
parse a reference body: so neither a slow machine nor a busy one changes the result.

    piece    CPU time of the process while one small request waits for its answer
    loop     CPU time of the event loop's thread for the whole request
"""

from __future__ import annotations

import asyncio
import gzip
import http.client
import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import orjson
from multidict import CIMultiDict, CIMultiDictProxy

from auth_service.permissions.model import (
    ATTRIBUTE_PERMISSIONS_MAX,
    ATTRIBUTES_NAMED_MAX,
    PERMISSIONS_MAX,
    SCHEMA_PERMISSIONS_MAX,
)
from gateway.operations import Policy
from gateway.routes import RouteTable
from shared.http.requests import VALUES_MAX
from tests.kit.demo import seed_demo
from tests.kit.described import DOCUMENT, OPERATIONS, Operation
from tests.kit.processes import Process
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import Workspace

BYTES_MAX: Final = (10 << 20) - 1_000
VALUES: Final = VALUES_MAX - 1_000
MEMBERS_WITHOUT_BOUND: Final = 1_000
DEPTH_MAX: Final = 30
TRIES: Final = 5
PIECE_MAX: Final = 6.0
LOOP_MAX: Final = 14.0
"""In reference bodies; one takes about 15 ms on a slow core."""

WITH_BODY: Final = tuple(one for one in OPERATIONS if one.body is not None)
JSON_BODY: Final = {"Content-Type": "application/json"}
TICKS_S: Final = os.sysconf("SC_CLK_TCK")


def reference_s() -> float:
    """CPU time of parsing the reference body in this process."""
    raw = b"{" + b",".join(b'"%030d":1' % number for number in range(VALUES)) + b"}"
    spent = []
    for _ in range(5):
        began = time.thread_time()
        orjson.loads(raw)
        spent.append(time.thread_time() - began)
    return min(spent)


# What is sent.


class Filling:
    """Fills a schema as far as the number of values goes, with right or with wrong members."""

    def __init__(self, *, wrong: bool, members_max: int) -> None:
        self.left = VALUES
        self._depth = 0
        self._wrong = wrong
        self._members_max = members_max
        self._numbers = itertools.count()

    def of(self, schema: dict[str, Any]) -> Any:
        """What the schema describes; what may hold itself does so some levels deep."""
        self._depth += 1
        try:
            return self._of(schema)
        finally:
            self._depth -= 1

    def _of(self, schema: dict[str, Any]) -> Any:  # noqa: PLR0911 - one for each kind
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        if "anyOf" in schema:
            return self.of(schema["anyOf"][0])
        self.left -= 1
        match schema.get("type"):
            case "array":
                most = min(schema.get("maxItems", MEMBERS_WITHOUT_BOUND), self._members_max)
                if self._depth > DEPTH_MAX:
                    most = 0
                return [self.of(schema["items"]) for _ in range(most) if self.left > 0]
            case "object" if isinstance(schema.get("additionalProperties"), dict):
                most = min(schema.get("maxProperties", MEMBERS_WITHOUT_BOUND), self._members_max)
                known = [name for one in schema.get("examples", ()) for name in one]
                names = (*known, *(f"a{number}" for number in range(most - len(known))))
                return {
                    name: self.of(schema["additionalProperties"]) for name in names if self.left > 0
                }
            case "object":
                return {
                    name: self.of(member)
                    for name, member in schema.get("properties", {}).items()
                    if name != "id"
                }
            case "string":
                right = schema.get("enum", [f"a{next(self._numbers)}"])[0]
                return 1 if self._wrong else right
            case "boolean":
                return "wrong" if self._wrong else True
            case _:
                return "wrong" if self._wrong else 1


def body_of(operation: Operation) -> str:
    """The name of what it takes."""
    content = operation.described["requestBody"]["content"]
    schema = next(iter(content.values()))["schema"]
    return str(schema["$ref"].rpartition("/")[2])


@cache
def packed_bodies(name: str) -> dict[str, bytes]:
    return {kind: gzip.compress(raw, 1) for kind, raw in worst_bodies(name)}


def worst_bodies(name: str) -> Iterator[tuple[str, bytes]]:
    schema = DOCUMENT["components"]["schemas"][name]
    yield "most members", orjson.dumps(Filling(wrong=False, members_max=1 << 20).of(schema))
    yield "most errors", orjson.dumps(Filling(wrong=True, members_max=1 << 20).of(schema))
    yield "most errors in many", orjson.dumps(Filling(wrong=True, members_max=60).of(schema))
    for field in fields_that_hold_something(schema):
        head = b'{"%s":' % field.encode()
        yield f"one name in {field}", head + b"{" + b'"n":1,' * VALUES + b'"n":1}}'
        yield f"long names in {field}", head + LONG_NAMES + b"}"


LONG_NAMES: Final = b"{" + b",".join(b'"%035d":1' % number for number in range(VALUES)) + b"}"
BODIES_FOR_ALL: Final = {
    "ignored": b'{"ignored":' + LONG_NAMES + b',"and":["\\u0000",' + b"1" * 30 + b"]}",
    "nested": b'{"x":' + b"[" * (VALUES // 2) + b"]" * (VALUES // 2) + b"}",
    "too many values": b"[" + b"1," * (BYTES_MAX // 2) + b"1]",
    "texts that never end": b"-0.0" + b'"\\' * 100_000,
    "a long text": b'{"x":-0.0,"y":"' + b"a" * (BYTES_MAX // 2) + b'"}',
    "too many names": b"{" + b",".join(b'"%06d":1' % n for n in range(BYTES_MAX // 11)) + b"}",
}


def fields_that_hold_something(schema: dict[str, Any]) -> list[str]:
    """The fields of a body that are lists or objects themselves."""

    def holds(member: dict[str, Any]) -> bool:
        if "$ref" in member:
            member = DOCUMENT["components"]["schemas"][member["$ref"].rpartition("/")[2]]
        if "anyOf" in member:
            return any(map(holds, member["anyOf"]))
        return member.get("type", "object") in ("array", "object")

    return [name for name, member in schema["properties"].items() if holds(member)]


# What it costs.


@dataclass(frozen=True)
class Cost:
    piece_s: float
    loop_s: float

    def least(self, other: Cost) -> Cost:
        return Cost(min(self.piece_s, other.piece_s), min(self.loop_s, other.loop_s))


def process_cpu_s(pid: int) -> float:
    """CPU time of another process: the clock that `clock_getcpuclockid` names."""
    return time.clock_gettime((~pid << 3) | 2)


def loop_cpu_s(pid: int) -> float:
    """CPU time of its first thread, which runs the event loop."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


class Watch:
    """Asks a process again and again whether it is there, and how much it computed meanwhile."""

    def __init__(self, process: Process) -> None:
        self._pid = process.pid
        self._address = urlsplit(process.internal_url).netloc
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._longest_s = 0.0

    def begin(self) -> None:
        self._began_s = loop_cpu_s(self._pid)
        self._thread.start()

    def end(self) -> Cost:
        self._ended.set()
        self._thread.join()
        return Cost(self._longest_s, loop_cpu_s(self._pid) - self._began_s)

    def _ask(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        while not self._ended.wait(0.002):
            before_s = process_cpu_s(self._pid)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            self._longest_s = max(self._longest_s, process_cpu_s(self._pid) - before_s)
        connection.close()


async def cost_of(
    processes: list[Process], send: Callable[[], Awaitable[Answer]]
) -> tuple[Cost, Answer]:
    """The most that one of these processes paid for what is sent."""
    watches = [Watch(process) for process in processes]
    for watch in watches:
        watch.begin()
    try:
        answer = await send()
    finally:
        costs = [watch.end() for watch in watches]
    return Cost(max(c.piece_s for c in costs), max(c.loop_s for c in costs)), answer


class Judge:
    """Collects what costs too much."""

    def __init__(self) -> None:
        self.reference_s = reference_s()
        self.found: list[str] = []

    async def hear(
        self, name: str, processes: list[Process], send: Callable[[], Awaitable[Answer]]
    ) -> None:
        """Whatever else the machine does only adds: so the least of some tries counts."""
        cost = Cost(float("inf"), float("inf"))
        for left in reversed(range(TRIES)):
            once, answer = await cost_of(processes, send)
            cost = cost.least(once)
            if answer.status in (503, 504) and left:
                continue
            if answer.status >= 500:
                self.found.append(f"{name}: {answer.outcome}")
                return
            if self._is_fair(cost):
                return
            # Other tests may slow the machine now, and not when the reference was taken.
            self.reference_s = max(self.reference_s, reference_s())
        self.found.append(
            f"{name}: {cost.piece_s / self.reference_s:.1f} reference bodies in one piece,"
            f" {cost.loop_s / self.reference_s:.1f} in all, answered {str(answer.outcome)[:200]}"
        )

    def _is_fair(self, cost: Cost) -> bool:
        return (
            cost.piece_s <= PIECE_MAX * self.reference_s
            and cost.loop_s <= LOOP_MAX * self.reference_s
        )


async def send(
    caller: Caller, operation: Operation, raw: bytes, *, packed: bool, address: str = ""
) -> Answer:
    headers = {"Content-Type": "application/json"} | (
        {"Content-Encoding": "gzip"} if packed else {}
    )
    try:
        return await caller.ask(
            operation.method, address or operation.address, data=raw, headers=headers
        )
    except aiohttp.ClientError:
        # Refused while it was still being sent, and the client did not wait for the answer.
        return Answer(413, None, CIMultiDictProxy(CIMultiDict()))


async def test_no_body_of_any_endpoint_holds_a_loop(stack):
    sigma = await stack.workspace()
    await seed_demo(sigma)
    judge = Judge()
    for_all = {kind: gzip.compress(raw, 1) for kind, raw in BODIES_FOR_ALL.items()}
    routes = RouteTable.shipped(Policy(body_bytes_max=BYTES_MAX, deadline_s=30.0))
    for operation in WITH_BODY:
        prefix = routes.prefix_of(operation.path)
        assert prefix is not None
        processes = [stack["gateway"], stack[prefix.service]]
        caller = stack.caller() if operation.is_open else sigma.admin
        bodies = packed_bodies(body_of(operation))
        for kind, sent in (bodies | for_all).items():
            await judge.hear(
                f"{operation}, {kind}",
                processes,
                lambda c=caller, o=operation, s=sent: send(c, o, s, packed=True),
            )
        plain = gzip.decompress(bodies["most members"])
        await judge.hear(
            f"{operation}, plain",
            processes,
            lambda c=caller, o=operation, s=plain: send(c, o, s, packed=False),
        )
        assert not judge.found, "\n".join(judge.found)


# The largest roles.

BOUND_BY_THE_GRANT_RULE: Final = tuple(one for one in WITH_BODY if body_of(one) == "RoleDraft")
REAL_SCHEMAS: Final = PERMISSIONS_MAX // ATTRIBUTE_PERMISSIONS_MAX


def permissions_on(schemas: list[str], named: str, others: str) -> dict[str, dict[str, str]]:
    """As many permissions as roles may be compared with: `named` on each name, `others` on `*`."""
    names = itertools.cycle(f"a{number}" for number in range(ATTRIBUTES_NAMED_MAX - 1))
    each = PERMISSIONS_MAX // len(schemas) - 1
    return {
        schema: {"*": others} | dict.fromkeys(itertools.islice(names, each), named)
        for schema in schemas
    }


async def test_no_role_of_a_caller_bound_by_the_grant_rule_holds_a_loop(stack):
    """The role that is sent is compared with the caller's own and the replaced one, all largest.

    The bodies of the test before do not get so far: they have more names than are compared.
    """
    sigma = await stack.workspace()
    await sigma.attribute("name")
    deep = [f"schema-s{number}" for number in range(REAL_SCHEMAS)]
    for number in range(REAL_SCHEMAS):
        await sigma.schema(f"s{number}", ["name"])
    wide = [f"schema-not-there-{number}" for number in range(SCHEMA_PERMISSIONS_MAX)]
    judge = Judge()
    for kind, schemas, own in (("deep", deep, ("read", "write")), ("wide", wide, ("hidden",) * 2)):
        giver = f"role-{kind}-giver"
        await sigma.role(giver, permissions_on(schemas, *own), canManageRoles=True)
        await sigma.role("role-editor-" + kind, permissions_on(schemas, *own))
        caller = await sigma.user(giver)
        largest = {
            "alike": permissions_on(schemas, *own),
            "less": permissions_on(schemas, "hidden", own[1]),
            "more": permissions_on(schemas, "write", own[1]),
        }
        bodies = {
            f"{kind}, {word}": gzip.compress(orjson.dumps(role_body(permissions)), 1)
            for word, permissions in largest.items()
        }
        for operation in BOUND_BY_THE_GRANT_RULE:
            address = operation.path.format(id="role-editor-" + kind)
            for word, sent in bodies.items():
                await judge.hear(
                    f"{operation}, {word}",
                    [stack[name] for name in ("gateway", "auth_service", "records_service")],
                    lambda c=caller, o=operation, s=sent, a=address: send(
                        c, o, s, packed=True, address=a
                    ),
                )
    assert len(BOUND_BY_THE_GRANT_RULE) == 2
    assert not judge.found, "\n".join(judge.found)


def role_body(permissions: dict[str, dict[str, str]]) -> dict[str, Any]:
    return {
        "name": "Largest",
        "schemaPermissions": [
            {"schemaId": schema, "attributePermissions": named}
            for schema, named in permissions.items()
        ],
    }


# The largest records.

MANY_ATTRIBUTES: Final = 500
MANY_STATES: Final = 200
DIMENSIONS: Final = 3
SEGMENTS: Final = 10
SCOPES: Final = [
    {f"dim-d{d}": f"seg-d{d}-{place // SEGMENTS**d % SEGMENTS}" for d in range(DIMENSIONS)}
    for place in range(SEGMENTS**DIMENSIONS)
]
VALUES_PER_ENTRY: Final = DIMENSIONS + 3
ATTRIBUTES_WITH_ALL: Final = VALUES // VALUES_PER_ENTRY // len(SCOPES)


ALIASES: Final = [f"a{number}-".ljust(120, "x") for number in range(MANY_ATTRIBUTES)]
"""So long that a list of what every state misses is larger than any body may be."""


def large_values(word: str) -> dict[str, Any]:
    """As many entries as a body may hold: each scope of as many attributes as that makes."""
    return {
        alias: [{"scope": scope, "value": f"{word}{place}"} for place, scope in enumerate(SCOPES)]
        for alias in ALIASES[:ATTRIBUTES_WITH_ALL]
    }


async def seed_widely(sigma: Workspace) -> None:
    """The widest schema and the widest workflow, every gate of which is closed."""
    dimensions = [f"dim-d{d}" for d in range(DIMENSIONS)]
    for d in range(DIMENSIONS):
        await sigma.dimension(f"d{d}", [f"d{d}-{segment}" for segment in range(SEGMENTS)])
    for first in range(0, MANY_ATTRIBUTES, 10):
        await asyncio.gather(
            *(
                sigma.attribute(
                    ALIASES[number],
                    dimensionIds=dimensions,
                    validation={"required": True, "unique": number < ATTRIBUTES_WITH_ALL},
                )
                for number in range(first, first + 10)
            )
        )
    states = [f"s{number}" for number in range(MANY_STATES)]
    gate = {"requiresCompleteness": 100}
    await sigma.workflow("wide", states, [(states[0], other, gate) for other in states[1:]])
    await sigma.schema("wide", ALIASES, workflow="wf-wide")


async def test_no_request_about_the_largest_record_holds_a_loop(stack):
    sigma = await stack.workspace()
    await seed_widely(sigma)
    judge = Judge()
    processes = [stack[name] for name in ("gateway", "records_service", "workflow_service")]
    words = (f"{letter}{number}-" for number in itertools.count() for letter in "abcdef")

    def body() -> bytes:
        return orjson.dumps({"schemaId": "schema-wide", "values": large_values(next(words))})

    async def hear(method: str, path: str, sent: Callable[[], bytes] | None = None) -> None:
        async def ask() -> Answer:
            data = None if sent is None else sent()
            answer = await sigma.admin.ask(method, path, data=data, headers=JSON_BODY)
            answer.ok()
            return answer

        await judge.hear(f"{method} {path}", processes, ask)

    await hear("POST", "/records", body)
    await sigma.record("schema-wide", id="ent-large")
    await hear("PUT", "/records/ent-large", body)
    one = orjson.dumps({"scope": SCOPES[0], "value": "one"})
    await hear("PATCH", f"/records/ent-large/values/{ALIASES[0]}", lambda: one)
    for path in ("", "/completeness", "/transitions"):
        await hear("GET", f"/records/ent-large{path}")
    assert not judge.found, "\n".join(judge.found)
    told = (await sigma.admin.get("/records/ent-large/completeness")).ok()
    assert [len(each["missingIn"]) for each in told["states"]] == [
        MANY_ATTRIBUTES - ATTRIBUTES_WITH_ALL
    ] * MANY_STATES
