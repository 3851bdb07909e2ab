"""Counts the objects and the bytes of a workspace's model, in the row that is the model lock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from shared.database import Conn


@dataclass(slots=True)
class Growth:
    """What a statement added to the model; negative where it removed more."""

    objects: int = 0
    bytes: int = 0


@asynccontextmanager
async def counted(conn: Conn, workspace_id: str) -> AsyncIterator[Growth]:
    """Add to the size of the model what the statement in this block says that it changed.

    The caller holds the model lock. The sum is stored, and not the difference added: triggers that
    count for processes of the previous version have already counted the same statement.
    """
    before = await conn.fetchrow(
        "SELECT objects, bytes FROM models WHERE workspace_id = $1", workspace_id
    )
    growth = Growth()
    yield growth
    assert before is not None
    await conn.execute(
        "UPDATE models SET objects = $2, bytes = $3 WHERE workspace_id = $1",
        workspace_id,
        before["objects"] + growth.objects,
        before["bytes"] + growth.bytes,
    )


def bytes_of_object(row: str) -> str:
    """SQL: the bytes of a row of a model object, as its limit counts them."""
    return f"octet_length({row}.id) + octet_length({row}.alias) + octet_length({row}.body::text)"
