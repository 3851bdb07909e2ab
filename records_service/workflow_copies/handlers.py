"""Internal routes for workflow_service: whether records or schemas use a workflow."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import AwareDatetime, BaseModel, Field

from records_service.workflow_copies import commands, store
from records_service.workflow_copies.model import Retirement
from shared.database import DATABASE
from shared.errors import PermissionDenied
from shared.http import (
    Routes,
    asked_on_behalf_of,
    identity_of,
    json_response,
    no_content,
    read_body,
)
from shared.http.bounds import AtMost
from shared.identity import Flag, Identity

STATES_MAX = 1_000
REFERENCES_MAX = 1_000
RETIREMENTS_MAX = 1_000
ASKED_BY = "workflow_service"

routes = Routes(tag="Internal")


class RetiringStates(BaseModel):
    """States that a workflow is about to lose, and the version of it that lacks them."""

    states: Annotated[list[str], Field(min_length=1), AtMost(STATES_MAX)]
    version: Annotated[int, Field(ge=1)]


class RetirementsDue(BaseModel):
    """How long nobody looked at a retirement that is asked for, and how many are at most."""

    after_seconds: Annotated[float, Field(alias="afterSeconds", gt=0)]
    limit: Annotated[int, Field(ge=1, le=RETIREMENTS_MAX)]


class ClaimedRetirement(BaseModel):
    """A retirement as it was claimed."""

    workspace_id: str = Field(alias="workspaceId")
    workflow_id: str = Field(alias="workflowId")
    version: int
    checked_at: AwareDatetime = Field(alias="checkedAt")


class Reference(BaseModel):
    """A schema that is said to be bound to a workflow."""

    workspace_id: str = Field(alias="workspaceId")
    schema_id: str = Field(alias="schemaId")
    workflow_id: str = Field(alias="workflowId")


class References(BaseModel):
    """References to compare with what the schemas say."""

    references: Annotated[list[Reference], AtMost(REFERENCES_MAX)]


@routes.internal_post("/internal/workflows/{id}/retire-states", body=RetiringStates)
async def retire_states(request: web.Request) -> web.StreamResponse:
    """204 when no record is in these states, and none will enter them; otherwise 409."""
    identity = _modeller(request)
    asked = await read_body(request, RetiringStates)
    await commands.retire(
        request.app[DATABASE],
        identity.workspace_id,
        request.match_info["id"],
        asked.states,
        asked.version,
        tells=identity.unrestricted and identity.may_read,
    )
    return no_content()


@routes.internal_delete("/internal/workflows/{id}/retired-states")
async def reinstate_states(request: web.Request) -> web.StreamResponse:
    """The workflow kept its states after all."""
    await commands.reinstate(
        request.app[DATABASE], _modeller(request).workspace_id, request.match_info["id"]
    )
    return no_content()


@routes.internal_post("/internal/workflows/{id}/binds")
async def find_binding(request: web.Request) -> web.StreamResponse:
    """Whether a schema is bound to the workflow, including schema saves in progress."""
    workspace_id = _modeller(request).workspace_id
    async with request.app[DATABASE].transaction() as conn:
        bound = await store.binds(conn, workspace_id, request.match_info["id"])
    return json_response({"bound": bound})


@routes.internal_post("/internal/retirements/claim", body=RetirementsDue)
async def claim_retirements(request: web.Request) -> web.StreamResponse:
    """Retirements whose revision has neither been heard of nor taken them back for a while."""
    _check_is_service(request)
    asked = await read_body(request, RetirementsDue)
    async with request.app[DATABASE].acquire() as conn:
        claimed = await store.claim_retirements(conn, asked.after_seconds, asked.limit)
    return json_response(
        {
            "retirements": [
                {
                    "workspaceId": retirement.workspace_id,
                    "workflowId": retirement.workflow_id,
                    "version": retirement.version,
                    # Whole: it comes back to be compared.
                    "checkedAt": retirement.checked_at.isoformat(),
                }
                for retirement in claimed
            ]
        }
    )


@routes.internal_post("/internal/retirements/readmit", body=ClaimedRetirement)
async def reinstate_retirement(request: web.Request) -> web.StreamResponse:
    """Ends a retirement whose revision failed; tells whether it still existed."""
    _check_is_service(request)
    asked = await read_body(request, ClaimedRetirement)
    readmitted = await commands.reinstate_claimed(
        request.app[DATABASE],
        Retirement(asked.workspace_id, asked.workflow_id, asked.version, asked.checked_at),
    )
    return json_response({"readmitted": readmitted})


@routes.internal_post("/internal/workflow-references/check", body=References)
async def check_references(request: web.Request) -> web.StreamResponse:
    """Those references whose schema does not exist or is bound to another workflow."""
    _check_is_service(request)
    asked = await read_body(request, References)
    by_workspace: dict[str, list[Reference]] = {}
    for reference in asked.references:
        by_workspace.setdefault(reference.workspace_id, []).append(reference)
    stale: list[Reference] = []
    async with request.app[DATABASE].acquire() as conn:
        for workspace_id, references in by_workspace.items():
            bound = await store.bound(
                conn, workspace_id, [(one.schema_id, one.workflow_id) for one in references]
            )
            stale += [one for one in references if (one.schema_id, one.workflow_id) not in bound]
    return json_response({"stale": [one.model_dump(by_alias=True) for one in stale]})


def _modeller(request: web.Request) -> Identity:
    """The caller for whom workflow_service asks, who must be allowed to change workflows."""
    identity = asked_on_behalf_of(request)
    identity.require_flag(Flag.MANAGE_SCHEMAS)
    return identity


def _check_is_service(request: web.Request) -> None:
    """Raise `PermissionDenied` unless workflow_service asks in its own name.

    These routes concern all workspaces, so nobody who acts in a single one may use them.
    """
    identity = identity_of(request)
    if (identity.kind, identity.id) != ("service", ASKED_BY):
        raise PermissionDenied
