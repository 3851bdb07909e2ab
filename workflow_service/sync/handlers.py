"""Synchronisations over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from typing import Any

import orjson
from aiohttp import web

from shared.database import DATABASE, Record
from shared.database.listing import list_response
from shared.database.paging import page_response, place_of
from shared.errors import Conflict, NotFound
from shared.http import SMALL_BODY, Routes, identity_of, json_response, read_query, to_json
from shared.http.retries import DRY_RUN, PREFERENCE_APPLIED, effects_of
from shared.identity import Flag, Identity, Permission
from shared.ids import new_id
from workflow_service.channels import store as channels
from workflow_service.connectors.model import TargetFailed, Tested
from workflow_service.sync import commands, trying
from workflow_service.sync.model import (
    ConnectionTest,
    SyncErrorPage,
    SyncErrorQuery,
    SyncLog,
    SyncLogQuery,
    SyncMapping,
    SyncMappingQuery,
)
from workflow_service.sync_runs import mapping_store, store
from workflow_service.sync_runs.model import Direction, Run, Status, Step

routes = Routes(
    tag="Sync",
    about="Sync: sends records to the target of a channel, and brings in what it has.",
    examples={"id": "ch-webshop", "logId": "synclog-20260308-001"},
    parameters={"id": "Id of the channel.", "logId": "Id of the log."},
)
_STARTS: dict[str, Any] = {
    "permission": Permission.UPDATE_DATA,
    "body_bytes_max": SMALL_BODY,
    "receives": True,
    "answers": SyncLog,
    "errors": (Conflict, NotFound),
}


@routes.post(
    "/api/v1/channels/{id}/test-connection",
    permission=Permission.UPDATE_DATA,
    administrators=True,
    answers=ConnectionTest,
    summary="Test the connection of a channel",
    errors=(NotFound,),
)
async def test_connection(request: web.Request) -> web.StreamResponse:
    """Whether the target answers to these credentials. Nothing is changed there."""
    channel = await commands.channel_of(request)
    error, found = None, Tested()
    try:
        found = await trying.test_connection(request, channel)
    except TargetFailed as failure:
        error = str(failure)
    return json_response(
        {
            "ok": error is None,
            "error": error,
            "shopName": found.shop_name,
            "shopUrl": found.shop_url,
            "plan": found.plan,
            "productCount": found.product_count,
        }
    )


@routes.post(
    "/api/v1/channels/{id}/sync",
    flag=Flag.EXPORT,
    role="`canExport` and `canImport`",
    summary="Synchronise a channel both ways",
    **_STARTS,
)
async def sync_channel(request: web.Request) -> web.StreamResponse:
    """Brings in what has changed at the target, then sends what has changed here.

    Where both have changed a field since the last time, that of the target wins. One that lasts is
    answered while it is `running`. With `Prefer: dry-run`, the answer says what would be done.
    """
    return await _started(request, Direction.BOTH)


@routes.post(
    "/api/v1/channels/{id}/push",
    flag=Flag.EXPORT,
    summary="Send records to a channel",
    **_STARTS,
)
async def push_channel(request: web.Request) -> web.StreamResponse:
    """Sends the records of the channel that have changed since they were sent, mapped.

    The rights are those of the caller: what is hidden from them is not sent. One that lasts is
    answered while it is `running`. With `Prefer: dry-run`, the answer says what would be sent.
    """
    return await _started(request, Direction.PUSH)


@routes.post(
    "/api/v1/channels/{id}/pull",
    flag=Flag.IMPORT,
    summary="Bring in the records of a channel",
    **_STARTS,
)
async def pull_channel(request: web.Request) -> web.StreamResponse:
    """Creates and updates records by what has changed at the target; only mapped attributes.

    The rights are those of the caller. One that lasts is answered while it is `running`. With
    `Prefer: dry-run`, the answer says what would be written.
    """
    return await _started(request, Direction.PULL)


@routes.get(
    "/api/v1/channels/{id}/sync-logs",
    permission=Permission.READ,
    query=SyncLogQuery,
    answers=list[SyncLog],
    summary="List the logs of a channel",
    errors=(NotFound,),
)
async def list_sync_logs(request: web.Request) -> web.StreamResponse:
    """The last 500 logs of the channel, newest first.

    Where the channel maps something that is hidden from the caller, only what they started: counts
    and errors would tell of it.
    """
    asked = read_query(request, SyncLogQuery)
    identity, channel_id = await _of_channel(request)
    narrowing = asked.narrowing()
    if not await commands.sees_all(request):
        narrowing = narrowing.and_also("caller_kind = {}", identity.kind)
        narrowing = narrowing.and_also("caller_id = {}", identity.id)
    read = partial(store.page, channel_id=channel_id, narrowing=narrowing)

    def rendered(row: Record) -> bytes:
        run = store.parsed(row)
        return to_json(_log(run, _errors(identity, run, orjson.loads(row["errors"]))))

    return await list_response(request, read, rendered, asked)


@routes.get(
    "/api/v1/channels/{id}/sync-logs/{logId}",
    permission=Permission.READ,
    answers=SyncLog,
    summary="Get a log of a channel",
    errors=(NotFound,),
)
async def get_sync_log(request: web.Request) -> web.StreamResponse:
    """One log, also of a synchronisation that is running."""
    return json_response(await _shown(request, await _run(request)))


@routes.get(
    "/api/v1/channels/{id}/sync-logs/{logId}/errors",
    permission=Permission.READ,
    query=SyncErrorQuery,
    answers=SyncErrorPage,
    summary="List what failed",
    errors=(NotFound,),
)
async def list_sync_errors(request: web.Request) -> web.StreamResponse:
    """One page of what failed in a synchronisation; 10,000 are kept."""
    asked = read_query(request, SyncErrorQuery)
    identity, run = identity_of(request), await _run(request)
    place = place_of(identity.workspace_id, request.path, asked, store.ERRORS_IN_ORDER)
    async with request.app[DATABASE].acquire() as conn:
        part, total = await store.errors_of(conn, run, place)
    columns = ("entity_id", "external_id", "message", "detail")
    items = _errors(identity, run, [[row[name] for name in columns] for row in part.rows])
    last = (part.rows[-1]["place"], part.rows[-1]["item"]) if part.rows else ()
    return page_response(place, items, part, total, last=last)


@routes.get(
    "/api/v1/channels/{id}/sync-mappings",
    permission=Permission.READ,
    query=SyncMappingQuery,
    answers=list[SyncMapping],
    summary="List the mappings of a channel",
    errors=(NotFound,),
)
async def list_sync_mappings(request: web.Request) -> web.StreamResponse:
    """Which object of the target each record is, in the order in which that became known.

    Nothing where the channel maps something that is hidden from the caller: checksums would tell
    when it changes.
    """
    asked = read_query(request, SyncMappingQuery)
    _, channel_id = await _of_channel(request)
    if not await commands.sees_all(request):
        return json_response([])
    narrowing = asked.narrowing()
    if asked.entity_id is not None:
        narrowing = narrowing.and_also("entity_id = {}", asked.entity_id)
    read = partial(mapping_store.page, channel_id=channel_id, narrowing=narrowing)
    return await list_response(request, read, _mapping, asked)


def _mapping(row: Record) -> bytes:
    return to_json(
        {
            "id": row["id"],
            "channelId": row["channel_id"],
            "entityId": row["entity_id"],
            "variantId": row["variant_id"] or None,
            "externalId": row["external_id"],
            "checksum": row["checksum"],
            "lastSyncedAt": row["last_synced_at"],
        }
    )


async def _started(request: web.Request, direction: Direction) -> web.StreamResponse:
    body = await request.read()
    channel = await commands.channel_of(request)
    if direction is Direction.BOTH:
        identity_of(request).require_flag(Flag.IMPORT)
    effects = effects_of(request)
    if effects.dry_run:
        return await _tried(request, channel, direction)

    async def begin(request: web.Request) -> web.StreamResponse:
        run = await commands.start(request, channel, direction)
        return json_response(await _shown(request, await commands.waited_for(request, run)))

    return await effects.have(sha256(body).digest(), begin)


async def _tried(request: web.Request, channel: Any, direction: Direction) -> web.StreamResponse:
    identity = identity_of(request)
    began = datetime.now(UTC)
    run = Run(
        workspace_id=channel.workspace_id,
        channel_id=channel.id,
        id=new_id("synclog"),
        direction=direction,
        status=Status.SUCCESS,
        caller_kind=identity.kind,
        caller_id=identity.id,
        created_at=began,
        completed_at=None,
        created=0,
        updated=0,
        skipped=0,
        failed=0,
        error=None,
        step=Step.DONE,
        place=None,
        checkpoint=None,
        holder=None,
    )
    found = await trying.tried(request, channel, run)
    done = found.counts.created + found.counts.updated + found.counts.skipped
    status = Status.SUCCESS
    if found.error is not None or found.failed:
        status = Status.PARTIAL if done else Status.FAILED
    errors = [
        [each.entity_id, each.external_id, each.message, each.detail]
        for each in found.counts.failures
    ]
    return json_response(
        {
            **run.public(),
            "status": str(status),
            "completedAt": datetime.now(UTC),
            "created": found.counts.created,
            "updated": found.counts.updated,
            "skipped": found.counts.skipped,
            "failed": found.failed,
            "error": found.error,
            "errors": _errors(identity, run, errors),
            "changes": found.changes,
            "complete": found.complete,
        },
        headers={PREFERENCE_APPLIED: DRY_RUN},
    )


async def _of_channel(request: web.Request) -> tuple[Identity, str]:
    """Who asks, and the id of the channel, which there is."""
    identity, channel_id = identity_of(request), request.match_info["id"]
    async with request.app[DATABASE].acquire() as conn:
        await channels.check_exists(conn, identity.workspace_id, channel_id)
    return identity, channel_id


async def _run(request: web.Request) -> Run:
    identity, channel_id = await _of_channel(request)
    async with request.app[DATABASE].acquire() as conn:
        run = await store.get(conn, identity.workspace_id, channel_id, request.match_info["logId"])
    is_own = (run.caller_kind, run.caller_id) == (identity.kind, identity.id)
    if not (is_own or await commands.sees_all(request)):
        raise NotFound.of("Sync log", run.id)
    return run


async def _shown(request: web.Request, run: Run) -> dict[str, Any]:
    rows: Sequence[Record] = ()
    if run.failed:
        async with request.app[DATABASE].acquire() as conn:
            rows = await store.first_errors(conn, run)
    return _log(run, _errors(identity_of(request), run, rows))


def _log(run: Run, errors: Sequence[Any]) -> dict[str, Any]:
    return {**run.public(), "errors": errors, "changes": None, "complete": None}


def _errors(identity: Identity, run: Run, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """As `SyncError`. Details may name values that others do not see."""
    sees_all = identity.unrestricted or identity.id == run.caller_id
    return [
        {
            "entityId": entity_id,
            "externalId": external_id,
            "message": f"{message}: {detail}" if detail and sees_all else message,
        }
        for entity_id, external_id, message, detail in rows
    ]
