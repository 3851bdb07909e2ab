"""Runs of export jobs over HTTP."""

from __future__ import annotations

from aiohttp import web

from shared.database import DATABASE
from shared.errors import Conflict, NotFound, ValidationError
from shared.http import SMALL_BODY, Routes, identity_of, json_response, read_body
from shared.identity import Flag, Permission
from workflow_service.export_jobs import store as jobs
from workflow_service.export_jobs.handlers import ID
from workflow_service.export_runs import commands, store
from workflow_service.export_runs.model import RunAnswer, RunDraft

routes = Routes(
    tag="Export jobs",
    examples={"id": ID},
    parameters={"id": "Id of the export job."},
)


@routes.get(
    "/api/v1/export-jobs/{id}/runs",
    permission=Permission.READ,
    flag=Flag.EXPORT,
    answers=list[RunAnswer],
    summary="List the runs of an export job",
    errors=(NotFound,),
)
async def list_runs(request: web.Request) -> web.StreamResponse:
    """The last 200 runs, newest first."""
    identity, job_id = identity_of(request), request.match_info["id"]
    workspace_id = identity.workspace_id
    async with request.app[DATABASE].acquire() as conn:
        await jobs.get(conn, workspace_id, job_id)
        runs = await store.find_all(conn, workspace_id, job_id)
    return json_response([run.shown_to(identity) for run in runs])


@routes.post(
    "/api/v1/export-jobs/{id}/runs",
    permission=Permission.UPDATE_DATA,
    flag=Flag.EXPORT,
    body=RunDraft,
    body_bytes_max=SMALL_BODY,
    answers=RunAnswer,
    status=201,
    summary="Run an export job, or record a run",
    errors=(Conflict, NotFound),
)
async def create_run(request: web.Request) -> web.StreamResponse:
    """Without a body, or with `{}`: starts a run now, also of a paused job.

    With `status`: records a run that was made elsewhere. 409 to start one while one is running.
    """
    db, identity = request.app[DATABASE], identity_of(request)
    workspace_id = identity.workspace_id
    job_id = request.match_info["id"]
    draft = await read_body(request, RunDraft) if request.body_exists else RunDraft()
    if draft.status is not None:
        run = await commands.record(db, identity, job_id, draft)
    elif draft.model_fields_set:
        raise ValidationError.at(
            "/status",
            "Field 'status' is required to record a run that was made elsewhere; a body without"
            " fields starts a run",
        )
    else:
        run = await commands.start(db, workspace_id, job_id)
    return json_response(run.shown_to(identity), status=201)
