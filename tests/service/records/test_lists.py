"""Lists of very many records: what a page costs, and what lists leave to everybody else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from records_service import lists
from records_service.app import create_app
from records_service.config import Config
from records_service.history import store as audit
from records_service.history.versions import store as versions
from records_service.lists import LISTS
from records_service.records import store
from records_service.records.store import Filters
from records_service.writes.model import Record
from shared.database import DATABASE, Conn
from shared.database.connection import PooledConnection
from shared.database.paging import Order, PageQuery, Place, place_of
from shared.database.pool import STATEMENT_TIMEOUT_S
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import PATIENCE_S, RunningService, Services
from tests.kit.sigma import Caller, error

WORKSPACE = "ws-lists"
QUICK_S, LIST_TIMEOUT_S = lists.QUICK_S, lists.LIST_TIMEOUT_S


@pytest.fixture(autouse=True)
def as_in_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long is found to be slow; what a test keeps waiting has the time for it."""
    monkeypatch.setattr(lists, "QUICK_S", QUICK_S)
    monkeypatch.setattr(lists, "LIST_TIMEOUT_S", PATIENCE_S)


@pytest.fixture
async def service(services: Services) -> RunningService:
    return await services.start(create_app, Config)


@pytest.fixture
async def admin(service: RunningService) -> Caller:
    return await seeded(service, WORKSPACE)


async def seeded(service: RunningService, workspace_id: str) -> Caller:
    """An administrator of a workspace with one schema."""
    workspace = RecordsWorkspace(service, service, workspace_id)
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    return workspace.admin


async def create(caller: Caller, *record_ids: str) -> None:
    for record_id in record_ids:
        values = {"sku": [{"scope": {}, "value": record_id}]}
        body = {"id": record_id, "schemaId": "schema-x", "values": values}
        (await caller.post("/records", body)).ok()


class Explained:
    """A connection that keeps the plan of what is read through it."""

    off: Sequence[str] = ("enable_seqscan", "enable_bitmapscan")
    """On few rows reading all of them is cheapest."""

    def __init__(self, conn: Conn) -> None:
        self._conn = conn
        self.plan: dict[str, Any] = {}

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self._conn.transaction():
            for setting in self.off:
                await self._conn.execute(f"SET LOCAL {setting} = off")
            plan = await self._conn.fetchval(f"EXPLAIN (VERBOSE, FORMAT JSON) {query}", *arguments)
        self.plan = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
        return await self._conn.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return (await self.fetch(query, *arguments))[0]

    def node(self, kind: str, **having: str) -> dict[str, Any]:
        """The node of this type that has these properties."""
        return next(
            node
            for node in nodes(self.plan)
            if node["Node Type"] == kind and having.items() <= node.items()
        )


class Planned(Explained):
    """The same with the plan that PostgreSQL prefers."""

    off = ()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for part in plan.get("Plans", ()) for node in nodes(part))]


def second(order: Order) -> Place:
    """The page after two rows, one row long."""
    return place_of(WORKSPACE, "/things", PageQuery(offset=2, limit=1), order)


@pytest.mark.parametrize(
    ("filters", "index"),
    [
        (Filters(), "records_in_order"),
        (Filters(schema_id="schema-x"), "records_by_schema"),
        (Filters(state_ids=("state-rare",)), "records_in_state"),
    ],
)
async def test_what_comes_before_a_page_is_skipped_in_an_index(
    service: RunningService, admin: Caller, filters: Filters, index: str
):
    await create(admin, *(f"ent-{n}" for n in range(3)))
    await service.database.execute("VACUUM ANALYZE records")
    async with service.database.acquire() as conn:
        explained: Any = Explained(conn)
        await store.page(
            explained, WORKSPACE, filters=filters, place=second(store.ORDERS["createdAt"])
        )
    start = explained.node("Limit", **{"Subplan Name": "CTE start"})
    assert all(not any("values" in o for o in node["Output"]) for node in nodes(start))
    skipping = nodes(start)[-1]
    assert (skipping["Node Type"], skipping["Index Name"]) == ("Index Only Scan", index)
    page = nodes(explained.node("Nested Loop", **{"Subplan Name": "CTE page"}))
    [reading] = [node for node in page if node.get("Relation Name") == "records"]
    assert (reading["Node Type"], reading["Index Name"]) == ("Index Scan", index)
    assert "ROW(" in reading["Index Cond"]
    assert not any(node["Node Type"] == "Sort" for node in (*nodes(start), *page))


async def test_what_comes_before_a_page_of_history_is_skipped_in_an_index(
    service: RunningService, admin: Caller
):
    await create(admin, *(f"ent-{n}" for n in range(3)))
    await service.database.execute("VACUUM ANALYZE audit")
    for record_id, order in ((None, audit.OF_A_WORKSPACE), ("ent-0", audit.OF_A_RECORD)):
        async with service.database.acquire() as conn:
            explained: Any = Explained(conn)
            await audit.page(
                explained,
                WORKSPACE,
                record_id=record_id,
                place=second(order),
            )
        wanted = explained.node("Limit", **{"Subplan Name": "CTE wanted"})
        assert nodes(wanted)[-1]["Node Type"] == "Index Only Scan"
        outputs = [node.get("Output", ()) for node in nodes(wanted)]
        assert not any("changes" in each for output in outputs for each in output)


async def test_versions_of_a_record_are_found_among_any_number_of_entries(
    service: RunningService, admin: Caller
):
    """Entries of variants have the version of their record: they are not sorted, nor all read."""
    await create(admin, "ent-a")
    await service.database.execute(
        """
        INSERT INTO audit (workspace_id, record_id, variant_id, version, schema_id, action, user_id,
                           at, changes)
        SELECT $1, 'ent-a', nullif(n % 3, 0)::text, n / 3, 'schema-x', 'update', 'user-a', now(),
               '[]'
          FROM generate_series(6, 60000) AS n
        """,
        WORKSPACE,
    )
    await service.database.execute("VACUUM ANALYZE audit")
    now = datetime.now(UTC)
    record = Record(
        *(WORKSPACE, "ent-a", "schema-x", None, 20_000, {}),
        *(now - timedelta(days=1), now, "user-a", "user-a", None),
    )
    async with service.database.acquire() as conn:
        planned: Any = Planned(conn)
        kept = await versions.kept(planned, record)
        assert (kept.first, kept.numbered, kept.unnumbered) == (1, 1, 0)
        assert not any(node["Node Type"] in ("Sort", "Seq Scan") for node in nodes(planned.plan))
        found = await versions.steps(planned, record, kept, 100, 120)
    assert found is not None
    assert len(found) == 21
    entry = planned.node("Nested Loop", **{"Subplan Name": "CTE entry"})
    (scan,) = (node for node in nodes(entry) if "Index Name" in node)
    assert scan["Index Name"] == "audit_first_of_record"
    assert "wanted.version" in scan["Index Cond"]


@pytest.mark.parametrize(
    ("filters", "kind", "index"),
    [
        ({"action": "delete"}, "Index Only Scan", "audit_first_of_rare_actions"),
        ({"action": "transition"}, "Index Only Scan", "audit_first_of_rare_actions"),
        ({"user_id": "user-rare"}, "Bitmap Index Scan", "audit_first_by_user"),
    ],
)
async def test_rare_entries_of_the_history_are_found_by_index(
    service: RunningService, admin: Caller, filters: dict[str, str], kind: str, index: str
):
    await create(admin, "ent-a")
    await service.database.execute(
        """
        INSERT INTO audit (workspace_id, record_id, version, schema_id, action, user_id, at,
                           changes)
        SELECT $1, 'ent-a', n, 'schema-x', 'update', 'user-' || n % 3, now(), '[]'
          FROM generate_series(2, 60000) AS n
        """,
        WORKSPACE,
    )
    await service.database.execute("VACUUM ANALYZE audit")
    place = place_of(WORKSPACE, "/audit", PageQuery(limit=50), audit.OF_A_WORKSPACE)
    async with service.database.acquire() as conn:
        planned: Any = Planned(conn)
        await audit.page(planned, WORKSPACE, place=place, **filters)
    found = [node for node in nodes(planned.plan) if "Index Name" in node]
    # Of the page and of the total, in the partition that has the entries.
    assert [node["Node Type"] for node in found if node["Index Name"] == index] == [kind, kind]


async def test_every_page_tells_how_many_there_are(admin: Caller):
    await create(admin, "ent-a", "ent-b", "ent-c", "ent-d")
    assert (await admin.delete("/records/ent-b")).status == 204
    for query in ("", "?schemaId=x"):
        for offset, limit, ids in (
            (0, 2, ["ent-a", "ent-c"]),
            (1, 1, ["ent-c"]),
            (0, 3, ["ent-a", "ent-c", "ent-d"]),
            (2, 5, ["ent-d"]),
            (3, 5, []),
            (900_000, 1, []),
        ):
            address = f"/records{query or '?'}&offset={offset}&limit={limit}"
            page = (await admin.get(address)).ok()
            assert ([item["id"] for item in page["items"]], page["total"]) == (ids, 3), address
    none = (await admin.get("/records?lifecycleStateId=state-x")).ok()
    assert (none["items"], none["total"]) == ([], 0)
    for offset, count in ((0, 2), (4, 1), (5, 0)):
        page = (await admin.get(f"/audit?offset={offset}&limit=2")).ok()
        assert (len(page["items"]), page["total"]) == (count, 5)


@asynccontextmanager
async def slow_history(service: RunningService) -> AsyncIterator[None]:
    """Meanwhile the history waits for a lock, as if it had a million entries before the page."""
    blocker = await service.database.connect()
    try:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE audit IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await blocker.close()


async def test_slow_lists_leave_connections_to_others(
    service: RunningService, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    """Also the first ones, of which nobody knows yet that they are slow."""
    begun: list[str] = []

    def counted(conn: Conn, **more: Any) -> Any:
        begun.append("page")
        return original(conn, **more)

    original = audit.page
    monkeypatch.setattr(audit, "page", counted)
    other = await seeded(service, "ws-other")
    await create(admin, "ent-a")
    database = service.app[DATABASE]
    async with slow_history(service):
        asked = [asyncio.create_task(admin.get("/audit?offset=900000")) for _ in range(16)]
        await eventually(lambda: service.app[LISTS].is_slow(WORKSPACE))
        assert (await admin.get("/records/ent-a")).status == 200
        await eventually(lambda: database.connections["lent"] == 2)
        # Once on each connection, and two as slow ones: the rest knew while they waited.
        assert len(begun) <= service.config.database_connections_max + 2
        change = {"alias": "sku", "name": "S", "type": "text"}
        (await admin.put("/attributes/attr-sku", change)).ok()
        assert (await other.get("/records")).ok()["total"] == 0
    for answer in await asyncio.gather(*asked):
        assert answer.status == 200


async def test_slow_lists_that_wait_too_long_are_refused(
    services: Services, service: RunningService, admin: Caller
):
    other = await seeded(service, "ws-other")
    hasty = await services.start(
        create_app, Config, database_url=service.config.database_url, wait_seconds=0.3
    )
    admin, other = admin.at(hasty.url), other.at(hasty.url)
    async with slow_history(service):
        first = [asyncio.create_task(each.get("/audit")) for each in (admin, other)]
        await eventually(
            lambda: all(hasty.app[LISTS].is_slow(each) for each in (WORKSPACE, "ws-other"))
        )
        asked = [asyncio.create_task(admin.get("/audit")) for _ in range(8)]
        await eventually(lambda: sum(one.done() for one in asked) == 7)
        refused = error(
            503,
            "SERVICE_UNAVAILABLE",
            "Too many lists of this workspace are being read at once",
        )
        assert all(one.result().outcome == refused for one in asked if one.done())
        # Two of three places are one workspace's, and the third is another's.
        refused = error(503, "SERVICE_UNAVAILABLE", "Too many lists are being read at once")
        assert (await other.get("/records")).outcome == refused
    answers = await asyncio.gather(*first, *asked)
    assert [one.status for one in answers].count(200) == 3


async def test_lists_are_quick_again_after_a_while(
    service: RunningService, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lists, "SLOW_FOR_S", 0)
    async with slow_history(service):
        asked = asyncio.create_task(admin.get("/audit"))
        await eventually(lambda: bool(service.app[LISTS]._slow_until))
        assert not service.app[LISTS].is_slow(WORKSPACE)
    assert (await asked).ok()["total"] == 0


async def test_only_the_latest_slow_workspaces_are_remembered(
    service: RunningService, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(lists, "SLOW_WORKSPACES_MAX", 1)
    other = await seeded(service, "ws-other")
    slow = service.app[LISTS].is_slow
    async with slow_history(service):
        asked = [asyncio.create_task(admin.get("/audit"))]
        await eventually(lambda: slow(WORKSPACE))
        asked.append(asyncio.create_task(other.get("/audit")))
        await eventually(lambda: slow("ws-other") and not slow(WORKSPACE))
    for answer in await asyncio.gather(*asked):
        assert answer.status == 200


async def test_a_list_has_less_time_than_other_requests(
    service: RunningService, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    assert QUICK_S < LIST_TIMEOUT_S < STATEMENT_TIMEOUT_S
    monkeypatch.setattr(lists, "LIST_TIMEOUT_S", 0.1)
    too_long = "The database needs too much time for this request: nothing was changed"
    async with slow_history(service):
        answer = await admin.get("/audit")
    assert answer.outcome == error(504, "UPSTREAM_TIMEOUT", too_long)
    assert "Retry-After" not in answer.headers
    # What was cancelled twice on the same connection is clean.
    assert (await admin.get("/audit")).ok()["total"] == 0


@pytest.mark.parametrize(
    "limit", [pytest.param(1, id="a page that fits"), pytest.param(2, id="a page too large")]
)
async def test_a_filter_means_what_it_is_called_now(
    services: Services,
    service: RunningService,
    admin: Caller,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
):
    """Also in a process that has not heard of the new name, whatever the old one finds."""
    await create(admin, "ent-a", "ent-b")
    other = await services.start(create_app, Config, database_url=service.config.database_url)
    there = admin.at(other.url)
    assert (await there.get("/records?schemaId=x")).ok()["total"] == 2

    for schema_id, alias in (("schema-x", "y"), ("schema-z", "x")):
        group = {"id": "grp-all", "name": "All", "attributeIds": ["attr-sku"]}
        schema = {
            "id": schema_id,
            "alias": alias,
            "name": alias,
            "attributeGroups": [group],
            "variantEnabled": False,
        }
        if schema_id == "schema-x":
            (await admin.put(f"/schemas/{schema_id}", schema)).ok()
        else:
            (await admin.post("/schemas", schema)).ok()

    monkeypatch.setattr("shared.database.paging.PAGE_BYTES_MAX", 1)
    assert (await there.get(f"/records?schemaId=x&limit={limit}")).ok()["items"] == []
    assert (await there.get("/records?schemaId=y&limit=1")).ok()["total"] == 2
    assert (await there.get("/records?schemaId=y&limit=2")).status == 400


async def test_a_filtered_list_is_one_statement(
    service: RunningService, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    await create(admin, "ent-a")
    (await admin.get("/records?schemaId=x")).ok()
    sent: list[str] = []

    for kind in ("fetch", "fetchrow", "fetchval", "execute"):
        original = getattr(PooledConnection, kind)

        def noted(self: Any, query: str, *args: Any, _original: Any = original, **more: Any) -> Any:
            sent.append(query)
            return _original(self, query, *args, **more)

        monkeypatch.setattr(PooledConnection, kind, noted)
    assert (await admin.get("/records?schemaId=x")).ok()["total"] == 1
    assert len(sent) == 1
