"""The feed over HTTP: page by page, as a long poll, as server-sent events, and what it follows on.

A follower holds no connection to the database while it waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

from aiohttp import hdrs, web

from records_service.chunked_response import begin_file
from records_service.context import Context, context_of
from records_service.exports.export import Export, understand
from records_service.exports.model import ExportQuery, Format
from records_service.feed import following
from records_service.feed.following import FOLLOWERS, Page
from records_service.feed.model import (
    LIMIT_DEFAULT,
    WAIT_S_MAX,
    ChangesPage,
    ChangesQuery,
    SnapshotQuery,
)
from records_service.feed.news import NEWS
from records_service.feed.tokens import position as position_of
from records_service.feed.tokens import token
from shared.errors import Gone, NotFound, RateLimited, ServiceUnavailable
from shared.http import Routes, read_query, to_json
from shared.http.responses import names_media_type
from shared.identity import Permission

EVENT_STREAM: Final = "text/event-stream"
NDJSON: Final = "application/x-ndjson"
LAST_EVENT_ID: Final = "Last-Event-ID"
COMMENT_EVERY_S: Final = 15.0
RECONNECT_AFTER_MS: Final = 1_000
DEADLINE_S: Final = WAIT_S_MAX + 30.0

routes = Routes(
    tag="Change feed",
    about="What changes in a workspace, in one order, for whoever keeps a copy of it.",
)


@routes.get(
    "/api/v1/changes",
    permission=Permission.READ,
    query=ChangesQuery,
    answers=ChangesPage,
    also_answers=(EVENT_STREAM,),
    streams=True,
    follows=True,
    deadline_s=DEADLINE_S,
    summary="Follow what changes",
    success="The events, or with `Accept: text/event-stream` a stream of them.",
    errors=(Gone, RateLimited),
)
async def follow_changes(request: web.Request) -> web.StreamResponse:
    """The changes of records, variants, catalogs, categories and the data model, each once.

    The events of one object are in the order of its versions. What is hidden from the caller by
    role and state, as they are today, is left out of `changes`. With `Accept: text/event-stream`
    the events are sent as they happen: `data` is the event, `id` a token. A client that was cut off
    sends the last one as `Last-Event-ID`, which counts before `after`. Changes are kept for seven
    days at least; 410 says that some of those after the token have been removed.
    """
    query = read_query(request, ChangesQuery)
    context = await context_of(request)
    streams = names_media_type(request.headers.get(hdrs.ACCEPT), EVENT_STREAM)
    name, sent = "after", query.after
    if streams and request.headers.get(LAST_EVENT_ID):
        name, sent = LAST_EVENT_ID, request.headers[LAST_EVENT_ID]
    if sent is None:
        position = await following.now(context)
    else:
        position = position_of(context.workspace_id, sent, name)
    if streams:
        return await _stream(request, context, position)
    if not query.wait or request.method == hdrs.METH_HEAD:
        return _answer(context, await following.read(context, position, query.limit))
    with context.app[FOLLOWERS].place(context.identity):
        return _answer(context, await _wait(context, position, query.limit, query.wait))


@routes.get(
    "/api/v1/changes/snapshot",
    permission=Permission.READ,
    query=SnapshotQuery,
    answer_type=NDJSON,
    streams=True,
    summary="Read all records before following them",
    success="Lines of JSON: `token`, then each record and variant.",
    errors=(NotFound,),
)
async def read_snapshot(request: web.Request) -> web.StreamResponse:
    """All records and their variants, and the token to follow from, as lines of JSON.

    The first line has `token`; each further one is a record, as an export in NDJSON has it, or a
    variant of the record above it.
    Each line has the `version` of its record or variant. Whatever is changed while the lines are
    read comes after the token, too: an event whose version is not higher than that of the line is
    to be left out, and one of a deletion to be taken. What comes of it is the state of the records,
    at each moment. If something fails after the answer has begun, the connection is closed before
    its end.
    """
    query = read_query(request, SnapshotQuery)
    context = await context_of(request)
    asked = await understand(
        context,
        ExportQuery(format=Format.NDJSON, schemaId=query.schema_id, variants=True),
        Format.NDJSON,
    )
    response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: NDJSON})
    if request.method == hdrs.METH_HEAD:
        await response.prepare(request)
        return response
    # Before the first record is read: all that is not in the lines is behind the token.
    first = token(context.workspace_id, await following.now(context))
    exported = Export(context, asked)

    async def begin() -> bytes:
        return to_json({"token": first}) + b"\n" + await exported.begin()

    await begin_file(request, response, begin())
    async for piece in exported.pieces():
        if piece:
            await response.write(piece)
    await response.write_eof()
    return response


async def _wait(context: Context, position: int, limit: int, wait_s: float) -> Page:
    """The first page with events, or an empty one when the time is over."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    news = context.app[NEWS]
    with news.following(context.workspace_id) as wake:
        while True:
            wake.clear()
            page = await following.read(context, position, limit)
            left_s = until - loop.time()
            if page.events or left_s <= 0 or news.is_closing:
                return page
            position = page.position
            if page.more:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await wake.wait()


def _answer(context: Context, page: Page) -> web.Response:
    body = b'{"items":[%b],"next":%b,"more":%b}' % (
        b",".join(document for _, document in page.events),
        to_json(token(context.workspace_id, page.position)),
        b"true" if page.more else b"false",
    )
    return web.Response(body=body, content_type="application/json")


async def _stream(request: web.Request, context: Context, position: int) -> web.StreamResponse:
    """Server-sent events until the client goes, the process stops, or something fails."""
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: EVENT_STREAM,
            hdrs.CACHE_CONTROL: "no-store",
            "X-Accel-Buffering": "no",
        }
    )
    if request.method == hdrs.METH_HEAD:
        await response.prepare(request)
        return response
    with context.app[FOLLOWERS].place(context.identity):
        # Before the head: a token that is too old has an answer of its own.
        parts = _parts(context, position)
        first = await anext(parts, None)
        if first is None:
            # The process is about to stop.
            raise ServiceUnavailable
        await response.prepare(request)
        await response.write(b"retry: %d\n\n" % RECONNECT_AFTER_MS + first)
        with suppress(Gone):
            async for part in parts:
                if request.transport is None:
                    break
                await response.write(part)
    await response.write_eof()
    return response


async def _parts(context: Context, position: int) -> AsyncIterator[bytes]:
    """What is sent, a page or a comment at a time; ends when the process stops.

    A comment says where the follower is, so that one who sees little is never cut off with an old
    token.
    """
    news = context.app[NEWS]
    comment = b""
    with news.following(context.workspace_id) as wake:
        while not news.is_closing:
            wake.clear()
            page = await following.read(context, position, LIMIT_DEFAULT)
            position = page.position
            if page.events or not comment:
                yield b"".join(
                    b"id: %b\ndata: %b\n\n" % (token(context.workspace_id, at).encode(), document)
                    for at, document in page.events
                )
            comment = b"id: %b\n:\n\n" % token(context.workspace_id, position).encode()
            if page.more:
                continue
            try:
                async with asyncio.timeout(COMMENT_EVERY_S):
                    await wake.wait()
            except TimeoutError:
                yield comment
