"""Applies change sets: exactly once, whichever service dies in between.

    apply        the row of the change set is locked; records_service makes all changes in one
                 transaction and keeps what they did, by change set and attempt; then the change set
                 is `applied`
    apply again  after a crash in between, records_service answers what it did the first time
    settle       before an approved change set is decided anew: records_service never makes this
                 attempt any more, or tells that it was made

So a change set that is `approved` has not been applied, or its application has been made and not
been heard of: whoever applies or decides it next finds out.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from shared.database import Conn, Database
from shared.errors import ServiceUnavailable
from shared.http.versions import Versions
from shared.identity import Identity
from workflow_service.change_sets import store
from workflow_service.change_sets.commands import changed, locked
from workflow_service.change_sets.model import ChangeSet, Status
from workflow_service.clients import APPLY_S, Clients
from workflow_service.proposals import store as operations
from workflow_service.proposals.model import Decision

ATTEMPTS_MAX: Final = 3


async def apply(
    db: Database,
    clients: Clients,
    identity: Identity,
    change_set_id: str,
    expected: Versions,
    *,
    force: bool,
) -> ChangeSet:
    """The change set, of which all approved operations have been carried out.

    Raises `NotFound`, `PreconditionFailed`, `Conflict` for another status than `approved` and for
    values that have changed since they were proposed, and what a write of the records raises: then
    nothing was changed, and the change set stays approved.
    """
    for _ in range(ATTEMPTS_MAX):
        async with clients.application_slot(), db.transaction() as conn:
            await store.wait_idle(conn, APPLY_S)
            old = await locked(conn, identity, change_set_id, expected, (Status.APPROVED,))
            approved = await operations.all_of(
                conn, old.workspace_id, old.id, status=Decision.APPROVED
            )
            done = await clients.apply(
                old.id, old.attempt, [one.asked() for one in approved], force=force
            )
            if done["results"] is not None:
                return await _finish(conn, old, done)
            # Withdrawn for a decision that was then not stored. The next attempt is committed
            # before it is made: whoever decides anew has to withdraw that one.
            await store.update(conn, old, changed(old, attempt=old.attempt + 1))
            expected = None
    raise ServiceUnavailable


async def settle(conn: Conn, clients: Clients, approved: ChangeSet) -> ChangeSet:
    """An approved change set that is to be decided anew, in the transaction that has locked it.

    What comes back is still approved and was not applied, nor will be; or it was applied before.
    """
    done = await clients.withdraw(approved.id, approved.attempt)
    if done is not None:
        return await _finish(conn, approved, done)
    return changed(approved, attempt=approved.attempt + 1)


async def _finish(conn: Conn, old: ChangeSet, done: Mapping[str, Any]) -> ChangeSet:
    await operations.note_applied(conn, old.workspace_id, old.id, done["results"])
    is_whole = len(done["results"]) == old.operations
    new = changed(
        old,
        status=Status.APPLIED if is_whole else Status.PARTIAL,
        applied_at=datetime.now(UTC),
        applied_by=done["userId"],
    )
    await store.update(conn, old, new)
    return new
