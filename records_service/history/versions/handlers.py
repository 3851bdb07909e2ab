"""One record over HTTP, as it is or as it was, and its return to an earlier version."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from records_service.context import Context, context_of
from records_service.history.versions import commands
from records_service.history.versions.finding import find_version, version_at
from records_service.history.versions.model import RestoreRequest, VersionQuery
from records_service.history.versions.walk import of_todays_types, visible_then_and_now
from records_service.records.loading import LoadedRecord, load_record
from records_service.records.model import RecordAnswer
from records_service.records.projection import projection_of
from records_service.records.rendering import answer
from shared.errors import Conflict, NotFound, PreconditionFailed, ValidationError
from shared.http import TEXT_BODY, Routes, read_body, read_query
from shared.http.responses import not_modified
from shared.http.versions import is_known
from shared.identity import Permission
from shared.process.offload import Large

routes = Routes(
    tag="Records",
    examples={"id": "ent-coastal-wb"},
    parameters={"id": "Id of the record."},
)


@routes.get(
    "/api/v1/records/{id}",
    permission=Permission.READ,
    query=VersionQuery,
    conditional=True,
    answers=RecordAnswer,
    summary="Get a record",
    errors=(NotFound,),
)
async def get_record(request: web.Request) -> web.StreamResponse:
    """One record, as it is or as it was: with `version`, or with `asOf`.

    Its version is in the `ETag` header; 304 if `If-None-Match` names it. An earlier version is read
    from the history, with the schema of today: values of attributes that the schema has lost, or
    that have another type now, are left out, and attributes that are hidden from the caller now or
    were hidden in the state of that version. A version can be read if at most 4,999 changes, and 32
    MB of them, lie between it and the first or the current version, whichever is nearer.
    """
    asked = read_query(request, VersionQuery)
    context = await context_of(request)
    loaded = await load_record(context, request.match_info["id"])
    projection = projection_of(asked, loaded.blueprint, context.role)
    if asked.version is not None or asked.as_of is not None:
        former = await _former(context, loaded, asked)
        if former is not loaded:
            if is_known(context.call.headers, former.record.version):
                return not_modified(former.record.version)
            access = loaded.schema.access(context.role, loaded.record.state_id)
            visible = visible_then_and_now(
                loaded.schema, context.role, former.record.state_id, loaded.record.state_id
            )
            shown = await _of_today(context, former)
            return await answer(context, shown, projection, access=replace(access, visible=visible))
    if is_known(context.call.headers, loaded.record.version):
        return not_modified(loaded.record.version)
    return await answer(context, loaded, projection)


@routes.post(
    "/api/v1/records/{id}/restore",
    permission=Permission.UPDATE_DATA,
    role="`write` on each attribute that changes",
    body=RestoreRequest,
    body_bytes_max=TEXT_BODY,
    answers=RecordAnswer,
    summary="Restore an earlier version of a record",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def restore_version(request: web.Request) -> web.StreamResponse:
    """Writes the values of an earlier version as a new version; nothing happens if none differs.

    The values are those that `GET /records/{id}?version=` shows to the caller, and are checked as
    if they were sent today: if some no longer fit, nothing is written, and the error names them
    all. Attributes hidden from the caller, the lifecycle state and the external key stay as they
    are. Needs the permission `read` as well.
    """
    context = await context_of(request)
    asked = await read_body(request, RestoreRequest)
    restored = await commands.restore(context, request.match_info["id"], asked.version)
    return await answer(context, restored)


async def _former(context: Context, loaded: LoadedRecord, asked: VersionQuery) -> LoadedRecord:
    version = asked.version
    if asked.as_of is not None:
        if version is not None:
            raise ValidationError.at("/asOf", "Field 'asOf' cannot be combined with 'version'")
        version = await version_at(context, loaded.record, asked.as_of)
    assert version is not None
    return await find_version(context, loaded, version)


async def _of_today(context: Context, former: LoadedRecord) -> LoadedRecord:
    values = former.record.values
    is_large = isinstance(values, Large)
    shown = await context.run(is_large, of_todays_types, values, former.schema)
    record = replace(former.record, values=Large(shown) if is_large else shown)
    return replace(former, record=record)
