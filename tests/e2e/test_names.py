"""An alias in a role or a workflow means the attribute, whatever the attribute is called later."""

from __future__ import annotations

from tests.kit.sigma import error
from tests.kit.stack import Stack
from tests.kit.workspace import Workspace

DENIED = error(403, "PERMISSION_DENIED", "Permission denied")


async def test_what_an_alias_forbids_stays_forbidden_when_the_alias_changes(stack: Stack):
    sigma = await stack.workspace()
    await sigma.attribute("note")
    await sigma.attribute("price", type="number")
    lists = {"readOnly": ["note"], "required": ["note"]}
    workflow = await sigma.workflow("life", {"draft": lists})
    assert workflow["states"][0]["readOnly"] == workflow["states"][0]["required"] == ["attr-note"]
    await sigma.schema("x", ["note", "price"], workflow="wf-life")
    role = await sigma.role("role-x", {"schema-x": {"*": "write", "price": "hidden"}})
    assert role["schemaPermissions"][0]["attributePermissions"]["attr-price"] == "hidden"
    user = await sigma.user(role="role-x")
    record = await sigma.record("schema-x", {"price": 5})
    path = f"/records/{record['id']}"

    async def holds(note: str, price: str) -> None:
        assert (await sigma.admin.patch(f"{path}/values/{note}", {"value": "x"})).told == DENIED
        assert (await user.patch(f"{path}/values/{price}", {"value": 6})).told == DENIED
        assert (await user.get(path)).ok()["values"] == {}
        assert (await sigma.admin.get(f"{path}/completeness")).ok()["missing"] == [note]

    await holds("note", "price")
    await rename(sigma, "note", "remark")
    await rename(sigma, "price", "cost")
    await holds("remark", "cost")


async def rename(sigma: Workspace, old: str, new: str) -> None:
    attribute = (await sigma.admin.get(f"/attributes/attr-{old}")).ok()
    (await sigma.admin.put(f"/attributes/attr-{old}", {**attribute, "alias": new})).ok()
