"""Cache of caller identities, invalidated by events.

auth_service knows; asking it costs a request, so its answers are kept. Two things make that safe:

- Every change of a key, user, role or workspace is an event that every gateway hears; it evicts.
- auth_service sends a pulse while its outbox is drained: "everything committed before this has been
  published". While pulses are heard an answer counts for 30 seconds. When the last one is older
  than half a second (broker away, relay stuck, auth_service gone) an answer counts for half a
  second from when it was asked for. So a change acts within a second, broker up or away.

An answer that was asked for before an eviction may describe what was true before it. It still
answers the requests that asked, but it is not kept, and who asks after the eviction asks anew.

Look-ups are bounded, and those for keys that nobody has ever used successfully (somebody guessing)
have slots of their own, so that they cannot stand in the way of the others. These are shared out by
the client's address, so that guessing from one does not keep new keys from being used at others.
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
from shared.events import AUTH_WATERMARK, Event
from shared.identity import Identity, IdentitySigner

LOOKUPS = Counter(
    "sigma_identity_lookups_total", "Identity look-ups in auth_service, by outcome", ["outcome"]
)
EVICTIONS = Counter("sigma_identity_evictions_total", "Events that invalidated cached identities")

TTL_WITH_PULSE_S: Final = 30.0
TTL_WITHOUT_PULSE_S: Final = 0.5
PULSE_SILENCE_S: Final = 0.5
REFUSAL_TTL_S: Final = 5.0
# An identity is signed for 60 s; used for half of that, it never expires on its way.
TOKEN_REUSE_S: Final = 30.0

CACHED_MAX: Final = 20_000
REFUSALS_CACHED_MAX: Final = 20_000
LOOKUPS_AT_ONCE_MAX: Final = 16
LOOKUPS_WAITING_MAX: Final = 1_000
NEW_KEYS_AT_ONCE_MAX: Final = 8
NEW_KEYS_WAITING_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class Credential:
    """What is asked about: an API key by its hash, or a user as a token names it."""

    key_hash: str = ""
    user_id: str = ""
    workspace_id: str = ""
    role_id: str = ""
    issued_at: int = 0
    """When the token was issued, in epoch seconds: a change of password ends those from before."""

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
    """An identity and its signed form: signing costs 35 us, so it is done twice a minute."""

    identity: Identity
    asked_at: float
    _signer: IdentitySigner = field(repr=False)
    _token: str = field(default="", repr=False)
    _token_until: float = 0.0
    _caller_key: CallerKey | None = None

    def caller_key(self, peer: str) -> CallerKey:
        """The key under which large answers and uploads are counted."""
        caller_key = self._caller_key
        if caller_key is None or caller_key.peer != peer:
            identity = self.identity
            caller_key = CallerKey(identity.workspace_id, identity.kind, identity.id, peer)
            self._caller_key = caller_key
        return caller_key

    def token(self, now: float) -> str:
        """The signed identity, good for at least another half of its life."""
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
    """The cache. `ask` puts one question to auth_service."""

    def __init__(
        self,
        ask: Ask,
        signer: IdentitySigner,
        now: Callable[[], float] = time.monotonic,
        wall_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ask = ask
        self._signer = signer
        self._now = now
        self._wall_now = wall_now
        self._callers: OrderedDict[Credential, Caller] = OrderedDict()
        self._refusals: OrderedDict[Credential, _Refusal] = OrderedDict()
        # The question under way about a credential, for those who may share its answer; and all
        # that are under way.
        self._in_flight: dict[Credential, asyncio.Task[Caller]] = {}
        self._running: set[asyncio.Task[Caller]] = set()
        self._bulkhead = Bulkhead(LOOKUPS_AT_ONCE_MAX, LOOKUPS_WAITING_MAX)
        self._new_keys = FairSlots(
            NEW_KEYS_AT_ONCE_MAX,
            NEW_KEYS_WAITING_MAX,
            "Too many API keys are being used for the first time at once",
        )
        self._pulse_at = _NEVER
        # Counts evictions: an answer is kept only if none happened since it was asked for.
        self._generation = 0

    def cached(self, credential: Credential) -> Caller | None:
        """Who this is, if that is known and still counts; raises a refusal that still counts."""
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
        """Who this is. Raises what auth_service answered, or that it is away.

        `request` is the one on whose behalf auth_service is asked: the question carries its id.
        `peer` is the address of the client.
        """
        caller = self.cached(credential)
        if caller is not None:
            return caller
        look_up = self._in_flight.get(credential)
        if look_up is None:
            # A token was signed by auth_service and a known key was good before: only a key that
            # was never seen to be good may be somebody guessing.
            known = credential in self._callers or not credential.key_hash
            slots = self._bulkhead if known else self._new_keys.slot(anonymous(peer), math.inf)
            look_up = asyncio.create_task(self._look_up(credential, request, slots))
            self._in_flight[credential] = look_up
            self._running.add(look_up)
            look_up.add_done_callback(self._finished)
        try:
            # The question belongs to all who wait for it: one who leaves does not withdraw it.
            return await asyncio.shield(look_up)
        except ApiError as error:
            # Each gets an error of its own, since a raised one collects its traceback.
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
            # An eviction has taken this look-up off already, and another one may be in its place.
            if self._in_flight.get(credential) is asyncio.current_task():
                del self._in_flight[credential]

    def _finished(self, look_up: asyncio.Task[Caller]) -> None:
        self._running.discard(look_up)
        if not look_up.cancelled():
            # All waiters have received the error; if none is left, nobody needs it.
            look_up.exception()

    def _ttl_s(self, now: float) -> float:
        heard = now - self._pulse_at < PULSE_SILENCE_S
        return TTL_WITH_PULSE_S if heard else TTL_WITHOUT_PULSE_S

    def on_event(self, event: Event) -> None:
        """Handle an event of auth_service; events arrive in the order of their publication."""
        if event.type == AUTH_WATERMARK:
            # A pulse speaks for the time at which it was made. One that was held up on its way is
            # as old as it is; where our clock is behind, it is as old as its arrival.
            age_s = (self._wall_now() - event.time).total_seconds()
            self._pulse_at = max(self._pulse_at, self._now() - max(0.0, age_s))
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
        """Note that events arrive from now on. Forgets all answers: earlier events were missed."""
        self._pulse_at = _NEVER
        self.forget_all()

    def disconnected(self) -> None:
        """Note that events may be missed from now on."""
        self._pulse_at = _NEVER

    def forget_all(self) -> None:
        """Have every answer asked for again. Keys that were valid keep their slots for look-ups."""
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
    """Which kept answers an event makes doubtful; None when it cannot be told, and all are."""
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
