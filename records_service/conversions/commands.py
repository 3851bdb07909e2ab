"""Converts the stored values of an attribute to another type, as a background job.

The job goes through all values, slice by slice, and stores beside each what it will be; what cannot
be converted is counted, and told by samples. What was written meanwhile is prepared afterwards, the
last of it under the model lock. In the same transaction the attribute gets its new type and what is
prepared becomes what holds (`model_objects/converted_values.py`): everybody sees the old type
before it, and the new one after it, and what clients see of the job has ended. Then the values are
stored in each record, with an entry of its history and an event (`writes/settling.py`). Writes wait
for a slice at a time (docs/adr/0068).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Final

import asyncpg

from records_service.attributes import store as attributes
from records_service.attributes.model import ATTRIBUTE
from records_service.context import Context
from records_service.conversions import converting, store
from records_service.conversions.converting import Prepared
from records_service.conversions.forms import asked_form, form_of, is_unique
from records_service.conversions.model import Conversion, ConversionDraft, OnFailure, Phase
from records_service.conversions.rules import new_body
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import (
    SOURCE,
    let_hold,
    lock_model,
    lock_model_shared,
    model_change,
    stage_event,
    take_lock,
)
from records_service.model_objects.model import ModelObject
from records_service.model_objects.search_store import VALUE_TABLES
from records_service.option_lists.model import OPTION_LIST
from records_service.permissions.reach import check_writable
from records_service.permissions.store import schemas_with_values
from records_service.progress import commands as progress
from records_service.progress.model import Counts, Job, JobKind, JobStatus
from records_service.schema_walks.looking_back import lock, look_back
from records_service.schema_walks.model import Meanwhile, Walk
from records_service.schema_walks.store import Written, entries_of, last_change, next_entries
from records_service.search_index import building
from records_service.search_scores import store as search_scores
from records_service.search_texts import store as search_texts
from records_service.writes import settling_store
from records_service.writes.settling import settle_some
from shared.database import Conn
from shared.database.pieces import Room
from shared.database.slice_size import SliceSize
from shared.errors import Conflict, truncated
from shared.events import EventType
from shared.messaging import jobs

JOB: Final = "convert"
PREPARED_AT_ONCE: Final = 500
"""Records or variants of one slice at most: a write of one that has a value waits for so long."""
CHANGED: Final = "The attribute was changed meanwhile"
REFUSED: Final = (
    "Nothing was converted: there are values that cannot be. Correct them, or convert with"
    " 'onFailure': 'drop'"
)

_SIZE: Final = SliceSize()
_LOOKED_AT: Final = SliceSize()


async def begin(context: Context, attribute_id: str, draft: ConversionDraft) -> Job:
    """Begin the job that converts an attribute.

    Raises `NotFound`, `ValidationError` for what it cannot be converted to, `PermissionDenied`
    unless the role may write its values wherever there are any, and `Conflict` while it is unique
    or being converted, or a guard compares its values.
    """
    workspace_id = context.workspace_id
    async with model_change(context.app, workspace_id) as conn:
        old = await model_objects.get(conn, ATTRIBUTE, workspace_id, attribute_id)
        context.check_version(ATTRIBUTE.title, old.id, old.version)
        form = await asked_form(conn, workspace_id, old, draft)
        await check_writable(
            conn,
            workspace_id,
            context.role,
            [attribute_id],
            "/type",
            "This converts values that your role may not write",
        )
        await _check_convertible(conn, workspace_id, old)
        await store.insert(
            conn,
            workspace_id,
            Conversion(
                attribute_id,
                context.identity.id,
                form,
                form_of(old),
                draft.on_failure is OnFailure.DROP,
                Phase.PREPARING,
                Walk(await schemas_with_values(conn, workspace_id, [attribute_id])),
                Meanwhile(await last_change(conn, workspace_id)),
            ),
        )
        job_id = await progress.begin(
            conn, context.identity, JobKind.CONVERT, attribute_id, job_id=draft.id
        )
        await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB, attribute_id)
        return await progress.get(context, conn, job_id)


async def cancel(conn: Conn, workspace_id: str, attribute_id: str, reason: str) -> None:
    """Convert nothing, if a conversion goes on. The caller holds the model lock.

    What was converted already, and is only not stored in each record yet, is forgotten as well: so
    that is for an attribute that is being deleted.
    """
    one = await store.find(conn, workspace_id, attribute_id)
    if one is not None and one.phase is not Phase.FORGETTING:
        if one.phase in (Phase.SETTLING, Phase.FINISHING):
            await let_hold(conn, workspace_id, None)
        await _forget(conn, workspace_id, one, JobStatus.CANCELLED, reason)


async def convert_some(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """One slice of the job of an attribute; whether more is left."""
    one = await store.find(conn, workspace_id, attribute_id)
    if one is None:
        return False
    # Before anything else is locked: whoever changes the model begins with this lock.
    match one.phase:
        case Phase.SWITCHING:
            await lock(one.meanwhile)(conn, workspace_id)
        case Phase.FINISHING:
            await lock_model(conn, workspace_id)
        case _:
            await lock_model_shared(conn, workspace_id)
    if await store.find(conn, workspace_id, attribute_id) != one:
        return True
    try:
        async with conn.transaction():
            return await _SLICES[one.phase](conn, workspace_id, one)
    except _Failed as failed:
        await _forget(conn, workspace_id, one, JobStatus.FAILED, str(failed))
    except asyncpg.DeadlockDetectedError:
        # A write may hold a record that this waits for, and wait for another that this holds.
        pass
    return True


async def _prepare(conn: Conn, workspace_id: str, one: Conversion) -> bool:
    """Prepare the next values; what cannot be converted is told."""
    old = await _unchanged(conn, workspace_id, one)
    if not one.walk.done and one.walk.after is None:
        # A process of an earlier version may have left something else there.
        await store.forget_faults(conn, workspace_id, one.attribute_id)
    walk = one.walk
    if not walk.is_over:
        async with _SIZE.of(PREPARED_AT_ONCE) as rows_max:
            rows, walk = await next_entries(
                conn, workspace_id, walk, one.attribute_id, room=Room(rows_max)
            )
            prepared = await converting.prepare(conn, workspace_id, old, one, rows, clears=False)
        await store.note_faults(
            conn, workspace_id, one.attribute_id, prepared.faulty, prepared.faulty
        )
        enough = await progress.advance(
            conn,
            workspace_id,
            JobKind.CONVERT,
            one.attribute_id,
            prepared.counts,
            prepared.samples,
            among=one.walk.schema_ids,
        )
        if (enough or walk.is_over) and await _is_refused(conn, workspace_id, one):
            return True
    phase = Phase.SWITCHING if walk.is_over else Phase.PREPARING
    await store.update(conn, workspace_id, dataclasses.replace(one, walk=walk, phase=phase))
    return True


async def _switch(conn: Conn, workspace_id: str, one: Conversion) -> bool:
    """Prepare what was written meanwhile. In the last slice, the new type holds for all values."""
    old = await _unchanged(conn, workspace_id, one)
    if one.meanwhile.until is None and await store.is_settling(conn, workspace_id):
        # One after the other: a write that stores one of them would forget the other.
        return True
    async with look_back(conn, workspace_id, one.meanwhile, _LOOKED_AT) as look:
        await _prepare_again(conn, workspace_id, old, one, look.written)
    one = dataclasses.replace(one, meanwhile=look.left)
    if not look.is_last:
        await store.update(conn, workspace_id, one)
        return True
    if await _is_refused(conn, workspace_id, one):
        return True
    await take_lock(conn, workspace_id)
    changed = await model_objects.update(
        conn, ATTRIBUTE, workspace_id, old.id, old.alias, new_body(old.body, one.form)
    )
    await building.attribute_changed(conn, workspace_id, old, changed, is_converted=True)
    # All texts are indexed anew: what is a text now need not have changed.
    await search_texts.forget_attribute(conn, workspace_id, old.id)
    # What is dropped is missing from now on, and no write notes it.
    await search_scores.forget(conn, workspace_id, one.walk.schema_ids)
    await store.update(conn, workspace_id, dataclasses.replace(one, phase=Phase.SETTLING))
    await let_hold(conn, workspace_id, old.id)
    await progress.end(
        conn,
        workspace_id,
        JobKind.CONVERT,
        old.id,
        JobStatus.PARTIAL
        if await store.has_faults(conn, workspace_id, old.id)
        else JobStatus.SUCCEEDED,
    )
    await stage_event(conn, EventType.ATTRIBUTE_UPDATED, workspace_id, changed)
    return True


async def _prepare_again(
    conn: Conn, workspace_id: str, old: ModelObject, one: Conversion, written: Written
) -> None:
    """Prepare what was written meanwhile as it is now."""
    variant_ids = [variant_id for _, variant_id in written.variants]
    left = {("records", each) for each in written.records}
    left |= {("variants", each) for each in variant_ids}
    async for rows in entries_of(
        conn,
        workspace_id,
        one.attribute_id,
        written.records,
        variant_ids,
        room=Room(PREPARED_AT_ONCE),
    ):
        prepared = await converting.prepare(conn, workspace_id, old, one, rows, clears=True)
        left -= set(prepared.looked_at)
        await _tell_written(conn, workspace_id, one, prepared)
    await _none_left(conn, workspace_id, one, left)


async def _tell_written(conn: Conn, workspace_id: str, one: Conversion, prepared: Prepared) -> None:
    """Tell of what was written meanwhile, as far as there are more or fewer faults for it."""
    more = await store.note_faults(
        conn, workspace_id, one.attribute_id, prepared.looked_at, prepared.faulty
    )
    if more:
        counts = Counts(updated=max(0, -more), failed=more)
        samples = prepared.samples if more > 0 else ()
        await progress.advance(
            conn, workspace_id, JobKind.CONVERT, one.attribute_id, counts, samples
        )


async def _none_left(
    conn: Conn, workspace_id: str, one: Conversion, left: Collection[tuple[str, str]]
) -> None:
    """These have no value any more, whatever was prepared."""
    for table in VALUE_TABLES:
        ids = {one_id: None for of, one_id in left if of == table}
        if ids:
            await settling_store.prepare(conn, workspace_id, one.attribute_id, table, ids)
            gone = [(table, one_id) for one_id in ids]
            more = await store.note_faults(conn, workspace_id, one.attribute_id, gone, ())
            if more:
                counts = Counts(skipped=-more, failed=more)
                await progress.advance(
                    conn, workspace_id, JobKind.CONVERT, one.attribute_id, counts
                )


async def _settle(conn: Conn, workspace_id: str, one: Conversion) -> bool:
    """Store what holds in the next records; forget the conversion when none is left."""
    found = await settling_store.find(conn, workspace_id)
    if found is not None and await settle_some(conn, workspace_id, found):
        return True
    if await store.forget_faults(conn, workspace_id, one.attribute_id):
        return True
    await store.update(conn, workspace_id, dataclasses.replace(one, phase=Phase.FINISHING))
    return True


async def _finish(conn: Conn, workspace_id: str, one: Conversion) -> bool:
    """Forget it, in a new version of the model. A slice of its own: it begins with the lock."""
    await take_lock(conn, workspace_id)
    await let_hold(conn, workspace_id, None)
    await store.delete(conn, workspace_id, one.attribute_id)
    return False


async def _forget_prepared(conn: Conn, workspace_id: str, one: Conversion) -> bool:
    if await settling_store.forget_prepared(
        conn, workspace_id, one.attribute_id, rows_max=PREPARED_AT_ONCE
    ) or await store.forget_faults(conn, workspace_id, one.attribute_id):
        return True
    await store.delete(conn, workspace_id, one.attribute_id)
    return False


_SLICES: Final = {
    Phase.PREPARING: _prepare,
    Phase.SWITCHING: _switch,
    Phase.SETTLING: _settle,
    Phase.FINISHING: _finish,
    Phase.FORGETTING: _forget_prepared,
}


async def _is_refused(conn: Conn, workspace_id: str, one: Conversion) -> bool:
    """Whether the conversion fails for values that cannot be converted, and are not dropped."""
    if one.drops or not await store.has_faults(conn, workspace_id, one.attribute_id):
        return False
    await _forget(conn, workspace_id, one, JobStatus.FAILED, REFUSED)
    return True


async def _forget(
    conn: Conn, workspace_id: str, one: Conversion, status: JobStatus, error: str
) -> None:
    """Convert nothing, for this reason; the job goes on until nothing is left of it."""
    await store.update(conn, workspace_id, dataclasses.replace(one, phase=Phase.FORGETTING))
    await progress.take_back(conn, workspace_id, JobKind.CONVERT, one.attribute_id)
    await progress.end(conn, workspace_id, JobKind.CONVERT, one.attribute_id, status, error)


async def _unchanged(conn: Conn, workspace_id: str, one: Conversion) -> ModelObject:
    """The attribute; `_Failed` unless it can still be converted as it was asked for.

    Its values are of the form that they had, it is not unique, no guard compares its values, and
    the option list that it gets is there.
    """
    found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, [one.attribute_id])
    attribute = found.get(one.attribute_id)
    if attribute is None or is_unique(attribute) or form_of(attribute) != one.before:
        raise _Failed(CHANGED)
    if await attributes.comparing(conn, workspace_id, one.attribute_id) is not None:
        raise _Failed(CHANGED)
    list_id = one.form.get("optionListId")
    if list_id is not None:
        lists = await model_objects.ids_of(conn, OPTION_LIST, workspace_id, [list_id])
        if lists.get(list_id) != list_id:
            raise _Failed(CHANGED)
    return attribute


async def _check_convertible(conn: Conn, workspace_id: str, attribute: ModelObject) -> None:
    alias = truncated(attribute.alias)
    one = await store.find(conn, workspace_id, attribute.id)
    if one is not None and one.phase is Phase.FORGETTING:
        raise Conflict(
            f"What was prepared when attribute '{alias}' was to be converted is still being removed"
        )
    if one is not None:
        raise Conflict(f"Attribute '{alias}' is being converted already")
    if is_unique(attribute):
        raise Conflict(f"Attribute '{alias}' cannot be converted while it is unique")
    guarded = await attributes.comparing(conn, workspace_id, attribute.id)
    if guarded is not None:
        raise Conflict(
            f"Attribute '{alias}' cannot be converted while a guard of attribute"
            f" '{truncated(guarded)}' compares its values"
        )


class _Failed(Exception):
    """The conversion ends here; the text says why."""
