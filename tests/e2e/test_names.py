"""An alias in a role or a workflow means the attribute, whatever the attribute is called later."""

from __future__ import annotations

from tests.kit.eventually import eventually
from tests.kit.sigma import Caller, error
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
        assert (await sigma.admin.patch(f"{path}/values/{note}", {"value": "x"})).outcome == DENIED
        assert (await user.patch(f"{path}/values/{price}", {"value": 6})).outcome == DENIED
        assert (await user.get(path)).ok()["values"] == {}
        assert (await sigma.admin.get(f"{path}/completeness")).ok()["missing"] == [note]

    await holds("note", "price")
    await rename(sigma, "note", "remark")
    await rename(sigma, "price", "cost")
    await holds("remark", "cost")


async def test_what_names_an_attribute_to_come_means_it_once_it_is_there(stack: Stack):
    sigma = await stack.workspace()
    await sigma.workflow("life", {"draft": {"readOnly": ["note"], "required": ["note"]}})
    await sigma.role("role-x", {"*": {"*": "read", "cost": "hidden", "price": "write"}})
    await sigma.role("role-y", {"x": {"*": "read"}})
    user, other = await sigma.user(role="role-x"), await sigma.user(role="role-y")
    await sigma.attribute("cost")
    await sigma.attribute("price", type="number")
    await sigma.attribute("note")
    await sigma.schema("x", ["cost", "price", "note"], workflow="wf-life")

    async def holds_ids() -> bool:
        one, two = [(await sigma.admin.get(f"/roles/role-{name}")).ok() for name in "xy"]
        (state,) = (await sigma.admin.get("/workflows/wf-life")).ok()["states"]
        return [
            one["schemaPermissions"][0]["attributePermissions"],
            two["schemaPermissions"][0]["schemaId"],
            state["readOnly"],
            state["required"],
        ] == [
            {"*": "read", "attr-cost": "hidden", "attr-price": "write"},
            "schema-x",
            ["attr-note"],
            ["attr-note"],
        ]

    await eventually(holds_ids)
    record = await sigma.record("schema-x", {"cost": "1", "price": 5})
    path = f"/records/{record['id']}"

    async def acts() -> bool:
        return (await user.patch(f"{path}/values/price", {"value": 6})).status == 200

    # The copies of records_service follow.
    await eventually(acts)
    assert list((await user.get(path)).ok()["values"]) == ["price"]
    assert (await user.patch(f"{path}/values/cost", {"value": "2"})).outcome == DENIED
    await eventually(lambda: sees(other, path, ["cost", "price"]))
    assert (await sigma.admin.patch(f"{path}/values/note", {"value": "x"})).outcome == DENIED
    assert (await sigma.admin.get(f"{path}/completeness")).ok()["missing"] == ["note"]


async def sees(caller: Caller, path: str, aliases: list[str]) -> bool:
    answer = await caller.get(path)
    return answer.status == 200 and sorted(answer.body["values"]) == aliases


async def rename(sigma: Workspace, old: str, new: str) -> None:
    attribute = (await sigma.admin.get(f"/attributes/attr-{old}")).ok()
    (await sigma.admin.put(f"/attributes/attr-{old}", {**attribute, "alias": new})).ok()
