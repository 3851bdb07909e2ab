"""Whether a value is in use is told by the search index where there is one, and without it alike.

Without marks, which `test_value_uses.py` is about.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_asyncio

from records_service.model_objects import search_store, searching
from records_service.model_objects.value_index import VALUE_INDEX
from records_service.search_index import in_use
from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.sigma import error
from tests.kit.workspace import entries, schema_body
from tests.service.records.value_uses import forget_that_all_are_marked

pytestmark = pytest.mark.asyncio(loop_scope="module")

OPTIONS = ["red", "blue", "green", "inner", "varied", "lost", "never"]
SEARCHED: list[tuple[str, str]] = []


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes which tables are searched for values, and of which schemas."""
    SEARCHED.clear()
    search_some = search_store.search_some

    async def noted(
        conn: Any, workspace_id: str, table: str, schema_id: str, *more: Any, **kw: Any
    ):
        SEARCHED.append((table, schema_id))
        return await search_some(conn, workspace_id, table, schema_id, *more, **kw)

    monkeypatch.setattr(search_store, "search_some", noted)


@pytest.fixture(params=["index", "none"])
def with_index(
    request: pytest.FixtureRequest, workspace: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """With the search index, and as in a workspace that has none yet."""
    if request.param == "none":

        async def knows(*_: Any) -> frozenset[str]:
            return frozenset()

        monkeypatch.setattr(workspace.records.app[VALUE_INDEX], "knows", knows, raising=False)
    return request.param == "index"


@pytest_asyncio.fixture(loop_scope="module")
async def catalogue(workspace: RecordsWorkspace) -> RecordsWorkspace:
    """Options at the top, in a field, in a variant, and of a schema that lost the attribute."""
    await workspace.option_list("colors", OPTIONS)
    await workspace.attribute("name")
    for alias in ("color", "shade"):
        await workspace.attribute(alias, "option", optionListId="ol-colors", multiple=True)
    inner = {"alias": "tint", "type": "option", "optionListId": "ol-colors"}
    await workspace.attribute(
        "parts", "complex", filterable=True, attributes=[{**inner, "name": "Tint"}]
    )
    await workspace.schema("x", ["name", "color", "parts"])
    await workspace.schema("y", ["color"], variantEnabled=True)
    await workspace.schema("z", ["name", "shade"])
    await workspace.record("schema-x", {"color": ["red", "blue"]})
    await workspace.record("schema-x", {"parts": [{"scope": {}, "value": [{"tint": "inner"}]}]})
    await workspace.record("schema-y", {"color": ["blue"]}, id="ent-y")
    variant = {"id": "var-y", "values": entries({"color": ["varied"]})}
    (await workspace.admin.post("/records/ent-y/variants", variant)).ok()
    await workspace.record("schema-z", {"shade": ["lost"]})
    (await workspace.admin.put("/schemas/schema-z", schema_body("z", ["name"]))).ok()
    await forget_that_all_are_marked(workspace)
    return workspace


async def test_an_option_in_use_stays_and_an_unused_one_goes(
    catalogue: RecordsWorkspace, with_index: bool
):
    for name in OPTIONS:
        SEARCHED.clear()
        answer = await catalogue.admin.delete(f"/option-lists/ol-colors/values/val-{name}")
        if name in ("green", "never"):
            assert answer.status == 204, name
        else:
            message = f"Option value 'val-{name}' is in use and cannot be deleted"
            told = await catalogue.admin.delete(
                f"/option-lists/ol-colors/values/val-{name}",
                headers={"Accept": "application/problem+json"},
            )
            (detail,) = [one["detail"] for one in told.body["errors"]]
            if name == "varied":
                assert detail == f"{message}: variant 'var-y' has it, and maybe others"
            else:
                assert detail.startswith(f"{message}: record 'ent-"), detail
            SEARCHED.clear()
            answer = await catalogue.admin.delete(f"/option-lists/ol-colors/values/val-{name}")
            assert answer.outcome == error(409, "CONFLICT", message), name
        if with_index:
            # Read is only what the index does not have.
            assert set(SEARCHED) <= {("records", "schema-z"), ("variants", "schema-y")}
            if name in ("red", "blue", "inner"):
                assert SEARCHED == []


async def test_an_option_that_was_taken_out_of_all_records_can_go(
    catalogue: RecordsWorkspace, with_index: bool
):
    records = (await catalogue.admin.get("/records?schemaId=schema-x")).ok()["items"]
    for record in records:
        body = {"values": entries({"color": ["green"]})}
        (await catalogue.admin.put(f"/records/{record['id']}", body)).ok()
    (await catalogue.admin.delete("/option-lists/ol-colors/values/val-red")).ok()
    assert (await catalogue.admin.delete("/option-lists/ol-colors/values/val-green")).status == 409


async def test_many_options_are_asked_for_in_groups(
    catalogue: RecordsWorkspace, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(in_use, "TERMS_AT_ONCE", 2)
    kept = [{"id": "val-red", "alias": "red", "label": "red"}]
    body = {"alias": "colors", "name": "colors", "values": kept}
    refused = await catalogue.admin.put("/option-lists/ol-colors", body)
    assert refused.status == 409
    assert SEARCHED == []


FORMS: dict[str, tuple[dict[str, Any], Any]] = {
    "a number": ({"type": "number", "filterable": True}, 1),
    "a time": ({"type": "datetime", "filterable": True}, "2026-01-01T00:00:00Z"),
    "a boolean": ({"type": "boolean", "filterable": True}, False),
    "an option": ({"type": "option", "optionListId": "ol-colors"}, "red"),
    "a unique text": ({"type": "text", "validation": {"unique": True}}, "A"),
    "a text": ({"type": "text"}, "A"),
}


@pytest.mark.parametrize("form", FORMS)
async def test_the_form_of_an_attribute_changes_while_it_has_no_values(
    catalogue: RecordsWorkspace, with_index: bool, monkeypatch: pytest.MonkeyPatch, form: str
):
    # As if too much had been written since there is the attribute.
    monkeypatch.setattr(searching, "WRITTEN_MAX", 0)
    more, value = FORMS[form]
    usual = {"alias": "late", "name": "Late"}
    other = "boolean" if more["type"] == "text" else "text"
    await catalogue.attribute("late", more["type"], **more)
    await catalogue.schema("late", ["name", "late"])
    record = await catalogue.record("schema-late", {"late": value})
    changed = {**usual, "type": other}
    SEARCHED.clear()
    refused = await catalogue.admin.put("/attributes/attr-late", changed)
    assert refused.status == 409, refused.outcome
    indexed = with_index and form != "a text"
    assert bool(SEARCHED) != (indexed or form == "a unique text")

    (await catalogue.admin.put(f"/records/{record['id']}", {"values": {"late": []}})).ok()
    SEARCHED.clear()
    assert (await catalogue.admin.put("/attributes/attr-late", changed)).status == 200
    assert bool(SEARCHED) != (indexed and form != "a unique text")


async def test_keys_of_an_attribute_that_is_not_unique_any_more_are_no_values(
    catalogue: RecordsWorkspace,
):
    """They are released afterwards, some at a time."""
    await catalogue.attribute("late")
    await catalogue.schema("late", ["name", "late"])
    await catalogue.database.execute(
        """INSERT INTO unique_values (workspace_id, attribute_id, scope, value_hash, record_id)
           VALUES ($1, 'attr-late', '{}', '\\x00', 'ent-any')""",
        catalogue.id,
    )
    changed = {"alias": "late", "name": "Late", "type": "number"}
    assert (await catalogue.admin.put("/attributes/attr-late", changed)).status == 200


async def test_of_a_new_attribute_only_what_was_written_since_is_read(
    catalogue: RecordsWorkspace,
):
    await catalogue.attribute("late")
    body = schema_body("x", ["name", "color", "parts", "late"])
    (await catalogue.admin.put("/schemas/schema-x", body)).ok()
    changed = {"alias": "late", "name": "Late", "type": "number"}
    assert (await catalogue.admin.put("/attributes/attr-late", changed)).status == 200
    await catalogue.record("schema-x", {"late": 1})
    back = {**changed, "type": "text"}
    assert (await catalogue.admin.put("/attributes/attr-late", back)).status == 409
    assert SEARCHED == []
