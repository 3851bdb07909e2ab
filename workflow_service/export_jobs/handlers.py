"""Export jobs over HTTP."""

from __future__ import annotations

from aiohttp import web

from shared.database import DATABASE
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    Routes,
    identity_of,
    json_response,
    no_content,
    read_body,
    versioned_response,
)
from shared.http.versions import if_match
from shared.identity import Flag, Permission
from workflow_service.export_jobs import commands, store
from workflow_service.export_jobs.model import (
    ConnectionTest,
    ExportJob,
    ExportJobAnswer,
    ExportJobChanges,
    ExportJobDraft,
)

ID = "job-nightly-prices"

routes = Routes(
    tag="Export jobs",
    about="Export jobs: files that are made by a schedule, and brought to where they are wanted.",
    examples={"id": ID},
    parameters={"id": "Id of the export job."},
)


@routes.get(
    "/api/v1/export-jobs",
    permission=Permission.READ,
    flag=Flag.EXPORT,
    answers=list[ExportJobAnswer],
    summary="List export jobs",
)
async def list_export_jobs(request: web.Request) -> web.StreamResponse:
    """All export jobs of the workspace, oldest first; 100 at most."""
    async with request.app[DATABASE].acquire() as conn:
        jobs = await store.find_all(conn, identity_of(request).workspace_id)
    return json_response([job.public() for job in jobs])


@routes.post(
    "/api/v1/export-jobs",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.EXPORT,
    body=ExportJobDraft,
    answers=ExportJobAnswer,
    status=201,
    summary="Create an export job",
    errors=(Conflict, LimitExceeded),
)
async def create_export_job(request: web.Request) -> web.StreamResponse:
    """Creates an active job. Each run has the rights that its creator has at that moment.

    The destination is checked as far as that is possible without sending anything to it. Secrets
    are stored encrypted, and shown as masks.
    """
    job = await commands.create(request, await read_body(request, ExportJobDraft))
    return _answer(job, status=201, location=f"/api/v1/export-jobs/{job.id}")


@routes.get(
    "/api/v1/export-jobs/{id}",
    permission=Permission.READ,
    flag=Flag.EXPORT,
    answers=ExportJobAnswer,
    summary="Get an export job",
    errors=(NotFound,),
)
async def get_export_job(request: web.Request) -> web.StreamResponse:
    """One export job."""
    workspace_id = identity_of(request).workspace_id
    async with request.app[DATABASE].acquire() as conn:
        job = await store.get(conn, workspace_id, request.match_info["id"])
    return _answer(job)


@routes.put(
    "/api/v1/export-jobs/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.EXPORT,
    body=ExportJobChanges,
    answers=ExportJobAnswer,
    summary="Change an export job",
    errors=(Conflict, NotFound, PreconditionFailed),
)
async def replace_export_job(request: web.Request) -> web.StreamResponse:
    """Changes a job. Fields that are left out stay; `status` is changed by pause and resume.

    A job that a user with another role than `role-admin` changes runs with that user's rights from
    then on, and so it does with those of an API key without the permission `read`. Administrators
    and other API keys leave its rights as they are, and take over a job whose creator is gone.
    """
    changes = await read_body(request, ExportJobChanges)
    expected = if_match(request.headers)
    return _answer(await commands.change(request, request.match_info["id"], changes, expected))


@routes.delete(
    "/api/v1/export-jobs/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.EXPORT,
    summary="Delete an export job",
    errors=(NotFound, PreconditionFailed),
)
async def delete_export_job(request: web.Request) -> web.StreamResponse:
    """Deletes a job with its runs. A run that is under way ends, and leaves no file."""
    workspace_id, expected = identity_of(request).workspace_id, if_match(request.headers)
    job_id = request.match_info["id"]
    await commands.delete(request.app[DATABASE], workspace_id, job_id, expected)
    return no_content()


@routes.post(
    "/api/v1/export-jobs/{id}/pause",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.EXPORT,
    answers=ExportJobAnswer,
    summary="Pause an export job",
    errors=(NotFound, PreconditionFailed),
)
async def pause_export_job(request: web.Request) -> web.StreamResponse:
    """No run begins by schedule any more; a run that is under way goes on.

    Repeating it changes nothing. A paused job can be run by hand.
    """
    workspace_id, expected = identity_of(request).workspace_id, if_match(request.headers)
    job_id = request.match_info["id"]
    return _answer(await commands.pause(request.app[DATABASE], workspace_id, job_id, expected))


@routes.post(
    "/api/v1/export-jobs/{id}/resume",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.EXPORT,
    answers=ExportJobAnswer,
    summary="Resume an export job",
    errors=(NotFound, PreconditionFailed),
)
async def resume_export_job(request: web.Request) -> web.StreamResponse:
    """The job runs by its schedule again, from now on: what was due meanwhile is left out.

    Repeating it changes nothing.
    """
    workspace_id, expected = identity_of(request).workspace_id, if_match(request.headers)
    job_id = request.match_info["id"]
    return _answer(await commands.resume(request.app[DATABASE], workspace_id, job_id, expected))


@routes.post(
    "/api/v1/export-jobs/{id}/test-connection",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.EXPORT,
    answers=ConnectionTest,
    summary="Test the destination of an export job",
    errors=(NotFound,),
)
async def test_destination(request: web.Request) -> web.StreamResponse:
    """Asks the destination whether it takes files, without leaving one there.

    For `s3`, `sftp` and `azure-blob` an upload is begun and aborted; a `webhook` gets a HEAD
    request. A destination that refuses is an answer with `ok: false`, too.
    """
    workspace_id, job_id = identity_of(request).workspace_id, request.match_info["id"]
    error = await commands.connection_fault(request.app, workspace_id, job_id)
    return json_response({"ok": error is None, "error": error})


def _answer(job: ExportJob, *, status: int = 200, location: str | None = None) -> web.Response:
    return versioned_response(job.public(), job.version, status=status, location=location)
