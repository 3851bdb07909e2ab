"""Removes the options of a deleted list, as a background job of each list.

To remove a million options takes seconds, and all writes of the workspace would wait. So a list
with many of them is deleted at once for everybody: nothing finds it, and its alias is free. Its row
stays behind, because its options refer to it, and keeps its id until they are removed.
"""

from __future__ import annotations

from typing import Final

from records_service.model_objects.commands import SOURCE, lock_model
from records_service.model_objects.model import ModelObject
from records_service.option_lists import store, value_store
from shared.database import Conn
from shared.errors import Conflict, truncated
from shared.events import EventType
from shared.messaging import jobs

JOB: Final = "remove_options"
REMOVED_IN_REQUEST: Final = 2_000
"""All writes of the workspace wait for these."""
REMOVED_AT_ONCE: Final = 2_000
"""Options of one slice, some 20 ms: all writes of the workspace wait for it."""


async def remove_or_request(conn: Conn, workspace_id: str, old: ModelObject) -> bool:
    """Remove the options of a list that is being deleted; False if that is left to the job.

    The caller holds the model lock.
    """
    if not await value_store.has_more(conn, workspace_id, old.id, than=REMOVED_IN_REQUEST):
        await value_store.delete_all(conn, workspace_id, old.id)
        return True
    held = await value_store.held_bytes(conn, workspace_id, old.id)
    await store.hide(conn, workspace_id, old.id, held_bytes=held)
    await jobs.request(conn, EventType.RECORDS_JOB, SOURCE, workspace_id, JOB, old.id)
    return False


async def remove_some(conn: Conn, workspace_id: str, list_id: str) -> bool:
    """One slice of the job of a list; whether more is left."""
    # Triggers count for processes of the version before what is gone already by our counting. That
    # is put right, and the row in which it is counted is the lock.
    await lock_model(conn, workspace_id)
    after = await store.deleted_up_to(conn, workspace_id, list_id)
    if after is None:
        return False
    last = await value_store.delete_some(
        conn, workspace_id, list_id, after, rows_max=REMOVED_AT_ONCE
    )
    if last is not None:
        await store.set_deleted_up_to(conn, workspace_id, list_id, last)
        return True
    await store.delete_hidden(conn, workspace_id, list_id)
    return False


async def check_id_is_free(conn: Conn, workspace_id: str, list_id: str) -> None:
    """Raise `Conflict` while options of a deleted list with this id are being removed."""
    if await store.is_going(conn, workspace_id, list_id):
        raise Conflict(
            f"Option list '{truncated(list_id)}' was deleted and its options are still being"
            " removed: use another id, or try again later"
        )
