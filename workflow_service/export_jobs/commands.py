"""Creates, changes, pauses, resumes and deletes export jobs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from shared.database import DATABASE, Conn, Database
from shared.errors import (
    Conflict,
    LimitExceeded,
    NotFound,
    PermissionDenied,
    ValidationError,
    truncated,
)
from shared.http import identity_of, to_json
from shared.http.versions import Versions, check_version
from shared.ids import check_same_id, new_id
from shared.process.waiting import KeyedSemaphore
from workflow_service import acting
from workflow_service.clients import RECORDS
from workflow_service.destinations import DeliveryFailed, try_connection
from workflow_service.export_jobs import destination as destinations
from workflow_service.export_jobs import schedule, store
from workflow_service.export_jobs.destination import Destination
from workflow_service.export_jobs.model import (
    DEFINED,
    JOBS_MAX,
    TITLE,
    ExportJob,
    ExportJobChanges,
    ExportJobDraft,
    Status,
)
from workflow_service.formats import Format
from workflow_service.outbound.client import OUTBOUND
from workflow_service.secrets.vault import VAULT, Place

_NEEDED: Final = ("name", "destinationType", "format", "compression", "schedule", "timezone")
CONNECTION_TESTS: Final = web.AppKey("connection_tests", KeyedSemaphore)
"""Of each workspace: whoever tests a server that does not answer keeps nobody else waiting."""
TEST_S_MAX: Final = 10.0
ATTEMPTS_MAX: Final = 3
_EXPORT: Final = "/api/v1/export"


async def create(request: web.Request, draft: ExportJobDraft) -> ExportJob:
    """A new job, active at once.

    Raises `ValidationError`, `Conflict` for a taken id, `LimitExceeded`, or `ServiceUnavailable`
    while another service cannot be asked.
    """
    identity = identity_of(request)
    sent = draft.model_dump()
    body = {name: sent[name] for name in DEFINED}
    _check_times(body)
    destination = await destinations.checked(
        draft.destinationType, draft.destinationConfig, None, request.app[OUTBOUND]
    )
    await _check_records(request, body)
    await acting.grant(request)
    job_id = draft.id or new_id("job")
    place = Place(identity.workspace_id, destinations.KIND, job_id)
    async with request.app[DATABASE].transaction() as conn:
        now = await store.now(conn)
        job = ExportJob(
            workspace_id=identity.workspace_id,
            id=job_id,
            body=_with(body, destination),
            sealed=destination.sealed(request.app[VAULT], place),
            status=Status.ACTIVE,
            created_by=identity.id,
            runs_as=identity.id,
            runs_as_kind=acting.subject_kind(identity),
            version=1,
            created_at=now,
            updated_at=now,
            last_run_at=None,
            next_run_at=next_run(body, now),
        )
        if not await store.insert(conn, job, jobs_max=JOBS_MAX):
            raise LimitExceeded(f"A workspace has at most {JOBS_MAX} export jobs")
        await store.tell(conn)
    return job


async def change(
    request: web.Request, job_id: str, changes: ExportJobChanges, expected: Versions
) -> ExportJob:
    """Change a job; fields that are not sent stay.

    Raises what `create` raises, `NotFound` and `PreconditionFailed`.
    """
    check_same_id(job_id, changes.id)
    identity, db = identity_of(request), request.app[DATABASE]
    for _ in range(ATTEMPTS_MAX):
        async with db.acquire() as conn:
            old = await store.get(conn, identity.workspace_id, job_id)
        check_version(TITLE, job_id, old.version, expected)
        new = await _changed_by(request, old, changes)
        async with db.transaction() as conn:
            locked = await store.get(conn, identity.workspace_id, job_id, lock=True)
            if locked.version == old.version:
                now = await store.now(conn)
                next_run_at = locked.next_run_at
                if locked.status is Status.ACTIVE and _times(locked.body) != _times(new.body):
                    next_run_at = next_run(new.body, now)
                stored = _next_version(new, now, next_run_at=next_run_at)
                await store.update(conn, stored)
                await store.tell(conn)
                return stored
        # What was checked was checked against another version than there is now.
    raise Conflict(f"{TITLE} '{truncated(job_id)}' is being changed by others")


async def pause(db: Database, workspace_id: str, job_id: str, expected: Versions) -> ExportJob:
    """No run begins by schedule any more. Repeating it changes nothing. Raises `NotFound`."""
    async with db.transaction() as conn:
        job = await _locked(conn, workspace_id, job_id, expected)
        if job.status is Status.PAUSED:
            return job
        now = await store.now(conn)
        paused = _next_version(job, now, status=Status.PAUSED, next_run_at=None)
        await store.update(conn, paused)
    return paused


async def resume(db: Database, workspace_id: str, job_id: str, expected: Versions) -> ExportJob:
    """Run by schedule again, from now on. Repeating it changes nothing.

    Raises `NotFound`, and `ValidationError` for a schedule that cannot be read any more.
    """
    async with db.transaction() as conn:
        job = await _locked(conn, workspace_id, job_id, expected)
        if job.status is Status.ACTIVE:
            return job
        _check_times(job.body)
        now = await store.now(conn)
        next_run_at = next_run(job.body, now)
        resumed = _next_version(job, now, status=Status.ACTIVE, next_run_at=next_run_at)
        await store.update(conn, resumed)
        await store.tell(conn)
    return resumed


async def delete(db: Database, workspace_id: str, job_id: str, expected: Versions) -> None:
    """Delete a job with its runs; one that is running ends without a file. Raises `NotFound`."""
    async with db.transaction() as conn:
        await _locked(conn, workspace_id, job_id, expected)
        await store.delete(conn, workspace_id, job_id)


def next_run(body: dict[str, Any], now: datetime) -> datetime:
    """When a job with this schedule is due after this moment. Raises `Unreadable`."""
    return schedule.next_after(*_times(body), now)


async def _changed_by(request: web.Request, old: ExportJob, changes: ExportJobChanges) -> ExportJob:
    sent = changes.model_dump(include=changes.model_fields_set)
    body = {name: sent.get(name, old.body[name]) for name in DEFINED}
    for name in _NEEDED:
        if body[name] is None:
            raise ValidationError.at(f"/{name}", f"Field '{name}' cannot be null")
    _check_times(body)
    vault, place = request.app[VAULT], Place(old.workspace_id, destinations.KIND, old.id)
    known = destinations.opened(old.body["destinationType"], old.sealed, vault, place)
    config = sent.get("destinationConfig")
    if config is None and body["destinationType"] != known.kind:
        raise ValidationError.at(
            "/destinationConfig",
            "Field 'destinationConfig' is required with another 'destinationType'",
        )
    destination = known
    if config is not None:
        destination = await destinations.checked(
            body["destinationType"], config, known, request.app[OUTBOUND]
        )
    await _check_records(request, body)
    runs_as, kind = await _runs_as(request, old)
    return replace(
        old,
        body=_with(body, destination),
        sealed=destination.sealed(vault, place),
        runs_as=runs_as,
        runs_as_kind=kind,
    )


async def _runs_as(request: web.Request, old: ExportJob) -> tuple[str, acting.SubjectKind]:
    """Whose rights a changed job runs with.

    They never become more than those of whoever changed it, for the file goes where that one says;
    nor more than they were. Who may read everything, an administrator or a key, takes a job over
    only if its owner is gone.
    """
    identity = identity_of(request)
    mine = (identity.id, acting.subject_kind(identity))
    theirs = (old.runs_as, old.runs_as_kind)
    if mine == theirs:
        return theirs
    if identity.unrestricted and identity.may_read:
        kind, subject_id = old.runs_as_kind, old.runs_as
        lent = await acting.identity_of(request.app, old.workspace_id, kind, subject_id)
        if not isinstance(lent, acting.Gone):
            return theirs
    await acting.grant(request)
    return mine


async def _check_records(request: web.Request, body: dict[str, Any]) -> None:
    """Ask records_service for the export as it would run, and read no more than its beginning.

    Whoever may not read yet is told when the job runs. Raises `ValidationError` with the field.
    """
    if not identity_of(request).may_read:
        return
    identity = identity_of(request)
    try:
        async with request.app[RECORDS].stream(export_path(body), identity_token=identity.token):
            pass
    except NotFound as error:
        field = "schemaId" if error.message.startswith("Schema") else "catalogId"
        raise ValidationError.at(f"/{field}", f"Field '{field}': {error.message}") from None
    except ValidationError as error:
        raise ValidationError.at(
            "/dimensionScope", f"Field 'dimensionScope': {error.message}"
        ) from None
    except PermissionDenied:
        # The route has checked what is needed for this one; the run says what it lacks.
        return


async def connection_fault(app: web.Application, workspace_id: str, job_id: str) -> str | None:
    """Why the destination of a job takes no files; None if it does. Raises `NotFound`."""
    async with app[DATABASE].acquire() as conn:
        job = await store.get(conn, workspace_id, job_id)
    place = Place(workspace_id, destinations.KIND, job_id)
    destination = destinations.opened(job.body["destinationType"], job.sealed, app[VAULT], place)
    async with app[CONNECTION_TESTS].of(workspace_id):
        try:
            async with asyncio.timeout(TEST_S_MAX):
                await try_connection(destination.kind, destination.config, app[OUTBOUND])
        except DeliveryFailed as failed:
            return str(failed)
        except TimeoutError:
            return f"The destination did not answer within {TEST_S_MAX:g} seconds"
    return None


def export_path(body: dict[str, Any]) -> str:
    """The request to records_service that has the records of a job."""
    query = {"format": Format(body["format"]).source}
    for name in ("schemaId", "catalogId"):
        if body[name] is not None:
            query[name] = body[name]
    if body["dimensionScope"] is not None:
        query["scope"] = to_json(body["dimensionScope"]).decode()
    return f"{_EXPORT}?{urlencode(query)}"


def _check_times(body: dict[str, Any]) -> None:
    schedule.check_zone(body["timezone"])
    schedule.check_line(body["schedule"])


def _times(body: dict[str, Any]) -> tuple[str, str]:
    return body["schedule"], body["timezone"]


def _with(body: dict[str, Any], destination: Destination) -> dict[str, Any]:
    return {**body, "destinationConfig": destination.masked()}


async def _locked(conn: Conn, workspace_id: str, job_id: str, expected: Versions) -> ExportJob:
    job = await store.get(conn, workspace_id, job_id, lock=True)
    check_version(TITLE, job_id, job.version, expected)
    return job


def _next_version(job: ExportJob, now: datetime, **fields: Any) -> ExportJob:
    now = max(now, job.updated_at)
    return replace(job, version=job.version + 1, updated_at=now, **fields)
