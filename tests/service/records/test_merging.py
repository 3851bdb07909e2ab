"""Writes under an older `If-Match`: merged where others have changed something else."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from records_service.writes import since
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.kit.workspace import entries

pytestmark = pytest.mark.asyncio(loop_scope="module")

EN, DA = {"dim-language": "seg-en"}, {"dim-language": "seg-da"}
PROBLEM = {"Accept": "application/problem+json"}
STALE = "Entity 'ent-a' is at version {}; If-Match names another version"


def en_da(en: str | None, da: str | None) -> list[dict[str, Any]]:
    return [{"scope": scope, "value": value} for scope, value in ((EN, en), (DA, da)) if value]


@pytest_asyncio.fixture(loop_scope="module")
async def admin(workspace: RecordsWorkspace) -> Caller:
    """Of a record at version 1, with a name in two languages and a price."""
    await workspace.dimension("language", ["en", "da"])
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("price", type="number")
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.schema("x", ["name", "price", "sku"])
    values = {"name": en_da("shirt", "skjorte"), **entries({"price": 1})}
    await workspace.record("schema-x", values, id="ent-a")
    return workspace.admin


def at(version: int) -> dict[str, str]:
    return {"If-Match": f'"{version}"'}


async def put(caller: Caller, version: int | None, **values: Any) -> Answer:
    headers = PROBLEM | ({} if version is None else at(version))
    return await caller.put("/records/ent-a", {"values": values}, headers=headers)


async def patch(caller: Caller, version: int | None, name: str, body: dict[str, Any]) -> Answer:
    headers = PROBLEM | ({} if version is None else at(version))
    return await caller.patch(f"/records/ent-a/values/{name}", body, headers=headers)


async def stored(caller: Caller) -> dict[str, Any]:
    values: dict[str, Any] = (await caller.get("/records/ent-a")).ok()["values"]
    return values


async def test_other_attributes_and_scopes_are_merged(admin: Caller):
    (await patch(admin, None, "price", {"value": 2})).ok()
    changed = await patch(admin, 1, "name", {"scope": EN, "value": "Shirt"})
    assert (changed.status, changed.headers["ETag"]) == (200, '"3"')
    assert changed.body["values"] == {
        "name": [{"scope": DA, "value": "skjorte"}, {"scope": EN, "value": "Shirt"}],
        **entries({"price": 2}),
    }
    assert (await patch(admin, 1, "name", {"scope": DA, "value": "Skjorte"})).status == 200
    assert (await put(admin, 1, **entries({"sku": "s"}))).headers["ETag"] == '"5"'


async def test_the_same_value_is_a_conflict(admin: Caller):
    (await patch(admin, None, "price", {"value": 2})).ok()
    (await patch(admin, None, "name", {"scope": EN, "value": "tee"})).ok()
    before = await stored(admin)
    refused = await patch(admin, 1, "price", {"value": 3})
    assert refused.status == 412
    assert refused.body["message"] == STALE.format(3) + (
        ". Others have changed since what is sent: /value"
    )
    assert refused.body["conflicts"] == [
        {"pointer": "/value", "attribute": "price", "scope": {}, "current": 2, "sent": 3}
    ]
    refused = await put(admin, 1, name=en_da("shirts", "skjorter"), **entries({"price": 3}))
    assert refused.body["message"] == STALE.format(3) + (
        ". Others have changed since what is sent: /values/price, /values/name"
        " (dim-language=seg-en)"
    )
    assert refused.body["conflicts"] == [
        {"pointer": "/values/price", "attribute": "price", "scope": {}, "current": 2, "sent": 3},
        {
            "pointer": "/values/name",
            "attribute": "name",
            "scope": EN,
            "current": "tee",
            "sent": "shirts",
        },
    ]
    assert [one["pointer"] for one in refused.body["errors"]] == ["/values/price", "/values/name"]
    assert await stored(admin) == before
    # What others have stored already is no conflict, and one value may not take another's place.
    assert (await patch(admin, 1, "price", {"value": 2})).headers["ETag"] == '"3"'
    assert (await patch(admin, 1, "price", {"value": 1})).status == 412


async def test_a_whole_list_is_compared_by_scope(admin: Caller):
    """What is sent as it was seen was not changed by its sender."""
    (await patch(admin, None, "name", {"scope": EN, "value": "tee"})).ok()
    merged = await put(admin, 1, name=en_da("shirt", "trøje"))
    assert merged.ok()["values"]["name"] == [
        {"scope": EN, "value": "tee"},
        {"scope": DA, "value": "trøje"},
    ]
    # Entries that have come since stay, those that were left out go.
    (await patch(admin, None, "name", {"scope": {}, "value": "any"})).ok()
    merged = await put(admin, 3, name=en_da("tee", None))
    assert merged.ok()["values"]["name"] == [
        {"scope": EN, "value": "tee"},
        {"scope": {}, "value": "any"},
    ]


async def test_what_one_removed_and_another_changed_is_a_conflict(admin: Caller):
    (await patch(admin, None, "name", {"scope": DA, "value": None})).ok()
    refused = await put(admin, 1, name=en_da("shirt", "trøje"))
    assert [(one["current"], one["sent"]) for one in refused.body["conflicts"]] == [(None, "trøje")]
    refused = await put(admin, 1, **entries({"price": 1}), name=[])
    assert refused.status == 200
    assert "name" not in refused.body["values"]


async def test_the_external_key_is_merged_like_a_value(admin: Caller):
    (await admin.put("/records/ent-a", {"values": {}, "externalKey": "theirs"})).ok()
    body = {"values": entries({"price": 5}), "externalKey": None}
    merged = await admin.put("/records/ent-a", body, headers=at(1))
    assert merged.ok()["externalKey"] == "theirs"
    body = {"values": {}, "externalKey": "mine"}
    refused = await admin.put("/records/ent-a", body, headers=at(1) | PROBLEM)
    assert [one["pointer"] for one in refused.body["conflicts"]] == ["/externalKey"]


async def test_where_the_history_does_not_tell_it_is_refused(
    admin: Caller, workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    for price in (2, 3, 4):
        (await patch(admin, None, "price", {"value": price})).ok()
    plain = error(412, "PRECONDITION_FAILED", STALE.format(4))
    body = {"values": entries({"sku": "s"})}

    async def ask(headers: dict[str, str]) -> tuple[int, Any]:
        return (await admin.put("/records/ent-a", body, headers=headers)).outcome

    assert await ask(at(0)) == plain
    assert await ask(at(7)) == plain
    assert await ask({"If-Match": '"other"'}) == plain
    with monkeypatch.context() as smaller:
        smaller.setattr(since, "VERSIONS_MAX", 2)
        assert await ask(at(1)) == plain
    with monkeypatch.context() as smaller:
        smaller.setattr(since, "BYTES_MAX", 10)
        assert await ask(at(1)) == plain
    blind = workspace.api_key("update-data")
    assert (await blind.put("/records/ent-a", body, headers=at(1))).outcome == plain
    await workspace.database.execute(
        "DELETE FROM audit WHERE workspace_id = $1 AND record_id = 'ent-a' AND version = 3",
        workspace.id,
    )
    assert await ask(at(1)) == plain
    assert (await ask(at(3)))[0] == 200


async def test_another_life_of_the_record_is_not_merged(admin: Caller, workspace: RecordsWorkspace):
    (await admin.delete("/records/ent-a")).ok()
    await workspace.record("schema-x", {"price": 1}, id="ent-a")
    refused = await put(admin, 1, **entries({"sku": "s"}))
    assert (refused.status, "conflicts" in refused.body) == (412, False)


async def test_deletes_are_not_merged(admin: Caller):
    (await patch(admin, None, "price", {"value": 2})).ok()
    assert (await admin.delete("/records/ent-a", headers=at(1))).status == 412


async def test_nothing_hidden_is_told(admin: Caller, workspace: RecordsWorkspace):
    half = await workspace.user_with_role({"*": {"*": "write", "attr-price": "hidden"}})
    (await patch(admin, None, "price", {"value": 8_675_309})).ok()
    merged = await patch(half, 1, "name", {"scope": EN, "value": "tee"})
    assert (merged.status, "price" in merged.body["values"]) == (200, False)
    (await patch(admin, None, "name", {"scope": EN, "value": "x"})).ok()
    refused = await put(half, 1, name=en_da("y", None))
    assert refused.status == 412
    assert "8675309" not in str(refused.body)
    assert (await put(half, 1, **entries({"price": 3}))).status == 403


async def test_values_of_variants_are_merged(admin: Caller, workspace: RecordsWorkspace):
    schema = (await admin.get("/schemas/schema-x")).ok()
    (await admin.put("/schemas/schema-x", schema | {"variantEnabled": True})).ok()
    made = {"id": "var-a", "values": {"name": en_da("red", "rød")}}
    (await admin.post("/records/ent-a/variants", made)).ok()
    path = "/records/ent-a/variants/var-a"
    (await admin.patch(f"{path}/values/price", {"value": 9})).ok()
    # The record's own history goes on beside it.
    (await patch(admin, None, "price", {"value": 2})).ok()
    body = {"scope": EN, "value": "Red"}
    merged = await admin.patch(f"{path}/values/name", body, headers=at(1))
    merged.ok()
    assert (merged.status, merged.headers["ETag"]) == (200, '"3"')
    refused = await admin.put(path, {"values": entries({"price": 8})}, headers=at(1) | PROBLEM)
    assert refused.body["conflicts"] == [
        {"pointer": "/values/price", "attribute": "price", "scope": {}, "current": 9, "sent": 8}
    ]
