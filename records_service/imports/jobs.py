"""Runs import jobs slice by slice, in the turns of the service's background jobs.

A slice reads some hundred rows behind the last stored one, writes them by the engine of bulk calls
and stores how far it came, all in the transaction of its turn: whatever dies at any moment, each
row is written once. The rights are those of whoever sent the file; the role is looked up in each
slice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from records_service.blueprint.blueprint import BLUEPRINTS
from records_service.bulk.model import BulkOutcome as Outcome
from records_service.bulk.model import OnMatch, OnMissing, Options, Result
from records_service.bulk.work import plan_anew
from records_service.context import Context
from records_service.imports import lanes, refused_store, store, unpacking
from records_service.imports.detection import FileFormat
from records_service.imports.file_rows import ReadFileRow, Reading
from records_service.imports.reading import ROW_BYTES_MAX, TOO_LONG, TOO_LONG_OR_OPEN, Malformed
from records_service.imports.refused_store import Refused
from records_service.imports.rows import CellError
from records_service.imports.store import ImportJob
from records_service.imports.writing import ROWS_AT_ONCE, rows_of_group, until_current, write_rows
from records_service.option_lists.lookup_store import look_up
from records_service.permissions import store as roles
from records_service.permissions.rules import Role
from records_service.writes import effects
from shared.database import DATABASE, Conn
from shared.errors import ApiError, PermissionDenied, ServiceUnavailable, UpstreamTimeout
from shared.http import Call
from shared.identity import Flag, Identity, Permission
from shared.process import tracing
from shared.process.offload import in_thread

SLICE_S: Final = 0.5
"""After this, the next job has its turn."""
WINDOW_BYTES: Final = 512 << 10
RUNNING: Final = frozenset({"queued", "running"})


class Imports:
    """The import jobs of this process; made before the application that it belongs to."""

    def __init__(self) -> None:
        self.app: web.Application | None = None
        self.spreadsheets = unpacking.Spreadsheets()

    async def opened(self, _: web.Application) -> AsyncIterator[None]:
        """Close the spreadsheets when the service stops."""
        yield
        self.spreadsheets.close()

    async def run_some(self, conn: Conn, workspace_id: str, import_id: str) -> bool:
        """One slice of a job; whether more is left. If not, the next import has its lane."""
        assert self.app is not None
        job = await store.find(conn, workspace_id, import_id, lock=True)
        if job is None or job.status not in RUNNING:
            self.spreadsheets.forget(workspace_id, import_id)
            await lanes.fill(conn, workspace_id, ending=import_id)
            return False
        job = replace(job, status="running", started_at=job.started_at or effects.now())
        if job.format == FileFormat.XLSX and not job.position.get("unpacked_all"):
            job = await or_failed(
                job, unpacking.unpack_some(self.spreadsheets, self.app[DATABASE], conn, job)
            )
        else:
            job = await or_failed(job, self._written(conn, job))
        if job.status not in RUNNING:
            job = replace(job, completed_at=effects.now())
        await store.save(conn, job)
        if job.status in RUNNING:
            return True
        await lanes.fill(conn, workspace_id, ending=import_id)
        # Once more if the commit fails, for then the slice is done once more.
        note_ended(job)
        return False

    async def _written(self, conn: Conn, job: ImportJob) -> ImportJob:
        assert self.app is not None
        identity = identity_from(job.identity, job.workspace_id)
        await _check_caller(conn, identity)
        role = None if identity.unrestricted else await _role_now(conn, identity)
        context = Context(self.app, _call(job), identity, role)
        return await written(context, conn, job, Slice(time.monotonic() + SLICE_S))


def note_ended(job: ImportJob) -> None:
    """Put a job that has ended into the trace of the request that has sent its file."""
    tracing.note_run(
        "import",
        job.id,
        job.workspace_id,
        job.traceparent,
        began=job.created_at,
        outcome=job.status,
        failed=job.status == "failed",
    )


async def or_failed(job: ImportJob, step: Awaitable[ImportJob]) -> ImportJob:
    """The job after a step, or failed with what is wrong; raises what may be gone by itself."""
    try:
        return await step
    except (ServiceUnavailable, UpstreamTimeout):
        raise
    except ApiError as error:
        return replace(job, status="failed", error=error.message)
    except Malformed as error:
        return replace(job, status="failed", error=f"The file cannot be read on: {error}")


def context_of(context: Context, job: ImportJob) -> Context:
    """The context of a job with the rights of this caller."""
    return replace(context, call=_call(job))


def _call(job: ImportJob) -> Call:
    return Call(f"import-{job.id}", "/api/v1/imports")


def identity_to_json(identity: Identity) -> dict[str, Any]:
    """What of a caller decides what a job may do."""
    return {
        "kind": identity.kind,
        "id": identity.id,
        "roleId": identity.role_id,
        "roleVersion": identity.role_version,
        "permissions": sorted(identity.permissions),
        "recordLimit": identity.record_limit,
    }


def identity_from(said: dict[str, Any], workspace_id: str) -> Identity:
    """The caller of a job."""
    return Identity(
        kind=said["kind"],
        id=said["id"],
        workspace_id=workspace_id,
        role_id=said["roleId"],
        role_version=said["roleVersion"],
        permissions=frozenset(Permission(one) for one in said["permissions"]),
        record_limit=said["recordLimit"],
    )


async def _check_caller(conn: Conn, identity: Identity) -> None:
    """Raise `PermissionDenied` once the key or the user that sent the file may do nothing.

    auth_service tells it by events.
    """
    known = await roles.find_caller(conn, identity.workspace_id, identity.kind, identity.id)
    if known is None:
        return
    if not known.active and identity.kind == "api_key":
        raise PermissionDenied("The API key with which the file was sent is not active any more")
    if not known.active:
        raise PermissionDenied("The user who sent the file is not active any more")
    if identity.kind == "user" and known.role_id != identity.role_id:
        raise PermissionDenied(
            "The user who sent the file has another role: resume the import to go on with your own"
            " rights"
        )


async def _role_now(conn: Conn, identity: Identity) -> Role:
    """The role as it is now; `PermissionDenied` once it is gone, changed, or may not import.

    When a role changes, its copy here is removed until somebody with the role asks for something.
    """
    document = await roles.find(conn, identity.workspace_id, identity.role_id or "")
    if document is None or document["version"] < identity.role_version:
        raise PermissionDenied(
            "The role of the user who sent the file has changed: resume the import to go on with"
            " your own"
        )
    if document.get(str(Flag.IMPORT)) is False:
        raise PermissionDenied("The role of the user who sent the file may not import any more")
    return Role.parse(document)


@dataclass(slots=True)
class Slice:
    """How much a job does in one transaction; `until` is a monotonic time.

    Categories are locked until it ends, in the order of their ids for each group of rows. So it
    ends with the first group that names some: two jobs never wait for each other in a circle. A
    trial has one transaction in all.
    """

    until: float
    is_trial: bool = False
    has_locks: bool = False

    @property
    def is_over(self) -> bool:
        """Whether no further group of rows is written."""
        return time.monotonic() >= self.until or (self.has_locks and not self.is_trial)


async def written(context: Context, conn: Conn, job: ImportJob, turn: Slice) -> ImportJob:
    """The job after some more rows, at least one group of them."""
    await plan_anew(conn)
    while job.status == "running":
        before = job
        job = await or_failed(before, _write_next(context, conn, before, turn))
        if turn.is_over:
            break
    return job


async def _write_next(context: Context, conn: Conn, job: ImportJob, turn: Slice) -> ImportJob:
    """The job after some more rows, in its end state after the last."""
    blueprint = await context.app[BLUEPRINTS].get(context.database, context.workspace_id)
    reading = await in_thread(Reading.of, job.settings, job.format, blueprint, context.role)
    rows, position, ended = await _read_next(conn, job, reading)
    results = await _written(context, conn, rows, _options(job)) if rows else []
    turn.has_locks |= any(row.read.categories for row in rows)
    refused = [
        Refused(row.number, row.line, errors, row.sent)
        for row, result in zip(rows, results, strict=True)
        if (errors := _errors(row, result))
    ]
    if refused:
        await refused_store.insert_refused(conn, job.workspace_id, job.id, refused)
    job = _counted(job, Counter(result.outcome for result in results))
    job = replace(job, position={**job.position, **position})
    if not ended:
        return job
    status = "partial" if job.failed else "succeeded"
    if job.failed and job.failed == job.processed:
        status = "failed"
    return replace(job, status=status, total=job.processed)


async def _read_next(
    conn: Conn, job: ImportJob, reading: Reading
) -> tuple[Sequence[ReadFileRow], dict[str, int], bool]:
    """The rows behind the last ones, where they end, and whether that is the end of the file.

    Raises `Malformed` for a row that is larger than any may be.
    """
    position = job.position
    offset, size = position["offset"], WINDOW_BYTES
    while True:
        data = await store.read(conn, job.workspace_id, job.id, reading.part, offset, size)
        at_end = len(data) < size
        place = position["row"], position["line"]
        try:
            rows, taken = await in_thread(reading.take, data, at_end, ROWS_AT_ONCE, *place)
            if reading.options.wanted:
                await look_up(conn, job.workspace_id, reading.options)
                rows, taken = await in_thread(reading.take, data, at_end, ROWS_AT_ONCE, *place)
            fitting = rows_of_group([row.read for row in rows])
            if fitting < len(rows):
                rows, taken = await in_thread(reading.take, data, at_end, fitting, *place)
        except Malformed as fault:
            raise _at(position, fault) from None
        if rows or taken.size or taken.ended:
            break
        if size > ROW_BYTES_MAX:
            is_csv = "delimiter" in job.settings
            raise _at(position, Malformed(TOO_LONG_OR_OPEN if is_csv else TOO_LONG, 1))
        size *= 4
    after = {
        "offset": offset + taken.size,
        "row": position["row"] + len(rows),
        "line": position["line"] + taken.lines,
    }
    return rows, after, taken.ended


def _at(position: Mapping[str, int], fault: Malformed) -> Malformed:
    """What is wrong behind this position, with the row and the line of the file."""
    if fault.line is None:
        return fault
    row, line = position["row"] + 1, position["line"] + fault.line
    return Malformed(f"row {row} (line {line}): {fault}")


async def _written(
    context: Context, conn: Conn, rows: Sequence[ReadFileRow], options: Options
) -> list[Result]:
    """The results of these rows, whose writes are part of the transaction of this turn."""

    async def attempt() -> list[Result]:
        async with conn.transaction():
            drafts = [(row.read, row.size) for row in rows]
            return await write_rows(context, drafts, options, conn)

    return await until_current(context, attempt)


def _errors(row: ReadFileRow, result: Result) -> Sequence[CellError]:
    if row.read.errors:
        return row.read.errors
    return () if result.error is None else row.read.errors_of(result.error)


def _options(job: ImportJob) -> Options:
    said = job.settings
    return Options(said["match"], OnMatch(said["onMatch"]), OnMissing(said["onMissing"]))


def _counted(job: ImportJob, counts: Counter[Outcome]) -> ImportJob:
    return replace(
        job,
        created=job.created + counts[Outcome.CREATED],
        updated=job.updated + counts[Outcome.UPDATED],
        unchanged=job.unchanged + counts[Outcome.UNCHANGED],
        skipped=job.skipped + counts[Outcome.SKIPPED],
        failed=job.failed + counts[Outcome.FAILED],
    )
