"""A schema of apparel, and records of it."""

from __future__ import annotations

from tests.kit.records_workspace import RecordsWorkspace
from tests.kit.service import RunningService
from tests.kit.sigma import Caller

NO_OTHER_SERVICES = {"auth_url": "http://127.0.0.1:9", "workflow_url": "http://127.0.0.1:9"}


def everywhere(value):
    return [{"scope": {}, "value": value}]


async def create(caller, record_id, **values):
    return (
        await caller.post(
            "/records",
            {
                "id": record_id,
                "schemaId": "schema-apparel",
                "values": {alias: everywhere(value) for alias, value in values.items()},
            },
        )
    ).ok()


async def apparel(service: RunningService) -> Caller:
    """An administrator of a workspace with a schema of texts, a price and relations."""
    workspace = RecordsWorkspace(service, service, "ws-test")
    await workspace.dimension("language", ["en", "da"], name="Language")
    await workspace.attribute("name", name="Name", dimensionIds=["dim-language"])
    rules = {"unique": True, "required": True, "pattern": r"^[A-Z]{2}-\d{3}$"}
    await workspace.attribute("sku", name="SKU", validation=rules)
    await workspace.attribute("price", "number", name="Price", validation={"min": 0})
    await workspace.attribute("related", "relation", name="Related", multiple=True)
    await workspace.schema("apparel", ["name", "sku", "price", "related"], name="Apparel")
    return workspace.admin
