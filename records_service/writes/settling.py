"""Stores in each record what a conversion has made of its values, with history and events.

From one moment on the converted values hold for all who read (`model_objects/converted_values.py`).
A job stores them in the records, a slice at a time (`conversions/commands.py`). A record that is
about to be written is done first, so that its history tells of both. Neither the index nor reserved
values change with it: what is read stays the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from records_service.model_objects.commands import lock_model_shared
from records_service.values.entries import Entries, Values
from records_service.writes import batches, effects, variant_batches
from records_service.writes import settling_store as store
from records_service.writes.changes import entry_changes, patch
from records_service.writes.model import PendingUpdate
from records_service.writes.settling_store import Settling
from records_service.writes.state_moves import move_first
from records_service.writes.variant_batches import PendingVariantUpdate
from shared.database import Conn
from shared.database import Record as Row
from shared.database.pieces import Room
from shared.database.slice_size import SliceSize
from shared.identity import Identity
from shared.process.offload import in_thread

SETTLED_AT_ONCE: Final = 250
"""Records or variants of one slice at most: a write of one of them waits for so long."""
_SIZE: Final = SliceSize()


async def settle_some(conn: Conn, workspace_id: str, one: Settling) -> bool:
    """Store what holds in the next records or variants; whether there were any.

    The caller holds the model lock, at least shared.
    """
    async with _SIZE.of(SETTLED_AT_ONCE) as rows_max:
        records, variant_ids = await store.unsettled(
            conn, workspace_id, one.attribute_id, rows_max=rows_max
        )
        return await _settle(conn, workspace_id, one, records, variant_ids)


async def settle_first(conn: Conn, workspace_id: str, record_ids: Sequence[str]) -> bool:
    """Do it for those of these records, and of their variants, that are not done.

    Returns whether there were any: who read one before has to read it again. In a transaction.
    """
    await lock_model_shared(conn, workspace_id)
    one = await store.find(conn, workspace_id)
    if one is None:
        return False
    found = await store.among(conn, workspace_id, one.attribute_id, record_ids)
    return await _settle(conn, workspace_id, one, *found)


async def _settle(
    conn: Conn,
    workspace_id: str,
    one: Settling,
    records: Sequence[tuple[str, str]],
    variant_ids: Sequence[str],
) -> bool:
    if not records and not variant_ids:
        return False
    version = await store.model_version(conn, workspace_id)
    for schema_id in sorted({schema_id for _, schema_id in records}):
        # Records are taken to the states of their workflow first, as before every write.
        ids = [record_id for record_id, of in records if of == schema_id]
        await move_first(conn, workspace_id, schema_id, ids)
    room = Room(SETTLED_AT_ONCE)
    record_ids = [record_id for record_id, _ in records]
    async for rows in store.lock_records(
        conn, workspace_id, one.attribute_id, record_ids, room=room
    ):
        pending, same = await in_thread(_record_updates, one, rows)
        if pending:
            await batches.update_many(conn, pending, model_version=version)
        if same:
            await store.clear(conn, workspace_id, same, ())
    async for rows in store.lock_variants(
        conn, workspace_id, one.attribute_id, variant_ids, room=room
    ):
        of_variants, same = await in_thread(_variant_updates, one, rows)
        if of_variants:
            await variant_batches.update_many(conn, of_variants, model_version=version)
        if same:
            await store.clear(conn, workspace_id, (), same)
    return True


def _record_updates(one: Settling, rows: Sequence[Row]) -> tuple[list[PendingUpdate], list[str]]:
    pending, same = [], []
    for row in rows:
        record, entries = store.record_of(row)
        changes = entry_changes(
            one.attribute_id, one.alias, record.values.get(one.attribute_id, []), entries
        )
        if not changes:
            same.append(record.id)
            continue
        values = _converted(record.values, one.attribute_id, entries)
        changed = dataclasses.replace(
            record,
            values=values,
            version=record.version + 1,
            updated_at=effects.now(record.updated_at),
            updated_by=one.user_id,
        )
        write = effects.update_of(_identity(one, record.workspace_id), changed, changes)
        pending.append(PendingUpdate(changed, *patch(record.values, values), [], [], write))
    return pending, same


def _variant_updates(
    one: Settling, rows: Sequence[Row]
) -> tuple[list[PendingVariantUpdate], list[str]]:
    pending, same = [], []
    for row in rows:
        record, variant, entries = store.variant_of(row)
        changes = entry_changes(
            one.attribute_id, one.alias, variant.values.get(one.attribute_id, []), entries
        )
        if not changes:
            same.append(variant.id)
            continue
        changed = dataclasses.replace(
            variant,
            values=_converted(variant.values, one.attribute_id, entries),
            version=variant.version + 1,
            updated_at=effects.now(variant.updated_at),
            updated_by=one.user_id,
        )
        identity = _identity(one, record.workspace_id)
        write = effects.variant_update_of(identity, record, changed, changes)
        pending.append(PendingVariantUpdate(record, changed, write))
    return pending, same


def _converted(values: Values, attribute_id: str, entries: Entries) -> dict[str, Entries]:
    rest = {name: held for name, held in values.items() if name != attribute_id}
    return {**rest, attribute_id: entries} if entries else rest


def _identity(one: Settling, workspace_id: str) -> Identity:
    return Identity("user", one.user_id, workspace_id)
