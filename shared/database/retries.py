"""Answers requests with `Idempotency-Key` or `Prefer: dry-run` (`shared.http.retries`).

Everything that such a request does in its database is one transaction (`request_transactions`).

    dry run   rolled back, whatever it did; the answer is what it would have been
    key       the answer is stored before the commit; what is refused is rolled back, and not stored

A user whose role has changed since is given no more of a stored answer than the id: it may show
what the role hides by now.

A transaction that lasts until the answer is there holds its connection and its locks for longer
than usual. So at most half of the connections do this at a time. The limits of statements and lock
waits hold, and so does the deadline of the request, which rolls it back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from hashlib import sha256
from typing import Final

from aiohttp import hdrs, web
from multidict import CIMultiDict
from prometheus_client import Counter

from shared.database import idempotency
from shared.database.idempotency import KeptAnswer, Scope
from shared.database.pool import Database
from shared.database.pool_of_process import DATABASE
from shared.database.request_transactions import bind
from shared.errors import ApiError, Conflict, PayloadTooLarge, ValidationError, truncated
from shared.http.context import Call, identity_of
from shared.http.held import (
    LARGE_BODIES_MAX,
    HeldAnswer,
    answer_of,
    digest_of,
    give_again,
    kept_headers,
    read_whole,
)
from shared.http.responses import keep_only_id
from shared.http.retries import (
    DRY_RUN,
    DRY_RUNNING,
    EFFECTS,
    IDEMPOTENCY_KEY,
    IDEMPOTENCY_REPLAYED,
    IN_ONE_TRANSACTION,
    PREFERENCE_APPLIED,
    Asked,
)
from shared.http.routes import Handler
from shared.identity import Identity
from shared.process.config import DatabaseConfig
from shared.process.offload import LARGE_BYTES, in_thread
from shared.process.waiting import KeyedSemaphore

KEPT_BYTES_MAX: Final = 4 << 20
"""Of an answer, compressed; 10,000 results of a bulk operation take a twentieth of it."""
_REFUSALS_BEGIN: Final = 400
_SHOWN_TO: Final = "X-Sigma-Shown-To"
"""Stored with the headers of an answer, and not sent: the role that it was shown to."""

REQUESTS: Final = Counter(
    "sigma_retry_safe_requests_total",
    "Requests with Idempotency-Key or Prefer: dry-run, by what became of them",
    ["outcome"],
)
_DRY_RUN, _STORED, _REPLAYED, _REFUSED = map(
    REQUESTS.labels, ("dry_run", "stored", "replayed", "refused")
)
_RUNNING, _OTHER_REQUEST = map(REQUESTS.labels, ("still_running", "other_request"))


class _Undone(Exception):
    """Ends a transaction whose answer is known and whose effect is not wanted."""


class RetrySafe:
    """Runs handlers in one transaction, for the application of one service."""

    def __init__(self, database: Database, kept_s: float, places: int, wait_s: float) -> None:
        self._database = database
        self._kept_s = kept_s
        self._places = KeyedSemaphore(places, wait_s=wait_s)
        self._large_bodies = KeyedSemaphore(LARGE_BODIES_MAX, wait_s=wait_s)

    async def answer(
        self, asked: Asked, handler: Handler, call: Call, request: web.Request
    ) -> web.StreamResponse:
        """Answer a request as its headers ask; `shared.http.retries.InOneTransaction`.

        Raises what the handler raises, `ValidationError` for a key of another request, `Conflict`
        while the first request with a key is running, `PayloadTooLarge` for an answer that cannot
        be kept.
        """
        if asked.receives:
            return await self._received(asked, handler, request)
        body = await read_whole(request, call.body_bytes_max, self._large_bodies)
        give_again(request, body)
        if asked.dry_run:
            return await self.dry_run(handler, request)
        digest = await digest_of(request, body, call.body_bytes_max)
        del body
        return await self.once(_scope(asked, request), digest, handler, request)

    async def _received(
        self, asked: Asked, handler: Handler, request: web.Request
    ) -> web.StreamResponse:
        request[EFFECTS] = _Effects(self, asked, request)
        try:
            return await handler(request)
        except ApiError as error:
            if asked.dry_run:
                error.headers[PREFERENCE_APPLIED] = DRY_RUN
            raise

    async def is_known(self, scope: Scope) -> bool:
        """Whether an answer is kept for this key."""
        async with self._database.acquire() as conn:
            return await idempotency.find(conn, scope, self._kept_s) is not None

    async def dry_run(self, handler: Handler, request: web.Request) -> web.StreamResponse:
        """The answer of the handler, whose effect is rolled back."""
        _DRY_RUN.inc()
        token = DRY_RUNNING.set(True)
        response: web.Response | None = None
        try:
            with suppress(_Undone):
                async with self._places.of(RetrySafe), bind(self._database):
                    response = await answer_of(request, handler)
                    raise _Undone
        except ApiError as error:
            error.headers[PREFERENCE_APPLIED] = DRY_RUN
            raise
        finally:
            DRY_RUNNING.reset(token)
        assert response is not None
        response.headers[PREFERENCE_APPLIED] = DRY_RUN
        return response

    async def once(
        self, scope: Scope, digest: bytes, handler: Handler, request: web.Request
    ) -> web.StreamResponse:
        """The answer of the handler, kept for the key; or the kept one. `digest` is the body's."""
        head = f"{request.method} {request.raw_path}\n".encode("utf-8", "surrogateescape")
        fingerprint = sha256(head + digest).digest()
        async with self._database.acquire() as conn:
            known = await idempotency.find(conn, scope, self._kept_s)
        response: web.Response | None = None
        if known is None:
            with suppress(_Undone):
                async with self._places.of(RetrySafe), bind(self._database) as (conn, _):
                    if not await idempotency.claim(conn, scope):
                        raise _still_running(scope)
                    # Asked again: the first may have ended meanwhile.
                    known = await idempotency.find(conn, scope, self._kept_s)
                    if known is not None:
                        raise _Undone
                    response = await answer_of(request, handler)
                    if response.status >= _REFUSALS_BEGIN:
                        _REFUSED.inc()
                        raise _Undone
                    kept = await _kept(fingerprint, response, identity_of(request))
                    if not await idempotency.store(conn, scope, kept, self._kept_s):
                        raise _still_running(scope)
                    _STORED.inc()
        if known is not None:
            return await _replayed(known, scope, fingerprint, identity_of(request))
        assert response is not None
        return response


class _Effects:
    """Has the effect of a handler that reads the body itself; `shared.http.retries.Effects`."""

    def __init__(self, running: RetrySafe, asked: Asked, request: web.Request) -> None:
        self._running = running
        self._asked = asked
        self._request = request

    @property
    def dry_run(self) -> bool:
        return self._asked.dry_run

    async def known(self) -> bool:
        if self._asked.dry_run:
            return False
        return await self._running.is_known(_scope(self._asked, self._request))

    async def have(self, digest: bytes, effect: Handler) -> web.StreamResponse:
        if self._asked.dry_run:
            return await self._running.dry_run(effect, self._request)
        scope = _scope(self._asked, self._request)
        return await self._running.once(scope, digest, effect, self._request)


def _scope(asked: Asked, request: web.Request) -> Scope:
    assert asked.key is not None
    identity = identity_of(request)
    return Scope(identity.workspace_id, f"{identity.kind}:{identity.id}", asked.key)


def _role_of(identity: Identity) -> str:
    """The role that decided what an answer shows, at its version; empty for API keys."""
    if identity.kind != "user":
        return ""
    return f"{identity.role_id}/{identity.role_version}"


async def _kept(fingerprint: bytes, response: web.Response, identity: Identity) -> KeptAnswer:
    body = response.body or b""
    assert isinstance(body, bytes | bytearray)
    if len(body) > LARGE_BYTES:
        packed = await in_thread(idempotency.compressed, bytes(body))
    else:
        packed = idempotency.compressed(bytes(body))
    if len(packed) > KEPT_BYTES_MAX:
        raise PayloadTooLarge(
            f"The answer is too large to be kept for {IDEMPOTENCY_KEY}: {len(packed)} bytes"
            f" compressed, at most {KEPT_BYTES_MAX} are. Nothing was changed"
        )
    return KeptAnswer(
        fingerprint,
        response.status,
        [*kept_headers(response), (_SHOWN_TO, _role_of(identity))],
        packed,
        isinstance(response, HeldAnswer),
    )


async def _replayed(
    known: KeptAnswer, scope: Scope, fingerprint: bytes, identity: Identity
) -> web.Response:
    """The kept answer; `ValidationError` if it answered another request."""
    if known.fingerprint != fingerprint:
        _OTHER_REQUEST.inc()
        raise ValidationError.at(
            f"/{IDEMPOTENCY_KEY}",
            f"{IDEMPOTENCY_KEY} '{truncated(scope.key)}' was used for another request: expected the"
            " same method, path, query and body",
        )
    _REPLAYED.inc()
    body = known.body
    if len(body) > LARGE_BYTES:
        body = await in_thread(idempotency.decompressed, body)
    else:
        body = idempotency.decompressed(body)
    kind = HeldAnswer if known.in_parts else web.Response
    headers = CIMultiDict(known.headers)
    shown_to = headers.pop(_SHOWN_TO, None)
    response = kind(status=known.status, headers=headers, body=body or None)
    if shown_to is not None and shown_to != _role_of(identity):
        keep_only_id(response)
    if not body:
        response.headers.popall(hdrs.CONTENT_TYPE, None)
    response.headers[IDEMPOTENCY_REPLAYED] = "true"
    return response


def _still_running(scope: Scope) -> Conflict:
    _RUNNING.inc()
    return Conflict(
        f"The first request with {IDEMPOTENCY_KEY} '{truncated(scope.key)}' is still running",
        headers={hdrs.RETRY_AFTER: "1"},
    )


def retry_safe(
    config: DatabaseConfig, *, removes: bool
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Let every route that writes take the two headers; comes after `postgres`.

    `removes` says whether this process removes what has been kept for long enough.
    """

    async def opened(app: web.Application) -> AsyncIterator[None]:
        kept_s = config.idempotency_hours * 3600
        places = max(1, config.database_connections_max // 2)
        running = RetrySafe(app[DATABASE], kept_s, places, config.wait_seconds)
        app[IN_ONE_TRANSACTION] = running.answer
        removal = None
        if removes:
            removal = asyncio.create_task(
                idempotency.remove_old_for_ever(app[DATABASE], kept_s),
                name="removal of old answers",
            )
        yield
        if removal is not None:
            removal.cancel()
            with suppress(asyncio.CancelledError):
                await removal

    return opened
