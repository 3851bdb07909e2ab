"""Folds anew what the index of texts holds, by the newest version of the rules (`folding.py`).

A part of the job that indexes texts. Its first slice says, in a new version of the model, that the
workspace folds by the new rules from now on: searches read the values until all rows of the index
are folded so. Most texts are folded alike by both versions, which the index tells by itself: only
records whose words or texts are other ones by the new rules are read and indexed anew.

Code of the version before would fold by the old rules meanwhile. So in a database that is in use,
this begins an hour after the migration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from records_service.model_objects.commands import take_lock
from records_service.progress import commands as following
from records_service.progress.model import NOBODY, JobKind, JobStatus
from records_service.search_texts import store
from records_service.search_texts.documents import Layout
from records_service.search_texts.folding import FIRST_FOLDING, FOLDING, folded_in_sql
from records_service.search_texts.store import Progress
from shared.database import Conn
from shared.database.listing import BEGINNING, Position
from shared.database.pieces import Room, first_piece

LOOKED_AT_ONCE: Final = 2_000
"""Rows of one slice."""


@dataclass(frozen=True, slots=True)
class LookedAt:
    """Rows of the index that were looked at."""

    differing: list[str]
    """The ids of the records that have to be indexed anew."""
    count: int
    last: Position | None
    is_full: bool
    """Whether there may be more."""


def is_wanted(layout: Layout | None, wanted: Layout) -> bool:
    """Whether nothing else has to be done to the index than to fold it anew."""
    return (
        layout is not None
        and layout.folding != wanted.folding
        and replace(layout, folding=wanted.folding) == wanted
    )


async def folding_of(conn: Conn, workspace_id: str, progress: Progress | None) -> int:
    """The version by which a slice folds."""
    if progress is not None:
        return progress.wanted.folding
    return FOLDING if await _is_due(conn, workspace_id) else FIRST_FOLDING


async def is_due(conn: Conn, workspace_id: str, progress: Progress | None) -> bool:
    """Whether the workspace folds by old rules, and all code knows the new ones."""
    is_old = progress is not None and progress.wanted.folding != FOLDING
    return is_old and await _is_due(conn, workspace_id)


async def begin(conn: Conn, workspace_id: str) -> bool:
    """Let the workspace fold by the new rules, in a new version of the model.

    A slice of its own, because the lock of the model comes before all others.
    """
    await take_lock(conn, workspace_id)
    progress = await store.find_progress(conn, workspace_id)
    version = await store.lock_model(conn, workspace_id)
    if progress is None or version is None:
        return False
    anew = replace(progress, wanted=replace(progress.wanted, folding=FOLDING), after=None)
    await store.keep_progress(
        conn, workspace_id, replace(anew, is_done=False), model_version=version
    )
    await following.end(
        conn,
        workspace_id,
        JobKind.INDEX_TEXTS,
        NOBODY,
        JobStatus.CANCELLED,
        "Texts are folded by other rules, and the index is made anew",
    )
    return True


async def look_at_more(conn: Conn, workspace_id: str, after: Position | None) -> LookedAt:
    """Look at the next rows of the index, in the order in which their records were created."""
    text = "t.words::text || t.folded::text"
    rows, is_full = await first_piece(
        conn,
        f"""
        SELECT t.record_id, t.created_at, octet_length(t.text) AS bytes,
               {folded_in_sql("t.text", FOLDING)} <> t.text AS differs
          FROM (SELECT t.record_id, t.created_at, {text} AS text
                  FROM search_texts t
                 WHERE t.workspace_id = $1 AND (t.created_at, t.record_id) > ($2, $3)
                 ORDER BY t.created_at, t.record_id
                 LIMIT $4::bigint) AS t
        """,  # noqa: S608 - constants
        workspace_id,
        *(after or BEGINNING),
        LOOKED_AT_ONCE,
        size_of=lambda row: row["bytes"],
        room=Room(LOOKED_AT_ONCE),
    )
    last: tuple[datetime, str] | None = None
    if rows:
        last = rows[-1]["created_at"], rows[-1]["record_id"]
    return LookedAt([row["record_id"] for row in rows if row["differs"]], len(rows), last, is_full)


async def _is_due(conn: Conn, workspace_id: str) -> bool:
    """Whether no code folds by the rules of the version before any more.

    Of a workspace without a row the default of the column tells it; the slice writes the row.
    """
    found: bool = await conn.fetchval(
        """
        INSERT INTO search_layouts AS known (workspace_id, wanted, model_version)
        VALUES ($1, 'null', 0)
            ON CONFLICT (workspace_id) DO UPDATE SET model_version = known.model_version
        RETURNING folds_from <= now()
        """,
        workspace_id,
    )
    return found
