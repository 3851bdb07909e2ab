"""What a write leaves behind besides the record: an entry of the history and an event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from records_service.model_objects.commands import SOURCE
from records_service.writes.changes import Change
from records_service.writes.model import Record, Write
from shared.events import Event, EventType
from shared.identity import Identity


def create_of(identity: Identity, record: Record, changes: Sequence[Change]) -> Write:
    """The effects of a create."""
    return _write_of(
        "create", EventType.ENTITY_CREATED, identity, record, changes, record.created_at
    )


def update_of(identity: Identity, record: Record, changes: Sequence[Change]) -> Write:
    """The effects of an update; the record is as it is afterwards."""
    return _write_of(
        "update", EventType.ENTITY_UPDATED, identity, record, changes, record.updated_at
    )


def delete_of(identity: Identity, record: Record, changes: Sequence[Change]) -> Write:
    """The effects of a delete; the record has the version that follows its last one."""
    at = now(record.updated_at)
    return _write_of("delete", EventType.ENTITY_DELETED, identity, record, changes, at)


def transition_of(
    identity: Identity, record: Record, from_state_id: str | None, comment: str | None
) -> Write:
    """The effects of a transition; the record is in its new state."""
    step = {"fromStateId": from_state_id, "toStateId": record.state_id, "comment": comment}
    return Write(
        action="transition",
        user_id=identity.id,
        at=record.updated_at,
        changes=b"[]",
        event=_event(
            EventType.ENTITY_TRANSITION, identity, record, b"[]", record.updated_at, **step
        ),
        from_state_id=from_state_id,
        to_state_id=record.state_id,
        comment=comment,
    )


def now(last: datetime | None = None) -> datetime:
    """The clock in milliseconds, which is what the API shows; `last` if the clock is behind it.

    The clocks of processes differ, and the times of one record must not go back: the history is in
    their order.
    """
    time = datetime.now(UTC)
    time = time.replace(microsecond=time.microsecond // 1000 * 1000)
    return time if last is None else max(time, last)


def _write_of(
    action: str,
    event_type: str,
    identity: Identity,
    record: Record,
    changes: Sequence[Change],
    at: datetime,
) -> Write:
    changes_json = orjson.dumps(changes)
    return Write(
        action=action,
        user_id=identity.id,
        at=at,
        changes=changes_json,
        event=_event(event_type, identity, record, changes_json, at),
    )


def _event(
    event_type: str,
    identity: Identity,
    record: Record,
    changes_json: bytes,
    at: datetime,
    **more: Any,
) -> Event:
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=record.workspace_id,
        subject=record.id,
        data={
            "entityId": record.id,
            "schemaId": record.schema_id,
            "version": record.version,
            "lifecycleStateId": record.state_id,
            "userId": identity.id,
            "changes": orjson.Fragment(changes_json),
            **more,
        },
        time=at,
    )
