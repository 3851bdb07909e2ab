"""Asks a search in every way in which it can be answered: they must not differ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from records_service.model_objects.commands import take_lock
from records_service.search_texts.indexing import TextIndexing
from tests.kit.records_workspace import RecordsWorkspace

T = TypeVar("T")


async def index_some(workspace: RecordsWorkspace) -> bool:
    """One slice of the job that indexes texts; whether more is left."""
    indexing = TextIndexing()
    indexing.app = workspace.records.app
    async with workspace.database.transaction() as conn:
        return await indexing.run_some(conn, workspace.id, "")


async def index_all(workspace: RecordsWorkspace) -> None:
    """The index reaches all records, and searches use it."""
    while await index_some(workspace):
        pass


async def note_all(workspace: RecordsWorkspace) -> None:
    """All records are behind: as if all of them had just been written."""
    await workspace.database.execute(
        """
        INSERT INTO search_texts_behind (workspace_id, records, record_ids, created_at)
        SELECT workspace_id, count(*), array_agg(id), array_agg(created_at)
          FROM records WHERE workspace_id = $1 GROUP BY workspace_id
        """,
        workspace.id,
    )


async def without_index(workspace: RecordsWorkspace) -> None:
    """Searches read the values, as in a workspace that has no index of texts yet."""
    async with workspace.database.transaction() as conn:
        await take_lock(conn, workspace.id)
        await conn.execute(
            "UPDATE search_layouts SET layout = NULL WHERE workspace_id = $1", workspace.id
        )


async def in_every_way(workspace: RecordsWorkspace, ask: Callable[[], Awaitable[T]]) -> T:
    """What is answered by the values, and by the index before and after it reaches all records."""
    await without_index(workspace)
    by_values = await ask()
    await index_all(workspace)
    by_index = await ask()
    assert by_index == by_values
    await note_all(workspace)
    half_way = await ask()
    assert half_way == by_values
    return by_values
