"""Texts are folded alike in Python and in PostgreSQL, and anew when the rules change."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest
import pytest_asyncio

from records_service.model_objects.commands import take_lock
from records_service.progress.model import JobKind
from records_service.search_texts import indexing, refolding, waking_store
from records_service.search_texts.folding import FIRST_FOLDING, FOLDING, folded, folded_in_sql
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.workspace import entries
from tests.service.records.text_index import in_every_way, index_all, index_some

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANEW = ("Cœur Øre", "Encyclopædia", "Þórður Łódź", "Zebra™")
ALIKE = ("coeur ore", "Straße", "ﬁlter ĳs", "plain")
NAMES = (*ANEW, *ALIKE)


@pytest.mark.parametrize("version", [FIRST_FOLDING, FOLDING])
async def test_python_and_postgresql_fold_alike(workspace: RecordsWorkspace, version: int):
    letters = [
        each
        for each in map(chr, [*range(1, 0xD800), *range(0xE000, 0x20000)])
        # The three libraries know other versions of Unicode: of what is old, all know the same.
        if unicodedata.category(each)[0] in "LMNPSZ"
        and unicodedata.ucd_3_2_0.category(each) != "Cn"
    ]
    texts = [f"a{each}ς{each.upper()}" for each in letters]
    sql = f"SELECT {folded_in_sql('n.text', version)} AS folded FROM unnest($1::text[]) AS n (text)"
    rows = await workspace.database.fetch(sql, texts)
    by_python = [folded(each, version) for each in texts]
    different = [
        (text, python, row["folded"])
        for text, python, row in zip(texts, by_python, rows, strict=True)
        if python != row["folded"]
    ]
    assert different == []


@pytest_asyncio.fixture(loop_scope="module")
async def named(workspace: RecordsWorkspace) -> RecordsWorkspace:
    await workspace.attribute("name", filterable=True)
    await workspace.attribute("sku", validation={"unique": True})
    options = [
        {"id": "val-o", "alias": "o", "label": "Œuvre"},
        {"id": "val-p", "alias": "p", "label": "Plain"},
    ]
    body = {"id": "ol-kinds", "alias": "kinds", "name": "Kinds", "values": options}
    (await workspace.admin.post("/option-lists", body)).ok()
    await workspace.attribute("kind", "option", optionListId="ol-kinds")
    await workspace.schema("x", ["name", "sku", "kind"])
    for number, name in enumerate(NAMES):
        sku = f"{'SKØ' if name in ANEW else 'SK'}-{number}"
        values = {"name": name, "sku": sku, "kind": "o" if number == 0 else "p"}
        await workspace.record("schema-x", values, id=f"ent-{number}")
    return workspace


async def _found(workspace: RecordsWorkspace, text: str) -> dict[str, list[str]]:
    """What is found by a part, by a beginning and by words."""
    answers: dict[str, list[str]] = {}
    for operator in ("contains", "startsWith"):
        criterion = {"attribute": "name", "operator": operator, "value": text}
        page = (await workspace.admin.post("/search", {"criteria": [criterion]})).ok()
        answers[operator] = sorted(_name(item) for item in page["items"])
    page = (await workspace.admin.post("/search/full-text", {"query": text})).ok()
    answers["words"] = sorted(_name(item) for item in page["items"])
    return answers


async def _in_order(workspace: RecordsWorkspace) -> list[str]:
    sort = [{"attribute": "name", "order": "asc"}]
    page = (await workspace.admin.post("/search", {"sort": sort})).ok()
    return [_name(item) for item in page["items"]]


def _name(item: Any) -> str:
    return str(item["values"]["name"][0]["value"])


def _all(names: Sequence[str]) -> dict[str, list[str]]:
    found = sorted(names)
    return {"contains": found, "startsWith": found, "words": found}


HEARTS = _all(["Cœur Øre", "coeur ore"])


async def test_ligatures_and_letters_with_strokes_are_found_by_plain_letters(
    named: RecordsWorkspace,
):
    async def ask() -> Any:
        assert await _found(named, "coeur") == HEARTS
        assert await _found(named, "CŒUR") == HEARTS
        assert await _found(named, "encyclopaed") == _all(["Encyclopædia"])
        assert await _found(named, "thordur lodz") == _all(["Þórður Łódź"])
        assert await _found(named, "STRASSE") == _all(["Straße"])
        assert await _found(named, "filter ij") == _all(["ﬁlter ĳs"])
        assert await _found(named, "Zebratm") == _all(["Zebra™"])
        by_label = (await named.admin.post("/search/full-text", {"query": "oeuvre"})).ok()
        by_code = (await named.admin.post("/search/full-text", {"query": "sko-3"})).ok()
        assert list(map(_name, by_label["items"])) == ["Cœur Øre"]
        assert list(map(_name, by_code["items"])) == ["Zebra™"]
        return await _in_order(named)

    in_order = await in_every_way(named, ask)
    assert in_order == sorted(NAMES, key=lambda each: (folded(each, FOLDING), NAMES.index(each)))


async def _folded_by_old_rules(workspace: RecordsWorkspace) -> None:
    """As the version before has left it: what is stored is folded by the first rules."""
    async with workspace.database.transaction() as conn:
        await take_lock(conn, workspace.id)
        await conn.execute("DELETE FROM search_texts WHERE workspace_id = $1", workspace.id)
        await conn.execute("DELETE FROM search_sorted WHERE workspace_id = $1", workspace.id)
        await conn.execute(
            """
            UPDATE search_layouts
               SET layout = NULL, wanted = wanted - 'folding', folds_from = now() + interval '1 h'
             WHERE workspace_id = $1
            """,
            workspace.id,
        )
    await index_all(workspace)
    async with workspace.database.transaction() as conn:
        await take_lock(conn, workspace.id)
        await conn.execute(
            """
            UPDATE search_layouts SET layout = layout - 'folding', wanted = wanted - 'folding'
             WHERE workspace_id = $1
            """,
            workspace.id,
        )


async def _wants_job(workspace: RecordsWorkspace) -> bool:
    found = await waking_store.workspaces_changed(workspace.database, indexing.JOB, rows_max=10_000)
    return workspace.id in found


async def _become_due(workspace: RecordsWorkspace) -> None:
    await workspace.database.execute(
        "UPDATE search_layouts SET folds_from = now() WHERE workspace_id = $1", workspace.id
    )


async def _rows(workspace: RecordsWorkspace) -> dict[str, Any]:
    found = await workspace.fetch(
        """
        SELECT record_id, xmin::text, words::text, folded, keys::text FROM search_texts
         WHERE workspace_id = $1
        """
    )
    return {NAMES[int(row["record_id"].removeprefix("ent-"))]: tuple(row.values()) for row in found}


async def test_old_rules_hold_until_all_code_knows_the_new_ones(named: RecordsWorkspace):
    await index_all(named)
    await _folded_by_old_rules(named)
    await index_all(named)
    assert not await _wants_job(named)
    old_hearts = _all(["coeur ore"])
    assert await _found(named, "coeur") == old_hearts
    assert await _found(named, "cœur") == _all(["Cœur Øre"])
    body = {"schemaId": "schema-x", "values": entries({"name": "plain", "sku": "SK-7"})}
    (await named.admin.put("/records/ent-7", body)).ok()
    assert await _found(named, "cœur") == _all(["Cœur Øre"])
    await index_all(named)
    by_old = sorted(NAMES, key=lambda each: (folded(each, FIRST_FOLDING), NAMES.index(each)))
    assert await _in_order(named) == by_old
    await _become_due(named)
    assert await _wants_job(named)


async def test_what_was_folded_by_old_rules_is_renewed_and_right_meanwhile(
    named: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """Each slice may be the last of a process that is killed: the next one goes on from there."""
    await index_all(named)
    await _folded_by_old_rules(named)
    await index_all(named)
    before = await _rows(named)
    assert before["Cœur Øre"][2] != folded(before["Cœur Øre"][2], FOLDING)
    await _become_due(named)
    monkeypatch.setattr(refolding, "LOOKED_AT_ONCE", 3)
    monkeypatch.setattr(indexing, "AT_ONCE", 2)
    assert await index_some(named)
    slices, told = 0, False
    while True:
        # From the first slice on, the new rules hold.
        assert await _found(named, "coeur") == HEARTS
        assert (await _in_order(named))[:2] == ["Cœur Øre", "coeur ore"]
        jobs = (await named.admin.get("/jobs")).ok()["items"]
        told = told or any(each["kind"] == JobKind.INDEX_TEXTS.value for each in jobs)
        if not await index_some(named):
            break
        slices += 1
    assert slices >= 3
    assert told
    after = await _rows(named)
    # Of most texts both rules make the same: they are not written.
    assert {each for each in NAMES if before[each] != after[each]} == set(ANEW)
    assert not await _wants_job(named)
    assert await _found(named, "cœur") == HEARTS
    layout = await named.fetch(
        "SELECT layout ->> 'folding' AS folding FROM search_layouts WHERE workspace_id = $1"
    )
    assert [row["folding"] for row in layout] == [str(FOLDING)]
