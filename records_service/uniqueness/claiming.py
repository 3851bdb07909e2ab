"""Reserves the values that records and variants hold already, and says who stands against it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from records_service.attributes.model import Attribute
from records_service.attributes.unique_keys import Holder, UniqueKey, unique_keys_held
from records_service.progress.model import Counts, Sample
from records_service.schema_walks.model import Walk
from records_service.schema_walks.store import Written, entries_of, next_entries
from records_service.uniqueness.model import Check, Phase
from records_service.writes import stored_claims
from records_service.writes.stored_claims import Refused
from shared.database import Conn, Record
from shared.database.pieces import Room
from shared.errors import truncated
from shared.process.offload import in_thread

REASON_OF_SAMPLE: Final = "Has the same value as"

Keys = Sequence[tuple[Holder, UniqueKey]]


async def claim_next(
    conn: Conn, workspace_id: str, attribute: Attribute, check: Check, *, room: Room
) -> tuple[Check, Counts, list[Refused]]:
    """Reserve the values of the next records or variants of one schema; how far it is then.

    PostgreSQL reads and stores, a thread hashes. After the last the phase is `SETTLING`.
    """
    if check.walk.is_over:
        return replace(check, phase=Phase.SETTLING), Counts(), []
    rows, walk = await next_entries(conn, workspace_id, check.walk, attribute.id, room=room)
    keys, having = await in_thread(_keys, attribute, rows)
    refused = await _claim(conn, workspace_id, attribute, keys)
    failed = len({one.asker for one in refused})
    check = replace(
        check,
        phase=Phase.SETTLING if walk.is_over else Phase.CLAIMING,
        walk=walk,
        duplicates=check.duplicates + failed,
    )
    counts = Counts(unchanged=having - failed, skipped=len(rows) - having, failed=failed)
    return check, counts, refused


async def keys_of_next(
    conn: Conn, workspace_id: str, attribute: Attribute, walk: Walk, *, room: Room
) -> tuple[Keys, int, Walk]:
    """What the next records or variants would reserve, how many they are, and the walk then."""
    rows, walk = await next_entries(conn, workspace_id, walk, attribute.id, room=room)
    keys, _ = await in_thread(_keys, attribute, rows)
    return keys, len(rows), walk


async def claim_again(
    conn: Conn, workspace_id: str, attribute: Attribute, written: Written, *, room: Room
) -> list[Refused]:
    """Let what was written have reserved what it holds now, and nothing else."""
    variant_ids = [variant_id for _, variant_id in written.variants]
    keys: list[tuple[Holder, UniqueKey]] = []
    async for rows in entries_of(
        conn, workspace_id, attribute.id, written.records, variant_ids, room=room
    ):
        keys += (await in_thread(_keys, attribute, rows))[0]
    await stored_claims.release_others(
        conn, workspace_id, attribute.id, keys, written.records, written.variants
    )
    return await _claim(conn, workspace_id, attribute, keys)


async def claim_all(conn: Conn, workspace_id: str, attribute: Attribute, keys: Keys) -> None:
    """Reserve these, of which no two are the same. The caller holds the model lock."""
    await stored_claims.claim(conn, workspace_id, attribute.id, keys)


def samples_of(refused: Sequence[Refused]) -> list[Sample]:
    """What clients are told of those that stand against it."""
    return [
        Sample(one.record_id, f"{REASON_OF_SAMPLE} '{truncated(one.holder)}'", one.variant_id)
        for one in refused
    ]


async def _claim(conn: Conn, workspace_id: str, attribute: Attribute, keys: Keys) -> list[Refused]:
    """Reserve what is held; who could not, because another one holds the same value.

    A write that began before a value was reserved for its record does not see that, and gives up
    the value without releasing it. So whoever has reserved a value is looked at: one that does not
    hold it leaves it to the next. And records are written meanwhile: who could not reserve a value
    is looked at again, at the same moment, and may hold another one by now.
    """
    if not keys:
        return []
    refused = await stored_claims.claim(conn, workspace_id, attribute.id, keys)
    if not refused:
        return []
    both = [one.holding for one in refused] + [one.asking for one in refused]
    real = await _held_now(conn, workspace_id, attribute, both)
    found: list[Refused] = []
    heirs: dict[tuple[str, bytes], Refused] = {}
    for one in refused:
        value = (one.scope, one.value_hash)
        if (one.asking, *value) not in real:
            continue
        if (one.holding, *value) in real:
            found.append(one)
            continue
        heir = heirs.setdefault(value, one)
        if heir is not one:
            record_id, variant_id = heir.asking
            found.append(replace(one, holding_record_id=record_id, holding_variant_id=variant_id))
    if heirs:
        await stored_claims.take_over(conn, workspace_id, attribute.id, heirs.values())
    return found


async def _held_now(
    conn: Conn, workspace_id: str, attribute: Attribute, holders: Iterable[Holder]
) -> set[tuple[Holder, str, bytes]]:
    """What these hold, each with scope and hash."""
    holders = set(holders)
    held: set[tuple[Holder, str, bytes]] = set()
    async for rows in entries_of(
        conn,
        workspace_id,
        attribute.id,
        {record_id for record_id, variant_id in holders if variant_id is None},
        {variant_id for _, variant_id in holders if variant_id is not None},
        room=Room(len(holders)),
    ):
        keys, _ = await in_thread(_keys, attribute, rows)
        held.update((holder, key.scope, key.value_hash) for holder, key in keys)
    return held


def _keys(attribute: Attribute, rows: Sequence[Record]) -> tuple[Keys, int]:
    """What these reserve, and how many of them have a value."""
    held = [
        ((row["record_id"], row["variant_id"]), row["entries"])
        for row in rows
        if row["entries"] is not None
    ]
    return unique_keys_held(attribute, held), len(held)
