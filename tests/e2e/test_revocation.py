"""Who loses a right loses it at every gateway within a second, broker up or away."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.identities import (
    TTL_WITH_WATERMARKS_S,
    TTL_WITHOUT_WATERMARKS_S,
    WATERMARK_SILENCE_S,
)
from tests.kit.eventually import eventually
from tests.kit.sigma import error

WITHIN_S = TTL_WITH_WATERMARKS_S / 2
"""By news, or because none can come, that is: what is kept is not waited for. On a quiet machine it
takes less than a second, as the first of these tests says in constants."""
DENIED = error(403, "PERMISSION_DENIED", "Permission denied")
NO_TOKEN = error(401, "UNAUTHORIZED", "Invalid or expired token")
NO_KEY = error(401, "UNAUTHORIZED", "Invalid API key")


@pytest.fixture(params=["broker up", "broker away"])
async def two_gateways(request, breakable_stack):
    """Two gateways' addresses; in the second round the broker is gone before the revocation."""
    second = await breakable_stack.another("gateway")
    yield breakable_stack, (breakable_stack.url, second.url), request.param == "broker away"


async def _soon(callers, ask, expected):
    """Every caller gets the expected answer within the time, counted from now."""
    began = time.monotonic()

    async def refused(caller):
        async def check():
            return (await ask(caller)).outcome == expected

        await eventually(check)
        return time.monotonic() - began

    took = await asyncio.gather(*(refused(caller) for caller in callers))
    assert max(took) <= WITHIN_S, f"took {took}"


async def _warm(stack, callers, ask, broker_away):
    """The gateways know the callers, and the broker is gone if it should be."""
    if broker_away:
        await asyncio.to_thread(stack.servers.rabbit.private.stop)
    for caller in callers:
        assert (await ask(caller)).status == 200


def read(caller):
    return caller.get("/schemas")


def test_without_news_what_is_kept_ends_within_a_second():
    assert WATERMARK_SILENCE_S + TTL_WITHOUT_WATERMARKS_S <= 1.0


async def test_a_disabled_user(two_gateways):
    stack, urls, broker_away = two_gateways
    sigma = await stack.workspace()
    await sigma.role("role-editor")
    editor = await sigma.user("role-editor", user_id="user-leaving")
    callers = [editor.at(url) for url in urls]
    await _warm(stack, callers, read, broker_away)
    await stack.administer("disable-user", "--workspace", sigma.id, "--id", "user-leaving")
    await _soon(callers, read, NO_TOKEN)


async def test_a_session_from_before_the_password_changed(two_gateways):
    stack, urls, broker_away = two_gateways
    sigma = await stack.workspace()
    await sigma.role("role-editor")
    editor = await sigma.user("role-editor", user_id="user-phished")
    callers = [editor.at(url) for url in urls]
    await _warm(stack, callers, read, broker_away)
    whom = ("--workspace", sigma.id, "--id", "user-phished")
    await stack.administer("set-password", *whom, "--password-stdin", stdin="another password")
    await _soon(callers, read, NO_TOKEN)


async def test_a_deactivated_key(two_gateways):
    stack, urls, broker_away = two_gateways
    sigma = await stack.workspace()
    key = await sigma.api_key(["read"])
    callers = [key.at(url) for url in urls]
    await _warm(stack, callers, read, broker_away)
    (known,) = (await sigma.admin.get("/api-keys")).ok()
    (await sigma.admin.post(f"/api-keys/{known['id']}/deactivate")).ok()
    await _soon(callers, read, NO_KEY)


async def test_a_changed_role(two_gateways):
    stack, urls, broker_away = two_gateways
    sigma = await stack.workspace()
    await sigma.attribute("name")
    await sigma.schema("apparel", ["name"])
    role = await sigma.role("role-editor", {"schema-apparel": {"*": "write"}})
    await sigma.record("schema-apparel", {"name": "x"}, id="ent-a")
    editor = await sigma.user("role-editor")
    callers = [editor.at(url) for url in urls]

    def write(caller):
        return caller.patch("/records/ent-a/values/name", {"value": "x"})

    await _warm(stack, callers, write, broker_away)
    granted = [{"schemaId": "schema-apparel", "attributePermissions": {"*": "read"}}]
    (await sigma.admin.put("/roles/role-editor", {**role, "schemaPermissions": granted})).ok()
    await _soon(callers, write, DENIED)
