"""Every operation of the route tables, asked by every class of caller, as its route declares.

The services stand here without the gateway, so it is their own check that answers. A new route is
asked as soon as it is declared; `tests/e2e/test_permissions.py` and `test_tenants.py` ask the same
through the gateway, with real credentials.
"""

from __future__ import annotations

import pytest
import pytest_asyncio

from shared.http.routes import Route
from shared.identity import Flag, Permission
from tests.kit.demo import seed_demo
from tests.kit.described import GUARDED, INTERNAL, Operation
from tests.kit.direct import DirectServices, DirectWorkspace
from tests.kit.sigma import Caller, error

pytestmark = pytest.mark.asyncio(loop_scope="module")

DENIED = error(403, "PERMISSION_DENIED", "Permission denied")
MISSING = error(401, "UNAUTHORIZED", "Missing authentication")
WRITER, NOTHING = "role-writer", "role-nothing"
SECRET = "s3cr3t-name"
each_operation = pytest.mark.parametrize("operation", GUARDED, ids=str)


@pytest_asyncio.fixture(loop_scope="module")
async def workspace(direct: DirectServices) -> DirectWorkspace:
    """A workspace with a role that may write all attributes, and one that grants nothing."""
    made = await direct.workspace()
    await made.role(WRITER, {"*": {"*": "write"}})
    await made.role(NOTHING)
    return made


async def may(operation: Operation, caller: Caller) -> bool:
    """Whether the caller is let in; asked where nothing is, so that nothing is changed."""
    answer = await operation.ask(caller, operation.address_nowhere)
    if answer.status == 403:
        assert answer.outcome == DENIED
    else:
        assert answer.status not in (401, 405, 500), answer.outcome
    return answer.status != 403


@each_operation
async def test_nobody_is_answered_without_an_identity(direct: DirectServices, operation: Operation):
    assert (await operation.ask(direct.stranger())).outcome == MISSING


@pytest.mark.parametrize(
    ("service", "route"), INTERNAL, ids=lambda part: getattr(part, "path", part)
)
async def test_what_other_services_ask_is_answered_to_no_stranger(
    direct: DirectServices, service: str, route: Route
):
    stranger = direct.running[service].stranger()
    path = route.path.replace("{", "").replace("}", "")
    assert (await stranger.ask(route.method, path)).outcome == MISSING


@each_operation
async def test_a_key_is_let_in_by_the_declared_permission_alone(
    workspace: DirectWorkspace, operation: Operation
):
    keys = {
        **{f"only {permission}": [permission] for permission in Permission},
        "all but the declared one": [one for one in Permission if one != operation.permission],
        "all": list(Permission),
    }
    expected = dict.fromkeys(keys, False)
    if not operation.route.user_only:
        expected |= {f"only {operation.permission}": True, "all": True}
    let_in = {name: await may(operation, workspace.api_key(held)) for name, held in keys.items()}
    assert let_in == expected


@each_operation
async def test_a_person_is_let_in_by_the_declared_flag_alone(
    workspace: DirectWorkspace, operation: Operation
):
    """Whatever the role grants: the writer's role gives what a route says of a role in words."""
    people = {"an administrator": workspace.admin}
    expected = {"an administrator": True}
    for role in (WRITER, NOTHING):
        only = [] if operation.flag is None else [operation.flag]
        people[f"{role}, the flag"] = workspace.user(role, only)
        people[f"{role}, all other flags"] = workspace.user(role, set(Flag) - {*only})
        expected[f"{role}, the flag"] = not operation.only_admin
        expected[f"{role}, all other flags"] = operation.flag is None and not operation.only_admin
    if operation.role:
        # Tests of the records and of the roles say what such words mean for each attribute.
        people = {name: who for name, who in people.items() if NOTHING not in name}
        del people[f"{WRITER}, the flag"]
        expected = {name: expected[name] for name in people}
    assert {name: await may(operation, who) for name, who in people.items()} == expected


async def test_no_operation_answers_what_a_role_hides(direct: DirectServices):
    """Asked with the examples of the description, which exist here, by a role with every flag."""
    workspace = await direct.workspace()
    await seed_demo(workspace)
    value = {"value": SECRET, "scope": {"dim-language": "seg-en"}}
    path = "/records/ent-coastal-wb/values/product-name"
    (await workspace.admin.patch(path, value)).ok()
    assert SECRET in str((await workspace.admin.get("/records/ent-coastal-wb")).ok())
    await workspace.role("role-blind", {"*": {"*": "write", "attr-product-name": "hidden"}})
    blind = workspace.user("role-blind", Flag)
    let_in = set()
    for operation in sorted(GUARDED, key=lambda one: one.method == "DELETE"):
        answer = await operation.send(blind, operation.example)
        told = {name: str(text) for name, text in answer.headers.items()}
        assert SECRET not in f"{answer.body} {told}", operation
        let_in |= {operation.method} if answer.status < 300 else set()
    assert let_in >= {"GET", "POST", "PUT", "PATCH"}
