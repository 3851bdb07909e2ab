"""Moves records to the states of the workflow that their schema has got.

A binding is stored at once, its records are moved in slices (`model_changes/state_moving.py`).
Until then each record is in its new state for all who read it (`workflow_copies/moves.py`). A
record that is about to be written is moved first, so that its history tells of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from records_service.model_objects.commands import SOURCE, lock_model_shared
from records_service.workflow_copies.moves import StateMoves
from records_service.writes import model_changes as writes
from records_service.writes import state_moves_store as store
from records_service.writes.effects import now
from records_service.writes.model_changes import Step
from shared.database import Conn
from shared.database.listing import Position
from shared.events import Event, EventType
from shared.messaging import outbox

MOVED_AT_ONCE: Final = 400
"""Records of one slice at most: a write of one of them waits for so long."""


async def move_some(
    conn: Conn,
    workspace_id: str,
    schema_id: str,
    moves: StateMoves,
    user_id: str,
    after: Position | None,
    *,
    rows_max: int,
) -> Step:
    """Move the next records of a schema."""
    looked_at, ids, last = await store.unmoved_after(
        conn, workspace_id, schema_id, moves, after, rows_max=rows_max
    )
    moved = await _move(conn, workspace_id, ids, moves, user_id) if ids else 0
    return Step(looked_at, moved, last)


async def move_first(
    conn: Conn, workspace_id: str, schema_id: str, record_ids: Sequence[str]
) -> bool:
    """Move those of these records of a schema that are not moved yet; whether there were any.

    In a transaction. Whoever read one before has to read it again.
    """
    await lock_model_shared(conn, workspace_id)
    moving = await store.find(conn, workspace_id, schema_id)
    if moving is None:
        return False
    return await _move(conn, workspace_id, record_ids, moving.moves, moving.user_id) > 0


async def _move(
    conn: Conn, workspace_id: str, record_ids: Sequence[str], moves: StateMoves, user_id: str
) -> int:
    moved = await writes.move_to_states(conn, workspace_id, record_ids, moves, user_id, at=now())
    events = [
        Event(
            type=EventType.ENTITY_TRANSITION,
            source=SOURCE,
            workspace_id=workspace_id,
            subject=record.id,
            data={
                "entityId": record.id,
                "schemaId": record.schema_id,
                "version": record.version,
                "lifecycleStateId": record.to_state_id,
                "userId": user_id,
                "changes": [],
                "fromStateId": record.from_state_id,
                "toStateId": record.to_state_id,
                "comment": None,
            },
        )
        for record in moved
    ]
    if events:
        await outbox.stage(conn, *events)
    return len(events)
