"""Proposed changes over HTTP, for workflow_service, which keeps the change sets."""

from __future__ import annotations

from aiohttp import web

from records_service.context import context_of
from records_service.proposals import applying, inspecting
from records_service.proposals.model import (
    APPLY_BODY,
    Application,
    Inspection,
    Withdrawal,
)
from shared.http import SMALL_BODY, Routes, json_response, read_body

routes = Routes(tag="Change sets")


@routes.internal_post("/internal/proposals/inspect", body=Inspection, body_bytes_max=APPLY_BODY)
async def inspect_proposals(request: web.Request) -> web.StreamResponse:
    """What operations are about, as the caller may see it: the first, as far as values fit."""
    context = await context_of(request)
    asked = await read_body(request, Inspection)
    inspected = await inspecting.inspect(
        context, asked.purpose, asked.operations, with_values=asked.with_values
    )
    operations = [
        {
            "id": one.id,
            "exists": one.exists,
            "schemaId": one.schema_id,
            "changes": [
                None
                if change is None
                else {
                    "attributeId": change.attribute_id,
                    "attribute": change.alias,
                    "scope": change.scope,
                    "value": change.value,
                }
                for change in one.changes
            ],
        }
        for one in inspected
    ]
    return json_response({"operations": operations})


@routes.internal_post("/internal/proposals/apply", body=Application, body_bytes_max=APPLY_BODY)
async def apply_proposals(request: web.Request) -> web.StreamResponse:
    """Carries out operations, all of them and once, as the caller."""
    context = await context_of(request)
    context.identity.require_user()
    asked = await read_body(request, Application)
    done = await applying.apply(
        context, asked.change_set_id, asked.attempt, asked.operations, force=asked.force
    )
    return json_response(done or {"results": None})


@routes.internal_post("/internal/proposals/withdraw", body=Withdrawal, body_bytes_max=SMALL_BODY)
async def withdraw_proposals(request: web.Request) -> web.StreamResponse:
    """Sees to it that an attempt is never made; `results` of one that was made before."""
    context = await context_of(request)
    asked = await read_body(request, Withdrawal)
    done = await applying.withdraw(context, asked.change_set_id, asked.attempt)
    return json_response(done or {"results": None})
