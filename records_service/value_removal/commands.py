"""Removes the values of a deleted attribute from records, as a background job.

An attribute can be deleted when no schema has it, so nobody sees its values. If up to
`REMOVED_IN_REQUEST` records, and as many variants, are to be looked at, they are cleared in the
transaction that deletes it. More are cleared in slices, while records are written, and until then
no attribute can be created under its id: it would get the old values.

A record that is written meanwhile can get its value back: the values were read before a slice
removed it, and written after. Every write is in the history. So at the end, under the model lock,
the records that were written since the removal began are cleared once more; writes that read a
record before that are refused, because the model has a new version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from records_service.model_objects.commands import SOURCE, lock_model_shared, take_lock
from records_service.model_objects.search_store import VALUE_TABLES
from records_service.permissions.store import schemas_with_values
from records_service.progress import commands as progress
from records_service.progress.model import Counts, JobKind
from records_service.schema_walks.store import has_more
from records_service.value_removal import store
from records_service.value_removal.model import Removal
from records_service.writes import model_changes as writes
from records_service.writes import stored_claims
from shared.database import Conn
from shared.database.slice_size import SliceSize
from shared.events import EventType
from shared.identity import Identity
from shared.messaging import jobs

JOB: Final = "remove_values"
REMOVED_IN_REQUEST: Final = 1_000
"""All writes of the workspace wait for these."""
REMOVED_AT_ONCE: Final = 2_000
"""Records of one slice at most: a write of one of them waits for so long."""
WRITTEN_AT_ONCE: Final = 1_000
"""Entries of the history of one slice at most, which keeps all writes of the workspace waiting."""

_SIZE: Final = SliceSize()
_SIZE_AT_THE_END: Final = SliceSize()


async def remove_or_request(conn: Conn, identity: Identity, attribute_id: str) -> str | None:
    """Remove the values of an attribute that is being deleted, here or in the background.

    Returns the id of the job, if there is one. The caller holds the model lock.
    """
    workspace_id = identity.workspace_id
    schema_ids = await schemas_with_values(conn, workspace_id, [attribute_id])
    reserves_more = await stored_claims.reserves_more(
        conn, workspace_id, attribute_id, than=REMOVED_IN_REQUEST
    )
    if not reserves_more and not await has_more(
        conn, workspace_id, schema_ids, than=REMOVED_IN_REQUEST
    ):
        await _remove_all(conn, workspace_id, attribute_id, schema_ids)
        return None
    # Unique keys are released with the first records, so there must be a schema.
    await store.insert(conn, workspace_id, attribute_id, schema_ids)
    job_id = await progress.begin(conn, identity, JobKind.REMOVE_VALUES, attribute_id)
    await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB)
    return job_id


async def _remove_all(
    conn: Conn, workspace_id: str, attribute_id: str, schema_ids: Sequence[str]
) -> None:
    for schema_id in schema_ids:
        for table in VALUE_TABLES:
            await writes.remove_values(
                conn,
                workspace_id,
                attribute_id,
                schema_id,
                None,
                rows_max=REMOVED_IN_REQUEST + 1,
                table=table,
            )
    await stored_claims.release_some(
        conn, workspace_id, attribute_id, rows_max=REMOVED_IN_REQUEST + 1
    )


async def remove_some(conn: Conn, workspace_id: str, _key: str) -> bool:
    """One slice of the job of a workspace: attributes one after the other, the oldest first."""
    removal = await store.find_oldest(conn, workspace_id)
    if removal is None:
        return False
    if removal.schemas_done < len(VALUE_TABLES) * len(removal.schema_ids):
        await _remove_from_records(conn, workspace_id, removal)
    else:
        await _finish(conn, workspace_id, removal)
    return True


async def _remove_from_records(conn: Conn, workspace_id: str, removal: Removal) -> None:
    # With a change of the model, which may write many records too, it could deadlock.
    await lock_model_shared(conn, workspace_id)
    attribute_id = removal.attribute_id
    if await stored_claims.release_some(conn, workspace_id, attribute_id, rows_max=REMOVED_AT_ONCE):
        return
    number, place = divmod(removal.schemas_done, len(removal.schema_ids))
    async with _SIZE.of(REMOVED_AT_ONCE) as rows_max:
        step = await writes.remove_values(
            conn,
            workspace_id,
            attribute_id,
            removal.schema_ids[place],
            removal.after,
            rows_max=rows_max,
            table=VALUE_TABLES[number],
        )
    done = removal.schemas_done + (step.after is None)
    await store.update(conn, workspace_id, replace(removal, schemas_done=done, after=step.after))
    await progress.advance(
        conn,
        workspace_id,
        JobKind.REMOVE_VALUES,
        attribute_id,
        Counts(updated=step.changed, skipped=step.looked_at - step.changed),
        among=removal.schema_ids,
    )


async def _finish(conn: Conn, workspace_id: str, removal: Removal) -> None:
    """Clear the records that were written meanwhile, which the history knows.

    Under the model lock no write is under way, so no entry with a smaller id comes later; and what
    was read before is not written any more.
    """
    await take_lock(conn, workspace_id)
    async with _SIZE_AT_THE_END.of(WRITTEN_AT_ONCE) as rows_max:
        written, last = await store.written_since(
            conn, workspace_id, removal.last_change, rows_max=rows_max
        )
        for table, ids in written.items():
            if ids:
                await writes.remove_values_of(conn, workspace_id, removal.attribute_id, table, ids)
    if last is None:
        await store.delete(conn, workspace_id, removal.attribute_id)
        await progress.end(conn, workspace_id, JobKind.REMOVE_VALUES, removal.attribute_id)
    else:
        await store.update(conn, workspace_id, replace(removal, last_change=last))
