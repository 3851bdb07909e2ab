"""Workspaces that differ in nothing but what is hidden from their roles."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import orjson

from shared.identity import Flag
from tests.kit.direct import DirectWorkspace
from tests.kit.sigma import Answer, Caller
from tests.kit.workspace import entries

DRY = {"Prefer": "dry-run"}
PROBLEMS = {"Accept": "application/problem+json"}
TIMES = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*(Z|\+00:00)")
MADE_IDS = re.compile(
    r"\b(?:(?:ent|var|imp|job|sq|ctg|cat|tr|synclog|map|run|dlv)-[0-9a-z]{16,}|aud-[0-9]+)\b"
)
OWN = re.compile(
    r"\bws-[0-9a-f]{8}\b|127\.0\.0\.1:\d+|\"checksum\":\"[0-9a-f]{64}\""
    r"|Catalog 'cat-(closed|shut)'|\bcursor=[\w-]+"
)
"""What any two workspaces differ in: id, ports, what is keyed, the catalog that a channel names."""
SCHEMA = "schema-bag"
HIDDEN = {
    "margin": "number",
    "code": "text",
    "grade": "option",
    "secret": "text",
    "flagged": "boolean",
    "since": "datetime",
    "local": "text",
}
"""Hidden by the role, each of another type."""
SCOPED = ("blurb", "local")
"""Texts by language: `blurb` is hidden by the state, `local` by the role."""
IN_REVIEW = {"memo": "text", "rank": "number", "tone": "option", "blurb": "text"}
"""Hidden by the state `review`."""
ROLE = {
    "attr-name": "write",
    "attr-price": "read",
    "attr-extra": "write",
    **{f"attr-{name}": "write" for name in IN_REVIEW},
    **{f"attr-{name}": "hidden" for name in HIDDEN},
}
FLAGS: dict[str, tuple[Flag, ...]] = {
    "role-blind": (),
    "role-porter": (Flag.EXPORT, Flag.IMPORT),
    "role-shaper": (Flag.MANAGE_SCHEMAS, Flag.MANAGE_OPTION_LISTS, Flag.MANAGE_DIMENSIONS),
}


@dataclass(frozen=True)
class World:
    """A workspace, with what is hidden in it."""

    workspace: DirectWorkspace
    values: dict[str, dict[str, Any]]
    """Record id -> its values of hidden attributes."""
    catalog: str
    """The catalog that may not be viewed, and a category in it."""
    assigned: tuple[str, ...]
    """The records in it."""

    async def build(self) -> None:
        w = self.workspace
        await w.option_list("grades", ["high", "low"])
        await w.dimension("language", ["en", "da", "sv"])
        await w.attribute("name", validation={"required": True})
        await w.attribute("price", "number", filterable=True)
        for name, kind in {**HIDDEN, **IN_REVIEW}.items():
            more: dict[str, Any] = {"optionListId": "ol-grades"} if kind == "option" else {}
            more["dimensionIds"] = ["dim-language"] if name in SCOPED else []
            rules = {"required": name in ("margin", "memo"), "unique": name == "code"}
            await w.attribute(name, kind, filterable=True, validation=rules, **more)
        guard = {"attributeId": "attr-margin", "operator": "equals", "value": 1}
        await w.attribute("extra", guards=[guard])
        hidden = {"hidden": [f"attr-{name}" for name in IN_REVIEW]}
        done = hidden | {"readOnly": ["attr-name"], "required": ["attr-secret"]}
        await w.workflow(
            states={"draft": {"required": ["attr-extra"]}, "review": hidden, "done": done},
            transitions=[
                ("draft", "review"),
                ("review", "done", {"requiresCompleteness": 100}),
                ("draft", "done", {"allowedRoleIds": ["role-admin"]}),
            ],
        )
        names = ["name", "price", "extra", *HIDDEN, *IN_REVIEW]
        await w.schema("bag", names, workflow="wf-lifecycle", variantEnabled=True)
        for catalog in ("open", self.catalog):
            await w.catalog(catalog)
            await w.category(catalog, catalog)
        rights = {"catalogId": "cat-open", "canView": True, "canAssign": True}
        for role, flags in FLAGS.items():
            more = {flag.value: True for flag in flags}
            await w.role(role, {"*": ROLE}, catalogPermissions=[rights], **more)
        for number, record in enumerate(self.values, start=1):
            plain = {"name": f"Bag {number}", "price": number}
            await w.record(SCHEMA, plain, id=record)
            moved = {"toStateId": "review"}
            (await w.admin.post(f"/records/{record}/transition", moved)).ok()
            body = {"values": entries(self.values[record])}
            (await w.admin.put(f"/records/{record}", body)).ok()
        own = {k: v for k, v in self.values["ent-2"].items() if k != "code"}
        variant = {"id": "var-1", "values": entries(own)}
        (await w.admin.post("/records/ent-1/variants", variant)).ok()
        for record in ("ent-1", "ent-2"):
            (await w.admin.post("/categories/ctg-open/assign", {"entityId": record})).ok()
        criterion = {"attribute": "margin", "operator": "lte", "value": 2}
        query = {"id": "sq-cheap", "name": "Cheap", "criteria": [criterion]}
        (await w.admin.post("/saved-queries", query)).ok()
        for record in self.assigned:
            (
                await w.admin.post(f"/categories/ctg-{self.catalog}/assign", {"entityId": record})
            ).ok()


def in_language(segment: str) -> list[dict[str, Any]]:
    return [{"scope": {"dim-language": segment}, "value": "text"}]


SINCE = "2026-01-01T00:00:00Z"
ONE: dict[str, dict[str, Any]] = {
    "ent-1": {"margin": 1, "code": "AAA", "grade": "val-high", "secret": "alpha", "memo": "pi"},
    "ent-2": {"margin": 2, "code": "BBB", "memo": "beta", "rank": 1, "tone": "val-high"},
    "ent-3": {"margin": 3, "code": "CCC", "secret": "rho", "memo": "gamma", "since": SINCE},
}
TWO: dict[str, dict[str, Any]] = {
    "ent-1": {"margin": 9, "code": "XXX", "secret": "omega", "memo": "delta", "since": SINCE},
    "ent-2": {"margin": 1, "code": "YYY", "grade": "val-low", "rank": 9, "memo": "zeta"},
    "ent-3": {"margin": 5, "code": "ZZZ", "secret": "eta", "flagged": False, "memo": "alpha"},
}
ONE["ent-1"] |= dict.fromkeys(SCOPED, in_language("seg-da"))
TWO["ent-1"] |= dict.fromkeys(SCOPED, in_language("seg-sv"))
TWO["ent-3"]["tone"] = "val-low"
"""What a gate counts is the same in both: whether it is open tells of hidden values, on purpose."""


Ask = tuple[str, str, Any, dict[str, str]]


def told(answer: Answer) -> str:
    """The whole answer, without times, made ids and what differs between any two answers."""
    body = answer.body
    if isinstance(body, dict) and body.get("nextCursor"):
        body = body | {"nextCursor": "more"}
    headers = {
        str(name): value
        for name, value in answer.headers.items()
        if name.lower() not in ("date", "x-request-id", "content-length")
    }
    text = orjson.dumps([answer.status, body, headers], default=str).decode()
    return masked(text)


def masked(text: str) -> str:
    """Without times, made ids and what differs between any two workspaces."""
    return OWN.sub("own", MADE_IDS.sub("made", TIMES.sub("time", text)))


async def compare(people: tuple[Caller, Caller], asks: list[Ask]) -> set[int]:
    """Ask both the same; all that differs is told at once. Answers the statuses seen."""
    found: list[str] = []
    statuses: set[int] = set()
    for method, path, body, headers in asks:
        sent: list[Any] = [] if body is None else [body]
        more: dict[str, Any] = {}
        if isinstance(body, tuple):
            line, params = body
            sent, more = [], {"data": line, "params": params}
            more["headers"] = {"Content-Type": "application/x-ndjson"}
        one, two = await asyncio.gather(
            *(who.having(headers).ask(method, path, *sent, **more) for who in people)
        )
        assert one.status != 500 and two.status != 500, (method, path, body)
        statuses |= {one.status, two.status}
        if told(one) != told(two):
            found.append(f"{method} {path} {body}\n  {told(one)[:700]}\n  {told(two)[:700]}")
    assert not found, "\n".join(found)
    return statuses
