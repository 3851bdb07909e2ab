"""Cache of caller identities, invalidated by events.

auth_service resolves a credential to an identity, at the cost of a request. Two mechanisms make it
safe to cache the result:

- Invalidation: every change of a key, user, role or workspace is an event to every gateway.
- Watermarks: auth_service publishes an event (`auth.pulse`) while its outbox is drained, which says
  that everything committed before its time has been published. As long as watermarks arrive, the
  TTL is 30 seconds. If the last one is older than half a second (broker unreachable, relay stuck,
  auth_service down), the TTL is half a second. So a change takes effect within a second, with or
  without the broker.

A look-up that began before an invalidation may return an outdated identity. It answers the requests
that wait for it but is not cached, and later requests start a look-up of their own.

Look-ups are limited in number. Keys that have never been used successfully may be guesses: their
look-ups have slots of their own, so that they cannot delay the others, and the slots are shared by
client address, so that guesses from one address do not block new keys at other addresses.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web
from prometheus_client import Counter

from gateway.fairness import CallerKey, FairSlots, anonymous
from shared.errors import ApiError, ServiceUnavailable, Unauthorized
from shared.events import Event, EventType
from shared.identity import Identity, IdentitySigner
from shared.process.waiting import WAIT_S

LOOKUPS = Counter(
    "sigma_identity_lookups_total", "Identity look-ups in auth_service, by outcome", ["outcome"]
)
EVICTIONS = Counter("sigma_identity_evictions_total", "Events that invalidated cached identities")

TTL_WITH_WATERMARKS_S: Final = 30.0
TTL_WITHOUT_WATERMARKS_S: Final = 0.5
WATERMARK_SILENCE_S: Final = 0.5
REFUSAL_TTL_S: Final = 5.0
# An identity is signed for 60 s and reused for half of that, so that it does not expire in transit.
TOKEN_REUSE_S: Final = 30.0

CACHED_MAX: Final = 20_000
REFUSALS_CACHED_MAX: Final = 20_000
LOOKUPS_AT_ONCE_MAX: Final = 16
LOOKUPS_WAITING_MAX: Final = 1_000
NEW_KEYS_AT_ONCE_MAX: Final = 8
NEW_KEYS_WAITING_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Credential:
    """Cache key: an API key by its hash, or a user as a verified token names it."""

    key_hash: str = ""
    user_id: str = ""
    workspace_id: str = ""
    role_id: str = ""
    issued_at: int = 0
    """Epoch seconds. A change of password invalidates the tokens that were issued before it."""

    def question(self) -> dict[str, str | int]:
        """The body of `POST /internal/identities`."""
        if self.key_hash:
            return {"apiKeyHash": self.key_hash}
        return {
            "userId": self.user_id,
            "workspaceId": self.workspace_id,
            "roleId": self.role_id,
            "issuedAt": self.issued_at,
        }


@dataclass(slots=True)
class Caller:
    """An identity and its signed form, which is reused: signing costs 35 us."""

    identity: Identity
    asked_at: float
    _signer: IdentitySigner = field(repr=False)
    _token: str = field(default="", repr=False)
    _token_until: float = 0.0
    _caller_key: CallerKey | None = None

    def caller_key(self, peer: str) -> CallerKey:
        """The key under which large responses and uploads are counted."""
        caller_key = self._caller_key
        if caller_key is None or caller_key.peer != peer:
            identity = self.identity
            caller_key = CallerKey(identity.workspace_id, identity.kind, identity.id, peer)
            self._caller_key = caller_key
        return caller_key

    def token(self, now: float) -> str:
        """The signed identity, valid for at least another 30 seconds."""
        if now >= self._token_until:
            self._token = self._signer.sign(self.identity)
            self._token_until = now + TOKEN_REUSE_S
        return self._token


@dataclass(slots=True)
class _Refusal:
    message: str
    asked_at: float


class Bulkhead(AbstractAsyncContextManager[None]):
    """Bulkhead: at most N concurrent look-ups and M queued; further callers get 503."""

    def __init__(self, at_once_max: int, waiting_max: int) -> None:
        self._free = asyncio.Semaphore(at_once_max)
        self._left = at_once_max + waiting_max

    async def __aenter__(self) -> None:
        if not self._left:
            raise ServiceUnavailable
        self._left -= 1
        try:
            await self._free.acquire()
        except BaseException:
            self._left += 1
            raise

    async def __aexit__(self, *_: object) -> None:
        self._left += 1
        self._free.release()


_NEVER: Final = float("-inf")

Ask = Callable[[Credential, web.Request | None], Awaitable[Identity]]


class Identities:
    """The cache. `ask` resolves one credential in auth_service.

    `wait_s` limits how long the first use of an API key waits for a slot.
    """

    def __init__(
        self,
        ask: Ask,
        signer: IdentitySigner,
        now: Callable[[], float] = time.monotonic,
        wall_now: Callable[[], datetime] = lambda: datetime.now(UTC),
        wait_s: float = WAIT_S,
    ) -> None:
        self._ask = ask
        self._signer = signer
        self._now = now
        self._wall_now = wall_now
        self._callers: OrderedDict[Credential, Caller] = OrderedDict()
        self._refusals: OrderedDict[Credential, _Refusal] = OrderedDict()
        # The look-up that later requests with the same credential may share, and all that run.
        self._in_flight: dict[Credential, asyncio.Task[Caller]] = {}
        self._running: set[asyncio.Task[Caller]] = set()
        self._bulkhead = Bulkhead(LOOKUPS_AT_ONCE_MAX, LOOKUPS_WAITING_MAX)
        self._new_keys = FairSlots(
            NEW_KEYS_AT_ONCE_MAX,
            NEW_KEYS_WAITING_MAX,
            "Too many API keys are being used for the first time at once",
            wait_s,
        )
        self._watermark_at = _NEVER
        # Counts invalidations: an identity is cached only if none happened during its look-up.
        self._generation = 0

    def cached(self, credential: Credential) -> Caller | None:
        """The cached caller, or None. Raises `Unauthorized` for a cached refusal."""
        now = self._now()
        ttl_s = self._ttl_s(now)
        caller = self._callers.get(credential)
        if caller is not None and now - caller.asked_at < ttl_s:
            return caller
        refusal = self._refusals.get(credential)
        if refusal is not None and now - refusal.asked_at < min(ttl_s, REFUSAL_TTL_S):
            raise Unauthorized(refusal.message)
        return None

    async def resolve(
        self, credential: Credential, request: web.Request | None = None, peer: str = ""
    ) -> Caller:
        """The caller, from the cache or from auth_service.

        `request` is the request on whose behalf auth_service is asked: the look-up carries its id.
        `peer` is the client's address. Raises `Unauthorized`, or `ServiceUnavailable` if
        auth_service or a slot for the look-up is not available.
        """
        caller = self.cached(credential)
        if caller is not None:
            return caller
        look_up = self._in_flight.get(credential)
        if look_up is None:
            # A token was signed by auth_service, and a known key was valid before. Only a key that
            # has never been valid may be a guess.
            known = credential in self._callers or not credential.key_hash
            slots = self._bulkhead if known else self._new_keys.slot(anonymous(peer), math.inf)
            look_up = asyncio.create_task(self._look_up(credential, request, slots))
            self._in_flight[credential] = look_up
            self._running.add(look_up)
            look_up.add_done_callback(self._finished)
        try:
            # All waiters share the look-up: a cancelled one does not cancel it.
            return await asyncio.shield(look_up)
        except ApiError as error:
            # A copy for each waiter, since raising an error adds to its traceback.
            raise copy.copy(error).with_traceback(None) from None

    async def _look_up(
        self,
        credential: Credential,
        request: web.Request | None,
        slots: AbstractAsyncContextManager[None],
    ) -> Caller:
        try:
            async with slots:
                asked_at, generation = self._now(), self._generation
                try:
                    identity = await self._ask(credential, request)
                except Unauthorized as error:
                    LOOKUPS.labels("refused").inc()
                    if generation == self._generation:
                        self._callers.pop(credential, None)
                        _cache(
                            self._refusals,
                            credential,
                            _Refusal(error.message, asked_at),
                            REFUSALS_CACHED_MAX,
                        )
                    raise
                except ApiError:
                    LOOKUPS.labels("failed").inc()
                    raise
                LOOKUPS.labels("known").inc()
                caller = Caller(identity, asked_at, self._signer)
                if generation == self._generation:
                    self._refusals.pop(credential, None)
                    _cache(self._callers, credential, caller, CACHED_MAX)
                return caller
        finally:
            # After an invalidation another look-up may be in its place.
            if self._in_flight.get(credential) is asyncio.current_task():
                del self._in_flight[credential]

    def _finished(self, look_up: asyncio.Task[Caller]) -> None:
        self._running.discard(look_up)
        if not look_up.cancelled():
            # Retrieved, so that asyncio does not report it: the waiters have received it.
            look_up.exception()

    def _ttl_s(self, now: float) -> float:
        heard = now - self._watermark_at < WATERMARK_SILENCE_S
        return TTL_WITH_WATERMARKS_S if heard else TTL_WITHOUT_WATERMARKS_S

    def on_event(self, event: Event) -> None:
        """Handle an event of auth_service; events arrive in the order of their publication."""
        if event.type == EventType.AUTH_WATERMARK:
            # It speaks for the time at which it was made, however long it took. If this clock is
            # behind, the time of its arrival counts.
            age_s = (self._wall_now() - event.time).total_seconds()
            self._watermark_at = max(self._watermark_at, self._now() - max(0.0, age_s))
            return
        EVICTIONS.inc()
        affected = _affected_by(event)
        if affected is None:
            self.forget_all()
            return
        self._invalidate()
        for credential, caller in self._callers.items():
            if affected(credential, caller.identity):
                caller.asked_at = _NEVER
        for credential in [one for one in self._refusals if affected(one, None)]:
            del self._refusals[credential]

    def connected(self) -> None:
        """Events arrive from now on. Invalidates everything, since earlier events were missed."""
        self._watermark_at = _NEVER
        self.forget_all()

    def disconnected(self) -> None:
        """Events may be missed from now on."""
        self._watermark_at = _NEVER

    def forget_all(self) -> None:
        """Invalidate everything. Keys that were valid still count as known."""
        self._invalidate()
        self._refusals.clear()
        for caller in self._callers.values():
            caller.asked_at = _NEVER

    def _invalidate(self) -> None:
        self._generation += 1
        self._in_flight.clear()


def _cache(
    kept: OrderedDict[Credential, Any], credential: Credential, value: Any, most: int
) -> None:
    kept[credential] = value
    kept.move_to_end(credential)
    if len(kept) > most:
        kept.popitem(last=False)


def _affected_by(event: Event) -> Callable[[Credential, Identity | None], bool] | None:
    """Which cached entries an event invalidates, as a predicate; None if all of them."""
    data: Mapping[str, Any] = event.data
    workspace_id = event.workspace_id
    what = event.type.split(".")[1]
    if what == "key" and isinstance(data.get("keyHash"), str):
        key_hash = data["keyHash"]
        return lambda credential, _: credential.key_hash == key_hash
    if what == "user" and isinstance(data.get("userId"), str):
        user_id = data["userId"]
        return lambda credential, _: credential.user_id == user_id
    if what == "role" and isinstance(data.get("roleId"), str):
        role_id = data["roleId"]
        return lambda credential, identity: (
            role_id
            in (
                credential.role_id,
                identity.role_id if identity else None,
            )
        )
    if what == "workspace":
        return lambda credential, identity: (
            workspace_id
            in (
                credential.workspace_id,
                identity.workspace_id if identity else None,
            )
        )
    return None
