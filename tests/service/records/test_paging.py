"""Lists that are read on by cursor: each item once, whatever comes and goes meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from records_service.app import create_app
from records_service.config import Config
from shared.database import paging
from shared.http.cursors import encode
from tests.kit import identities
from tests.kit.sigma import Caller, error
from tests.service.records.apparel import NO_OTHER_SERVICES, apparel, create


@pytest.fixture
async def service(services):
    return await services.start(create_app, Config, **NO_OTHER_SERVICES)


@pytest.fixture
async def admin(service):
    return await apparel(service)


async def walked(caller: Caller, path: str, cursor: str | None = "") -> list[dict[str, Any]]:
    """The pages of a list from this cursor on."""
    pages: list[dict[str, Any]] = []
    mark = "&" if "?" in path else "?"
    while cursor is not None:
        page = (await caller.get(path + (f"{mark}cursor={cursor}" if cursor else ""))).ok()
        if pages:
            assert page["offset"] == pages[-1]["offset"] + len(pages[-1]["items"])
        pages.append(page)
        cursor = page["nextCursor"]
    return pages


def ids(pages: Sequence[dict[str, Any]]) -> list[str]:
    return [item["id"] for page in pages for item in page["items"]]


async def history(admin: Caller) -> None:
    """Three records, of which one was changed twice and one has an earlier life."""
    for number in range(3):
        await create(admin, f"ent-{number}", price=number)
    (await admin.delete("/records/ent-1")).ok()
    await create(admin, "ent-1", price=9)
    for price in (7, 8):
        (await admin.patch("/records/ent-0/values/price", {"value": price})).ok()


PATHS = (
    "/records",
    "/records?schemaId=apparel",
    "/audit",
    "/audit?entityId=ent-0",
    "/audit?action=create",
    "/records/ent-1/audit",
)


@pytest.mark.parametrize("path", PATHS)
async def test_a_list_by_cursor_is_the_list_by_offset(service, admin, path):
    await history(admin)
    # As from before versions were stored: these entries come last.
    await service.database.execute("UPDATE audit SET version = NULL WHERE action = 'create'")
    mark = "&" if "?" in path else "?"
    whole = (await admin.get(path)).ok()
    assert whole["nextCursor"] is None
    for limit in (1, 2):
        pages = await walked(admin, f"{path}{mark}limit={limit}")
        assert [item for page in pages for item in page["items"]] == whole["items"]
        assert [len(page["items"]) for page in pages[:-1]] == [limit] * (len(pages) - 1)
        assert {page["total"] for page in pages} == {whole["total"]}
        # A page that was asked by offset goes on by cursor.
        second = (await admin.get(f"{path}{mark}limit={limit}&offset={limit}")).ok()
        assert second == pages[1]


async def test_an_entry_of_the_same_moment_is_on_one_page(service, admin):
    await history(admin)
    await service.database.execute("UPDATE audit SET at = date_trunc('year', at)")
    whole = (await admin.get("/audit")).ok()
    assert ids(await walked(admin, "/audit?limit=2")) == [item["id"] for item in whole["items"]]


async def test_no_item_comes_twice_or_is_left_out_while_others_come_and_go(admin):
    for number in range(6):
        await create(admin, f"ent-{number}")
    first = (await admin.get("/records?limit=2")).ok()
    log = (await admin.get("/audit?limit=2")).ok()
    (await admin.delete("/records/ent-0")).ok()
    (await admin.delete("/records/ent-1")).ok()
    await create(admin, "ent-new")
    assert ids(await walked(admin, "/records?limit=2", first["nextCursor"])) == [
        *(f"ent-{number}" for number in (2, 3, 4, 5)),
        "ent-new",
    ]
    changed = ids(await walked(admin, "/audit?limit=2", log["nextCursor"]))
    assert len(changed) == len(set(changed)) == 4
    assert not set(changed) & set(ids([log]))


async def test_a_cursor_is_for_one_query_of_one_workspace(service, admin):
    await history(admin)
    other = service.as_(identities.admin(workspace="ws-other"))
    cursor = (await admin.get("/records?schemaId=apparel&limit=1")).ok()["nextCursor"]
    audit = (await admin.get("/audit?limit=1")).ok()["nextCursor"]

    def refused(sent: str) -> Any:
        return error(
            400,
            "VALIDATION_ERROR",
            "Field 'cursor' must be the 'nextCursor' of a page of this list that was asked for with"
            f" the same filters and sort, got '{sent}'",
        )

    at = f"/records?schemaId=apparel&cursor={cursor}"
    assert (await admin.get(at)).ok()["items"][0]["id"] == "ent-2"
    assert len((await admin.get(f"{at}&limit=1&total=none")).ok()["items"]) == 1
    for caller, path, sent in (
        (other, "/records?schemaId=apparel", cursor),
        (admin, "/records", cursor),
        (admin, "/records?schemaId=schema-apparel", cursor),
        (admin, "/records?schemaId=apparel&lifecycleStateId=x", cursor),
        (admin, "/audit", cursor),
        (admin, "/records", audit),
        (admin, "/audit?entityId=ent-0", audit),
        (admin, "/records/ent-0/audit", audit),
        (admin, "/records", "x"),
        (admin, "/records", ""),
        (admin, "/records?schemaId=apparel", cursor[:-1]),
        (admin, "/records?schemaId=apparel", cursor + "A"),
        (admin, "/records?schemaId=apparel", ("A" if cursor[0] != "A" else "B") + cursor[1:]),
        (admin, "/records?schemaId=apparel", cursor[:20] + "%00" + cursor[21:]),
    ):
        mark = "&" if "?" in path else "?"
        answer = await caller.get(f"{path}{mark}cursor={sent}")
        assert answer.status == 400, (path, sent)
        if "%" not in sent:
            assert answer.outcome == refused(sent)
    both = error(
        400,
        "VALIDATION_ERROR",
        "Field 'offset' cannot be combined with 'cursor': expected one of them",
    )
    assert (await admin.get(f"{at}&offset=0")).outcome == both


async def test_a_forged_position_is_no_error_of_the_server(admin):
    """Whoever computes the digest of a cursor is still refused what no column can be."""
    query = orjson.dumps(
        [
            "ws-test",
            "/api/v1/records",
            {"schema_id": None, "lifecycle_state_id": None},
            [["created_at", False], ["id", False]],
        ],
        option=orjson.OPT_SORT_KEYS,
    )
    for position in ((1, "\x00"), (2**62, "a"), ("a", "a"), (None, "a"), (1,), (1, "a", "b")):
        cursor = encode(query, 0, position)
        assert (await admin.get(f"/records?cursor={cursor}")).status == 400


async def test_the_total_is_exact_up_to_a_number_and_estimated_beyond(service, admin, monkeypatch):
    await history(admin)
    for number in range(20):
        await create(admin, f"ent-more-{number}", price=1)
    await service.database.execute("ANALYZE records, audit")
    monkeypatch.setattr(paging, "COUNTED_MAX", 22)
    for path, total in (("/records", 23), ("/audit?action=delete", 1)):
        page = (await admin.get(f"{path}{'&' if '?' in path else '?'}limit=1")).ok()
        assert (page["total"], "totalIsEstimate" in page) == (total, False)
    for path in ("/records?schemaId=apparel&", "/audit?", "/audit?action=create&"):
        first = (await admin.get(f"{path}limit=2")).ok()
        assert first["totalIsEstimate"] is True
        assert 23 <= first["total"] <= 40
        # Where a list ends is exact whatever its length.
        exact = (await admin.get(f"{path}limit=500")).ok()
        assert exact["total"] == len(exact["items"]) >= 23
        assert "totalIsEstimate" not in exact
        without = (await admin.get(f"{path}limit=2&total=none")).ok()
        assert "total" not in without and "totalIsEstimate" not in without
        assert without["items"] == first["items"]
    assert (await admin.get("/records?total=all")).outcome == error(
        400, "VALIDATION_ERROR", "Field 'total' must be one of 'none', got 'all'"
    )
    beyond = (await admin.get("/records?schemaId=apparel&offset=900")).ok()
    assert (beyond["items"], beyond["nextCursor"]) == ([], None)
