"""Who am I: the first thing that an integration asks."""

from __future__ import annotations


async def test_a_caller_is_told_who_it_is_and_how_full_its_workspace_is(stack):
    sigma = await stack.workspace(record_limit=7)
    await sigma.attribute("sku")
    await sigma.schema("plain", ["sku"])
    await sigma.role("role-editor", {"*": {"*": "read"}})
    workspace = {"id": sigma.id, "recordLimit": 7, "records": 0}
    for caller in (sigma.admin, await sigma.user(role="role-editor")):
        me = (await caller.get("/me")).ok()
        assert me.keys() == {"kind", "id", "name", "email", "roleId", "workspace"}
        assert (me["kind"], me["roleId"] in ("role-admin", "role-editor")) == ("user", True)
        assert workspace.items() <= me["workspace"].items()
    await sigma.record("schema-plain", {"sku": "a"})
    key = await sigma.api_key(["read", "update-data"])
    me = (await key.get("/me")).ok()
    assert me.keys() == {"kind", "id", "name", "permissions", "workspace"}
    assert (me["kind"], sorted(me["permissions"])) == ("apiKey", ["read", "update-data"])
    assert me["id"].startswith("apikey-")
    assert me["workspace"]["records"] == 1
    assert (await stack.caller().get("/me")).status == 401
    blind = await sigma.api_key(["update-data"])
    assert (await blind.get("/me")).outcome[0] == 403
    missing = await key.get("/me/x")
    assert missing.status == 404
