"""Looks at what was written during a walk: most of it while others write, the rest while none does.

The job locks the model as `lock` says, does with each slice what it has done with the records of
its walk, and stores the `Meanwhile` that it gets (`async with look_back(...) as look`). When the
last slice is done, nothing has been written that it has not seen; the job ends in the same
transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from records_service.model_objects.commands import lock_model, lock_model_shared
from records_service.schema_walks import store
from records_service.schema_walks.model import Meanwhile
from records_service.schema_walks.store import Written
from shared.database import Conn
from shared.database.slice_size import SliceSize

AT_ONCE: Final = 1_000
"""Entries of the history in one slice at most: who writes one of these records waits for it."""
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


@asynccontextmanager
async def look_back(
    conn: Conn, workspace_id: str, meanwhile: Meanwhile, size: SliceSize
) -> AsyncIterator[Look]:
    """The next slice; what it looks at stays as it is until commit.

    How long the body takes decides how large the next ones are.

    Up to where no entry is missing is known only while nothing is written. So a slice finds out,
    and does nothing else, unless there is little left: then it is the last.
    """
    since, until = meanwhile.since, meanwhile.until
    if until is None:
        written = await store.written_since(conn, workspace_id, since, rows_max=AT_THE_END + 1)
        if written.last is None:
            yield Look(written, meanwhile, is_last=True)
            return
        until = await store.last_change(conn, workspace_id)
        yield Look(store.NOTHING_WRITTEN, Meanwhile(since, until), is_last=False)
        return
    async with size.of(AT_ONCE) as rows_max:
        written = await store.written_since(conn, workspace_id, since, until, rows_max=rows_max)
        await store.lock_written(conn, workspace_id, written)
        left = Meanwhile(until) if written.last is None else Meanwhile(written.last, until)
        yield Look(written, left, is_last=False)
