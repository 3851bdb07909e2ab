"""Takes back a change of the model whose job has not ended."""

from __future__ import annotations

from records_service.context import BaseContext
from records_service.conversions import commands as conversions
from records_service.model_objects.commands import model_change
from records_service.progress import commands as progress
from records_service.progress.model import Job, JobKind
from records_service.uniqueness import commands as uniqueness
from shared.errors import Conflict, truncated


async def cancel(context: BaseContext, job_id: str) -> Job:
    """Cancel a job.

    Raises `NotFound`, or `Conflict` for one that has ended or cannot be cancelled.
    """
    async with context.database.acquire() as conn:
        _check_cancellable(await progress.get(context, conn, job_id))
    async with model_change(context.app, context.workspace_id) as conn:
        job = await progress.get(context, conn, job_id)
        _check_cancellable(job)
        if job.kind is JobKind.CONVERT:
            reason = "The job was cancelled"
            await conversions.cancel(conn, context.workspace_id, job.subject_id, reason)
        else:
            await uniqueness.cancel(conn, context.workspace_id, job.subject_id)
        return await progress.get(context, conn, job_id)


def _check_cancellable(job: Job) -> None:
    if not job.is_unfinished:
        raise Conflict(f"Job '{truncated(job.id)}' has ended: '{truncated(job.status)}'")
    if job.kind not in (JobKind.MAKE_UNIQUE, JobKind.CONVERT):
        raise Conflict(
            f"Job '{truncated(job.id)}' cannot be cancelled: its kind is '{truncated(job.kind)}'"
        )
