"""Who a caller is: for the gateway, by a credential that it has not cached, and for the caller."""

from __future__ import annotations

from aiohttp import web

from auth_service.clients import count_records
from auth_service.identities import store
from auth_service.identities.model import IdentityQuestion, MeAnswer, identity_payload
from shared.database import DATABASE
from shared.errors import NotFound, PermissionDenied
from shared.http import SMALL_BODY, Routes, identity_of, json_response, read_body
from shared.identity import GATEWAY, Permission

routes = Routes(tag="Identities")
me_routes = Routes(tag="Authentication")


@me_routes.get(
    "/api/v1/me",
    permission=Permission.READ,
    answers=MeAnswer,
    summary="Get the caller",
    errors=(NotFound,),
)
async def get_me(request: web.Request) -> web.StreamResponse:
    """The user or API key that calls, and its workspace with its number of records and their limit.

    404 if the caller was deleted a moment ago.
    """
    identity = identity_of(request)
    async with request.app[DATABASE].acquire() as conn:
        me = await store.about(conn, identity)
    records = await count_records(request)
    return json_response({**me, "workspace": {**me["workspace"], "records": records}})


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
