"""Every endpoint of the description, asked by those whom it does not concern.

Nothing here is written by hand for one endpoint: a new one is tried as soon as it is described.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import asyncpg
import pytest

from shared.identity import Permission
from tests.kit.demo import seed_demo
from tests.kit.described import (
    DOCUMENT,
    GUARDED,
    NOWHERE,
    OPERATIONS,
    READS,
    WITH_ID,
    Operation,
)
from tests.kit.eventually import eventually
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import Workspace

OUTWARD = ("/api/v1/channels", "/api/v1/export-jobs", "/api/v1/webhooks")
"""What sends to addresses that users name."""
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")


async def everything(caller: Caller) -> dict[str, Any]:
    """All that this caller can read, with its versions."""
    answers = await asyncio.gather(*(one.ask(caller) for one in READS))
    return {
        str(one): (answer.outcome, answer.headers.get("ETag"))
        for one, answer in zip(READS, answers, strict=True)
    }


async def seed(sigma: Workspace) -> None:
    """The demo catalogue, once its import has ended and the feed has all of it.

    From then on nothing changes by itself.
    """
    await seed_demo(sigma)

    async def has_ended() -> bool:
        (job,) = (await sigma.admin.get("/imports")).ok()["items"]
        return bool(job["completedAt"])

    await eventually(has_ended, what="the import")
    database = await asyncpg.connect(sigma.records_database)
    try:
        # What waits there may not be in the feed yet.
        waiting = "SELECT count(*) = 0 FROM outbox WHERE workspace_id = $1"
        await eventually(lambda: database.fetchval(waiting, sigma.id), what="the feed")
    finally:
        await database.close()


@pytest.fixture
async def owner(stack):
    sigma = await stack.workspace()
    await seed(sigma)
    return sigma


async def test_the_examples_lead_somewhere(owner):
    answers = {name: told[0] for name, (told, _) in (await everything(owner.admin)).items()}
    assert answers == dict.fromkeys(answers, 200)


async def test_what_belongs_to_another_workspace_does_not_exist(stack, owner):
    stranger = await stack.workspace()
    key = await stranger.api_key()
    before = await everything(owner.admin)
    for one, caller in itertools.product(WITH_ID, (stranger.admin, key)):
        if caller is key and one.permission is None:
            continue
        theirs, nobodys = await one.ask(caller), await one.ask(caller, one.address_nowhere)
        assert theirs.status == 404, f"{one}: {theirs.outcome}"
        assert theirs.body["error"] == "NOT_FOUND", one
        # Not even in words: what others have is answered as what nobody has.
        assert theirs.body["message"] == nobodys.body["message"].replace(
            NOWHERE, one.examples["id"]
        ), one
        assert (theirs.status, theirs.headers.keys()) == (nobodys.status, nobodys.headers.keys())
    assert await everything(owner.admin) == before


async def test_lists_hold_nothing_of_another_workspace(stack):
    owner, stranger = await stack.workspace(), await stack.workspace()
    lists = [one for one in READS if not one.examples]
    key = await stranger.api_key()
    callers = [(one, stranger.admin) for one in lists]
    callers += [(one, key) for one in lists if one.permission is not None]
    assert len(callers) > 10
    before = [await listed(one, caller) for one, caller in callers]
    await seed(owner)
    assert [await listed(one, caller) for one, caller in callers] == before


async def listed(one: Operation, caller: Caller) -> Any:
    body = (await one.ask(caller)).ok()
    # That the stranger's own key was used in between is none of the owner's doing.
    return [item | {"lastUsedAt": None} for item in body] if isinstance(body, list) else body


async def test_what_one_of_two_alike_workspaces_does_leaves_the_other_as_it_is(stack):
    busy, quiet = await stack.workspace(record_limit=100), await stack.workspace(record_limit=100)
    await asyncio.gather(seed(busy), seed(quiet))
    before = await everything(quiet.admin)
    assert before != await everything(busy.admin), "times of creation differ at least"

    for one in sorted(GUARDED, key=when):
        if one.method != "GET":
            answer = await send(one, busy.admin)
            # What is in use is not deleted, what went with its owner is gone already, an import
            # that has ended is not stopped, a change set that is submitted is not changed, a
            # webhook that is not active replays nothing, and one run of a job goes on at a time.
            decided = one.path.startswith(
                ("/api/v1/imports/", "/api/v1/change-sets/", *(f"{one}/" for one in OUTWARD))
            )
            may_conflict = one.method == "DELETE" or decided
            expected = {204, 404} if one.method == "DELETE" else {200, 201, 202}
            assert answer.status in expected | ({409} if may_conflict else set()), (
                f"{one}: {answer.outcome}"
            )
    await empty(busy.admin)

    assert await everything(quiet.admin) == before
    (await quiet.record("schema-apparel", {"sku": "ZZ-999"})).items()
    move = {"toStateId": "state-review"}
    (await quiet.admin.post("/records/ent-coastal-wb/transition", move)).ok()


def when(one: Operation) -> tuple[bool, int, bool]:
    """What deletes comes last, also by another method; what concerns many after what one does."""
    by_method = ("GET", "POST", "PATCH", "PUT", "DELETE").index(one.method)
    deletes = one.permission in (Permission.DELETE_DATA, Permission.DELETE_MODEL)
    is_bulk = "bulk" in one.path
    return deletes and is_bulk, by_method if not deletes else 4, is_bulk or one.method == "DELETE"


async def send(one: Operation, caller: Caller) -> Answer:
    """The operation with a body that it takes; a file where it takes no JSON."""
    if "requestBody" in one.described and one.schema is None:
        sent_as = {"Content-Type": "application/x-ndjson"}
        row = b'{"_id": "ent-coastal-wb"}'
        return await caller.ask(one.method, one.address, data=row, headers=sent_as)
    return await one.send(caller, await changed(one, caller))


async def changed(one: Operation, caller: Caller) -> Any:
    """What the endpoint takes; where it takes a whole thing, one that there is by another name."""
    # What is shown of a channel has masks, which stand for secrets of that one alone.
    has_secrets = one.path == "/api/v1/channels"
    if one.method in ("POST", "PUT") and "get" in DOCUMENT["paths"][one.path]:
        there = (await caller.get(one.address)).ok()
        if one.method == "PUT":
            return there | {"name": "Changed"} if "name" in there else there
        if isinstance(there, list) and there and "alias" in there[0] and not has_secrets:
            return there[0] | {"id": "new", "alias": "new"}
    as_described = one.path.endswith("/convert") or one.path.startswith(OUTWARD)
    return one.example if as_described else one.body


async def empty(admin: Caller) -> None:
    """Delete everything there is, in an order in which nothing is in use any more."""
    kinds = ("schemas", "attributes", "option-lists", "dimensions", "workflows", "roles")
    paths = [
        f"/records/{one['id']}" for one in (await admin.get("/records?limit=500")).ok()["items"]
    ]
    for kind in kinds:
        ids = [one["id"] for one in (await admin.get(f"/{kind}")).ok()]
        paths += [f"/{kind}/{one}" for one in reversed(ids) if one != "role-admin"]
    for path in paths:
        answer = await admin.delete(path)
        if answer.status == 409:
            # workflow_service hears a moment later that nothing refers to a workflow any more.
            await deleted_at_last(admin, path)
        else:
            assert answer.status == 204, f"{path}: {answer.outcome}"


async def deleted_at_last(admin: Caller, path: str) -> None:
    async def deleted():
        return (await admin.delete(path)).status == 204

    await eventually(deleted, what=path)


async def test_roles_of_one_name_are_told_apart(stack):
    one, other = await stack.workspace(), await stack.workspace()
    for sigma, word in ((one, "hidden"), (other, "read")):
        await sigma.attribute("price", "number")
        await sigma.schema("apparel", ["price"])
        await sigma.role("role-buyer", {"schema-apparel": {"attr-price": word}})
        await sigma.record("schema-apparel", {"price": 5}, id="ent-1")
    buyers = [await sigma.user("role-buyer") for sigma in (one, other, one)]
    seen = [(await buyer.get("/records/ent-1")).ok()["values"] for buyer in buyers]
    assert seen == [{}, {"price": [{"scope": {}, "value": 5}]}, {}]


async def test_without_credentials_nothing_is_answered(stack, owner):
    before = await everything(owner.admin)
    for headers, message in (
        ({}, "Missing authentication"),
        ({"Authorization": "Bearer nonsense"}, "Invalid or expired token"),
        ({"X-Sigma-ApiKey": "sigma_sk_live_nonsense"}, "Invalid API key"),
        ({"X-Sigma-Identity": "nonsense"}, "Missing authentication"),
    ):
        nobody = stack.caller(**headers)
        for one in GUARDED:
            answer = await one.ask(nobody)
            assert answer.outcome == error(401, "UNAUTHORIZED", message), one
            assert answer.headers["WWW-Authenticate"]
    assert await everything(owner.admin) == before


async def test_an_api_key_does_only_what_it_was_made_for(owner):
    before = await everything(owner.admin)
    keys = {
        lacked: await owner.api_key([str(each) for each in Permission if each != lacked])
        for lacked in Permission
    }
    whole = await owner.api_key()
    created = {"GET /api/v1/api-keys"}  # Where the new keys stand.
    for one in GUARDED:
        caller = whole if one.permission is None else keys[Permission(one.permission)]
        assert (await one.ask(caller)).outcome == DENIED, one
    after = await everything(owner.admin)
    assert {name: after[name] for name in after.keys() - created} == {
        name: before[name] for name in before.keys() - created
    }


async def test_an_api_key_needs_no_more_than_what_is_described(owner):
    keys = {permission: await owner.api_key([permission]) for permission in Permission}
    for one in GUARDED:
        if one.permission is not None:
            answer = await one.ask(keys[Permission(one.permission)], one.address_nowhere)
            assert answer.status not in (401, 403), f"{one}: {answer.outcome}"


@pytest.mark.parametrize("signed_in", [False, True])
async def test_below_auth_everybody_learns_what_is_wrong_with_an_address(stack, signed_in):
    caller = (await stack.workspace()).admin if signed_in else stack.caller()
    for one in OPERATIONS:
        if one.path.startswith("/api/v1/auth/"):
            answer = await caller.ask("DELETE", one.path)
            assert (answer.status, answer.body["error"]) == (405, "METHOD_NOT_ALLOWED")
            assert one.method in answer.headers["Allow"].split(", ")
    assert (await caller.get("/auth/nothing")).outcome == error(
        404, "NOT_FOUND", "Route '/api/v1/auth/nothing' not found"
    )
