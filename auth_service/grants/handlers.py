"""Grants over HTTP, for other services only."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from auth_service.grants import store
from auth_service.grants.model import GRANTEES, ActingQuestion, GrantDraft
from shared.database import DATABASE
from shared.errors import PermissionDenied
from shared.http import SMALL_BODY, Routes, identity_of, json_response, read_body
from shared.identity import Identity, IdentitySigner

SIGNER: Final = web.AppKey("signer", IdentitySigner)

routes = Routes(tag="Grants")


@routes.internal_post("/internal/grants", body=GrantDraft, body_bytes_max=SMALL_BODY, status=204)
async def grant(request: web.Request) -> web.StreamResponse:
    """The caller lets a service act for it while it is absent; asked when it sets something up.

    Only a user or an API key can grant, and only for itself.
    """
    subject = identity_of(request)
    if subject.kind == "service":
        raise PermissionDenied
    draft = await read_body(request, GrantDraft)
    async with request.app[DATABASE].acquire() as conn:
        await store.insert(conn, subject, draft.service)
    return web.Response(status=204)


@routes.internal_post("/internal/grants/identity", body=ActingQuestion, body_bytes_max=SMALL_BODY)
async def lend_identity(request: web.Request) -> web.StreamResponse:
    """A signed identity of somebody who granted it to the service that asks: `{"identity"}`.

    It has the rights of this moment and is valid for 60 seconds. Where there is none, the answer
    is `{"absent"}` with the reason.
    """
    asker = identity_of(request)
    if asker.kind != "service" or asker.id not in GRANTEES:
        raise PermissionDenied
    asked = await read_body(request, ActingQuestion)
    async with request.app[DATABASE].acquire() as conn:
        lent = await store.lent(conn, asked, asker.id)
    if isinstance(lent, Identity):
        return json_response({"identity": request.app[SIGNER].sign(lent)})
    return json_response({"absent": lent})
