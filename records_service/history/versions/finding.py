"""Finds a version of a record: by its number, or by a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from records_service.context import Context
from records_service.history.retention import store as retention
from records_service.history.versions import store
from records_service.history.versions.store import Kept, Step, TooLarge
from records_service.history.versions.walk import Snapshot, replayed, undone
from records_service.records.loading import LoadedRecord
from records_service.writes.model import Record
from shared.database import Conn
from shared.errors import NotFound, ValidationError, counted, truncated
from shared.process.offload import LARGE_BYTES, Large
from shared.timestamps import format_timestamp


async def find_version(context: Context, loaded: LoadedRecord, version: int) -> LoadedRecord:
    """The record as it was in this version, with the data model of today.

    Its values may be of attributes that the schema has lost, and of other types than today's.
    Raises `NotFound` naming the versions that there are, or `ValidationError` where what has
    changed since is more than is read for one request.
    """
    record = loaded.record
    if version == record.version:
        return loaded
    async with context.database.acquire() as conn:
        kept = await store.kept(conn, record)
        if not kept.lowest <= version <= record.version:
            raise await _missing(conn, record, kept, f"no version {version}", version)
        forward = (
            kept.lowest_entry == kept.first and version - kept.first < record.version - version
        )
        steps = await _steps(conn, record, kept, version, forward=forward)
        state_id = record.state_id
        if loaded.schema.state_moves:
            # It was read as the one to which the record will be moved.
            state_id = await store.stored_state(
                conn, record.workspace_id, record.id, record.version, state_id
            )
    size = sum(len(step.changes) for step in steps)
    is_large = isinstance(record.values, Large) or size > LARGE_BYTES
    written_at, written_by = record.created_at, record.created_by
    if forward:
        written_at, written_by = steps[-1].at, steps[-1].user_id
        snapshot = await context.run(is_large, replayed, steps)
    else:
        current = Snapshot(record.values, record.external_key, state_id)
        if version >= kept.lowest_entry:
            written_at, written_by = steps[0].at, steps[0].user_id
            steps = steps[1:]
        snapshot = await context.run(is_large, undone, current, steps)
    former = replace(
        record,
        version=version,
        values=Large(snapshot.values) if is_large else snapshot.values,
        external_key=snapshot.external_key,
        state_id=snapshot.state_id,
        updated_at=written_at,
        updated_by=written_by,
    )
    return replace(loaded, record=former, state=loaded.schema.state_of(former.state_id))


async def version_at(context: Context, record: Record, time: datetime) -> int:
    """The version that was current at this time; `NotFound` if none was, or none is known."""
    if time >= record.updated_at:
        return record.version
    if time < record.created_at:
        raise NotFound(
            f"Entity '{truncated(record.id)}' was created at {format_timestamp(record.created_at)},"
            f" after {format_timestamp(time)}"
        )
    async with context.database.acquire() as conn:
        kept = await store.kept(conn, record)
        # Times of one record never go back.
        low, high = kept.numbered - 1, record.version
        while high - low > 1:
            middle = (low + high) // 2
            at = await store.time_of(conn, record, middle)
            if at is not None and at <= time:
                low = middle
            else:
                high = middle
        if low < kept.numbered:
            low -= await store.unnumbered_later_than(conn, record, kept, time)
        if low < kept.lowest:
            what = f"no version of {format_timestamp(time)}"
            raise await _missing(conn, record, kept, what, low, is_of_a_time=True)
    return low


async def _steps(
    conn: Conn, record: Record, kept: Kept, version: int, *, forward: bool
) -> list[Step]:
    """Up to this version from the first one, or from this version up to the current one.

    The first of the latter is that of this version only if that has one.
    """
    first, last = kept.first, version
    if not forward:
        first, last = max(version, kept.lowest_entry), record.version
    if last - first >= store.ENTRIES_MAX:
        raise ValidationError.at(
            "/version",
            f"Version {version} is {counted(last - first, 'version')} away; at most"
            f" {store.ENTRIES_MAX - 1} can be gone through",
        )
    try:
        steps = await store.steps(conn, record, kept, first, last)
    except TooLarge:
        raise ValidationError.at(
            "/version",
            f"What has changed between version {first} and version {last} is too large to be"
            " gone through",
        ) from None
    if steps is None:
        # Old entries have just been removed.
        kept = await store.kept(conn, record)
        raise await _missing(conn, record, kept, f"no version {version}", version)
    return steps


async def _missing(
    conn: Conn,
    record: Record,
    kept: Kept,
    what: str,
    version: int,
    *,
    is_of_a_time: bool = False,
) -> NotFound:
    """Says which versions there are, and if this one is too old, how long history is kept."""
    lowest = min(kept.lowest, record.version)
    there = (
        f"versions {lowest} to {record.version} are"
        if lowest < record.version
        else (f"version {lowest} is")
    )
    message = f"Entity '{truncated(record.id)}' has {what}: {there} kept"
    if kept.first <= version < lowest:
        days = (await retention.find(conn, record.workspace_id)).days
        if days is not None:
            message += f"; the history is kept for {counted(days, 'day')}"
            if is_of_a_time:
                message += ", and what was current then had been written before these"
    return NotFound(message)
