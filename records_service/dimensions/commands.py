"""Creates, replaces and deletes dimensions, each in one transaction with its event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from records_service.context import BaseContext, Context
from records_service.dimensions import store
from records_service.dimensions.model import DIMENSION, RESERVED_IDS, DimensionDraft
from records_service.dimensions.segments import body_of, removed
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import model_change, stage_event
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import ModelObject
from records_service.model_objects.searching import Searcher
from records_service.permissions.reach import check_readable
from records_service.value_uses import store as value_uses
from shared.database import Conn
from shared.errors import Conflict, ValidationError, some_of
from shared.events import EventType
from shared.ids import new_id


async def create(context: BaseContext, draft: DimensionDraft) -> ModelObject:
    """Raises `ValidationError`, or `Conflict` for a taken id or alias."""
    workspace_id = context.workspace_id
    if draft.id in RESERVED_IDS:
        raise ValidationError.at("/id", f"Field 'id' cannot be '{draft.id}', which is reserved")
    body = body_of(draft)
    async with model_change(context.app, workspace_id) as conn:
        await _check_labels(conn, workspace_id, draft, body)
        dimension = await model_objects.insert(
            conn, DIMENSION, workspace_id, draft.id or new_id("dim"), draft.alias, body
        )
        await stage_event(conn, EventType.DIMENSION_CREATED, workspace_id, dimension)
    return dimension


async def replace(context: Context, dimension_id: str, draft: DimensionDraft) -> ModelObject:
    """Raises `Conflict` when a segment that values use would go.

    Taking one out needs `read` on what varies by the dimension: the answer looks at records. So
    does another default segment, because completeness is judged by its values.
    """
    workspace_id, role = context.workspace_id, context.role
    searcher = Searcher()

    async def judge(conn: Conn) -> tuple[ModelObject, dict[str, Any], list[str]]:
        old = await model_objects.get(conn, DIMENSION, workspace_id, dimension_id)
        context.check_version(DIMENSION.title, old.id, old.version)
        body = body_of(draft, old.body)
        await _check_labels(conn, workspace_id, draft, body, old)
        gone = removed(old.body, body)
        moved = body["defaultSegmentId"] != old.body["defaultSegmentId"]
        if role is not None and (gone or moved):
            varying = await store.varying(conn, workspace_id, old.id)
            pointer = "/segments" if gone else "/defaultSegmentId"
            await check_readable(conn, workspace_id, role, varying, pointer)
        used = await store.used_segment(conn, workspace_id, old.id, gone, searcher)
        if used is not None:
            raise Conflict.in_use("Segment", used.found, context.told_of_records(used.by))
        return old, body, gone

    async with model_change(context.app, workspace_id, judge=judge) as conn:
        old, body, gone = await judge(conn)
        dimension = await model_objects.update(
            conn, DIMENSION, workspace_id, old.id, draft.alias, body
        )
        if gone:
            await value_uses.forget_segments(conn, workspace_id, old.id, gone)
        await stage_event(conn, EventType.DIMENSION_UPDATED, workspace_id, dimension)
    return dimension


async def delete(context: BaseContext, dimension_id: str) -> None:
    """Raises `Conflict` while an attribute varies by it."""
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await model_objects.get(conn, DIMENSION, workspace_id, dimension_id)
        context.check_version(DIMENSION.title, old.id, old.version)
        varying = await store.varying(conn, workspace_id, old.id)
        if varying:
            by = context.told(f"attributes vary by it ({some_of(varying)})")
            raise Conflict.in_use(DIMENSION.title, old.id, by)
        await model_objects.delete(conn, DIMENSION, workspace_id, old.id)
        await stage_event(conn, EventType.DIMENSION_DELETED, workspace_id, old)


async def _check_labels(
    conn: Conn,
    workspace_id: str,
    draft: DimensionDraft,
    body: Mapping[str, Any],
    old: ModelObject | None = None,
) -> None:
    """The names of a dimension may be in languages that it is about to have."""
    own = {segment["id"] for segment in body["segments"]}
    await check_labels(conn, workspace_id, draft, old.body if old else None, own=own)
