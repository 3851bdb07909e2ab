"""How long the history is kept, over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.context import base_context_of
from records_service.history.retention import commands
from records_service.history.retention.model import Retention, RetentionAnswer, RetentionDraft
from shared.http import SMALL_BODY, Routes, json_response, read_body
from shared.identity import Permission

PATH = "/api/v1/audit/retention"

routes = Routes(tag="Audit", examples={}, parameters={})


@routes.get(
    PATH,
    permission=Permission.READ,
    administrators=True,
    answers=RetentionAnswer,
    summary="Get how long the history is kept",
)
async def get_retention(request: web.Request) -> web.StreamResponse:
    """For ever, unless somebody has chosen a number of days."""
    return _answer(await commands.find(base_context_of(request)))


@routes.put(
    PATH,
    permission=Permission.DELETE_DATA,
    administrators=True,
    body=RetentionDraft,
    body_bytes_max=SMALL_BODY,
    answers=RetentionAnswer,
    summary="Choose how long the history is kept",
)
async def choose_retention(request: web.Request) -> web.StreamResponse:
    """What happened longer ago is removed in the background, once a day, and does not come back.

    Records stay as they are, with their versions. An earlier version can be read and restored if it
    was written within this time. The first one can be read until the change that followed it is
    removed.
    """
    context = base_context_of(request)
    draft = await read_body(request, RetentionDraft)
    return _answer(await commands.choose(context, draft.days))


def _answer(retention: Retention) -> web.Response:
    return json_response(
        {
            "days": retention.days,
            "updatedAt": retention.updated_at,
            "updatedBy": retention.updated_by,
        }
    )
