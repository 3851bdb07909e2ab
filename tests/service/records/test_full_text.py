"""Full-text search: what is found, how, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import Caller, error
from tests.service.records.text_index import in_every_way

pytestmark = pytest.mark.asyncio(loop_scope="module")


SEARCHED: list[RecordsWorkspace] = []
"""The workspace of the test that runs."""


@pytest.fixture(autouse=True)
def searched(workspace: RecordsWorkspace) -> Iterator[None]:
    SEARCHED.append(workspace)
    yield
    SEARCHED.pop()


async def found(caller: Caller, query: str, **more: Any) -> list[str]:
    """The ids of what is found, without their prefix, the best first: the same in every way."""
    return await in_every_way(SEARCHED[0], lambda: _found(caller, query, **more))


async def _found(caller: Caller, query: str, **more: Any) -> list[str]:
    posted = (await caller.post("/search/full-text", {"query": query, **more})).ok()
    schema = f"&schemaId={more['schemaId']}" if "schemaId" in more else ""
    got = (await caller.get(f"/search/text?query={quote(query)}{schema}")).ok()
    ids = [item["id"].removeprefix("ent-") for item in posted["items"]]
    assert [item["id"].removeprefix("ent-") for item in got["items"]] == ids
    assert posted["total"] == got["total"] == len(ids)
    return ids


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
    colors = [
        {"id": "val-red", "alias": "red", "label": "Signal Red"},
        {"id": "val-blue", "alias": "blue", "label": "Blå"},
    ]
    body = {"id": "ol-colors", "alias": "colors", "name": "Colors", "values": colors}
    (await workspace.admin.post("/option-lists", body)).ok()
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("name", dimensionIds=["dim-language"])
    await workspace.attribute("note")
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.attribute("price", "number")
    await workspace.schema("x", ["sku", "name", "note", "color", "price"])
    return workspace


async def made(workspace: RecordsWorkspace, name: str, /, **values: Any) -> None:
    await workspace.record("schema-x", values, id=f"ent-{name}")


def named(**by_language: str) -> list[dict[str, Any]]:
    return [
        {"scope": {} if name == "all" else {"dim-language": f"seg-{name}"}, "value": text}
        for name, text in by_language.items()
    ]


async def test_words_phrases_exclusions_and_an_unfinished_last_word(
    catalogue: RecordsWorkspace, admin: Caller
):
    await made(catalogue, "a", note="A warm winter jacket for children")
    await made(catalogue, "b", note="Jacket: winter warm")
    await made(catalogue, "c", note="Warm socks")
    for query, expected in (
        ("warm", {"a", "b", "c"}),
        ("WARM jacket", {"a", "b"}),
        ('"winter jacket"', {"a"}),
        ('"warm winter" jacket', {"a"}),
        ("warm -jacket", {"c"}),
        ('warm -"winter jacket"', {"b", "c"}),
        ("wint", {"a", "b"}),
        ("wint jacket", set()),
        ("jacket chi", {"a"}),
        ("none", set()),
    ):
        assert set(await found(admin, query)) == expected, query


async def test_every_script_and_sign_is_literal(catalogue: RecordsWorkspace, admin: Caller):
    for name, note in (
        ("a", "cutie ouă și făină"),
        ("b", "漢方風邪薬です"),
        ("c", "Дом Один"),
        ("d", "H&M a+b #1 100% o'neil"),
        ("e", "Straße über Äpfel"),
    ):
        await made(catalogue, name, note=note)
    for query, expected in (
        ("oua", ["a"]),
        ("faina", ["a"]),
        ("風邪薬", ["b"]),
        ("風", ["b"]),
        ("薬風", []),
        ("ДОМ", ["c"]),
        ("H&M", ["d"]),
        ("a+b", ["d"]),
        ("#1", ["d"]),
        ("100%", ["d"]),
        ("o'neil", ["d"]),
        ("strasse", ["e"]),
        ("APFEL", ["e"]),
        ("x' | y & !:* \\ <-> (", []),
    ):
        assert await found(admin, query) == expected, query


async def test_a_sku_or_a_part_of_one_is_found(catalogue: RecordsWorkspace, admin: Caller):
    await made(catalogue, "a", sku="AB-12345-XL", note="first")
    await made(catalogue, "b", sku="CD_99.7", note="second")
    for query, expected in (
        ("AB-12345-XL", ["a"]),
        ("ab-12345", ["a"]),
        ("12345", ["a"]),
        ("2345-x", ["a"]),
        ("234", ["a"]),
        ("CD_99.7", ["b"]),
        ("first 12345", ["a"]),
        ("second 12345", []),
    ):
        assert await found(admin, query) == expected, query


async def test_the_language_of_a_segment_finds_other_forms(
    catalogue: RecordsWorkspace, admin: Caller
):
    await made(catalogue, "a", name=named(en="Running shoes"))
    await made(catalogue, "b", name=named(da="Løbende hunde"))
    await made(catalogue, "c", name=named(xx="Running shoes"))
    await made(catalogue, "d", name=named(all="Running shoes"))
    assert await found(admin, '"run shoe"') == ["a"]
    assert await found(admin, '"hund"') == ["b"]
    assert sorted(await found(admin, "running")) == ["a", "c", "d"]
    dimension = (await admin.get("/dimensions/dim-language")).ok()
    assert [each["locale"] for each in dimension["segments"]] == ["en-GB", "da", None]
    kept = {**dimension, "segments": [dict(each) for each in dimension["segments"]]}
    for segment in kept["segments"]:
        del segment["locale"]
    changed = (await admin.put("/dimensions/dim-language", kept)).ok()
    assert [each["locale"] for each in changed["segments"]] == ["en-GB", "da", None]
    kept["segments"][0]["locale"] = None
    kept["segments"][2]["locale"] = "en"
    (await admin.put("/dimensions/dim-language", kept)).ok()
    assert await found(admin, '"run shoe"') == ["c"]
    kept["segments"][2]["locale"] = "not a locale"
    assert (await admin.put("/dimensions/dim-language", kept)).status == 400


async def test_labels_of_options_are_found_as_they_are_now(
    catalogue: RecordsWorkspace, admin: Caller
):
    await made(catalogue, "a", color="red", note="coat")
    await made(catalogue, "b", color="blue", note="coat")
    assert await found(admin, "signal") == ["a"]
    assert await found(admin, "coat bla") == ["b"]
    assert await found(admin, "coat -signal") == ["b"]
    labels = {"seg-da": "Rubinrød", "seg-xx": "Rosso"}
    value = {"alias": "red", "label": "Crimson", "labels": labels}
    (await admin.put("/option-lists/ol-colors/values/val-red", value)).ok()
    for text in ("crimson coat", "rubinrød", "rosso", '"coat" rosso'):
        assert await found(admin, text) == ["a"], text
    assert await found(admin, "signal") == []


async def test_the_best_come_first_over_all_pages(catalogue: RecordsWorkspace, admin: Caller):
    await made(catalogue, "a", note="once: wood and much more that is said of other things")
    await made(catalogue, "b", note="wood wood wood wood")
    for number in range(5):
        await made(catalogue, f"n{number}", note="wood")
    assert (await found(admin, "wood"))[0] == "b"
    ids: list[str] = []
    body: dict[str, Any] = {"query": "wood", "limit": 2}
    while True:
        page = (await admin.post("/search/full-text", body)).ok()
        ids += [item["id"].removeprefix("ent-") for item in page["items"]]
        if page["nextCursor"] is None:
            break
        body["cursor"] = page["nextCursor"]
    assert ids == await found(admin, "wood")
    other = {**body, "query": "woods"}
    assert (await admin.post("/search/full-text", other)).status == 400


async def test_what_is_hidden_is_not_found(catalogue: RecordsWorkspace, admin: Caller):
    await catalogue.workflow("flow", {"draft": {}, "secret": {"hidden": ["note"]}})
    await catalogue.schema("y", ["sku", "note", "color"], "wf-flow")
    await made(catalogue, "a", note="cobalt", color="red", sku="AAA-1")
    for name in ("b", "c"):
        values = {"note": "cobalt", "color": "red"}
        await catalogue.record("schema-y", values, id=f"ent-{name}")
    (await admin.post("/records/ent-c/transition", {"toStateId": "state-secret"})).ok()
    assert await found(admin, "cobalt") == ["a", "b", "c"]
    everything = await catalogue.user_with_role({"*": {"*": "read"}}, name="role-all")
    assert await found(everything, "cobalt") == ["a", "b"]
    half = await catalogue.user_with_role(
        {
            "schema-x": {"*": "read", "attr-note": "hidden", "attr-color": "hidden"},
            "*": {"*": "read", "attr-sku": "hidden"},
        },
        name="role-half",
    )
    assert await found(half, "cobalt") == ["b"]
    assert await found(half, "signal") == ["b", "c"]
    assert await found(half, "AAA-1") == ["a"]
    none = await catalogue.user_with_role({"*": {"attr-price": "read"}}, name="role-none")
    for query in ("cobalt", "signal", "AAA-1"):
        assert await found(none, query) == []
    assert await found(admin, "cobalt", schemaId="y") == ["b", "c"]
    # Neither does an exclusion tell of it.
    assert await found(half, "signal -cobalt") == ["c"]
    schema = (await admin.get("/schemas/schema-x")).body
    schema["attributeGroups"] = [{"name": "All", "attributeIds": ["attr-sku"]}]
    (await admin.put("/schemas/schema-x", schema)).ok()
    assert await found(admin, "cobalt") == ["b", "c"]


async def test_what_cannot_be_looked_for_is_refused(catalogue: RecordsWorkspace, admin: Caller):
    for query, message in (
        (None, "Field 'query' is required"),
        ("", "Field 'query' must have a word to look for, got ''"),
        ("-", "Field 'query' must have a word to look for, got '-'"),
        ("-red", "Field 'query' must have a word to look for, got '-red'"),
        ("a " * 21, "Field 'query' must have at most 20 words, got 21"),
    ):
        body = {} if query is None else {"query": query}
        refused = error(400, "VALIDATION_ERROR", message)
        assert (await admin.post("/search/full-text", body)).outcome == refused
    assert (await admin.post("/search/full-text", {"query": "x" * 501})).status == 400
    assert (await admin.get("/search/text")).status == 400
    assert (await admin.get("/search/text?q=none")).ok()["items"] == []
    assert (await admin.post("/search/full-text", {"q": "none"})).ok()["items"] == []


async def test_what_a_variant_has_of_its_own_finds_its_record(
    catalogue: RecordsWorkspace, admin: Caller
):
    await catalogue.schema("v", ["sku", "note", "color"], variantEnabled=True)
    for name in ("a", "b"):
        await catalogue.record("schema-v", {"note": "coat", "sku": f"S-{name}"}, id=f"ent-{name}")
    small = {"sku": [{"scope": {}, "value": "S-77-small"}]}
    sent = {"id": "var-s", "values": small}
    (await admin.post("/records/ent-a/variants", sent)).ok()
    note = [{"scope": {}, "value": "waxed"}]
    below = {"id": "var-w", "parentId": "var-s", "values": {"note": note}}
    (await admin.post("/records/ent-a/variants", below)).ok()
    assert await found(admin, "77-small") == ["a"]
    assert await found(admin, "waxed coat") == ["a"]
    half = await catalogue.user_with_role({"*": {"*": "read", "attr-note": "hidden"}})
    assert await found(half, "waxed") == []
    assert await found(half, "77") == ["a"]
    (await admin.delete("/records/ent-a/variants/var-w")).ok()
    assert await found(admin, "waxed") == []


async def test_a_workspace_without_languages_finds_the_same(
    workspace: RecordsWorkspace, admin: Caller
):
    await workspace.option_list("colors", ["crimson"])
    await workspace.attribute("sku", validation={"unique": True})
    await workspace.attribute("note")
    await workspace.attribute("more")
    await workspace.attribute("color", "option", optionListId="ol-colors")
    await workspace.schema("x", ["sku", "note", "more", "color"], variantEnabled=True)
    warm = {"note": 'Wärm "winter"\njacket', "more": "Quilted jacketing"}
    await made(workspace, "a", sku="AB-12345-XL", color="crimson", **warm)
    await made(workspace, "b", sku="CD-9", note="漢方風邪薬です ΟΔΟΣ Straße", more="l'œuvre №9")
    small = {"id": "var-s", "values": {"note": [{"scope": {}, "value": "waxed"}]}}
    (await admin.post("/records/ent-b/variants", small)).ok()
    for query, expected in (
        ("warm jack", ["a"]),
        ('"winter jacket"', ["a"]),
        ("ab-12345", ["a"]),
        ("2345-x", ["a"]),
        ("crimson winter", ["a"]),
        ("warm -crimson", []),
        ("風邪薬", ["b"]),
        ("οδος strasse", ["b"]),
        ("waxed", ["b"]),
        ("waxed crimson", []),
        ("attr", []),
        ("scope", []),
        # Words of two texts, in each way in which a text may have one of them.
        ("quilted warm", ["a"]),
        ('"winter quilted"', []),
        ("w q", []),
        ("quilted w", ["a"]),
        ("ilted", []),
        ("warm -quilted", []),
        ("quilted -jacketin", ["a"]),
        ('quilted -"winter jacket"', []),
        ('quilted -"jacket winter"', ["a"]),
        ("L'ŒUVRE", ["b"]),
        ("oeuv", ["b"]),
        ("no9", ["b"]),
        ("方です", []),
        ("方風", ["b"]),
    ):
        assert await found(admin, query) == expected, query
