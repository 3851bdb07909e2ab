"""Previews of changes of a workflow over HTTP."""

from __future__ import annotations

from aiohttp import web

from shared.database import DATABASE
from shared.errors import NotFound, PreconditionFailed
from shared.http import Routes, identity_of, json_response, read_body
from shared.http.versions import if_match
from shared.identity import Flag, Permission
from workflow_service.clients import Clients
from workflow_service.definitions.model import WorkflowDraft
from workflow_service.previews.commands import preview
from workflow_service.previews.model import WorkflowPreviewAnswer

routes = Routes(
    tag="Workflows",
    examples={"id": "wf-product-lifecycle"},
    parameters={"id": "Id of the workflow."},
)


@routes.post(
    "/api/v1/workflows/{id}/preview",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=WorkflowDraft,
    answers=WorkflowPreviewAnswer,
    summary="Preview a change of a workflow",
    errors=(NotFound, PreconditionFailed),
)
async def preview_workflow(request: web.Request) -> web.StreamResponse:
    """Tells what a PUT with this body would do to records, and changes nothing.

    Records in a state that would be left out, for which a PUT is refused with 409, are counted
    here, and nothing that is hidden from the caller is. Records are looked at for some seconds at
    most.
    """
    identity = identity_of(request)
    draft = await read_body(request, WorkflowDraft)
    found = await preview(
        request.app[DATABASE],
        Clients(request, identity.token),
        identity.workspace_id,
        request.match_info["id"],
        draft,
        expected=if_match(request.headers),
    )
    return json_response(found)
