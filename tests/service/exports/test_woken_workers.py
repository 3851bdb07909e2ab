"""A process that was stopped beyond its lease, and wakes: what another one took over stays so."""

from __future__ import annotations

import time
from typing import Any

import pytest

from shared.database import DATABASE
from tests.kit.rest_target import RestTarget
from tests.service.exports.conftest import Exports
from workflow_service.channels import store as channels
from workflow_service.channels.commands import opened
from workflow_service.export_runs import commands, store
from workflow_service.export_runs.exporting import export
from workflow_service.holds import Hold
from workflow_service.leases import Lost, Waiting
from workflow_service.sync import commands as sync_commands
from workflow_service.sync import running
from workflow_service.sync_runs import store as sync_store

LEASE_S = 30.0


def hold_of(renew: Any, *, asleep: bool) -> Hold:
    """As its holder knows it: `asleep` if it was stopped for longer."""
    slept_s = 2 * LEASE_S if asleep else 0.0
    return Hold(LEASE_S, renew, since_s=time.monotonic() - slept_s)


@pytest.mark.parametrize("asleep", [True, False])
async def test_no_file_appears_of_a_run_that_another_one_has(exports: Exports, asleep: bool):
    job = await exports.job()
    (await exports.admin.post(f"/export-jobs/{job['id']}/runs")).ok()
    ours = await commands.claim(exports.database, "first", 0.0, 2)
    theirs = await commands.claim(exports.database, "second", LEASE_S, 2)
    assert ours is not None and theirs is not None and theirs.attempt == 2

    async def renew() -> None:
        async with exports.database.acquire() as conn:
            await store.renew(conn, ours, LEASE_S)

    with pytest.raises(Lost):
        await export(exports.workflow.app, ours, hold_of(renew, asleep=asleep))
    assert exports.receiver.files == []
    # Asleep, it does not even begin to send, which would disturb the one that sends now.
    assert exports.receiver.asked.is_set() is False


async def synchronised(exports: Exports, target: RestTarget, direction: str) -> Any:
    """A channel, and a synchronisation that one process has claimed, and then another."""
    body = {
        "id": "ch-shop",
        "name": "Shop",
        "alias": "shop",
        "type": "custom",
        "config": {"url": target.url},
        "fieldMappings": [{"sourceAttribute": "sku", "targetField": "title"}],
        "schemaId": "schema-x",
    }
    (await exports.admin.post("/channels", body)).ok()
    log = (await exports.admin.post(f"/channels/ch-shop/{direction}")).ok()
    waiting = Waiting(exports.workspace.id, "ch-shop", log["id"])
    async with exports.database.acquire() as conn:
        ours = await sync_store.claim(conn, waiting, "first")
        await conn.execute("UPDATE sync_runs SET due_at = now() WHERE id = $1", log["id"])
        assert await sync_store.claim(conn, waiting, "second") is not None
    return ours


async def state(exports: Exports) -> list[Any]:
    rows = await exports.database.fetch(
        """SELECT row(r.*)::text FROM sync_runs r
            UNION ALL SELECT row(m.*)::text FROM sync_mappings m"""
    )
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("direction", ["push", "pull"])
@pytest.mark.parametrize("asleep", [True, False])
async def test_nothing_is_synchronised_that_another_one_has(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, asleep: bool, direction: str
):
    monkeypatch.setattr(sync_commands, "WAIT_S", 0.0)
    async with RestTarget().serve() as target:
        target.add(title="S-of-the-target")
        run = await synchronised(exports, target, direction)
        app = exports.workflow.app
        async with app[DATABASE].acquire() as conn:
            row = await channels.get(conn, run.workspace_id, run.channel_id)

        async def renew() -> None:
            async with exports.database.acquire() as conn:
                await sync_store.renew(conn, run)

        before = await state(exports)
        with pytest.raises(Lost):
            await running._go_on(app, run, opened(app, row), hold_of(renew, asleep=asleep))
        assert [how for how, _, _ in target.asked if how != "GET"] == []
        assert asleep is False or target.asked == []
    assert await state(exports) == before
    assert (await exports.admin.get("/records")).ok()["total"] == 3
