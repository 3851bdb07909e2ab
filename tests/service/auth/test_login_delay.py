"""How long a login has to wait after others have failed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from auth_service.app import create_app
from auth_service.config import Config
from auth_service.sessions import commands, passwords, store
from auth_service.sessions.commands import TOKEN_KEYS as KEYS
from auth_service.sessions.delay import delay_s
from auth_service.sessions.hashing import HASHING, HashingPool
from auth_service.users import commands as users
from auth_service.workspaces import commands as workspaces
from shared.errors import Unauthorized
from tests.kit.eventually import eventually
from tests.kit.service import RunningService, Services
from tests.kit.sigma import error
from tests.service.auth.logins import (
    EMAIL,
    HASH,
    PASSWORD,
    REFUSED,
    TOKEN_KEYS,
    WS,
    add_user,
    counted,
    log_in,
)


@pytest.fixture
async def auth(services: Services) -> RunningService:
    auth = await services.start(create_app, Config, token_keys=TOKEN_KEYS)
    await workspaces.create(auth.database, WS, "Test", 500)
    await add_user(auth)
    return auth


@pytest.fixture(scope="module")
def password_hash() -> str:
    return passwords.hashed(PASSWORD)


@pytest.fixture(autouse=True)
def _known_hash(password_hash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HASH, "of_password", password_hash)


async def counts(auth: RunningService) -> list[int]:
    """The failures that are counted, for an address with a network or for an address alone."""
    rows = await auth.database.fetch("SELECT failures FROM login_attempts ORDER BY failures")
    return [row["failures"] for row in rows]


async def unblock(auth: RunningService) -> None:
    """As if everybody had waited long enough."""
    await auth.database.execute("UPDATE login_attempts SET blocked_until = now()")


# --- the delay


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifth failure blocks for an hour: no test then depends on how fast it runs."""
    monkeypatch.setattr(commands, "_DELAYS_S", [0, 0, 0, 0, 3600])


async def test_every_failure_blocks_the_network_for_as_long_as_the_rule_says(auth):
    for failures in range(1, 15):
        await unblock(auth)
        assert (await log_in(auth, password="wrong")).outcome == REFUSED
        row = await auth.database.fetchrow(
            """SELECT failures, extract(epoch FROM blocked_until - last_at)::float8 AS blocked_s
                 FROM login_attempts
                ORDER BY blocked_until DESC"""
        )
        assert (row["failures"], round(row["blocked_s"])) == (failures, delay_s(failures))


async def test_a_blocked_address_has_to_wait_with_the_right_password_too(
    auth, patient, monkeypatch
):
    for _ in range(5):
        assert (await log_in(auth, password="wrong")).outcome == REFUSED
    for password in (PASSWORD, "wrong"):
        with counted(monkeypatch, passwords, "matches") as compared:
            answer = await log_in(auth, password=password)
        assert compared == []
        wait_s = int(answer.headers["Retry-After"])
        assert 3000 < wait_s <= 3600
        assert answer.outcome == error(
            429, "RATE_LIMITED", f"Too many requests. Retry after {wait_s} seconds."
        )
    # Waiting it out is enough; being refused meanwhile was no failure.
    assert await counts(auth) == [5, 5, 5]
    await unblock(auth)
    assert (await log_in(auth)).status == 200


async def test_who_comes_in_begins_anew(auth):
    for _ in range(5):
        await log_in(auth, password="wrong")
    await unblock(auth)
    assert (await log_in(auth)).status == 200
    # What the address and the network are counted with alone stays, less the one that came in.
    assert await counts(auth) == [5, 5]
    for _ in range(5):
        assert (await log_in(auth, password="wrong")).outcome == REFUSED


async def test_failures_long_ago_are_forgotten(auth):
    for _ in range(5):
        await log_in(auth, password="wrong")
    await auth.database.execute(
        """UPDATE login_attempts
              SET blocked_until = now() - interval '16 minutes',
                  last_at = now() - interval '16 minutes'"""
    )
    assert (await log_in(auth, password="wrong")).outcome == REFUSED
    assert await counts(auth) == [1, 1, 1]


async def test_an_address_that_nobody_has_waits_like_any_other(auth, patient):
    answers: dict[str, list[tuple[int, Any]]] = {}
    for email in (EMAIL, "nobody@sigma.io", "no address at all"):
        told = [await log_in(auth, email, "wrong") for _ in range(6)]
        answers[email] = [(answer.status, answer.body["error"]) for answer in told]
    assert list(answers.values()) == [answers[EMAIL]] * 3
    assert [status for status, _ in answers[EMAIL]] == [401] * 5 + [429]


async def test_one_address_in_many_spellings_is_one_address(auth, patient):
    for email in ("eva@sigma.io", "EVA@sigma.io", " eva@SIGMA.io", "Eva@sigma.io", "eVa@sigma.io"):
        assert (await log_in(auth, email, "wrong")).status == 401
    assert (await log_in(auth)).status == 429


async def test_the_wait_of_one_address_is_not_anothers(auth, patient):
    for _ in range(6):
        await log_in(auth, "nobody@sigma.io", "wrong")
    assert (await log_in(auth)).status == 200


async def test_fifty_guesses_at_once_are_five_guesses(auth, patient, monkeypatch):
    with counted(monkeypatch, passwords, "matches") as compared:
        answers = await asyncio.gather(*(log_in(auth, password=str(n)) for n in range(50)))
    statuses = [answer.status for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (5, 45)
    assert len(compared) == 5


async def test_fifty_guesses_at_two_replicas_are_five_guesses_too(
    auth, services, patient, monkeypatch
):
    other = await services.start(
        create_app,
        Config,
        token_keys=TOKEN_KEYS,
        database_url=auth.config.database_url.get_secret_value(),
    )
    with counted(monkeypatch, passwords, "matches") as compared:
        answers = await asyncio.gather(
            *(log_in((auth, other)[n % 2], password=str(n)) for n in range(50))
        )
    statuses = [answer.status for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (5, 45)
    assert len(compared) == 5


async def test_twelve_people_with_one_account_come_in_together(auth):
    answers = await asyncio.gather(*(log_in(auth) for _ in range(12)))
    assert [answer.status for answer in answers] == [200] * 12


async def test_a_claim_counts_once_however_many_come_at_once(auth):
    """The statement itself, without the turns that a process takes before it."""

    async def claim() -> bool:
        async with auth.database.acquire() as conn:
            return await store.claim_attempt(conn, b"x" * 32, [0, 0, 0, 0, 3600], 900)

    claimed = await asyncio.gather(*(claim() for _ in range(40)))
    assert claimed.count(True) == 5


async def test_attempts_that_are_long_forgotten_are_swept_away_by_others(auth):
    await auth.database.execute(
        """INSERT INTO login_attempts (address_digest, failures, blocked_until, last_at)
           SELECT sha256(n::text::bytea), 9, now(), now() - interval '1 hour'
             FROM generate_series(1, 20) AS n"""
    )
    for n in range(6):
        await log_in(auth, f"nobody-{n}@sigma.io", "wrong")
    assert await counts(auth) == [1] * 12 + [6]


async def test_no_address_is_stored_where_attempts_are_counted(auth):
    await log_in(auth, "Somebody@sigma.io", "hunter2")
    assert (await log_in(auth)).status == 200
    rows = await auth.database.fetch(
        """SELECT l::text AS told FROM login_attempts AS l
            UNION ALL
           SELECT n::text FROM login_networks AS n"""
    )
    assert len(rows) == 5
    for row in rows:
        for word in ("somebody", "sigma", "hunter2", "192.0.2.1", EMAIL.lower()):
            assert word not in row["told"].lower()


# --- the delay is the guesser's


async def test_a_guesser_makes_nobody_wait_in_another_network(auth, patient):
    for _ in range(5):
        assert (await log_in(auth, password="wrong", peer="198.51.100.7")).status == 401
    assert (await log_in(auth, password="wrong", peer="198.51.100.7")).status == 429
    assert (await log_in(auth, peer="198.51.100.7")).status == 429
    assert (await log_in(auth, peer="198.51.100.8")).status == 200


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.9", "::ffff:192.0.2.9", True),
        ("unknown", "unknown", True),
    ],
)
async def test_a_network_is_what_one_subscriber_has(auth, patient, one, other, are_one):
    for _ in range(5):
        await log_in(auth, password="wrong", peer=one)
    assert (await log_in(auth, peer=other)).status == (429 if are_one else 200)


async def test_a_device_that_came_in_before_passes_in_the_guessers_network(auth, patient):
    token = (await log_in(auth)).body["token"]
    for _ in range(6):
        await log_in(auth, password="wrong")
    assert (await log_in(auth)).status == 429
    assert (await log_in(auth, last_token=token)).status == 200
    # It has a count of its own, for whoever stole the token guesses too.
    for _ in range(5):
        assert (await log_in(auth, password="wrong", last_token=token)).status == 401
    assert (await log_in(auth, last_token=token)).status == 429


async def test_an_expired_token_shows_a_device_too(auth, patient, monkeypatch):
    token = (await log_in(auth)).body["token"]
    for _ in range(5):
        await log_in(auth, password="wrong")
    now = time.time() + 30 * 24 * 60 * 60
    monkeypatch.setattr(auth.app[KEYS], "_now", lambda: now)
    with pytest.raises(Unauthorized):
        auth.app[KEYS].verify(token)
    assert (await log_in(auth, last_token=token)).status == 200


@pytest.mark.parametrize("whose", ["nobody's", "another's", "before the password changed"])
async def test_another_token_shows_no_device(auth, patient, whose):
    if whose == "nobody's":
        token = "x.y.z"
    elif whose == "another's":
        await add_user(auth, "user-mallory", email="mallory@sigma.io")
        token = (await log_in(auth, "mallory@sigma.io")).body["token"]
    else:
        token = (await log_in(auth)).body["token"]
        await users.set_password(auth.database, WS, "user-eva", HASH["of_password"])
    for _ in range(5):
        assert (await log_in(auth, password="wrong", last_token=token)).status == 401
    assert (await log_in(auth)).status == 429


async def test_many_networks_together_are_slowed_down_and_the_owners_is_not(auth, monkeypatch):
    monkeypatch.setattr(commands, "_STRANGERS_DELAYS_S", [0] * 9 + [3600])
    assert (await log_in(auth, peer="192.0.2.1")).status == 200
    answers = [await log_in(auth, password="wrong", peer=f"198.51.100.{n % 20}") for n in range(20)]
    assert [answer.status for answer in answers] == [401] * 10 + [429] * 10
    assert (await log_in(auth, peer="203.0.113.5")).status == 429
    assert (await log_in(auth, peer="192.0.2.1")).status == 200
    # Who was refused for the others' sake was not counted: the first attempt is still to come.
    assert await counts(auth) == [0] + [1] * 20 + [10]


async def test_many_addresses_tried_from_one_network_are_slowed_down_together(auth, monkeypatch):
    monkeypatch.setattr(commands, "_STRANGERS_DELAYS_S", [0] * 9 + [3600])
    assert (await log_in(auth, peer="192.0.2.1")).status == 200
    answers = [await log_in(auth, f"{n}@sigma.io", "wrong", peer="192.0.2.1") for n in range(12)]
    assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
    assert (await log_in(auth, peer="192.0.2.1")).status == 200
    assert (await log_in(auth, "0@sigma.io", "wrong", peer="192.0.2.2")).status == 401


async def test_networks_that_succeeded_are_forgotten_after_a_while(auth):
    await auth.database.execute(
        """INSERT INTO login_networks (address_digest, network_digest, last_at)
           SELECT sha256(n::text::bytea), sha256('x'), now() - interval '91 days'
             FROM generate_series(1, 6) AS n"""
    )
    for n in range(2):
        assert (await log_in(auth, peer=f"192.0.2.{n}")).status == 200
    assert await auth.database.fetchval("SELECT count(*) FROM login_networks") == 2


async def test_when_too_many_want_to_log_in_the_rest_comes_back_later(services, monkeypatch):
    auth = await services.start(
        create_app, Config, token_keys=TOKEN_KEYS, hashing_threads=1, hashing_waiting_max=2
    )
    hold = asyncio.Event()
    real = HashingPool.run

    async def held(self: HashingPool, *work: Any, **more: Any) -> Any:
        await hold.wait()
        return await real(self, *work, **more)

    monkeypatch.setattr(HashingPool, "run", held)
    waiting = [asyncio.create_task(log_in(auth, f"{n}@sigma.io", "wrong")) for n in range(3)]
    await eventually(lambda: auth.app[HASHING]._free == 0)
    answer = await log_in(auth, "late@sigma.io", "wrong")
    assert answer.outcome == error(503, "SERVICE_UNAVAILABLE", "Too many logins at the same time")
    assert answer.headers["Retry-After"] == "1"
    hold.set()
    assert [answer.status for answer in await asyncio.gather(*waiting)] == [401] * 3
    # The one who was sent away was not counted.
    assert await counts(auth) == [1] * 6 + [3]
    assert (await log_in(auth, "late@sigma.io", "wrong")).status == 401
