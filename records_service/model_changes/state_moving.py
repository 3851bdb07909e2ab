"""Takes the records of a schema to the states of its new workflow, as a background job.

The job of a schema walks through its records in order of creation. Records that are created
meanwhile need no move: they begin in a state of the new workflow.
"""

from __future__ import annotations

from typing import Final

from records_service.model_objects.commands import SOURCE, lock_model_shared, take_lock
from records_service.progress import commands as progress
from records_service.progress.model import Counts, JobKind, JobStatus
from records_service.schema_walks.store import has_more
from records_service.workflow_copies import store as workflow_copies
from records_service.workflow_copies.model import WorkflowCopy
from records_service.workflow_copies.moves import NO_MOVES, is_ambiguous, moves_to
from records_service.writes import state_moves
from records_service.writes import state_moves_store as store
from records_service.writes.model_changes import Step
from records_service.writes.state_moves_store import Moving
from shared.database import Conn
from shared.database.slice_size import SliceSize
from shared.errors import ServiceUnavailable, truncated
from shared.events import EventType
from shared.identity import Identity
from shared.messaging import jobs

JOB: Final = "move_to_states"
MOVED_IN_REQUEST: Final = 200
"""A schema that has no more records is done in the request: all writes of the workspace wait."""

_SIZE: Final = SliceSize()


async def move_or_request(
    conn: Conn, identity: Identity, schema_id: str, before: str | None, after: str | None
) -> str | None:
    """Give every record a state that the new workflow knows, here or in the background.

    `before` and `after` are the ids of the workflows. Returns the id of the job, if there is one.
    The caller holds the model lock. Raises `ServiceUnavailable` while it cannot be said to which
    states records go.
    """
    workspace_id = identity.workspace_id
    known = await workflow_copies.get_many(
        conn, workspace_id, [one for one in (before, after) if one is not None]
    )
    old, new = known.get(before or ""), known.get(after or "")
    if new is not None and new.default_state_id in new.retired:
        # The workflow is about to have another first state; it is not known here yet.
        raise ServiceUnavailable(
            f"The workflow of schema '{truncated(schema_id)}' is being changed"
        )
    default = new.default_state_id if new else None
    unfinished = await store.find(conn, workspace_id, schema_id)
    moves = moves_to(
        old.states.keys() if old else (),
        unfinished.moves if unfinished else NO_MOVES,
        _enterable(new),
        default,
    )
    if is_ambiguous(moves, default):
        raise ServiceUnavailable(
            f"The records of schema '{truncated(schema_id)}' are still being moved to the states of"
            " the workflow that it got before"
        )
    if unfinished is not None:
        await forget(conn, workspace_id, schema_id, "The schema has got another workflow")
    if not moves:
        return None
    if not await has_more(
        conn, workspace_id, [schema_id], than=MOVED_IN_REQUEST, tables=("records",)
    ):
        await state_moves.move_some(
            conn, workspace_id, schema_id, moves, identity.id, None, rows_max=MOVED_IN_REQUEST + 1
        )
        return None
    moving = Moving(moves, identity.id, None, is_done=False)
    await store.insert(conn, workspace_id, schema_id, moving)
    job_id = await progress.begin(conn, identity, JobKind.MOVE_STATES, schema_id)
    await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB, schema_id)
    return job_id


async def move_some(conn: Conn, workspace_id: str, schema_id: str) -> bool:
    """One slice of the job of a schema; whether more is left."""
    moving = await store.find(conn, workspace_id, schema_id)
    if moving is not None and moving.is_done:
        return await _finish(conn, workspace_id, schema_id)
    # A change of the model waits for the slice: what is moved where stays true meanwhile.
    await lock_model_shared(conn, workspace_id)
    moving = await store.find(conn, workspace_id, schema_id)
    if moving is None:
        return False
    if not moving.is_done:
        async with _SIZE.of(state_moves.MOVED_AT_ONCE) as rows_max:
            step = await state_moves.move_some(
                conn,
                workspace_id,
                schema_id,
                moving.moves,
                moving.user_id,
                moving.after,
                rows_max=rows_max,
            )
        await store.update(conn, workspace_id, schema_id, step.after)
        await _tell(conn, workspace_id, schema_id, step)
    return True


async def _finish(conn: Conn, workspace_id: str, schema_id: str) -> bool:
    """Forget the moves, in a new version of the model: from now on records are as they are stored.

    A slice of its own, because its lock must be the first of the transaction.
    """
    await take_lock(conn, workspace_id)
    moving = await store.find(conn, workspace_id, schema_id)
    if moving is not None and moving.is_done:
        await store.delete(conn, workspace_id, schema_id)
        await progress.end(conn, workspace_id, JobKind.MOVE_STATES, schema_id)
        return False
    return moving is not None


async def forget(conn: Conn, workspace_id: str, schema_id: str, reason: str) -> None:
    """Nothing is to be moved any more, for this reason."""
    await store.delete(conn, workspace_id, schema_id)
    await progress.end(
        conn, workspace_id, JobKind.MOVE_STATES, schema_id, JobStatus.CANCELLED, reason
    )


async def _tell(conn: Conn, workspace_id: str, schema_id: str, step: Step) -> None:
    counts = Counts(updated=step.changed, unchanged=step.looked_at - step.changed)
    await progress.advance(
        conn,
        workspace_id,
        JobKind.MOVE_STATES,
        schema_id,
        counts,
        among=[schema_id],
        tables=("records",),
    )


def _enterable(workflow: WorkflowCopy | None) -> set[str]:
    return set(workflow.states.keys() - workflow.retired) if workflow else set()
