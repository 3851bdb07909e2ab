"""`POST /permissions/explain` is held to what every route does, for every kind of caller.

Each operation of the route tables is translated into questions. It is asked for real, as a dry run,
and the answer must be what the explanation says: explained by the callers themselves, and of them
by an administrator.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from shared.identity import Flag, Permission
from tests.kit import identities
from tests.kit.demo import seed_demo
from tests.kit.described import GUARDED, Operation
from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.sigma import Answer, Caller

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECORD, SCHEMA, CATALOG = "ent-coastal-wb", "schema-apparel", "cat-webshop"
NAME, PRICE = "product-name", "price"
DRY = {"Prefer": "dry-run"}
TEXT = [{"scope": {"dim-language": "seg-en"}, "value": "Coat"}]
PRICES = [{"scope": {"dim-market": "seg-dk"}, "value": 99}]
ROLES: dict[str, dict[str, Any]] = {
    "role-writer": {
        "permissions": {"*": {"*": "write"}},
        **{flag.value: True for flag in Flag},
        "catalogPermissions": [{"catalogId": "*", "canView": True, "canAssign": True}],
    },
    "role-viewer": {
        "permissions": {"*": {"*": "read"}},
        "canExport": True,
        "catalogPermissions": [{"catalogId": CATALOG, "canView": True, "canAssign": False}],
    },
    "role-blind": {
        "permissions": {"*": {"*": "write"}, SCHEMA: {"*": "write", f"attr-{NAME}": "hidden"}},
        "canImport": True,
        "canManageSchemas": True,
        "catalogPermissions": [{"catalogId": CATALOG, "canView": False, "canAssign": True}],
    },
    "role-narrow": {
        "permissions": {SCHEMA: {f"attr-{NAME}": "write"}},
        "canManageRoles": True,
        "canManageOptionLists": True,
    },
    "role-nothing": {"permissions": {}, "canManageDimensions": True},
}
KEYS = {**{f"apikey-{one}": [one] for one in Permission}, "apikey-all": list(Permission)}
NOT_EXPLAINED = {
    "POST /api/v1/roles/{id}/resolve",  # what a caller may ask about others is no action
    "POST /api/v1/permissions/explain",
    # Whoever may export starts a push; that is no action on channels.
    *(f"POST /api/v1/channels/{{id}}/{one}" for one in ("test-connection", "sync", "push", "pull")),
    # To run a job is no action on export jobs.
    "POST /api/v1/export-jobs/{id}/runs",
}
BY_WORD = {
    **{
        word: word
        for word in (
            *("schemas", "attributes", "dimensions", "option-lists", "roles", "workflows"),
            *("api-keys", "catalogs", "categories", "saved-queries", "imports", "jobs", "changes"),
            *("change-sets", "webhooks", "channels", "export-jobs"),
        )
    },
    "audit": "history",
    "import": "imports",
    "export": "exports",
}
READ_RECORD = {"action": "read", "entityId": RECORD}
CREATE = {"action": "write", "schemaId": SCHEMA}
WRITE = {"action": "write", "entityId": RECORD}
DELETE = {"action": "delete", "entityId": RECORD}
MOVE = {"action": "transition", "entityId": RECORD, "toStateId": "review"}
VIEW = {"action": "read", "catalogId": CATALOG}
ASSIGN = {"action": "assign", "catalogId": CATALOG}


@dataclass(frozen=True)
class Trial:
    """What is sent to a route, and the questions of which all must be allowed for it."""

    questions: list[dict[str, Any]]
    body: Any = None
    address: str = ""
    only: str = ""
    """Of whom it is asked, if not of everybody: `roleId` or `apiKeyId`."""


OF_DATA: dict[str, Trial] = {
    "POST /api/v1/records": Trial(
        [CREATE, CREATE | {"attribute": NAME}, CREATE | {"attribute": f"attr-{PRICE}"}],
        {"schemaId": SCHEMA, "values": {NAME: TEXT, PRICE: PRICES}},
    ),
    "POST /api/v1/records/bulk": Trial(
        [WRITE | {"attribute": NAME}],
        {"operations": [{"id": RECORD, "values": {NAME: TEXT}}]},
        "/records/bulk?mode=atomic",
    ),
    "POST /api/v1/records/bulk-delete": Trial(
        [DELETE], {"ids": [RECORD]}, "/records/bulk-delete?mode=atomic"
    ),
    "POST /api/v1/records/bulk-transition": Trial(
        [MOVE],
        {"ids": [RECORD], "toStateId": "state-review"},
        "/records/bulk-transition?mode=atomic",
    ),
    "PUT /api/v1/records/{id}": Trial(
        [WRITE | {"attribute": NAME}, WRITE | {"attribute": PRICE}],
        {"values": {NAME: TEXT, PRICE: PRICES}},
    ),
    "PATCH /api/v1/records/{id}/values/{attr}": Trial(
        [WRITE | {"attribute": PRICE}], {"scope": {"dim-market": "seg-dk"}, "value": 99}
    ),
    "DELETE /api/v1/records/{id}": Trial([DELETE]),
    "POST /api/v1/records/{id}/restore": Trial(
        # A key compares with what it reads. What a role does not see stays as it is.
        [WRITE | {"attribute": NAME}, READ_RECORD],
        {"version": 1},
        only="apiKeyId",
    ),
    "POST /api/v1/records/{id}/transition": Trial([MOVE], {"toStateId": "state-review"}),
    "POST /api/v1/records/{id}/variants": Trial(
        [WRITE, WRITE | {"attribute": NAME}], {"values": {NAME: TEXT}}
    ),
    "PUT /api/v1/records/{id}/variants/{vid}": Trial(
        [WRITE | {"attribute": NAME}], {"values": {NAME: TEXT}}
    ),
    "PATCH /api/v1/records/{id}/variants/{vid}/values/{attr}": Trial(
        [WRITE | {"attribute": PRICE}], {"scope": {"dim-market": "seg-dk"}, "value": 99}
    ),
    "DELETE /api/v1/records/{id}/variants/{vid}": Trial([DELETE]),
    "GET /api/v1/catalogs/{id}": Trial([VIEW]),
    "GET /api/v1/catalogs/{id}/tree": Trial([VIEW]),
    "GET /api/v1/categories/{id}": Trial([VIEW]),
    "GET /api/v1/categories/{id}/entities": Trial([VIEW]),
    "POST /api/v1/categories/{id}/assign": Trial([ASSIGN], {"entityId": RECORD}),
    # A key needs `delete-data` for it.
    "POST /api/v1/categories/{id}/unassign": Trial([ASSIGN], {"entityId": RECORD}, only="roleId"),
}


def trial_of(operation: Operation) -> Trial:
    """What a test asks of an operation; a new collection needs a line in `BY_WORD`."""
    if str(operation) in OF_DATA:
        return OF_DATA[str(operation)]
    word = operation.path.split("/")[3]
    if word in ("me", "search", "records", "variants", "changes"):
        return Trial([READ_RECORD], operation.example)
    action = (operation.permission or {"GET": "read"}.get(operation.method, "update")).split("-")[0]
    action = {"update": "write"}.get(action, action)
    if operation.method == "DELETE":
        action = "delete"
    if word == "change-sets" and operation.route.user_only:
        action = "manage"
    question = {"action": action, "resource": BY_WORD[word]}
    return Trial([question], operation.body, operation.address_nowhere)


@dataclass
class Someone:
    """A caller, and what explanations said of it so far."""

    name: str
    caller: Caller
    named: dict[str, str]
    known: dict[str, bool] = field(default_factory=dict)

    async def may(self, admin: Caller, question: dict[str, Any]) -> bool:
        """What is explained to the caller, and of it to an administrator: both are the same."""
        place = str(question)
        if place not in self.known:
            of_it = await admin.post("/permissions/explain", self.named | question)
            told = of_it.ok()
            itself = await self.caller.post("/permissions/explain", question)
            if itself.status == 200:
                assert itself.body["allowed"] == told["allowed"], (self.name, question)
            else:
                # Keys without `read`, and a catalog that does not exist for the caller.
                assert not told["allowed"] or itself.status == 403, (self.name, question)
            assert told["allowed"] == all(one["effect"] == "allow" for one in told["reasons"])
            assert told["decidedBy"] in {one["source"] for one in told["reasons"]}
            self.known[place] = told["allowed"]
        return self.known[place]


def let_in(answer: Answer, trial: Trial) -> bool:
    """Whether a route did not refuse its caller; what it found wrong with the rest is no matter."""
    assert answer.status not in (401, 405, 500), answer.outcome
    if answer.status == 400 and answer.body["error"] == "TRANSITION_ERROR":
        return False
    if answer.status == 404 and any("catalogId" in each for each in trial.questions):
        return False
    return answer.status != 403


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def workspace(direct: DirectServices) -> DirectWorkspace:
    made = await direct.workspace()
    await seed_demo(made)
    for name, role in ROLES.items():
        more = {key: value for key, value in role.items() if key != "permissions"}
        await made.role(name, role["permissions"], **more)
    for name, permissions in KEYS.items():
        key = {"id": name, "name": name, "permissions": permissions}
        (await made.admin.post("/api-keys", key)).ok()
    renamed = {"values": {NAME: TEXT}}
    (await made.admin.put(f"/records/{RECORD}", renamed)).ok()
    return made


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def everybody(direct: DirectServices, workspace: DirectWorkspace) -> list[Someone]:
    people = [
        Someone(
            name,
            workspace.user(name, [flag for flag in Flag if role.get(flag)]),
            {"roleId": name},
        )
        for name, role in ROLES.items()
    ]
    keys = [
        Someone(
            name,
            direct.caller(identities.api_key(workspace.id, permissions, key_id=name)),
            {"apiKeyId": name},
        )
        for name, permissions in KEYS.items()
    ]
    return [Someone("admin", workspace.admin, {"roleId": "role-admin"}), *people, *keys]


@pytest.mark.parametrize(
    "operation", [one for one in GUARDED if str(one) not in NOT_EXPLAINED], ids=str
)
async def test_an_explanation_is_what_the_route_does(
    workspace: DirectWorkspace, everybody: list[Someone], operation: Operation
):
    trial = trial_of(operation)
    address = trial.address or operation.address

    async def compare(someone: Someone) -> None:
        caller = someone.caller
        if operation.method != "GET":
            caller = caller.having(DRY)
        answer = await operation.send(caller, trial.body, address)
        explained = [await someone.may(workspace.admin, each) for each in trial.questions]
        assert let_in(answer, trial) == all(explained), (someone.name, answer.outcome, explained)

    asked = [one for one in everybody if not trial.only or trial.only in one.named]
    await asyncio.gather(*(compare(one) for one in asked))
