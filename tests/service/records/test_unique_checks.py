"""Many stored values become unique by a job, while records are written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from records_service.progress import commands as progress
from records_service.schema_walks import looking_back
from records_service.uniqueness import commands as uniqueness
from shared.identity import Flag
from tests.kit import identities
from tests.kit.eventually import eventually
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, error
from tests.kit.workspace import entries, schema_body
from tests.service.records.attributes import attribute, unique_keys
from tests.service.records.job_turns import finish, job_of, job_path, turn

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 9
"""`ent-0` to `ent-8`, of which two are looked at in the request."""
UNIQUE = attribute(validation={"unique": True})
PLAIN = attribute()


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two records in the request and in a slice, one entry of the history in a slice."""
    monkeypatch.setattr(uniqueness, "COMPARED_IN_REQUEST", 2)
    monkeypatch.setattr(uniqueness, "CLAIMED_AT_ONCE", 2)
    monkeypatch.setattr(looking_back, "AT_ONCE", 1)
    monkeypatch.setattr(looking_back, "AT_THE_END", 1)
    monkeypatch.setattr(uniqueness, "RELEASED_IN_REQUEST", 2)
    monkeypatch.setattr(uniqueness, "RELEASED_AT_ONCE", 2)


async def fill(workspace: RecordsWorkspace, **values: str) -> None:
    """Records of `schema-x` with values of `sku`: S0 and so on, but for those that are named."""
    await workspace.attribute("sku")
    await workspace.attribute("name")
    await workspace.schema("x", ["sku", "name"], variantEnabled=True)
    for n in range(COUNT):
        sku = values.get(f"ent_{n}", f"S{n}")
        held = {"sku": sku, "name": "Parka"} if sku else {"name": "Parka"}
        await workspace.record("schema-x", held, id=f"ent-{n}")


async def switch_on(workspace: RecordsWorkspace) -> Answer:
    answer = await workspace.admin.put("/attributes/attr-sku", UNIQUE)
    assert answer.status == 200, answer.outcome
    assert (answer.body["validation"]["unique"], answer.body["uniqueSince"]) == (True, None)
    return answer


async def sku(workspace: RecordsWorkspace) -> dict[str, Any]:
    found: dict[str, Any] = (await workspace.admin.get("/attributes/attr-sku")).ok()
    return found


async def is_plain_again(workspace: RecordsWorkspace) -> None:
    """Nothing is left of the change, and every value may be had by any number of records."""
    await finish(workspace)
    assert (await sku(workspace))["validation"]["unique"] is None
    assert (await sku(workspace))["uniqueSince"] is None
    assert await unique_keys(workspace) == []
    assert await workspace.fetch("SELECT FROM unique_checks WHERE workspace_id = $1") == []
    for _ in range(2):
        (await workspace.post_record("x", sku="S0")).ok()


async def set_sku(workspace: RecordsWorkspace, record_id: str, value: str | None) -> Answer:
    path = f"/records/{record_id}/values/sku"
    return await workspace.admin.patch(path, {"scope": {}, "value": value})


async def check_all_reserved(workspace: RecordsWorkspace) -> None:
    """Each record has reserved its value, and nobody anything else."""
    rows = await workspace.fetch(
        "SELECT id FROM records WHERE workspace_id = $1 AND values ? 'attr-sku' ORDER BY id"
    )
    assert [record for record, _ in await unique_keys(workspace)] == [row["id"] for row in rows]
    listed = (await workspace.admin.get("/records?limit=100")).ok()["items"]
    held = [one["values"]["sku"][0]["value"] for one in listed if "sku" in one["values"]]
    assert len(set(held)) == len(held)
    for value in held:
        again = await workspace.post_record("x", sku=value)
        assert again.outcome == error(
            409, "CONFLICT", f"Value '{value}' for attribute 'sku' must be unique"
        )


async def test_a_job_reserves_what_is_stored_and_says_since_when(workspace: RecordsWorkspace):
    await fill(workspace, ent_4="")
    before = await workspace.admin.get("/attributes/attr-sku")
    answer = await switch_on(workspace)
    job = await job_of(workspace, answer)
    assert {name: job[name] for name in ("kind", "status", "attributeId", "schemaId")} == {
        "kind": "make-unique",
        "status": "queued",
        "attributeId": "attr-sku",
        "schemaId": None,
    }
    assert (job["total"], job["processed"], job["unchanged"]) == (None, 0, 0)
    seen = []
    while await turn(workspace):
        job = await job_of(workspace, answer)
        seen.append((job["status"], job["total"], job["processed"]))
        assert job["processed"] == sum(
            job[name] for name in ("created", "updated", "unchanged", "skipped", "failed")
        )
    assert seen[0] == ("running", COUNT, 2)
    assert seen[-1] == ("succeeded", COUNT, COUNT)
    assert (job["unchanged"], job["skipped"], job["failed"]) == (COUNT - 1, 1, 0)
    assert (job["samples"], job["error"], job["createdBy"]) == ([], None, identities.admin().id)
    assert before.body["uniqueSince"] is None
    now_is = await workspace.admin.get("/attributes/attr-sku")
    assert now_is.body["uniqueSince"] is not None
    assert job["createdAt"] <= now_is.body["uniqueSince"] <= job["completedAt"]
    # What the client has sent and was answered is still the version that there is.
    assert now_is.headers["ETag"] == answer.headers["ETag"] != before.headers["ETag"]
    renamed = (await workspace.admin.put("/attributes/attr-sku", UNIQUE | {"name": "SKU"})).ok()
    assert renamed["uniqueSince"] == now_is.body["uniqueSince"]
    await check_all_reserved(workspace)


async def test_from_the_change_on_no_new_duplicate_is_stored(workspace: RecordsWorkspace):
    await fill(workspace)
    await switch_on(workspace)
    (await workspace.post_record("x", sku="new")).ok()
    taken = error(409, "CONFLICT", "Value 'new' for attribute 'sku' must be unique")
    assert (await workspace.post_record("x", sku="new")).outcome == taken
    assert (await set_sku(workspace, "ent-8", "new")).outcome == taken
    (await set_sku(workspace, "ent-7", "other")).ok()
    await finish(workspace)
    await check_all_reserved(workspace)


async def test_duplicates_are_told_by_the_job_and_nothing_is_changed(workspace: RecordsWorkspace):
    await fill(workspace, ent_5="S2", ent_7="S2")
    answer = await switch_on(workspace)
    while (await job_of(workspace, answer))["completedAt"] is None:
        assert await turn(workspace)
    job = await job_of(workspace, answer)
    assert (job["status"], job["failed"], job["unchanged"]) == ("failed", 2, COUNT - 2)
    assert job["error"] == (
        "Attribute 'sku' did not become unique: records or variants that have the value of another"
        " one: 2"
    )
    assert job["samples"] == [
        {"entityId": f"ent-{n}", "variantId": None, "reason": "Has the same value as 'ent-2'"}
        for n in (5, 7)
    ]
    told = [event for event in await workspace.staged() if event.subject == "attr-sku"][-1]
    now_is = (await workspace.admin.get("/attributes/attr-sku")).headers["ETag"]
    assert (told.type, f'"{told.data["version"]}"') == ("schema.attribute.updated", now_is)
    await is_plain_again(workspace)


async def test_a_duplicate_in_the_first_records_is_refused_at_once(workspace: RecordsWorkspace):
    await fill(workspace, ent_1="S0")
    assert (await workspace.admin.put("/attributes/attr-sku", UNIQUE)).outcome == error(
        409,
        "CONFLICT",
        "Attribute 'sku' cannot become unique: 'ent-0' and 'ent-1' have the same value",
    )
    await is_plain_again(workspace)


async def test_a_hundred_duplicates_are_enough(
    workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(progress, "SAMPLES_MAX", 1)
    await fill(workspace, ent_3="S0")
    answer = await switch_on(workspace)
    await finish(workspace)
    job = await job_of(workspace, answer)
    assert (job["status"], job["failed"], job["processed"]) == ("failed", 1, 4)


async def test_values_of_variants_are_reserved_too(workspace: RecordsWorkspace):
    await fill(workspace)
    for number, value in ((1, "V1"), (2, "S3")):
        body = {"id": f"var-{number}", "values": entries({"sku": value})}
        (await workspace.admin.post(f"/records/ent-{number}/variants", body)).ok()
    answer = await switch_on(workspace)
    await finish(workspace)
    job = await job_of(workspace, answer)
    assert (job["status"], job["processed"], job["samples"]) == (
        "failed",
        COUNT + 2,
        [{"entityId": "ent-2", "variantId": "var-2", "reason": "Has the same value as 'ent-3'"}],
    )
    path = "/records/ent-2/variants/var-2/values/sku"
    (await workspace.admin.patch(path, {"value": "V2"})).ok()
    answer = await switch_on(workspace)
    # One is changed before its turn, and one is created.
    (await workspace.admin.patch(path, {"value": "V3"})).ok()
    body = {"id": "var-4", "values": entries({"sku": "V4"})}
    (await workspace.admin.post("/records/ent-0/variants", body)).ok()
    await finish(workspace)
    assert (await job_of(workspace, answer))["status"] == "succeeded"
    for value in ("V1", "V3", "V4"):
        assert (await workspace.post_record("x", sku=value)).status == 409
    (await workspace.admin.delete("/records/ent-1/variants/var-1")).ok()
    (await workspace.post_record("x", sku="V1")).ok()
    (await workspace.post_record("x", sku="V2")).ok()


async def test_a_value_given_up_before_its_record_could_see_that_is_released_at_the_end(
    workspace: RecordsWorkspace,
):
    """A write that began before a slice does not see what the slice reserved for its record."""
    await fill(workspace)
    await switch_on(workspace)
    while "ent-8" not in dict(await unique_keys(workspace)):
        assert await turn(workspace)
    (await set_sku(workspace, "ent-8", "new")).ok()
    (await workspace.admin.delete("/records/ent-7")).ok()
    # As if both had begun before the slice.
    for record_id, value in (("ent-8", b"S8"), ("ent-7", b"S7")):
        await workspace.database.execute(
            """
            INSERT INTO unique_values
            SELECT $1, 'attr-sku', '{}', sha256($3), $2
            """,
            workspace.id,
            record_id,
            b'"' + value + b'"',
        )
    assert len(await unique_keys(workspace)) == COUNT + 1
    await finish(workspace)
    await check_all_reserved(workspace)
    (await workspace.post_record("x", sku="S8")).ok()
    (await workspace.post_record("x", sku="S7")).ok()


async def test_who_has_reserved_what_it_does_not_hold_makes_no_duplicate(
    workspace: RecordsWorkspace,
):
    await fill(workspace)
    await workspace.database.execute(
        """
        INSERT INTO unique_values
        SELECT $1, 'attr-sku', '{}', sha256('"S7"'), 'ent-3'
        """,
        workspace.id,
    )
    answer = await switch_on(workspace)
    await finish(workspace)
    assert (await job_of(workspace, answer))["status"] == "succeeded"
    await check_all_reserved(workspace)


async def test_what_was_read_before_the_end_is_not_written_after_it(workspace: RecordsWorkspace):
    await fill(workspace)
    # The search index, if it had to be built, would raise the version, too.
    body = UNIQUE | {"filterable": False}
    (await workspace.admin.put("/attributes/attr-sku", body)).ok()
    version = "SELECT version FROM models WHERE workspace_id = $1"
    before = (await workspace.fetch(version))[0]["version"]
    await finish(workspace)
    assert (await workspace.fetch(version))[0]["version"] == before + 1


async def test_it_is_taken_back_while_the_job_runs(workspace: RecordsWorkspace):
    await fill(workspace)
    answer = await switch_on(workspace)
    assert await turn(workspace)
    off = await workspace.admin.put("/attributes/attr-sku", PLAIN)
    assert (off.status, off.body["uniqueSince"]) == (200, None)
    (await workspace.post_record("x", sku="S8")).ok()
    job = await job_of(workspace, answer)
    assert (job["status"], job["error"]) == ("cancelled", "The attribute is not unique any more")
    again = await workspace.admin.put("/attributes/attr-sku", UNIQUE)
    assert again.outcome == error(
        503,
        "SERVICE_UNAVAILABLE",
        "The values that attribute 'sku' reserved when it was unique are still being released",
    )
    assert "Retry-After" in again.headers
    await is_plain_again(workspace)


async def test_a_job_is_cancelled(workspace: RecordsWorkspace):
    await fill(workspace)
    answer = await switch_on(workspace)
    assert await turn(workspace)
    cancelled = await workspace.admin.post(f"{job_path(answer)}/cancel")
    assert (cancelled.status, cancelled.body["status"]) == (202, "cancelled")
    again = await workspace.admin.post(f"{job_path(answer)}/cancel")
    assert again.outcome == error(
        409, "CONFLICT", f"Job '{cancelled.body['id']}' has ended: 'cancelled'"
    )
    await is_plain_again(workspace)


async def test_many_reserved_values_are_released_afterwards(workspace: RecordsWorkspace):
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("name")
    await workspace.schema("x", ["sku", "name"])
    for n in range(COUNT):
        await workspace.record("schema-x", {"sku": f"S{n}"}, id=f"ent-{n}")
    (await workspace.admin.put("/attributes/attr-sku", PLAIN)).ok()
    assert len(await unique_keys(workspace)) == COUNT
    (await workspace.post_record("x", sku="S8")).ok()
    (await set_sku(workspace, "ent-7", "S8")).ok()
    await is_plain_again(workspace)


async def test_an_attribute_is_deleted_while_it_becomes_unique(workspace: RecordsWorkspace):
    await fill(workspace)
    answer = await switch_on(workspace)
    assert await turn(workspace)
    (await workspace.admin.put("/schemas/schema-x", schema_body("x", ["name"]))).ok()
    (await workspace.admin.delete("/attributes/attr-sku")).ok()
    job = await job_of(workspace, answer)
    assert (job["status"], job["error"]) == ("cancelled", "The attribute was deleted")
    assert (await workspace.admin.post("/attributes", UNIQUE)).status == 409
    await finish(workspace)
    assert await unique_keys(workspace) == []
    (await workspace.admin.post("/attributes", UNIQUE)).ok()


async def test_records_are_not_found_by_an_attribute_before_all_have_reserved_its_values(
    workspace: RecordsWorkspace,
):
    await fill(workspace)
    await switch_on(workspace)
    row = {"schemaId": "schema-x", "values": entries({"sku": "S8", "name": "Anorak"})}
    bulk = {"operations": [row]}
    assert (await workspace.admin.post("/records/bulk?match=sku", bulk)).outcome == error(
        409,
        "CONFLICT",
        "Attribute 'sku' is becoming unique: records cannot be found by it until all values have"
        " been compared",
    )
    wanted = {"criteria": [{"attribute": "sku", "operator": "equals", "value": "S8"}]}
    found = (await workspace.admin.post("/search", wanted)).ok()
    assert [each["id"] for each in found["items"]] == ["ent-8"]
    await finish(workspace)
    assert (await workspace.admin.post("/records/bulk?match=sku", bulk)).ok()["updated"] == 1
    found = (await workspace.admin.post("/search", wanted)).ok()
    assert [each["id"] for each in found["items"]] == ["ent-8"]


async def test_records_are_written_during_a_slice(workspace: RecordsWorkspace):
    await fill(workspace)
    await switch_on(workspace)
    async with workspace.database.transaction() as conn:
        assert await uniqueness.check_some(conn, workspace.id, "attr-sku")
        (await set_sku(workspace, "ent-3", "new")).ok()
        changing = asyncio.create_task(workspace.attribute("later"))
        await eventually(workspace.records.waits_for_a_lock)
    await changing
    await finish(workspace)
    await check_all_reserved(workspace)
    (await workspace.post_record("x", sku="S3")).ok()


async def test_a_dry_run_begins_no_job(workspace: RecordsWorkspace):
    await fill(workspace)
    dry = await workspace.admin.put("/attributes/attr-sku", UNIQUE, headers={"Prefer": "dry-run"})
    assert (dry.status, dry.body["uniqueSince"]) == (200, None)
    assert (await workspace.admin.get("/jobs")).ok()["items"] == []
    await is_plain_again(workspace)


async def test_writers_of_one_value_and_the_job_agree(workspace: RecordsWorkspace):
    await fill(workspace)
    await switch_on(workspace)

    async def work() -> None:
        while await turn(workspace):
            pass

    _, *answers = await asyncio.gather(
        work(),
        *(set_sku(workspace, f"ent-{n}", f"S{(n + 1) % COUNT}") for n in range(COUNT)),
        *(workspace.post_record("x", sku=f"S{n}") for n in range(COUNT)),
    )
    assert {answer.status for answer in answers} <= {200, 201, 409}
    await finish(workspace)
    if (await sku(workspace))["uniqueSince"] is None:
        await is_plain_again(workspace)
    else:
        await check_all_reserved(workspace)


async def test_who_sees_jobs(workspace: RecordsWorkspace, other_workspace: RecordsWorkspace):
    await fill(workspace, ent_5="S2")
    words = {"schema-x": {"attr-sku": "write", "attr-name": "read"}}
    modeller = await workspace.user_with_role(words, Flag.MANAGE_SCHEMAS)
    first = await switch_on(workspace)
    await finish(workspace)
    answer = await modeller.put("/attributes/attr-sku", UNIQUE)
    assert answer.status == 200
    await finish(workspace)
    mine, theirs = job_path(answer), job_path(first)
    job = (await modeller.get(mine)).ok()
    assert (job["status"], job["failed"], job["samples"]) == ("failed", 1, [])
    assert (await modeller.get(theirs)).status == 404
    assert (await modeller.post(f"{theirs}/cancel")).status == 404
    assert [one["id"] for one in (await modeller.get("/jobs")).ok()["items"]] == [job["id"]]
    for path in (mine, theirs):
        assert (await workspace.admin.get(path)).ok()["samples"] != []
        assert (await other_workspace.admin.get(path)).status == 404
    listed = (await workspace.admin.get("/jobs")).ok()
    assert [f"/jobs/{one['id']}" for one in listed["items"]] == [mine, theirs]
    for query, count in (
        ("attributeId=attr-sku", 2),
        ("attributeId=attr-name", 0),
        ("schemaId=attr-sku", 0),
        ("kind=make-unique&status=failed", 2),
        ("kind=move-states", 0),
        ("status=running", 0),
        ("limit=1", 1),
    ):
        assert len((await workspace.admin.get(f"/jobs?{query}")).ok()["items"]) == count, query
