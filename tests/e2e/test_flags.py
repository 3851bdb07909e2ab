"""System flags and classes of API keys, through the gateway, by the description."""

from __future__ import annotations

from itertools import product

import pytest

from shared.identity import Permission
from tests.kit.demo import seed_demo
from tests.kit.described import GUARDED, Operation
from tests.kit.sigma import error

DENIED = error(403, "PERMISSION_DENIED", "Permission denied")

FLAG_OF = {
    "Schemas": "canManageSchemas",
    "Attributes": "canManageSchemas",
    "Workflows": "canManageSchemas",
    "Dimensions": "canManageDimensions",
    "Option lists": "canManageOptionLists",
    "Roles": "canManageRoles",
    "API keys": None,
}
FLAGS = sorted({flag for flag in FLAG_OF.values() if flag} | {"canExport", "canImport"})


def changes_the_model(one: Operation) -> bool:
    return one.tag in FLAG_OF and one.permission != Permission.READ


@pytest.fixture
async def demo(stack):
    sigma = await stack.workspace()
    await seed_demo(sigma)
    return sigma


async def test_each_part_of_the_model_asks_for_its_flag(demo):
    await demo.role("role-all-but", {"*": {"*": "write"}})
    for flag in FLAGS:
        await demo.role(f"role-{flag.lower()}", {"*": {"*": "write"}}, **{flag: True})
    holders = {flag: await demo.user(f"role-{flag.lower()}") for flag in FLAGS}
    nobody = await demo.user("role-all-but")
    asked = [one for one in GUARDED if changes_the_model(one)]
    assert len(asked) > 20
    for one, (flag, holder) in product(asked, [*holders.items(), (None, nobody)]):
        # Where nothing is, so that the one who may does no harm to the next.
        answer = await one.ask(holder, one.address_nowhere)
        if flag is not None and flag == FLAG_OF[one.tag]:
            assert answer.status not in (401, 403), f"{flag}: {one}: {answer.outcome}"
        else:
            assert answer.outcome == DENIED, f"{flag}: {one}"


async def test_reading_the_model_asks_for_no_flag(demo):
    await demo.role("role-nothing")
    reader = await demo.user("role-nothing")
    for one in GUARDED:
        if one.tag in FLAG_OF and one.tag != "API keys" and one.method == "GET":
            assert (await one.ask(reader)).status == 200, one


@pytest.mark.parametrize("permission", list(Permission))
async def test_a_key_does_its_class_and_nothing_else(demo, permission):
    key = await demo.api_key([permission])
    for one in GUARDED:
        answer = await one.ask(key, one.address_nowhere)
        if one.permission == permission:
            assert answer.status not in (401, 403), f"{one}: {answer.outcome}"
        else:
            assert answer.outcome == DENIED, one
