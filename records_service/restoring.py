"""What records_service does when its database was restored (shared/database/restored.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from records_service.feed import positions
from records_service.model_objects.commands import SOURCE
from records_service.permissions import store as permissions
from records_service.workflow_copies import store as workflow_copies
from shared.database import Conn
from shared.database.incarnations import Incarnation
from shared.events import Event, EventType
from shared.messaging import jobs, outbox
from shared.timestamps import format_timestamp

TOLD_AT_ONCE: Final = 500


async def repair(conn: Conn, begun: Incarnation) -> Sequence[str]:
    """Doubt the copies of roles and workflows, give jobs their turns, tell who follows records."""
    await permissions.doubt_all(conn)
    await workflow_copies.doubt_all(conn)
    await jobs.lose_messages(conn)
    told = await _tell(conn, begun)
    return [
        f"workspaces that are told of it ({EventType.RECORDS_RESTORED}): {told}",
        (
            "tell the events of the last hour again when all run:"
            " python -m records_service.feed.telling_again --since <one hour before the backup>"
        ),
    ]


async def _tell(conn: Conn, begun: Incarnation) -> int:
    """Tell each workspace up to when its changes are still there."""
    restored_at = begun.begun_at
    told, after = 0, ""
    while ends := await positions.last_changes(conn, after, TOLD_AT_ONCE):
        for after, kept_until in ends:
            data = {
                "version": begun.number,
                "keptUntil": None if kept_until is None else format_timestamp(kept_until),
                "restoredAt": format_timestamp(restored_at),
            }
            event = Event(EventType.RECORDS_RESTORED, SOURCE, after, after, data, time=restored_at)
            await outbox.stage(conn, event)
        told += len(ends)
    return told
