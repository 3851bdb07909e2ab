"""Workflows over HTTP: five routes for clients, one for records_service."""

from __future__ import annotations

from functools import partial

from aiohttp import web

from shared.database import DATABASE, Record
from shared.database.listing import NamedListQuery, list_response
from shared.errors import Conflict, LimitExceeded, NotFound, PreconditionFailed
from shared.http import (
    SMALL_BODY,
    Routes,
    asked_on_behalf_of,
    identity_of,
    json_response,
    no_content,
    read_body,
    read_query,
    to_json,
    versioned_response,
)
from shared.http.versions import if_match
from shared.identity import Flag, Permission
from workflow_service.clients import Clients
from workflow_service.definitions.model import Workflow, WorkflowDraft
from workflow_service.references.model import ReferenceDraft
from workflow_service.workflows import commands, store
from workflow_service.workflows.commands import WORKFLOWS_MAX

routes = Routes(
    tag="Workflows",
    about="Workflows: the lifecycle states of records, and the transitions between them.",
    examples={"id": "wf-product-lifecycle"},
    parameters={"id": "Id of the workflow."},
)


@routes.get(
    "/api/v1/workflows",
    permission=Permission.READ,
    query=NamedListQuery,
    answers=list[Workflow],
    summary="List workflows with states and transitions",
)
async def list_workflows(request: web.Request) -> web.StreamResponse:
    """All workflows of the workspace, oldest first."""
    asked = read_query(request, NamedListQuery)
    read = partial(store.page, narrowing=asked.narrowing())
    return await list_response(request, read, _rendered, asked)


@routes.post(
    "/api/v1/workflows",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=WorkflowDraft,
    answers=Workflow,
    status=201,
    summary="Create a workflow",
    errors=(Conflict, LimitExceeded),
)
async def create_workflow(request: web.Request) -> web.StreamResponse:
    """Creates a workflow. Every state and role that it names must exist."""
    identity = identity_of(request)
    draft = await read_body(request, WorkflowDraft)
    workflow = await commands.create(
        request.app[DATABASE],
        Clients(request, identity.token),
        identity.workspace_id,
        draft,
        bound=request.app[WORKFLOWS_MAX],
    )
    return _answer(workflow, status=201, location=f"/api/v1/workflows/{workflow.id}")


@routes.get(
    "/api/v1/workflows/{id}",
    permission=Permission.READ,
    answers=Workflow,
    summary="Get a workflow",
    errors=(NotFound,),
)
async def get_workflow(request: web.Request) -> web.StreamResponse:
    """One workflow. Its version is in the `ETag` header."""
    async with request.app[DATABASE].acquire() as conn:
        workflow = await store.get(
            conn, identity_of(request).workspace_id, request.match_info["id"]
        )
    return _answer(workflow)


@routes.put(
    "/api/v1/workflows/{id}",
    permission=Permission.UPDATE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    body=WorkflowDraft,
    answers=Workflow,
    summary="Replace a workflow",
    errors=(NotFound, Conflict, PreconditionFailed, LimitExceeded),
)
async def replace_workflow(request: web.Request) -> web.StreamResponse:
    """Replaces the whole workflow. A state that records are in cannot be left out.

    Who may use a transition (`allowedRoleIds`, `requiresCompleteness`) is part of managing
    workflows. `hidden` and `readOnly` of a state are not: a caller with a role may add attributes
    to them but not remove any, nor leave out a state that has some (403).
    """
    identity = identity_of(request)
    draft = await read_body(request, WorkflowDraft)
    workflow = await commands.update(
        request.app[DATABASE],
        Clients(request, identity.token),
        identity.workspace_id,
        request.match_info["id"],
        draft,
        bound=request.app[WORKFLOWS_MAX],
        expected=if_match(request.headers),
    )
    return _answer(workflow)


@routes.delete(
    "/api/v1/workflows/{id}",
    permission=Permission.DELETE_MODEL,
    flag=Flag.MANAGE_SCHEMAS,
    summary="Delete a workflow",
    errors=(NotFound, Conflict, PreconditionFailed),
)
async def delete_workflow(request: web.Request) -> web.StreamResponse:
    """Deletes the workflow. Refused while a schema uses it."""
    identity = identity_of(request)
    await commands.delete(
        request.app[DATABASE],
        Clients(request, identity.token),
        identity.workspace_id,
        request.match_info["id"],
        if_match(request.headers),
    )
    return no_content()


@routes.internal_put(
    "/internal/workflow-references/{schemaId}", body=ReferenceDraft, body_bytes_max=SMALL_BODY
)
async def refer_to_workflow(request: web.Request) -> web.StreamResponse:
    """Registers that a schema will be saved with this workflow, and returns the definition."""
    identity = asked_on_behalf_of(request)
    identity.require_flag(Flag.MANAGE_SCHEMAS)
    asked = await read_body(request, ReferenceDraft)
    workflow = await commands.refer(
        request.app[DATABASE],
        identity.workspace_id,
        request.match_info["schemaId"],
        asked.workflow_id,
    )
    return json_response(workflow.definition())


def _rendered(row: Record) -> bytes:
    return to_json(store.parsed(row).public())


def _answer(
    workflow: Workflow, *, status: int = 200, location: str | None = None
) -> web.StreamResponse:
    return versioned_response(workflow.public(), workflow.version, status=status, location=location)
