"""Applies a change set: all of its operations in one transaction, once.

    begin  the row of this attempt; whoever finds it there gets what the attempt did
    steps  the operations as `scheduling` puts them together, each written by `carrying_out`
    keep   what was done, in the row of the attempt

Everything runs by the code of the other writes, as the caller: rights, validation, unique values,
limits, history and events are theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from records_service.attributes.model import Attribute
from records_service.bulk.calls import one_of_few
from records_service.bulk.work import STALE, WAVE_ROWS, Work, make_current, transaction
from records_service.context import Context
from records_service.proposals import carrying_out, store
from records_service.proposals.model import Action, Applied, Operation
from records_service.proposals.scheduling import Rules, steps_of
from records_service.writes.create_batching import WRITE_SLOTS
from shared.database import Conn
from shared.errors import LimitExceeded, ServiceUnavailable
from shared.messaging import outbox

RESTARTS_MAX: Final = 5
PAUSE_S: Final = 0.2


async def apply(
    context: Context,
    change_set_id: str,
    attempt: int,
    operations: Sequence[Operation],
    *,
    force: bool,
) -> dict[str, Any] | None:
    """What each operation did, in their order (`results`), and for whom (`userId`).

    The same again for an attempt that was made before; None for one that was withdrawn.

    Raises the error of the first operation that cannot be carried out, with nothing written: its
    message names the operation. `Conflict` for a value that is no longer the one that the proposal
    is based on, unless `force`.
    """
    workspace_id, user_id = context.workspace_id, context.identity.id
    async with one_of_few(context):
        apart = False
        for _ in range(RESTARTS_MAX):
            context.call.waited_s = 0.0
            try:
                async with (
                    context.app[WRITE_SLOTS].of(workspace_id),
                    transaction(context) as conn,
                ):
                    if not await store.begin(conn, workspace_id, change_set_id, attempt, user_id):
                        return await store.done(conn, workspace_id, change_set_id, attempt)
                    await store.name_change_set(conn, change_set_id)
                    applied = await _all(context, conn, operations, force=force, apart=apart)
                    results = [one.public() for one in applied]
                    await store.keep_results(conn, workspace_id, change_set_id, attempt, results)
            except LimitExceeded:
                # In their order, deletions may make room before it is needed.
                if apart or not any(one.type is Action.DELETE for one in operations):
                    raise
                apart = True
                continue
            except STALE as stale:
                await make_current(context, stale)
                await asyncio.sleep(PAUSE_S)
                continue
            outbox.wake(context.app)
            return {"results": results, "userId": user_id}
    raise ServiceUnavailable("The records or the data model are being changed at the moment")


async def withdraw(context: Context, change_set_id: str, attempt: int) -> dict[str, Any] | None:
    """See to it that this attempt is never made; what it did if it was made before.

    Waits for a transaction that is just making it.
    """
    async with context.database.transaction() as conn:
        user_id = context.identity.id
        if await store.begin(conn, context.workspace_id, change_set_id, attempt, user_id):
            return None
        return await store.done(conn, context.workspace_id, change_set_id, attempt)


async def _all(
    context: Context, conn: Conn, operations: Sequence[Operation], *, force: bool, apart: bool
) -> list[Applied]:
    rules = await _rules(context, conn, operations, force=force, apart=apart)
    steps = await context.run(True, steps_of, operations, rules)
    application = carrying_out.Application(context, conn, force)
    done: dict[int, Applied] = {}
    for step in steps:
        for kind, write in carrying_out.WRITERS.items():
            rows = step.get(kind, ())
            for start in range(0, len(rows), WAVE_ROWS):
                context.call.waited_s = 0.0
                done |= await write(application, rows[start : start + WAVE_ROWS])
    return [done[place] for place in range(len(operations))]


async def _rules(
    context: Context, conn: Conn, operations: Sequence[Operation], *, force: bool, apart: bool
) -> Rules:
    """What tells, in this workspace, that operations have to do with each other."""
    attributes = (await Work(context, conn, lock=True).blueprint()).attributes.values()
    unique = {name: one for one in attributes if one.validation.unique for name in _names(one)}
    required = {name for one in attributes if one.validation.required for name in _names(one)}
    giving_up = {
        one.entity_id
        for one in operations
        if one.entity_id is not None
        and (
            one.type is Action.DELETE
            or (force and any(change.attribute in unique for change in one.changes))
        )
    }
    held = await store.unique_values_of(conn, context.workspace_id, sorted(giving_up))
    return Rules(unique, held or {}, required, apart or held is None)


def _names(attribute: Attribute) -> tuple[str, str]:
    return attribute.id, attribute.alias
