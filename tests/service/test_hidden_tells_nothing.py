"""Two workspaces that differ in nothing but what is hidden answer every request alike.

One has other hidden values than the other: of an attribute that the role hides, of one that the
state of the record hides, and in a catalog that the role may not view. Whatever a caller with that
role asks, reads, filters, sorts, counts, writes, imports or tries out, the answers must be equal
to the letter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from tests.kit.direct import DirectServices
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries
from tests.service.hidden_worlds import (
    DRY,
    FLAGS,
    HIDDEN,
    IN_REVIEW,
    ONE,
    PROBLEMS,
    SCHEMA,
    SINCE,
    TWO,
    Ask,
    World,
    compare,
)
from tests.service.records.job_turns import finish
from tests.service.records.text_index import index_all

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worlds(direct: DirectServices) -> tuple[World, World]:
    made = (
        World(await direct.workspace(), ONE, "closed", ("ent-1", "ent-3")),
        World(await direct.workspace(), TWO, "shut", ("ent-2",)),
    )
    for world in made:
        await world.build()
    return made


def words() -> Iterator[tuple[str, Any]]:
    """Attributes that are hidden, from everybody or in the state, and values that one world has."""
    for name, kind in {**HIDDEN, **IN_REVIEW}.items():
        yield (
            name,
            {"number": 1, "boolean": True, "option": "val-high", "text": "alpha"}.get(kind, SINCE),
        )


def reads() -> Iterator[Ask]:
    """Everything that reads records, in all forms."""
    paths = [
        *("/records", "/records?limit=1", "/variants", "/search/text?query=alpha"),
        *("/records/ent-1", "/records/ent-1?version=3", "/records/ent-1?version=2"),
        *("/records/ent-1/audit", "/records/ent-1/audit?offset=1&limit=1"),
        *("/records/ent-1/completeness", "/records/ent-1/completeness?stateId=draft"),
        *("/records/ent-1/completeness?stateId=done", "/records/ent-1/transitions"),
        *("/records/ent-1/variants", "/records/ent-1/variants/var-1"),
        *("/records/ent-1/variants/var-1/resolved", "/records/ent-1/variants/var-1/completeness"),
        *("/catalogs", "/catalogs?limit=1", "/catalogs?ids=cat-closed,cat-shut,cat-open"),
        *("/catalogs?aliases=closed,open", "/catalogs?aliases=shut"),
        *(f"/catalogs/cat-{one}{more}" for one in ("closed", "shut") for more in ("", "/tree")),
        *(f"/categories/ctg-{one}" for one in ("closed", "shut")),
        *(f"/categories/ctg-{one}/entities" for one in ("closed", "shut")),
        *("/categories/ctg-open/entities", "/audit", "/saved-queries", "/jobs", "/imports"),
        *("/records?scope={}", "/records/ent-1?scope={}"),
        '/records/ent-1?scope={"dim-language":"seg-da"}',
        *("/saved-queries/sq-cheap", "/records?lifecycleStateId=review&updatedAfter=2026-01-01"),
        *("/search/text?query=beta", "/search/text?query=AAA", "/search/text?query=delta"),
    ]
    for path in paths:
        yield "GET", path, None, {}
        yield "GET", path, None, PROBLEMS
    for name, _ in words():
        yield "GET", f"/records?attributes={name}", None, {}
        yield "GET", f"/records?sort={name}", None, {}
        yield "GET", f"/records/ent-1?attributes={name}&scope={{}}", None, {}
    for limit in (1, 20):
        yield "POST", "/saved-queries/sq-cheap/execute", {"limit": limit}, {}
    for query in ("AAA", "alpha", "omega", "high", "gamma beta", "bag"):
        yield "POST", "/search/full-text", {"query": query, "facets": ["lifecycleStateId"]}, {}


def searches() -> Iterator[Ask]:
    for name, value in words():
        for operator in ("equals", "notEquals", "gt", "lte", "contains", "startsWith"):
            criterion = {"attribute": name, "operator": operator, "value": value}
            yield "POST", "/search", {"criteria": [criterion]}, {}
        for operator in ("in", "notIn"):
            criterion = {"attribute": name, "operator": operator, "value": [value]}
            yield "POST", "/search", {"criteria": [criterion]}, {}
        for operator in ("isEmpty", "isNotEmpty"):
            criterion = {"attribute": name, "operator": operator}
            yield "POST", "/search", {"criteria": [criterion]}, {}
            grouped = {"criteriaOperator": "or", "criteria": [criterion, criterion]}
            yield "POST", "/search", {"criteria": [grouped]}, {}
        for order in ("asc", "desc"):
            sort = [{"attribute": name, "order": order}]
            yield "POST", "/search", {"criteria": [], "sort": sort}, {}
            yield "POST", "/search", {"criteria": [], "sort": sort, "limit": 1, "scope": {}}, {}
        yield "POST", "/search", {"criteria": [], "facets": [name]}, {}
        yield "POST", "/search", {"criteria": [], "attributes": [name], "scope": {}}, {}


def searches_of_fields() -> Iterator[Ask]:
    for minimum in (0, 1, 20, 34, 50, 51, 67, 75, 99, 100):
        for state in ("draft", "review", "done", None):
            criterion = {"field": "completeness", "operator": "gte", "value": minimum}
            if state is not None:
                criterion["stateId"] = state
            yield "POST", "/search", {"criteria": [criterion]}, {}
    for order in ("asc", "desc"):
        sort = [{"field": "completeness", "order": order}, {"field": "id"}]
        yield "POST", "/search", {"criteria": [], "sort": sort}, {}
    for category in ("ctg-open", "ctg-closed", "ctg-shut"):
        for operator in ("equals", "notEquals"):
            criterion = {"field": "categoryId", "operator": operator, "value": category}
            yield "POST", "/search", {"criteria": [criterion]}, {}
    for operator in ("isEmpty", "isNotEmpty"):
        yield "POST", "/search", {"criteria": [{"field": "categoryId", "operator": operator}]}, {}
    facets = ["schemaId", "lifecycleStateId", "categoryId"]
    yield "POST", "/search", {"criteria": [], "facets": facets}, {}


def writes() -> Iterator[Ask]:
    """Tried out, so that the next one finds the same."""
    for headers in (DRY, DRY | PROBLEMS):
        for name, value in (*words(), ("name", "New")):
            body = {"values": entries({name: value})}
            yield "PUT", "/records/ent-1", body, headers
            yield "PUT", "/records/ent-1", body, headers | {"If-Match": '"2"'}
            yield "PATCH", f"/records/ent-1/values/{name}", {"value": value}, headers
            yield "PATCH", f"/records/ent-1/values/{name}", {"value": None}, headers
            yield "PUT", "/records/ent-1/variants/var-1", body, headers
            yield "POST", "/records/ent-1/variants", body | {"id": "var-2"}, headers
            if name in HIDDEN:
                # In the first state those of the review are open.
                yield "POST", "/records", body | {"schemaId": SCHEMA}, headers


def matches() -> Iterator[Ask]:
    """Rows that find their record by a unique value that is hidden."""
    for headers in (DRY, DRY | PROBLEMS):
        for code in ("AAA", "XXX", "new"):
            for match in ("code", "attr-code"):
                rows = {"operations": [{"schemaId": SCHEMA, "values": entries({"code": code})}]}
                for mode in ("partial", "atomic"):
                    for missing in ("fail", "create"):
                        query = f"mode={mode}&match={match}&onMissing={missing}"
                        yield "POST", f"/records/bulk?{query}", rows, headers


def changes() -> Iterator[Ask]:
    """Restores, merges, deletions, transitions and assignments, tried out."""
    for headers in (DRY, DRY | PROBLEMS):
        for version in (1, 2, 3):
            yield "POST", "/records/ent-1/restore", {"version": version}, headers
        named = {"values": entries({"name": "New"})}
        for version in (1, 2, 3, 9):
            match = {"If-Match": f'"{version}"'}
            yield "PUT", "/records/ent-1", named, headers | match
            yield "PATCH", "/records/ent-1/values/name", {"value": "N"}, headers | match
            yield "PATCH", "/records/ent-1/values/price", {"value": 1}, headers | match
            yield "DELETE", "/records/ent-1", None, headers | match
        for target in ("done", "draft", "review", "nowhere"):
            yield "POST", "/records/ent-1/transition", {"toStateId": target}, headers
            moved = {"ids": ["ent-1", "ent-2", "ent-3"], "toStateId": target}
            yield "POST", "/records/bulk-transition", moved, headers
            yield "POST", "/records/bulk-transition?mode=atomic", moved, headers
        yield "POST", "/records/bulk-delete", {"ids": ["ent-1", "ent-2"]}, headers
        for category in ("ctg-open", "ctg-closed", "ctg-shut"):
            for record in ("ent-1", "ent-2", "ent-3"):
                for verb in ("assign", "unassign"):
                    path = f"/categories/{category}/{verb}"
                    yield "POST", path, {"entityIds": [record]}, headers


def explanations() -> Iterator[Ask]:
    for name in (*HIDDEN, *IN_REVIEW, "name"):
        for action in ("read", "write"):
            question = {"action": action, "entityId": "ent-1", "attribute": name}
            yield "POST", "/permissions/explain", question, {}
    for record in ("ent-1", "ent-2", "ent-3"):
        for target in ("done", "draft"):
            question = {"action": "transition", "entityId": record, "toStateId": target}
            yield "POST", "/permissions/explain", question, {}
    for catalog in ("cat-open", "cat-closed", "cat-shut"):
        for action in ("read", "assign", "manage"):
            question = {"action": action, "catalogId": catalog}
            yield "POST", "/permissions/explain", question, {}


def exports() -> Iterator[Ask]:
    for form in ("json", "csv", "ndjson", "xlsx"):
        for more in ("", "&columns=resolved", "&columns=perScope", "&scope={}"):
            for variants in ("", "&variants=true"):
                yield "GET", f"/export?format={form}{more}{variants}", None, {}
    for catalog in ("cat-closed", "cat-open", "cat-nowhere"):
        yield "GET", f"/export?catalogId={catalog}", None, {}


def rows() -> Iterator[dict[str, Any]]:
    """Rows that name what is hidden: by value, as a key, and as a category."""
    for name, value in words():
        yield {name: str(value), "name": "New"}
        yield {"_id": "ent-1", name: str(value)}
        yield {"_id": "ent-1", name: "\\N"}
        yield {"_id": "ent-2", f"attr-{name}": str(value)}
    for category in ("ctg-closed", "shut/shut", "ctg-open", "ctg-open|ctg-closed", "\\N"):
        yield {"_id": "ent-1", "_categories": category}
        yield {"name": "New", "_categories": category}


def imports() -> Iterator[Ask]:
    for row in rows():
        body = {"schemaId": SCHEMA, "rows": [row]}
        yield "POST", "/import/preview", body, {}
        yield "POST", "/import/execute", body, DRY
    for code in ("AAA", "XXX", "new"):
        for match in ("code", "attr-code", "externalKey"):
            line = orjson.dumps({"code": code, "name": "New"})
            named = {"schemaId": SCHEMA, "match": match}
            yield "POST", "/imports", (line, named), DRY
    for row in rows():
        yield "POST", "/imports", (orjson.dumps(row), {"schemaId": SCHEMA}), DRY


def changes_of_attributes() -> Iterator[tuple[str, dict[str, Any]]]:
    """What a PUT would send of the attributes that are hidden, by name."""
    for name, kind in {**HIDDEN, **IN_REVIEW}.items():
        base: dict[str, Any] = {"alias": name, "name": name, "type": kind, "dimensionIds": []}
        if kind == "option":
            base["optionListId"] = "ol-grades"
        yield name, base | {"validation": {"unique": True}}
        yield name, base | {"validation": {"required": True}, "filterable": False}
        yield name, base | {"type": "boolean" if kind == "text" else "text", "optionListId": None}
        yield name, base | {"alias": "price-2"}
        if kind == "number":
            yield name, base | {"validation": {"min": 2, "max": 5}}
        if kind == "text":
            yield name, base | {"validation": {"pattern": "^a"}}


def model_changes() -> Iterator[Ask]:
    for name, body in changes_of_attributes():
        for headers in (DRY, DRY | PROBLEMS):
            yield "PUT", f"/attributes/attr-{name}", body, headers
        yield "POST", f"/attributes/attr-{name}/preview", body, {}
    for name in (*HIDDEN, *IN_REVIEW):
        yield "DELETE", f"/attributes/attr-{name}", None, DRY
        for kind in ("text", "number", "boolean", "datetime"):
            for failing in ("refuse", "drop"):
                body = {"type": kind, "onFailure": failing}
                yield "POST", f"/attributes/attr-{name}/convert", body, DRY
        guard = {"attributeId": f"attr-{name}", "operator": "isNotEmpty"}
        guarded = {"alias": "price", "name": "price", "type": "number", "guards": [guard]}
        yield "PUT", "/attributes/attr-price", guarded, DRY
        yield "POST", "/attributes/attr-price/preview", guarded, {}
        kept = [
            f"attr-{one}" for one in ("name", "price", "extra", *HIDDEN, *IN_REVIEW) if one != name
        ]
        group = {"id": "grp-bag", "name": "General", "sortOrder": 0, "attributeIds": kept}
        for workflow in ("wf-lifecycle", None):
            schema = {"alias": "bag", "name": "bag", "variantEnabled": True, "workflowId": workflow}
            schema["attributeGroups"] = [group]
            yield "PUT", f"/schemas/{SCHEMA}", schema, DRY
            yield "POST", f"/schemas/{SCHEMA}/preview", schema, {}
    for option in ("high", "low"):
        other = {"id": f"val-{option}", "alias": option, "label": option}
        lists = {"alias": "grades", "name": "grades", "values": [other]}
        yield "PUT", "/option-lists/ol-grades", lists, DRY
        yield "POST", "/option-lists/ol-grades/preview", lists, {}
        yield "DELETE", f"/option-lists/ol-grades/values/val-{option}", None, DRY
    yield "DELETE", "/option-lists/ol-grades", None, DRY
    yield "DELETE", f"/schemas/{SCHEMA}", None, DRY
    for default, kept in (("en", "en da"), ("en", "en sv"), ("da", "en da sv"), ("sv", "en sv da")):
        segments = [{"id": f"seg-{one}", "alias": one, "name": one} for one in kept.split()]
        language = {"alias": "language", "name": "language", "segments": segments}
        language["defaultSegmentId"] = f"seg-{default}"
        yield "PUT", "/dimensions/dim-language", language, DRY
    yield "DELETE", "/dimensions/dim-language", None, DRY
    states = [{"id": f"state-{name}", "name": name} for name in ("draft", "review", "done")]
    step = {"fromStateId": "state-review", "toStateId": "state-done"}
    for minimum in (10, 34, 50, 67, 99):
        flow = {
            "alias": "lifecycle",
            "name": "lifecycle",
            "defaultStateId": "state-draft",
            "states": [one | {"required": ["attr-margin", "attr-grade"]} for one in states],
            "transitions": [step | {"requiresCompleteness": minimum}],
        }
        yield "PUT", "/workflows/wf-lifecycle", flow, DRY
        yield "POST", "/workflows/wf-lifecycle/preview", flow, {}
    yield "GET", "/jobs", None, {}


@pytest.mark.parametrize(
    ("role", "asks"),
    [
        ("role-blind", reads),
        ("role-blind", searches),
        ("role-blind", searches_of_fields),
        ("role-blind", writes),
        ("role-blind", matches),
        ("role-blind", changes),
        ("role-blind", explanations),
        ("role-porter", exports),
        ("role-porter", imports),
        ("role-shaper", model_changes),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
async def test_what_is_hidden_changes_no_answer(worlds: tuple[World, World], role: str, asks: Any):
    await check(worlds, role, asks)


@pytest.mark.parametrize(
    "asks", [reads, searches, searches_of_fields], ids=lambda asks: asks.__name__
)
async def test_what_is_hidden_changes_no_answer_of_an_index(
    direct: DirectServices, worlds: tuple[World, World], asks: Any
):
    """As before, once values and words are searched by their indexes."""
    for world in worlds:
        services = [direct.running[f"{name}_service"] for name in ("records", "workflow")]
        workspace = RecordsWorkspace(*services, world.workspace.id)
        await finish(workspace)
        await index_all(workspace)
        attribute = (await world.workspace.admin.get("/attributes/attr-margin")).ok()
        assert attribute["filterableSince"] is not None
    await check(worlds, "role-blind", asks)


async def check(worlds: tuple[World, World], role: str, asks: Any) -> None:
    for world in worlds:
        # What an administrator is shown must not be shown to others afterwards.
        for path in ("/records", "/records/ent-1", "/variants", "/records/ent-1/audit"):
            seen = orjson.dumps((await world.workspace.admin.get(path)).ok()).decode()
            assert "margin" in seen
    one, two = [world.workspace.user(role, FLAGS[role]) for world in worlds]
    statuses = await compare((one, two), list(asks()))
    assert statuses & {200, 202}
    assert statuses & {400, 403, 404}
