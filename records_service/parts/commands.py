"""A change of the model is one transaction under the model lock, and tells of itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from records_service.parts.model import Part
from shared import outbox
from shared.events import Event
from shared.postgres import DATABASE, Conn
from shared.turns import Turns

SOURCE = "/records_service"

MODELLERS = web.AppKey("modellers", Turns)


async def take_lock(conn: Conn, workspace_id: str) -> int:
    """Raise the model's version and hold its row to the end of the transaction; the new version.

    The first statement of every transaction that changes the model (docs/adr/0002): who takes
    another lock before this one could wait for a writer that waits for him.
    """
    version: int = await conn.fetchval(
        """
        INSERT INTO models AS m (workspace_id, version)
        VALUES ($1, 1)
            ON CONFLICT (workspace_id)
            DO UPDATE SET version = m.version + 1
        RETURNING version
        """,
        workspace_id,
    )
    return version


@asynccontextmanager
async def changing_model(app: web.Application, workspace_id: str) -> AsyncIterator[Conn]:
    """A transaction that holds the model lock; the relay is woken when it has committed.

    One of a workspace at a time in each process: those who wait for the lock hold no connection.
    """
    async with app[MODELLERS].of(workspace_id), app[DATABASE].transaction() as conn:
        await take_lock(conn, workspace_id)
        yield conn
    outbox.wake(app)


async def tell(conn: Conn, event_type: str, workspace_id: str, part: Part, **data: Any) -> None:
    """Stage the event of a change; a deleted part is one version further than it was."""
    version = part.version + (1 if event_type.endswith(".deleted") else 0)
    await outbox.stage(
        conn,
        Event(
            type=event_type,
            source=SOURCE,
            workspace_id=workspace_id,
            subject=part.id,
            data={"id": part.id, "alias": part.alias, "version": version, **data},
        ),
    )
