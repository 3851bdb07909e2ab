"""The gateway's look-up over HTTP, for credentials that it has not cached."""

from __future__ import annotations

from aiohttp import web

from auth_service.identities import store
from auth_service.identities.model import IdentityQuestion, identity_payload
from shared.database import DATABASE
from shared.errors import PermissionDenied
from shared.http import SMALL_BODY, Routes, identity_of, json_response, read_body
from shared.identity import GATEWAY

routes = Routes(tag="Identities")


@routes.internal_post("/internal/identities", body=IdentityQuestion, body_bytes_max=SMALL_BODY)
async def identify(request: web.Request) -> web.StreamResponse:
    """Who the caller is now, with everything that the other services need to know.

    Only the gateway may ask, because it has checked the credential. Anybody else could find out
    about every user.
    """
    asker = identity_of(request)
    if asker.kind != "service" or asker.id != GATEWAY:
        raise PermissionDenied
    asked = await read_body(request, IdentityQuestion)
    async with request.app[DATABASE].acquire() as conn:
        if asked.api_key_hash is not None:
            identity = await store.of_key(conn, bytes.fromhex(asked.api_key_hash))
        else:
            identity = await store.of_user(
                conn, asked.workspace_id or "", asked.user_id or "", asked.issued_at
            )
    return json_response(identity_payload(identity))
