"""What `POST /permissions/explain` says of attributes, states, gates, catalogs, keys and limits."""

from __future__ import annotations

import asyncio
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

from shared.identity import Flag
from tests.kit import identities
from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/permissions/explain"
SCHEMA = "schema-bag"
NAMES = ("name", "cost", "margin", "note")
STATES: dict[str, dict[str, Any]] = {
    "draft": {},
    "review": {"hidden": ["margin"], "readOnly": ["attr-name"]},
    "closed": {"readOnly": [f"attr-{name}" for name in NAMES]},
}
ALL: dict[str, dict[str, str]] = {"*": {"*": "write"}}
ROLES: dict[str, dict[str, dict[str, str]]] = {
    "role-all": ALL,
    "role-reads": {"*": {"*": "read"}},
    "role-none": {},
    "role-own-entry": {"*": {"*": "write"}, SCHEMA: {"*": "read", "attr-cost": "hidden"}},
    "role-named": {SCHEMA: {"attr-name": "write", "attr-margin": "read"}},
    "role-falls-through": {"*": {"attr-note": "write"}, SCHEMA: {"attr-name": "read"}},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def workspace(direct: DirectServices) -> DirectWorkspace:
    """A record in each state; a role that gates name, and others."""
    made = await direct.workspace()
    for name in NAMES:
        await made.attribute(name)
    for role, permissions in ROLES.items():
        await made.role(role, permissions)
    await made.workflow(
        states=STATES,
        transitions=[
            ("draft", "review", {"allowedRoleIds": ["role-all", "role-admin"]}),
            ("draft", "closed", {"requiresCompleteness": 100}),
            ("review", "closed"),
        ],
    )
    await made.schema("bag", NAMES, workflow="wf-lifecycle", variantEnabled=True)
    await made.workflow("closing", {"review": STATES["review"], "closed": {}})
    await made.schema("case", NAMES, workflow="wf-closing")
    for state in STATES:
        await made.record(SCHEMA, dict.fromkeys(NAMES, "old"), id=f"ent-{state}")
    for state in ("review", "closed"):
        moved = {"toStateId": state}
        (await made.admin.post(f"/records/ent-{state}/transition", moved)).ok()
    return made


async def told(caller: Caller, **question: Any) -> dict[str, Any]:
    body: dict[str, Any] = (await caller.post(PATH, question)).ok()
    return body


def reason(source: str, effect: str, rule: str) -> dict[str, str]:
    return {"source": source, "rule": rule, "effect": effect}


async def everybody(workspace: DirectWorkspace) -> dict[str, tuple[Caller, dict[str, str]]]:
    return {
        "role-admin": (workspace.admin, {"roleId": "role-admin"}),
        **{role: (workspace.user(role), {"roleId": role}) for role in ROLES},
        "key": (workspace.api_key(), {}),
    }


async def test_attributes_are_explained_as_records_are_read_and_written(workspace):
    """Every role, state and attribute, against what is shown and what may be written."""

    async def compare(who: Caller, named: dict[str, str], state: str) -> None:
        asker = workspace.admin if named else who
        shown = (await who.get(f"/records/ent-{state}")).ok()["values"]
        dry = who.having({"Prefer": "dry-run"})
        for name in NAMES:
            question = {"entityId": f"ent-{state}", "attribute": name, **named}
            reads = await told(asker, action="read", **question)
            assert reads["allowed"] == (name in shown), (question, reads)
            written = await dry.patch(f"/records/ent-{state}/values/{name}", {"value": "new"})
            writes = await told(asker, action="write", **question)
            assert writes["allowed"] == (written.status == 200), (question, writes, written)
            assert written.status in (200, 403)
        some = await told(asker, action="write", entityId=f"ent-{state}", **named)
        tried = [await dry.put(f"/records/ent-{state}", {"values": {n: []}}) for n in NAMES]
        assert some["allowed"] == any(one.status == 200 for one in tried)
        gone = await dry.delete(f"/records/ent-{state}")
        deletes = await told(asker, action="delete", entityId=f"ent-{state}", **named)
        assert deletes["allowed"] == (gone.status == 204), deletes
        of_schema = await told(asker, action="delete", schemaId=SCHEMA, **named)
        assert of_schema["allowed"] == deletes["allowed"]

    people = await everybody(workspace)
    cells = product(people.values(), STATES)
    await asyncio.gather(*(compare(who, named, state) for (who, named), state in cells))


@pytest.mark.parametrize("schema", [SCHEMA, "schema-case"])
async def test_creates_and_resolved_permissions_are_explained(workspace, schema):
    """The first state of a case hides an attribute, and makes one read-only, for later writes."""
    for role, (who, named) in (await everybody(workspace)).items():
        asker = workspace.admin if named else who
        dry = who.having({"Prefer": "dry-run"})
        empty = await dry.post("/records", {"schemaId": schema})
        creates = await told(asker, action="write", schemaId=schema, **named)
        assert creates["allowed"] == (empty.status == 201), (role, creates)
        resolved = await workspace.admin.post(
            f"/roles/{named.get('roleId', 'role-admin')}/resolve", {"schemaId": schema}
        )
        words = resolved.ok()["permissions"]
        readable = await told(asker, action="read", schemaId=schema, **named)
        assert readable["allowed"] == any(word != "hidden" for word in words.values())
        for name in NAMES:
            values = {name: [{"scope": {}, "value": "x"}]}
            made = await dry.post("/records", {"schemaId": schema, "values": values})
            question = {"schemaId": schema, "attribute": name, **named}
            creates = await told(asker, action="write", **question)
            assert creates["allowed"] == (made.status == 201), (role, name, creates)
            reads = await told(asker, action="read", **question)
            assert reads["allowed"] == (words[f"attr-{name}"] != "hidden")


async def test_transitions_are_explained_as_they_are_decided(workspace):
    await workspace.record(SCHEMA, {"name": "x"}, id="ent-poor")
    for role, (who, named) in (await everybody(workspace)).items():
        asker = workspace.admin if named else who
        dry = who.having({"Prefer": "dry-run"})
        for record, target in product(
            ("ent-draft", "ent-poor", "ent-review", "ent-closed"), (*STATES, "state-nowhere")
        ):
            moved = await dry.post(f"/records/{record}/transition", {"toStateId": target})
            question = {"action": "transition", "entityId": record, "toStateId": target}
            explained = await told(asker, **question, **named)
            assert explained["allowed"] == (moved.status == 200), (role, record, target, explained)
            assert explained["decidedBy"] == "workflow"
            if moved.status != 200 and not named:
                assert explained["reasons"][1]["rule"] == moved.body["message"]


async def test_an_entry_of_the_role_is_named(workspace):
    cases = {
        ("role-own-entry", "cost"): (
            "The role says 'hidden' of attribute 'attr-cost' in its entry for 'schema-bag'"
        ),
        ("role-own-entry", "note"): (
            "The role says 'read' of the attributes that it does not name in its entry for"
            " 'schema-bag'"
        ),
        ("role-falls-through", "note"): (
            "The role says 'write' of attribute 'attr-note' in its entry for all other schemas"
        ),
        ("role-named", "cost"): "The role says nothing of attribute 'cost', so it is hidden",
    }
    for (role, name), rule in cases.items():
        answer = await told(
            workspace.user(role), action="write", entityId="ent-draft", attribute=name
        )
        allowed = role == "role-falls-through"
        assert answer == {
            "allowed": allowed,
            "decidedBy": "role",
            "reasons": [
                reason("role", "allow", "Every role may do this"),
                reason("role", "allow" if allowed else "deny", rule),
            ],
        }


async def test_a_state_is_named_and_binds_keys_where_it_makes_read_only(workspace):
    asked = {"action": "write", "entityId": "ent-review"}
    hidden = await told(workspace.user("role-all"), **asked, attribute="margin")
    assert (hidden["allowed"], hidden["decidedBy"]) == (False, "state")
    assert hidden["reasons"][-1] == reason(
        "state", "deny", "Attribute 'margin' is hidden in lifecycle state 'review'"
    )
    locked = await told(workspace.api_key(), **asked, attribute="attr-name")
    assert (locked["allowed"], locked["decidedBy"]) == (False, "state")
    assert locked["reasons"][-1] == reason(
        "state", "deny", "Attribute 'name' is read-only in lifecycle state 'review'"
    )
    closed = await told(workspace.user("role-all"), action="write", entityId="ent-closed")
    assert closed["reasons"][-1] == reason(
        "state", "deny", "Lifecycle state 'closed' closes every attribute to writes"
    )


async def test_a_gate_tells_the_caller_nothing_hidden_from_the_caller(direct):
    """A manager of roles asks about a role that sees more: the score is the manager's."""
    workspace = await direct.workspace()
    for name in ("name", "cost"):
        await workspace.attribute(name, validation={"required": True})
    await workspace.workflow(
        states=["draft", "done"], transitions=[("draft", "done", {"requiresCompleteness": 100})]
    )
    await workspace.schema("bag", ["name", "cost"], workflow="wf-lifecycle")
    await workspace.role("role-sees", ALL)
    await workspace.role("role-blind", {"*": {"attr-name": "read"}}, canManageRoles=True)
    await workspace.record(SCHEMA, {"name": "x"}, id="ent-1")
    blind = workspace.user("role-blind", [Flag.MANAGE_ROLES])
    question = {"action": "transition", "entityId": "ent-1", "toStateId": "done"}
    answer = await told(blind, **question, roleId="role-sees")
    assert answer["reasons"][-1]["rule"] == (
        "Completeness does not meet minimum 100% for transition to 'done':"
        " attributes hidden from the caller count too"
    )
    seen = await told(workspace.user("role-sees"), **question)
    assert seen["reasons"][-1]["rule"] == (
        "Completeness score 50% does not meet minimum 100% for transition to 'done'"
    )


async def test_only_managers_of_roles_ask_about_others(workspace):
    denied = error(403, "PERMISSION_DENIED", "Permission denied")
    question = {"action": "read", "resource": "schemas"}
    reader = workspace.user("role-reads")
    own = await told(reader, **question)
    assert await told(reader, roleId="role-reads", **question) == own
    assert (await reader.post(PATH, question | {"roleId": "role-all"})).outcome == denied
    assert (await reader.post(PATH, question | {"apiKeyId": "apikey-x"})).outcome == denied
    assert (await reader.post(PATH, question | {"roleId": "role-gone"})).outcome == denied
    manager = workspace.user("role-reads", [Flag.MANAGE_ROLES])
    assert (await told(manager, roleId="role-all", **question))["allowed"]
    blind = workspace.api_key(["update-data"])
    assert (await blind.post(PATH, question)).outcome == denied


async def test_a_key_may_what_it_lists_and_nothing_once_it_is_deactivated(direct, workspace):
    key = {"id": "apikey-feed", "name": "Feed", "permissions": ["read"]}
    (await workspace.admin.post("/api-keys", key)).ok()
    about = {"apiKeyId": "apikey-feed", "entityId": "ent-draft"}
    itself = direct.caller(identities.api_key(workspace.id, ["read"], key_id="apikey-feed"))
    read = await told(itself, action="read", **about)
    assert read == {
        "allowed": True,
        "decidedBy": "key",
        "reasons": [reason("key", "allow", "The API key has the permission 'read'")],
    }
    assert await told(workspace.admin, action="read", **about) == read
    write = await told(workspace.admin, action="write", attribute="name", **about)
    assert (write["allowed"], write["decidedBy"]) == (False, "key")
    assert write["reasons"][0] == reason(
        "key", "deny", "The API key lacks the permission 'update-data'"
    )
    managing = await told(
        workspace.admin, apiKeyId="apikey-feed", action="manage", resource="api-keys"
    )
    assert managing["reasons"] == [reason("key", "deny", "Only users can do this, not API keys")]
    (await workspace.admin.post("/api-keys/apikey-feed/deactivate")).ok()
    for question in (
        {"action": "read", **about},
        {"action": "read", "resource": "roles", "apiKeyId": "apikey-feed"},
    ):
        assert await told(workspace.admin, **question) == {
            "allowed": False,
            "decidedBy": "key",
            "reasons": [reason("key", "deny", "API key 'apikey-feed' is deactivated")],
        }
    (await workspace.admin.delete("/api-keys/apikey-feed")).ok()
    gone = await workspace.admin.post(PATH, {"action": "read", **about})
    assert gone.outcome == error(404, "NOT_FOUND", "API key 'apikey-feed' not found")


async def test_catalogs_that_the_caller_may_not_view_are_not_found(workspace):
    await workspace.catalog("shop")
    rights = {"catalogId": "cat-shop", "canView": True, "canAssign": False}
    await workspace.role("role-visitor", catalogPermissions=[rights])
    visitor = workspace.user("role-visitor")
    assert (await told(visitor, action="read", catalogId="cat-shop"))["allowed"]
    assigns = await told(visitor, action="assign", catalogId="cat-shop")
    assert (assigns["allowed"], assigns["decidedBy"]) == (False, "catalog")
    assert assigns["reasons"][-1] == reason(
        "catalog", "deny", "The role lacks 'canAssign' on catalog 'cat-shop'"
    )
    await workspace.role("role-manages", canManageSchemas=True)
    manager = await told(
        workspace.admin, action="assign", catalogId="cat-shop", roleId="role-manages"
    )
    assert manager["reasons"][1:] == [
        reason("catalog", "allow", "The role manages schemas, and so may view every catalog"),
        reason("catalog", "deny", "The role lacks 'canAssign' on catalog 'cat-shop'"),
    ]
    of_other = await told(workspace.admin, action="read", catalogId="cat-shop", roleId="role-none")
    assert (of_other["allowed"], of_other["decidedBy"]) == (False, "catalog")
    for catalog in ("cat-shop", "cat-nowhere"):
        question = {"action": "read", "catalogId": catalog, "roleId": "role-visitor"}
        answer = await workspace.user("role-none", [Flag.MANAGE_ROLES]).post(PATH, question)
        assert answer.outcome == error(404, "NOT_FOUND", f"Catalog '{catalog}' not found")


async def test_the_record_limit_is_a_reason_of_the_workspace(direct, workspace):
    full = identities.user(workspace.id, "role-all", record_limit=1)
    answer = await told(direct.caller(full), action="write", schemaId=SCHEMA)
    assert (answer["allowed"], answer["decidedBy"]) == (False, "workspace")
    assert answer["reasons"][-1] == reason("workspace", "deny", "Entity limit of 1 reached")


async def test_what_has_no_route_yet_is_answered_by_the_rules_of_the_api(workspace):
    exporter = workspace.user("role-reads", [Flag.EXPORT])
    expected = {
        ("channels", "read"): (True, True, True),
        ("channels", "delete"): (False, False, True),
        ("webhooks", "read"): (False, False, True),
        ("webhooks", "write"): (False, False, True),
    }
    people = (exporter, workspace.user("role-reads"), workspace.admin)
    for (resource, action), allowed in expected.items():
        answers = [await told(one, resource=resource, action=action) for one in people]
        assert tuple(one["allowed"] for one in answers) == allowed, (resource, action)


async def test_nothing_of_another_workspace_is_known(direct, workspace):
    key = {"id": "apikey-theirs", "name": "x", "permissions": ["read"]}
    (await workspace.admin.post("/api-keys", key)).ok()
    await workspace.catalog("theirs")
    other = await direct.workspace()
    read = {"action": "read"}
    for place, title, foreign, nowhere in (
        ("roleId", "Role", "role-all", "role-nowhere"),
        ("apiKeyId", "API key", "apikey-theirs", "apikey-nowhere"),
        ("entityId", "Entity", "ent-draft", "ent-nowhere"),
        ("schemaId", "Schema", SCHEMA, "schema-nowhere"),
        ("catalogId", "Catalog", "cat-theirs", "cat-nowhere"),
    ):
        for named in (foreign, nowhere):
            more = {"resource": "schemas"} if title in ("Role", "API key") else {}
            for caller in (other.admin, other.api_key()):
                answer = await caller.post(PATH, {**read, **more, place: named})
                assert answer.outcome == error(404, "NOT_FOUND", f"{title} '{named}' not found")


ONE_OF = "Expected one of 'entityId', 'schemaId', 'catalogId', 'resource', got"
REFUSED = [
    ({"resource": "roles"}, "Field 'action' is required"),
    ({"action": "read"}, f"{ONE_OF} none of them"),
    (
        {"action": "read", "entityId": "ent-1", "resource": "roles"},
        f"{ONE_OF} 'entityId' and 'resource'",
    ),
    (
        {"action": "read", "resource": "roles", "roleId": "role-a", "apiKeyId": "apikey-a"},
        "Expected one of 'roleId' and 'apiKeyId', or neither of them, got both",
    ),
    (
        {"action": "assign", "entityId": "ent-1"},
        (
            "Field 'action' with 'entityId' must be one of 'read', 'write', 'delete', 'transition',"
            " got 'assign'"
        ),
    ),
    (
        {"action": "transition", "resource": "exports"},
        "Field 'action' with resource 'exports' must be one of 'read', got 'transition'",
    ),
    (
        {"action": "transition", "entityId": "ent-1"},
        "Field 'toStateId' is required for the action 'transition'",
    ),
    (
        {"action": "read", "entityId": "ent-1", "toStateId": "x"},
        "Field 'toStateId' goes with the action 'transition', got 'read'",
    ),
    (
        {"action": "delete", "entityId": "ent-1", "attribute": "name"},
        (
            "Field 'attribute' goes with 'entityId' or 'schemaId' and the actions 'read' and"
            " 'write', got 'entityId' and 'delete'"
        ),
    ),
    (
        {"action": "read", "schemaId": SCHEMA, "attribute": "weight"},
        "Field 'attribute' names no attribute of schema 'schema-bag', got 'weight'",
    ),
]


@pytest.mark.parametrize(("question", "message"), REFUSED, ids=lambda part: str(part)[:60])
async def test_a_question_that_means_nothing_is_refused(workspace, question, message):
    answer = await workspace.admin.post(PATH, question)
    assert answer.outcome == error(400, "VALIDATION_ERROR", message)
