"""What API keys that may not read learn by writing: the id and the version, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.kit.described import GUARDED
from tests.kit.made_delivery import make_delivery
from tests.kit.sigma import error

ROLE = {"attr-name": "write", "attr-cost": "read"}
NOWHERE = "http://127.0.0.1:9/"
"""Where a connection is refused at once."""
SECRET = "known to both sides"
MADE = "made"
"""An id that the server makes."""
LATELY = datetime.now(UTC).isoformat()
HOOK: dict[str, Any] = {"name": "W", "url": NOWHERE, "events": ["entity.deleted"]}
NO_READER = (
    "Field 'events' names events of records, which an API key without the permission 'read' may"
    " not have"
)


@pytest.fixture
async def sigma(stack):
    """Apparel with a record, and a webhook with a delivery."""
    sigma = await stack.workspace()
    for alias in ("name", "cost"):
        await sigma.attribute(alias)
    steps = [("draft", "review"), ("draft", "published"), ("review", "published")]
    await sigma.workflow(transitions=steps)
    await sigma.schema("apparel", ["name", "cost"], workflow="wf-lifecycle", variantEnabled=True)
    await sigma.role("role-editor", {"schema-apparel": ROLE})
    await sigma.record("schema-apparel", {"name": "Parka", "cost": "12"}, id="ent-1")
    (await sigma.admin.post("/webhooks", HOOK | {"id": "wh-w"})).ok()
    await make_delivery(sigma.workflow_database, sigma.id, "dlv-1", "wh-w")
    return sigma


def one_entry(value):
    return [{"scope": {}, "value": value}]


BULK_TELLS = {"index", "outcome", "status", "id", "version"}
REFUSED = {"createWebhook", "replaceWebhook"}
"""A webhook sends what its owner may read."""
TRIED = {"pushChannel", "pullChannel", "syncChannel"}
"""What these would do is told as well, to those who may read."""
UNVERSIONED = {"postMessage", "tryWebhook", "redeliver", "createRun", *TRIED}
IMPORTS = {"previewImport", "executeImport", "beginImport", "cancelImport", "resumeImport"}
IMPORTS |= {"cancelJob", "convertAttribute"}
"""They tell of rows or records, by numbers and by what was sent."""


async def test_a_key_that_may_not_read_learns_nothing_by_writing(sigma):
    """Whatever it writes, it is answered the id and the version, as the description says."""
    keys = {one: await sigma.api_key([one]) for one in ("update-data", "update-model")}
    record = {"id": "ent-2", "schemaId": "schema-apparel", "values": {"name": one_entry("x")}}
    schema = (await sigma.admin.get("/schemas/schema-apparel")).ok()
    role = (await sigma.admin.get("/roles/role-editor")).ok()
    workflow = (await sigma.admin.get("/workflows/wf-lifecycle")).ok()
    options = {"id": "ol-o", "alias": "o", "name": "O", "values": []}
    option = {"id": "val-v", "alias": "v", "label": "V"}
    attribute = {"id": "attr-a", "alias": "a", "name": "A", "type": "text"}
    segments = [{"id": "seg-s", "alias": "s", "name": "S"}]
    dimension = {"id": "dim-d", "alias": "d", "name": "D", "defaultSegmentId": "seg-s"}
    dimension |= {"segments": segments}
    catalog = {"id": "cat-c", "alias": "c", "name": "C"}
    category = {"id": "ctg-c", "name": "C"}
    new_schema = {**schema, "id": "schema-2", "alias": "second"}
    proposed = {"type": "delete", "entityId": "ent-1"}
    of_variant = {"id": "ent-1", "vid": "var-v"}
    job = {"id": "job-j", "name": "J", "format": "csv", "schedule": "0 0 1 1 *"}
    job |= {"destinationType": "webhook", "destinationConfig": {"url": NOWHERE}}
    channel = {"name": "Shop", "alias": "shop", "type": "custom", "config": {"url": NOWHERE}}
    channel["fieldMappings"] = [{"sourceAttribute": "name", "targetField": "title"}]
    for name in ("ch-in", "ch-both"):
        body = channel | {"id": name, "alias": name}
        (await sigma.admin.post("/channels", body)).ok()
    hook = {"id": "wh-w"}
    writes = {
        "createRecord": ("ent-2", {}, record),
        "updateRecord": ("ent-1", {}, {"values": {"name": one_entry("y")}}),
        "setValue": ("ent-1", {"attr": "cost"}, {"value": "13"}),
        "transitionRecord": ("ent-1", {}, {"toStateId": "published"}),
        "createSchema": ("schema-2", {}, new_schema),
        "replaceSchema": ("schema-apparel", {}, schema),
        "createRole": ("role-new", {}, {**role, "id": "role-new"}),
        "replaceRole": ("role-editor", {}, role),
        "createWorkflow": ("wf-2", {}, {**workflow, "id": "wf-2", "alias": "l2"}),
        "replaceWorkflow": ("wf-lifecycle", {}, workflow),
        "createOptionList": ("ol-o", {}, options),
        "replaceOptionList": ("ol-o", {}, options),
        "addOption": ("val-v", {"id": "ol-o"}, option),
        "replaceOption": ("val-v", {"id": "ol-o", "valueId": "val-v"}, option),
        "createAttribute": ("attr-a", {}, attribute),
        "replaceAttribute": ("attr-a", {}, attribute),
        "createDimension": ("dim-d", {}, dimension),
        "replaceDimension": ("dim-d", {}, dimension),
        "createCatalog": ("cat-c", {}, catalog),
        "replaceCatalog": ("cat-c", {}, catalog),
        "createCategory": ("ctg-c", {"id": "cat-c"}, category),
        "replaceCategory": ("ctg-c", {}, category),
        "assignRecords": ("", {"id": "ctg-c"}, {"entityId": "ent-1"}),
        "createVariant": ("var-v", {"id": "ent-1"}, {"id": "var-v"}),
        "updateVariant": ("var-v", of_variant, {"values": {}}),
        "setVariantValue": ("var-v", of_variant | {"attr": "cost"}, {"value": "14"}),
        "createChangeSet": ("cs-c", {}, {"id": "cs-c", "operations": [proposed]}),
        "replaceChangeSet": ("cs-c", {}, {"title": "C"}),
        "postMessage": ("msg-m", {"id": "cs-c"}, {"id": "msg-m", "text": "M"}),
        "submitChangeSet": ("cs-c", {}, None),
        "createSavedQuery": ("sq-q", {}, {"id": "sq-q", "name": "Q"}),
        "bulkWriteRecords": ("", {}, {"operations": [{"id": "ent-1", "values": {}}]}),
        "bulkTransitionRecords": ("", {}, {"ids": ["ent-2"], "toStateId": "published"}),
        "bulkWriteOptions": ("", {"id": "ol-o"}, {"operations": [option]}),
        "rotateWebhookSecret": ("", hook, {"secret": SECRET}),
        "replayWebhook": ("", hook, {"after": LATELY}),
        "tryWebhook": (MADE, hook, None),
        "redeliver": ("dlv-1", hook | {"deliveryId": "dlv-1"}, None),
        "createExportJob": ("job-j", {}, job),
        "replaceExportJob": ("job-j", {}, {"name": "Other"}),
        "pauseExportJob": ("job-j", {}, None),
        "resumeExportJob": ("job-j", {}, None),
        "testDestination": ("", {"id": "job-j"}, None),
        "createRun": (MADE, {"id": "job-j"}, {"status": "success", "recordCount": 3}),
        "createChannel": ("ch-out", {}, channel | {"id": "ch-out"}),
        "replaceChannel": ("ch-out", {}, channel),
        "testConnection": ("", {"id": "ch-out"}, None),
        "pushChannel": (MADE, {"id": "ch-out"}, None),
        "pullChannel": (MADE, {"id": "ch-in"}, None),
        "syncChannel": (MADE, {"id": "ch-both"}, None),
    }
    described = {
        one.described["operationId"]: one
        for one in GUARDED
        if one.permission in keys and one.method != "DELETE" and "/preview" not in one.path
    }
    assert writes.keys() == described.keys() - IMPORTS - REFUSED - {"restoreVersion"}
    for name, (written, names, body) in writes.items():
        one = described[name]
        address = one.path.format_map({"id": written, **names})
        answer = await one.send(keys[str(one.permission)], body, address)
        told = answer.ok()
        if "bulk" in one.path:
            # Of each row the same as a single write tells, beside what became of it.
            assert {key for row in told.pop("results") for key in row} <= BULK_TELLS, one
            assert all(isinstance(count, int) for count in told.values()), one
        elif written == MADE:
            assert told.keys() == {"id"}, one
        else:
            assert told == ({"id": written} if written else {}), one
        if written and name not in UNVERSIONED:
            assert answer.headers["ETag"].strip('"').isdigit(), one
        assert str(answer.status) in one.described["responses"], one
    blind = keys["update-data"]
    assert (await blind.put("/records/ent-1", {"values": {}})).ok() == {"id": "ent-1"}
    # A version that is restored would be compared with today's.
    assert (await blind.post("/records/ent-1/restore", {"version": 1})).status == 403
    both = await sigma.api_key(["read", "update-data"])
    assert "values" in (await both.put("/records/ent-1", {"values": {}})).ok()


async def test_a_key_that_may_not_read_is_told_no_trial_and_has_nothing_sent(sigma):
    channel = {"id": "ch-out", "name": "Shop", "alias": "shop", "type": "custom"}
    channel["config"] = {"url": NOWHERE}
    channel["fieldMappings"] = [{"sourceAttribute": "name", "targetField": "title"}]
    (await sigma.admin.post("/channels", channel)).ok()
    blind = (await sigma.api_key(["update-data"])).having({"Prefer": "dry-run"})
    for way in ("push", "pull", "sync"):
        tried = await blind.post(f"/channels/ch-out/{way}")
        assert tried.status == 403 or tried.body.keys() == {"id"}, way
    model = await sigma.api_key(["update-model"])
    for ask, path in ((model.post, "/webhooks"), (model.put, "/webhooks/wh-w")):
        assert (await ask(path, HOOK)).outcome == error(400, "VALIDATION_ERROR", NO_READER)
