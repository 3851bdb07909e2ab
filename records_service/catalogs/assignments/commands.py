"""Assigns records to a category and takes them out, each in one transaction with its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager

from records_service.catalogs.assignments import store
from records_service.catalogs.assignments.store import LockedCategory
from records_service.catalogs.categories.reading import check_category_visible
from records_service.context import Context
from records_service.model_objects.commands import SOURCE
from records_service.permissions.rules import catalog_access
from records_service.writes.create_batching import WRITE_SLOTS
from shared.database import Conn
from shared.errors import NotFound, PermissionDenied, truncated
from shared.events import Event, EventType
from shared.messaging import outbox


async def assign(context: Context, category_id: str, record_ids: Sequence[str]) -> int:
    """Put records into a category; how many were not in it.

    Raises `NotFound` for the category or a record, with nothing changed, or `PermissionDenied`.
    """
    async with _assigning(context, category_id) as (conn, category):
        workspace_id = context.workspace_id
        records = await store.lock_records(conn, workspace_id, record_ids)
        _check_found(record_ids, records)
        there = await store.lock_assigned(conn, workspace_id, category_id, record_ids)
        new = [(record_id, records[record_id]) for record_id in sorted(records.keys() - {*there})]
        if new:
            events = assignment_events(
                EventType.CATEGORY_ASSIGNED, context, category, [record_id for record_id, _ in new]
            )
            await store.insert(conn, workspace_id, category, new, events)
    return len(new)


async def unassign(
    context: Context, category_id: str, record_ids: Sequence[str], *, must_be_there: bool
) -> int:
    """Take records out of a category; how many were in it.

    Raises `NotFound` for the category or a record, and for one that is not in the category if it
    `must_be_there`, with nothing changed; or `PermissionDenied`.
    """
    async with _assigning(context, category_id) as (conn, category):
        workspace_id = context.workspace_id
        _check_found(record_ids, await store.lock_records(conn, workspace_id, record_ids))
        there = await store.lock_assigned(conn, workspace_id, category_id, record_ids)
        if must_be_there and not there:
            raise NotFound(
                f"Entity '{truncated(record_ids[0])}' is not in category '{truncated(category_id)}'"
            )
        if there:
            events = assignment_events(EventType.CATEGORY_UNASSIGNED, context, category, there)
            await store.delete(conn, workspace_id, category, there, events)
    return len(there)


@asynccontextmanager
async def _assigning(
    context: Context, category_id: str
) -> AsyncIterator[tuple[Conn, LockedCategory]]:
    """A transaction with the category locked, in which the caller may assign."""
    async with (
        context.app[WRITE_SLOTS].of(context.workspace_id),
        context.database.transaction() as conn,
    ):
        category = await store.lock_category(conn, context.workspace_id, category_id)
        check_category_visible(context, category.id, category.catalog_id)
        if not catalog_access(context.role, category.catalog_id).can_assign:
            raise PermissionDenied.because(
                f"The role lacks 'canAssign' on catalog '{truncated(category.catalog_id)}'"
            )
        yield conn, category
    outbox.wake(context.app)


def _check_found(asked: Sequence[str], found: Container[str]) -> None:
    for record_id in asked:
        if record_id not in found:
            raise NotFound.of("Entity", record_id)


def assignment_events(
    event_type: str, context: Context, category: LockedCategory, record_ids: Sequence[str]
) -> list[Event]:
    """An event for each record; its subject is the pair, and its version counts in the category."""
    return [
        Event(
            type=event_type,
            source=SOURCE,
            workspace_id=context.workspace_id,
            subject=f"{category.id}/{record_id}",
            data={
                "categoryId": category.id,
                "catalogId": category.catalog_id,
                "entityId": record_id,
                "userId": context.identity.id,
                "version": category.assignments_version + number,
            },
        )
        for number, record_id in enumerate(record_ids, start=1)
    ]
