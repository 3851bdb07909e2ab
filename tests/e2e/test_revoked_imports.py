"""An import whose sender loses its rights: all services, a real broker."""

from __future__ import annotations

from tests.kit.eventually import eventually
from tests.service.records.import_files import send

ROWS = 400_000


async def test_an_import_ends_when_its_key_is_revoked(stack):
    sigma = await stack.workspace(record_limit=ROWS)
    await sigma.attribute("sku")
    await sigma.schema("x", ["sku"])
    made = (
        await sigma.admin.post(
            "/api-keys", {"name": "sender", "permissions": ["read", "update-data"]}
        )
    ).ok()
    key = stack.caller().having({"X-Sigma-ApiKey": made["key"]})
    content = "sku\n" + "".join(f"{number}\n" for number in range(ROWS))
    begun = (await send(key, content, "x.csv", schemaId="x")).ok()
    address = f"/imports/{begun['id']}"

    async def processed() -> int:
        return int((await sigma.admin.get(address)).ok()["processed"])

    async def is_running() -> bool:
        return await processed() > 0

    await eventually(is_running, within_s=60)
    (await sigma.admin.delete(f"/api-keys/{made['id']}")).ok()

    async def has_failed() -> bool:
        return (await sigma.admin.get(address)).ok()["status"] == "failed"

    await eventually(has_failed, within_s=60)
    job = (await sigma.admin.get(address)).ok()
    assert job["error"] == "The API key with which the file was sent is not active any more"
    assert 0 < job["processed"] < ROWS
    assert job["created"] == job["processed"]
