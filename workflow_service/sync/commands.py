"""Starts synchronisations, and waits a while for them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from shared.database import DATABASE
from shared.database.request_transactions import REQUEST_TRANSACTION
from shared.errors import Conflict, ValidationError, truncated
from shared.events import TRACE
from shared.http import identity_of
from shared.ids import new_id
from workflow_service import acting
from workflow_service.channels import store as channels
from workflow_service.channels.commands import opened
from workflow_service.channels.model import Channel
from workflow_service.connectors.model import CHANNEL_TYPES, Connect
from workflow_service.sync.running import WAKE
from workflow_service.sync_runs import store
from workflow_service.sync_runs.model import STEPS, Direction, Run, Status
from workflow_service.sync_runs.records import Records

WAIT_S: Final = 5.0
"""After this, a synchronisation is answered as it is: running."""
PAUSES_S: Final = (0.02, 0.05, 0.1, 0.2, 0.4)


async def channel_of(request: web.Request) -> Channel:
    """The channel of the request, with its secrets in clear; `NotFound`."""
    workspace_id = identity_of(request).workspace_id
    async with request.app[DATABASE].acquire() as conn:
        row = await channels.get(conn, workspace_id, request.match_info["id"])
    return opened(request.app, row)


async def sees_all(request: web.Request) -> bool:
    """Whether nothing that the channel of the request maps is hidden from the caller.

    Raises `NotFound`, and `ServiceUnavailable` while records_service cannot be asked.
    """
    identity = identity_of(request)
    if identity.unrestricted:
        return True

    async def own() -> str:
        return identity.token

    return await Records(request.app, await channel_of(request), own).sees_all()


def connect_of(app: web.Application, channel: Channel) -> Connect:
    """What connects to the target; `ValidationError` for a type that has no connector."""
    connect = app[CHANNEL_TYPES][channel.type].connect
    if connect is None:
        raise ValidationError(
            f"Channels of type '{channel.type}' have no connector, and cannot be synchronised"
        )
    return connect


def check_active(channel: Channel) -> None:
    """Raise `Conflict` for a channel that is not active."""
    if not channel.body["active"]:
        raise Conflict(f"Channel '{truncated(channel.id)}' is not active")


async def start(request: web.Request, channel: Channel, direction: Direction) -> Run:
    """Start a synchronisation with the rights of the caller, who grants them for later.

    Raises `ValidationError` without a connector, `Conflict` for a channel that is not active or is
    being synchronised.
    """
    app, identity = request.app, identity_of(request)
    connect_of(app, channel)
    check_active(channel)
    await acting.grant(request)
    run = Run(
        workspace_id=channel.workspace_id,
        channel_id=channel.id,
        id=new_id("synclog"),
        direction=direction,
        status=Status.RUNNING,
        caller_kind=identity.kind,
        caller_id=identity.id,
        created_at=datetime.now(UTC),
        completed_at=None,
        created=0,
        updated=0,
        skipped=0,
        failed=0,
        error=None,
        step=STEPS[direction][0],
        place=None,
        checkpoint=None,
        holder=None,
        traceparent=TRACE.get(),
    )
    async with app[DATABASE].transaction() as conn:
        # Nobody changes or deletes the channel before the commit.
        row = await channels.get(conn, channel.workspace_id, channel.id, lock=True)
        check_active(opened(app, row))
        await store.begin(conn, run)
    app[WAKE].set()
    return run


async def waited_for(request: web.Request, run: Run) -> Run:
    """The synchronisation when it has ended, or as it is after `WAIT_S`.

    In a request that is one transaction, it begins after the answer.
    """
    if REQUEST_TRANSACTION.get() is not None:
        return run
    loop = asyncio.get_running_loop()
    until = loop.time() + WAIT_S
    pauses = iter(PAUSES_S)
    pause_s = 0.0
    while True:
        pause_s = next(pauses, pause_s)
        await asyncio.sleep(pause_s)
        async with request.app[DATABASE].acquire() as conn:
            run = await store.get(conn, run.workspace_id, run.channel_id, run.id)
        if run.status is not Status.RUNNING or loop.time() > until:
            return run
