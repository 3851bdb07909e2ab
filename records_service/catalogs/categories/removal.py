"""Removes what a large tree has left behind when it was deleted, as a background job of each.

Whoever deletes a record waits for everybody who removes an assignment of it, and a tree may have
millions. So the categories of a large tree are only hidden by the request, with their events: from
then on nothing finds them. They are moved to a catalog of their own, which nobody finds either, and
keep their ids until a job has removed their assignments and them, some at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from records_service.catalogs.categories import removal_store, store
from records_service.catalogs.categories.model import CATEGORY
from records_service.catalogs.model import CATALOG
from records_service.model_objects.commands import SOURCE
from shared.database import Conn, Record
from shared.database.slice_size import SliceSize
from shared.errors import Conflict, truncated
from shared.events import EventType
from shared.ids import new_id
from shared.messaging import jobs

JOB: Final = "remove_categories"
CATEGORIES_IN_REQUEST: Final = 1_000
ASSIGNMENTS_IN_REQUEST: Final = 2_000
"""The deletion of a record that has one of these waits for all of them."""
CATEGORIES_AT_ONCE: Final = 100
ASSIGNMENTS_AT_ONCE: Final = 2_000
"""At most so many of both in a slice, for which the deletion of a record waits."""

_SIZE: Final = SliceSize()


async def remove_or_request(
    conn: Conn, workspace_id: str, catalog_id: str, path: str, rows: Sequence[Record]
) -> None:
    """Remove the locked categories of a branch, or hide them and leave that to the job."""
    if await _are_few(conn, workspace_id, rows):
        await store.delete(conn, workspace_id, rows)
        return
    # No client can name it: an id has no space.
    hidden_id = f"deleted {new_id(CATALOG.prefix)}"
    await removal_store.hide(conn, workspace_id, catalog_id, path, len(rows), into=hidden_id)
    await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB, hidden_id)


async def _are_few(conn: Conn, workspace_id: str, rows: Sequence[Record]) -> bool:
    if len(rows) > CATEGORIES_IN_REQUEST:
        return False
    ids = [row["id"] for row in rows]
    return not await removal_store.have_more(conn, workspace_id, ids, than=ASSIGNMENTS_IN_REQUEST)


async def remove_some(conn: Conn, workspace_id: str, hidden_id: str) -> bool:
    """One slice of the job of a tree; whether more is left."""
    async with _SIZE.of(ASSIGNMENTS_AT_ONCE) as rows:
        categories = await removal_store.lock_next(
            conn, workspace_id, hidden_id, rows_max=CATEGORIES_AT_ONCE
        )
        if not categories:
            await removal_store.delete_catalog(conn, workspace_id, hidden_id)
            return False
        assignments = await removal_store.next_assignments(
            conn, workspace_id, categories, rows_max=rows
        )
        await removal_store.delete_assignments(conn, workspace_id, assignments)
        if len(assignments) < rows:
            await removal_store.delete_categories(conn, workspace_id, categories)
        else:
            await removal_store.set_emptied_up_to(conn, workspace_id, assignments)
    return True


async def free_id(conn: Conn, workspace_id: str, category_id: str) -> None:
    """Let a category be made under this id, also where one that was deleted still has it.

    Raises `Conflict` if that has more assignments than a request removes.
    """
    category = await removal_store.lock_deleted(conn, workspace_id, category_id)
    if category is None:
        return
    assignments = await removal_store.next_assignments(
        conn, workspace_id, [category], rows_max=ASSIGNMENTS_IN_REQUEST + 1
    )
    if len(assignments) > ASSIGNMENTS_IN_REQUEST:
        raise Conflict(
            f"{CATEGORY.title} '{truncated(category_id)}' was deleted and its records are still"
            " being taken out: use another id, or try again later"
        )
    await removal_store.delete_assignments(conn, workspace_id, assignments)
    await removal_store.delete_categories(conn, workspace_id, [category])
