"""What a page of a list costs: neither other workspaces nor what lies behind the page count.

The workspace has tens of thousands of rows of everything, and two hundred others have as many
together. Each statement of a request is explained with its arguments before it is executed, and the
blocks that it reads are counted: a page of fifty needs some hundred, a whole table some thousand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest
import pytest_asyncio

from shared.database.connection import PooledConnection
from shared.identity import Flag
from tests.kit.described import DOCUMENT
from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.service import RunningService
from tests.service.rows_of_lists import (
    API_KEYS,
    CHANGE_SETS,
    CHANNELS,
    FILL,
    MODEL,
    MODEL_ROWS,
    MODEL_TABLES,
    ROLES,
    WEBHOOKS,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

ROWS = 20_000
OTHERS = 200
BLOCKS_MAX = 800
BLOCKS_COUNTED_MAX = 1_200
"""Where a total is told: up to 10,001 rows are counted."""
PADDING = "x" * 400
RARE_FLAGS = (Flag.MANAGE_SCHEMAS, Flag.IMPORT)

OF_A_RARE_USER: dict[str, list[dict[str, str]]] = {
    # A user whose role is limited sees only their own.
    "/jobs": [{}, {"kind": "make-unique"}, {"status": "failed"}, {"kind": "convert"}],
    "/imports": [{}],
    # Of most schemas, the role sees nothing but ids.
    "/records": [{}, {"schemaId": "schema-rare"}],
    "/variants": [{}, {"schemaId": "schema-rare"}],
    "/records/ent-1/variants": [{}],
    "/categories/ctg-a/entities": [{}, {"includeSubcategories": "true"}],
}
OPENED = {
    "/records": [
        {},
        {"schemaId": "schema-x"},
        {"schemaId": "schema-rare"},
        {"lifecycleStateId": "state-rare"},
        {"schemaId": "schema-x", "lifecycleStateId": "state-rare"},
        {"externalKey": "K/77"},
        {"ids": "ent-5,ent-20000"},
        {"updatedAfter": "2024-01-01T05:00:00Z"},
        *({"sort": sort} for sort in ("-createdAt", "updatedAt", "-updatedAt", "id", "-id")),
        *(
            {"sort": sort, **rare}
            for sort in ("createdAt", "-createdAt", "updatedAt", "-updatedAt", "id", "-id")
            for rare in (
                {"schemaId": "schema-rare"},
                {"lifecycleStateId": "state-rare"},
                {"schemaId": "schema-x", "lifecycleStateId": "state-rare"},
                {"updatedAfter": "2024-01-01T05:33:00Z"},
                {"updatedAfter": "2024-01-01T05:33:00Z", "schemaId": "schema-x"},
                {"updatedAfter": "2024-01-01T00:01:00Z", "schemaId": "schema-rare"},
                {"updatedAfter": "2024-01-01T00:01:00Z", "lifecycleStateId": "state-rare"},
            )
        ),
        {"ids": "ent-5,ent-20000", "sort": "-updatedAt", "schemaId": "schema-x"},
    ],
    "/variants": [{}, {"schemaId": "schema-x"}, {"schemaId": "schema-rare"}],
    "/records/ent-1/variants": [{}],
    "/records/ent-1/audit": [{}],
    "/audit": [
        {},
        {"entityId": "ent-1"},
        {"action": "delete"},
        {"action": "transition"},
        {"action": "update"},
        {"userId": "user-often"},
        {"userId": "user-rare"},
        {"userId": "user-never"},
        {"userId": "user-rare", "action": "update"},
        {"userId": "user-often", "action": "delete"},
        {"userId": "user-rare", "action": "delete"},
        {"userId": "user-rare", "entityId": "ent-1"},
        {"action": "delete", "entityId": "ent-1"},
    ],
    "/jobs": [
        {},
        {"status": "failed"},
        {"kind": "make-unique"},
        {"kind": "convert"},
        {"kind": "remove-values"},
        {"attributeId": "attr-77"},
        {"attributeId": "attr-77", "status": "failed"},
        {"attributeId": "attr-often", "kind": "convert"},
        {"attributeId": "attr-often", "status": "running"},
        {"attributeId": "attr-often", "kind": "make-unique", "status": "running"},
        {"schemaId": "schema-x"},
        {"status": "running"},
        {"status": "succeeded"},
        {"status": "running", "kind": "convert"},
        {"status": "failed", "kind": "convert"},
    ],
    "/change-sets": [
        {},
        {"status": "draft"},
        {"status": "approved"},
        {"sourceType": "import"},
        {"sourceType": "agent", "status": "approved"},
        {"sourceType": "import", "status": "draft"},
        {"entityId": "ent-77"},
        {"entityId": "ent-77", "status": "draft"},
    ],
    "/webhooks/wh-1/deliveries": [{}, {"status": "failed"}, {"status": "dropped"}],
    "/change-sets/cs-1/operations": [{}, {"status": "pending"}, {"status": "rejected"}],
    "/channels/ch-1/sync-logs": [{"limit": "50"}],
    "/channels/ch-1/sync-logs/synclog-2/errors": [{}],
    "/channels/ch-1/sync-mappings": [{"limit": "50"}, {"limit": "50", "entityId": "ent-77"}],
    "/imports": [{}],
    "/imports/imp-1/errors": [{}],
    "/categories/ctg-a/entities": [{}, {"includeSubcategories": "true"}],
    "/option-lists/ol-a/values": [
        {},
        {"externalKey": "K/77"},
        {"parentId": "val-1"},
        {"parentId": "val-2"},
        {"parentId": "val-3"},
        {"parentId": ""},
        {"parentId": "", "query": "Option 777"},
    ],
    **{
        f"/{table.replace('_', '-')}": [
            {"limit": "50"},
            {"limit": "50", "ids": f"{prefix}-n7,{prefix}-n1900"},
            {"limit": "50", "aliases": "n77"},
            {"limit": "50", "externalKey": "K/77"},
        ]
        for table, prefix in MODEL_TABLES.items()
    },
    "/roles": [{"limit": "50"}, {"limit": "50", "ids": "role-n7,role-n1900"}],
    "/api-keys": [{}],
}


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str, Any]]:
    """Blocks read, text and plan of each statement that only reads, from here on."""
    found: list[tuple[int, str, Any]] = []
    explain = PooledConnection.fetchval

    async def note(conn: Any, sql: str, *values: Any) -> None:
        if sql.lstrip().upper().startswith(("SELECT", "WITH")):
            said = await explain(conn, f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *values)
            (plan,) = orjson.loads(said) if isinstance(said, str) else said
            top = plan["Plan"]
            found.append((top["Shared Hit Blocks"] + top["Shared Read Blocks"], sql, top))

    for name in ("fetch", "fetchrow", "fetchval"):
        original = getattr(PooledConnection, name)

        async def noting(
            self: Any, sql: str, *values: Any, _do: Any = original, **more: Any
        ) -> Any:
            if not sql.startswith("EXPLAIN"):
                await note(self, sql, *values)
            return await _do(self, sql, *values, **more)

        monkeypatch.setattr(PooledConnection, name, noting)
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def filled(direct: DirectServices) -> DirectWorkspace:
    workspace = await direct.workspace()
    await workspace.attribute("name")
    for name in ("x", "rare"):
        await workspace.schema(name, ["name"], variantEnabled=True)
    await workspace.dimension("d", ["e"])
    await workspace.workflow("w")
    admin = workspace.admin
    (await admin.post("/catalogs", {"id": "cat-a", "alias": "a", "name": "A"})).ok()
    (await admin.post("/catalogs/cat-a/categories", {"id": "ctg-a", "name": "A"})).ok()
    view = {"catalogId": "cat-a", "canView": True, "canAssign": False}
    seen = {"schema-rare": {"attr-name": "read"}}
    await workspace.role("role-rare", seen, catalogPermissions=[view])
    (await admin.post("/option-lists", {"id": "ol-a", "alias": "a", "name": "A"})).ok()
    await fill(direct.running["records_service"], workspace.id, FILL, own=ROWS)
    for service, table, prefix in (
        *(("records_service", table, MODEL_TABLES[table]) for table in [*MODEL_TABLES][:5]),
        ("workflow_service", "workflows", "wf"),
    ):
        more = ("", "") if table in ("catalogs", "workflows") else (", changed_in", ", 1")
        insert = MODEL.replace("{table}", table).replace("{prefix}", prefix)
        insert = insert.replace("{more}", more[0]).replace("{one}", more[1])
        await fill(direct.running[service], workspace.id, {table: insert}, own=MODEL_ROWS)
    await fill(direct.running["workflow_service"], workspace.id, CHANGE_SETS, own=ROWS)
    await fill(direct.running["workflow_service"], workspace.id, WEBHOOKS, own=ROWS)
    await fill(direct.running["workflow_service"], workspace.id, CHANNELS, own=ROWS)
    auth = direct.running["auth_service"]
    await fill(auth, workspace.id, {"roles": ROLES}, own=MODEL_ROWS)
    await fill(auth, workspace.id, {"api_keys": API_KEYS}, own=50)
    await direct.running["records_service"].database.execute(
        "UPDATE option_lists SET value_count = $2, counted_version = version"
        " WHERE workspace_id = $1 AND id = 'ol-a'",
        workspace.id,
        ROWS,
    )
    return workspace


async def fill(
    service: RunningService, workspace_id: str, inserts: Mapping[str, str], *, own: int
) -> None:
    """Rows of this workspace, and `ROWS` of others together, without foreign keys and triggers."""
    conn = await service.database.connect(statement_timeout="0", session_replication_role="replica")
    try:
        for table, insert in inserts.items():
            first = f", (SELECT * FROM {table} WHERE workspace_id = '{workspace_id}' LIMIT 1) first"
            for ws, rows in ((f"'{workspace_id}'", own), (f"'ws-' || n % {OTHERS}", ROWS)):
                await conn.execute(
                    insert.format(ws=ws, padding=PADDING)
                    + f" FROM generate_series(1, {rows}) AS n"
                    + (first if "first.body" in insert else "")
                )
            await conn.execute(f"VACUUM ANALYZE {table}")
    finally:
        await conn.close()


def asked() -> list[tuple[bool, str, dict[str, str]]]:
    return [
        (is_rare, path, filters)
        for is_rare, opened in ((False, OPENED), (True, OF_A_RARE_USER))
        for path, each in opened.items()
        for filters in each
    ]


@pytest.mark.parametrize(("is_rare", "path", "filters"), asked(), ids=str)
async def test_a_page_reads_what_it_shows(
    filled: DirectWorkspace,
    blocks: list[tuple[int, str, Any]],
    is_rare: bool,
    path: str,
    filters: dict[str, str],
):
    caller = filled.user("role-rare", RARE_FLAGS) if is_rare else filled.admin
    pages = [filters]
    if filters.get("limit") is None and path != "/api-keys":
        pages = [{**filters, "total": "none"}, filters]
        far = {**filters, "offset": str(ROWS // 60), "limit": "1"}
        cursor = (await caller.get(path, params=far)).ok()["nextCursor"]
        if cursor is not None:
            pages.append({**filters, "total": "none", "cursor": cursor})
    for page in pages:
        blocks.clear()
        (await caller.get(path, params=page)).ok()
        cost, sql, plan = max(blocks, key=lambda one: one[0])
        at_most = BLOCKS_MAX if "total" in page else BLOCKS_COUNTED_MAX
        assert cost <= at_most, (page, cost, sql, orjson.dumps(plan).decode())


async def test_every_paged_list_is_among_them():
    paged = {
        path.removeprefix("/api/v1")
        for path, operations in DOCUMENT["paths"].items()
        if any(
            one.get("name") == "offset" for one in operations.get("get", {}).get("parameters", ())
        )
    }
    # Measured by benchmarks/search.py: what it costs depends on what the text matches.
    paged.discard("/search/text")
    known = dict.fromkeys(("ent-1", "imp-1", "ctg-a", "ol-a", "cs-1", "wh-1", "ch-1"), "{id}")
    known["synclog-2"] = "{logId}"
    assert paged <= {"/".join(known.get(part, part) for part in path.split("/")) for path in OPENED}
