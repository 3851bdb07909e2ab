"""The history over HTTP: of one record for its readers, of the workspace for administrators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import orjson
from aiohttp import web

from records_service.context import BaseContext, base_context_of, context_of
from records_service.history import store
from records_service.history.model import AuditFilter, AuditPage, Entry
from records_service.lists import LISTS
from records_service.records.loading import load_record
from records_service.records.render_cache import INLINE_BYTES_MAX
from records_service.writes.changes import EXTERNAL_KEY
from shared.database import Record
from shared.database.paging import (
    PageQuery,
    Part,
    Place,
    Total,
    page_response,
    place_of,
)
from shared.errors import NotFound
from shared.http import Routes, read_query, to_json
from shared.identity import Permission

Page: TypeAlias = tuple[Part[Record], Total | None, Sequence[Any]]
"""The entries, how many there are in all, and where the next page begins."""

routes = Routes(
    tag="Audit",
    about="The history of records: every change, with its author and the values before and after.",
    examples={"id": "ent-coastal-wb"},
    parameters={"id": "Id of the record."},
)


@routes.get(
    "/api/v1/records/{id}/audit",
    permission=Permission.READ,
    query=PageQuery,
    answers=AuditPage,
    summary="List the history of a record",
    errors=(NotFound,),
)
async def list_record_history(request: web.Request) -> web.StreamResponse:
    """The changes of one record and its variants, newest first, without hidden attributes.

    An update that changed only hidden attributes is neither listed nor counted. A page ends early,
    with a `nextCursor`, behind 10,000 entries that were looked at for it.
    An earlier record with the same id is part of the history for administrators and API keys.
    """
    asked = read_query(request, PageQuery)
    context = await context_of(request)
    role = context.role
    loaded = await load_record(context, request.match_info["id"])
    visible = loaded.schema.access(role, loaded.record.state_id).visible
    place = place_of(context.workspace_id, request.path, asked, store.OF_A_RECORD)
    page = await _page(
        context,
        place,
        record_id=loaded.record.id,
        # What was hidden in an earlier record was decided by rules that are gone.
        latest_since=None if role is None else loaded.record.created_at,
        # An entry without changes would tell when something hidden changed, and by whom.
        visible=None if role is None else {EXTERNAL_KEY, *visible},
    )

    def is_shown(attribute_id: str) -> bool:
        # What has left the schema is bound by no state's list any more, so only those see it from
        # whom nothing is hidden.
        return (
            attribute_id in visible
            or attribute_id == EXTERNAL_KEY
            or (role is None and attribute_id not in loaded.schema.attributes)
        )

    return await _answer(context, place, page, is_shown)


@routes.get(
    "/api/v1/audit",
    permission=Permission.READ,
    administrators=True,
    query=AuditFilter,
    answers=AuditPage,
    summary="List the history of the workspace",
)
async def list_workspace_history(request: web.Request) -> web.StreamResponse:
    """The changes of all records and variants, newest first, including deleted ones.

    With `action=create` or `update`, a page ends early, with a `nextCursor`, behind 10,000 entries
    that were looked at for it.
    """
    context = base_context_of(request)
    asked = read_query(request, AuditFilter)
    workspace_id, entity_id, is_variant = context.workspace_id, asked.entity_id, False
    if entity_id is not None:
        async with context.database.acquire() as conn:
            is_variant = await store.is_variant(conn, workspace_id, entity_id)
    # The entries of a variant have the versions of its record; an id can be used under another one.
    order = store.OF_A_WORKSPACE if entity_id is None or is_variant else store.OF_A_RECORD
    place = place_of(context.workspace_id, request.path, asked, order)
    page = await _page(
        context,
        place,
        record_id=entity_id,
        with_variant=is_variant,
        user_id=asked.user_id,
        action=asked.action,
    )
    return await _answer(context, place, page, lambda _: True)


async def _page(context: BaseContext, place: Place, **filters: Any) -> Page:
    """The entries of a page, as `store.page` tells, whose `filters` these are."""
    return await context.app[LISTS].read(
        context.database,
        context.workspace_id,
        partial(
            store.page,
            workspace_id=context.workspace_id,
            place=place,
            **filters,
        ),
    )


async def _answer(
    context: BaseContext,
    place: Place,
    page: Page,
    is_shown: Callable[[str], bool],
) -> web.Response:
    """The page as JSON, written beside the event loop where its entries are large together."""
    part, total, last = page
    rows = part.rows
    is_large = sum(len(row["changes"]) for row in rows) > INLINE_BYTES_MAX
    items = orjson.Fragment(await context.run(is_large, _render, rows, is_shown))
    return page_response(place, items, part, total, last=last)


def _render(rows: Sequence[Record], is_shown: Callable[[str], bool]) -> bytes:
    items = []
    for row in rows:
        entry = store.entry(row)
        changes = [change for change in entry.changes if is_shown(change["attributeId"])]
        items.append(to_json(_shown(entry, changes)))
    return b"[%b]" % b",".join(items)


def _shown(entry: Entry, changes: list[dict[str, Any]]) -> dict[str, Any]:
    is_transition = entry.action == "transition"
    return {
        "id": f"aud-{entry.id}",
        "entityId": entry.record_id,
        "variantId": entry.variant_id,
        "version": entry.version,
        "action": entry.action,
        "userId": entry.user_id,
        "timestamp": entry.at,
        "changes": [
            {name: change[name] for name in ("attribute", "scope", "oldValue", "newValue")}
            for change in changes
        ],
        "fromStateId": entry.from_state_id if is_transition else None,
        "toStateId": entry.to_state_id if is_transition else None,
        "comment": entry.comment if is_transition else None,
        "changeSetId": entry.change_set_id,
    }
