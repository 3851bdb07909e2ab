"""Creates, changes, moves and deletes categories, each in one transaction with its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

import asyncpg
from aiohttp import web

from records_service.catalogs.categories import removal, store
from records_service.catalogs.categories.model import (
    CATEGORIES_MAX,
    CATEGORY,
    TREE_BYTES_MAX,
    Category,
    CategoryDraft,
)
from records_service.catalogs.categories.store import Size
from records_service.catalogs.categories.tree import CODES_MAX, check_depth, check_move, code, depth
from records_service.context import BaseContext
from records_service.model_objects.commands import SOURCE
from records_service.model_objects.labels import check_labels
from shared.database import Conn, Record
from shared.errors import (
    LimitExceeded,
    NotFound,
    ServiceUnavailable,
    ValidationError,
    truncated,
)
from shared.events import Event, EventType
from shared.ids import new_id
from shared.messaging import outbox
from shared.process.waiting import KeyedSemaphore

TREE_CHANGE_SLOTS: Final = web.AppKey("tree_change_slots", KeyedSemaphore)
"""Who waits for the lock of a tree holds no connection."""
ATTEMPTS_MAX: Final = 3

P = ParamSpec("P")
T = TypeVar("T")


def again_after_deadlock(command: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Do it again where PostgreSQL has ended a circle of waiting by rolling it back.

    A branch is deleted before its deletion is counted. Whoever has counted already, and waits for
    an id or a key that is being deleted, waits in a circle with that. Raises `ServiceUnavailable`
    after `ATTEMPTS_MAX`.
    """

    @wraps(command)
    async def repeated(*args: P.args, **kwargs: P.kwargs) -> T:
        for _ in range(ATTEMPTS_MAX):
            with suppress(asyncpg.DeadlockDetectedError):
                return await command(*args, **kwargs)
        raise ServiceUnavailable("The catalogs are being changed at the moment")

    return repeated


@asynccontextmanager
async def tree(context: BaseContext, catalog_id: str | None) -> AsyncIterator[Conn]:
    """A transaction in which nobody else changes this catalog and its tree.

    None stands for a catalog that is being made. The relay is woken when it has committed. Raises
    `NotFound`.
    """
    async with (
        context.app[TREE_CHANGE_SLOTS].of((context.workspace_id, catalog_id)),
        context.database.transaction() as conn,
    ):
        if catalog_id is not None:
            await store.lock_tree(conn, context.workspace_id, catalog_id)
        yield conn
    outbox.wake(context.app)


@asynccontextmanager
async def tree_change(
    context: BaseContext, catalog_id: str | None = None
) -> AsyncIterator[tuple[Conn, int]]:
    """As `tree`, with the version of what is new in it.

    Until commit, nothing else of the workspace's trees gets a version: so it is not for long work.
    """
    async with tree(context, catalog_id) as conn:
        yield conn, await store.take_version(conn, context.workspace_id)


@again_after_deadlock
async def create(context: BaseContext, catalog_id: str, draft: CategoryDraft) -> Category:
    """Raises `NotFound` for the catalog, `ValidationError`, `LimitExceeded`, or `Conflict`."""
    workspace_id = context.workspace_id
    async with tree_change(context, catalog_id) as (conn, version):
        size = await store.size_of(conn, workspace_id, catalog_id)
        _check_catalog(draft, catalog_id)
        parent = await _parent(conn, workspace_id, catalog_id, draft.parent_id)
        check_depth(1 + (depth(parent.path) if parent else 0))
        await check_labels(conn, workspace_id, draft)
        if draft.id is not None:
            await removal.free_id(conn, workspace_id, draft.id)
        time = datetime.now(UTC)
        category = Category(
            id=draft.id or new_id(CATEGORY.prefix),
            catalog_id=catalog_id,
            parent_id=draft.parent_id,
            path=(parent.path if parent else "") + code(size.codes),
            alias=draft.alias,
            body=draft.body(),
            sort_order=draft.sort_order or 0.0,
            version=version,
            created_at=time,
            updated_at=time,
        )
        added = Size(1, category.bytes, 1)
        _check_size(catalog_id, size, added)
        await store.insert(conn, workspace_id, category)
        await store.add_size(conn, workspace_id, catalog_id, added)
        await outbox.stage(conn, event_of(EventType.CATEGORY_CREATED, workspace_id, category))
    return category


@again_after_deadlock
async def update(context: BaseContext, category_id: str, draft: CategoryDraft) -> Category:
    """The category as it is now; it moves if another parent is named. Nothing new changes nothing.

    Raises `NotFound`, `PreconditionFailed`, `ValidationError`, `LimitExceeded` or `Conflict`.
    """
    workspace_id = context.workspace_id
    catalog_id = await _catalog_of(context, category_id)
    async with tree_change(context, catalog_id) as (conn, _):
        old = await _get(conn, workspace_id, category_id, catalog_id)
        context.check_version(CATEGORY.title, old.id, old.version)
        _check_catalog(draft, old.catalog_id)
        await check_labels(conn, workspace_id, draft, old.body)
        new = replace(
            old,
            alias=draft.alias,
            body=draft.body(old.body),
            sort_order=old.sort_order if draft.sort_order is None else draft.sort_order,
        )
        moved: dict[str, Any] = {}
        if "parent_id" in draft.model_fields_set and draft.parent_id != old.parent_id:
            parent = await _parent(conn, workspace_id, old.catalog_id, draft.parent_id)
            check_move(old, parent, await store.levels(conn, workspace_id, old))
            own_code = old.path[len(old.path) - len(code(0)) :]
            new = replace(
                new,
                parent_id=draft.parent_id,
                path=(parent.path if parent else "") + own_code,
            )
            moved = {"fromParentId": old.parent_id, "toParentId": new.parent_id}
        if new.content == old.content:
            return old
        new = replace(new, version=old.version + 1, updated_at=store.now(old.updated_at))
        added = Size(0, new.bytes - old.bytes, 0)
        if added.bytes > 0:
            size = await store.size_of(conn, workspace_id, old.catalog_id)
            _check_size(old.catalog_id, size, added)
        await store.update(conn, workspace_id, old, new)
        await store.add_size(conn, workspace_id, old.catalog_id, added)
        event = event_of(EventType.CATEGORY_UPDATED, workspace_id, new, **moved)
        await outbox.stage(conn, event)
    return new


@again_after_deadlock
async def delete(context: BaseContext, category_id: str) -> None:
    """Delete a category with all below it and their assignments; the records stay.

    Raises `NotFound` or `PreconditionFailed`.
    """
    workspace_id = context.workspace_id
    catalog_id = await _catalog_of(context, category_id)
    async with tree(context, catalog_id) as conn:
        category = await _get(conn, workspace_id, category_id, catalog_id)
        context.check_version(CATEGORY.title, category.id, category.version)
        last = await delete_branch(context, conn, catalog_id, category.path)
        await store.take_version(conn, workspace_id, least=last)


async def delete_branch(context: BaseContext, conn: Conn, catalog_id: str, path: str = "") -> int:
    """Delete the categories at and below this path; without one, all of the catalog.

    The highest version of their assignments. The caller takes a version that is no lower, at the
    end: until then, other trees are changed meanwhile.
    """
    rows = await store.lock_branch(conn, context.workspace_id, catalog_id, path)
    if not rows:
        return 0
    is_large = len(rows) > _LARGE_BRANCH
    events = await context.run(is_large, _deleted, context.workspace_id, catalog_id, rows)
    for begin in range(0, len(events), _STAGED_AT_ONCE):
        await outbox.stage(conn, *events[begin : begin + _STAGED_AT_ONCE])
    await removal.remove_or_request(conn, context.workspace_id, catalog_id, path, rows)
    gone = Size(-len(rows), -sum(row["bytes"] for row in rows), 0)
    await store.add_size(conn, context.workspace_id, catalog_id, gone)
    last: int = max(row["assignments_version"] for row in rows)
    return last


_LARGE_BRANCH: Final = 200
_STAGED_AT_ONCE: Final = 1_000
"""Each is some 10 us of the event loop: others are answered between these."""


def _deleted(workspace_id: str, catalog_id: str, rows: Sequence[Record]) -> list[Event]:
    return [
        Event(
            type=EventType.CATEGORY_DELETED,
            source=SOURCE,
            workspace_id=workspace_id,
            subject=row["id"],
            data={
                "categoryId": row["id"],
                "catalogId": catalog_id,
                "parentId": row["parent_id"],
                "version": row["version"] + 1,
            },
        )
        for row in rows
    ]


def event_of(event_type: str, workspace_id: str, category: Category, **more: Any) -> Event:
    """The event of a category that was made or changed."""
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=workspace_id,
        subject=category.id,
        data={
            "categoryId": category.id,
            "catalogId": category.catalog_id,
            "parentId": category.parent_id,
            "alias": category.alias,
            "name": category.body["name"],
            "version": category.version,
            **more,
        },
    )


async def _catalog_of(context: BaseContext, category_id: str) -> str:
    """The catalog that a category is in, or `NotFound`."""
    async with context.database.acquire() as conn:
        return (await store.get(conn, context.workspace_id, category_id)).catalog_id


async def _get(conn: Conn, workspace_id: str, category_id: str, catalog_id: str) -> Category:
    """The category, or `NotFound`, also if it was made again in another catalog meanwhile."""
    category = await store.get(conn, workspace_id, category_id)
    if category.catalog_id != catalog_id:
        raise NotFound.of(CATEGORY.title, category_id)
    return category


async def _parent(
    conn: Conn, workspace_id: str, catalog_id: str, parent_id: str | None
) -> Category | None:
    """The category that is to be the parent, None for the top; `ValidationError` if it cannot."""
    if parent_id is None:
        return None
    parent = await store.find(conn, workspace_id, parent_id)
    if parent is None:
        raise ValidationError.at("/parentId", f"Category '{truncated(parent_id)}' not found")
    if parent.catalog_id != catalog_id:
        raise ValidationError.at(
            "/parentId",
            f"Field 'parentId' expects a category of catalog '{truncated(catalog_id)}', got"
            f" '{truncated(parent_id)}' of catalog '{truncated(parent.catalog_id)}'",
        )
    return parent


def _check_catalog(draft: CategoryDraft, catalog_id: str) -> None:
    if draft.catalog_id not in (None, catalog_id):
        raise ValidationError.at(
            "/catalogId",
            f"Field 'catalogId' cannot change: expected '{truncated(catalog_id)}',"
            f" got '{truncated(draft.catalog_id or '')}'",
        )


def _check_size(catalog_id: str, size: Size, added: Size) -> None:
    what = f"Catalog '{truncated(catalog_id)}' may have at most"
    if size.categories + added.categories > CATEGORIES_MAX:
        raise LimitExceeded(f"{what} {CATEGORIES_MAX} categories")
    if size.bytes + added.bytes > TREE_BYTES_MAX:
        raise LimitExceeded(f"{what} {TREE_BYTES_MAX} bytes of categories")
    if size.codes + added.codes > CODES_MAX:
        raise LimitExceeded(f"{what} {CODES_MAX} categories, the deleted ones included")
