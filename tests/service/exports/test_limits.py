"""What a workspace has at most of what works for it, also when several create at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.database.sizes import Bound
from tests.kit.sigma import error
from tests.service.exports.conftest import Exports
from workflow_service.channels import commands as channels
from workflow_service.channels.model import CHANNELS_MAX
from workflow_service.export_jobs import commands as export_jobs
from workflow_service.export_jobs.model import JOBS_MAX
from workflow_service.webhooks import store as webhooks

MOST = 2
AT_ONCE = 10


def test_the_limits_are_those_that_are_documented():
    assert (JOBS_MAX, webhooks.WEBHOOKS_MAX, CHANNELS_MAX) == (100, 100, 1_000)


@pytest.mark.parametrize(
    ("path", "refusal"),
    [
        ("/export-jobs", "A workspace has at most 2 export jobs"),
        ("/webhooks", "Webhook limit of 2 reached"),
        ("/channels", "This workspace may have at most 2 channels, got 3"),
    ],
)
async def test_the_last_place_is_given_once(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, path: str, refusal: str
):
    monkeypatch.setattr(export_jobs, "JOBS_MAX", MOST)
    monkeypatch.setattr(webhooks, "WEBHOOKS_MAX", MOST)
    monkeypatch.setattr(channels, "BOUND", Bound("channels", "channel", MOST))
    url = exports.receiver.url + "/in"
    bodies: dict[str, dict[str, Any]] = {
        "/export-jobs": exports.body(),
        "/webhooks": {"name": "Hook", "url": url, "events": ["entity.created"]},
        "/channels": {
            "name": "Shop",
            "type": "custom",
            "config": {"url": url},
            "fieldMappings": [{"sourceAttribute": "sku", "targetField": "sku"}],
        },
    }

    async def created(number: int) -> Any:
        alias = {"alias": f"shop-{number}"} if path == "/channels" else {}
        return await exports.admin.post(path, bodies[path] | alias)

    answers = await asyncio.gather(*(created(number) for number in range(AT_ONCE)))
    assert sorted(answer.status for answer in answers) == [201] * MOST + [403] * (AT_ONCE - MOST)
    for answer in answers:
        if answer.status != 201:
            assert answer.outcome == error(403, "LIMIT_EXCEEDED", refusal)
    made = (await exports.admin.get(path)).ok()
    assert len(made) == MOST
    # Who deletes one may create another.
    assert (await exports.admin.delete(f"{path}/{made[0]['id']}")).status == 204
    assert (await created(AT_ONCE)).status == 201
