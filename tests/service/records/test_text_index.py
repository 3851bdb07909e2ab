"""Full-text searches by the index find what they find by the values, in the same order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import count, islice, product
from typing import Any

import pytest
import pytest_asyncio

from records_service.model_changes import state_moving
from records_service.search import text_samples, text_store, text_walk
from records_service.search_texts.documents import level_of, mark_of
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller
from tests.kit.workspace import entries
from tests.service.records.text_index import (
    in_every_way,
    index_all,
    index_some,
    note_all,
    without_index,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

WORDS = ["run", "running", "runs", "shoe", "shoes", "hund", "hunde", "løbende", "wärm", "warm"]
WORDS += ["red", "12", "ab-9", "風邪", "Straße"]
CODES = ["AB-12345-XL", "ab_99.7", "12-shoe", "Q'1\\x", "ünï-77", "run"]
SCOPES: list[dict[str, str]] = [
    {},
    {"dim-language": "seg-en"},
    {"dim-language": "seg-da"},
    {"dim-language": "seg-xx"},
]


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    segments = [
        {"id": "seg-en", "alias": "en", "name": "English", "locale": "en-GB"},
        {"id": "seg-da", "alias": "da", "name": "Danish", "locale": "da"},
        {"id": "seg-xx", "alias": "xx", "name": "None"},
    ]
    dimension = {"id": "dim-language", "alias": "language", "name": "Language"}
    body = {**dimension, "defaultSegmentId": "seg-en", "segments": segments}
    (await workspace.admin.post("/dimensions", body)).ok()
    await workspace.option_list("colors", ["red", "warm", "shoes"])
    language = {"dimensionIds": ["dim-language"]}
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("name", **language)
    await workspace.attribute("note", multiple=True)
    await workspace.attribute("color", "option", optionListId="ol-colors", multiple=True)
    await workspace.attribute("price", "number")
    await workspace.workflow("flow", {"draft": {}, "secret": {"hidden": ["note", "color"]}})
    every = ["sku", "name", "note", "color", "price"]
    await workspace.schema("x", every, variantEnabled=True)
    await workspace.schema("y", every, "wf-flow")
    return workspace


def some_text(rng: random.Random) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(1, 6)))


def some_values(rng: random.Random, codes: Iterator[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if rng.random() < 0.6:
        found["sku"] = f"{rng.choice(CODES)}{next(codes)}"
    if rng.random() < 0.8:
        scopes = rng.sample(SCOPES, k=rng.randint(1, 3))
        found["name"] = [{"scope": scope, "value": some_text(rng)} for scope in scopes]
    if rng.random() < 0.5:
        found["note"] = [some_text(rng) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.4:
        found["color"] = rng.sample(["val-red", "val-warm"], k=rng.randint(1, 2))
    return found


def some_query(rng: random.Random) -> str:
    terms = []
    for _ in range(rng.randint(1, 3)):
        words = rng.choices([*WORDS, *CODES, "hu", "sh", "345"], k=rng.choice([1, 1, 1, 2]))
        term = f'"{" ".join(words)}"' if rng.random() < 0.3 else words[0]
        terms.append(f"-{term}" if terms and rng.random() < 0.25 else term)
    return " ".join(terms)


async def change_some(
    workspace: RecordsWorkspace, rng: random.Random, codes: Iterator[str]
) -> None:
    """Writes of every kind that change what is found."""
    admin = workspace.admin
    found = (await admin.get("/records?limit=200")).ok()["items"]
    for _ in range(6):
        schema, values = rng.choice("xy"), some_values(rng, codes)
        await workspace.record(f"schema-{schema}", values)
    for record in rng.sample(found, k=min(len(found), 8)):
        path = f"/records/{record['id']}"
        match rng.randint(0, 4):
            case 0:
                (await admin.post("/records/bulk-delete", {"ids": [record["id"]]})).ok()
            case 1 if record["schemaId"] == "schema-y":
                await admin.post(f"{path}/transition", {"toStateId": "state-secret"})
            case 1:
                variant = {"values": entries(some_values(rng, codes))}
                (await admin.post(f"{path}/variants", variant)).ok()
            case 2:
                variants = (await admin.get(f"{path}/variants")).body.get("items", [])
                for variant in variants[:1]:
                    (await admin.delete(f"{path}/variants/{variant['id']}")).ok()
            case 3:
                changed = entries(some_values(rng, codes))
                rows = [
                    {"id": record["id"], "schemaId": record["schemaId"], "values": changed},
                    {"schemaId": "schema-x", "values": entries(some_values(rng, codes))},
                ]
                (await admin.post("/records/bulk", {"operations": rows})).ok()
            case _:
                kept = {"schemaId": record["schemaId"], "values": entries(some_values(rng, codes))}
                (await admin.put(path, kept)).ok()


async def answers(callers: list[Caller], queries: list[str]) -> list[Any]:
    found = []
    for number, query in enumerate(queries):
        body: dict[str, Any] = {"query": query, "limit": 50}
        if number % 3 == 0:
            body["schemaId"] = "y"
        if number % 4 == 0:
            body["facets"] = ["schemaId", "lifecycleStateId", "color"]
        for caller in callers:
            page = (await caller.post("/search/full-text", body)).ok()
            ids = [item["id"] for item in page["items"]]
            found.append((query, ids, page["total"], page.get("facets")))
    return found


async def test_the_index_finds_what_the_values_have(catalogue: RecordsWorkspace):
    rng, codes = random.Random(11), (f"-{number}" for number in count())
    words = {
        "role-most": {"*": {"*": "read"}},
        "role-half": {
            "schema-x": {"*": "read", "attr-note": "hidden", "attr-color": "hidden"},
            "*": {"*": "read", "attr-sku": "hidden"},
        },
        "role-color": {"*": {"attr-color": "read"}},
    }
    numbers = 0
    for round_ in range(5):
        await change_some(catalogue, rng, codes)
        queries = [some_query(rng) for _ in range(10)]
        # Said anew in each round: an identity holds for a minute.
        callers = [catalogue.admin]
        for name, each in words.items():
            callers.append(await catalogue.user_with_role(each, name=name))
        # What the round before has indexed is there, what this one has written is behind.
        half_way = await answers(callers, queries)
        await index_all(catalogue)
        by_index = await answers(callers, queries)
        await without_index(catalogue)
        by_values = await answers(callers, queries)
        assert by_index == by_values, round_
        assert half_way == by_values, round_
        await index_all(catalogue)
        numbers += sum(len(each[1]) for each in by_values)
    assert numbers > 100


def ids_of_level(level: int) -> Iterator[str]:
    return (each for each in (f"ent-{n}" for n in count()) if level_of(each) == level)


@pytest.mark.parametrize("behind", [False, True])
async def test_a_word_of_very_many_is_ranked_in_a_sample(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch, behind: bool
):
    ids = {level: list(islice(ids_of_level(level), 5)) for level in (0, 1, 2)}
    texts = {0: "common", 1: "common", 2: "common"}
    order = [each for group in zip(*ids.values(), strict=True) for each in group]
    for number, record_id in enumerate(order):
        level = number % 3
        note = [f"{texts[level]} {'common ' * (number // 3)}{'rest ' * 9}"]
        await catalogue.record("schema-x", {"note": note}, id=record_id)
    await catalogue.record("schema-x", {"note": ["other"]}, id="ent-other")
    await index_all(catalogue)
    if behind:
        await note_all(catalogue)
    best = {level: list(reversed(ids[level])) for level in (1, 2)}
    for needed, level in ((5, 2), (10, 1), (11, 0)):
        if behind and level:
            # What the index has not reached is not measured.
            continue
        monkeypatch.setattr(text_store, "MANY_IN_SAMPLE", needed)
        expected = await pages(catalogue.admin, limit=50)
        assert sorted(expected) == sorted(order)
        if level == 2:
            assert expected[:5] == best[2]
            assert expected[5:] == [each for each in order if level_of(each) < 2]
        if level == 1:
            assert set(expected[:10]) == {*ids[1], *ids[2]}
            assert expected[10:] == ids[0]
        for limit in (2, 3, 7):
            assert await pages(catalogue.admin, limit=limit) == expected
            assert await pages(catalogue.admin, limit=limit, by_offset=True) == expected
        # A part of the sample comes first, and the rest of it among the others.
        with monkeypatch.context() as patched:
            patched.setattr(text_samples, "RANKED", 2)
            of_part = await pages(catalogue.admin, limit=50)
            assert sorted(of_part) == sorted(order)
            assert (of_part != expected) is (level > 0 and not behind)
            for limit in (2, 3):
                assert await pages(catalogue.admin, limit=limit) == of_part
                assert await pages(catalogue.admin, limit=limit, by_offset=True) == of_part


async def test_few_are_counted_beside_a_sample_and_many_are_estimated(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    ids = {level: list(islice(ids_of_level(level), 3)) for level in (0, 1, 2)}
    for record_id in (each for group in ids.values() for each in group):
        await catalogue.record("schema-x", {"note": ["common"]}, id=record_id)
    await index_all(catalogue)
    body = {"query": "common", "limit": 2}
    for needed, estimate in ((3, 3 * 256), (4, 6 * 16)):
        monkeypatch.setattr(text_store, "MANY_IN_SAMPLE", needed)
        for counted_max, total, more in ((14_000, 9, {}), (0, estimate, {"totalIsEstimate": True})):
            monkeypatch.setattr(text_store, "COUNTED_MAX", counted_max)
            page = (await catalogue.admin.post("/search/full-text", body)).ok()
            assert page["total"] == max(total, 10_001 if more else 0)
            assert {"totalIsEstimate"} & page.keys() == more.keys()
    monkeypatch.setattr(text_store, "COUNTED_MAX", 14_000)
    # What is written between two statements of a search is found by the later one.
    measured = text_store._measured

    async def measured_before(*asked: Any) -> text_store.Measured:
        found = await measured(*asked)
        if not late:
            late.append("ent-late")
            await catalogue.record("schema-x", {"note": ["common"]}, id="ent-late")
        return found

    monkeypatch.setattr(text_store, "_measured", measured_before)
    for needed in (4, 10):
        late: list[str] = []
        await catalogue.admin.post("/records/bulk-delete", {"ids": ["ent-late"]})
        await index_all(catalogue)
        monkeypatch.setattr(text_store, "MANY_IN_SAMPLE", needed)
        page = (await catalogue.admin.post("/search/full-text", {**body, "limit": 50})).ok()
        assert page["total"] == len(page["items"]) == 10
        assert "ent-late" in {item["id"] for item in page["items"]}


async def test_the_order_of_the_first_page_holds_for_all(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    """What is written between two pages, and in another number, changes the order of none."""
    ids = {level: list(islice(ids_of_level(level), 4)) for level in (0, 2)}
    for record_id in (*ids[0], *ids[2]):
        await catalogue.record("schema-x", {"note": ["common"]}, id=record_id)
    await index_all(catalogue)
    monkeypatch.setattr(text_store, "MANY_IN_SAMPLE", 4)
    monkeypatch.setattr(text_store, "COUNTED_MAX", 0)
    body: dict[str, Any] = {"query": "common", "limit": 3}
    first = (await catalogue.admin.post("/search/full-text", body)).ok()
    assert first["totalIsEstimate"] is True
    monkeypatch.setattr(text_store, "MANY_IN_SAMPLE", 250)
    found = [item["id"] for item in first["items"]]
    late = list(islice(ids_of_level(0), 5))[-1]
    await catalogue.record("schema-x", {"note": ["common"]}, id=late)
    cursor = first["nextCursor"]
    while cursor is not None:
        page = (await catalogue.admin.post("/search/full-text", {**body, "cursor": cursor})).ok()
        found += [item["id"] for item in page["items"]]
        cursor = page["nextCursor"]
    assert found == [*ids[2], *ids[0], late]


async def pages(caller: Caller, *, limit: int, by_offset: bool = False) -> list[str]:
    ids: list[str] = []
    body: dict[str, Any] = {"query": "common", "limit": limit}
    while True:
        page = (await caller.post("/search/full-text", body)).ok()
        ids += [item["id"] for item in page["items"]]
        if page["nextCursor"] is None:
            return ids
        if by_offset:
            body["offset"] = len(ids)
        else:
            body["cursor"] = page["nextCursor"]


async def test_one_slice_takes_what_was_noted_and_no_more(catalogue: RecordsWorkspace):
    await index_all(catalogue)
    await catalogue.record("schema-x", {"note": ["zebra"]}, id="ent-a")
    assert await index_some(catalogue) is False
    assert await catalogue.fetch("SELECT FROM search_texts_behind WHERE workspace_id = $1") == []
    rows = await catalogue.fetch("SELECT record_id FROM search_texts WHERE workspace_id = $1")
    assert [row["record_id"] for row in rows] == ["ent-a"]


async def test_a_rare_phrase_of_frequent_words_is_looked_for_page_by_page(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(text_store, "CANDIDATES_MAX", 0)
    monkeypatch.setattr(text_walk, "LOOKED_AT", 4)
    ids = [f"ent-{number}" for number in range(15)]
    sampled = next(each for each in ids_of_level(1) if each not in ids)
    for number, record_id in enumerate([sampled, *ids]):
        note = ["warm jacket"] if number in (1, 8, 9, 14) else ["jacket warm"]
        await catalogue.record("schema-x", {"note": note}, id=record_id)
    expected = [ids[0], ids[7], ids[8], ids[13]]
    await index_all(catalogue)
    await catalogue.record("schema-x", {"note": ["warm jacket"]}, id="ent-late")
    body: dict[str, Any] = {"query": '"warm jacket"', "facets": ["schemaId"]}
    for limit in (50, 1):
        found, cursor, sizes = list[str](), None, []
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            page = (
                await catalogue.admin.post("/search/full-text", {**body, "limit": limit, **more})
            ).ok()
            assert page.get("totalIsEstimate") is True or page["total"] == len(found)
            assert page["facets"]["schemaId"][0]["count"] == 1
            found += [item["id"] for item in page["items"]]
            sizes.append(len(page["items"]))
            cursor = page["nextCursor"]
            if cursor is None:
                break
        assert found == [*expected, "ent-late"]
        assert max(sizes) <= limit
        assert 0 in sizes
    monkeypatch.setattr(text_walk, "LOOKED_AT", 100)
    page = (await catalogue.admin.post("/search/full-text", body)).ok()
    assert [item["id"] for item in page["items"]] == [*expected, "ent-late"]
    assert (page["total"], page["nextCursor"]) == (5, None)
    page = (await catalogue.admin.post("/search/full-text", {**body, "offset": 3, "limit": 1})).ok()
    assert [item["id"] for item in page["items"]] == [ids[13]]


async def test_a_word_is_counted_where_its_text_is_seen(workspace: RecordsWorkspace):
    segments = [{"id": "seg-en", "alias": "en", "name": "English", "locale": "en-GB"}]
    body = {"id": "dim-language", "alias": "language", "name": "Language", "segments": segments}
    (await workspace.admin.post("/dimensions", {**body, "defaultSegmentId": "seg-en"})).ok()
    await workspace.attribute("name")
    await workspace.attribute("note")
    await workspace.schema("x", ["name", "note"])
    await workspace.record("schema-x", {"name": "warm", "note": "to be"}, id="ent-1")
    await workspace.record("schema-x", {"name": "red", "note": "warm"}, id="ent-2")
    await workspace.record("schema-x", {"name": "to red", "note": "be"}, id="ent-3")
    await index_all(workspace)
    some = await workspace.user_with_role({"schema-x": {"*": "read", "attr-note": "hidden"}})

    async def counted(caller: Caller, query: str) -> int:
        body = {"query": query, "facets": ["schemaId"]}
        page = (await caller.post("/search/full-text", body)).ok()
        found = sum(each["count"] for each in page["facets"]["schemaId"])
        assert page["total"] == found == len(page["items"])
        return found

    assert await counted(workspace.admin, "warm") == 2
    assert await counted(some, "warm") == 1
    # Two words that English leaves out, one after the other.
    assert await counted(workspace.admin, '"to be"') == 1
    assert await counted(some, '"to be"') == 0


async def test_of_very_long_texts_the_beginning_is_found(workspace: RecordsWorkspace):
    """Of a megabyte in words that are all different, and of 100,000 characters of Chinese."""
    rng = random.Random(3)
    chinese = "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(100_000))
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    short = " ".join(map("".join, product(letters, repeat=3)))
    many = " ".join(f"{number:x}q" for number in range(160_000))[:1_000_000]
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("note")
    await workspace.attribute("name")
    await workspace.schema("x", ["sku", "note", "name"])
    ids = ids_of_level(2)
    for values in (
        {"note": many},
        {"note": chinese},
        {"sku": chinese},
        {"note": short[:99_999], "name": short[100_000:]},
    ):
        await workspace.record("schema-x", values, id=next(ids))

    async def counted() -> list[int]:
        found = []
        for query in ("1fq", "fffq", "aab", chinese[12_000:12_005], "26bbbq"):
            page = (await workspace.admin.post("/search/full-text", {"query": query})).ok()
            assert page["total"] == len(page["items"])
            found.append(page["total"])
        return found

    # The last one stands beyond what is searched.
    assert await in_every_way(workspace, counted) == [2, 1, 2, 2, 0]
    marks = [mark_of(workspace.id, level) for level in range(3)]
    [row] = await workspace.database.fetch(
        """
        SELECT bool_and(left(key, 4) = ANY($2::text[])) AS are_whole
          FROM search_texts t CROSS JOIN LATERAL unnest(tsvector_to_array(t.keys)) AS k (key)
         WHERE t.workspace_id = $1
        """,
        workspace.id,
        marks,
    )
    assert row["are_whole"]


LOST = {
    "by a schema": "INSERT INTO lost_attributes (workspace_id, attribute_id, schema_id)"
    " VALUES ($1, 'attr-lost', 'schema-x')",
    "with an attribute": "UPDATE search_layouts SET gone = '{attr-lost}' WHERE workspace_id = $1",
}


@pytest.mark.parametrize(
    ("lost", "between", "needed"),
    [
        ("by a schema", False, 150),
        ("by a schema", True, 1),
        ("with an attribute", True, 150),
        ("with an attribute", False, 1),
    ],
)
async def test_a_search_that_expects_no_lost_texts_asks_whether_there_are_any(
    catalogue: RecordsWorkspace,
    monkeypatch: pytest.MonkeyPatch,
    lost: str,
    between: bool,
    needed: int,
):
    monkeypatch.setattr(text_store, "MANY_IN_SAMPLE", needed)
    ids = list(islice(ids_of_level(1), 2))
    for record_id in ids:
        await catalogue.record("schema-x", {"note": ["common"]}, id=record_id)
    await index_all(catalogue)

    async def lose() -> None:
        await catalogue.database.execute(
            "UPDATE search_texts SET attributes = '{attr-lost}'"
            " WHERE workspace_id = $1 AND record_id = $2",
            catalogue.id,
            ids[1],
        )
        await catalogue.database.execute(LOST[lost], catalogue.id)

    async def found() -> list[str]:
        page = (await catalogue.admin.post("/search/full-text", {"query": "common"})).ok()
        assert page["total"] == len(page["items"])
        return [item["id"] for item in page["items"]]

    # What it is told, the next search expects.
    for _ in range(2):
        assert await found() == ids
    if not between:
        await lose()
    measured = text_store._measured

    async def measured_before(*asked: Any) -> text_store.Measured:
        before = await measured(*asked)
        if between:
            await lose()
        return before

    monkeypatch.setattr(text_store, "_measured", measured_before)
    assert await found() == ids[:1]


async def test_texts_are_found_while_records_are_moved_to_the_states_of_another_workflow(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(state_moving, "MOVED_IN_REQUEST", 0)
    await catalogue.workflow("next", ("begin", "end"))
    ids = list(islice(ids_of_level(1), 2))
    for record_id in ids:
        await catalogue.record("schema-y", {"note": ["common"]}, id=record_id)
    schema = (await catalogue.admin.get("/schemas/schema-y")).ok()
    (await catalogue.admin.put("/schemas/schema-y", {**schema, "workflowId": "wf-next"})).ok()
    assert await catalogue.fetch("SELECT FROM state_moves WHERE workspace_id = $1") != []
    await index_all(catalogue)
    for needed in (150, 1):
        monkeypatch.setattr(text_store, "MANY_IN_SAMPLE", needed)
        page = (await catalogue.admin.post("/search/full-text", {"query": "common"})).ok()
        assert [item["id"] for item in page["items"]] == ids
        assert page["total"] == 2
