"""Begins, advances and ends what clients see of a background job.

    job_id = await progress.begin(conn, identity, JobKind.MAKE_UNIQUE, attribute_id)  # in a command
    await progress.advance(conn, workspace_id, JobKind.MAKE_UNIQUE, attribute_id,     # in a slice
                           Counts(unchanged=400, failed=1), samples, among=schema_ids)
    await progress.end(conn, workspace_id, JobKind.MAKE_UNIQUE, attribute_id)         # in the last

Each is part of the transaction of what it tells about. A job is found by its kind and subject, of
which one is unfinished at most; the work itself is in tables of its feature, and its turns are
those of `shared.messaging.jobs`. Where a job was begun by an older version of this service there is
none to be followed: then nothing is told.
"""

from __future__ import annotations

from collections.abc import Sequence

from records_service.context import BaseContext
from records_service.model_objects.search_store import VALUE_TABLES, ValueTable
from records_service.progress import store
from records_service.progress.model import (
    NOBODY,
    SAMPLES_MAX,
    Counts,
    Job,
    JobKind,
    JobStatus,
    Sample,
)
from shared.database import Conn
from shared.errors import NotFound, truncated
from shared.identity import Identity
from shared.ids import new_id


async def begin(
    conn: Conn, identity: Identity, kind: JobKind, subject_id: str, *, job_id: str | None = None
) -> str:
    """A new job that waits for its first slice; one of its subject that goes on is cancelled.

    Returns its id. Raises `Conflict` if another job has the id that is asked for.
    """
    workspace_id, job_id = identity.workspace_id, job_id or new_id("job")
    await end(
        conn,
        workspace_id,
        kind,
        subject_id,
        JobStatus.CANCELLED,
        f"Job '{truncated(job_id)}' has taken its place",
    )
    await store.delete_old(conn, workspace_id)
    await store.insert(conn, workspace_id, job_id, kind, subject_id, identity.id)
    return job_id


async def begin_unasked(conn: Conn, workspace_id: str, kind: JobKind) -> None:
    """A job about the whole workspace, which nobody has requested, unless one goes on."""
    if await store.unfinished_id(conn, workspace_id, kind, NOBODY) is None:
        await store.delete_old(conn, workspace_id)
        await store.insert(conn, workspace_id, new_id("job"), kind, NOBODY, NOBODY)


async def advance(
    conn: Conn,
    workspace_id: str,
    kind: JobKind,
    subject_id: str,
    counts: Counts,
    samples: Sequence[Sample] = (),
    *,
    among: Sequence[str] = (),
    tables: Sequence[ValueTable] = VALUE_TABLES,
) -> bool:
    """Tell what a slice has done; whether there are as many samples as are kept.

    `among` are the schemas whose records, and variants if `tables` says so, the job looks at: the
    first slice counts them.
    """
    told = await store.advance(conn, workspace_id, kind, subject_id, counts, samples)
    if told is None:
        return False
    if told["total"] is None and among:
        total = await store.count_rows(conn, workspace_id, among, tables)
        await store.set_total(conn, workspace_id, kind, subject_id, total)
    return bool(told["sampled"] >= SAMPLES_MAX)


async def take_back(conn: Conn, workspace_id: str, kind: JobKind, subject_id: str) -> None:
    """Tell that what was to be changed stays as it is."""
    await store.take_back(conn, workspace_id, kind, subject_id)


async def end(
    conn: Conn,
    workspace_id: str,
    kind: JobKind,
    subject_id: str,
    status: JobStatus = JobStatus.SUCCEEDED,
    error: str | None = None,
) -> None:
    """End the job of this subject, if one goes on."""
    await store.end(conn, workspace_id, kind, subject_id, status, error)


async def get(context: BaseContext, conn: Conn, job_id: str) -> Job:
    """The job, or `NotFound`; a user whose role is limited sees only their own."""
    job = await store.find(conn, context.workspace_id, job_id)
    if job is None or not sees(context.identity, job):
        raise NotFound.of("Job", job_id)
    return job


def sees(identity: Identity, job: Job) -> bool:
    """Whether the caller may see a job: its counts may tell of values that are hidden from them."""
    return identity.unrestricted or job.created_by == identity.id
