"""Creates, changes and deletes catalogs, each in one transaction with its events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from records_service.catalogs import store
from records_service.catalogs.categories import store as categories
from records_service.catalogs.categories.commands import (
    again_after_deadlock,
    delete_branch,
    tree,
    tree_change,
)
from records_service.catalogs.model import CATALOG, CATALOGS_MAX, CatalogDraft
from records_service.context import BaseContext
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import stage_event
from records_service.model_objects.labels import check_labels
from records_service.model_objects.model import ModelObject
from shared.errors import LimitExceeded
from shared.events import EventType
from shared.ids import new_id


@again_after_deadlock
async def create(context: BaseContext, draft: CatalogDraft) -> ModelObject:
    """Raises `ValidationError`, `LimitExceeded`, or `Conflict` for a taken id, alias or key."""
    workspace_id = context.workspace_id
    async with tree_change(context) as (conn, version):
        await check_labels(conn, workspace_id, draft)
        now = datetime.now(UTC)
        catalog_id = draft.id or new_id(CATALOG.prefix)
        catalog = ModelObject(catalog_id, draft.alias, draft.body(), version, now, now)
        await store.insert(conn, workspace_id, catalog)
        if await store.count(conn, workspace_id) > CATALOGS_MAX:
            raise LimitExceeded(f"A workspace may have at most {CATALOGS_MAX} catalogs")
        await stage_event(
            conn, EventType.CATALOG_CREATED, workspace_id, catalog, catalogId=catalog_id
        )
    return catalog


@again_after_deadlock
async def replace_catalog(
    context: BaseContext, catalog_id: str, draft: CatalogDraft
) -> ModelObject:
    """The catalog as it is now. Nothing new changes nothing.

    Raises `NotFound`, `PreconditionFailed`, `ValidationError`, or `Conflict` for a taken alias or
    key.
    """
    workspace_id = context.workspace_id
    async with tree_change(context, catalog_id) as (conn, _):
        old = await model_objects.get(conn, CATALOG, workspace_id, catalog_id)
        context.check_version(CATALOG.title, old.id, old.version)
        await check_labels(conn, workspace_id, draft, old.body)
        body = draft.body(old.body)
        if (draft.alias, body) == (old.alias, old.body):
            return old
        catalog = replace(
            old,
            alias=draft.alias,
            body=body,
            version=old.version + 1,
            updated_at=max(datetime.now(UTC), old.updated_at),
        )
        await store.update(conn, workspace_id, catalog)
        await stage_event(
            conn, EventType.CATALOG_UPDATED, workspace_id, catalog, catalogId=catalog_id
        )
    return catalog


@again_after_deadlock
async def delete(context: BaseContext, catalog_id: str) -> None:
    """Delete a catalog with its categories and their assignments; the records stay.

    Raises `NotFound` or `PreconditionFailed`.
    """
    workspace_id = context.workspace_id
    async with tree(context, catalog_id) as conn:
        old = await model_objects.get(conn, CATALOG, workspace_id, catalog_id)
        context.check_version(CATALOG.title, old.id, old.version)
        last = await delete_branch(context, conn, catalog_id)
        await store.delete(conn, workspace_id, catalog_id)
        await stage_event(conn, EventType.CATALOG_DELETED, workspace_id, old, catalogId=catalog_id)
        await categories.take_version(conn, workspace_id, least=last)
