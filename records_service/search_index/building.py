"""Enters the records of schemas into the search index anew, as a background job.

What the index holds of a record follows from its values and from the model. So a change of the
model that adds attributes to the index, or takes some out, begins a build of each schema concerned.
From that version of the model on every write of a record enters it as the new version has it; the
job of the workspace enters all other records, in the order of their creation, and changes only rows
that differ. It locks the records of a slice, so nothing is written in between. What waited for that
does not see the rows of the slice; records that were changed or deleted meanwhile are noted, and
entered again: when they are few, while nothing is written (`parts.noted`).

Searches use the index for an attribute only while no build is needed for it. That changes together
with the version of the model, so a process knows it as soon as it knows the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import orjson

from records_service.attributes.model import ATTRIBUTE, Attribute, is_filterable
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import (
    SOURCE,
    index_records,
    lock_model,
    lock_model_shared,
    take_lock,
)
from records_service.model_objects.model import ModelObject
from records_service.progress import commands as progress
from records_service.progress.model import NOBODY, Counts, JobKind, JobStatus
from records_service.schema_walks.store import next_ids
from records_service.schemas.model import SCHEMA, Schema
from records_service.search_index import store
from records_service.search_index.changes import IndexChange
from records_service.search_index.parts import Held
from records_service.search_index.store import Entered, Found
from records_service.search_index.terms import Plan, form_of, indexed, number_lists, plan_of
from shared.database import Conn
from shared.database.pieces import Room
from shared.database.slice_size import SliceSize
from shared.events import EventType
from shared.messaging import jobs
from shared.process.offload import in_thread

JOB: Final = "build_search_index"
CHANGED: Final = "The data model has changed, and the index is built anew"
ENTERED_AT_ONCE: Final = 500
"""Records of one slice at most: a write of one of them waits for so long."""
ENTERED_AT_THE_END: Final = 50
"""Records of the last slice, which keeps all writes of the workspace waiting."""

_SIZE: Final = SliceSize()
_NOTHING: Final = Entered(None, None, None, ())


async def attribute_changed(
    conn: Conn,
    workspace_id: str,
    before: ModelObject,
    after: ModelObject,
    *,
    is_converted: bool = False,
) -> None:
    """Begin what a new definition of an attribute asks for. The caller holds the model lock.

    `is_converted` says that records have other values of it now.
    """
    old, new = Attribute.parse(before), Attribute.parse(after)
    if form_of(old) == form_of(new) and not (is_converted and new.filterable):
        return
    if not new.filterable:
        await store.forget_attribute(conn, workspace_id, new.id)
    schema_ids = await store.schemas_having(conn, workspace_id, new.id)
    await _rebuild(conn, workspace_id, schema_ids, [new.id] if new.filterable else [])


async def schema_changed(
    conn: Conn, workspace_id: str, schema_id: str, before: Collection[str], after: Collection[str]
) -> None:
    """Begin what other attributes of a schema ask for. The caller holds the model lock.

    A schema that has lost attributes is built as well: so what they left in the index goes.
    """
    differing = set(before) ^ set(after)
    found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, differing)
    filterable = {each for each in found if is_filterable(found[each].body)}
    if filterable:
        await _rebuild(conn, workspace_id, [schema_id], sorted(filterable & set(after)))


async def schema_deleted(conn: Conn, workspace_id: str, schema_id: str) -> None:
    """No record has the schema. The caller holds the model lock."""
    waiting = await store.delete(conn, workspace_id, schema_id)
    await store.set_ready(conn, workspace_id, waiting)


async def attribute_deleted(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """No schema has the attribute, so its rows are gone, or a build removes them."""
    await store.forget_attribute(conn, workspace_id, attribute_id)


async def enroll(conn: Conn, workspace_id: str) -> bool:
    """Begin the index of a workspace that has none; False if it has one already.

    The first statement of a transaction. No attribute is ready before every record is entered.
    """
    await take_lock(conn, workspace_id)
    if not await index_records(conn, workspace_id):
        return False
    filterable = await store.filterable_attributes(conn, workspace_id)
    await _rebuild(conn, workspace_id, await store.all_schemas(conn, workspace_id), filterable)
    return True


async def build_some(conn: Conn, workspace_id: str, _key: str) -> bool:
    """One slice of the job of a workspace; whether more is left."""
    building = await store.builds(conn, workspace_id)
    if not building:
        await progress.end(conn, workspace_id, JobKind.BUILD_INDEX, NOBODY)
        return False
    build = building[0]
    few = ENTERED_AT_THE_END
    if build.is_done and not await store.has_written(
        conn, workspace_id, build.schema_id, more_than=few
    ):
        await _finish(conn, workspace_id, build.schema_id)
        return True
    # A change of the model waits for the slice, so that what is entered stays true.
    await lock_model_shared(conn, workspace_id)
    if build not in await store.builds(conn, workspace_id):
        return True
    async with _SIZE.of(ENTERED_AT_ONCE) as rows_max:
        if build.is_done:
            await _enter_written(conn, workspace_id, build.schema_id, rows_max=rows_max)
            return True
        plan = await _plan(conn, workspace_id, build.schema_id)
        ids, walk = await next_ids(conn, workspace_id, build.walk, room=Room(rows_max))
        entered, changed = await _enter(conn, workspace_id, plan, ids)
    await store.update(conn, workspace_id, build.schema_id, walk)
    if not walk.is_over:
        await progress.begin_unasked(conn, workspace_id, JobKind.BUILD_INDEX)
    await progress.advance(
        conn,
        workspace_id,
        JobKind.BUILD_INDEX,
        NOBODY,
        Counts(updated=changed, unchanged=len(entered) - changed),
        among=[each.schema_id for each in building],
        tables=("records",),
    )
    return True


async def _rebuild(
    conn: Conn, workspace_id: str, schema_ids: Iterable[str], attribute_ids: Sequence[str]
) -> None:
    """Build these schemas from their first record on; these attributes wait for it."""
    if not await store.is_indexed(conn, workspace_id):
        return
    waiting = {
        build.schema_id: set(build.attribute_ids)
        for build in await store.builds(conn, workspace_id)
    }
    wanted = {each: waiting.get(each, set()) | set(attribute_ids) for each in schema_ids}
    if await store.start(conn, workspace_id, wanted):
        await progress.end(
            conn, workspace_id, JobKind.BUILD_INDEX, NOBODY, JobStatus.CANCELLED, CHANGED
        )
        await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB)
    await store.set_ready(conn, workspace_id, attribute_ids)


async def _finish(conn: Conn, workspace_id: str, schema_id: str) -> None:
    """Enter what was written meanwhile. Then searches use the index for what waited for this alone.

    The last slice raises the version of the model: whoever read a record before begins again. A
    slice of its own, because its lock must be the first of the transaction.
    """
    await lock_model(conn, workspace_id)
    building = {build.schema_id: build for build in await store.builds(conn, workspace_id)}
    if schema_id not in building or not building[schema_id].is_done:
        return
    # No more than were counted before the lock, but for those of the moment in between.
    if await store.has_written(conn, workspace_id, schema_id, more_than=2 * ENTERED_AT_THE_END):
        return
    await _enter_written(conn, workspace_id, schema_id, rows_max=2 * ENTERED_AT_THE_END)
    await take_lock(conn, workspace_id)
    waiting = await store.delete(conn, workspace_id, schema_id)
    await store.set_ready(conn, workspace_id, waiting)


async def _enter_written(conn: Conn, workspace_id: str, schema_id: str, *, rows_max: int) -> None:
    """Enter some of what was written meanwhile; who writes it again notes it again."""
    written = await store.written(conn, workspace_id, schema_id, rows_max=rows_max)
    plan = await _plan(conn, workspace_id, schema_id)
    left, _ = await _enter(conn, workspace_id, plan, [record_id for _, record_id in written])
    await store.remove(conn, workspace_id, [each for each in written if each not in left])
    await store.forget_written(conn, workspace_id, schema_id, written)


async def _plan(conn: Conn, workspace_id: str, schema_id: str) -> Plan:
    schema = Schema.parse(await model_objects.get(conn, SCHEMA, workspace_id, schema_id))
    found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, schema.attribute_ids)
    filterable = [each for each in found.values() if is_filterable(each.body)]
    return await in_thread(
        lambda: plan_of(workspace_id, schema_id, map(Attribute.parse, filterable))
    )


async def _enter(
    conn: Conn, workspace_id: str, plan: Plan, record_ids: Sequence[str]
) -> tuple[set[tuple[datetime, str]], int]:
    """Enter those of these records that are there.

    Returns when they were created and their ids, and in how many the index has changed.
    """
    entered: set[tuple[datetime, str]] = set()
    changed = 0
    async for records in store.lock_records(conn, workspace_id, record_ids):
        known = await store.entered(conn, workspace_id, [each.held for each in records])
        changes = await in_thread(_changes, plan, records, known)
        if changes:
            await store.enter(conn, workspace_id, changes)
        changed += len(changes)
        entered.update((each.held.created_at, each.held.id) for each in records)
    return entered, changed


def _changes(
    plan: Plan, records: Sequence[Found], known: Mapping[str, Entered]
) -> list[tuple[Held, IndexChange]]:
    """What differs between what the index has of records and what it is to have."""
    changes = []
    for held, document in records:
        entry = indexed(plan, held.id, orjson.loads(document))
        has = known.get(held.id, _NOTHING)
        kept = {tuple(number) for *number, state_id in has.numbers if state_id == held.state_id}
        places = {(key, place) for key, place, _ in entry.numbers}
        numbers = [each for each in entry.numbers if each not in kept]
        gone = [(key, place) for key, place, _, _ in has.numbers if (key, place) not in places]
        is_kept = (
            has.terms == entry.terms
            and has.state_id == held.state_id
            and has.number_lists == number_lists(entry.numbers)
        )
        if numbers or gone or not is_kept:
            changes.append(
                (held, IndexChange(entry.bucket, entry.terms, numbers, gone, entry.numbers))
            )
    return changes
