"""The feed for workflow_service, which sends webhooks: what is new, and how somebody sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from typing import Annotated, Final

import orjson
from aiohttp import web
from pydantic import Field

from records_service.context import context_of
from records_service.feed import following, positions
from records_service.feed.model import LIMIT_MAX
from records_service.feed.news import NEWS
from shared.database import DATABASE
from shared.errors import Gone, PermissionDenied
from shared.http import NAMES_BODY, SMALL_BODY, Routes, identity_of, json_response, read_body
from shared.http.bounds import AtMost
from shared.http.responses import JSON
from shared.http.shapes import Shape
from shared.identity import Permission

ASKED_BY: Final = "workflow_service"
WAIT_S_MAX: Final = 20
WORKSPACES_MAX: Final = 500

routes = Routes(tag="Change feed")


class NewsQuestion(Shape):
    """Workspaces, each with the last position that the asker knows of."""

    after: Annotated[dict[str, int], AtMost(WORKSPACES_MAX)]
    wait: Annotated[int, Field(ge=0, le=WAIT_S_MAX)]


class PageQuestion(Shape):
    """A page of the feed, as the caller may see it."""

    after: Annotated[int, Field(ge=0)]
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)]


class PositionQuestion(Shape):
    """A moment; without it, now."""

    since: datetime | None = None


@routes.internal_post(
    "/internal/changes/news", body=NewsQuestion, body_bytes_max=NAMES_BODY, follows=True
)
async def wait_for_news(request: web.Request) -> web.StreamResponse:
    """The last positions of those workspaces that have a later one, as soon as one has."""
    identity = identity_of(request)
    if (identity.kind, identity.id) != ("service", ASKED_BY):
        raise PermissionDenied
    asked = await read_body(request, NewsQuestion)
    news = request.app[NEWS]
    woken = asyncio.Event()
    with ExitStack() as followed:
        for workspace_id in asked.after:
            followed.enter_context(news.following(workspace_id, woken))
        found = await _later(request, asked.after)
        if not found and not news.is_closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(asked.wait):
                    await woken.wait()
            found = await _later(request, asked.after)
    return json_response({"workspaces": found})


@routes.internal_post("/internal/changes/page", body=PageQuestion, body_bytes_max=SMALL_BODY)
async def read_page(request: web.Request) -> web.StreamResponse:
    """Events behind a position, as the caller may see them; `lost` if some were removed before.

    Raises `PermissionDenied` for an API key that may not read.
    """
    # No route of the public API has asked this of the caller, who is absent.
    identity_of(request).require(Permission.READ)
    context = await context_of(request)
    asked = await read_body(request, PageQuestion)
    position, lost = asked.after, False
    while True:
        try:
            page = await following.read(context, position, asked.limit)
            break
        except Gone:
            # Too old, or of before the database was set back: from what there is on.
            async with context.database.acquire() as conn:
                position = await positions.last_known(conn, context.workspace_id, position)
            lost = True
    head = orjson.dumps({"position": page.position, "more": page.more, "lost": lost})
    events = b",".join(document for _, document in page.events)
    return web.Response(body=head[:-1] + b',"events":[' + events + b"]}", content_type=JSON)


@routes.internal_post("/internal/changes/position", body=PositionQuestion)
async def find_position(request: web.Request) -> web.StreamResponse:
    """The position after which everything later than a moment comes.

    Raises `Gone` if some of that has been removed.
    """
    context = await context_of(request)
    asked = await read_body(request, PositionQuestion)
    if asked.since is None:
        return json_response({"position": await following.now(context)})
    async with context.database.acquire() as conn:
        position, is_whole = await positions.position_at(conn, context.workspace_id, asked.since)
    if not is_whole:
        raise Gone("The change feed no longer has all that came after this time")
    return json_response({"position": position})


async def _later(request: web.Request, after: Mapping[str, int]) -> dict[str, int]:
    last = await positions.last_positions(request.app[DATABASE], list(after))
    return {one: position for one, position in last.items() if position > after[one]}
