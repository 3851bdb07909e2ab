"""Explanations over HTTP."""

from __future__ import annotations

from aiohttp import web

from records_service.context import context_of
from records_service.explanations.deciding import explain
from records_service.explanations.model import ExplainRequest, ExplanationAnswer
from records_service.explanations.questions import check_question
from records_service.explanations.subjects import subject_of
from shared.errors import NotFound
from shared.http import SMALL_BODY, Routes, json_response, read_body
from shared.identity import Permission

routes = Routes(
    tag="Permissions",
    about="Why a role or an API key may do something, or why not.",
)


@routes.post(
    "/api/v1/permissions/explain",
    permission=Permission.READ,
    role="any for its own permissions, `canManageRoles` for those of others",
    body=ExplainRequest,
    body_bytes_max=SMALL_BODY,
    answers=ExplanationAnswer,
    summary="Explain why something is allowed or refused",
    errors=(NotFound,),
)
async def explain_permission(request: web.Request) -> web.StreamResponse:
    """Whether the caller, a role or an API key may do this, decided as the request itself would be.

    All rules that were applied are in `reasons`. Nothing is changed. A catalog that the caller may
    not view is not found, whatever the role or the key may do.
    """
    context = await context_of(request)
    asked = await read_body(request, ExplainRequest)
    check_question(asked)
    subject = await subject_of(context, asked)
    reasons = await explain(context, subject, asked)
    denied = next((each for each in reasons if not each.allows), None)
    return json_response(
        {
            "allowed": denied is None,
            "decidedBy": (denied or reasons[-1]).source,
            "reasons": [each.shown() for each in reasons],
        }
    )
