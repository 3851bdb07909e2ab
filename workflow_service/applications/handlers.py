"""The application of change sets over HTTP."""

from __future__ import annotations

from aiohttp import web

from shared.database import DATABASE
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import SMALL_BODY, Routes, identity_of, read_body
from shared.http.versions import if_match
from workflow_service.applications import commands
from workflow_service.applications.model import ApplicationDraft
from workflow_service.change_sets.handlers import CHANGE_SET, answer
from workflow_service.change_sets.model import ChangeSetAnswer
from workflow_service.clients import APPLY_S, Clients

routes = Routes(
    tag="Change sets", examples={"id": CHANGE_SET}, parameters={"id": "Id of the change set."}
)


@routes.post(
    "/api/v1/change-sets/{id}/apply",
    user_only=True,
    role="`write` on each attribute that is changed; for deletions, what deleting a record needs",
    body=ApplicationDraft,
    body_bytes_max=SMALL_BODY,
    deadline_s=APPLY_S,
    answers=ChangeSetAnswer,
    summary="Apply a change set",
    errors=(Conflict, LimitExceeded, NotFound, PreconditionFailed),
)
async def apply_change_set(request: web.Request) -> web.StreamResponse:
    """Carries out all approved operations of an approved change set, or none of them.

    The checks, the history and the events are those of single writes by the caller. A value that
    has changed since it was proposed is 409, unless `force` is true. The message of a refusal names
    the operation. Afterwards the change set is `applied`, or `partially_applied` if operations of
    it were rejected.
    """
    identity = identity_of(request)
    asked = ApplicationDraft()
    if request.body_exists:
        asked = await read_body(request, ApplicationDraft)
    clients = Clients(request, identity.token)
    change_set = await commands.apply(
        request.app[DATABASE],
        clients,
        identity,
        request.match_info["id"],
        if_match(request.headers),
        force=asked.force,
    )
    return await answer(request, clients, change_set)
