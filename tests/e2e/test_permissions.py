"""What a role or an API key may see and do, on every surface that shows or changes a record.

The secret is the word in the hidden attribute: wherever a test looks for it, it must not be.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.kit.described import GUARDED
from tests.kit.sigma import Answer, error

SECRET = "s3cr3t-margin"
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")
ROLE = {
    "attr-name": "write",
    "attr-cost": "read",
    "attr-margin": "hidden",
    "attr-supplier": "hidden",
}
SEEN = {"name", "cost"}


@pytest.fixture
async def sigma(stack):
    """Apparel with a name to write, a cost to read, and two attributes that are hidden.

    To be published, a record needs everything: 50 % are what the role does not see.
    """
    sigma = await stack.workspace()
    for alias in ("name", "cost", "margin", "supplier", "later"):
        await sigma.attribute(alias)
    required = {"required": ["attr-name", "attr-cost", "attr-margin", "attr-supplier"]}
    await sigma.workflow(
        states={
            "draft": {},
            "review": required,
            "published": required | {"hidden": ["attr-cost"], "readOnly": ["attr-name"]},
        },
        transitions=[
            ("draft", "review", {"requiresCompleteness": 100}),
            ("draft", "published"),
            ("review", "published"),
        ],
    )
    await sigma.schema(
        "apparel",
        ["name", "cost", "margin", "supplier"],
        workflow="wf-lifecycle",
        variantEnabled=True,
    )
    await sigma.role("role-editor", {"schema-apparel": ROLE})
    values = {"name": "Parka", "cost": "12", "margin": SECRET}
    await sigma.record("schema-apparel", values, id="ent-1")
    return sigma


@pytest.fixture
async def editor(sigma):
    return await sigma.user("role-editor")


def one_entry(value):
    return [{"scope": {}, "value": value}]


def text_of(answer: Answer) -> str:
    """The whole answer as text, headers too."""
    headers = {str(name): value for name, value in answer.headers.items()}
    return orjson.dumps([answer.body, headers]).decode()


# Reading.


async def test_a_record_is_shown_without_what_is_hidden(editor):
    expected = {"name": one_entry("Parka"), "cost": one_entry("12")}
    record = await editor.get("/records/ent-1")
    page = await editor.get("/records")
    assert record.ok()["values"] == page.ok()["items"][0]["values"] == expected
    filtered = await editor.get("/records?schemaId=schema-apparel&lifecycleStateId=draft")
    assert filtered.ok() == page.ok()


async def test_no_address_that_reads_tells_the_secret(sigma, editor):
    """All of them, in the forms that they have: one that comes later is asked as well."""
    await sigma.admin.patch("/records/ent-1/values/margin", {"value": f"{SECRET}-2"})
    for one in GUARDED:
        if one.method == "GET":
            address = one.path.replace("{id}", "ent-1").replace("{attr}", "margin")
            for headers in ({}, {"Accept": "application/problem+json"}):
                answer = await editor.get(address, headers=headers)
                assert SECRET not in text_of(answer), one
                if address.startswith("/api/v1/records"):
                    assert "margin" not in text_of(answer), one
                    assert "supplier" not in text_of(answer), one


async def test_a_filter_over_what_is_hidden_finds_no_less_and_no_more(editor):
    for query in ("margin=s3cr3t", "values.margin=x", "attr-margin=x", "sort=margin"):
        refused = await editor.get(f"/records?{query}")
        unknown = await editor.get(f"/records?{query.replace('margin', 'nothing')}")
        assert refused.status == 400
        assert refused.body["message"].replace("margin", "nothing") == unknown.body["message"]


async def test_completeness_tells_nothing_of_what_is_hidden(sigma, editor):
    """Not by a name, and not by a number: the same whatever the hidden attributes hold."""
    told_before = (await editor.get("/records/ent-1/completeness?stateId=review")).ok()
    assert (told_before["score"], told_before["required"]) == (100, 2)
    assert (told_before["filled"], told_before["missing"]) == (["name", "cost"], [])
    for value in ("a", None):
        for name in ("margin", "supplier"):
            (await sigma.admin.patch(f"/records/ent-1/values/{name}", {"value": value})).ok()
        seen = (await editor.get("/records/ent-1/completeness?stateId=review")).ok()
        assert seen == told_before
    whole = (await sigma.admin.get("/records/ent-1/completeness?stateId=review")).ok()
    assert (whole["score"], whole["required"]) == (50, 4)


CLOSED = (
    "Completeness does not meet minimum 100% for transition to 'review':"
    " attributes hidden from the caller count too"
)


async def test_a_gate_judges_by_all_and_its_refusal_tells_nothing_hidden(sigma, editor):
    async def blocked() -> list[tuple[Any, ...]]:
        moves = (await editor.get("/records/ent-1/transitions")).ok()
        move = next(move for move in moves if move["toStateId"] == "state-review")
        return [(r["score"], r["missing"], r["message"]) for r in move["reasons"]]

    step = {"toStateId": "state-review"}
    writer = await sigma.api_key(["update-data"])
    for value in (SECRET, None):
        (await sigma.admin.patch("/records/ent-1/values/margin", {"value": value})).ok()
        assert await blocked() == [(100, [], CLOSED)]
        for caller, why in (
            (editor, CLOSED),
            (writer, "Transition to 'state-review' is not allowed"),
        ):
            refused = await caller.post("/records/ent-1/transition", step)
            assert refused.outcome == error(400, "TRANSITION_ERROR", why)
    (await sigma.admin.patch("/records/ent-1/values/cost", {"value": None})).ok()
    score = "Completeness score {}% does not meet minimum 100% for transition to 'review'"
    assert await blocked() == [(50, ["cost"], score.format(50))]
    for caller, text in ((editor, score.format(50)), (sigma.admin, score.format(25))):
        refused = await caller.post("/records/ent-1/transition", step)
        assert refused.outcome == error(400, "TRANSITION_ERROR", text)
    for name in ("cost", "margin", "supplier"):
        (await sigma.admin.patch(f"/records/ent-1/values/{name}", {"value": "x"})).ok()
    assert await blocked() == []
    (await editor.post("/records/ent-1/transition", step)).ok()


async def test_a_guard_on_what_is_hidden_tells_nothing(sigma, editor):
    """The guarded attribute is seen, and neither counted nor named: its guard is an answer."""
    guards = [{"attributeId": "attr-margin", "operator": "equals", "value": SECRET}]
    later = (await sigma.admin.get("/attributes/attr-later")).ok()
    later |= {"guards": guards, "validation": {"required": True}}
    (await sigma.admin.put("/attributes/attr-later", later)).ok()
    schema = (await sigma.admin.get("/schemas/schema-apparel")).ok()
    schema["attributeGroups"][0]["attributeIds"].append("attr-later")
    (await sigma.admin.put("/schemas/schema-apparel", schema)).ok()
    words = {**ROLE, "attr-later": "write"}
    role = (await sigma.admin.get("/roles/role-editor")).ok()
    role["schemaPermissions"] = [{"schemaId": "schema-apparel", "attributePermissions": words}]
    (await sigma.admin.put("/roles/role-editor", role)).ok()
    answers = []
    for value in (SECRET, "other"):
        (await sigma.admin.patch("/records/ent-1/values/margin", {"value": value})).ok()
        answers.append(
            [
                (await editor.get("/records/ent-1/completeness")).outcome,
                (await editor.get("/records/ent-1/completeness?stateId=review")).outcome,
                (await editor.get("/records/ent-1/transitions")).outcome,
                (await editor.post("/records/ent-1/transition", {"toStateId": "review"})).outcome,
            ]
        )
    assert answers[0] == answers[1]
    assert "later" not in orjson.dumps(answers).decode()
    patched = await editor.patch("/records/ent-1/values/later", {"value": "x"})
    assert "later" in patched.ok()["values"]
    counted = (await sigma.admin.get("/records/ent-1/completeness")).ok()
    assert counted["required"] == 0
    (await sigma.admin.patch("/records/ent-1/values/margin", {"value": SECRET})).ok()
    assert (await sigma.admin.get("/records/ent-1/completeness")).ok()["filled"] == ["later"]


async def test_history_leaves_out_what_is_hidden(sigma, editor):
    for value in ("a", f"{SECRET}-b", None):
        (await sigma.admin.patch("/records/ent-1/values/margin", {"value": value})).ok()
    (await sigma.admin.patch("/records/ent-1/values/name", {"value": "Coat"})).ok()
    page = (await editor.get("/records/ent-1/audit")).ok()
    assert [sorted(c["attribute"] for c in entry["changes"]) for entry in page["items"]] == [
        ["name"],
        ["cost", "name"],
    ]
    assert page["total"] == 2, "what is not shown is not counted"
    second = (await editor.get("/records/ent-1/audit?offset=1&limit=1")).ok()
    assert (second["items"], second["total"]) == (page["items"][1:], 2)


async def test_history_stays_closed_when_the_attribute_has_left_the_schema(sigma, editor):
    schema = (await sigma.admin.get("/schemas/schema-apparel")).ok()
    schema["attributeGroups"][0]["attributeIds"] = ["attr-name"]
    (await sigma.admin.put("/schemas/schema-apparel", schema)).ok()
    history = await editor.get("/records/ent-1/audit")
    assert {c["attribute"] for e in history.ok()["items"] for c in e["changes"]} <= SEEN
    assert SECRET not in text_of(history)


async def test_what_a_state_hid_is_in_no_history_after_it_has_left_the_schema(sigma, editor):
    (await sigma.admin.post("/records/ent-1/transition", {"toStateId": "published"})).ok()
    schema = (await sigma.admin.get("/schemas/schema-apparel")).ok()
    schema["attributeGroups"][0]["attributeIds"] = ["attr-name"]
    (await sigma.admin.put("/schemas/schema-apparel", schema)).ok()
    history = (await editor.get("/records/ent-1/audit")).ok()["items"]
    assert {c["attribute"] for entry in history for c in entry["changes"]} == {"name"}
    whole = (await sigma.admin.get("/records/ent-1/audit")).ok()["items"]
    assert "cost" in {c["attribute"] for entry in whole for c in entry["changes"]}


async def test_the_history_of_the_workspace_is_for_administrators(sigma, editor):
    assert (await editor.get("/audit")).outcome == DENIED
    assert SECRET in text_of(await sigma.admin.get("/audit"))


async def test_an_attribute_by_another_name_is_as_hidden_as_before(sigma, editor):
    attribute = (await sigma.admin.get("/attributes/attr-margin")).ok()
    (await sigma.admin.put("/attributes/attr-margin", attribute | {"alias": "name-2"})).ok()
    assert (await editor.get("/records/ent-1")).ok()["values"].keys() == SEEN
    put = await editor.put("/records/ent-1", {"values": {"name-2": one_entry("x")}})
    assert put.outcome == DENIED


# Writing.


@pytest.mark.parametrize("name", ["cost", "attr-cost", "margin", "attr-margin", "supplier"])
async def test_what_may_not_be_written_is_refused_whatever_is_sent(sigma, editor, name):
    """The answer must not depend on the value: else it could be guessed."""
    before = await sigma.admin.get("/records/ent-1")
    for value in ("other", SECRET, "12", 7, None, {"no": "text"}):
        patched = await editor.patch(f"/records/ent-1/values/{name}", {"value": value})
        assert patched.outcome == DENIED
    sents: list[Any] = [one_entry("other"), one_entry(SECRET), one_entry(7) * 2, None, [], "text"]
    for sent in sents:
        values = {"name": one_entry("Coat"), name: sent}
        for more in (values, values | {"nothing-like-it": []}):
            body = {"schemaId": "schema-apparel", "values": more}
            assert (await editor.put("/records/ent-1", body)).outcome == DENIED
            assert (await editor.post("/records", body)).outcome == DENIED
    after = await sigma.admin.get("/records/ent-1")
    assert (after.outcome, after.headers["ETag"]) == (before.outcome, before.headers["ETag"])
    assert (await sigma.admin.get("/records")).ok()["total"] == 1


async def test_what_may_be_written_is_and_the_answers_hide_the_rest(sigma, editor):
    answers = [
        await editor.put("/records/ent-1", {"values": {"name": one_entry("Coat")}}),
        await editor.patch("/records/ent-1/values/name", {"value": "Cape"}),
        await editor.post("/records", {"schemaId": "schema-apparel", "values": {}}),
        await editor.post("/records/ent-1/transition", {"toStateId": "state-published"}),
    ]
    assert [answer.ok()["values"] for answer in answers] == [
        {"name": one_entry("Coat"), "cost": one_entry("12")},
        {"name": one_entry("Cape"), "cost": one_entry("12")},
        {},
        {"name": one_entry("Cape")},
    ]
    kept = (await sigma.admin.get("/records/ent-1")).ok()["values"]
    assert kept == {
        "name": one_entry("Cape"),
        "cost": one_entry("12"),
        "margin": one_entry(SECRET),
    }


async def test_a_unique_value_cannot_be_felt_for_through_a_hidden_attribute(sigma, editor):
    await sigma.attribute("code", validation={"unique": True})
    await sigma.schema("coded", ["name", "code"])
    await sigma.role("role-writer", {"schema-coded": {"attr-name": "write"}})
    await sigma.record("schema-coded", {"code": "taken"})
    writer = await sigma.user("role-writer")
    for code in ("taken", "free"):
        body = {"schemaId": "schema-coded", "values": {"code": one_entry(code)}}
        assert (await writer.post("/records", body)).outcome == DENIED


@pytest.mark.parametrize(
    ("permissions", "may"),
    [
        ({"*": "write"}, True),
        ({"*": "read", "attr-name": "write"}, True),
        ({"*": "read"}, False),
        ({"*": "write", "attr-margin": "hidden"}, False),
        ({"attr-name": "write"}, False),
        ({}, False),
    ],
)
async def test_who_may_delete(sigma, permissions, may):
    """Deleting needs `write` on one attribute of the schema, and none may be hidden."""
    await sigma.role("role-cleaner", {"schema-apparel": permissions})
    cleaner = await sigma.user("role-cleaner")
    answer = await cleaner.delete("/records/ent-1")
    assert answer.outcome == ((204, None) if may else DENIED)
    assert (await sigma.admin.get("/records/ent-1")).status == (404 if may else 200)


@pytest.mark.parametrize("permissions", [{"*": "read"}, {"*": "hidden"}, {}])
async def test_who_may_write_nothing_creates_nothing(sigma, permissions):
    await sigma.role("role-onlooker", {"schema-apparel": permissions})
    onlooker = await sigma.user("role-onlooker")
    for values in ({}, {"name": one_entry("x")}):
        body = {"schemaId": "schema-apparel", "values": values}
        assert (await onlooker.post("/records", body)).outcome == DENIED
    assert (await sigma.admin.get("/records")).ok()["total"] == 1


# States.


async def test_a_state_hides_from_everybody_but_administrators_and_keys(sigma, editor):
    (await sigma.admin.post("/records/ent-1/transition", {"toStateId": "state-published"})).ok()
    assert (await editor.get("/records/ent-1")).ok()["values"] == {"name": one_entry("Parka")}
    assert (await editor.get("/records")).ok()["items"][0]["values"].keys() == {"name"}
    found = (await editor.get("/records/ent-1/completeness")).ok()
    assert {*found["filled"], *found["missing"]} == {"name"}
    history = (await editor.get("/records/ent-1/audit")).ok()["items"]
    assert {c["attribute"] for entry in history for c in entry["changes"]} == {"name"}
    for caller in (sigma.admin, await sigma.api_key()):
        seen = (await caller.get("/records/ent-1")).ok()["values"]
        assert seen.keys() == {"name", "cost", "margin"}


async def test_what_only_a_state_hides_keeps_nobody_from_deleting(sigma):
    await sigma.role("role-writer", {"schema-apparel": {"*": "write"}})
    writer = await sigma.user("role-writer")
    (await sigma.admin.post("/records/ent-1/transition", {"toStateId": "published"})).ok()
    assert "cost" not in (await writer.get("/records/ent-1")).ok()["values"]
    assert (await writer.delete("/records/ent-1")).status == 204


async def test_a_state_locks_for_everybody(sigma, editor):
    (await sigma.admin.post("/records/ent-1/transition", {"toStateId": "state-published"})).ok()
    for caller in (editor, sigma.admin, await sigma.api_key()):
        body = {"values": {"name": one_entry("x")}}
        assert (await caller.put("/records/ent-1", body)).outcome == DENIED
        assert (await caller.patch("/records/ent-1/values/name", {"value": None})).outcome == DENIED


# Roles.


@pytest.mark.parametrize(
    ("granted", "seen"),
    [
        ({}, set()),
        ({"schema-other": {"*": "write"}}, set()),
        ({"schema-apparel": {}}, set()),
        ({"schema-apparel": {"attr-name": "read"}}, {"name"}),
        ({"schema-apparel": {"*": "read", "attr-margin": "hidden"}}, {"name", "cost"}),
        ({"*": {"*": "read"}}, {"name", "cost", "margin"}),
        ({"*": {"attr-name": "read"}}, {"name"}),
        ({"*": {"*": "read"}, "schema-apparel": {"attr-margin": "hidden"}}, {"name", "cost"}),
        ({"*": {"*": "hidden"}, "schema-apparel": {"attr-cost": "write"}}, {"cost"}),
        ({"*": {"attr-margin": "write"}, "schema-apparel": {"*": "hidden"}}, set()),
    ],
)
async def test_what_is_not_granted_is_hidden(sigma, granted, seen):
    """An entry of the schema takes precedence over `*`; in it, the attribute over `*`."""
    await sigma.role("role-asked", granted)
    asked = await sigma.user("role-asked")
    shown = (await asked.get("/records/ent-1")).ok()["values"]
    assert shown.keys() == seen
    assert (await asked.get("/records")).ok()["items"][0]["values"] == shown
    resolved = (await asked.post("/roles/role-asked/resolve", {"schemaId": "schema-apparel"})).ok()
    words = resolved["permissions"]
    assert {name for name in ("name", "cost", "margin") if words[f"attr-{name}"] != "hidden"} == (
        seen
    ), "what the role is told is what it gets"


async def test_a_new_attribute_is_hidden_unless_the_role_says_all(sigma, editor):
    await sigma.role("role-all", {"schema-apparel": {"*": "write"}})
    everyone = await sigma.user("role-all")
    schema = (await sigma.admin.get("/schemas/schema-apparel")).ok()
    schema["attributeGroups"][0]["attributeIds"].append("attr-later")
    (await sigma.admin.put("/schemas/schema-apparel", schema)).ok()
    body = {"values": {"later": one_entry("news")}}
    assert (await editor.put("/records/ent-1", body)).outcome == DENIED
    (await everyone.put("/records/ent-1", body)).ok()
    assert "later" not in (await editor.get("/records/ent-1")).ok()["values"]


# API keys.


async def test_within_its_class_no_attribute_is_closed_to_a_key(sigma):
    key = await sigma.api_key(["read", "update-data", "delete-data"])
    values = (await key.get("/records/ent-1")).ok()["values"]
    assert values.keys() == {"name", "cost", "margin"}
    assert SECRET in text_of(await key.get("/records/ent-1/audit"))
    (await key.put("/records/ent-1", {"values": {"margin": one_entry("1")}})).ok()
    assert (await key.delete("/records/ent-1")).status == 204
