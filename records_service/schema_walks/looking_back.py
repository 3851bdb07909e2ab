"""Looks at what was written during a walk: most of it while others write, the rest while none does.

The job locks the model as `lock` says, does with each slice what it has done with the records of
its walk, and stores the `Meanwhile` that it gets. When the last slice is done, nothing has been
written that it has not seen; the job ends in the same transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from records_service.model_objects.commands import lock_model, lock_model_shared
from records_service.schema_walks import store
from records_service.schema_walks.model import Meanwhile
from records_service.schema_walks.store import Written
from shared.database import Conn

AT_ONCE: Final = 1_000
"""Entries of the history in one slice, while records are written."""
AT_THE_END: Final = 100
"""Entries of the last slice: all writes of the workspace wait for it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one slice looks at, and what is left after it."""

    written: Written
    left: Meanwhile
    is_last: bool


def lock(meanwhile: Meanwhile) -> Callable[[Conn, str], Awaitable[None]]:
    """How the slice locks the model, before anything else."""
    return lock_model if meanwhile.until is None else lock_model_shared


async def look_back(conn: Conn, workspace_id: str, meanwhile: Meanwhile) -> Look:
    """The next slice; what it looks at stays as it is until commit.

    Up to where no entry is missing is known only while nothing is written. So a slice finds out,
    and does nothing else, unless there is little left: then it is the last.
    """
    since, until = meanwhile.since, meanwhile.until
    if until is None:
        written = await store.written_since(conn, workspace_id, since, rows_max=AT_THE_END + 1)
        if written.last is None:
            return Look(written, meanwhile, is_last=True)
        until = await store.last_change(conn, workspace_id)
        return Look(store.NOTHING_WRITTEN, Meanwhile(since, until), is_last=False)
    written = await store.written_since(conn, workspace_id, since, until, rows_max=AT_ONCE)
    await store.lock_written(conn, workspace_id, written)
    left = Meanwhile(until) if written.last is None else Meanwhile(written.last, until)
    return Look(written, left, is_last=False)
