"""The demo catalogue in a test's workspace: the ids that the description has as its examples."""

from __future__ import annotations

from typing import Any

from deploy.local import catalogue, web_shop
from deploy.openapi.change_set_examples import PROPOSED
from deploy.openapi.channel_examples import CHANNEL, LOG
from deploy.openapi.export_job_examples import EXPORT_JOB
from deploy.openapi.webhook_examples import WEBHOOK
from tests.kit.direct import DirectWorkspace
from tests.kit.made_delivery import make_delivery
from tests.kit.made_job import make_job
from tests.kit.made_sync import make_sync
from tests.kit.workspace import Workspace

API_KEY = "apikey-sync-prod"
NOT_NOW = "30 2 29 2 *"
"""A schedule by which nothing is due while tests run, at whatever time of the day."""
NOTHING_THERE = "http://127.0.0.1:9/products"
"""Where a connection is refused at once, without a name server."""


async def seed_demo(sigma: Workspace | DirectWorkspace) -> None:
    """What `make run` has in its demo workspace, an API key that nobody uses, a job, a channel."""
    key = {"id": API_KEY, "name": "Nightly sync", "permissions": ["read"]}
    bodies: list[tuple[str, dict[str, Any]]] = [
        ("/api-keys", key),
        ("/roles", catalogue.EDITOR_ROLE),
        *(("/dimensions", body) for body in catalogue.DIMENSIONS),
        *(("/option-lists", body) for body in catalogue.OPTION_LISTS),
        *(("/attributes", body) for body in catalogue.ATTRIBUTES),
        ("/workflows", catalogue.LIFECYCLE),
        *(("/schemas", body) for body in catalogue.SCHEMAS),
        *(("/catalogs", body) for body in web_shop.CATALOGS),
        *((f"/catalogs/{catalogue.CATALOG}/categories", body) for body in web_shop.CATEGORIES),
        *(("/saved-queries", body) for body in web_shop.SAVED_QUERIES),
        *(("/records", body) for body, _ in catalogue.products()),
        *(
            (f"/categories/{category}/assign", {"entityIds": ids})
            for category, ids in web_shop.assignments().items()
        ),
        *((f"/records/{record_id}/variants", body) for record_id, body in catalogue.variants()),
    ]
    for path, body in bodies:
        (await sigma.admin.post(path, body)).ok()
    row, sent_as = b'{"_id": "ent-coastal-wb"}', {"Content-Type": "application/x-ndjson"}
    (await sigma.admin.post("/imports?id=imp-spring", data=row, headers=sent_as)).ok()
    (await sigma.admin.post("/change-sets", dict(PROPOSED))).ok()
    (await sigma.admin.post("/webhooks", dict(WEBHOOK))).ok()
    await make_delivery(sigma.workflow_database, sigma.id)
    (await sigma.admin.post("/export-jobs", {**EXPORT_JOB, "schedule": NOT_NOW})).ok()
    await make_job(sigma.records_database, sigma.id)
    config = CHANNEL["config"] | {"url": NOTHING_THERE}
    (await sigma.admin.post("/channels", CHANNEL | {"config": config})).ok()
    await make_sync(sigma.workflow_database, sigma.id, CHANNEL["id"], LOG)
