"""A shop moves in from Magento: its export goes through the public API into a running system."""

from __future__ import annotations

from tests.e2e.moving_in import Mover
from tests.unit.deploy.magento import write_export


async def test_a_shop_moves_in_with_variants_and_categories_and_again_without_harm(stack, tmp_path):
    workspace = await stack.workspace(record_limit=500)
    key = await workspace.api_key(["read", "update-data", "update-model"])
    data = tmp_path / "shop"
    data.mkdir()
    write_export(data)
    mover = Mover(stack, tmp_path, key, "magento")
    done = await mover.run(data, "--media-base-url", "https://cdn.example")
    assert [p["message"] for p in done.report["problems"]] == ["'cheap' is not a number"]
    assert (done.counts("records"), done.counts("variants")) == ({"created": 2}, {"created": 2})
    assert done.report["cells"]["imported"] == done.report["cells"]["filled"] - 1

    admin = workspace.admin
    path = "/records/ent-sh/variants/var-sh-s-sea"
    resolved = (await admin.get(f"{path}/resolved")).ok()["effectiveValues"]
    assert resolved["description"] == [{"scope": {}, "value": "<p>Soft &amp; light</p>"}]
    assert resolved["size"] == [{"scope": {}, "value": "val-size-s"}]
    tree = (await admin.get("/catalogs/cat-shop/tree")).ok()
    new = next(one for one in tree if one["externalKey"] == "Shop/New")
    entities = (await admin.get(f"/categories/{new['id']}/entities")).ok()
    assert [one["id"] for one in entities["items"]] == ["ent-sh"]

    again = await mover.run(data, "--media-base-url", "https://cdn.example")
    assert again.all_unchanged, again.text
