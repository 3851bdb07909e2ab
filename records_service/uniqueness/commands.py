"""Makes an attribute unique whose values are stored already, and takes that back.

From the change of the attribute on, whoever writes a value of it reserves the value: no new
duplicate is stored. The values that are stored already are reserved in the request, if there are
few, and else by a job, slice by slice, while records are written (docs/adr/0059). Where two records
have the same value the attribute goes back to what it was, in the request or in the last slice.

When an attribute ends to be unique, what is reserved is released in the same way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import asyncpg

from records_service.attributes.model import ATTRIBUTE, UNIQUE_PENDING, UNIQUE_SINCE, Attribute
from records_service.attributes.unique_keys import Holder, UniqueKey
from records_service.model_objects import store as model_objects
from records_service.model_objects.commands import (
    SOURCE,
    lock_model_shared,
    stage_event,
    take_lock,
)
from records_service.model_objects.model import ModelObject
from records_service.permissions.store import schemas_with_values
from records_service.progress import commands as progress
from records_service.progress.model import Counts, JobKind, JobStatus
from records_service.schema_walks.looking_back import AT_ONCE, lock, look_back
from records_service.schema_walks.model import Meanwhile, Walk
from records_service.schema_walks.store import last_change
from records_service.search_index import building
from records_service.uniqueness import store
from records_service.uniqueness.claiming import (
    Keys,
    claim_again,
    claim_all,
    claim_next,
    keys_of_next,
    samples_of,
)
from records_service.uniqueness.model import Check, Phase
from records_service.writes import stored_claims
from records_service.writes.effects import now
from shared.database import Conn
from shared.database.pieces import Room
from shared.database.slice_size import SliceSize
from shared.errors import Conflict, ServiceUnavailable, truncated
from shared.events import EventType
from shared.identity import Identity
from shared.messaging import jobs
from shared.timestamps import format_timestamp

JOB: Final = "make_unique"
COMPARED_IN_REQUEST: Final = 1_000
"""Records and variants that are looked at in the request: all writes of the workspace wait."""
STEPS_IN_REQUEST: Final = 20
CLAIMED_AT_ONCE: Final = 2_000
"""Records and variants of one slice, some 100 ms; nobody waits for it."""
RELEASED_IN_REQUEST: Final = 1_000
RELEASED_AT_ONCE: Final = 5_000

_LOOKED_AT: Final = SliceSize()


async def begin(
    conn: Conn, identity: Identity, attribute: Attribute, *, names_records: bool
) -> str | None:
    """Reserve the stored values of an attribute that becomes unique, or begin a job that does.

    Returns the id of the job, None if all is done. The caller holds the model lock. Raises
    `Conflict` if two of the records that were looked at have the same value (which ones is said
    only if the caller may read all of them), and `ServiceUnavailable` as long as values are still
    being released from when it was unique before.
    """
    workspace_id = identity.workspace_id
    if await store.find(conn, workspace_id, attribute.id) is not None:
        raise ServiceUnavailable(
            f"The values that attribute '{truncated(attribute.alias)}' reserved when it was unique"
            " are still being released"
        )
    walk = Walk(await schemas_with_values(conn, workspace_id, [attribute.id]))
    keys, is_all = await _first_keys(conn, workspace_id, attribute, walk)
    holders: dict[tuple[str, bytes], Holder] = {}
    for asking, key in keys:
        holding = holders.setdefault((key.scope, key.value_hash), asking)
        if holding != asking:
            raise _same_value(attribute, holding, asking, names_records=names_records)
    if is_all:
        await claim_all(conn, workspace_id, attribute, keys)
        return None
    since = Meanwhile(await last_change(conn, workspace_id))
    await store.insert(conn, workspace_id, Check(attribute.id, Phase.CLAIMING, walk, since))
    job_id = await progress.begin(conn, identity, JobKind.MAKE_UNIQUE, attribute.id)
    await _request(conn, workspace_id, attribute.id)
    return job_id


async def _first_keys(
    conn: Conn, workspace_id: str, attribute: Attribute, walk: Walk
) -> tuple[Keys, bool]:
    """What the first records and variants would reserve, and whether these are all."""
    found: list[tuple[Holder, UniqueKey]] = []
    left = COMPARED_IN_REQUEST
    for _ in range(STEPS_IN_REQUEST):
        if walk.is_over or left <= 0:
            break
        keys, looked_at, walk = await keys_of_next(
            conn, workspace_id, attribute, walk, room=Room(left)
        )
        found += keys
        left -= looked_at
    return found, walk.is_over


def _same_value(
    attribute: Attribute, holding: Holder, asking: Holder, *, names_records: bool
) -> Conflict:
    two = "two records"
    if names_records:
        first, second = (variant_id or record_id for record_id, variant_id in (holding, asking))
        two = f"'{truncated(first)}' and '{truncated(second)}'"
    return Conflict(
        f"Attribute '{truncated(attribute.alias)}' cannot become unique: {two} have the same value"
    )


async def end(conn: Conn, workspace_id: str, attribute_id: str, reason: str) -> None:
    """Release what is reserved of an attribute that is not unique any more, here or by a job.

    A job that makes it unique is cancelled for this reason. The caller holds the model lock.
    """
    await progress.end(
        conn, workspace_id, JobKind.MAKE_UNIQUE, attribute_id, JobStatus.CANCELLED, reason
    )
    check = await store.find(conn, workspace_id, attribute_id)
    if check is not None:
        await store.update(conn, workspace_id, replace(check, phase=Phase.RELEASING))
    elif await stored_claims.reserves_more(
        conn, workspace_id, attribute_id, than=RELEASED_IN_REQUEST
    ):
        await store.insert(conn, workspace_id, Check(attribute_id, Phase.RELEASING))
        await _request(conn, workspace_id, attribute_id)
    else:
        await stored_claims.release_some(
            conn, workspace_id, attribute_id, rows_max=RELEASED_IN_REQUEST + 1
        )


async def forget(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """The attribute is deleted; what is being reserved or released goes with it."""
    if await store.find(conn, workspace_id, attribute_id) is not None:
        await end(conn, workspace_id, attribute_id, "The attribute was deleted")


async def check_some(conn: Conn, workspace_id: str, attribute_id: str) -> bool:
    """One slice of the job of an attribute; whether more is left."""
    check = await store.find(conn, workspace_id, attribute_id)
    if check is None:
        return False
    try:
        async with conn.transaction():
            return await _check_some(conn, workspace_id, check)
    except asyncpg.DeadlockDetectedError:
        # A bulk call may hold values that this waits for, and wait for others that this holds.
        return True


async def _check_some(conn: Conn, workspace_id: str, check: Check) -> bool:
    # Before anything else is locked: whoever changes the model begins with this lock.
    settles = check.phase is Phase.SETTLING
    await (lock(check.meanwhile) if settles else lock_model_shared)(conn, workspace_id)
    now_is = await store.find(conn, workspace_id, check.attribute_id)
    if now_is is None:
        return False
    if (now_is.phase, now_is.meanwhile) != (check.phase, check.meanwhile):
        return True
    attribute = await _unique_attribute(conn, workspace_id, check.attribute_id)
    if attribute is None and now_is.phase is not Phase.RELEASING:
        # A process of the version before this one has ended it.
        await end(conn, workspace_id, check.attribute_id, "The attribute is not unique any more")
        return True
    if attribute is None or now_is.phase is Phase.RELEASING:
        return await _release_some(conn, workspace_id, now_is)
    if now_is.phase is Phase.CLAIMING:
        await _claim_some(conn, workspace_id, Attribute.parse(attribute), now_is)
        return True
    return await _settle(conn, workspace_id, attribute, now_is)


async def _release_some(conn: Conn, workspace_id: str, check: Check) -> bool:
    more = await stored_claims.release_some(
        conn, workspace_id, check.attribute_id, rows_max=RELEASED_AT_ONCE
    )
    if not more:
        await store.delete(conn, workspace_id, check.attribute_id)
    return more


async def _claim_some(conn: Conn, workspace_id: str, attribute: Attribute, check: Check) -> None:
    check, counts, refused = await claim_next(
        conn, workspace_id, attribute, check, room=Room(CLAIMED_AT_ONCE)
    )
    enough = await progress.advance(
        conn,
        workspace_id,
        JobKind.MAKE_UNIQUE,
        attribute.id,
        counts,
        samples_of(refused),
        among=check.walk.schema_ids,
    )
    # Whoever reads a hundred of them does not miss the others.
    await store.update(
        conn, workspace_id, replace(check, phase=Phase.SETTLING) if enough else check
    )


async def _settle(conn: Conn, workspace_id: str, attribute: ModelObject, check: Check) -> bool:
    """Look at what was written meanwhile, some of it in each slice; then say how it ended.

    In the last slice no record is being written. Those who wait for it have begun by what was
    stored before, so it raises the version of the model: they begin again.
    """
    is_last = check.meanwhile.until is None
    if not check.duplicates:
        async with look_back(conn, workspace_id, check.meanwhile, _LOOKED_AT) as look:
            refused = await claim_again(
                conn, workspace_id, Attribute.parse(attribute), look.written, room=Room(AT_ONCE)
            )
        check = replace(check, meanwhile=look.left, duplicates=len(refused))
        await progress.advance(
            conn,
            workspace_id,
            JobKind.MAKE_UNIQUE,
            attribute.id,
            Counts(failed=len(refused)),
            samples_of(refused),
        )
        is_last = look.is_last
    if check.duplicates and not is_last:
        # How it ended is said in a slice that has locked the model for it.
        check = replace(check, meanwhile=replace(check.meanwhile, until=None))
    if not is_last:
        await store.update(conn, workspace_id, check)
        return True
    await take_lock(conn, workspace_id)
    if check.duplicates:
        await _fail(conn, workspace_id, attribute, check)
        return True
    body = {name: value for name, value in attribute.body.items() if name != UNIQUE_PENDING}
    body[UNIQUE_SINCE] = format_timestamp(now())
    await model_objects.set_body(conn, ATTRIBUTE, workspace_id, attribute.id, body)
    await store.delete(conn, workspace_id, attribute.id)
    await progress.end(conn, workspace_id, JobKind.MAKE_UNIQUE, attribute.id)
    return False


async def _fail(conn: Conn, workspace_id: str, attribute: ModelObject, check: Check) -> None:
    """The attribute goes back to what it was."""
    await _set_not_unique(conn, workspace_id, attribute)
    await progress.end(
        conn,
        workspace_id,
        JobKind.MAKE_UNIQUE,
        attribute.id,
        JobStatus.FAILED,
        f"Attribute '{truncated(attribute.alias)}' did not become unique: records or variants that"
        f" have the value of another one: {check.duplicates}",
    )
    await store.update(conn, workspace_id, replace(check, phase=Phase.RELEASING))


async def cancel(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    """Let an attribute that is becoming unique be what it was. The caller holds the model lock."""
    attribute = await _unique_attribute(conn, workspace_id, attribute_id)
    if attribute is not None:
        await _set_not_unique(conn, workspace_id, attribute)
    await end(conn, workspace_id, attribute_id, "The job was cancelled")


async def _set_not_unique(conn: Conn, workspace_id: str, attribute: ModelObject) -> None:
    body = {name: value for name, value in attribute.body.items() if name != UNIQUE_PENDING}
    body["validation"] = {
        rule: value for rule, value in body["validation"].items() if rule != "unique"
    }
    changed = await model_objects.update(
        conn, ATTRIBUTE, workspace_id, attribute.id, attribute.alias, body
    )
    # It may have been filterable only as a unique one.
    await building.attribute_changed(conn, workspace_id, attribute, changed)
    await stage_event(conn, EventType.ATTRIBUTE_UPDATED, workspace_id, changed)


async def _unique_attribute(conn: Conn, workspace_id: str, attribute_id: str) -> ModelObject | None:
    """The attribute, if it is still there and unique."""
    found = await model_objects.get_many(conn, ATTRIBUTE, workspace_id, [attribute_id])
    attribute = found.get(attribute_id)
    if attribute is None or not Attribute.parse(attribute).validation.unique:
        return None
    return attribute


async def _request(conn: Conn, workspace_id: str, attribute_id: str) -> None:
    await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB, attribute_id)
