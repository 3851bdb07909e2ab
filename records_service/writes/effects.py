"""What a write leaves behind besides the record: an entry of the history and an event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from records_service.model_objects.commands import SOURCE
from records_service.writes.changes import Change
from records_service.writes.model import Record, Variant, VariantsDelete, Write
from shared.database import to_json
from shared.events import Event, EventType
from shared.identity import Identity
from shared.messaging import outbox

Changes = Sequence[Change] | bytes
"""What a write changes; `bytes` are JSON already."""
_EVENT_HEAD_BYTES: Final = 16 << 10
"""More than an event has beside its changes."""


def check_create(record: Record, changes: bytes) -> None:
    """Raise `PayloadTooLarge` for a new record whose event no broker takes."""
    if len(changes) + _EVENT_HEAD_BYTES > outbox.EVENT_BYTES_MAX:
        outbox.arrays([event_of_create(record, changes)])


def event_of_create(record: Record, changes: bytes) -> Event:
    """The event of a new record, as the statement that stores it makes it."""
    at = record.created_at
    return _event(EventType.ENTITY_CREATED, record.created_by, record, changes, at)


def check_update(write: Write) -> None:
    """Raise `PayloadTooLarge` for an update whose event no broker takes."""
    if len(write.changes) + _EVENT_HEAD_BYTES > outbox.EVENT_BYTES_MAX:
        outbox.arrays([write.event])


def update_of(identity: Identity, record: Record, changes: Changes) -> Write:
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
    step: dict[str, Any] = {
        "fromStateId": from_state_id,
        "toStateId": record.state_id,
        "comment": comment,
    }
    return Write(
        action="transition",
        user_id=identity.id,
        at=record.updated_at,
        changes=b"[]",
        event=_event(
            EventType.ENTITY_TRANSITION, identity.id, record, b"[]", record.updated_at, **step
        ),
        from_state_id=from_state_id,
        to_state_id=record.state_id,
        comment=comment,
    )


def variant_create_of(
    identity: Identity, record: Record, variant: Variant, changes: Sequence[Change]
) -> Write:
    """The effects of the creation of a variant."""
    at, event_type = variant.created_at, EventType.VARIANT_CREATED
    return _write_of("create", event_type, identity, record, changes, at, variant)


def variant_update_of(
    identity: Identity, record: Record, variant: Variant, changes: Sequence[Change]
) -> Write:
    """The effects of an update of a variant, which is as it is afterwards."""
    at, event_type = variant.updated_at, EventType.VARIANT_UPDATED
    return _write_of("update", event_type, identity, record, changes, at, variant)


def variants_delete_of(
    identity: Identity, record: Record, aliases: Sequence[tuple[str, str]], at: datetime
) -> VariantsDelete:
    """The effects of the deletion of variants of this record; `aliases` as in `VariantsDelete`."""
    event = _event(EventType.VARIANT_DELETED, identity.id, record, b"[]", at)
    return VariantsDelete(record.schema_id, identity.id, at, event.to_json(), aliases)


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
    changes: Changes,
    at: datetime,
    variant: Variant | None = None,
) -> Write:
    changes_json = to_json(changes)
    return Write(
        action=action,
        user_id=identity.id,
        at=at,
        changes=changes_json,
        event=_event(event_type, identity.id, record, changes_json, at, variant),
    )


def _event(
    event_type: str,
    user_id: str,
    record: Record,
    changes_json: bytes,
    at: datetime,
    variant: Variant | None = None,
    **more: Any,
) -> Event:
    of_variant = {} if variant is None else _variant_fields(variant)
    return Event(
        type=event_type,
        source=SOURCE,
        workspace_id=record.workspace_id,
        subject=record.id if variant is None else variant.id,
        data={
            "entityId": record.id,
            **of_variant,
            "schemaId": record.schema_id,
            "version": record.version if variant is None else variant.version,
            "lifecycleStateId": record.state_id,
            "userId": user_id,
            "changes": orjson.Fragment(changes_json),
            **more,
        },
        time=at,
    )


def _variant_fields(variant: Variant) -> dict[str, str]:
    """What events tell of a variant beside its record."""
    return {"variantId": variant.id, "parentId": variant.parent_id or variant.record_id}
