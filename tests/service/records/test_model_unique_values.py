"""Stored values become unique, or are told why not."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from records_service.attributes.model import Attribute
from records_service.uniqueness import claiming
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Answer, Caller, error
from tests.service.records.attributes import LANGUAGE, attribute, unique_keys

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_an_attribute_becomes_unique_when_its_values_are(
    workspace: RecordsWorkspace, admin: Caller
):
    (await admin.post("/dimensions", LANGUAGE)).ok()
    await workspace.attribute("sku", dimensionIds=["dim-language"])
    await workspace.schema("x", ["sku"])
    unique = attribute(dimensionIds=["dim-language"], validation={"unique": True})
    english = {"dim-language": "seg-en"}

    async def store(record_id: str, *entries: tuple[dict[str, str], str]) -> Answer:
        values = {"sku": [{"scope": scope, "value": value} for scope, value in entries]}
        body = {"id": record_id, "schemaId": "schema-x", "values": values}
        return await admin.post("/records", body)

    (await store("ent-1", ({}, "A"), (english, "B"))).ok()
    (await store("ent-2", ({}, "B"), (english, "A"))).ok()
    (await store("ent-3", ({}, "A"))).ok()
    assert (await admin.put("/attributes/attr-sku", unique)).outcome == error(
        409,
        "CONFLICT",
        "Attribute 'sku' cannot become unique: 'ent-1' and 'ent-3' have the same value",
    )
    assert await unique_keys(workspace) == []
    assert (await admin.get("/attributes/attr-sku")).ok()["validation"]["unique"] is None
    (await admin.delete("/records/ent-3")).ok()
    (await admin.put("/attributes/attr-sku", unique)).ok()
    everywhere, in_english = "{}", '{"dim-language":"seg-en"}'
    assert await unique_keys(workspace) == [
        ("ent-1", in_english),
        ("ent-1", everywhere),
        ("ent-2", in_english),
        ("ent-2", everywhere),
    ]
    taken = error(409, "CONFLICT", "Value 'A' for attribute 'sku' must be unique")
    assert (await store("ent-4", ({}, "A"))).outcome == taken
    (await store("ent-5", ({}, "C"))).ok()
    assert len(await unique_keys(workspace)) == 5


async def test_stored_values_become_unique_beside_the_event_loop(
    workspace: RecordsWorkspace, admin: Caller, monkeypatch: pytest.MonkeyPatch
):
    """Whatever is written by then is as it would be if it came later: also numbers and controls."""
    await workspace.attribute("sku")
    await workspace.attribute("size", "number")
    await workspace.attribute("name")
    await workspace.schema("x", ["sku", "size", "name"])
    texts = ["A", 'quoted " and \\', "tab\tand\u001b", "é", "🧥", "\u2028", "1"]
    numbers = [1, 2.5, 1e-7, 1e21, 123456789.125, -3, 2.0]
    for text, number in zip(texts, numbers, strict=True):
        (await workspace.post_record("x", name="without either")).ok()
        (await workspace.post_record("x", sku=text, size=number)).ok()
    batches: list[int] = []
    threads: set[int] = set()
    hashed = claiming.unique_keys_held

    def watched(definition: Attribute, held: list[Any]) -> Any:
        if held:
            batches.append(len(held))
        threads.add(threading.get_ident())
        return hashed(definition, held)

    monkeypatch.setattr(claiming, "unique_keys_held", watched)
    for alias, kind in (("sku", "text"), ("size", "number")):
        unique = attribute(alias, kind, validation={"unique": True})
        (await admin.put(f"/attributes/attr-{alias}", unique)).ok()
    assert batches == [7, 7]
    assert threading.get_ident() not in threads
    assert len(await unique_keys(workspace)) == 14
    for text, number in zip(texts, numbers, strict=True):
        assert (await workspace.post_record("x", sku=text)).status == 409, text
        assert (await workspace.post_record("x", size=number)).status == 409, number


async def test_an_attribute_that_ends_to_be_unique_gives_its_values_free(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("ean", validation={"unique": True})
    await workspace.schema("x", ["sku", "ean"])
    (await workspace.post_record("x", sku="A", ean="1")).ok()
    assert (await workspace.post_record("x", sku="A")).status == 409
    (await admin.put("/attributes/attr-sku", attribute())).ok()
    (await workspace.post_record("x", sku="A")).ok()
    assert (await workspace.post_record("x", ean="1")).status == 409
    assert len(await unique_keys(workspace)) == 1
    again = await admin.put("/attributes/attr-sku", attribute(validation={"unique": True}))
    assert again.status == 409


async def test_values_become_unique_while_others_are_written(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.attribute("sku")
    await workspace.schema("x", ["sku"])
    changed, *written = await asyncio.gather(
        admin.put("/attributes/attr-sku", attribute(validation={"unique": True})),
        *(workspace.post_record("x", sku=f"S{n % 8}") for n in range(8)),
        *(workspace.post_record("x", sku=f"S{n}") for n in range(4)),
    )
    held = (await admin.get("/records")).ok()["items"]
    values = [record["values"]["sku"][0]["value"] for record in held]
    assert len(held) == sum(answer.status == 201 for answer in written)
    if changed.status == 200:
        assert len(set(values)) == len(values) == len(await unique_keys(workspace))
    else:
        assert len(set(values)) < len(values)
        assert await unique_keys(workspace) == []
