"""What the gateway remembers about callers, for how long, and what makes it forget."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from gateway import identities as subject
from gateway.identities import Caller, Credential, Identities
from shared.errors import ServiceUnavailable, Unauthorized
from shared.events import Event, EventType
from shared.identity import Identity, IdentitySigner, IdentityVerifier, public_key_of
from tests.kit.identities import new_signing_key

KEY = Credential(key_hash="aa" * 32)
OTHER_KEY = Credential(key_hash="bb" * 32)
USER = Credential(user_id="user-1", workspace_id="ws-1", role_id="role-editor")

SIGNING_KEY = new_signing_key("gateway")


EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class AuthService:
    """Answers questions about who is known, when it is let."""

    def __init__(self) -> None:
        self.known: dict[Credential, Identity] = {
            KEY: Identity("api_key", "apikey-1", "ws-1"),
            OTHER_KEY: Identity("api_key", "apikey-2", "ws-2"),
            USER: Identity("user", "user-1", "ws-1", role_id="role-editor", role_version=1),
        }
        self.away = False
        self.asked: list[Credential] = []
        self.at_once = 0
        self.at_once_most = 0
        self.answering = asyncio.Event()
        self.answering.set()

    async def __call__(self, credential: Credential, request: Any) -> Identity:
        self.asked.append(credential)
        self.at_once += 1
        self.at_once_most = max(self.at_once, self.at_once_most)
        # What is read before the wait is what was true when the question was asked.
        found = self.known.get(credential)
        try:
            await self.answering.wait()
        finally:
            self.at_once -= 1
        if self.away:
            raise ServiceUnavailable
        if found is None:
            raise Unauthorized(
                "Invalid API key" if credential.key_hash else "Invalid or expired token"
            )
        return found


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def auth() -> AuthService:
    return AuthService()


@pytest.fixture
def identities(auth: AuthService, clock: Clock) -> Identities:
    return Identities(
        auth,
        IdentitySigner.parse(SIGNING_KEY),
        clock,
        lambda: EPOCH + timedelta(seconds=clock.now),
        # Nobody gives up on a busy machine.
        wait_s=60,
    )


def event(kind: str, workspace_id: str = "ws-1", **data: Any) -> Event:
    return Event(kind, "/auth_service", workspace_id, "subject", data)


def watermark(clock: Clock, age_s: float = 0) -> Event:
    made = EPOCH + timedelta(seconds=clock.now - age_s)
    return Event(EventType.AUTH_WATERMARK, "/auth_service", "*", "pulse", {}, time=made)


async def pulsing(identities: Identities, clock: Clock, seconds: float) -> None:
    """So many seconds pass in which the watermark is heard."""
    for _ in range(int(seconds / 0.25)):
        clock.now += 0.25
        identities.on_event(watermark(clock))


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_answer_counts_for_thirty_seconds_while_the_watermark_is_heard(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    await identities.resolve(KEY)
    await pulsing(identities, clock, 29)
    await identities.resolve(KEY)
    assert auth.asked == [KEY]
    await pulsing(identities, clock, 1)
    await identities.resolve(KEY)
    assert auth.asked == [KEY, KEY]


async def test_an_answer_counts_for_half_a_second_when_no_watermark_was_ever_heard(
    identities: Identities, auth: AuthService, clock: Clock
):
    await identities.resolve(KEY)
    clock.now += 0.49
    await identities.resolve(KEY)
    assert auth.asked == [KEY]
    clock.now += 0.01
    await identities.resolve(KEY)
    assert auth.asked == [KEY, KEY]


async def test_half_a_second_of_silence_makes_old_answers_doubtful(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    await identities.resolve(KEY)
    await pulsing(identities, clock, 10)
    auth.known.clear()  # Disabled, and the broker went away before the news came.
    clock.now += 0.499
    assert (await identities.resolve(KEY)).identity.id == "apikey-1"
    clock.now += 0.001
    with pytest.raises(Unauthorized, match="Invalid API key"):
        await identities.resolve(KEY)


async def test_a_watermark_that_was_held_up_on_its_way_is_as_old_as_it_is(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    await identities.resolve(KEY)
    clock.now += 2
    identities.on_event(watermark(clock, age_s=0.6))
    await identities.resolve(KEY)
    assert auth.asked == [KEY, KEY]
    clock.now += 1
    identities.on_event(watermark(clock, age_s=0.4))
    await identities.resolve(KEY)
    assert auth.asked == [KEY, KEY]
    clock.now += 20
    identities.on_event(
        watermark(clock, age_s=-3)
    )  # Our clock is behind: it counts from its arrival.
    clock.now += 0.5
    await identities.resolve(KEY)
    assert auth.asked == [KEY, KEY, KEY]


async def test_nothing_learnt_before_the_queue_was_bound_is_trusted_after(
    identities: Identities, auth: AuthService, clock: Clock
):
    """The news may have been published between the answer and the binding."""
    await identities.resolve(KEY)
    auth.known.clear()
    identities.connected()
    identities.on_event(watermark(clock))
    with pytest.raises(Unauthorized):
        await identities.resolve(KEY)


async def test_a_lost_connection_ends_the_long_life_at_once(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    await identities.resolve(KEY)
    await pulsing(identities, clock, 5)
    identities.disconnected()
    await identities.resolve(KEY)
    assert auth.asked == [KEY, KEY]


@pytest.mark.parametrize(
    ("news", "credential"),
    [
        (event("auth.key.deactivated", keyId="apikey-1", version=2, keyHash="aa" * 32), KEY),
        (event("auth.key.deleted", keyId="apikey-1", version=3, keyHash="aa" * 32), KEY),
        (event("auth.user.disabled", userId="user-1", version=2, roleId="role-editor"), USER),
        (event("auth.user.updated", userId="user-1", version=2, roleId="role-x"), USER),
        (event("auth.user.deleted", userId="user-1", version=2, roleId="role-x"), USER),
        (event("auth.role.updated", roleId="role-editor", version=2), USER),
        (event("auth.role.deleted", roleId="role-editor", version=2), USER),
        (event("auth.workspace.updated", workspaceId="ws-1", version=2, recordLimit=7), KEY),
        (event("auth.workspace.updated", workspaceId="ws-1", version=2, recordLimit=7), USER),
        (event("auth.something.new", version=1), KEY),
        (event("auth.key.deactivated", version=1), KEY),
    ],
)
async def test_news_about_somebody_makes_the_gateway_ask_again(
    identities: Identities,
    auth: AuthService,
    clock: Clock,
    news: Event,
    credential: Credential,
):
    identities.connected()
    identities.on_event(watermark(clock))
    await identities.resolve(credential)
    auth.known.clear()
    identities.on_event(news)
    with pytest.raises(Unauthorized):
        await identities.resolve(credential)


@pytest.mark.parametrize(
    "news",
    [
        event("auth.key.deactivated", keyId="apikey-2", version=2, keyHash="bb" * 32),
        event("auth.user.disabled", userId="user-2", version=2, roleId="role-editor"),
        event("auth.role.updated", roleId="role-other", version=2),
        event("auth.workspace.updated", "ws-2", workspaceId="ws-2", version=2, recordLimit=7),
    ],
)
async def test_news_about_others_changes_nothing(
    identities: Identities, auth: AuthService, clock: Clock, news: Event
):
    identities.connected()
    identities.on_event(watermark(clock))
    for credential in (KEY, USER):
        await identities.resolve(credential)
    identities.on_event(news)
    for credential in (KEY, USER):
        await identities.resolve(credential)
    assert auth.asked == [KEY, USER]


async def test_an_answer_read_before_the_news_is_not_kept(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    auth.answering.clear()
    early = asyncio.create_task(identities.resolve(KEY))
    await settle()
    del auth.known[KEY]
    identities.on_event(
        event("auth.key.deactivated", keyId="apikey-1", version=2, keyHash="aa" * 32)
    )
    late = asyncio.create_task(identities.resolve(KEY))
    await settle()
    auth.answering.set()
    assert (await early).identity.id == "apikey-1"
    with pytest.raises(Unauthorized):
        await late
    with pytest.raises(Unauthorized):
        await identities.resolve(KEY)
    assert auth.asked == [KEY, KEY]


async def test_an_answer_overtaken_by_the_news_is_asked_for_again(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    auth.answering.clear()
    early = asyncio.create_task(identities.resolve(KEY))
    await settle()
    del auth.known[KEY]
    identities.on_event(
        event("auth.key.deactivated", keyId="apikey-1", version=2, keyHash="aa" * 32)
    )
    auth.answering.set()
    await early
    with pytest.raises(Unauthorized):
        await identities.resolve(KEY)


async def test_a_refusal_read_before_the_news_is_not_kept(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    known = auth.known.pop(KEY)
    auth.answering.clear()
    early = asyncio.create_task(identities.resolve(KEY))
    await settle()
    auth.known[KEY] = known
    identities.on_event(event("auth.key.created", keyId="apikey-1", version=1, keyHash="aa" * 32))
    auth.answering.set()
    with pytest.raises(Unauthorized):
        await early
    assert (await identities.resolve(KEY)).identity == known


async def test_many_who_bring_one_key_are_one_question(identities: Identities, auth: AuthService):
    auth.answering.clear()
    waiting = [asyncio.create_task(identities.resolve(KEY)) for _ in range(100)]
    await settle()
    waiting[0].cancel()  # Whoever asked first may leave.
    await settle()
    auth.answering.set()
    answers = await asyncio.gather(*waiting[1:])
    assert {answer.identity.id for answer in answers} == {"apikey-1"}
    assert auth.asked == [KEY]


async def test_a_wrong_key_is_asked_about_once_in_a_while(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    wrong = Credential(key_hash="cc" * 32)
    for _ in range(50):
        with pytest.raises(Unauthorized, match="Invalid API key"):
            await identities.resolve(wrong)
    assert auth.asked == [wrong]
    await pulsing(identities, clock, 5)
    with pytest.raises(Unauthorized):
        await identities.resolve(wrong)
    assert auth.asked == [wrong, wrong]


async def test_a_flood_of_wrong_keys_is_bounded_and_holds_nobody_up(
    identities: Identities, auth: AuthService
):
    await identities.resolve(KEY)
    identities.connected()  # Everything is to be asked again, also what was good before.
    auth.answering.clear()
    flood = [
        asyncio.create_task(identities.resolve(Credential(key_hash=f"{n:064x}"), peer=f"peer-{n}"))
        for n in range(1_000)
    ]
    await settle()
    friends = [asyncio.create_task(identities.resolve(one)) for one in (KEY, USER)]
    await settle()
    assert auth.at_once == subject.NEW_KEYS_AT_ONCE_MAX + 2
    assert auth.asked[-2:] == [KEY, USER]
    auth.answering.set()
    await asyncio.gather(*friends)
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    kinds = [type(outcome) for outcome in outcomes]
    let_in = subject.NEW_KEYS_AT_ONCE_MAX + subject.NEW_KEYS_WAITING_MAX
    assert kinds.count(Unauthorized) == let_in
    assert kinds.count(ServiceUnavailable) == 1_000 - let_in
    assert auth.at_once_most == subject.NEW_KEYS_AT_ONCE_MAX + 2


async def test_a_flood_of_wrong_keys_from_one_address_leaves_slots_to_new_keys_from_others(
    identities: Identities, auth: AuthService
):
    auth.answering.clear()
    flood = [
        asyncio.create_task(identities.resolve(Credential(key_hash=f"{n:064x}"), peer="192.0.2.1"))
        for n in range(1_000)
    ]
    await settle()
    assert auth.at_once == subject.NEW_KEYS_AT_ONCE_MAX // 2
    new = asyncio.create_task(identities.resolve(KEY, peer="198.51.100.1"))
    await settle()
    assert auth.asked[-1] == KEY
    auth.answering.set()
    assert (await new).identity.id
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    refusals = [one for one in outcomes if isinstance(one, ServiceUnavailable)]
    assert len(refusals) > 1_000 // 2
    assert str(refusals[0]) == "Too many API keys are being used for the first time at once"


async def test_what_is_kept_is_bounded(
    identities: Identities, auth: AuthService, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(subject, "CACHED_MAX", 3)
    monkeypatch.setattr(subject, "REFUSALS_CACHED_MAX", 2)
    for n in range(10):
        good = Credential(key_hash=f"a{n:063x}")
        auth.known[good] = Identity("api_key", f"apikey-{n}", "ws-1")
        await identities.resolve(good)
        with pytest.raises(Unauthorized):
            await identities.resolve(Credential(key_hash=f"b{n:063x}"))
    assert len(identities._callers) == 3
    assert len(identities._refusals) == 2
    assert not identities._in_flight
    assert not identities._running


async def test_auth_service_away_leaves_what_still_counts_and_is_told_otherwise(
    identities: Identities, auth: AuthService, clock: Clock
):
    await identities.resolve(KEY)
    auth.away = True
    clock.now += 0.4
    assert (await identities.resolve(KEY)).identity.id == "apikey-1"
    clock.now += 0.1
    with pytest.raises(ServiceUnavailable) as caught:
        await identities.resolve(KEY)
    assert caught.value.headers["Retry-After"] == "1"
    auth.away = False
    assert (await identities.resolve(KEY)).identity.id == "apikey-1"


async def test_an_error_is_each_waiters_own(identities: Identities, auth: AuthService):
    auth.away = True
    auth.answering.clear()
    waiting = [asyncio.create_task(identities.resolve(KEY)) for _ in range(3)]
    await settle()
    auth.answering.set()
    errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert len({id(error) for error in errors}) == 3
    assert all(
        isinstance(error, ServiceUnavailable) and error.headers == {"Retry-After": "1"}
        for error in errors
    )


async def test_an_identity_is_signed_once_for_thirty_seconds(auth: AuthService, clock: Clock):
    caller = Caller(auth.known[USER], 0.0, IdentitySigner.parse(SIGNING_KEY))
    first = caller.token(100.0)
    assert caller.token(129.9) is first
    assert caller.token(130.0) is not first
    verified = IdentityVerifier.parse(public_key_of(SIGNING_KEY)).verify(first)
    assert verified == auth.known[USER]


async def test_a_new_role_version_gets_a_new_token(
    identities: Identities, auth: AuthService, clock: Clock
):
    identities.connected()
    identities.on_event(watermark(clock))
    before = (await identities.resolve(USER)).token(0.0)
    auth.known[USER] = Identity("user", "user-1", "ws-1", role_id="role-editor", role_version=2)
    identities.on_event(event("auth.role.updated", roleId="role-editor", version=2))
    after = (await identities.resolve(USER)).token(0.0)
    verifier = IdentityVerifier.parse(public_key_of(SIGNING_KEY))
    assert [verifier.verify(token).role_version for token in (before, after)] == [1, 2]
